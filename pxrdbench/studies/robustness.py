"""How accuracy falls when a measurement gets worse, one effect at a time.

The crystals of a track are rendered anew from their frozen peak lists with one effect
of ``diffraction.measurement`` at rising strength. All levels share crystals and random
numbers, so that a loss is paired crystal by crystal. Effects that act when peaks are
drawn (texture, thermal motion, strained cells) need the crystals themselves.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int64

from pxrdbench.benchmark.foreign.open import opened_model
from pxrdbench.benchmark.scoring import metrics
from pxrdbench.benchmark.scoring.intervals import ClusterBootstrap, Estimate
from pxrdbench.benchmark.scoring.predict import ModelDescription, ask_model
from pxrdbench.benchmark.scoring.track_input import (
    TrackInput,
    move_peaks,
    render_where_possible,
)
from pxrdbench.crystal.structure import CrystalBatch, take_crystals
from pxrdbench.diffraction.line_lists import gather_lists
from pxrdbench.diffraction.measurement.effect import Effect, Samples
from pxrdbench.diffraction.measurement.measurement import Measurement
from pxrdbench.diffraction.measurement.sample_effects import PhasePool
from pxrdbench.diffraction.pattern import PeakBatch, TwoThetaGrid
from pxrdbench.errors import EvaluationError
from pxrdbench.files import write_atomically
from pxrdbench.outside import guard, read_strict_json
from pxrdbench.studies.effect_levels import (
    CRYSTAL_CURVES,
    PEAK_CURVES,
    CurveDefinition,
)
from pxrdbench.tracks.load import Part, TrackPart, load_part
from pxrdbench.tracks.part import require_crystals

FORMAT, FORMAT_VERSION = "pxrdbench.robustness", 1

if TYPE_CHECKING:  # imports torch
    from pxrdbench.learning.networks.registry import Classifier

__all__ = [
    "Curve",
    "LevelResult",
    "Robustness",
    "measure_robustness",
    "read_robustness",
]

DEFAULT_CRYSTALS = 500
# Impurities come from so many other crystals of the track.
_POOL = 200
_ROOM = 0.5  # degrees; no effect here moves a line further
_MARGIN = 2.0  # degrees beyond the grid whose tails reach in, as in the tracks

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class LevelResult:
    """A model at one strength of one effect.

    Attributes:
        level: Strength, in the unit of the curve.
        top_1: Accuracy.
        loss: Accuracy without the effect minus accuracy with it, paired.
        top_5: Accuracy of the first five guesses.
    """

    level: float
    top_1: Estimate
    loss: Estimate
    top_5: Estimate


@dataclass(frozen=True)
class Curve:
    """A model under one effect; see ``effect_levels`` for what the levels are."""

    effect: str
    title: str
    unit: str
    levels: tuple[LevelResult, ...]


@dataclass(frozen=True)
class Robustness:
    """A model under every effect.

    Attributes:
        model: ``name`` and ``digest``.
        track: ``name``, ``part``, ``version``, ``digest``.
        crystals: How many of the part were used.
        seed: Of the effects' random numbers.
        top_1: Accuracy without any effect.
        top_5: Likewise.
        curves: One an effect.
    """

    model: Mapping[str, str]
    track: Mapping[str, str]
    crystals: int
    seed: int
    top_1: Estimate
    top_5: Estimate
    curves: tuple[Curve, ...]

    def to_json(self) -> str:
        """Write as JSON: equal results give equal text."""
        record = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}
        return json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def write(self, path: Path | str) -> None:
        """Write to a JSON file, whole or not at all."""
        write_atomically(path, self.to_json())


def read_robustness(path: Path | str) -> Robustness:
    """Read what `Robustness.write` wrote.

    Raises:
        EvaluationError: If it is missing or wrong.
    """
    path = Path(path)
    with guard(EvaluationError, f"{path} cannot be read"):
        record = read_strict_json(path)
        if (record["format"], record["format_version"]) != (FORMAT, FORMAT_VERSION):
            raise EvaluationError(f"{path} is no {FORMAT} of version {FORMAT_VERSION}")

        def estimate(item: Any) -> Estimate:
            return Estimate.from_dict(item, str(path))

        curves = tuple(
            Curve(
                curve["effect"],
                curve["title"],
                curve["unit"],
                tuple(
                    LevelResult(
                        float(item["level"]),
                        estimate(item["top_1"]),
                        estimate(item["loss"]),
                        estimate(item["top_5"]),
                    )
                    for item in curve["levels"]
                ),
            )
            for curve in record["curves"]
        )
        return Robustness(
            record["model"],
            record["track"],
            int(record["crystals"]),
            int(record["seed"]),
            estimate(record["top_1"]),
            estimate(record["top_5"]),
            curves,
        )


def measure_robustness(
    model: "Classifier | Path | str",
    track: str | Path | Part,
    description: ModelDescription | None = None,
    *,
    part: str = "test",
    weights: Path | str | None = None,
    count: int = DEFAULT_CRYSTALS,
    effects: Sequence[str] | None = None,
    crystals: tuple[CrystalBatch, Sequence[str]] | None = None,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> Robustness:
    """Find out how accuracy falls under each effect.

    Args:
        model: A classifier, or whatever ``evaluate`` opens.
        track: Whose crystals are measured badly: name, folder or a loaded part.
        description: What is known of the model; what it says of itself if None.
        part: Part of the track, if it is not loaded.
        weights: What a model that is a name or ``module:factory`` is given.
        count: Crystals to use, chosen by a hash of their ids.
        effects: Names of the curves; all that can be had if None.
        crystals: Crystals of the track and their ids, for effects that act when peaks
            are drawn; only those are then used.
        seed: Of the effects' random numbers.
        on_progress: Called with patterns done and patterns in total.

    Raises:
        EvaluationError: If an effect is unknown or needs crystals that are not there.
        SplitError: If the track's patterns were measured once and for all.
    """
    track = require_crystals(load_part(track, part), "robustness")
    with opened_model(model, weights=weights) as (classifier, found):
        return _measure(
            classifier,
            track,
            found if description is None else description,
            choose_curves(effects, with_crystals=crystals is not None),
            _Choice(count, crystals, seed),
            on_progress,
        )


class _Choice(NamedTuple):
    """Which crystals, and the key of the effects' random numbers."""

    most: int
    crystals: tuple[CrystalBatch, Sequence[str]] | None
    seed: int


