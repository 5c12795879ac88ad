"""What `pxrdbench predict` is worth on measured patterns, and its calibration.

    python docs/measure_prediction.py read NAME --out readings.npz [--prior minerals]
    python docs/measure_prediction.py fit readings.npz
    python docs/measure_prediction.py report readings.npz [--json F]
    python docs/measure_prediction.py compare readings.npz

``read`` keeps what reader and network say of every scan of a set: ``named``, ``agi``,
``xred``, ``iucr``, ``mixtures`` or ``made`` (noise, humps, empty holders, mixtures of
three minerals), or ``cell`` (``named`` with the stated cell), ``formula`` (with the
formula). ``fit`` takes every third pattern of ``named`` (index % 3 == 0) and writes
``prediction/calibration.json``; ``report`` says what the others are worth (all patterns
of other sets), ``compare`` sets them beside simpler answers. Needs PXRDBENCH_TEST_DATA.
"""

import argparse
import csv
import json
import os
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path += [str(ROOT / "tests/helpers/physics"), str(ROOT / "docs")]

from score_measured import read_agi, read_iucr, read_xred  # noqa: E402 - of a script

from pxrdbench.crystal.symmetry.tables import (  # noqa: E402
    CRYSTAL_SYSTEMS,
    crystal_system,
)
from pxrdbench.diffraction.radiation import Radiation  # noqa: E402
from pxrdbench.errors import PxrdbenchError  # noqa: E402
from pxrdbench.prediction import doubts, predict, reading  # noqa: E402
from pxrdbench.prediction.calibration import Calibration  # noqa: E402
from pxrdbench.prediction.known import Known, make_known  # noqa: E402
from pxrdbench.prediction.together import family  # noqa: E402
from pxrdbench.sources.scans.read import make_pattern, read_scan_bytes  # noqa: E402

COPPER = Radiation.parse("CuKa")
DATA = Path(os.environ.get("PXRDBENCH_TEST_DATA", "."))


def say(*words: object) -> None:
    """Write a line."""
    sys.stdout.write(" ".join(str(word) for word in words) + "\n")
    sys.stdout.flush()


class Case(NamedTuple):
    """A scan and what is known of it."""

    name: str
    two_theta: np.ndarray
    intensity: np.ndarray
    radiation: Radiation
    space_group: int = 0
    family: str = ""
    known: dict[str, Any] | None = None


