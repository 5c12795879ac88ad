"""Score models on the measured patterns of the shared data.

    python docs/score_measured.py A.pt [A2.pt …] [--against B.pt …] [--out F.json]

Several models are seeds of one: their accuracies are averaged. With ``--against`` the
difference between the two is given with a paired interval (the same resamples for
both, patterns as clusters where minerals are not known).

The sets, each by its own name; they need PXRDBENCH_TEST_DATA:

rruff_agi     725 RRUFF patterns of the repository AGI-init/XRDs, space groups, no
              minerals and no trigonal group: "accuracy on RRUFF" it is not
xred_rruff90  69 RRUFF patterns of WPEM/XRED, crystal family only; at least 21 of them
              are in rruff_agi too, so the two are never added up
iucr_pdcif    powder CIFs of Acta Cryst., those that name the space group of their phase

Whatever else can be read is run through and counted, whatever cannot is named.
"""

import argparse
import csv
import io
import json
import os
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pxrdbench.crystal.symmetry.symbols import find_space_group
from pxrdbench.crystal.symmetry.tables import crystal_system
from pxrdbench.diffraction.radiation import Radiation
from pxrdbench.errors import SourceError
from pxrdbench.learning.models.checkpoint import load_classifier
from pxrdbench.prediction.predict import (
    contract_of,
    predict_scan_logits,
    to_probabilities,
)
from pxrdbench.prediction.prepare import prepare_scan
from pxrdbench.sources.scans.pattern import MeasuredPattern
from pxrdbench.sources.scans.read import (
    find_scans,
    make_pattern,
    read_scan,
    read_scan_bytes,
)
from pxrdbench.studies.resampling import percent_interval

COPPER = Radiation.parse("CuKa")


@dataclass(frozen=True, eq=False)
class Labelled:
    """A measured pattern and what is known of it."""

    pattern: MeasuredPattern
    radiation: Radiation
    space_group: int = 0
    family: str = ""
    cluster: str = ""


@dataclass
class Result:
    """Ranks of the truth in one set, by model, and what could not be done."""

    clusters: list[str] = field(default_factory=list)
    known: list[bool] = field(default_factory=list)
    ranks: list[list[int]] = field(default_factory=list)
    shares: list[list[float]] = field(default_factory=list)
    prior: list[int] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def family_of(space_group: int) -> str:
    """Crystal family: XRED counts trigonal minerals as hexagonal."""
    system = crystal_system(space_group)
    return "hexagonal" if system == "trigonal" else system


def read_agi(data: Path) -> Iterator[Labelled]:
    """The 725; the first point of each is padding."""
    with np.load(data / "rruff/rruff_agi_patterns.npz", allow_pickle=False) as file:
        intensity, names, groups = (
            file[name] for name in ("intensity", "id", "space_group")
        )
    angles = 5.0 + 0.01 * np.arange(intensity.shape[1])
    for row, name, group in zip(intensity, names, groups, strict=True):
        pattern = make_pattern(angles[1:], row[1:].astype(float), name=str(name))
        yield Labelled(pattern, COPPER, int(group), cluster=str(name))


def read_xred(data: Path) -> Iterator[Labelled]:
    """The 69; one chemistry is one cluster."""
    with (data / "rruff/xred_rruff90_labels.csv").open() as file:
        labels = {row["rruff_id"]: row for row in csv.DictReader(file)}
    with zipfile.ZipFile(data / "rruff/xred_rruff90_csv.zip") as archive:
        for name in sorted(archive.namelist()):
            row = labels.get(Path(name).stem)
            if row is None:
                continue
            (pattern,) = read_scan_bytes(archive.read(name), name)
            family = row["crystal_system_upstream"]
            yield Labelled(
                pattern, COPPER, family=family, cluster=row["ideal_chemistry"]
            )


def read_iucr(data: Path) -> Iterator[Labelled]:
    """Those that say their group and X-rays."""
    with zipfile.ZipFile(data / "cifs/iucr_powder_pdcif.zip") as archive:
        for name in sorted(archive.namelist()):
            short = name.rsplit("files_", 1)[-1]
            for pattern in read_scan_bytes(archive.read(name), short):
                symbol = pattern.metadata.get("space_group_symbol", "")
                group = find_space_group(symbol)
                if group and pattern.radiation is not None:
                    yield Labelled(pattern, pattern.radiation, group, cluster=short)


SETS = {"rruff_agi": read_agi, "xred_rruff90": read_xred, "iucr_pdcif": read_iucr}


def score_set(entries: Iterator[Labelled], classifiers: list[Any]) -> Result:
    """Rank of the truth for every pattern and model."""
    result = Result()
    for entry in entries:
        try:
            logits = [
                predict_scan_logits(
                    model,
                    [prepare_scan(entry.pattern, entry.radiation, contract_of(model))],
                )[0]
                for model in classifiers
            ]
        except SourceError as error:
            # A pattern that is refused is a pattern that is not solved.
            result.failed.append(str(error))
            logits = [np.zeros(len(model.space_groups)) for model in classifiers]
            ranks, shares, prior = (
                [10**6] * len(classifiers),
                [0.0] * len(classifiers),
                0,
            )
        else:
            ranks, shares, prior = [], [], 0
            for model, row in zip(classifiers, logits, strict=True):
                rank, share = rank_truth(
                    entry, model.space_groups, to_probabilities(row)
                )
                ranks.append(rank)
                shares.append(share)
            frequencies = classifiers[0].checkpoint.class_frequencies
            if len(frequencies):
                prior, _ = rank_truth(
                    entry, classifiers[0].space_groups, np.asarray(frequencies)
                )
        result.clusters.append(entry.cluster)
        result.ranks.append(ranks)
        result.shares.append(shares)
        result.prior.append(prior or 10**6)
        known = entry.space_group in classifiers[0].space_groups
        result.known.append(known or bool(entry.family))
    return result


