"""How likely the intensities of a lattice's lines are, if some must be absent.

A line that an extinction symbol forbids is noise; one that it allows may be as weak as
lines of crystals are. So each forbidden line multiplies the likelihood by

    ((1 − ε) n(E) + ε a(E)) / a(E),    a(E) = ∫ n(E − e) p(e) de

with E = I / ⟨I⟩ its normalised intensity, n the distribution of its error, p that of
allowed lines, and ε the probability that a *forbidden* line is seen (misfit, a foreign
line). p is a table that was counted, see ``WEAK_SHARE``.
"""

import math

import numpy as np
from jaxtyping import Float64, Int64
from numba import njit

from pxrdbench.indexing.groups.extinction import (
    ExtinctionPatterns,
    condition_masks,
    forbidden_lines,
)
from pxrdbench.indexing.groups.intensities import LatticeIntensities

Lines = Float64[np.ndarray, " lines"]

# Share of allowed lines whose normalised intensity (mean 1 a reflection) is below a
# threshold: a rounded summary of the lines of `dev`, one for all families.
WEAK_THRESHOLD = np.array([1e-5, 1e-4, 1e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 30.0])
WEAK_SHARE = np.array(
    [0.008, 0.012, 0.025, 0.085, 0.145, 0.265, 0.42, 0.68, 0.9, 0.999]
)
# Share of errors that are three times as large as thought.
_CLEAN_TAIL, _MEASURED_TAIL = 0.03, 0.03
# Weak lines of one crystal go together (special positions, pseudo-translations), so
# that each says less than if they were independent; chosen on ``dev``, and on a third
# of the named RRUFF patterns, where noise leaves fewer lines to say anything.
_CLEAN_DEPENDENCE, _MEASURED_DEPENDENCE = 0.45, 0.9
# Fits leave this much at a line that is not there, relative to the strongest line.
_CLEAN_FLOOR, _MEASURED_FLOOR = 1e-6, 1e-3
_CLEAN_STRAY, _MEASURED_STRAY = 3e-3, 1e-2


