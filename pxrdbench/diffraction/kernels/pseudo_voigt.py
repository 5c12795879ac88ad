"""Kernels that add pseudo-Voigt profiles up on a grid, in single precision.

A Lorentzian A/(d² + g²) is split into the smooth A/(d² + s²), s >= 4 g, which a coarse
grid holds over the whole pattern, and a remainder that falls as d⁻⁴. Most peaks share
one s: their smooth parts are one convolution of the coarse grid.
"""

import math

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numba import njit

from pxrdbench.diffraction.kernels.gaussian import (
    BAD_WIDTH,
    CHUNK,
    CUT,
    NO_PEAK,
    Bounds,
    Doubles,
    PerPeak,
    Singles,
    add_gaussians,
    aligned,
    fill_narrowness,
    fill_position,
    fill_windows,
    largest_on_grid,
    log2_from_above,
    most_peaks,
    scale_to_one,
)
from pxrdbench.diffraction.kernels.peak_lists import largest_of
from pxrdbench.diffraction.kernels.structure_factors import sine_of_half_turns_32

# The near part of a Lorentzian is cut below this part of the strongest profile.
_CUT_NEAR = 2e-5
# Far tails of Lorentzians live on a grid this much coarser.
_COARSE = 32
# Half widths up to this many points share one smooth part, of half width _SMOOTH.
_NARROW, _SMOOTH = np.float32(_COARSE), np.float32(4 * _COARSE)
# Coarse points kept on either side of the pattern, for peaks whose tails reach in.
_BORDER = 16
_SIGMA_OF_FWHM = np.float32(1.0 / math.sqrt(8.0 * math.log(2.0)))
# Heights of area-normalised profiles of unit fwhm.
_GAUSS_HEIGHT = np.float32(math.sqrt(4.0 * math.log(2.0) / math.pi))
_LORENTZ_HEIGHT = np.float32(2.0 / math.pi)
_TWO_LN2 = np.float32(2.0 * math.log(2.0))
_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)
_FOUR = np.float32(4.0)
# An integer below 2³² in the last bits of 2⁵² is a double, without a conversion.
_UPPER, _TWO_52 = np.int64(32), 2.0**52
_BITS_OF_TWO_52 = np.int64(0x43300000_00000000)
# What a fifth of one's upper bits lacks of them, less half of the largest error.
_FOUR_FIFTHS = 0.8 * 0x3FF00000 - 36_000.0

Coarse = Float32[np.ndarray, " coarse"]


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def _add_near_lorentzians(
    buffer: Singles,
    first: Bounds,
    last: Bounds,
    offset: PerPeak,
    area: PerPeak,
    core: PerPeak,
    smooth: PerPeak,
) -> None:
    """Add area / (d² + core²) − area / (d² + smooth²) to the chunks of each peak."""
    for p in range(first.shape[0]):
        core2, smooth2 = core[p] * core[p], smooth[p] * smooth[p]
        start, factor = offset[p], area[p] * (smooth2 - core2)
        # All chunks at once: of a loop over sixteen points LLVM makes sixteen
        # divisions, of a longer one vectors of them.
        part = buffer[first[p] * CHUNK : last[p] * CHUNK]
        for i in range(part.shape[0]):
            d = np.float32(np.int32(i)) + start
            square = d * d
            part[i] += factor / ((square + core2) * (square + smooth2))


@njit(cache=True, nogil=True, fastmath={"contract"})
def _add_far_lorentzian(
    coarse: Coarse,
    ramp: Singles,
    offset: np.float32,
    area: np.float32,
    smooth: np.float32,
) -> None:
    """The part that _add_near_lorentzians left out, on the coarse grid."""
    for i in range(coarse.shape[0]):
        d = ramp[i] + offset
        coarse[i] += area / (d * d + smooth)


@njit(cache=True, nogil=True, inline="always")
def _lagrange_weights(t: float) -> tuple[float, float, float, float]:
    """Cubic weights of the points −1, 0, 1, 2 for a place t between 0 and 1."""
    return (
        -t * (t - 1.0) * (t - 2.0) / 6.0,
        (t + 1.0) * (t - 1.0) * (t - 2.0) / 2.0,
        -(t + 1.0) * t * (t - 2.0) / 2.0,
        (t + 1.0) * t * (t - 1.0) / 6.0,
    )