def _measure(
    classifier: "Classifier",
    track: TrackPart,
    known: ModelDescription,
    definitions: Sequence[CurveDefinition],
    choice: _Choice,
    on_progress: Progress | None,
) -> Robustness:
    """Ask an open model at every strength of every effect."""
    bench = _Bench.prepare(classifier, track, known, *choice)
    total = sum(len(d.levels) for d in definitions) + 1
    size = len(bench.rows)

    def tell(level: int) -> None:
        if on_progress is not None:
            on_progress(level * size, total * size)

    clean = bench.predict(None)
    tell(done := 1)
    curves = []
    for definition in definitions:
        levels = []
        for level in definition.levels:
            ranks = bench.predict(definition.make(level))
            levels.append(bench.judge(level, ranks, clean))
            tell(done := done + 1)
        curves.append(
            Curve(definition.name, definition.title, definition.unit, tuple(levels))
        )
    return Robustness(
        model={"name": known.name, "digest": known.digest},
        track={
            "name": track.name,
            "part": track.part,
            "version": str(track.version),
            "digest": track.digest,
        },
        crystals=size,
        seed=choice.seed,
        top_1=bench.estimate(clean <= 1),
        top_5=bench.estimate(clean <= 5),
        curves=tuple(curves),
    )


def choose_curves(
    names: Sequence[str] | None, *, with_crystals: bool
) -> list[CurveDefinition]:
    """Find curves by name.

    Raises:
        EvaluationError: If one is unknown, or needs crystals.
    """
    possible = [*PEAK_CURVES, *(CRYSTAL_CURVES if with_crystals else ())]
    if names is None:
        return possible
    by_name = {item.name: item for item in possible}
    for name in names:
        if name in by_name:
            continue
        if any(item.name == name for item in CRYSTAL_CURVES):
            raise EvaluationError(
                f"{name} acts on crystals, and a track holds peaks only: give the "
                "crystals too (--structures)"
            )
        raise EvaluationError(
            f"unknown effect {name!r}; known are {', '.join(by_name)}"
        )
    return [by_name[name] for name in names]


def choose_crystals(
    ids: Sequence[str], peaks: PeakBatch, grid: TwoThetaGrid, count: int
) -> Int64[np.ndarray, " chosen"]:
    """Take crystals in the order of a hash of their ids, those with a peak on a grid.

    A larger sample holds the smaller one. Peaks near the ends do not count: an effect
    may shift them off the grid.
    """
    inside = (peaks.two_theta >= grid.start + _ROOM) & (
        peaks.two_theta <= grid.stop - _ROOM
    )
    running = np.concatenate([[0], np.cumsum(inside)])
    filled = np.flatnonzero(np.diff(running[peaks.peak_offset]) > 0)
    chosen = sorted(filled.tolist(), key=lambda row: hash_order(ids[row]))[:count]
    return np.array(sorted(chosen), np.int64)


def hash_order(name: str) -> bytes:
    """Order crystals in a way that nobody chose and that is the same everywhere."""
    return hashlib.blake2b(name.encode(), digest_size=16).digest()


