"""Priors of groups that few crystals, or none, have been seen of.

A group with fewer than ``enough_crystals`` borrows what is missing to as many: first
from the groups of its point group, where those are too few from its crystal system,
then from all. A group with enough of its own borrows nothing, but for Wyckoff
positions that none of its crystals holds.

* Elements, their number and repetitions: counts a crystal, of the groups borrowed from.
* Wyckoff positions: letters of different groups have nothing to do with one another,
  so positions are pooled by multiplicity (of the primitive cell) and degrees of
  freedom. What is borrowed is how many positions of a class a crystal holds, over how
  many of that class its group has. General positions of high multiplicity are hardly
  ever held: the weight of unseen positions falls with multiplicity by itself, where
  equal small weights would make cells huge.
* Volumes: points (volume of the atoms, factor) of other groups, evenly spaced in rank,
  with the volume of the atoms scaled by the fewest atoms that a cell of either group
  can have: 4 in Fm-3m, 96 in Fd-3c.
* Shapes are pooled over all groups of a lattice type anyway; a type with few borrows
  the ratios of axes from types with at least its freedom.

Weights are whole millionths of a crystal, so that running sums are exact and discrete
draws the same on every machine.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from pxrdbench.crystal.prior.prior import Prior, Smoothing
from pxrdbench.crystal.prior.statistics import (
    SHAPE_COLUMNS,
    position_groups,
    scale_shapes,
    shape_kernels,
    sort_shapes,
    sort_volumes,
)
from pxrdbench.crystal.symmetry.higher import (
    characteristic_positions,
    fewest_atoms,
)
from pxrdbench.crystal.symmetry.tables import (
    LATTICE_TYPES,
    check_space_group,
    load_symmetry_tables,
)
from pxrdbench.errors import PriorError

# Weights of a smoothed prior that make one crystal.
WEIGHT_UNIT = 1_000_000
# Of borrowed positions; with some five sites a crystal, four in ten then hold one.
_CHARACTERISTIC_SHARE = 0.1


def most_frequent_groups(
    counts: Int64[np.ndarray, " 231"], n_groups: int
) -> tuple[int, ...]:
    """Groups with the highest counts, ascending; of equal ones the lower number.

    Args:
        counts: Indexed by space group, as ``Prior.icsd_crystals``.
        n_groups: How many to take.

    Example:
        >>> counts = np.zeros(231, np.int64)
        >>> counts[[2, 14, 62]] = 5, 9, 5
        >>> most_frequent_groups(counts, 2)
        (2, 14)
    """
    order = np.argsort(-counts[1:], kind="stable") + 1
    return tuple(sorted(order[:n_groups].tolist()))


def smooth_prior(
    prior: Prior,
    space_groups: Iterable[int] = range(1, 231),
    *,
    smoothing: Smoothing | None = None,
    name: str | None = None,
) -> Prior:
    """Let a prior cover groups that few crystals, or none, have been seen of.

    Args:
        prior: As fitted, best with ``min_crystals=1``, so that all groups teach.
        space_groups: Groups of the result; all 230 by default.
        smoothing: How to back off.
        name: Of the result; the prior's with "-smoothed" if None.

    Returns:
        A prior whose every group and Wyckoff position can be drawn, restricted if the
        one given is. Its ``n_crystals`` still says how many were seen.

    Raises:
        PriorError: If the prior is smoothed already, or holds no cells to learn the
            shape of a lattice type from.
    """
    smoothing = smoothing or Smoothing()
    if prior.smoothing is not None:
        raise PriorError(f"prior {prior.name!r} is smoothed already")
    if smoothing.enough_crystals < 0 or smoothing.unseen_crystals <= 0.0:
        raise PriorError(
            f"{smoothing}; it must hold that enough_crystals >= 0 and "
            "unseen_crystals > 0"
        )
    groups = np.unique(np.fromiter(space_groups, np.int64))
    for group in groups.tolist():
        check_space_group(group)
    spread = _Spread(prior)
    missing = np.maximum(smoothing.enough_crystals - spread.n_crystals, 0.0)
    wyckoff = _smooth_positions(spread, missing, smoothing)
    of_groups = np.isin(position_groups(), groups)
    by_element = None
    if prior.wyckoff_element is not None:
        by_element = _smooth_by_element(prior.wyckoff_element, wyckoff, smoothing)
        by_element[~of_groups] = 0
    counts: dict[str, Any] = {
        field: _to_weights(
            (values + missing[:, None] * spread.borrow(values, smoothing))[groups]
        )
        for field, values in (
            ("element", spread.element),
            ("n_elements", spread.n_elements),
            ("repetitions", spread.repetitions),
        )
    }
    return replace(
        prior,
        name=f"{prior.name}-smoothed" if name is None else name,
        min_crystals=0,
        space_group=groups.astype(np.int32),
        n_crystals=spread.n_crystals[groups].astype(np.int64),
        wyckoff=np.where(of_groups, np.maximum(_to_weights(wyckoff), 1), 0),
        wyckoff_element=by_element,
        smoothing=smoothing,
        **counts,
        **_fill_volumes(prior, groups, smoothing),
        **_fill_shapes(prior, groups, smoothing),
    )


def cover_frequent_groups(
    prior: Prior,
    n_groups: int = 145,
    *,
    smoothing: Smoothing | None = None,
    name: str,
) -> Prior:
    """Smooth a prior onto the groups with the most ICSD entries, and say so in it.

    ``open-145`` is made so: Schopmans et al. (2023) have 145 groups, those with 50 or
    more crystals of their part of the ICSD, but do not list them.

    Args:
        prior: As fitted with ``min_crystals=1`` and ICSD counts.
        n_groups: How many groups; of equal counts the lower number.
        smoothing: How to back off.
        name: Of the result.

    Raises:
        PriorError: If the prior holds no ICSD counts (see also ``smooth_prior``).
    """
    if not prior.icsd_crystals.any():
        raise PriorError(f"prior {prior.name!r} holds no ICSD counts; fit it with them")
    groups = most_frequent_groups(prior.icsd_crystals, n_groups)
    smoothed = smooth_prior(prior, groups, smoothing=smoothing, name=name)
    how = (
        f"smoothed onto the {n_groups} space groups with the most of these ICSD "
        "entries, of equal counts the lower number (Schopmans et al. 2023 do not list "
        "theirs)"
    )
    return replace(smoothed, source=f"{prior.source}; {how}")


def _to_weights(crystals: Float64[np.ndarray, "..."]) -> Int64[np.ndarray, "..."]:
    """Whole millionths of crystals."""
    weights: np.ndarray = np.rint(crystals * WEIGHT_UNIT).astype(np.int64)
    return weights


class _Spread:
    """Counts of a prior over all 230 groups, and the families they borrow from."""

    def __init__(self, prior: Prior) -> None:
        tables = load_symmetry_tables()
        self.n_crystals = np.zeros(231)
        self.n_crystals[prior.space_group] = prior.n_crystals
        self.element = self._spread(prior, prior.element)
        self.n_elements = self._spread(prior, prior.n_elements)
        self.repetitions = self._spread(prior, prior.repetitions)
        self.wyckoff = prior.wyckoff.astype(np.float64)
        self.families = families()
        # Positions of one class: equal freedom and primitive multiplicity.
        group = position_groups()
        primitive = tables.multiplicity // tables.n_centring[group]
        _, self.position_class = np.unique(
            np.column_stack([tables.degrees_of_freedom, primitive]),
            axis=0,
            return_inverse=True,
        )
        self.position_class = self.position_class.reshape(-1)

    @staticmethod
    def _spread(prior: Prior, values: np.ndarray) -> Float64[np.ndarray, "231 n"]:
        wide = np.zeros((231, values.shape[1]))
        wide[prior.space_group] = values
        return wide

    def borrow(
        self, counts: Float64[np.ndarray, "231 n"], smoothing: Smoothing
    ) -> Float64[np.ndarray, "231 n"]:
        """Counts a crystal, of the groups that each group borrows from."""
        exposure = np.broadcast_to(self.n_crystals[:, None], counts.shape)
        return self.borrow_rates(counts, exposure, smoothing)

    def borrow_rates(
        self,
        counts: Float64[np.ndarray, "231 n"],
        exposure: Float64[np.ndarray, "231 n"],
        smoothing: Smoothing,
    ) -> Float64[np.ndarray, "231 n"]:
        """Counts over exposure in the families of each group, itself left out.

        A family whose exposure is below ``enough_crystals`` borrows the rest from
        the next larger one.
        """
        rate = np.zeros_like(counts)
        for family in reversed(self.families):
            seen = _sum_family(counts, family) - counts
            by = _sum_family(exposure, family) - exposure
            missing = np.maximum(smoothing.enough_crystals - by, 0.0)
            whole = by + missing
            rate = np.where(
                whole > 0.0,
                (seen + missing * rate) / np.where(whole > 0.0, whole, 1.0),
                rate,
            )
        return rate


def families() -> tuple[Int64[np.ndarray, " 231"], ...]:
    """Number of each group's point group, crystal system, and of all: 0."""
    tables = load_symmetry_tables()
    _, point_group = np.unique(np.array(tables.point_group), return_inverse=True)
    return (
        point_group.reshape(-1).astype(np.int64),
        tables.crystal_system.astype(np.int64),
        np.zeros(231, np.int64),
    )


