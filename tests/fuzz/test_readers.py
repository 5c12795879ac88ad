"""Each reader survives a few seconds of mutated files; long runs are by hand."""

import os
import time

import numpy as np
import pytest
from fuzz_readers import READERS, honest, is_refused, mutate

# Eleven readers: well under two minutes in all.
SECONDS = float(os.environ.get("PXRDBENCH_FUZZ_SECONDS", "4"))


@pytest.mark.parametrize("reader", READERS)
def test_mutated_files_are_refused_in_a_sentence(reader):
    seeds, rng = honest(reader), np.random.default_rng(20261130)
    for data in seeds:
        is_refused(reader, data)
    end, runs, slowest = time.monotonic() + SECONDS, 0, 0.0
    while time.monotonic() < end:
        data = mutate(seeds[int(rng.integers(len(seeds)))], seeds, rng)
        begun = time.thread_time()
        try:
            is_refused(reader, data)
        except Exception:
            (path := os.environ.get("PXRDBENCH_FUZZ_KEEP")) and _keep(
                path, reader, data
            )
            raise
        slowest = max(slowest, time.thread_time() - begun)
        runs += 1
    print(f"{reader}: {runs} executions, the slowest {slowest:.2f} s")
    assert runs > 10
    assert slowest < 10.0


def _keep(folder, reader, data):
    from pathlib import Path

    place = Path(folder) / reader
    place.mkdir(parents=True, exist_ok=True)
    (place / f"crash-{abs(hash(data)):x}").write_bytes(data)


@pytest.mark.parametrize("reader", READERS)
def test_an_honest_file_is_read(reader):
    assert not is_refused(reader, honest(reader)[0])
