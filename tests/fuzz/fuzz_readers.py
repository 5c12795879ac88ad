"""Every reader of outside bytes, and honest files that a fuzzer starts from.

    pytest tests/fuzz                                        # what CI runs
    python tests/fuzz/fuzz_readers.py prior --runs 20000  # with atheris, by coverage

A reader may give a value or raise a `PxrdbenchError`. Anything else is a crash, more
than ten seconds a hang. What was found lies in ``seeds/<reader>/`` and is read first.
"""

import argparse
import io
import json
import sys
import tarfile
import tempfile
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pxrdbench.benchmark.foreign.contract import InputContract
from pxrdbench.benchmark.leaderboard.checks import (
    find_internal_faults,
    find_schema_faults,
)
from pxrdbench.benchmark.scoring.evaluation_record import Evaluation
from pxrdbench.benchmark.scoring.predictions import Predictions
from pxrdbench.crystal.cif_reader.read import read_blocks
from pxrdbench.crystal.generator.draw import draw_crystals
from pxrdbench.crystal.prior.prior import Prior
from pxrdbench.dataset.recipes.card import RecipeCard
from pxrdbench.dataset.shards.manifest import ShardRecord
from pxrdbench.dataset.shards.shard import MEMBER_TYPES, read_block
from pxrdbench.errors import PxrdbenchError, ShardError, SplitError
from pxrdbench.outside import guard, parse_strict_json, read_arrays
from pxrdbench.sources.scans.read import read_scan_bytes
from pxrdbench.tracks.frozen_peaks import FrozenPeaks

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "v0.1.0"
SEEDS = ROOT / "tests" / "fuzz" / "seeds"
_SCRATCH = Path(tempfile.mkdtemp(prefix="pxrdbench-fuzz-"))


def read_prior(data: bytes) -> None:
    prior = Prior.read(io.BytesIO(data), "a prior")
    draw_crystals(prior, 1, 0, 2)  # whatever passes is drawn from


def read_peaks(data: bytes) -> None:
    with guard(SplitError, "damaged"):
        arrays = read_arrays(io.BytesIO(data), 2**28)
        FrozenPeaks.from_streams(
            {name.partition(".")[2]: array for name, array in arrays.items()}
        ).to_peaks()


def read_row(data: bytes) -> None:
    record = parse_strict_json(data, "a row")
    if not find_schema_faults(record):
        find_internal_faults(record)


def read_predictions(data: bytes) -> None:
    path = _SCRATCH / "predictions.h5"
    path.write_bytes(data)
    Predictions.read(path)


def read_record(data: bytes) -> None:
    ShardRecord.from_json(data).find_fault("shard-000000.json", 64, 32)


def read_card(data: bytes) -> None:
    contents = parse_strict_json(data, "a set", ShardError)
    RecipeCard.from_dict(contents.get("recipe"))


READERS: dict[str, Callable[[bytes], object]] = {
    "prior": read_prior,
    "block": read_block,
    "record": read_record,
    "card": read_card,
    "peaks": read_peaks,
    "row": read_row,
    "evaluation": lambda data: Evaluation.from_json(data.decode(errors="replace")),
    "contract": lambda data: InputContract.parse(data.decode(errors="replace"), "it"),
    "predictions": read_predictions,
    "scan": lambda data: read_scan_bytes(data, "scan.xy"),
    "cif": lambda data: read_blocks(data.decode(errors="replace")),
}


def honest(reader: str) -> list[bytes]:
    """Files of honest makers, small ones, and what fuzzing has found before."""
    kept = sorted((SEEDS / reader).glob("*"))
    return [*_honest(reader), *(path.read_bytes() for path in kept)]


def _honest(reader: str) -> list[bytes]:
    shards = GOLDEN / "shards"
    row = ROOT / "leaderboards" / "aflow-prototypes" / "class-order.json"
    if reader == "prior":
        return [(GOLDEN / "prior.npz").read_bytes()]
    if reader == "block":
        record = ShardRecord.from_json((shards / "shard-000000.json").read_bytes())
        tar = (shards / "shard-000000.tar").read_bytes()
        return [tar[: record.block_offset[1]], _small_block()]
    if reader == "record":
        return [(shards / "shard-000000.json").read_bytes()]
    if reader == "card":
        return [(shards / "dataset.json").read_bytes()]
    if reader == "peaks":
        return [(GOLDEN / "track" / "peaks.npz").read_bytes()]
    if reader == "row":
        return [row.read_bytes()]
    if reader == "evaluation":
        return [json.dumps(json.loads(row.read_text())["evaluation"]).encode()]
    if reader == "contract":
        grid = {"start": 5.0, "stop": 90.0, "points": 8501}
        about = {"space_groups": [2, 14], "grid": grid, "radiation": "CuKa1"}
        return [json.dumps(about | {"scaling": "sum", "mask": False}).encode()]
    if reader == "predictions":
        path = _SCRATCH / "honest.h5"
        Predictions(
            ids=("a", "b"),
            logits=np.zeros((2, 2), np.float16),
            space_groups=(2, 14),
            track="t",
            part="test",
            track_version="1",
            track_digest="0",
            class_frequencies=np.array([0.5, 0.5]),
        ).write(path)
        return [path.read_bytes()]
    if reader == "scan":
        rows = "\n".join(f"{5 + k / 10:.1f} {9 + (k == 200) * 900}" for k in range(99))
        xrdml = "<?xml version='1.0'?><xrdMeasurements></xrdMeasurements>"
        return [f"# radiation CuKa\n{rows}\n".encode(), xrdml.encode(), b"RAW1.01\0"]
    text = (
        "data_a\n_cell_length_a 5.6\n_cell_length_b 5.6\n_cell_length_c 5.6\n"
        "_cell_angle_alpha 90\n_cell_angle_beta 90\n_cell_angle_gamma 90\n"
        "_space_group_IT_number 225\nloop_\n_atom_site_label\n_atom_site_fract_x\n"
        "_atom_site_fract_y\n_atom_site_fract_z\nNa1 0 0 0\nCl1 0.5 0.5 0.5\n"
    )
    return [text.encode()]


