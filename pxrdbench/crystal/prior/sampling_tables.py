"""Running sums of a prior, in the types that the generator's kernel computes with."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from pxrdbench.crystal.prior.prior import Prior
from pxrdbench.crystal.symmetry.tables import load_symmetry_tables


class SamplingTables(NamedTuple):
    """What the kernel of the generator reads; one row a represented group.

    Attributes:
        wyckoff_element: One row an atomic number, over the rows of the symmetry
            tables; no row at all where the choice of positions is the group's.
    """

    space_group: np.ndarray
    group: np.ndarray
    element: np.ndarray
    n_elements: np.ndarray
    repetitions: np.ndarray
    wyckoff: np.ndarray
    wyckoff_element: np.ndarray
    volume_offset: np.ndarray
    volume_atomic: np.ndarray
    volume_factor: np.ndarray
    bandwidth: np.ndarray
    shape_offset: np.ndarray
    shape: np.ndarray
    shape_kernel: np.ndarray
    scaled_kernel: np.ndarray


# Priors compare by identity, so a changed one never finds the sums of another.
@lru_cache(maxsize=8)
def sampling_tables(prior: Prior) -> SamplingTables:
    """Sum up the weights of a prior; the last few are kept."""
    wyckoff = prior.wyckoff.astype(np.float64)
    by_element = np.zeros((0, len(wyckoff)))
    if prior.wyckoff_element is not None:
        by_element = np.ascontiguousarray(prior.wyckoff_element.T, np.float64)
    offset = load_symmetry_tables().position_offset
    for group in range(1, 231):
        rows = slice(offset[group], offset[group + 1])
        wyckoff[rows] = np.cumsum(wyckoff[rows])
        by_element[:, rows] = np.cumsum(by_element[:, rows], axis=1)
    return SamplingTables(
        space_group=prior.space_group.astype(np.int64),
        group=np.cumsum(prior.space_group_probability),
        element=np.cumsum(prior.element, axis=1, dtype=np.float64),
        n_elements=np.cumsum(prior.n_elements, axis=1, dtype=np.float64),
        repetitions=np.cumsum(prior.repetitions, axis=1, dtype=np.float64),
        wyckoff=wyckoff,
        wyckoff_element=by_element,
        volume_offset=prior.volume_offset.astype(np.int64),
        volume_atomic=prior.volume_atomic.astype(np.float64),
        volume_factor=prior.volume_factor.astype(np.float64),
        bandwidth=prior.bandwidth,
        shape_offset=prior.shape_offset.astype(np.int64),
        shape=prior.shape.astype(np.float64),
        shape_kernel=prior.shape_kernel,
        scaled_kernel=prior.scaled_kernel,
    )
