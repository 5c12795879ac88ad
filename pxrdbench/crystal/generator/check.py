"""Checks of a generator: are labels true, and what do rejections do to crystals?"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from pxrdbench.crystal.generator.draw import (
    Rejections,
    draw_crystals,
    draw_crystals_with_report,
    draw_naive_crystals,
)
from pxrdbench.crystal.prior.prior import Prior
from pxrdbench.crystal.structure import Crystal, CrystalBatch
from pxrdbench.crystal.symmetry.tables import load_symmetry_tables


@dataclass(frozen=True)
class WrongLabel:
    """A crystal in which spglib finds something else than its group.

    Attributes:
        index: Of the sample.
        space_group: That it was drawn in.
        found: That spglib finds; equal where the cell is smaller than drawn.
        has_smaller_cell: Whether a smaller conventional cell repeats itself.
    """

    index: int
    space_group: int
    found: int
    has_smaller_cell: bool


@dataclass(frozen=True, eq=False)
class LabelCheck:
    """What spglib says of drawn crystals.

    Attributes:
        n_checked: Crystals that spglib found a group for, by the group drawn.
        n_given_up: Crystals that it found none for, by the group drawn.
        wrong: Where it found another group or a smaller cell.
    """

    n_checked: Int64[np.ndarray, " 231"]
    n_given_up: Int64[np.ndarray, " 231"]
    wrong: tuple[WrongLabel, ...]

    @property
    def share_true(self) -> float:
        """Share of the checked crystals whose label is true."""
        return 1.0 - len(self.wrong) / max(int(self.n_checked.sum()), 1)


def check_labels(
    prior: Prior,
    seed: int,
    start: int,
    count: int,
    *,
    preset: str = "default",
    symprec: float = 1e-4,
    progress: Callable[[int, int], None] | None = None,
) -> LabelCheck:
    """Look for the symmetry of drawn crystals with spglib, ten milliseconds each.

    Args:
        prior: With the frequencies to draw groups by; "uniform" serves each alike.
        seed: Key, 0 to 2^64 - 1.
        start: Index of the first sample.
        count: Number of samples.
        preset: "default" or "paper".
        symprec: Tolerance of spglib [Å].
        progress: Is called with the crystals done and all there are.
    """
    checked, given_up = np.zeros((2, 231), np.int64)
    wrong = []
    crystals = draw_crystals(prior, seed, start, count, preset=preset)
    for index, crystal in enumerate(crystals):
        group = crystal.space_group
        found, is_smaller = find_group(crystal, symprec)
        if not found:
            given_up[group] += 1
            continue
        checked[group] += 1
        if found != group or is_smaller:
            wrong.append(WrongLabel(start + index, group, found, is_smaller))
        if progress:
            progress(index + 1, count)
    return LabelCheck(checked, given_up, tuple(wrong))


@dataclass(frozen=True, eq=False)
class RejectionShift:
    """How the crystals kept differ from those that were proposed.

    Each distance stands beside its ``noise``, that of two sets of kept crystals of the
    same size. A shift that is not above the noise was not seen.

    Attributes:
        count: Crystals in each set.
        distance: Of what was proposed first to what was kept, by statistic: total
            variation of ``element`` (share of crystals that contain one), largest
            difference of the cumulative distributions (Kolmogorov & Smirnov) of
            ``n_sites``, ``n_atoms`` and ``volume``.
        noise: The same between two sets of kept crystals.
        mean: Mean of the last three as proposed and as kept.
        rejections: By reason and group.
        share_rejected: Proposals thrown away over all, by group; NaN where the prior
            has none.
        mean_sites: Sites of a crystal as proposed and as kept, by group.
        mean_volume: The same of volumes [Å³].
    """

    count: int
    distance: dict[str, float]
    noise: dict[str, float]
    mean: dict[str, tuple[float, float]]
    rejections: Rejections
    share_rejected: Float64[np.ndarray, " 231"]
    mean_sites: Float64[np.ndarray, "2 231"]
    mean_volume: Float64[np.ndarray, "2 231"]


def measure_rejection_shift(
    prior: Prior, seed: int, count: int, *, preset: str = "default"
) -> RejectionShift:
    """Compare crystals before and after rejections.

    Rejections stay within a group, so that group frequencies do not move; elements,
    sites and volumes within a group can.

    Args:
        prior: With the frequencies to draw groups by.
        seed: Key, 0 to 2^64 - 1.
        count: Crystals in each of the sets compared.
        preset: "default" or "paper".
    """
    proposed = draw_naive_crystals(prior, seed, 0, count, preset=preset)
    # Samples of their own: with the same indices the sets would share crystals.
    kept, report = draw_crystals_with_report(prior, seed, count, count, preset=preset)
    other = draw_crystals(prior, seed, 2 * count, count, preset=preset)
    before, after, again = map(_describe, (proposed, kept, other))
    rejected = report.rejected
    total = (rejected + report.accepted).astype(np.float64)
    with np.errstate(invalid="ignore"):
        share = rejected / total
    groups = proposed.space_group, kept.space_group

    def by_group(name: str) -> np.ndarray:
        return np.array(
            [
                _mean_by_group(g, v[name])
                for g, v in zip(groups, (before, after), strict=True)
            ]
        )

    names = ("n_sites", "n_atoms", "volume")
    return RejectionShift(
        count=count,
        distance=_compare(before, after),
        noise=_compare(again, after),
        mean={n: (float(before[n].mean()), float(after[n].mean())) for n in names},
        rejections=report,
        share_rejected=share,
        mean_sites=by_group("n_sites"),
        mean_volume=by_group("volume"),
    )


def _describe(crystals: CrystalBatch) -> dict[str, np.ndarray]:
    """The values of crystals that are compared."""
    tables = load_symmetry_tables()
    n_sites = np.diff(crystals.site_offset)
    owner = np.repeat(np.arange(len(crystals)), n_sites)
    row = tables.position_offset[crystals.space_group[owner]] + crystals.wyckoff_index
    held = np.unique(owner * 128 + crystals.atomic_number) % 128
    return {
        "element": np.bincount(held, minlength=128) / len(crystals),
        "n_sites": n_sites.astype(np.float64),
        "n_atoms": np.bincount(owner, tables.multiplicity[row]),
        "volume": crystals.volume,
    }


def _compare(
    first: dict[str, np.ndarray], second: dict[str, np.ndarray]
) -> dict[str, float]:
    """Distances of all values."""
    shares = [v["element"] / v["element"].sum() for v in (first, second)]
    found = {"element": 0.5 * float(np.abs(shares[0] - shares[1]).sum())}
    for name in ("n_sites", "n_atoms", "volume"):
        found[name] = two_sample_distance(first[name], second[name])
    return found


def two_sample_distance(
    first: Float64[np.ndarray, " n"], second: Float64[np.ndarray, " m"]
) -> float:
    """Largest difference of two cumulative distributions (Kolmogorov & Smirnov).

    Example:
        >>> two_sample_distance(np.array([1.0, 2.0, 3.0, 4.0]), np.array([3.0, 4.0]))
        0.5
    """
    first, second = np.sort(first), np.sort(second)
    values = np.concatenate([first, second])
    below = [np.searchsorted(x, values, side="right") / len(x) for x in (first, second)]
    return float(np.abs(below[0] - below[1]).max())


def _mean_by_group(
    group: np.ndarray, values: np.ndarray
) -> Float64[np.ndarray, " 231"]:
    """Mean of values in each group; NaN where there is none."""
    count = np.bincount(group, minlength=231)
    total = np.bincount(group, values, minlength=231)
    mean: np.ndarray = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean


def find_group(crystal: Crystal, symprec: float = 1e-4) -> tuple[int, bool]:
    """Space group that spglib finds in a crystal without partial occupancy.

    Returns:
        The group's number, 0 if spglib gives up, and whether its conventional cell
        is smaller than the crystal's.
    """
    import spglib

    structure = crystal.to_pymatgen()
    cell = structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers
    dataset = spglib.get_symmetry_dataset(cell, symprec=symprec)
    if dataset is None:
        return 0, False
    return int(dataset.number), len(dataset.std_types) < len(structure)
