"""Comparison of two lists of peaks that merge close reflections differently."""

import numpy as np
from references import list_all_reflections

# pymatgen merges what one bin of 1e-5 degrees holds, we what is within 1e-5 of a
# first reflection: lists agree only in the sums of what lies this close together.
_GAP = 2.5e-5
_WEAKEST = 1.01e-5
_EXACT, _SAME_PLACE = 1e-8, 1e-9


def compare_clusters(crystal, ours, our_intensity, theirs, their_intensity):
    """Compare peaks with pymatgen's at 1.5406 Å between 5 and 90 degrees.

    Peaks that lie close together are summed on both sides. Where such a sum differs by
    a peak below the threshold of 1e-5 of the strongest, several distinct reflections
    must be there: pymatgen's bins had parted them, and dropped the weaker one.

    Returns:
        Largest relative deviation of a sum (infinite if one side has none, unless it
        is below the threshold), largest distance of angles where both have one peak
        of one reflection [degrees], and the angles of the clusters that bins have
        parted.
    """
    angles = np.concatenate([ours, theirs])
    order = np.argsort(angles, kind="stable")
    label = np.empty(len(angles), int)
    label[order] = np.concatenate([[0], np.cumsum(np.diff(angles[order]) > _GAP)])
    mine, other = label[: len(ours)], label[len(ours) :]
    n = label.max() + 1
    a, b = np.bincount(mine, our_intensity, n), np.bincount(other, their_intensity, n)
    count_a, count_b = np.bincount(mine, minlength=n), np.bincount(other, minlength=n)
    faint = _WEAKEST * max(a.max(), b.max())
    largest = np.maximum(a, b)
    deviation = np.abs(a - b) / largest
    alone = (count_a == 0) | (count_b == 0)
    deviation[alone] = np.where(largest[alone] < faint, 0.0, np.inf)
    parted = (count_a != count_b) & ~alone
    first = np.full(n, np.inf)
    np.minimum.at(first, label, angles)
    # Two faint parts, each dropped by itself, may be above the threshold together.
    limit = np.where(alone, 2.0 * faint, faint)
    for cluster in np.flatnonzero((deviation > _EXACT) & (np.abs(a - b) < limit)):
        if _holds_several(crystal, first[cluster]):
            deviation[cluster], parted[cluster] = 0.0, True
    where = np.zeros(n)
    where[mine] = ours
    distance = np.zeros(n)
    distance[other] = np.abs(where[other] - theirs)
    distance[(count_a != 1) | (count_b != 1) | parted] = 0.0
    # Both may stand at different ones of the reflections that they have merged.
    for cluster in np.flatnonzero(distance > _SAME_PLACE):
        if _holds_several(crystal, first[cluster]):
            distance[cluster] = 0.0
    return deviation.max(), distance.max(), first[parted].tolist()


def _holds_several(crystal, angle):
    """Whether distinct reflections lie at one angle, apart by more than rounding."""
    near = (angle - _GAP, angle + 2 * _GAP)
    _, sin_theta = list_all_reflections(crystal.lattice, 1.5406, near)
    return len(sin_theta) > 0 and np.ptp(2 * np.degrees(np.arcsin(sin_theta))) > 1e-9
