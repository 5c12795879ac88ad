"""Peak lists into patterns: plain, or as an instrument would have measured them."""

import hashlib
import math

import numpy as np
from jaxtyping import Float64, Int64
from numba import njit

from pxrdbench.diffraction.measurement.effect import Samples
from pxrdbench.diffraction.measurement.line_effects import (
    SampleDisplacement,
    SpectralLines,
    ZeroShift,
)
from pxrdbench.diffraction.measurement.measurement import Measurement, Scans
from pxrdbench.diffraction.measurement.sample_effects import PhasePool
from pxrdbench.diffraction.pattern import PeakBatch, TwoThetaGrid
from pxrdbench.diffraction.profile import render

# Room for rounding beside the largest shift of a line [degrees].
_SHIFT_ROOM = 0.01


def shift_reach(measurement: Measurement | None, grid: TwoThetaGrid) -> float:
    """Largest way that a measurement moves a line near an end of a grid [degrees].

    A crystal with a line at least so far inside the grid keeps it there.
    """
    if measurement is None:
        return 0.0
    reach = 0.0
    if (zero := measurement.get(ZeroShift)) is not None:
        reach += max(map(abs, zero.degrees))
    if (displaced := measurement.get(SampleDisplacement)) is not None:
        height = max(map(abs, displaced.millimetre))
        reach += math.degrees(2.0 * height / displaced.radius_mm)
    if (spectrum := measurement.get(SpectralLines)) is not None:
        # Within 5 % of the line, as `find_measurement` sees to.
        change = max(
            abs(wavelength / spectrum.lines[0][0] - 1.0)
            for wavelength, _ in spectrum.lines
        )
        steepest = math.tan(math.radians(min(grid.stop, 170.0) / 2.0))
        reach += math.degrees(2.0 * steepest * (change + 1e-3))
    return reach + _SHIFT_ROOM if reach else 0.0


def epoch_seed(seed: int, epoch: int) -> int:
    """Key of the effects in one pass over stored peaks; that of the set in pass 0."""
    if epoch == 0:
        return seed
    digest = hashlib.sha256(f"{seed}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "little")


def render_samples(
    peaks: PeakBatch,
    grid: TwoThetaGrid,
    samples: Samples,
    crystallite_size_nm: Float64[np.ndarray, " batch"],
    measurement: Measurement | None,
    pool: PhasePool | None = None,
) -> Scans:
    """Make the patterns of consecutive samples.

    Args:
        peaks: One list for each sample.
        grid: Angles of the result.
        samples: Which samples these are.
        crystallite_size_nm: One for each sample [nm]; infinite where the
            measurement's profile has the whole width.
        measurement: What instrument and sample add; nothing if None.
        pool: Where impurities come from, if the measurement has any.

    Raises:
        PatternError: If a pattern has no peak on the grid; it names its row.
    """
    if measurement is None:
        return Scans(render(peaks, grid, crystallite_size_nm))
    has_size = bool(np.isfinite(crystallite_size_nm).all())
    return measurement.render(
        peaks, grid, samples, crystallite_size_nm if has_size else None, pool=pool
    )


def find_empty(
    peaks: PeakBatch, grid: TwoThetaGrid, inside: float = 0.0
) -> Int64[np.ndarray, " empty"]:
    """Find crystals that have no peak on a grid; their rows.

    Args:
        peaks: One list for each crystal.
        grid: Angles.
        inside: How far from the ends of the grid a peak must be [degrees].
    """
    empty: np.ndarray = _find_empty(
        peaks.two_theta, peaks.peak_offset, grid.start + inside, grid.stop - inside
    )
    return empty


@njit(cache=True, nogil=True)
def _find_empty(
    two_theta: Float64[np.ndarray, " peaks"],
    peak_offset: Int64[np.ndarray, " batch_and_one"],
    start: float,
    stop: float,
) -> Int64[np.ndarray, " empty"]:
    """Rows whose ascending peaks jump over the grid."""
    empty = np.empty(len(peak_offset) - 1, np.int64)
    n_empty = 0
    for crystal in range(len(peak_offset) - 1):
        first, last = peak_offset[crystal], peak_offset[crystal + 1]
        while first < last and two_theta[first] < start:
            first += 1
        if first == last or two_theta[first] > stop:
            empty[n_empty] = crystal
            n_empty += 1
    return empty[:n_empty].copy()
