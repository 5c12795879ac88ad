"""Kill either side of a stream at random moments, go on, and look at the counts.

    python tests/helpers/streams/measure_stream_kills.py [--kills 50] [--seed 0]

`generate --rolling` and a trainer that follows the set are started in processes of
their own; again and again the producers' driver, one of its Ray workers or the trainer
is killed (SIGKILL), and started again by the same command. In the end the set is told
where to end, both finish, and an undisturbed pair does the same number of samples. Then
must hold

    of each sample there is one, and only one, in what led to the last weights: each
        life of the trainer begins at the position of a checkpoint and reads in a row;
    nothing was given free, at no kill, that the checkpoint on the disk had not learnt;
    the checkpoint has seen as many patterns as the undisturbed one: all of them.
"""

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from pxrdbench.learning.models.checkpoint import load_checkpoint

HERE = Path(__file__).parent
SHARD_SAMPLES = 768
LIMIT = "6MB"
_WAIT = 180.0


class Pair:
    """Producers and a trainer on one set.

    Attributes:
        limit: What the set may take.
        shard_samples: Samples of a shard; as many as `generate` chooses if None.
        training: Further options of the trainer.
    """

    limit: str = LIMIT
    shard_samples: int | None = SHARD_SAMPLES
    training: tuple[str, ...] = ()

    def __init__(self, folder, rate=None, url=None, address=None):
        folder.mkdir(parents=True, exist_ok=True)
        self.place = url or str(folder / "set")
        self.out, self.log = folder / "run", folder / "read.log"
        self.rate, self.address = rate, address
        self.sides = {}
        self._output = (folder / "output.txt").open("a")

    def fail(self, what):
        """End with a sentence and the last words of both sides."""
        words = Path(self._output.name).read_text(errors="replace")[-3000:]
        raise SystemExit(f"{what}; they said:\n{words}")

    def command(self, side, samples=None):
        """What a person types, the trainer's with a model that is fast."""
        if side == "producer":
            words = ["-m", "pxrdbench.cli", "generate", "--rolling", "trainer"]
            words += ["--max-size", self.limit, "--out", self.place]
            if self.shard_samples:
                words += ["--shard-samples", str(self.shard_samples)]
            alone = ["--workers", "1"]
            words += ["--address", self.address] if self.address else alone
            return words + ([] if samples is None else ["--samples", str(samples)])
        words = [str(HERE / "stream_trainer.py"), self.place, str(self.out)]
        words += [str(self.log), *self.training]
        return words + ([] if self.rate is None else ["--rate", str(self.rate)])

    def start(self, side, samples=None):
        """Start a side, unless it is at work."""
        path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
        self.sides[side] = subprocess.Popen(
            [sys.executable, *self.command(side, samples)],
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        )

    def kill(self, side):
        """SIGKILL for a side, or for a worker of the producers."""
        if side == "worker":
            pid = find_worker(self.sides["producer"].pid)
            if pid is None:
                return False
            os.kill(pid, signal.SIGKILL)
            return True
        process = self.sides[side]
        if process.poll() is not None:
            self.fail(f"the {side} had ended by itself")
        process.kill()
        process.wait()
        return True

    def learnt(self):
        """Patterns that the checkpoint on the disk has learnt."""
        last = self.out / "last.pt"
        return load_checkpoint(last).patterns_seen if last.is_file() else 0

    def wait_for(self, done, what):
        """Wait until something is so."""
        until = time.monotonic() + _WAIT
        while not done():
            for side, process in self.sides.items():
                if process.poll():
                    self.fail(f"the {side} failed")
            if time.monotonic() > until:
                self.fail(f"{what} did not come")
            time.sleep(0.1)

    def end_at(self, samples=None):
        """Have the producers end where they are, or later, and wait for both sides.

        Returns:
            Where the set ends.
        """
        self.sides["producer"].terminate()
        self.sides["producer"].wait(60)
        samples = max(written(self.place), samples or 0)
        self.start("producer", samples)
        self.finish()
        return samples

    def finish(self):
        """Wait until both have ended."""
        for side in ("producer", "trainer"):
            if self.sides[side].wait(_WAIT * 5):
                self.fail(f"the {side} failed")

    def stop(self):
        """End what is left."""
        for process in self.sides.values():
            if process.poll() is None:
                process.kill()
                process.wait()


def find_worker(driver):
    """Process of a Ray worker of a driver that is writing; None if there is none."""
    parents, workers = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            parents[int(folder.name)] = int(stat[1])
            if (folder / "cmdline").read_bytes().startswith(b"ray::ShardWorker"):
                workers.append(int(folder.name))
        except OSError:
            continue
    for pid in workers:
        parent = pid
        while parent in parents:
            if parent == driver:
                return pid
            parent = parents[parent]
    return None