def named_labels() -> list[dict[str, str]]:
    """Labels of rruff_named in the order of the file."""
    with (DATA / "rruff/rruff_named_labels.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def named(what: str) -> Iterator[Case]:
    """The 184 of rruff_named, with what is asked to be known."""
    with np.load(DATA / "rruff/rruff_named_patterns.npz") as arrays:
        for row in named_labels():
            x, y = arrays[row["id"]].astype(float).T
            known: dict[str, Any] = {}
            if what == "cell":
                names = ("a", "b", "c", "alpha", "beta", "gamma")
                known["cell"] = tuple(float(row[n]) for n in names)
            if what == "formula":
                known["formula"] = row["formula"]
            yield Case(row["id"], x, y, COPPER, int(row["space_group"]), "", known)


def cases(name: str) -> Iterator[Case]:
    """All scans of a set."""
    if name in {"named", "cell", "formula"}:
        yield from named(name)
    elif name == "made":
        yield from made()
    elif name == "mixtures":
        yield from mixtures()
    else:
        shared = {row["agi_id"] for row in named_labels()}
        sets = {"agi": read_agi, "xred": read_xred, "iucr": read_iucr}
        for one in sets[name](DATA):
            if name == "agi" and one.cluster in shared:
                continue
            p = one.pattern
            yield Case(
                one.cluster or p.name, p.two_theta, p.intensity, one.radiation,
                one.space_group, one.family,
            )  # fmt: skip


def mixtures() -> Iterator[Case]:
    """Measured mixtures: two phases or more in the file's name."""
    for archive in ("dara_xrdml", "autoxrd_xy", "xred_experiments"):
        with zipfile.ZipFile(DATA / f"experimental/{archive}.zip") as file:
            for name in sorted(file.namelist()):
                lower = name.lower()
                is_mixed = {
                    "dara_xrdml": True,
                    "autoxrd_xy": "+" in name,
                    "xred_experiments": "phase" in lower and "monophase" not in lower,
                }[archive]
                if name.endswith("/") or not is_mixed:
                    continue
                p = read_scan_bytes(file.read(name), name)[0]
                yield Case(name, p.two_theta, p.intensity, p.radiation or COPPER)


def made(count: int = 200) -> Iterator[Case]:
    """Noise, amorphous humps, mixtures of three minerals, empty holders; 50 each."""
    from laboratory_minerals import GRID, MINERALS, laboratory_draw, lines_of

    random = np.random.default_rng(7)
    x = GRID
    kinds = ("noise", "hump", "mixture", "empty")
    for number in range(count):
        kind = kinds[number % 4]
        level = 10 ** random.uniform(1.0, 3.0)
        slope = level * random.uniform(0.5, 5.0) * np.exp(-x / random.uniform(5, 20))
        if kind == "noise":
            y = random.poisson(level, len(x)).astype(float)
        elif kind == "hump":
            center, width = random.uniform(18, 35), random.uniform(4, 9)
            hump = level * random.uniform(1, 8) * np.exp(-(((x - center) / width) ** 2))
            y = random.poisson(level + slope + hump).astype(float)
        elif kind == "empty":
            y = random.poisson(level + slope).astype(float)
        else:
            three = random.choice(list(MINERALS), 3, replace=False)
            shares = random.dirichlet((4.0, 4.0, 4.0))
            y = sum(
                share * laboratory_draw(*lines_of(str(name)), number + 1000)
                for name, share in zip(three, shares, strict=True)
            )
        yield Case(kind, x, y, COPPER)


def read_one(case: Case, prior: str | None) -> dict[str, Any]:
    """Reader, network, and what doubts need."""
    known = make_known(prior=prior, **(case.known or {}))
    pattern = make_pattern(case.two_theta, case.intensity, case.radiation, name="x")
    start = time.process_time()
    kept = pattern.two_theta > 0.0
    angles, counts = pattern.two_theta[kept], pattern.intensity[kept]
    found = reading.read_pattern(angles, counts, case.radiation, known)
    network, notes = None, ()
    if known.cell is None or not found.groups.any():
        path = predict.find_model_file()
        network, notes = predict._ask_network(pattern, case.radiation, path)
    took = time.process_time() - start
    foreign, share = doubts.foreign_lines(found)
    return {
        "name": case.name,
        "space_group": case.space_group,
        "family": case.family,
        "groups": found.groups,
        "no_cell": found.no_cell,
        "network": np.full(231, np.nan) if network is None else network,
        "lines": 0 if found.indexing is None else len(found.indexing.lines),
        "residual": 1.0 if found.indexing is None else found.indexing.residual,
        "foreign": len(foreign),
        "foreign_share": share,
        "amorphous": any(n.startswith("Mostly amorphous") for n in notes),
        "mixed": any(n.startswith("Several phases") for n in notes),
        "seconds": took,
    }


def read(name: str, out: Path, prior: str | None) -> None:
    """Keep readings of a set."""
    rows = []
    for number, case in enumerate(cases(name)):
        try:
            rows.append(read_one(case, prior))
        except PxrdbenchError as error:
            say(f"{case.name}: {error}")
        if number % 20 == 19:
            say(number + 1)
    columns = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    np.savez_compressed(out, set=name, prior=prior or "", **columns)


class Row:
    """One reading as `add_up` wants it."""

    def __init__(self, data: dict[str, np.ndarray], row: int) -> None:
        self.groups = data["groups"][row]
        self.no_cell = float(data["no_cell"][row])
        self.is_measured = True


def answer(
    data: dict[str, np.ndarray], row: int, known: Known, numbers: Calibration
) -> tuple[np.ndarray, float]:
    """Probabilities of one scan."""
    network = data["network"][row]
    return reading.add_up(
        Row(data, row),  # type: ignore[arg-type]  # has what is asked for
        None if np.isnan(network).any() else network,
        known,
        numbers,
    )


def load(path: Path) -> dict[str, np.ndarray]:
    """Readings of a set."""
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def known_of(data: dict[str, np.ndarray]) -> Known:
    """The prior, and whether a cell was stated."""
    stated = (5.0, 5.0, 5.0, 90.0, 90.0, 90.0) if str(data["set"]) == "cell" else None
    return make_known(prior=str(data["prior"]) or None, cell=stated)


def fit(path: Path) -> None:
    """Maximise the likelihood of the true group on every third pattern."""
    from scipy.optimize import minimize

    data = load(path)
    known = known_of(data)
    rows = [r for r in range(len(data["name"])) if r % 3 == 0]

    def numbers_of(values: np.ndarray) -> Calibration:
        return Calibration(
            offset=float(values[0]),
            slope=float(np.exp(values[1])),
            group_power=float(np.exp(values[2])),
            network_power=float(np.exp(values[3])),
            prior_power=float(values[4]),
            smoothing=float(1.0 / (1.0 + np.exp(-values[5]))),
        )

    start = np.array([0.0, 0.0, 0.0, -0.3, 0.3, -1.5])

    def cost(values: np.ndarray) -> float:
        numbers = numbers_of(values)
        total = 0.0
        for r in rows:
            shares, _ = answer(data, r, known, numbers)
            total -= np.log(max(shares[data["space_group"][r]], 1e-9))
        # Sixty patterns: numbers stay near those that nothing speaks against.
        return total + 2.0 * float(((values - start) ** 2).sum())

    found = minimize(cost, start, method="Nelder-Mead", options={"maxiter": 600})
    numbers = numbers_of(found.x)
    target = ROOT / "pxrdbench/prediction/calibration.json"
    record = {
        "fitted": f"docs/measure_prediction.py fit, {len(rows)} of rruff_named",
        "prior": known.prior_name,
        "numbers": {k: round(v, 4) for k, v in vars(numbers).items()},
    }
    target.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    say(json.dumps(record, indent=1), cost(start), found.fun)


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """ECE in ten bins of equal width."""
    place = np.minimum((confidence * 10).astype(int), 9)
    return float(
        sum(
            abs(right[place == b].mean() - confidence[place == b].mean())
            * np.mean(place == b)
            for b in range(10)
            if np.any(place == b)
        )
    )


def perfect_error(confidence: np.ndarray, draws: int = 2000) -> float:
    """Mean ECE of a perfectly calibrated forecaster of the same confidences."""
    random = np.random.default_rng(0)
    return float(
        np.mean(
            [
                calibration_error(
                    confidence, (random.random(len(confidence)) < confidence) * 1.0
                )
                for _ in range(draws)
            ]
        )
    )


def report(path: Path, out: Path | None) -> None:
    """Accuracies, calibration, doubts."""
    from pxrdbench.prediction.calibration import load_calibration
    from pxrdbench.studies.resampling import percent_interval

    data = load(path)
    name, known = str(data["set"]), known_of(data)
    numbers = load_calibration()
    rows = np.arange(len(data["name"]))
    if name in {"named", "cell", "formula"}:
        rows = rows[rows % 3 != 0]
    ranks, first, sure, systems, cells = [], [], [], [], []
    for r in rows:
        shares, no_cell = answer(data, int(r), known, numbers)
        cells.append(no_cell)
        first.append(float(shares.max()))
        sure.append(is_sure(data, int(r), no_cell, float(shares.max()), known))
        if data["family"][r]:
            totals: dict[str, float] = {}
            for group in range(1, 231):
                key = family(group)
                totals[key] = totals.get(key, 0.0) + float(shares[group])
            truth = totals[str(data["family"][r])]
            ranks.append(1 + sum(v > truth for v in totals.values()))
            first[-1] = max(totals.values())
        elif data["space_group"][r]:
            truth = shares[data["space_group"][r]]
            ranks.append(1 + int((shares > truth).sum()))
            systems.append(crystal_system(int(data["space_group"][r])))
    record: dict[str, Any] = {
        "set": name,
        "prior": known.prior_name,
        "patterns": len(rows),
        "confident": round(100 * float(np.mean(sure)), 1),
        "median_seconds": round(float(np.median(data["seconds"][rows])), 3),
    }
    if ranks:
        rank, confidence = np.array(ranks), np.array(first)
        labels = [str(data["name"][r]) for r in rows]
        for k in (1,) if data["family"][rows[0]] else (1, 5, 10):
            record[f"top_{k}"] = percent_interval((rank <= k) * 1.0, labels)
        right = (rank == 1) * 1.0
        record["ece"] = round(calibration_error(confidence, right), 4)
        record["ece_of_a_perfect_forecaster"] = round(perfect_error(confidence), 4)
        high = confidence > 0.7
        record["above_70"] = round(100 * float(high.mean()), 1)
        record["right_above_70"] = (
            round(100 * float(right[high].mean()), 1) if high.any() else None
        )
        kept = np.array(sure)[rank == 1]
        record["right_ones_that_are_answered"] = round(100 * float(kept.mean()), 1)
        if len(systems) == len(rows):
            record["by_system"] = {
                s: [int(np.sum(np.array(systems) == s)), *(
                    round(100 * float(np.mean((rank <= k)[np.array(systems) == s])), 1)
                    for k in (1, 5)
                )]
                for s in CRYSTAL_SYSTEMS
                if s in systems
            }  # fmt: skip
    else:
        kinds = np.array([str(n) for n in data["name"]])[rows]
        answers = np.array(sure)
        if name == "made":
            record["confident_by_kind"] = {
                kind: round(100 * float(answers[kinds == kind].mean()), 1)
                for kind in dict.fromkeys(kinds)
            }
        record["confident_ones"] = [str(k) for k in kinds[answers]][:20]
    text = json.dumps(record, indent=1, ensure_ascii=False)
    say(text)
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")


def compare(path: Path) -> None:
    """Reader and network beside what is simpler, on the same patterns, paired.

    Beside: the network alone, the order of the prior's frequencies, and that of the
    set's own other half (even against odd places), the strongest that looks at no
    pattern. Gains have 95 % intervals over patterns.
    """
    from pxrdbench.prediction.calibration import load_calibration

    data, random = load(path), np.random.default_rng(0)
    known, numbers = known_of(data), load_calibration()
    rows = np.arange(len(data["name"]))
    is_split = str(data["set"]) in {"named", "cell", "formula"}
    kept = rows % 3 != 0 if is_split else rows >= 0
    group = data["space_group"]
    half = np.zeros((len(rows), 231))
    for side in (0, 1):
        counts = np.bincount(group[rows % 2 != side], minlength=231)
        half[rows % 2 == side] = counts + known.prior
    shares = {
        "reader and network": np.array(
            [answer(data, int(r), known, numbers)[0] for r in rows]
        ),
        "network alone": np.nan_to_num(data["network"], nan=0.0),
        f"frequencies, {known.prior_name}": np.tile(known.prior, (len(rows), 1)),
        "frequencies, other half": half,
    }
    systems = np.array([crystal_system(int(g)) for g in group])
    high = np.isin(systems, ["tetragonal", "trigonal", "hexagonal"])
    for title, chosen in (
        ("all", kept),
        ("tetragonal, trigonal, hexagonal", kept & high),
    ):
        picks = random.integers(0, chosen.sum(), (4000, int(chosen.sum())))
        for k in (1, 5, 10):
            hits = {}
            for name, values in shares.items():
                truth = values[rows, group]
                rank = 1 + (values > truth[:, None]).sum(axis=1)
                hits[name] = (rank <= k)[chosen] * 1.0
            best = hits["reader and network"]
            for name, others in hits.items():
                low, top = np.percentile(
                    100.0 * (best - others)[picks].mean(axis=1), (2.5, 97.5)
                )
                gain = "" if others is best else f"  gain {low:.1f} to {top:.1f}"
                say(
                    f"{title} ({int(chosen.sum())}) top-{k:<2d} "
                    f"{100 * others.mean():5.1f}  {name}{gain}"
                )


def is_sure(
    data: dict[str, np.ndarray], r: int, no_cell: float, highest: float, known: Known
) -> bool:
    """Whether `find_reasons` has none; from kept numbers, without the scan."""
    lines = int(data["lines"][r])
    share, count = float(data["foreign_share"][r]), int(data["foreign"][r])
    if known.cell is not None:
        return not (
            share > doubts.STATED_FOREIGN
            or float(data["residual"][r]) > doubts.STATED_RESIDUAL
        )
    return not (
        lines < doubts.FEW_LINES
        or bool(data["amorphous"][r])
        or no_cell > 1.0 - doubts.LEAST_CELL
        or share > doubts.FOREIGN
        or (bool(data["mixed"][r]) and count > 2)
        or highest < doubts.LEAST_GROUP
    )


def main() -> None:
    """Read, fit, report or compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["read", "fit", "report", "compare"])
    parser.add_argument("name", help="A set, or a file of readings.")
    parser.add_argument("--out", type=Path, default=Path("readings.npz"))
    parser.add_argument("--prior")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.what == "read":
        read(options.name, options.out, options.prior)
    elif options.what == "fit":
        fit(Path(options.name))
    elif options.what == "compare":
        compare(Path(options.name))
    else:
        report(Path(options.name), options.json)


if __name__ == "__main__":
    main()
