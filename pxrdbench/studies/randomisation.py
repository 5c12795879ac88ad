"""What a model has learnt: real crystals with coordinates, cells or both drawn anew.

If accuracy rises once coordinates are drawn as those of synthetic crystals are, then
real coordinates are what sets real crystals apart; likewise cells. All variants hold
the same crystals, so every difference is paired.

References:
    Schopmans, Reiser & Friederich (2023), Digital Discovery 2, 1414: section 3.3.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Int64

from pxrdbench.benchmark.foreign.open import opened_model
from pxrdbench.benchmark.scoring import metrics
from pxrdbench.benchmark.scoring.intervals import ClusterBootstrap, Estimate
from pxrdbench.benchmark.scoring.predict import ModelDescription, ask_model
from pxrdbench.benchmark.scoring.track_input import render_where_possible
from pxrdbench.crystal.generator.randomise import randomise_crystals
from pxrdbench.crystal.prior.prior import Prior, load_prior
from pxrdbench.crystal.structure import CrystalBatch, take_crystals
from pxrdbench.diffraction.pattern import Radiation
from pxrdbench.diffraction.peaks import simulate_peaks
from pxrdbench.errors import EvaluationError
from pxrdbench.files import write_atomically
from pxrdbench.studies.crystals import StudyCrystals

if TYPE_CHECKING:  # imports torch
    from pxrdbench.learning.networks.registry import Classifier

FORMAT, FORMAT_VERSION = "pxrdbench.randomisation", 1
VARIANTS: Mapping[str, tuple[bool, bool]] = {
    "as they are": (False, False),
    "coordinates": (True, False),
    "lattice": (False, True),
    "both": (True, True),
}
_MARGIN = 2.0  # degrees beyond the grid whose tails reach in, as in the tracks
_BATCH = 128


@dataclass(frozen=True)
class Variant:
    """A model on crystals of one variant.

    Attributes:
        top_1: Accuracy.
        top_5: Accuracy of the first five guesses.
        gain: Top-1 here minus top-1 on the crystals as they are, paired.
    """

    top_1: Estimate
    top_5: Estimate
    gain: Estimate


@dataclass(frozen=True)
class Randomisation:
    """A model on all variants.

    Attributes:
        model: ``name`` and ``digest``.
        crystals: Number that all variants have in common.
        left_out: Crystals that cannot be drawn anew, by reason.
        coordinate_model: How atoms were placed.
        prior: Digest of the prior of volumes and shapes.
        seeds: Each crystal was drawn with each of these.
        variants: By name.
    """

    model: Mapping[str, str]
    crystals: int
    left_out: Mapping[str, int]
    coordinate_model: str
    prior: str
    seeds: tuple[int, ...]
    variants: Mapping[str, Variant]

    def to_json(self) -> str:
        """Write as JSON: equal results give equal text."""
        record: dict[str, Any] = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            **asdict(self),
        }
        return json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def write(self, path: Path | str) -> None:
        """Write to a JSON file, whole or not at all."""
        write_atomically(path, self.to_json())


def study_randomisation(
    model: "Classifier | Path | str",
    crystals: StudyCrystals,
    prior: Prior | str | Path,
    description: ModelDescription | None = None,
    *,
    weights: Path | str | None = None,
    seeds: tuple[int, ...] = (0,),
    coordinate_model: str = "uniform",
    on_progress: Callable[[int, int], None] | None = None,
) -> Randomisation:
    """Evaluate a model on real crystals, and on the same ones drawn anew.

    Patterns have the model's radiation, copper Kα1 if it does not say, and its angles.

    Args:
        model: A classifier, or whatever ``evaluate`` opens.
        crystals: Real crystals.
        prior: Distributions of volumes and shapes, or where they are.
        description: What is known of the model; what it says of itself if None.
        weights: What a model that is a name or ``module:factory`` is given.
        seeds: Keys of the draws; hits of one crystal are averaged over them.
        coordinate_model: How atoms are placed; "uniform" is the paper's.
        on_progress: Called with patterns done and patterns in total.

    Raises:
        EvaluationError: If no crystal can be drawn anew.
        CrystalError: If the coordinate model is unknown.
    """
    prior = load_prior(prior)
    with opened_model(model, weights=weights) as (classifier, found):
        known = found if description is None else description
        hits, kept, left_out = find_variant_hits(
            classifier,
            crystals,
            prior,
            known.radiation,
            seeds=seeds,
            coordinate_model=coordinate_model,
            on_progress=on_progress,
        )
    bootstrap = ClusterBootstrap([crystals.structure_type[row] for row in kept])
    base = hits["as they are"][0]
    variants = {
        name: Variant(
            _estimate(bootstrap, first),
            _estimate(bootstrap, fifth),
            _estimate(bootstrap, first - base, lowest=-1.0),
        )
        for name, (first, fifth) in hits.items()
    }
    return Randomisation(
        model={"name": known.name, "digest": known.digest},
        crystals=len(kept),
        left_out=left_out,
        coordinate_model=coordinate_model,
        prior=prior.digest,
        seeds=seeds,
        variants=variants,
    )


def find_variant_hits(
    classifier: "Classifier",
    crystals: StudyCrystals,
    prior: Prior,
    radiation: Radiation | None = None,
    *,
    seeds: tuple[int, ...] = (0,),
    coordinate_model: str = "uniform",
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[
    dict[str, tuple[np.ndarray, np.ndarray]],
    Int64[np.ndarray, " kept"],
    dict[str, int],
]:
    """Find what a model gets right of each crystal, as it is and drawn anew.

    Arguments are those of ``study_randomisation``, for an open model; of several models
    the hits can be compared crystal by crystal.

    Returns:
        For each variant how often (0-1, over the seeds) each crystal was right at the
        first and within the first five guesses; the positions of these crystals among
        all; how many others were left out, by reason.

    Raises:
        EvaluationError: If no crystal can be drawn anew.
    """
    radiation = radiation or Radiation.parse("CuKa1")
    # The crystals that may be drawn depend on the seed: all variants and seeds share.
    kept, left_out = _common(crystals.crystals, prior, seeds)
    if not len(kept):
        raise EvaluationError(f"none of the crystals can be drawn anew: {left_out}")
    total = len(crystals) * len(VARIANTS) * len(seeds)
    hits: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    done = 0
    for name, (coordinates, lattice) in VARIANTS.items():
        first, fifth = np.zeros(len(kept)), np.zeros(len(kept))
        for seed in seeds:
            drawn, rows, _ = randomise_crystals(
                crystals.crystals, prior, seed,
                coordinates=coordinates, lattice=lattice,
                coordinate_model=coordinate_model,
            )  # fmt: skip
            sizes = crystals.crystallite_size_nm[rows]
            ranks = _find_ranks(classifier, drawn, sizes, radiation)
            here = np.isin(rows, kept)
            first += ranks[here] <= 1
            fifth += ranks[here] <= 5
            done += len(crystals)
            if on_progress is not None:
                on_progress(done, total)
        hits[name] = first / len(seeds), fifth / len(seeds)
    return hits, kept, left_out


def _common(
    crystals: CrystalBatch, prior: Prior, seeds: tuple[int, ...]
) -> tuple[np.ndarray, dict[str, int]]:
    """Find the crystals that every seed can draw."""
    kept = np.arange(len(crystals))
    left_out: dict[str, int] = {}
    for seed in seeds:
        _, rows, reasons = randomise_crystals(
            crystals, prior, seed, coordinates=False, lattice=False
        )
        kept = np.intersect1d(kept, rows)
        for reason, number in reasons.items():
            left_out[reason] = max(left_out.get(reason, 0), number)
    return kept, left_out


def _find_ranks(
    classifier: "Classifier",
    crystals: CrystalBatch,
    sizes: np.ndarray,
    radiation: Radiation,
) -> np.ndarray:
    """Simulate, render and predict; the rank of each true group."""
    grid = classifier.grid
    window = (max(grid.start - _MARGIN, 0.1), min(grid.stop + _MARGIN, 179.0))

    def make(start: int, count: int) -> tuple[np.ndarray, None]:
        rows = np.arange(start, start + count)
        peaks = simulate_peaks(take_crystals(crystals, rows), radiation, window)
        return render_where_possible(peaks, grid, sizes[rows]), None

    asked = ask_model(classifier, make, len(crystals), batch_size=_BATCH)
    return metrics.find_ranks(
        np.concatenate(list(asked)),
        np.array(classifier.space_groups, np.int64),
        crystals.space_group.astype(np.int64),
    )


def _estimate(
    bootstrap: ClusterBootstrap,
    amount: np.ndarray | Bool[np.ndarray, " crystals"],
    lowest: float = 0.0,
) -> Estimate:
    found = bootstrap.estimate(metrics.mean_score(amount, lowest=lowest))
    if found is None:
        raise EvaluationError("no crystal to judge")
    return found
