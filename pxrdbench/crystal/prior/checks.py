"""Is a prior one that the generator's kernels can draw from?

Kernels look at nothing: an offset beyond its array reads other memory, a NaN is never
accepted and never refused, and an element that cannot be had is drawn for ever. So all
of it is looked at here, once, when a prior comes from a file.
"""

import math
from typing import Any

import numpy as np

from pxrdbench.crystal.prior.statistics import SHAPE_COLUMNS, position_groups
from pxrdbench.crystal.symmetry.tables import load_symmetry_tables
from pxrdbench.outside import check_array, check_offsets, one_line

# A prior of all 240,000 crystals of the ICSD with positions by element takes 15 MB;
# more than this is not taken into memory.
MOST_BYTES = 256 * 2**20
# Limits that no crystal comes near: sites of an asymmetric unit, volume of a cell [Å³],
# ratio of volumes, ln of a ratio of edges, standard deviations of the kernels.
_MOST_SITES = 2000
_MOST_VOLUME = 1e6
_MOST_FACTOR = 1e4
_MOST_LOG = 7.0
_MOST_WEIGHT = 2**60
# In the shape's order: two logarithms, three angles [degrees]; a, b, c before scaling.
_MOST_SPREAD = (3.0, 3.0, 60.0, 60.0, 60.0)
_MOST_SCALED_SPREAD = (10.0, 10.0, 10.0, 60.0, 60.0, 60.0)
# Kernels narrower than this have a variance that is no number any more.
_LEAST_BANDWIDTH = 1e-6
# An element is drawn until it is new; one that is so rare is waited for too long.
_RAREST = 1e-7
# As the generator has them (`generator.cell`), a little stricter.
_FLATTEST, _SHARPEST = 0.011, 21.0
# Of the shapes of a type so many must be cells, or the generator seeks for ever.
_LEAST_CELLS = 0.2


def check_prior(prior: Any) -> None:
    """Look at all that kernels take from a prior.

    Args:
        prior: A ``Prior``, whose module imports this one.

    Raises:
        ValueError: With the first thing that is wrong.
    """
    _check_header(prior)
    groups = len(check_array("space_group", prior.space_group, "iu", (None,), 1, 230))
    if not groups or (np.diff(prior.space_group.astype(np.int64)) < 1).any():
        raise ValueError("space_group is empty or does not ascend")
    _check_weights(prior, groups)
    _check_volumes(prior, groups)
    _check_shapes(prior)


def _check_header(prior: Any) -> None:
    for name in ("name", "split_digest", "source"):
        value: Any = getattr(prior, name)
        if not isinstance(value, str) or len(value) > 10_000:
            raise ValueError(f"{name} is {one_line(repr(value), 60)}")
    if prior.frequencies != "fitted":  # chosen by who draws, never by a file
        raise ValueError(f"frequencies is {one_line(repr(prior.frequencies), 60)}")
    if not isinstance(prior.restricted, bool):
        raise ValueError(f"restricted is {one_line(repr(prior.restricted), 60)}")
    _check_number("min_crystals", prior.min_crystals, 0, 10**9, whole=True)
    _check_number("binned", prior.binned, 0, 10**9, whole=True)
    _check_number("max_sites", prior.max_sites, 1, _MOST_SITES, whole=True)
    _check_number("max_volume", prior.max_volume, 1.0, _MOST_VOLUME)
    if prior.smoothing is not None:
        _check_number(
            "enough_crystals", prior.smoothing.enough_crystals, 0, 10**9, whole=True
        )
        _check_number("unseen_crystals", prior.smoothing.unseen_crystals, 0.0, 1e9)


def _check_number(
    name: str, value: Any, low: float, high: float, *, whole: bool = False
) -> None:
    kinds = int if whole else int | float
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise ValueError(f"{name} is {one_line(repr(value), 60)}")
    if not low <= value <= high:
        raise ValueError(f"{name} is {value:g}; allowed are {low:g} to {high:g}")


def _check_weights(prior: Any, groups: int) -> None:
    """Counts: none negative, and something to choose wherever is chosen."""
    most = float(_MOST_WEIGHT)
    check_array("n_crystals", prior.n_crystals, "iu", (groups,), 0, most)
    check_array("icsd_crystals", prior.icsd_crystals, "iu", (231,), 0, most)
    check_array("element", prior.element, "iu", (groups, 99), 0, most)
    check_array("n_elements", prior.n_elements, "iu", (groups, None), 0, most)
    check_array("repetitions", prior.repetitions, "iu", (groups, None), 0, most)
    rows = len(position_groups())
    check_array("wyckoff", prior.wyckoff, "iu", (rows,), 0, most)
    if prior.wyckoff_element is not None:
        check_array("wyckoff_element", prior.wyckoff_element, "iu", (rows, 99), 0, most)
    if not prior.n_crystals.any() and prior.smoothing is None:
        raise ValueError("n_crystals has no crystal")
    if prior.repetitions.shape[1] > _MOST_SITES:
        raise ValueError(f"repetitions has {prior.repetitions.shape[1]} columns")
    held = np.bincount(position_groups(), prior.wyckoff, 231)[prior.space_group]
    for name, sums in (
        ("element", prior.element.sum(axis=1, dtype=np.float64)),
        ("n_elements", prior.n_elements.sum(axis=1, dtype=np.float64)),
        ("repetitions", prior.repetitions.sum(axis=1, dtype=np.float64)),
        ("wyckoff", held),
    ):
        if not (sums > 0.0).all():
            group = prior.space_group[int(np.argmin(sums))]
            raise ValueError(f"{name} has nothing to choose in group {group}")
    _check_elements(prior)