def freed(place, shard_samples=SHARD_SAMPLES):
    """Samples below the last shard that was given free or is gone."""
    from pxrdbench.dataset.storage.open import open_store
    from pxrdbench.learning.loading.following import find_origin

    return find_origin(open_store(place), "trainer") * shard_samples


def written(place):
    """Samples up to the last shard that was listed."""
    from pxrdbench.dataset.storage.open import open_store

    names = open_store(place).sizes()
    found = [re.fullmatch(r"shard-(\d+)\.json", name) for name in names]
    most = max([int(match[1]) for match in found if match], default=-1) + 1
    return max(most * SHARD_SAMPLES, freed(place))


def check_lives(pair):
    """Compare what each life read with what the last weights claim.

    Returns:
        Samples learnt in all, and lives of the trainer that read any.
    """
    lives, ended = [], None
    for line in pair.log.read_text().splitlines():
        entry = json.loads(line)
        if "life" in entry:
            lives.append({"reads": [], "begins": None})
        elif "begins" in entry:
            lives[-1]["begins"] = entry["begins"]
        elif "read" in entry:
            lives[-1]["reads"].append(entry["read"])
        else:
            ended = entry["ended"]
    lives = [life for life in lives if life["reads"]]
    reached = 0
    for number, life in enumerate(lives):
        start = position = life["reads"][0][0]
        for first, count in life["reads"]:
            if first != position:
                raise SystemExit(f"life {number} read {first} behind {position}")
            position += count
        if life["begins"] not in {None, start}:
            raise SystemExit(f"life {number} began at {life['begins']}, read {start}")
        # It goes on from a checkpoint of those before: what they had read, no further.
        if start > reached or (number and start < lives[number - 1]["reads"][0][0]):
            raise SystemExit(f"life {number} began at {start}, behind {reached}")
        reached = position
    if ended is None or not ended <= reached:
        raise SystemExit(f"{ended} were learnt, {reached} read")
    return ended, len(lives)


def look_at(pair):
    """Samples given free, and samples that are safe in a checkpoint: no fewer."""
    free, learnt = freed(pair.place), pair.learnt()
    if free > learnt:
        raise SystemExit(f"{free} were given free where {learnt} are safe")
    return free, learnt


def kill_at_random(pair, kills, random_source, say=print):
    """Kill sides again and again; which ones."""
    pair.start("producer")
    pair.start("trainer")
    pair.wait_for(lambda: pair.learnt() > 0, "a first checkpoint")
    done = []
    while len(done) < kills:
        time.sleep(random_source.uniform(0.0, 5.0))
        side = random_source.choice(["producer", "trainer", "worker"])
        if not pair.kill(side):
            side = "producer"
            pair.kill(side)
        free, learnt = look_at(pair)
        done.append(side)
        say(f"kill {len(done)}: {side}, {learnt:,} learnt, {free:,} given free")
        if side != "worker":
            pair.start(side)
            if random_source.random() < 0.7:  # else again before it is at work
                seen = pair.learnt()
                pair.wait_for(lambda before=seen: pair.learnt() > before, "progress")
    return done


def same_weights(one, other):
    """Whether two checkpoints hold the same bits."""
    a, b = (load_checkpoint(path).state_dict for path in (one, other))
    return all(torch.equal(a[name], b[name]) for name in a)


def main():
    """Do it and print the result as JSON; exit status 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=1500.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(measure(Path(name), options), indent=1))


def measure(folder, options, say=print):
    """Kill, finish, and compare with an undisturbed pair."""
    killed = Pair(folder / "killed", options.rate)
    plain = Pair(folder / "plain")
    try:
        done = kill_at_random(killed, options.kills, random.Random(options.seed), say)
        samples = killed.end_at()
        ended, lives = check_lives(killed)
        plain.start("producer", samples)
        plain.start("trainer")
        plain.finish()
    finally:
        killed.stop()
        plain.stop()
    paths = [pair.out / "last.pt" for pair in (killed, plain)]
    seen = [load_checkpoint(path).patterns_seen for path in paths]
    result = {
        "kills": {side: done.count(side) for side in sorted(set(done))},
        "samples": samples,
        "lives_of_the_trainer": lives,
        "learnt": ended,
        "patterns_seen": seen,
        "same_weights_bit_for_bit": same_weights(*paths),
    }
    if not samples == ended == seen[0] == seen[1]:
        raise SystemExit(f"counts differ: {result}")
    return result


if __name__ == "__main__":
    main()