@njit(cache=True, nogil=True)
def _interpolation_weights() -> Float32[np.ndarray, "4 fine"]:
    """Weights of four coarse points for each fine point between."""
    weights = np.empty((4, _COARSE), np.float32)
    for j in range(_COARSE):
        w0, w1, w2, w3 = _lagrange_weights(j / _COARSE)
        weights[0, j], weights[1, j], weights[2, j], weights[3, j] = w0, w1, w2, w3
    return weights


@njit(cache=True, nogil=True)
def _add_to_bins(bins: Coarse, position: float, area: float) -> bool:
    """Spread an area over four bins; False if it lies beyond them."""
    place = position / _COARSE + _BORDER
    if not 1.0 <= place < bins.shape[0] - 2.0:
        return False
    i = int(place)
    w0, w1, w2, w3 = _lagrange_weights(place - i)
    bins[i - 1] += np.float32(area * w0)
    bins[i] += np.float32(area * w1)
    bins[i + 1] += np.float32(area * w2)
    bins[i + 2] += np.float32(area * w3)
    return True


@njit(cache=True, nogil=True)
def _smooth_kernel(n: int) -> Coarse:
    """1/(d² + s²) at d = −(n−1) … n−1 coarse steps."""
    kernel = np.empty(2 * n - 1, np.float32)
    for i in range(2 * n - 1):
        d = float(_COARSE * (i - n + 1))
        kernel[i] = np.float32(1.0 / (d * d + _SMOOTH * _SMOOTH))
    return kernel


@njit(cache=True, nogil=True, fastmath={"contract"})
def _add_four(
    coarse: Coarse,
    k0: Coarse,
    k1: Coarse,
    k2: Coarse,
    k3: Coarse,
    a: tuple[np.float32, np.float32, np.float32, np.float32],
) -> None:
    """Add four shifted kernels in one pass over memory."""
    a0, a1, a2, a3 = a
    for i in range(coarse.shape[0]):
        coarse[i] += (a0 * k0[i] + a1 * k1[i]) + (a2 * k2[i] + a3 * k3[i])


