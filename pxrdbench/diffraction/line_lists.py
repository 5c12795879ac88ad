"""Arithmetic on lists of peaks: scale, pick, merge, move."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float64, Int64
from numba import njit

from pxrdbench.diffraction.kernels.lines import fill_two_theta
from pxrdbench.diffraction.kernels.structure_factors import sine_of_half_turns
from pxrdbench.diffraction.pattern import PeakBatch

Doubles = Float64[np.ndarray, " peaks"]
Offsets = Int64[np.ndarray, " batch_and_one"]


def scale_lists(peaks: PeakBatch, factor: Float64[np.ndarray, " batch"]) -> PeakBatch:
    """Multiply the intensities of each list."""
    each = np.repeat(factor, np.diff(peaks.peak_offset))
    return replace(peaks, intensity=peaks.intensity * each)


def gather_lists(
    peaks: PeakBatch,
    rows: Int64[np.ndarray, " batch"],
    factor: Float64[np.ndarray, " batch"],
) -> PeakBatch:
    """Pick lists by row and scale them; a factor of zero leaves an empty list."""
    counts = np.where(factor > 0.0, np.diff(peaks.peak_offset)[rows], 0)
    offset = np.concatenate([[0], np.cumsum(counts)])
    source = np.arange(offset[-1]) + np.repeat(
        peaks.peak_offset[rows] - offset[:-1], counts
    )
    return PeakBatch(
        two_theta=peaks.two_theta[source],
        intensity=peaks.intensity[source] * np.repeat(factor, counts),
        peak_offset=offset,
        wavelength=peaks.wavelength,
    )


def merge_lists(first: PeakBatch, second: PeakBatch) -> PeakBatch:
    """Put two lists of each sample into one, ascending; ``hkl`` is dropped."""
    two_theta, intensity = _merge(
        first.two_theta,
        first.intensity,
        first.peak_offset,
        second.two_theta,
        second.intensity,
        second.peak_offset,
    )
    return PeakBatch(
        two_theta=two_theta,
        intensity=intensity,
        peak_offset=first.peak_offset + second.peak_offset,
        wavelength=first.wavelength,
    )


def drop_beyond(peaks: PeakBatch, low: float, high: float) -> PeakBatch:
    """Leave out peaks at or beyond two angles [degrees]; ``hkl`` too."""
    keep = (peaks.two_theta > low) & (peaks.two_theta < high)
    if keep.all():
        return replace(peaks, hkl=None)
    running = np.concatenate([[0], np.cumsum(keep)])
    return PeakBatch(
        two_theta=peaks.two_theta[keep],
        intensity=peaks.intensity[keep],
        peak_offset=running[peaks.peak_offset],
        wavelength=peaks.wavelength,
    )


@njit(cache=True, nogil=True)
def _merge(
    angle_a: Doubles,
    intensity_a: Doubles,
    offset_a: Offsets,
    angle_b: Doubles,
    intensity_b: Doubles,
    offset_b: Offsets,
) -> tuple[Doubles, Doubles]:
    angle = np.empty(angle_a.shape[0] + angle_b.shape[0])
    intensity = np.empty(angle.shape[0])
    end = 0
    for i in range(offset_a.shape[0] - 1):
        a, b, stop_a, stop_b = (
            offset_a[i],
            offset_b[i],
            offset_a[i + 1],
            offset_b[i + 1],
        )
        # No branch depends on an angle: a processor could not guess it.
        while a < stop_a and b < stop_b:
            is_a = angle_a[a] <= angle_b[b]
            angle[end] = angle_a[a] if is_a else angle_b[b]
            intensity[end] = intensity_a[a] if is_a else intensity_b[b]
            a += is_a
            b += not is_a
            end += 1
        for j in range(a, stop_a):
            angle[end], intensity[end] = angle_a[j], intensity_a[j]
            end += 1
        for j in range(b, stop_b):
            angle[end], intensity[end] = angle_b[j], intensity_b[j]
            end += 1
    return angle, intensity


@njit(cache=True, nogil=True)
def move_to_wavelength(two_theta: Doubles, ratio: float) -> Doubles:
    """Angles 2θ′ with sin θ′ = ratio · sin θ; NaN where there is none."""
    square, moved = np.empty(two_theta.shape[0]), np.empty(two_theta.shape[0])
    for p in range(two_theta.shape[0]):
        sine = sine_of_half_turns(two_theta[p] * (1.0 / 360.0))
        square[p] = sine * sine
    # sin² θ is 1/d² at a wavelength of 2.
    fill_two_theta(square, 2.0 * ratio, moved)
    return moved


@njit(cache=True, nogil=True)
def move_by_cosine(
    two_theta: Doubles, offset: Offsets, most: Float64[np.ndarray, " batch"]
) -> Doubles:
    """Angles 2θ + most · cos θ, one ``most`` [degrees] a list."""
    moved = np.empty(two_theta.shape[0])
    for i in range(offset.shape[0] - 1):
        for p in range(offset[i], offset[i + 1]):
            cosine = sine_of_half_turns(0.5 - two_theta[p] * (1.0 / 360.0))
            moved[p] = two_theta[p] + most[i] * cosine
    return moved
