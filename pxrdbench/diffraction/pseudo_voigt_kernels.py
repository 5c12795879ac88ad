"""Kernels that add pseudo-Voigt profiles up on a grid, in single precision.

A Lorentzian A/(d² + g²) is split into the smooth A/(d² + s²), s >= 4 g, which a coarse
grid holds over the whole pattern, and a remainder that falls as d⁻⁴. Most peaks share
one s: their smooth parts are one convolution of the coarse grid.
"""

import math

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numba import njit

from pxrdbench.diffraction.profile_kernels import (
    BAD_WIDTH,
    CHUNK,
    CUT,
    NO_PEAK,
    Doubles,
    Singles,
    add_gaussian,
    aligned,
    fill_position,
    largest_on_grid,
    most_peaks,
    scale_to_one,
    window_of,
)
from pxrdbench.diffraction.structure_factors import sine_of_half_turns

# The near part of a Lorentzian is cut below this part of the strongest profile.
_CUT_NEAR = 2e-5
# Far tails of Lorentzians live on a grid this much coarser.
_COARSE = 16
# Half widths up to this many points share one smooth part, of half width _SMOOTH.
_NARROW, _SMOOTH = 1.0 * _COARSE, 4.0 * _COARSE
# Coarse points kept on either side of the pattern, for peaks whose tails reach in.
_BORDER = 32
_SIGMA_OF_FWHM = 1.0 / math.sqrt(8.0 * math.log(2.0))
# Heights of area-normalised profiles of unit fwhm.
_GAUSS_HEIGHT = math.sqrt(4.0 * math.log(2.0) / math.pi)
_LORENTZ_HEIGHT = 2.0 / math.pi

Coarse = Float32[np.ndarray, " coarse"]


@njit(cache=True, nogil=True, fastmath={"contract"})
def _add_near_lorentzian(
    pattern: Singles,
    ramp: Singles,
    offset: np.float32,
    area: np.float32,
    core: np.float32,
    smooth: np.float32,
) -> None:
    """Pattern += area / (d² + core) − area / (d² + smooth), d = ramp + offset."""
    factor = area * (smooth - core)
    for i in range(pattern.shape[0]):
        d = ramp[i] + offset
        square = d * d
        pattern[i] += factor / ((square + core) * (square + smooth))