@njit(cache=True, nogil=True)
def _add_smooth_parts(coarse: Coarse, bins: Coarse, kernel: Coarse) -> None:
    """Convolve the bins with the kernel; coarse point 0 is bin _BORDER − 1."""
    n, middle = coarse.shape[0], (kernel.shape[0] - 1) // 2
    for b in range(0, bins.shape[0] // 4 * 4, 4):
        a = (bins[b], bins[b + 1], bins[b + 2], bins[b + 3])
        if a[0] != 0.0 or a[1] != 0.0 or a[2] != 0.0 or a[3] != 0.0:
            start = middle + _BORDER - 1 - b
            _add_four(
                coarse, kernel[start : start + n], kernel[start - 1 : start - 1 + n],
                kernel[start - 2 : start - 2 + n], kernel[start - 3 : start - 3 + n], a,
            )  # fmt: skip


@njit(cache=True, nogil=True, fastmath={"contract"})
def _add_interpolated(
    coarse: Coarse, weights: Float32[np.ndarray, "4 fine"], buffer: Singles
) -> None:
    """Add the coarse grid, whose second point is the pattern's first."""
    w0, w1, w2, w3 = weights[0], weights[1], weights[2], weights[3]
    for c in range(buffer.shape[0] // _COARSE):
        c0, c1, c2, c3 = coarse[c], coarse[c + 1], coarse[c + 2], coarse[c + 3]
        part = buffer[c * _COARSE : (c + 1) * _COARSE]
        # Its length, not _COARSE: LLVM would unroll that into single numbers.
        for j in range(part.shape[0]):
            part[j] += (w0[j] * c0 + w1[j] * c1) + (w2[j] * c2 + w3[j] * c3)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _fifth_root(value: float) -> float:
    """Root of a normal number above zero, to the last bits of a double.

    The bits of a float, read as an integer, are its logarithm up to the curve between
    powers of two: a fifth of the upper half of them is a first guess within 4 %, of
    which four of Newton's steps leave no error. Nothing is called, so that a loop of
    it becomes vector instructions.
    """
    upper = np.int64(np.float64(value).view(np.int64) >> _UPPER) | _BITS_OF_TWO_52
    power = (np.int64(upper).view(np.float64) - _TWO_52) * 0.2 + _FOUR_FIFTHS
    whole = np.float64(power + _TWO_52).view(np.int64)
    root = np.int64(np.int64(whole) << _UPPER).view(np.float64)
    for _ in range(4):
        square = root * root
        root += 0.2 * (value / (square * square) - root)
    return root


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_pseudo_voigts(fwhm: PerPeak, share: PerPeak, per_step: np.float32) -> None:
    """Turn a Voigt function's two widths into fwhm [points] and Lorentzian share.

    Thompson, Cox & Hastings (1987), J. Appl. Cryst. 20, 79.

    Args:
        fwhm: Squared width of the Gaussian; receives the fwhm.
        share: Width of the Lorentzian; receives the share.
        per_step: Points a degree.
    """
    for p in range(fwhm.shape[0]):
        g2, lorentz = float(fwhm[p]), float(share[p])
        g, l2 = math.sqrt(g2), lorentz * lorentz
        fifth = (
            g2 * g2 * (g + 2.69269 * lorentz)
            + g2 * l2 * (2.42843 * g + 4.47163 * lorentz)
            + l2 * l2 * (0.07842 * g + lorentz)
        )
        width = _fifth_root(fifth)
        part = lorentz / width
        part = part * (1.36603 - part * (0.47719 - part * 0.11116))
        fwhm[p], share[p] = width * float(per_step), part


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _fill_widths(
    widths: Float32[np.ndarray, " 7"],
    two_theta: Doubles,
    per_step: np.float32,
    fwhm: PerPeak,
    share: PerPeak,
) -> bool:
    """Fwhm [points] and Lorentzian share of each peak; False if one is impossible."""
    u, v, w, gauss_size = widths[0], widths[1], widths[2], widths[3]
    x, y, fixed = widths[4], widths[5], widths[6]
    turns = 1.0 / 360.0
    for p in range(two_theta.shape[0]):
        half_turns = two_theta[p] * turns
        inverse = _ONE / sine_of_half_turns_32(np.float32(0.5 - half_turns))
        tan = sine_of_half_turns_32(np.float32(half_turns)) * inverse
        size = gauss_size * inverse
        fwhm[p] = (u * tan + v) * tan + w + size * size
        share[p] = x * tan + y * inverse
    if fixed >= _ZERO:
        for p in range(two_theta.shape[0]):
            fwhm[p], share[p] = np.sqrt(fwhm[p]) * per_step, fixed
    else:
        for p in range(two_theta.shape[0]):
            if not (fwhm[p] >= _ZERO and share[p] >= _ZERO and fwhm[p] + share[p] > 0):
                return False
        _fill_pseudo_voigts(fwhm, share, per_step)
    # Integers: LLVM makes vector instructions of them, of a flag not.
    impossible = 0
    for p in range(two_theta.shape[0]):
        impossible |= not (_ZERO < fwhm[p] < np.float32(math.inf))
    return impossible == 0


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _fill_heights(
    intensity: Doubles, strongest: float, fwhm: PerPeak, height: PerPeak
) -> None:
    """Area over width."""
    scale = 1.0 / strongest
    for p in range(height.shape[0]):
        height[p] = np.float32(intensity[p] * scale) / fwhm[p]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _fill_parts(
    largest: np.float32,
    cut: np.float32,
    cut_near: np.float32,
    fwhm: PerPeak,
    share: PerPeak,
    height: PerPeak,
    parts: Float32[np.ndarray, "7 peaks"],
) -> None:
    """What the profiles of both kinds need.

    Rows of ``parts`` are: height, 1/sigma and reach of the Gaussian; area, half width,
    smooth half width and reach of the Lorentzian, all in points.
    """
    per_largest = _ONE / largest
    for p in range(fwhm.shape[0]):
        relative = height[p] * per_largest
        gauss = relative * (_ONE - share[p]) * _GAUSS_HEIGHT
        lorentz = relative * share[p] * _LORENTZ_HEIGHT
        # Beside a Lorentzian, whose tails are cut too, that much is not seen.
        ratio = gauss / (cut_near if lorentz > _ZERO else cut)
        log2 = log2_from_above(ratio) if ratio > _ONE else _ZERO
        sigma = fwhm[p] * _SIGMA_OF_FWHM
        parts[0, p], parts[1, p] = gauss, _ONE / sigma
        parts[2, p] = sigma * np.sqrt(_TWO_LN2 * log2)
        half = _HALF * fwhm[p]
        smooth = _SMOOTH if half <= _NARROW else _FOUR * half
        parts[3, p], parts[4, p], parts[5, p] = lorentz * half * half, half, smooth
        # Where half² smooth² / d⁴ has fallen below the cut.
        excess = lorentz / cut_near
        excess = np.sqrt(excess) if excess > _ONE else _ZERO
        parts[6, p] = np.sqrt(half * smooth * excess)


@njit(cache=True, nogil=True)
def _add_smooth_lorentzians(
    position: Doubles,
    parts: Float32[np.ndarray, "7 peaks"],
    bins: Coarse,
    coarse: Coarse,
    coarse_ramp: Coarse,
) -> None:
    """Smooth parts: into the bins where they share a width, else one by one."""
    for p in range(position.shape[0]):
        area, half, smooth = parts[3, p], parts[4, p], parts[5, p]
        if area <= _ZERO:
            continue
        if half <= _NARROW and _add_to_bins(bins, position[p], float(area)):
            continue
        _add_far_lorentzian(
            coarse, coarse_ramp, np.float32(-position[p]), area, smooth * smooth
        )


@njit(cache=True, nogil=True)
def render_pseudo_voigts(
    two_theta: Doubles,
    intensity: Doubles,
    peak_offset: Int64[np.ndarray, " batch_and_one"],
    widths: Float64[np.ndarray, "batch 7"],
    start: float,
    step: float,
    roughness: float,
    out: Float32[np.ndarray, "batch points"],
) -> tuple[int, int]:
    """Add pseudo-Voigts, one row of ``widths`` a pattern.

    Columns are u, v, w, Gaussian size, Lorentzian tan θ and 1/cos θ terms, and the
    Lorentzian share, negative where Thompson, Cox & Hastings decide it. Profiles are
    cut at ``roughness`` times the usual parts of the strongest.

    Returns:
        Status and index of the pattern at fault; status 0 is success.
    """
    cut, cut_near = np.float32(CUT * roughness), np.float32(_CUT_NEAR * roughness)
    points = out.shape[1]
    n_cells = (points + _COARSE - 1) // _COARSE
    buffer = aligned(n_cells * _COARSE)
    chunks = buffer.reshape((n_cells * _COARSE // CHUNK, CHUNK))
    coarse = np.empty(n_cells + 3, np.float32)
    # The coarse grid starts one of its steps before the pattern.
    coarse_ramp = ((np.arange(coarse.shape[0]) - 1) * _COARSE).astype(np.float32)
    bins = np.empty((coarse.shape[0] + 2 * _BORDER + 3) // 4 * 4, np.float32)
    kernel = _smooth_kernel(bins.shape[0])
    weights = _interpolation_weights()
    most = most_peaks(peak_offset)
    doubles, singles = np.empty(most), np.empty((12, most), np.float32)
    bounds = np.empty((2, most), np.int32)
    for i in range(out.shape[0]):
        rows = slice(peak_offset[i], peak_offset[i + 1])
        n = peak_offset[i + 1] - peak_offset[i]
        position, first, last = doubles[:n], bounds[0, :n], bounds[1, :n]
        fwhm, share, height = singles[0, :n], singles[1, :n], singles[2, :n]
        offset, narrowness, parts = singles[3, :n], singles[4, :n], singles[5:, :n]
        if not _fill_widths(
            widths[i].astype(np.float32), two_theta[rows], np.float32(1.0 / step),
            fwhm, share,
        ):  # fmt: skip
            return BAD_WIDTH, i
        strongest = largest_of(intensity[rows])
        if not strongest > 0.0:
            return NO_PEAK, i
        _fill_heights(intensity[rows], strongest, fwhm, height)
        fill_position(two_theta[rows], start, step, position)
        largest = largest_on_grid(height, position, points)
        if not largest > _ZERO:
            return NO_PEAK, i
        _fill_parts(largest, cut, cut_near, fwhm, share, height, parts)
        for arrays in (buffer, coarse, bins):
            for j in range(arrays.shape[0]):
                arrays[j] = _ZERO
        fill_windows(position, parts[2], points, first, last, offset)
        fill_narrowness(parts[1], narrowness)
        add_gaussians(chunks, first, last, offset, narrowness, parts[0])
        fill_windows(position, parts[6], points, first, last, offset)
        _add_near_lorentzians(buffer, first, last, offset, parts[3], parts[4], parts[5])
        _add_smooth_lorentzians(position, parts, bins, coarse, coarse_ramp)
        _add_smooth_parts(coarse, bins, kernel)
        _add_interpolated(coarse, weights, buffer)
        scale_to_one(buffer[:points], out[i])
    return 0, -1
