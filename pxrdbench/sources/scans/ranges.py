"""Ranges of one measurement that follow each other: joined by their counting times.

An instrument counts longer where intensities are low, and writes each range with its
own time. Side by side they are one pattern only on one scale; where the times are not
told there is none, and the file is refused. Scans of the same angles stay scans of
their own.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from pxrdbench.errors import SourceError
from pxrdbench.sources.scans.pattern import MeasuredPattern, make_pattern

# A range may begin this part of the shorter one before its predecessor ends.
_OVERLAP = 0.2
# Points at each side of a seam whose levels are compared.
_SEAM = 10


def join_ranges(
    scans: Sequence[MeasuredPattern], name: str
) -> tuple[MeasuredPattern, ...]:
    """Join scans that are ranges of one measurement; others stay as they are.

    Args:
        scans: Of one file, each with its counting time where the file tells it.
        name: Of the file.

    Raises:
        SourceError: If they follow each other and their scale is not told, or the
            times do not bring them to one.
    """
    if len(scans) < 2:
        return tuple(scans)
    ordered = sorted(scans, key=lambda scan: float(scan.two_theta[0]))
    if not all(_follows(a, b) for a, b in pairwise(ordered)):
        return tuple(scans)
    lines = {None if s.radiation is None else s.radiation.lines for s in ordered}
    if len(lines) > 1:
        return tuple(scans)
    times = [scan.counting_time for scan in ordered]
    if None in times:
        raise SourceError(
            f"{name}: {len(ordered)} ranges that follow each other, from "
            f"{ordered[0].two_theta[0]:g} to {ordered[-1].two_theta[-1]:g} degrees, "
            "and no counting time of each: on which scale they are is not told; export "
            "them as counts per second, or each as a file of its own"
        )
    known = [time for time in times if time is not None]
    scales = [known[0] / time for time in known]
    _check_seams(ordered, scales, name)
    angles, counts = [ordered[0].two_theta], [ordered[0].intensity]
    for scan, scale in zip(ordered[1:], scales[1:], strict=True):
        # Where two ranges overlap the earlier one counts, up to its end.
        beyond = scan.two_theta > angles[-1][-1] + 1e-6
        angles.append(scan.two_theta[beyond])
        counts.append(scan.intensity[beyond] * scale)
    said = ", ".join(
        f"{s.two_theta[0]:g}-{s.two_theta[-1]:g} degrees with {time:g} s"
        for s, time in zip(ordered, known, strict=True)
    )
    first = ordered[0]
    return (
        make_pattern(
            np.concatenate(angles), np.concatenate(counts), first.radiation, None, name,
            first.metadata,
            (
                *dict.fromkeys(w for s in ordered for w in s.warnings),
                f"{len(ordered)} ranges are joined by their counting times ({said}); "
                "intensities are on the scale of the first.",
            ),
            quantity=first.quantity, unit=first.unit, stated=first.stated,
            counting_time=known[0],
        ),
    )  # fmt: skip


def _follows(one: MeasuredPattern, two: MeasuredPattern) -> bool:
    """Whether the second goes on where the first ends."""
    shorter = min(
        float(one.two_theta[-1] - one.two_theta[0]),
        float(two.two_theta[-1] - two.two_theta[0]),
    )
    return bool(
        two.two_theta[0] > one.two_theta[-1] - _OVERLAP * shorter
        and two.two_theta[-1] > one.two_theta[-1]
    )


def _check_seams(
    scans: Sequence[MeasuredPattern], scales: Sequence[float], name: str
) -> None:
    """Refuse ranges that meet as they are, and not once they are scaled.

    Some programs call counts per second "counts"; then the times scale them twice.
    """
    for number in range(1, len(scans)):
        ratio = scales[number] / scales[number - 1]
        ends = np.median(scans[number - 1].intensity[-_SEAM:])
        begins = np.median(scans[number].intensity[:_SEAM])
        gap = scans[number].two_theta[0] - scans[number - 1].two_theta[-1]
        if min(ends, begins) <= 0.0 or gap > 1.0 or 0.5 < ratio < 2.0:
            continue
        plain = abs(np.log(begins / ends))
        if plain < np.log(1.2) and abs(np.log(begins * ratio / ends)) > np.log(1.7):
            raise SourceError(
                f"{name}: ranges meet at {scans[number].two_theta[0]:g} degrees as "
                "they are, and no longer once they are divided by their counting "
                "times: whether these are counts or counts per second is not told; "
                "export them as counts per second"
            )