def rank_truth(
    entry: Labelled, groups: tuple[int, ...], probability: np.ndarray
) -> tuple[int, float]:
    """Place of the truth from 1, and its probability; a million if it has none."""
    if entry.family:
        totals: dict[str, float] = {}
        for group, share in zip(groups, probability, strict=True):
            name = family_of(group)
            totals[name] = totals.get(name, 0.0) + float(share)
        share = totals.get(entry.family, 0.0)
        return 1 + sum(other > share for other in totals.values()), share
    if entry.space_group not in groups:
        return 10**6, 0.0
    place = groups.index(entry.space_group)
    share = float(probability[place])
    return 1 + int((probability > share).sum()), share


def summarise(result: Result, ks: tuple[int, ...]) -> dict[str, Any]:
    """Accuracies in per cent with 95 % intervals over clusters."""
    ranks = np.array(result.ranks, np.int64).reshape(len(result.ranks), -1)
    known = np.array(result.known, bool)
    record: dict[str, Any] = {
        "patterns": len(ranks),
        "of_groups_that_the_model_knows": int(known.sum()),
        "refused": result.failed,
    }
    for k in ks:
        hits = (ranks <= k).mean(axis=1)
        record[f"top_{k}"] = percent_interval(hits, result.clusters)
        if not known.all():
            named = [
                c
                for c, is_known in zip(result.clusters, known, strict=True)
                if is_known
            ]
            record[f"top_{k}_of_known_groups"] = percent_interval(hits[known], named)
        if min(result.prior) < 10**6:
            record[f"top_{k}_by_frequency_in_training"] = round(
                100 * float((np.array(result.prior) <= k).mean()), 1
            )
    shares = np.array(result.shares).clip(1e-12)
    if known.any():
        record["mean_log_loss_of_known_groups"] = round(
            float(-np.log(shares[known]).mean()), 3
        )
    return record


def compare(first: Result, second: Result, ks: tuple[int, ...]) -> dict[str, Any]:
    """Differences first minus second, with paired intervals, and seed by seed."""
    a, b = np.array(first.ranks), np.array(second.ranks)
    record: dict[str, Any] = {}
    for k in ks:
        difference = (a <= k).mean(axis=1) - (b <= k).mean(axis=1)
        record[f"top_{k}"] = percent_interval(difference, first.clusters)
        if a.shape == b.shape:
            by_seed = 100 * ((a <= k).mean(axis=0) - (b <= k).mean(axis=0))
            record[f"top_{k}"]["by_seed"] = [round(float(d), 1) for d in by_seed]
    return record


def run_through(data: Path, classifier: Any) -> dict[str, Any]:
    """Read and predict every file of measurements there is; count and name."""
    archives = ["experimental/dara_xrdml.zip", "experimental/autoxrd_xy.zip",
                "experimental/xred_experiments.zip"]  # fmt: skip
    record: dict[str, Any] = {}
    contract = contract_of(classifier)

    def attempt(files: Iterator[tuple[str, bytes | Path]], name: str) -> None:
        done, refused, warned, seconds = 0, [], 0, []
        for label, source in files:
            try:
                scans = (
                    read_scan(source)
                    if isinstance(source, Path)
                    else read_scan_bytes(source, label)
                )
                for scan in scans:
                    start = time.process_time()
                    prepared = prepare_scan(scan, scan.radiation or COPPER, contract)
                    predict_scan_logits(classifier, [prepared])
                    seconds.append(time.process_time() - start)
                    done += 1
                    warned += bool(prepared.warnings)
            except SourceError as error:
                reason = str(error).removeprefix(f"{Path(label).name}: ")
                refused.append(f"{label}: {reason}")
        record[name] = {
            "scans": done,
            "with_warnings": warned,
            "refused": refused,
            "median_cpu_seconds": round(float(np.median(seconds)), 3)
            if seconds
            else None,
        }

    attempt(
        ((str(p.relative_to(data)), p) for p in find_scans(data / "formats")), "formats"
    )
    for archive in archives:
        with zipfile.ZipFile(io.BytesIO((data / archive).read_bytes())) as file:
            members = [n for n in sorted(file.namelist()) if not n.endswith("/")]
            attempt(((n, file.read(n)) for n in members), Path(archive).stem)
    return record


def _names(paths: list[Path], models: list[Any]) -> list[str]:
    return [f"{p.name} {m.digest[:12]}" for p, m in zip(paths, models, strict=True)]


def main() -> None:
    """Score, compare, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--against", nargs="*", type=Path, default=[])
    parser.add_argument("--out", type=Path, help="JSON file; else on stdout")
    parser.add_argument("--every", type=int, default=1, help="take each n-th pattern")
    parser.add_argument("--no-run-through", action="store_true")
    arguments = parser.parse_args()
    data = Path(os.environ["PXRDBENCH_TEST_DATA"])
    models = [load_classifier(path) for path in arguments.models]
    others = [load_classifier(path) for path in arguments.against]
    record: dict[str, Any] = {
        "models": _names(arguments.models, models),
        "against": _names(arguments.against, others),
        "sets": {},
    }
    for name, read in SETS.items():
        ks = (1,) if name == "xred_rruff90" else (1, 5, 10)
        entries = list(read(data))[:: arguments.every]
        result = score_set(iter(entries), models)
        record["sets"][name] = summarise(result, ks)
        if others:
            other = score_set(iter(entries), others)
            record["sets"][name]["against"] = summarise(other, ks)
            record["sets"][name]["difference"] = compare(result, other, ks)
    if not arguments.no_run_through:
        record["run_through"] = run_through(data, models[0])
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    if arguments.out:
        arguments.out.write_text(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