@njit(cache=True, nogil=True, fastmath={"contract"})
def _add_far_lorentzian(
    coarse: Coarse,
    ramp: Singles,
    offset: np.float32,
    area: np.float32,
    smooth: np.float32,
) -> None:
    """The part that _add_near_lorentzian left out, on the coarse grid."""
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
    coarse: Coarse, weights: Float32[np.ndarray, "4 fine"], pattern: Singles
) -> None:
    """Add the coarse grid, whose second point is the pattern's first."""
    for c in range(pattern.shape[0] // _COARSE):
        c0, c1, c2, c3 = coarse[c], coarse[c + 1], coarse[c + 2], coarse[c + 3]
        part = pattern[c * _COARSE : (c + 1) * _COARSE]
        for j in range(_COARSE):
            part[j] += (
                weights[0, j] * c0
                + weights[1, j] * c1
                + weights[2, j] * c2
                + weights[3, j] * c3
            )


@njit(cache=True, nogil=True)
def _pseudo_voigt(gauss2: float, lorentz: float) -> tuple[float, float]:
    """Fwhm and Lorentzian share of a Voigt function's two widths.

    Thompson, Cox & Hastings (1987), J. Appl. Cryst. 20, 79.
    """
    g = math.sqrt(gauss2)
    g2, l2 = gauss2, lorentz * lorentz
    fifth = (
        g2 * g2 * (g + 2.69269 * lorentz)
        + g2 * l2 * (2.42843 * g + 4.47163 * lorentz)
        + l2 * l2 * (0.07842 * g + lorentz)
    )
    fwhm = fifth**0.2
    share = lorentz / fwhm
    return fwhm, share * (1.36603 - share * (0.47719 - share * 0.11116))


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _fill_widths(
    widths: Float64[np.ndarray, " 7"],
    two_theta: Doubles,
    step: float,
    fwhm: Doubles,
    share: Doubles,
) -> bool:
    """Fwhm [points] and Lorentzian share of each peak; False if one is impossible."""
    for p in range(two_theta.shape[0]):
        half_turns = two_theta[p] / 360.0
        inverse = 1.0 / sine_of_half_turns(0.5 - half_turns)
        tan = sine_of_half_turns(half_turns) * inverse
        size = widths[3] * inverse
        fwhm[p] = widths[0] * tan * tan + widths[1] * tan + widths[2] + size * size
        share[p] = widths[4] * tan + widths[5] * inverse
    if widths[6] >= 0.0:
        for p in range(two_theta.shape[0]):
            fwhm[p], share[p] = math.sqrt(fwhm[p]) / step, widths[6]
    else:
        for p in range(two_theta.shape[0]):
            if not (fwhm[p] >= 0.0 and share[p] >= 0.0 and fwhm[p] + share[p] > 0.0):
                return False
            width, share[p] = _pseudo_voigt(fwhm[p], share[p])
            fwhm[p] = width / step
    is_possible = True
    for p in range(two_theta.shape[0]):
        is_possible &= 0.0 < fwhm[p] < math.inf
    return is_possible


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
    cut, cut_near = CUT * roughness, _CUT_NEAR * roughness
    points = out.shape[1]
    room = (points // _COARSE + 3) * _COARSE + CHUNK
    ramp = np.arange(room).astype(np.float32)
    pattern = aligned(room)
    coarse = np.empty(room // _COARSE + 3, np.float32)
    # The coarse grid starts one of its steps before the pattern.
    coarse_ramp = ((np.arange(coarse.shape[0]) - 1) * _COARSE).astype(np.float32)
    bins = np.empty((coarse.shape[0] + 2 * _BORDER + 3) // 4 * 4, np.float32)
    kernel = _smooth_kernel(bins.shape[0])
    weights = _interpolation_weights()
    work = np.empty((4, most_peaks(peak_offset)), np.float64)
    for i in range(out.shape[0]):
        first, last = peak_offset[i], peak_offset[i + 1]
        n = last - first
        fwhm, share = work[0, :n], work[1, :n]
        height, position = work[2, :n], work[3, :n]
        if not _fill_widths(widths[i], two_theta[first:last], step, fwhm, share):
            return BAD_WIDTH, i
        for p in range(n):
            height[p] = intensity[first + p] / fwhm[p]
        fill_position(two_theta[first:last], start, step, position)
        largest = largest_on_grid(height, position, n, points)
        if not largest > 0.0:
            return NO_PEAK, i
        pattern[:] = 0
        coarse[:] = 0
        bins[:] = 0
        for p in range(n):
            relative = height[p] / largest
            gauss = relative * (1.0 - share[p]) * _GAUSS_HEIGHT
            lorentz = relative * share[p] * _LORENTZ_HEIGHT
            # Beside a Lorentzian, whose tails are cut too, that much is not seen.
            least = cut_near if lorentz > 0.0 else cut
            if gauss > least:
                sigma = fwhm[p] * _SIGMA_OF_FWHM
                reach = sigma * math.sqrt(2.0 * math.log(gauss / least))
                low, length = window_of(position[p], reach, points)
                add_gaussian(
                    pattern[low : low + length],
                    ramp[:length],
                    np.float32(low - position[p]),
                    np.float32(1.0 / (32.0 * sigma * sigma)),
                    np.float32(gauss),
                )
            if lorentz <= 0.0:
                continue
            half = 0.5 * fwhm[p]
            smooth = _SMOOTH if half <= _NARROW else 4.0 * half
            area = lorentz * half * half
            if lorentz > cut_near:
                # Where half² smooth² / d⁴ has fallen below the cut.
                reach = math.sqrt(half * smooth * math.sqrt(lorentz / cut_near))
                low, length = window_of(position[p], reach, points)
                _add_near_lorentzian(
                    pattern[low : low + length],
                    ramp[:length],
                    np.float32(low - position[p]),
                    np.float32(area),
                    np.float32(half * half),
                    np.float32(smooth * smooth),
                )
            if half <= _NARROW and _add_to_bins(bins, position[p], area):
                continue
            _add_far_lorentzian(
                coarse,
                coarse_ramp,
                np.float32(-position[p]),
                np.float32(area),
                np.float32(smooth * smooth),
            )
        _add_smooth_parts(coarse, bins, kernel)
        _add_interpolated(coarse, weights, pattern[: room - CHUNK])
        scale_to_one(pattern[:points], out[i])
    return 0, -1