@njit(cache=True, nogil=True)
def normalise_intensities(inverse_d2, intensity, multiplicity, wavelength):
    """Intensity a reflection, of mean 1 at each angle, and the factor to it.

    I / (Lp n) is divided by K exp(−b/d²), fitted to its means in shells of equal
    numbers of lines (Wilson 1942, Nature 150, 152).
    """
    n = inverse_d2.shape[0]
    factor = np.empty(n)
    for i in range(n):
        sine = min(wavelength * math.sqrt(inverse_d2[i]) / 2.0, 0.9999)
        cosine = math.sqrt(1.0 - sine * sine)
        double = 1.0 - 2.0 * sine * sine
        lorentz = (1.0 + double * double) / (sine * sine * cosine)
        factor[i] = 1.0 / (lorentz * multiplicity[i])
    shells = max(1, min(6, n // 12))
    total = 0.0
    for i in range(n):
        total += multiplicity[i]
    means, at, weights = np.zeros(shells), np.zeros(shells), np.zeros(shells)
    so_far = 0.0
    for i in range(n):
        so_far += multiplicity[i]
        shell = min(int(so_far / total * shells * 0.9999), shells - 1)
        means[shell] += intensity[i] * factor[i] * multiplicity[i]
        at[shell] += inverse_d2[i] * multiplicity[i]
        weights[shell] += multiplicity[i]
    mean_x, mean_y, count = 0.0, 0.0, 0.0
    for s in range(shells):
        if weights[s] > 0.0:
            at[s] /= weights[s]
            means[s] = math.log(means[s] / weights[s] + 1e-12)
            mean_x += at[s]
            mean_y += means[s]
            count += 1.0
    mean_x /= count
    mean_y /= count
    slope = -3.0  # Å², about B = 1.5 Å² and falling form factors, where few lines tell
    if shells >= 3:
        top, bottom = 0.0, 1e-12
        for s in range(shells):
            if weights[s] > 0.0:
                top += (at[s] - mean_x) * (means[s] - mean_y)
                bottom += (at[s] - mean_x) ** 2
        slope = min(max(top / bottom, -12.0), 0.0)
    normalised = np.empty(n)
    for i in range(n):
        factor[i] /= math.exp(mean_y + slope * (inverse_d2[i] - mean_x))
        normalised[i] = intensity[i] * factor[i]
    return normalised, factor


@njit(cache=True, nogil=True)
def normal_share(x: float) -> float:
    """Share of a normal distribution below x standard deviations."""
    return 0.5 * math.erfc(-0.7071067811865476 * x)


@njit(cache=True, nogil=True)
def absence_evidence(normalised, error, thresholds, shares, stray, dependence, tail):
    """Log-likelihood ratio of each line for being forbidden.

    The second array is what a line costs that is not seen though nothing forbids it.
    """
    n = normalised.shape[0]
    evidence, allowance = np.empty(n), np.empty(n)
    for i in range(n):
        e, s = normalised[i], error[i]
        if not (s > 0.0 and s < 1e6 and e < 1e9):
            evidence[i], allowance[i] = 0.0, 0.0
            continue
        noise = 0.0
        allowed = 0.0
        for part in range(2):
            share = tail if part else 1.0 - tail
            width = 3.0 * s if part else s
            z = e / width
            noise += share * 0.3989422804014327 / width * math.exp(-0.5 * z * z)
            last, below, level = normal_share((0.0 - e) / width), 0.0, 0.0
            for k in range(thresholds.shape[0]):
                here = normal_share((thresholds[k] - e) / width)
                density = (shares[k] - below) / (thresholds[k] - level)
                allowed += share * density * (here - last)
                last, below, level = here, shares[k], thresholds[k]
        allowed += 1e-12
        forbidden = (1.0 - stray) * noise + stray * allowed
        value = math.log(forbidden / allowed)
        evidence[i] = value * dependence if value > 0.0 else value
        # What a line costs that is not seen though nothing forbids it.
        allowance[i] = -max(evidence[i], 0.0)
    return evidence, allowance


def normalised_of(fit: LatticeIntensities, wavelength: float) -> tuple[Lines, Lines]:
    """Intensity a reflection of each line, of mean 1, and its standard error."""
    normalised, factor = normalise_intensities(
        fit.inverse_d2, fit.intensity, fit.multiplicity, wavelength
    )
    return normalised, fit.error * factor


def line_evidence(
    fit: LatticeIntensities, wavelength: float, *, measured: bool
) -> tuple[Lines, Lines, Lines]:
    """Evidence of each line for being absent, and its normalised intensity.

    Args:
        fit: Intensities of a lattice's lines.
        wavelength: Wavelength [Å].
        measured: Whether the pattern was measured.

    Returns:
        Logarithms of likelihood ratios, positive where a line looks absent; the
        log-likelihood of each line if it is allowed; intensities a reflection whose
        mean is 1.
    """
    normalised, factor = normalise_intensities(
        fit.inverse_d2, fit.intensity, fit.multiplicity, wavelength
    )
    floor = _MEASURED_FLOOR if measured else _CLEAN_FLOOR
    stray = _MEASURED_STRAY if measured else _CLEAN_STRAY
    dependence = _MEASURED_DEPENDENCE if measured else _CLEAN_DEPENDENCE
    error = np.sqrt(fit.error**2 + floor**2) * factor
    evidence, allowance = absence_evidence(
        normalised, error, WEAK_THRESHOLD, WEAK_SHARE, stray, dependence,
        _MEASURED_TAIL if measured else _CLEAN_TAIL,
    )  # fmt: skip
    return evidence, allowance, normalised


def pattern_log_likelihood(
    evidence: Lines,
    hkl: Int64[np.ndarray, "reflections 3"],
    line_of: Int64[np.ndarray, " reflections"],
    patterns: ExtinctionPatterns,
) -> Float64[np.ndarray, " patterns"]:
    """Log-likelihood of each extinction pattern, against nothing being forbidden.

    Args:
        evidence: Of each line, see `line_evidence`.
        hkl: Reflections on the axes of the patterns' lattice.
        line_of: Line of each reflection.
        patterns: Patterns of the lattice.
    """
    masks = condition_masks(hkl, patterns.rotation, patterns.translation)
    forbidden = forbidden_lines(masks, line_of, len(evidence), patterns.condition_bits)
    likelihood: Float64[np.ndarray, " patterns"] = evidence @ forbidden
    return likelihood