def _check_elements(prior: Any) -> None:
    """As many elements as a crystal may hold can be drawn, and soon."""
    if prior.element[:, 0].any():
        raise ValueError("element has weights of the atomic number 0")
    columns = np.arange(1, prior.n_elements.shape[1] + 1)
    most = (columns * (prior.n_elements > 0)).max(axis=1)
    heaviest = np.sort(prior.element.astype(np.float64), axis=1)[:, ::-1]
    total = heaviest.sum(axis=1)
    for row, count in enumerate(most.tolist()):
        # What is left for the last element when the likeliest have been drawn.
        left = heaviest[row, count - 1 :].sum()
        if count > heaviest.shape[1] or left < _RAREST * total[row]:
            raise ValueError(
                f"group {prior.space_group[row]} may hold {count} elements, of which "
                "the last cannot be drawn"
            )


def _check_volumes(prior: Any, groups: int) -> None:
    offset = check_array("volume_offset", prior.volume_offset, "iu", (groups + 1,), 0)
    atomic = check_array(
        "volume_atomic", prior.volume_atomic, "f", (None,), 1e-3, _MOST_VOLUME
    )
    check_array(
        "volume_factor", prior.volume_factor, "f", atomic.shape, 1e-3, _MOST_FACTOR
    )
    # The kernel takes the last point of each group: there must be one.
    check_offsets("volume_offset", offset, len(atomic), least=1)
    falls = np.diff(atomic) < 0.0
    falls[offset[1:-1].astype(np.int64) - 1] = False  # from one group to the next
    if falls.any():
        raise ValueError("volume_atomic does not ascend within a group")
    check_array("bandwidth", prior.bandwidth, "f", (2,), _LEAST_BANDWIDTH, _MOST_VOLUME)
    if prior.bandwidth.dtype != np.float64:
        raise ValueError(f"bandwidth holds {prior.bandwidth.dtype}")


def _check_shapes(prior: Any) -> None:
    shape = check_array("shape", prior.shape, "f", (None, 5), -180.0, 180.0)
    offset = check_array(
        "shape_offset", prior.shape_offset, "iu", (len(SHAPE_COLUMNS) + 1,), 0
    )
    check_offsets("shape_offset", offset, len(shape))
    for name, size, spreads in (
        ("shape_kernel", 5, _MOST_SPREAD),
        ("scaled_kernel", 6, _MOST_SCALED_SPREAD),
    ):
        kernel = check_array(
            name, getattr(prior, name), "f", (len(SHAPE_COLUMNS), size, size)
        )
        if kernel.dtype != np.float64:
            raise ValueError(f"{name} holds {kernel.dtype}")
        if (np.abs(kernel) > np.array(spreads)[:, None]).any():
            raise ValueError(f"{name} is wider than {spreads}")
        if (np.diagonal(kernel, axis1=1, axis2=2) < 0.0).any():
            raise ValueError(f"{name} has a negative width")
    if (np.abs(shape[:, :2]) > _MOST_LOG).any() or (shape[:, 2:] <= 0.0).any():
        raise ValueError("shape holds what is no cell")
    of_group = load_symmetry_tables().lattice_type[prior.space_group]
    for kind in np.unique(of_group).tolist():
        rows = shape[offset[kind] : offset[kind + 1]].astype(np.float64)
        # A cubic cell has no shape; a type without any is drawn as a cube.
        if not SHAPE_COLUMNS[kind]:
            if len(rows):
                raise ValueError("shape has cells of the cubic type")
            continue
        if not len(rows) or _cell_share(rows) < _LEAST_CELLS:
            raise ValueError(f"shape has too few cells of lattice type {kind}")


def _cell_share(shape: np.ndarray) -> float:
    """Share of shapes that the generator would take as they are."""
    angles = shape[:, 2:]
    cosines = np.cos(np.radians(angles))
    squared = 1.0 + 2.0 * cosines.prod(axis=1) - np.square(cosines).sum(axis=1)
    is_cell = (
        (squared > _FLATTEST)
        & (angles.min(axis=1) > _SHARPEST)
        & (angles.max(axis=1) < 180.0 - _SHARPEST)
    )
    share = float(is_cell.mean())
    return share if math.isfinite(share) else 0.0
