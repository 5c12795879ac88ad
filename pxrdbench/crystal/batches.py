"""Joining batches of crystals, and taking some out of one."""

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
from jaxtyping import Int64

from pxrdbench.crystal.structure import CrystalBatch


def join_crystals(batches: Sequence[CrystalBatch]) -> CrystalBatch:
    """Put batches one after the other; nothing is checked again."""
    if not batches:
        return CrystalBatch.from_crystals([])
    offset, last = [np.zeros(1, np.int64)], 0
    for batch in batches:
        offset.append(batch.site_offset[1:] + last)
        last += int(batch.site_offset[-1])
    joined = {
        field.name: np.concatenate([getattr(batch, field.name) for batch in batches])
        for field in fields(CrystalBatch)
        if field.name != "site_offset"
    }
    return CrystalBatch(site_offset=np.concatenate(offset), **joined)


def take_crystals(
    crystals: CrystalBatch, index: Int64[np.ndarray, " taken"]
) -> CrystalBatch:
    """Take the crystals at these positions, in this order."""
    counts = np.diff(crystals.site_offset)[index]
    offset = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    # Row of a site = where its crystal begins, and how far into it the site is.
    start = crystals.site_offset[:-1][index] - offset[:-1]
    rows = np.repeat(start, counts) + np.arange(offset[-1])
    taken = {
        field.name: getattr(crystals, field.name)[
            index if field.name in ("lattice", "space_group") else rows
        ]
        for field in fields(CrystalBatch)
        if field.name != "site_offset"
    }
    return CrystalBatch(site_offset=offset, **taken)
