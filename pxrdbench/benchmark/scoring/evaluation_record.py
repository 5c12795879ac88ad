"""The Evaluation: every number of one model on one track, as data and as JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from pxrdbench.benchmark.scoring.intervals import Estimate
from pxrdbench.errors import EvaluationError
from pxrdbench.files import write_atomically
from pxrdbench.outside import parse_strict_json

FORMAT = "pxrdbench.evaluation"
FORMAT_VERSION = 2
# What version 2 added; an evaluation of version 1 is read without them.
_NEW_PARTS = frozenset({"references", "by_volume", "by_sites"})
# Raised whenever a number of an evaluation would come out otherwise; evaluations of
# different evaluators are never ranked together.
EVALUATOR_VERSION = "2"

# Numbers that are no fractions of crystals: all others lie between 0 and 1.
UNBOUNDED = frozenset({"nll", "nll_all"})


@dataclass(frozen=True)
class Comparison:
    """A model against a baseline, on the same crystals.

    Attributes:
        difference: Model minus baseline, with its paired cluster bootstrap interval.
        only_model: Crystals that only the model gets right.
        only_baseline: Crystals that only the baseline gets right.
        p_value: Exact McNemar test of no difference, two-sided. It takes crystals
            for independent; the interval does not.
    """

    difference: Estimate
    only_model: int
    only_baseline: int
    p_value: float


@dataclass(frozen=True)
class Baseline:
    """An order of the space groups that looks at no pattern.

    Attributes:
        name: ``most_frequent`` (the order of the training's class frequencies) or
            ``hindsight`` (the order of the evaluated part itself, which no other
            fixed order can beat).
        source: Whose frequencies these are.
        space_group: First in the order: the most frequent class.
        metrics: ``top_1``, ``top_5``, ``top_10``.
        comparisons: The model against it, by the same names.
        top_k: Accuracy of the first k guesses, k = 1, 2, ….
    """

    name: str
    source: str
    space_group: int
    metrics: Mapping[str, Estimate]
    comparisons: Mapping[str, Comparison]
    top_k: tuple[float, ...]


@dataclass(frozen=True)
class Reference:
    """What perfect knowledge of a part of the symmetry would give.

    Attributes:
        name: ``extinction_group`` and ``extinction_and_laue`` know these and guess by
            class frequency within: absences only, which intensities can beat.
            ``enantiomorphs`` is the bound that nothing can beat but by chance:
            mirror-image groups have the same patterns.
        source: Whose class frequencies decide.
        metrics: ``top_1``, ``top_5``, ``top_10``.
        comparisons: The model against it, by the same names.
    """

    name: str
    source: str
    metrics: Mapping[str, Estimate]
    comparisons: Mapping[str, Comparison]


@dataclass(frozen=True)
class Bin:
    """Accuracy of the crystals whose property lies in a range.

    Attributes:
        low: Least value in the bin.
        high: Greatest value in the bin.
        crystals: Number of crystals.
        mean: Mean of the property.
        top_1: Accuracy, where the bin holds a crystal.
    """

    low: float
    high: float
    crystals: int
    mean: float
    top_1: Estimate


@dataclass(frozen=True)
class Evaluation:
    """Every number of one model on one part of a track; fractions lie in 0-1.

    Attributes:
        track: ``name``, ``part``, ``version``, ``digest``.
        model: ``name``, ``digest`` (sha256 of the checkpoint), ``classes`` (number),
            ``restricted``, ``provenance``.
        predictions_digest: sha256 of the predictions that were scored.
        versions: Of the evaluator, pxrdbench, the track and its data.
        interval: How the intervals were made.
        counts: ``crystals``, ``covered`` (group in the model's class list), …
        metrics: By name, see docs/metrics.md. Uncovered crystals count as wrong,
            except in ``covered_*``, ``nll`` and ``ece``, which are over covered
            crystals. A metric to which no crystal contributes is absent.
        crystal_system: Top-1 accuracy of the crystals of each system that occurs.
        baselines: Orders of the groups that look at no pattern, and the tests.
        top_k: Accuracy of the first k guesses, k = 1, 2, ….
        confusion: Crystals by true (row) and guessed (column) crystal system.
        calibration: Accuracy by confidence of the first guess, covered crystals.
        by_peaks: Accuracy by number of reflections in the pattern.
        space_groups: ``crystals``, ``correct`` and ``covered`` by group.
        references: Ceiling and absences-only references, and the tests.
        by_volume: Accuracy by volume of the conventional cell [Å³]; empty where the
            track does not know it.
        by_sites: Accuracy by number of atoms in the asymmetric unit, likewise.
    """

    track: Mapping[str, Any]
    model: Mapping[str, Any]
    predictions_digest: str
    versions: Mapping[str, str]
    interval: Mapping[str, Any]
    counts: Mapping[str, Any]
    metrics: Mapping[str, Estimate]
    crystal_system: Mapping[str, Estimate]
    baselines: tuple[Baseline, ...]
    top_k: tuple[Estimate, ...]
    confusion: tuple[tuple[int, ...], ...]
    calibration: tuple[Bin, ...]
    by_peaks: tuple[Bin, ...]
    space_groups: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    references: tuple[Reference, ...] = ()
    by_volume: tuple[Bin, ...] = ()
    by_sites: tuple[Bin, ...] = ()

    def to_json(self) -> str:
        """Write as JSON: equal evaluations give equal text."""
        record: dict[str, Any] = {"format": FORMAT, "format_version": FORMAT_VERSION}
        record |= asdict(self)
        # One tree of metrics, as submissions and leaderboards read it.
        record["metrics"] |= {"crystal_system": record.pop("crystal_system")}
        return json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Evaluation":
        """Read an evaluation and check its structure.

        Raises:
            EvaluationError: If it is no JSON, lacks or adds a part, or holds a number
                out of its range; it names the place.
        """
        record = parse_strict_json(text, "the evaluation")
        if record.get("format") != FORMAT:
            raise EvaluationError(f"format is {record.get('format')!r}, not {FORMAT!r}")
        if record.get("format_version") not in {1, FORMAT_VERSION}:
            raise EvaluationError(
                f"format version {record.get('format_version')!r}; this pxrdbench "
                f"reads versions 1 and {FORMAT_VERSION}"
            )
        if record["format_version"] == 1:
            record |= {name: [] for name in _NEW_PARTS - set(record)}
        names = {item.name for item in fields(cls)} - {"crystal_system"}
        _same_keys(record, names | {"format", "format_version"}, "the evaluation")
        metrics = dict(_mapping(record["metrics"], "metrics"))
        if lacking := {"top_1", "top_5", "top_10"} - set(metrics):
            raise EvaluationError(f"metrics lacks {sorted(lacking)}")
        systems = _mapping(
            metrics.pop("crystal_system", None), "metrics.crystal_system"
        )
        return cls(
            track=_with_keys(record, "track", {"name", "part", "version", "digest"}),
            model=_with_keys(
                record,
                "model",
                {"name", "digest", "classes", "restricted", "provenance"},
            ),
            predictions_digest=str(record["predictions_digest"]),
            versions=_mapping(record["versions"], "versions"),
            interval=_mapping(record["interval"], "interval"),
            counts=_mapping(record["counts"], "counts"),
            metrics=_read_estimates(metrics, "metrics"),
            crystal_system=_read_estimates(systems, "metrics.crystal_system"),
            baselines=tuple(
                _read_baseline(item, f"baselines[{i}]")
                for i, item in enumerate(_sequence(record["baselines"], "baselines"))
            ),
            top_k=tuple(
                _read_fraction(item, f"top_k[{i}]")
                for i, item in enumerate(_sequence(record["top_k"], "top_k"))
            ),
            confusion=tuple(
                tuple(_count(cell, "confusion") for cell in _sequence(row, "confusion"))
                for row in _sequence(record["confusion"], "confusion")
            ),
            calibration=_read_bins(record["calibration"], "calibration"),
            by_peaks=_read_bins(record["by_peaks"], "by_peaks"),
            space_groups=_mapping(record["space_groups"], "space_groups"),
            references=tuple(
                _read_reference(item, f"references[{i}]")
                for i, item in enumerate(_sequence(record["references"], "references"))
            ),
            by_volume=_read_bins(record["by_volume"], "by_volume"),
            by_sites=_read_bins(record["by_sites"], "by_sites"),
        )

    def write(self, path: Path | str) -> None:
        """Write to a JSON file, whole or not at all."""
        write_atomically(path, self.to_json())

    @classmethod
    def read(cls, path: Path | str) -> "Evaluation":
        """Read from a JSON file.

        Raises:
            EvaluationError: If it is missing or wrong; it names the file.
        """
        path = Path(path)
        if not path.is_file():
            raise EvaluationError(f"there is no evaluation file {path}")
        try:
            return cls.from_json(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise EvaluationError(f"{path}: {error}") from error

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Lay out the numbers a user asks for first, for a table on a terminal.

        Returns:
            Name, value [%], 95 % interval [%] and crystals of each row; percent with
            one decimal.
        """
        total = int(self.counts["crystals"])
        named = [
            ("top-1", self.metrics["top_1"], total),
            ("top-5", self.metrics["top_5"], total),
            ("top-10", self.metrics["top_10"], total),
            ("crystal system", self.metrics["crystal_system_accuracy"], total),
        ]
        for baseline in self.baselines:
            first = f"always group {baseline.space_group}"
            if baseline.name == "hindsight":
                first += ", hindsight"
            named.append((f"top-1, {first}", baseline.metrics["top_1"], total))
        sizes = self.counts["crystal_system"]
        named += [
            (name, e, int(sizes[name])) for name, e in self.crystal_system.items()
        ]
        return [
            (name, percent(e.value), f"{percent(e.low)}–{percent(e.high)}", f"{n:,}")
            for name, e, n in named
        ]


def percent(fraction: float) -> str:
    """Write a fraction as percent with one decimal, without the sign.

    Example:
        >>> percent(0.1349)
        '13.5'
    """
    return f"{100.0 * fraction:.1f}"


def _read_estimates(record: Mapping[str, Any], where: str) -> dict[str, Estimate]:
    return {
        name: Estimate.from_dict(item, f"{where}.{name}")
        if name in UNBOUNDED
        else _read_fraction(item, f"{where}.{name}")
        for name, item in record.items()
    }


def _read_fraction(item: Any, where: str, lowest: float = 0.0) -> Estimate:
    estimate = Estimate.from_dict(item, where)
    if not (lowest <= estimate.low and estimate.high <= 1.0):
        raise EvaluationError(
            f"{where} runs from {estimate.low} to {estimate.high}; "
            f"it must lie between {lowest:g} and 1"
        )
    return estimate


def _read_baseline(item: Any, where: str) -> Baseline:
    record = _mapping(item, where)
    _same_keys(record, {entry.name for entry in fields(Baseline)}, where)
    return Baseline(
        name=str(record["name"]),
        source=str(record["source"]),
        space_group=_count(record["space_group"], where),
        metrics=_read_estimates(_mapping(record["metrics"], where), where),
        comparisons=_read_comparisons(record["comparisons"], where),
        top_k=tuple(_number(v, where) for v in _sequence(record["top_k"], where)),
    )


def _read_reference(item: Any, where: str) -> Reference:
    record = _mapping(item, where)
    _same_keys(record, {entry.name for entry in fields(Reference)}, where)
    return Reference(
        name=str(record["name"]),
        source=str(record["source"]),
        metrics=_read_estimates(_mapping(record["metrics"], where), where),
        comparisons=_read_comparisons(record["comparisons"], where),
    )


def _read_comparisons(item: Any, where: str) -> dict[str, Comparison]:
    comparisons = {}
    for name, entry in _mapping(item, where).items():
        place = f"{where}.comparisons.{name}"
        _same_keys(_mapping(entry, place), {f.name for f in fields(Comparison)}, place)
        p_value = _number(entry["p_value"], f"{place}.p_value")
        if not 0.0 <= p_value <= 1.0:
            raise EvaluationError(f"{place}.p_value is {p_value}; it lies in 0-1")
        comparisons[name] = Comparison(
            difference=_read_fraction(entry["difference"], place, lowest=-1.0),
            only_model=_count(entry["only_model"], place),
            only_baseline=_count(entry["only_baseline"], place),
            p_value=p_value,
        )
    return comparisons


def _read_bins(items: Any, where: str) -> tuple[Bin, ...]:
    bins = []
    for i, item in enumerate(_sequence(items, where)):
        place = f"{where}[{i}]"
        _same_keys(_mapping(item, place), {entry.name for entry in fields(Bin)}, place)
        bins.append(
            Bin(
                low=_number(item["low"], place),
                high=_number(item["high"], place),
                crystals=_count(item["crystals"], place),
                mean=_number(item["mean"], place),
                top_1=_read_fraction(item["top_1"], f"{place}.top_1"),
            )
        )
    return tuple(bins)


def _with_keys(record: Mapping[str, Any], name: str, keys: set[str]) -> dict[str, Any]:
    inner = _mapping(record[name], name)
    _same_keys(inner, keys, name)
    return inner


def _same_keys(record: Mapping[str, Any], keys: set[str], where: str) -> None:
    missing, unknown = keys - set(record), set(record) - keys
    if missing or unknown:
        raise EvaluationError(
            f"{where} lacks {sorted(missing)} and has the unknown {sorted(unknown)}"
        )


def _mapping(item: Any, where: str) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise EvaluationError(f"{where} is {type(item).__name__}, not an object")
    return item


def _sequence(item: Any, where: str) -> list[Any]:
    if not isinstance(item, list):
        raise EvaluationError(f"{where} is {type(item).__name__}, not a list")
    return item


def _number(item: Any, where: str) -> float:
    if isinstance(item, bool) or not isinstance(item, int | float):
        raise EvaluationError(f"{where} holds {item!r}, which is no number")
    return float(item)


def _count(item: Any, where: str) -> int:
    if isinstance(item, bool) or not isinstance(item, int) or item < 0:
        raise EvaluationError(f"{where} holds {item!r}, which is no count")
    return item
