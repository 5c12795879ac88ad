"""When there is no confident answer, and why: what a crystallographer would object to.

A confident answer needs a scan with lines, a cell that explains them, and a group that
stands out. Each reason is one sentence that begins with its name.
"""

import numpy as np
from jaxtyping import Float64

from pxrdbench.prediction.cell_report import explained_lines
from pxrdbench.prediction.known import Known
from pxrdbench.prediction.reading import Reading

# Fewer lines than this are no pattern; a scan of fewer points is a list.
_NO_LINES, FEW_LINES = 2, 4
_LIST_POINTS = 150
# Calibrated probability that there is a cell below which there is no answer.
LEAST_CELL = 0.4
# Share of the intensity's square roots that lines of no cell may have.
FOREIGN = 0.3
# A stated cell is doubted sooner: nothing was searched for.
STATED_FOREIGN, STATED_RESIDUAL = 0.55, 0.7
# A group below this is one of many.
LEAST_GROUP = 0.05
# Standard deviations of ln(volume) at which elements or a formula are doubted.
_VOLUME_DOUBT = -4.0
# Steps in which a hump is looked for [degrees], and how far it rises.
_HUMP_WIDTH, _HUMP_RISE = 1.5, 0.15

Points = Float64[np.ndarray, " points"]


def is_peak_list(two_theta: Points) -> bool:
    """Whether angles are those of a list of lines: few, and on no even steps."""
    steps = np.diff(two_theta)
    if len(steps) < 2:
        return True
    return bool(
        len(two_theta) < _LIST_POINTS
        and float(np.std(steps)) > 0.25 * float(np.mean(steps))
    )


def has_hump(two_theta: Points, intensity: Points) -> bool:
    """Whether a scan without lines rises in its middle above a straight background."""
    span = float(np.ptp(two_theta))
    width = int(_HUMP_WIDTH * len(two_theta) / max(span, 1e-9))
    if width < 2 or len(two_theta) < 5 * width:
        return False
    n = len(intensity) // width
    level = intensity[: n * width].reshape(n, width).mean(axis=1)
    level = level[n // 8 :]  # every scan rises towards the direct beam
    straight = np.linspace(level[0], level[-1], len(level))
    noise = float(np.median(np.abs(np.diff(level)))) + 1e-12
    rise = float((level - straight).max())
    return rise > max(_HUMP_RISE * float(np.median(level)), 8.0 * noise)


def foreign_lines(reading: Reading) -> tuple[Points, float]:
    """Lines that the first cell leaves [degrees], and their share of the intensity.

    Square roots are counted: weak lines are lines, too.
    """
    found = reading.indexing
    if found is None or found.intensities is None or not len(found.lines):
        return np.zeros(0), 0.0
    near, _ = explained_lines(found)
    height = np.sqrt(np.maximum(found.lines.intensity, 0.0))
    share = float(height[~near].sum() / max(height.sum(), 1e-12))
    strong = ~near & (height > 0.2 * height.max())
    return found.lines.two_theta[strong], share


def find_reasons(
    reading: Reading,
    no_cell: float,
    highest: float,
    known: Known,
    *,
    amorphous: bool = False,
    hump: bool = False,
    mixed: bool = False,
    peak_list: bool = False,
) -> tuple[str, ...]:
    """Why there is no confident answer; none where there is one.

    Args:
        reading: Of the scan.
        no_cell: Calibrated probability that no cell was found.
        highest: Probability of the likeliest group.
        known: Of the sample.
        amorphous: Whether humps hold most of the intensity.
        hump: Whether a scan without lines has one.
        mixed: Whether lines beside those of a simple cell were seen.
        peak_list: Whether it is no scan but a list of lines.
    """
    if peak_list:
        return (
            "List of peaks: a group needs a whole scan, whose missing lines speak; the "
            "cell is that of the lines.",
        )
    found = reading.indexing
    lines = 0 if found is None else len(found.lines)
    if lines < _NO_LINES and known.cell is None:
        if hump:
            return (
                "Amorphous: broad humps and no sharp lines; there is no lattice to "
                "read.",
            )
        return (
            "Noise: no line rises above background and noise; longer counting, or is "
            "the holder empty?",
        )
    reasons = []
    if amorphous:
        reasons.append(
            "Amorphous: broad humps hold most of the intensity, sharp lines little."
        )
    foreign, share = foreign_lines(reading)
    shown = ", ".join(f"{angle:.2f}" for angle in foreign[:6])
    if known.cell is not None:
        return (*reasons, *_doubt_stated(reading, foreign, share, known))
    if lines < FEW_LINES:
        reasons.append(
            f"Few lines: {lines} stand out of the noise; many cells and groups have "
            "such a pattern."
        )
    if no_cell > 1.0 - LEAST_CELL:
        cause = (
            f"lines at {shown} degrees are of no cell that explains others"
            if len(foreign)
            else f"none explains the {lines} lines"
        )
        reasons.append(
            f"No cell: {cause}; a mixture, foreign lines, or a large cell. A known "
            "--cell, --formula or the lines of one phase would help."
        )
    elif share > FOREIGN or (mixed and len(foreign) > 2):
        reasons.append(
            f"Foreign lines: those at {shown} degrees are not of the cell; a second "
            "phase?"
        )
    if highest < LEAST_GROUP and not reasons:
        reasons.append(
            f"Many groups: the likeliest has {100 * highest:.0f} %; see the groups "
            "together."
        )
    return tuple(reasons)


def _doubt_stated(
    reading: Reading, foreign: Points, share: float, known: Known
) -> tuple[str, ...]:
    """Objections to a stated cell."""
    found = reading.indexing
    cell = " ".join(f"{v:g}" for v in known.cell or ())
    if found is None or found.intensities is None:
        return (f"Wrong cell? {cell} cannot be fitted to this scan.",)
    if share > STATED_FOREIGN or found.residual > STATED_RESIDUAL:
        shown = ", ".join(f"{angle:.2f}" for angle in foreign[:6]) or "many places"
        return (
            f"Wrong cell? {cell} leaves {100 * found.residual:.0f} % of the pattern "
            f"and lines at {shown} degrees; a search without --cell may find another.",
        )
    return ()


def find_contradictions(
    reading: Reading, no_cell: float, known: Known
) -> tuple[str, ...]:
    """What is known and does not go with the cell; warnings, one sentence each."""
    found = reading.indexing
    if found is None or not found.cells or not (known.formula or known.elements):
        return ()
    if known.cell is None and no_cell > 0.5:
        return ()  # the cell may be what is wrong
    volume = found.cells[0].volume
    if known.log_room(volume) > _VOLUME_DOUBT:
        return ()
    if not known.formula:
        return (
            f"Elements: the primitive cell of {volume:.0f} Å³ has no room for one atom "
            f"each of {', '.join(known.elements)}.",
        )
    unit = known.formula_volume
    name = "".join(f"{e}{n:g}" if n != 1 else e for e, n in known.formula.items())
    return (
        f"Formula: {name} takes some {unit:.0f} Å³, and the primitive cell of "
        f"{volume:.0f} Å³ holds {volume / unit:.2f} of them; formula or cell is wrong.",
    )