def _small_block() -> bytes:
    values = {"space_group": [225], "crystallite_size": [50.0], "peak_count": [2]}
    values |= {"two_theta": [10**8, 2 * 10**8], "intensity": [65535, 1000]}
    about = {"first": 0, "samples": 1, "peaks": 2, "wavelength": 1.5, "recipe": ""}
    members = {"json": json.dumps(about).encode()}
    members |= {n: np.array(values[n], t).tobytes() for n, t in MEMBER_TYPES.items()}
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(f"000000000000.{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        end = tar.offset
    return file.getvalue()[:end]


def is_refused(reader: str, data: bytes) -> bool:
    """Read; only errors of ours are taken for an answer."""
    try:
        READERS[reader](data)
    except PxrdbenchError:
        return True
    return False


def mutate(data: bytes, others: list[bytes], rng: np.random.Generator) -> bytes:
    """Change a file as fuzzers do: flips, cuts, copies, numbers, other files."""
    content = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        place = int(rng.integers(len(content) + 1))
        length = int(2 ** rng.uniform(0, 8))
        match int(rng.integers(7)):
            case 0 if place < len(content):
                content[place] ^= 1 << int(rng.integers(8))
            case 1:
                del content[place : place + length]
            case 2:
                content[place:place] = content[place : place + length]
            case 3:
                content[place : place + length] = rng.bytes(length)
            case 4:
                word = _WORDS[int(rng.integers(len(_WORDS)))]
                content[place : place + len(word)] = word
            case 5:
                word = _WORDS[int(rng.integers(len(_WORDS)))]
                content[place:place] = word
            case 6:
                other = others[int(rng.integers(len(others)))]
                start = int(rng.integers(len(other) + 1))
                content[place : place + length] = other[start : start + length]
    return bytes(content)


# What has broken readers before.
_WORDS = (
    *(b"NaN", b"1e999", b"-1", b"0", b"1" + b"0" * 400, b"null", b"true", b"[]", b"{}"),
    *(b"[" * 3000, b'"\\ud800"', b"\xff\xfe", b"\0", b"\x1b[2J", b"../", b"\n", b'"'),
    *(b"\xff\xff\xff\xff", b"\0\0\0\x80", b"\x7f" * 8, b"e308", b"(1/0)", b"99999999"),
)


def _own_functions() -> list[types.FunctionType]:
    """Functions of ours that are plain Python: compiled kernels stay as they are."""
    found: dict[int, types.FunctionType] = {}
    for name, module in list(sys.modules.items()):
        if not name.startswith("pxrdbench."):
            continue
        for value in list(vars(module).values()):
            inner = list(vars(value).values()) if isinstance(value, type) else [value]
            for item in inner:
                plain = getattr(item, "__func__", item)
                if isinstance(plain, types.FunctionType) and plain.__module__ == name:
                    found[id(plain)] = plain
    return list(found.values())


def main() -> None:
    """Fuzz one reader with atheris, so many times."""
    import atheris

    parser = argparse.ArgumentParser()
    parser.add_argument("reader", choices=sorted(READERS))
    parser.add_argument("--runs", type=int, default=20_000)
    chosen = parser.parse_args()
    corpus = Path(tempfile.mkdtemp(prefix=f"fuzz-{chosen.reader}-"))
    for number, data in enumerate(honest(chosen.reader)):
        (corpus / f"seed-{number}").write_bytes(data)
    found = SEEDS / chosen.reader
    found.mkdir(parents=True, exist_ok=True)
    for function in _own_functions():
        atheris.instrument_func(function)
    options = [
        *(f"-runs={chosen.runs}", "-timeout=10", "-rss_limit_mb=2048"),
        *(f"-artifact_prefix={found}/", "-max_len=200000", str(corpus)),
    ]
    atheris.Setup([sys.argv[0], *options], lambda data: is_refused(chosen.reader, data))
    atheris.Fuzz()


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