def _sum_family(
    values: Float64[np.ndarray, "231 n"], family: Int64[np.ndarray, " 231"]
) -> Float64[np.ndarray, "231 n"]:
    """Sum over the family of each group."""
    sums = np.zeros((int(family.max()) + 1, values.shape[1]))
    np.add.at(sums, family[1:], values[1:])
    spread: np.ndarray = sums[family]
    return spread


def _smooth_positions(
    spread: _Spread, missing: Float64[np.ndarray, " 231"], smoothing: Smoothing
) -> Float64[np.ndarray, " 1731"]:
    """Positions held, own and borrowed, in crystals."""
    group, kind = position_groups(), spread.position_class
    held = np.zeros((231, int(kind.max()) + 1))
    available = np.zeros_like(held)
    np.add.at(held, (group, kind), spread.wyckoff)
    np.add.at(available, (group, kind), 1.0)
    exposure = available * spread.n_crystals[:, None]
    rate = spread.borrow_rates(held, exposure, smoothing)[group, kind]
    rate = _raise_characteristic(rate)
    unseen = np.where(spread.wyckoff == 0.0, smoothing.unseen_crystals, 0.0)
    smoothed: np.ndarray = spread.wyckoff + np.maximum(missing[group], unseen) * rate
    return smoothed


def _raise_characteristic(
    rate: Float64[np.ndarray, " 1731"],
) -> Float64[np.ndarray, " 1731"]:
    """Give positions that make a crystal one of its group a share of what is borrowed.

    Crystals of Fd-3c must hold its general position, with 192 atoms, or they belong to
    another group. Where it is borrowed from, hardly any crystal does: it would be drawn
    once in a million times.
    """
    offset = load_symmetry_tables().position_offset
    characteristic = characteristic_positions()
    raised = rate.copy()
    for group in range(1, 231):
        rows = np.arange(offset[group], offset[group + 1])
        needed = rows[characteristic[rows]]
        least = _CHARACTERISTIC_SHARE * rate[rows].sum()
        if len(needed) and rate[needed].sum() < least:
            share = np.maximum(rate[needed], 1e-6)
            raised[needed] = share * least / share.sum()
    return raised


