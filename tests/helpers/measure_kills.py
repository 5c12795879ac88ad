"""Kill the driver of a run with SIGKILL at random moments, resume, compare the bytes.

    python tests/helpers/measure_kills.py [--kills 20] [--samples 60000] [--seed 0]

An undisturbed run writes a set; another one is killed again and again, each time after
a random part of what is left to do, and resumed by the same call. In the end both
folders must hold the same shards and records, byte for byte.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHARD_SAMPLES = 1000

SCRIPT = """
import sys
from pathlib import Path
from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.factory import GenerateConfig, generate
out, samples, shard_samples, workers = sys.argv[1], *map(int, sys.argv[2:])
def tell(progress):
    print(progress.phase, progress.samples, flush=True)
report = generate(GenerateConfig(Recipe(seed=7), Path(out), samples=samples,
                  shard_samples=shard_samples, workers=workers), tell)
print("done", report.samples, flush=True)
"""


def start(out, samples, shard_samples, workers):
    """Start a run in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(out)]
        + [str(n) for n in (samples, shard_samples, workers)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process):
    """Wait for a run to end; the samples in the folder."""
    phase, samples = process.communicate()[0].splitlines()[-1].split()
    if phase != "done":
        raise SystemExit(f"a run ended in the phase {phase}")
    return int(samples)


def kill_in_the_middle(process, random_source, fraction):
    """Kill a driver while it starts, or when it has made a part of what is left.

    Returns:
        The phase and the samples at that moment.
    """
    first, wanted, phase, samples = None, 0.0, "none", 0
    for line in process.stdout:
        phase, text = line.split()
        samples = int(text)
        if phase == "done":
            break
        if first is None:
            first = samples
            wanted = first + fraction
            if random_source.random() < 0.15:  # while kernels and Ray start
                time.sleep(4 * random_source.random())
                break
        if samples >= wanted:
            time.sleep(random_source.random() * 0.3)
            break
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    return phase, samples


def files_of(folder):
    """Shards, records and description: all that a set is."""
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if path.name not in {".lock", "log.jsonl"}
    }


def count_ray_processes():
    """Processes of Ray that are alive on this machine and belong to this user."""
    found = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if folder.stat().st_uid == os.getuid():
                command = (folder / "cmdline").read_bytes()
                found += b"raylet/raylet" in command or b"gcs_server" in command
        except OSError:
            continue
    return found


def run_killed(out, samples, shard_samples, workers, kills, random_source, say=print):
    """Make a set under many kills; the moments of the kills."""
    moments = []
    for number in range(kills):
        process = start(out, samples, shard_samples, workers)
        done = (
            len(list(out.glob("shard-*.json"))) * shard_samples if out.exists() else 0
        )
        # Kills spread over the whole set; news come late, so half the mean step.
        step = random_source.random() * (samples - done) / (kills - number + 1)
        moment = kill_in_the_middle(process, random_source, step)
        moments.append(moment)
        say(f"kill {number + 1}: {moment[0]}, {moment[1]:,} samples")
    finish(start(out, samples, shard_samples, workers))
    return moments


def main():
    """Do it and print the result as JSON; exit status 1 if a byte differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--samples", type=int, default=60_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    before = count_ray_processes()
    with tempfile.TemporaryDirectory() as folder:
        plain, killed = Path(folder) / "plain", Path(folder) / "killed"
        arguments = options.samples, SHARD_SAMPLES, options.workers
        finish(start(plain, *arguments))
        moments = run_killed(
            killed, *arguments, options.kills, random.Random(options.seed)
        )
        one, other = files_of(plain), files_of(killed)
        differing = [n for n in one | other if one.get(n) != other.get(n)]
        time.sleep(10)
        result = {
            "kills": len(moments),
            "phases": [phase for phase, _ in moments],
            "samples_at_kills": [n for _, n in moments],
            "shards": len(list(plain.glob("*.tar"))),
            "identical": not differing,
            "differing": differing,
            "ray_processes_left": count_ray_processes() - before,
        }
    print(json.dumps(result, indent=1))
    sys.exit(bool(differing))


if __name__ == "__main__":
    main()
