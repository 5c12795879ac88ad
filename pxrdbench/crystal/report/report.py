"""How close synthetic crystals come to real ones, in numbers.

The descriptors are those of Schopmans, Reiser & Friederich (2023), Digital Discovery
2, 1414, figure 4: volume of the conventional cell, density factor, number of sites of
the asymmetric unit; the number of elements and the space group beside.
``prior_figures`` draws them.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from pxrdbench.crystal.generator.draw import draw_crystals
from pxrdbench.crystal.prior.prior import Prior
from pxrdbench.crystal.structure import CrystalBatch, take_crystals
from pxrdbench.crystal.symmetry.tables import load_symmetry_tables
from pxrdbench.errors import PriorError

# What a comparison draws where nothing else is said: noise is then the real ones'.
N_DRAWN = 100_000
DESCRIPTORS: tuple[str, ...] = (
    "density_factor",
    "volume",
    "n_sites",
    "n_elements",
)


@dataclass(frozen=True, eq=False)
class Descriptors:
    """What figure 4 of the reference work compares, one value a crystal.

    Attributes:
        space_group: Number, 1-230.
        volume: Of the conventional cell [Å³].
        density_factor: Volume divided by that of the atoms; NaN where an element
            has no radius.
        n_sites: Sites of the asymmetric unit; species that share one count once.
        n_elements: Distinct elements.
    """

    space_group: Int64[np.ndarray, " batch"]
    volume: Float64[np.ndarray, " batch"]
    density_factor: Float64[np.ndarray, " batch"]
    n_sites: Int64[np.ndarray, " batch"]
    n_elements: Int64[np.ndarray, " batch"]


def describe_crystals(crystals: CrystalBatch) -> Descriptors:
    """Compute the descriptors of each crystal."""
    tables = load_symmetry_tables()
    count = len(crystals)
    owner = np.repeat(np.arange(count), np.diff(crystals.site_offset))
    row = tables.position_offset[crystals.space_group[owner]] + crystals.wyckoff_index
    radius = tables.atomic_radius[crystals.atomic_number]
    atoms = tables.multiplicity[row] * crystals.occupancy
    atomic = np.bincount(owner, 4.0 / 3.0 * np.pi * radius**3 * atoms, minlength=count)
    # Only species that fill a position in part can share one.
    shared = crystals.occupancy < 1.0
    places = np.column_stack([owner, crystals.wyckoff_index, crystals.fract])[shared]
    n_places = np.bincount(owner[~shared], minlength=count)
    n_places += np.bincount(
        np.unique(places, axis=0)[:, 0].astype(np.int64), minlength=count
    )
    elements = np.unique(owner * 128 + crystals.atomic_number) // 128
    return Descriptors(
        space_group=crystals.space_group.astype(np.int64),
        volume=crystals.volume,
        density_factor=crystals.volume / atomic,
        n_sites=n_places,
        n_elements=np.bincount(elements, minlength=count),
    )


def kolmogorov_smirnov(
    first: Float64[np.ndarray, " n"], second: Float64[np.ndarray, " m"]
) -> float:
    """Largest difference of two cumulative distributions, 0 (equal) to 1."""
    points = np.concatenate([first, second])
    cumulative = [
        np.searchsorted(np.sort(values), points, side="right") / len(values)
        for values in (first, second)
    ]
    return float(np.abs(cumulative[0] - cumulative[1]).max())


def wasserstein(
    first: Float64[np.ndarray, " n"], second: Float64[np.ndarray, " m"]
) -> float:
    """Mean distance by which values must move to turn one sample into the other."""
    points = np.sort(np.concatenate([first, second]))
    cumulative = [
        np.searchsorted(np.sort(values), points[:-1], side="right") / len(values)
        for values in (first, second)
    ]
    return float((np.abs(cumulative[0] - cumulative[1]) * np.diff(points)).sum())


@dataclass(frozen=True)
class Distance:
    """How far two samples of one descriptor are apart.

    Attributes:
        kolmogorov_smirnov: Largest difference of the cumulative distributions.
        noise: What two samples of one distribution and these sizes stay below in 95
            of 100 cases.
        wasserstein: Mean move, in units of the descriptor.
        median_first: Median of the first sample.
        median_second: Median of the second.
    """

    kolmogorov_smirnov: float
    noise: float
    wasserstein: float
    median_first: float
    median_second: float


@dataclass(frozen=True)
class PriorComparison:
    """How far two sets of crystals are apart.

    Attributes:
        n_first: Crystals of the first set that were compared.
        n_second: Of the second.
        n_outside: Crystals of the first set that the prior does not represent: their
            group, size or elements are not in it.
        space_group_distance: Total variation of the space groups, 0 to 1.
        space_group_noise: What two samples of one distribution and these sizes have
            on average.
        descriptors: Distance by name, for all of ``DESCRIPTORS``.
    """

    n_first: int
    n_second: int
    n_outside: int
    space_group_distance: float
    space_group_noise: float
    descriptors: dict[str, Distance]


def compare_crystals(
    first: CrystalBatch, second: CrystalBatch, n_outside: int = 0
) -> PriorComparison:
    """Compare two sets of crystals by their descriptors.

    Args:
        first: Real crystals, say.
        second: Generated ones.
        n_outside: To note in the result.

    Raises:
        PriorError: If a set is empty.
    """
    if not len(first) or not len(second):
        raise PriorError(
            f"{len(first)} and {len(second)} crystals; both sets need at least one"
        )
    one, two = describe_crystals(first), describe_crystals(second)
    frequency = [
        np.bincount(values.space_group, minlength=231) / len(values.space_group)
        for values in (one, two)
    ]
    distances = {}
    for name in DESCRIPTORS:
        samples = [np.asarray(getattr(each, name), np.float64) for each in (one, two)]
        a, b = (values[np.isfinite(values)] for values in samples)
        distances[name] = Distance(
            kolmogorov_smirnov(a, b),
            # Smirnov (1948), Ann. Math. Stat. 19, 279: the 95 % point.
            1.358 * float(np.sqrt(1.0 / len(a) + 1.0 / len(b))),
            wasserstein(a, b),
            float(np.median(a)),
            float(np.median(b)),
        )
    # Half the sum of the mean deviations of normal counts.
    mixed = (frequency[0] * len(first) + frequency[1] * len(second)) / (
        len(first) + len(second)
    )
    variance = mixed * (1.0 - mixed) * (1.0 / len(first) + 1.0 / len(second))
    return PriorComparison(
        len(first),
        len(second),
        n_outside,
        float(np.abs(frequency[0] - frequency[1]).sum() / 2.0),
        float(np.sqrt(2.0 / np.pi * variance).sum() / 2.0),
        distances,
    )


def represented_crystals(prior: Prior, crystals: CrystalBatch) -> CrystalBatch:
    """Take those crystals that the prior could have been fitted on.

    Their group is in the prior, their cell and number of sites within its limits,
    and the radii of their elements known.
    """
    values = describe_crystals(crystals)
    kept = (
        np.isin(values.space_group, prior.space_group)
        & (values.volume <= prior.max_volume)
        & (np.diff(crystals.site_offset) <= prior.max_sites)
        & np.isfinite(values.density_factor)
    )
    return take_crystals(crystals, np.flatnonzero(kept))


def compare_to_crystals(
    prior: Prior,
    real: CrystalBatch,
    *,
    count: int = N_DRAWN,
    seed: int = 0,
    preset: str = "default",
) -> PriorComparison:
    """Compare what a prior generates with real crystals.

    Args:
        prior: Distributions to draw from.
        real: In the standard setting; those that the prior cannot represent are
            left out and counted.
        count: Crystals to draw.
        seed: Of the draws.
        preset: Of the generator.

    Raises:
        PriorError: If the prior represents none of the crystals.
    """
    inside = represented_crystals(prior, real)
    drawn = draw_crystals(prior, seed, 0, count, preset=preset)
    return compare_crystals(inside, drawn, len(real) - len(inside))


def compare_priors(
    first: Prior, second: Prior, *, count: int = N_DRAWN, seed: int = 0
) -> PriorComparison:
    """Compare what two priors generate.

    Args:
        first: One prior.
        second: The other; both draw from one seed.
        count: Crystals to draw from each.
        seed: Of the draws.
    """
    return compare_crystals(
        draw_crystals(first, seed, 0, count), draw_crystals(second, seed, 0, count)
    )