def _smooth_by_element(
    counts: np.ndarray, wyckoff: Float64[np.ndarray, " 1731"], smoothing: Smoothing
) -> Int64[np.ndarray, "1731 99"]:
    """Positions of each element, and some of the group's choice beside them."""
    offset = load_symmetry_tables().position_offset
    share = np.zeros_like(wyckoff)
    for group in range(1, 231):
        rows = slice(offset[group], offset[group + 1])
        share[rows] = wyckoff[rows] / max(wyckoff[rows].sum(), 1e-300)
    weights = _to_weights(counts + smoothing.unseen_crystals * share[:, None])
    weights[:, 0] = 0
    return weights


def _fill_volumes(
    prior: Prior, groups: Int64[np.ndarray, " groups"], smoothing: Smoothing
) -> dict[str, Any]:
    """Own volume points of each group, and borrowed ones where they are few."""
    atoms = fewest_atoms()
    owner = np.repeat(prior.space_group, np.diff(prior.volume_offset)).astype(np.int64)
    atomic = prior.volume_atomic.astype(np.float64)
    factor = prior.volume_factor.astype(np.float64)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for row, group in enumerate(groups.tolist()):
        own = owner == group
        scaled = atomic * atoms[group] / atoms[owner]
        scaled = np.where(own, atomic, np.minimum(scaled, prior.max_volume / factor))
        usable = ~own
        points = [np.flatnonzero(own)]
        for family in families():
            missing = max(smoothing.enough_crystals, 1) - sum(map(len, points))
            near = np.flatnonzero(usable & (family[owner] == family[group]))
            if missing <= 0:
                break
            near = near[np.lexsort([near, scaled[near]])]
            if len(near) > missing:
                ranks = (np.arange(missing) + 0.5) * len(near) / missing
                near = near[ranks.astype(np.int64)]
            usable[near] = False
            points.append(near)
        kept = np.concatenate(points)
        if not len(kept):
            raise PriorError(
                f"prior {prior.name!r} has no cell to learn volumes of group {group} "
                "from"
            )
        found.append((np.full(len(kept), row), scaled[kept], factor[kept]))
    rows, values, factors = (np.concatenate(part) for part in zip(*found, strict=True))
    return sort_volumes(rows, values, factors, len(groups))


