"""Let a loader follow a rolling set for minutes: disk, memory, and no sample twice.

    python tests/factory/measure_rolling.py [--minutes 10] [--rate 2000]
        [--out result.json]

A producer (`generate --rolling`) runs in a process of its own within a small size
limit; `make_loader` reads a `RollingSet` on two threads at a rate of its own. Every ten
seconds the size of the folder and the resident memory of the reader and of the producer
with all its children are noted.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from pxrdbench.dataset.shards.rolling import RollingSet
from pxrdbench.learning.loading.loader import make_loader

SCRIPT = """
import sys
from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.factory import GenerateConfig, generate
generate(GenerateConfig(Recipe(seed=7), sys.argv[1], workers=1, shard_samples=2000,
         max_size_bytes=int(sys.argv[2]), rolling="trainer"))
"""
LIMIT = 20_000_000
BATCH = 250


class Noting:
    """A source that remembers the numbers of all samples it gave."""

    def __init__(self, source):
        self._source = source
        self.given = []

    def __getattr__(self, name):
        return getattr(self._source, name)

    def batch(self, start, count):
        batch = self._source.batch(start, count)
        self.given.append(batch.index)
        return batch


def memory_of(pid):
    """Resident memory of a process and its descendants [bytes]."""
    parents, sizes = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(folder.name)] = int(fields[1])
        sizes[int(folder.name)] = int(fields[21]) * os.sysconf("SC_PAGESIZE")

    def belongs(other):
        return other == pid or (other in parents and belongs(parents[other]))

    return sum(size for other, size in sizes.items() if belongs(other))


def folder_size(folder, ending):
    """Size of the files with an ending [bytes]."""
    total = 0
    for path in folder.glob(f"*{ending}"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def main():
    """Do it and print the figures as JSON; exit status 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=2000.0, help="samples a second")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "set"
        producer = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(folder), str(LIMIT)]
        )
        try:
            while not (folder / "rolling.json").exists():
                time.sleep(0.1)
            result = follow(folder, producer.pid, options)
        finally:
            producer.terminate()
            producer.wait()
    text = json.dumps(result, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")
    sys.exit(not (result["each_once"] and result["largest_shards_bytes"] <= LIMIT))


def follow(folder, producer, options):
    """Read for so many minutes; what was seen."""
    source = Noting(RollingSet(folder, "trainer"))
    loader = make_loader(source, BATCH, workers=2)
    notes, began, looked, patterns = [], None, 0.0, 0
    largest = 0
    for batch in loader:
        now = time.monotonic()
        began = now if began is None else began
        patterns += len(batch.label)
        largest = max(largest, folder_size(folder, ".tar"))
        if now - looked > 10.0:
            looked = now
            notes.append(
                {
                    "seconds": round(now - began, 1),
                    "patterns": patterns,
                    "shards_bytes": folder_size(folder, ".tar"),
                    "folder_bytes": folder_size(folder, ""),
                    "files": len(list(folder.iterdir())),
                    "reader_bytes": memory_of(os.getpid()) - memory_of(producer),
                    "producer_bytes": memory_of(producer),
                }
            )
        if now - began > 60.0 * options.minutes:
            break
        time.sleep(max(0.0, began + patterns / options.rate - now))
    given = np.concatenate(source.given)
    retired = [
        path
        for path in folder.glob("shard-*.json")
        if json.loads(path.read_text()).get("retired")
    ]
    return {
        "minutes": round((time.monotonic() - began) / 60, 2),
        "patterns": patterns,
        "samples_read": len(given),
        "each_once": bool(np.array_equal(np.sort(given), np.arange(len(given)))),
        "redrawn": source.redrawn,
        "limit_bytes": LIMIT,
        "largest_shards_bytes": largest,
        "shards_retired": len(retired),
        "seconds_waited": round(loader.seconds_waited, 2),
        "notes": notes,
    }


if __name__ == "__main__":
    main()
