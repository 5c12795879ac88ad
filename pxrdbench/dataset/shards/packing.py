"""Peak lists in six bytes a peak: what shards hold.

The position is a whole number of 1e-7 degrees (uint32), the intensity a step on the
scale of its fourth root, relative to the strongest peak (uint16):

    I / I_max = (code / 65535) ** 4

Half a step is 3e-5 of the strongest peak, 1e-4 of a peak that has 1 % of it, 1e-3 of
the weakest kept; a rendered pattern stays well within 2e-4 of its maximum, also
where the strongest peak lies in the margin outside the grid. A logarithmic scale
wastes its steps on peaks that nobody sees (three times the error), a square root has
too few for patterns whose strongest peak is outside. Roots and products round alike
on all machines, logarithms do not.
"""

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float64, Int64, UInt16, UInt32
from numba import njit

from pxrdbench.diffraction.pattern import PeakBatch
from pxrdbench.errors import PatternError, ShardError

POSITION_UNIT = 1e-7  # degrees; 180 of them still fit
# Weaker peaks are left out, relative to the strongest. At 1e-5 the many weak peaks of
# large cells, left out together, change a pattern by up to 3e-4 of its maximum.
INTENSITY_FLOOR = 1e-6
_MAX_CODE = 65535


def pack_peaks(peaks: PeakBatch) -> dict[str, np.ndarray]:
    """Turn peak lists into small integers.

    Args:
        peaks: Reflections; their Miller indices are not kept.

    Returns:
        ``two_theta`` uint32 (peaks,) in 1e-7 degrees, ``intensity`` uint16 (peaks,)
        on the scale above, ``peak_count`` uint32 (batch,), ``wavelength``
        float64 () [Å]. Peaks under 1e-6 of their crystal's strongest are left out.

    Raises:
        PatternError: If an intensity is negative or not finite, or an angle lies
            outside 0-180 degrees; it names the index of the crystal.
    """
    position, code, peak_count, bad = _pack(
        peaks.two_theta, peaks.intensity, peaks.peak_offset
    )
    if bad >= 0:
        raise PatternError(
            f"crystal {bad}: a peak with a negative or non-finite intensity, or an "
            "angle outside 0-180 degrees, cannot be packed",
            index=int(bad),
        )
    return {
        "two_theta": position,
        "intensity": code,
        "peak_count": peak_count,
        "wavelength": np.array(peaks.wavelength, np.float64),
    }


def unpack_peaks(packed: Mapping[str, np.ndarray]) -> PeakBatch:
    """Turn what `pack_peaks` made back into peak lists.

    Args:
        packed: The four arrays of `pack_peaks`.

    Returns:
        Peaks whose strongest of each crystal has the intensity 1.

    Raises:
        ShardError: If the arrays do not belong together.
    """
    two_theta, intensity = packed["two_theta"], packed["intensity"]
    peak_count = packed["peak_count"]
    peak_offset = np.zeros(len(peak_count) + 1, np.int64)
    np.cumsum(peak_count, out=peak_offset[1:])
    if not len(two_theta) == len(intensity) == peak_offset[-1]:
        raise ShardError(
            f"{len(two_theta)} positions, {len(intensity)} intensities and counts that "
            f"add up to {peak_offset[-1]} do not make peak lists"
        )
    return PeakBatch(
        two_theta=two_theta * POSITION_UNIT,
        intensity=_decode(intensity),
        peak_offset=peak_offset,
        wavelength=float(packed["wavelength"]),
    )


@njit(cache=True, nogil=True)
def _pack(
    two_theta: Float64[np.ndarray, " peaks"],
    intensity: Float64[np.ndarray, " peaks"],
    peak_offset: Int64[np.ndarray, " batch_and_one"],
) -> tuple[
    UInt32[np.ndarray, " kept"],
    UInt16[np.ndarray, " kept"],
    UInt32[np.ndarray, " batch"],
    int,
]:
    """Positions, codes and counts of peaks; the first bad crystal or -1."""
    position = np.empty(len(two_theta), np.uint32)
    code = np.empty(len(two_theta), np.uint16)
    peak_count = np.empty(len(peak_offset) - 1, np.uint32)
    kept = 0
    for crystal in range(len(peak_offset) - 1):
        first, last = peak_offset[crystal], peak_offset[crystal + 1]
        strongest = 0.0
        for peak in range(first, last):
            # Written so that NaN fails every comparison.
            if not (
                0.0 <= intensity[peak] < math.inf and 0.0 < two_theta[peak] <= 180.0
            ):
                return position, code, peak_count, crystal
            strongest = max(strongest, intensity[peak])
        before = kept
        for peak in range(first, last):
            if strongest > 0.0 and intensity[peak] >= INTENSITY_FLOOR * strongest:
                root = math.sqrt(math.sqrt(intensity[peak] / strongest))
                code[kept] = np.uint16(_MAX_CODE * root + 0.5)
                position[kept] = np.uint32(two_theta[peak] / POSITION_UNIT + 0.5)
                kept += 1
        peak_count[crystal] = kept - before
    return position[:kept].copy(), code[:kept].copy(), peak_count, -1


def _decode(code: UInt16[np.ndarray, " peaks"]) -> Float64[np.ndarray, " peaks"]:
    """Turn steps into relative intensities."""
    square = np.square(code * (1.0 / _MAX_CODE))
    intensity: np.ndarray = np.square(square)
    return intensity