def _fill_shapes(
    prior: Prior, groups: Int64[np.ndarray, " groups"], smoothing: Smoothing
) -> dict[str, Any]:
    """Shapes of each lattice type, with borrowed ones where they are few."""
    needed = np.unique(load_symmetry_tables().lattice_type[groups])
    kind = np.repeat(np.arange(len(LATTICE_TYPES)), np.diff(prior.shape_offset))
    shape = prior.shape.astype(np.float64)
    kinds, shapes = [kind], [shape]
    filled = []
    for index in needed.tolist():
        free = SHAPE_COLUMNS[index]
        missing = smoothing.enough_crystals - int((kind == index).sum())
        if not free or missing <= 0:
            continue
        lends = [set(free) <= set(SHAPE_COLUMNS[int(k)]) and k != index for k in kind]
        lent = shape[np.array(lends, np.bool_)]
        ranks = np.arange(min(missing, len(lent)), dtype=np.int64)
        lent = lent[ranks * len(lent) // max(len(ranks), 1)]
        if len(lent) + (kind == index).sum() <= len(free):
            raise PriorError(
                f"prior {prior.name!r} has no cells to learn the shape of "
                f"{LATTICE_TYPES[index]} ones from"
            )
        fixed = [column for column in range(5) if column not in free]
        lent[:, fixed] = _fixed_shape(index)[fixed]
        kinds.append(np.full(len(lent), index))
        shapes.append(lent)
        filled.append(index)
    if not filled:
        return {}
    kind, shape = np.concatenate(kinds), np.concatenate(shapes)
    kernels = shape_kernels(kind, shape, scale_shapes(shape))
    # Types that borrowed nothing keep the kernel that was fitted in full precision.
    for name, values in kernels.items():
        kept = [index for index in range(len(LATTICE_TYPES)) if index not in filled]
        values[kept] = getattr(prior, name)[kept]
    return sort_shapes(kind, shape) | kernels


def _fixed_shape(lattice_type: int) -> Float64[np.ndarray, " 5"]:
    """Shape of a type where it has no freedom."""
    gamma = 120.0 if LATTICE_TYPES[lattice_type] == "hexagonal" else 90.0
    return np.array([0.0, 0.0, 90.0, 90.0, gamma])
