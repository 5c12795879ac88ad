"""Priors made from priors: merged, restricted to groups, binned for publication."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Int64

from pxrdbench.crystal.prior.prior import Prior
from pxrdbench.crystal.prior.statistics import (
    position_groups,
    reference_bandwidth,
    scale_shapes,
    shape_kernels,
    sort_shapes,
    sort_volumes,
)
from pxrdbench.crystal.symmetry.tables import LATTICE_TYPES
from pxrdbench.errors import PriorError


def restrict_prior(
    prior: Prior,
    *,
    min_crystals: int = 0,
    space_groups: Iterable[int] | None = None,
    name: str | None = None,
) -> Prior:
    """Keep groups with enough crystals, or those that are named.

    Args:
        prior: What to restrict; smoothed or not, restricted stays restricted.
        min_crystals: Fewest crystals seen in a group (50 in Schopmans et al. 2023).
        space_groups: Groups to keep; all if None.
        name: Of the result; the prior's with what was asked for if None.

    Raises:
        PriorError: If a group named is not in the prior, or none is left.
    """
    kept = prior.n_crystals >= min_crystals
    if space_groups is not None:
        named = np.unique(np.fromiter(space_groups, np.int64))
        unknown = np.setdiff1d(named, prior.space_group)
        if len(unknown):
            raise PriorError(
                f"prior {prior.name!r} does not hold group "
                f"{', '.join(map(str, unknown.tolist()))}"
            )
        kept = kept & np.isin(prior.space_group, named)
    if not kept.any():
        raise PriorError(
            f"no group of prior {prior.name!r} is left: the most crystals of a group "
            f"are {prior.n_crystals.max()}"
        )
    of_groups = np.isin(position_groups(), prior.space_group[kept])
    point_row = np.repeat(np.arange(len(kept)), np.diff(prior.volume_offset))
    in_row = np.where(kept, np.cumsum(kept) - 1, -1)[point_row]
    by_element = prior.wyckoff_element
    return replace(
        prior,
        name=f"{prior.name}-{int(kept.sum())}-groups" if name is None else name,
        min_crystals=max(prior.min_crystals, min_crystals),
        space_group=prior.space_group[kept],
        n_crystals=prior.n_crystals[kept],
        element=prior.element[kept],
        n_elements=prior.n_elements[kept],
        repetitions=prior.repetitions[kept],
        wyckoff=np.where(of_groups, prior.wyckoff, 0).astype(prior.wyckoff.dtype),
        wyckoff_element=(
            None
            if by_element is None
            else np.where(of_groups[:, None], by_element, 0).astype(by_element.dtype)
        ),
        **sort_volumes(
            in_row, prior.volume_atomic, prior.volume_factor, int(kept.sum())
        ),
    )


def merge_priors(first: Prior, second: Prior, *, name: str) -> Prior:
    """Put together what two sets of crystals taught, as if fitted in one.

    Only groups that a prior represents are in it: fit with ``min_crystals=1``, merge,
    then restrict or smooth.

    Args:
        first: Not smoothed.
        second: Not smoothed; fitted on other crystals.
        name: Of the result.

    Returns:
        A prior with all groups of both, restricted if one of them is. Its kernels are
        those of all points together.

    Raises:
        PriorError: If one is smoothed, one chooses positions by element and the other
            does not, or their ICSD counts contradict each other.
    """
    both = (first, second)
    if any(prior.smoothing is not None for prior in both):
        raise PriorError("merge priors as fitted, and smooth the result")
    if (first.wyckoff_element is None) != (second.wyckoff_element is None):
        raise PriorError("one prior chooses positions by element, the other does not")
    groups = np.union1d(first.space_group, second.space_group)
    owner = np.concatenate(
        [np.repeat(p.space_group, np.diff(p.volume_offset)) for p in both]
    )
    atomic = np.concatenate([p.volume_atomic for p in both]).astype(np.float64)
    factor = np.concatenate([p.volume_factor for p in both]).astype(np.float64)
    kind = np.concatenate(
        [
            np.repeat(np.arange(len(LATTICE_TYPES)), np.diff(p.shape_offset))
            for p in both
        ]
    )
    shape = np.concatenate([p.shape for p in both]).astype(np.float64)
    merged: dict[str, Any] = {
        field: _add_rows(groups, both, field)
        for field in ("n_crystals", "element", "n_elements", "repetitions")
    }
    if first.wyckoff_element is not None and second.wyckoff_element is not None:
        merged["wyckoff_element"] = first.wyckoff_element + second.wyckoff_element
    return Prior(
        name=name,
        restricted=first.restricted or second.restricted,
        split_digest=_join(first.split_digest, second.split_digest, "+"),
        source=_join(first.source, second.source, " | "),
        min_crystals=min(first.min_crystals, second.min_crystals),
        max_volume=max(first.max_volume, second.max_volume),
        max_sites=max(first.max_sites, second.max_sites),
        space_group=groups.astype(np.int32),
        icsd_crystals=_merge_icsd(first, second),
        wyckoff=first.wyckoff + second.wyckoff,
        bandwidth=reference_bandwidth(factor, atomic),
        binned=min(first.binned, second.binned),
        **merged,
        **sort_volumes(np.searchsorted(groups, owner), atomic, factor, len(groups)),
        **sort_shapes(kind, shape),
        **shape_kernels(kind, shape, scale_shapes(shape)),
    )


def _add_rows(groups: np.ndarray, both: tuple[Prior, Prior], field: str) -> np.ndarray:
    """Add counts by group; what is missing in one counts as zero."""
    values = [getattr(prior, field) for prior in both]
    width = tuple(np.max([v.shape[1:] for v in values], axis=0).astype(int).tolist())
    total = np.zeros((len(groups), *width), values[0].dtype)
    for prior, value in zip(both, values, strict=True):
        rows = np.searchsorted(groups, prior.space_group)
        columns = (slice(0, value.shape[1]),) if value.ndim > 1 else ()
        total[(rows, *columns)] += value
    return total


def _join(first: str, second: str, mark: str) -> str:
    """Both texts, or one where they are equal or one is empty."""
    return mark.join(dict.fromkeys(text for text in (first, second) if text))


def _merge_icsd(first: Prior, second: Prior) -> Int64[np.ndarray, " 231"]:
    """ICSD counts of the prior that has them; they are of the ICSD, not of a fit."""
    if not first.icsd_crystals.any():
        return second.icsd_crystals
    same = np.array_equal(first.icsd_crystals, second.icsd_crystals)
    if second.icsd_crystals.any() and not same:
        raise PriorError(
            f"priors {first.name!r} and {second.name!r} hold different ICSD counts; "
            "fit both with the same"
        )
    return first.icsd_crystals


def bin_prior(
    prior: Prior,
    *,
    name: str | None = None,
    fewest: int = 10,
    restricted: bool | None = None,
) -> Prior:
    """Coarsen a prior until no crystal can be read back from it.

    A fitted prior holds volume and shape of each crystal: its kernel density *is* the
    data. Here

    * groups of less than ``fewest`` crystals are left out;
    * points of a group are sorted by the volume of their atoms and cut into runs of
      ``fewest`` or more, each of which shares the mean volume; the factors of a run
      are rounded to the kernel's width and sorted;
    * shapes are rounded to the width of their kernel and sorted, so that neither value
      nor order tells of one crystal.

    All else in a prior are counts, of one crystal too: that some crystal of a group
    holds an element or a position stays visible. The result is drawn from as any other.

    Args:
        prior: As fitted, or smoothed.
        name: Of the result; the prior's with "-binned" if None.
        fewest: Crystals that share a volume of atoms, at least.
        restricted: Whether the result may not be published. The prior's own flag if
            None: whether a licence allows to publish the binned one is for its holder
            to decide, and to say here.

    Raises:
        PriorError: If fewest is below 2, or no group is left.
    """
    if fewest < 2:
        raise PriorError(f"fewest {fewest}; runs of less than 2 crystals hide nothing")
    kept = prior
    if prior.smoothing is None:
        kept = restrict_prior(prior, min_crystals=fewest, name=prior.name)
    atomic, factor = _bin_volumes(kept, fewest)
    return replace(
        kept,
        name=f"{prior.name}-binned" if name is None else name,
        restricted=prior.restricted if restricted is None else restricted,
        volume_atomic=atomic,
        volume_factor=factor,
        shape=_bin_shapes(kept),
        binned=fewest,
    )


def _bin_volumes(prior: Prior, fewest: int) -> tuple[np.ndarray, np.ndarray]:
    """Runs of points that share a volume of atoms, with rounded factors."""
    atomic = prior.volume_atomic.astype(np.float64)
    factor = prior.volume_factor.astype(np.float64)
    width = float(prior.bandwidth[0])
    for start, stop in zip(prior.volume_offset, prior.volume_offset[1:], strict=False):
        n_runs = max(int(stop - start) // fewest, 1)
        for run in np.array_split(np.arange(start, stop), n_runs):
            atomic[run] = atomic[run].mean()
            rounded = np.rint(np.sort(factor[run]) / width) * width
            factor[run] = np.maximum(rounded, width)
    return atomic.astype(np.float32), factor.astype(np.float32)


def _bin_shapes(prior: Prior) -> np.ndarray:
    """Shapes rounded to their kernel's width, sorted within each lattice type."""
    shape = prior.shape.astype(np.float64)
    offsets = zip(prior.shape_offset, prior.shape_offset[1:], strict=False)
    for index, (start, stop) in enumerate(offsets):
        kernel = prior.shape_kernel[index]
        width = np.sqrt(np.diag(kernel @ kernel.T))
        free = width > 0.0
        part = shape[start:stop]
        center = np.where(free, part.mean(axis=0) if stop > start else 0.0, 0.0)
        step = np.where(free, width, 1.0)
        rounded = np.rint((part - center) / step) * step + center
        part[:, free] = rounded[:, free]
        shape[start:stop] = part[np.lexsort(part.T[::-1])]
    return shape.astype(np.float32)