@dataclass(frozen=True, eq=False)
class _Bench:
    """The crystals, and the model that reads them."""

    classifier: "Classifier"
    track: TrackPart
    rows: Int64[np.ndarray, " crystals"]
    peaks: PeakBatch
    crystals: CrystalBatch | None
    pool: PhasePool
    bootstrap: ClusterBootstrap
    seed: int

    @classmethod
    def prepare(
        cls,
        classifier: "Classifier",
        track: TrackPart,
        known: ModelDescription,
        count: int,
        crystals: tuple[CrystalBatch, Sequence[str]] | None,
        seed: int,
    ) -> "_Bench":
        # Refuses angles and radiations that the track cannot give.
        source = TrackInput.match(track, classifier.grid, known.radiation)
        peaks = track.peaks
        if source.method and len(track.radiation.lines) == 1:
            peaks = move_peaks(peaks, source.radiation)
        grid = classifier.grid
        batch = None
        if crystals is None:
            rows = choose_crystals(track.ids, peaks, grid, count)
        else:
            place = {name: i for i, name in enumerate(crystals[1])}
            rows = choose_crystals(track.ids, peaks, grid, len(track))
            rows = rows[[track.ids[row] in place for row in rows]][:count]
            wanted = np.array([place[track.ids[row]] for row in rows], np.int64)
            batch = take_crystals(crystals[0], wanted)
        if not len(rows):
            raise EvaluationError(
                f"no crystal of {track.name} {track.part} can be measured: none of "
                "those given is in it, or none has a peak at the model's angles"
            )
        others = choose_crystals(track.ids, peaks, grid, count + _POOL)
        others = np.setdiff1d(others, rows)[:_POOL]
        others = others if len(others) else rows
        pool = PhasePool(
            gather_lists(peaks, others, np.ones(len(others))), np.ones(len(others))
        )
        return cls(
            classifier,
            track,
            rows,
            gather_lists(peaks, rows, np.ones(len(rows))),
            batch,
            pool,
            ClusterBootstrap([track.structure_type[row] for row in rows]),
            seed,
        )

    def predict(self, effect: Effect | None) -> Int64[np.ndarray, " crystals"]:
        """Find the rank of each true group under one effect."""
        classes = np.array(self.classifier.space_groups, np.int64)
        truth = self.track.space_group[self.rows].astype(np.int64)
        ranks: list[np.ndarray] = []
        done = 0
        for logits in ask_model(
            self.classifier,
            lambda start, count: self._render(start, start + count, effect),
            len(self.rows),
            batch_size=128,
        ):
            if not np.isfinite(logits).all():
                raise EvaluationError("the model gives logits that are not finite")
            rows = slice(done, done := done + len(logits))
            ranks.append(metrics.find_ranks(logits, classes, truth[rows]))
        return np.concatenate(ranks).astype(np.int64)

    def _render(
        self, start: int, stop: int, effect: Effect | None
    ) -> tuple[
        Float32[np.ndarray, "batch points"], Bool[np.ndarray, "batch points"] | None
    ]:
        grid = self.classifier.grid
        rows = np.arange(start, stop)
        samples = Samples(self.seed, start, stop - start)
        size = self.track.crystallite_size_nm[self.rows[start:stop]]
        if effect is not None and effect.acts_when == "drawn":
            peaks = self._simulate(rows, effect, samples)
            return render_where_possible(peaks, grid, size), None
        peaks = gather_lists(self.peaks, rows, np.ones(len(rows)))
        if effect is None:
            return render_where_possible(peaks, grid, size), None
        scans = Measurement((effect,)).render(
            peaks, grid, samples, size, pool=self.pool
        )
        return scans.intensity, scans.is_measured

    def _simulate(
        self, rows: Int64[np.ndarray, " batch"], effect: Effect, samples: Samples
    ) -> PeakBatch:
        if self.crystals is None:
            raise EvaluationError(f"{type(effect).__name__} needs crystals")
        grid = self.track.grid
        peaks = Measurement((effect,)).simulate(
            take_crystals(self.crystals, rows),
            samples,
            self.track.radiation,
            (max(grid.start - _MARGIN, 0.1), min(grid.stop + _MARGIN, 179.0)),
        )
        if self.peaks.wavelength != self.track.peaks.wavelength:
            raise EvaluationError(
                "effects on crystals are simulated with the track's radiation, and the "
                "model reads another"
            )
        return peaks

    def judge(
        self,
        level: float,
        ranks: Int64[np.ndarray, " crystals"],
        clean: Int64[np.ndarray, " crystals"],
    ) -> LevelResult:
        loss = (clean <= 1).astype(np.float64) - (ranks <= 1)
        difference = self.bootstrap.estimate(metrics.mean_score(loss, lowest=-1.0))
        if difference is None:
            raise EvaluationError("no crystal to judge")
        return LevelResult(
            level, self.estimate(ranks <= 1), difference, self.estimate(ranks <= 5)
        )

    def estimate(self, hits: Bool[np.ndarray, " crystals"]) -> Estimate:
        found = self.bootstrap.estimate(metrics.mean_score(hits))
        if found is None:
            raise EvaluationError("no crystal to judge")
        return found
