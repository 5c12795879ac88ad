"""Kernels for what each reflection has by itself: 1/d², 2θ, Lorentz-polarisation."""

# ruff: noqa: E741 - h, k, l are the names of the indices

import math

import numpy as np
from jaxtyping import Float, Float64, Int, Int32
from numba import njit

from pxrdbench.diffraction.kernels.reflections import Metric

# θ(sin²θ)/sin θ on sin²θ in [0, ½] at 17 Chebyshev nodes; largest error 9e-16.
_ARCSINE = (
    1.0000000000000004,
    0.1666666666661266,
    0.07500000010326971,
    0.044642849352792925,
    0.03038225261078325,
    0.02236479278135831,
    0.017468338476864537,
    0.01271115458012856,
    0.021272381973439548,
    -0.045216406151762055,
    0.23748842691861086,
    -0.6963313293396542,
    1.582877152468858,
    -2.5068911979542188,
    2.7170663464162557,
    -1.7870148645071302,
    0.5621827313559765,
)

Doubles = Float64[np.ndarray, " reflections"]


@njit(cache=True, nogil=True, fastmath={"contract"})
def fill_q(
    metric: Metric,
    h: Int[np.ndarray, " reflections"],
    k: Int[np.ndarray, " reflections"],
    l: Int[np.ndarray, " reflections"],
    q: Doubles,
) -> None:
    """1/d² [Å⁻²] of each reflection."""
    g11, g22, g33, g12, g13, g23 = metric
    g12, g13, g23 = 2.0 * g12, 2.0 * g13, 2.0 * g23
    for r in range(q.shape[0]):
        x, y, z = float(h[r]), float(k[r]), float(l[r])
        q[r] = x * (g11 * x + g12 * y + g13 * z) + y * (g22 * y + g23 * z) + g33 * z * z


@njit(cache=True, nogil=True, fastmath={"contract"})
def fill_two_theta(
    q: Doubles,
    wavelength: float,
    two_theta: Doubles,
) -> None:
    """2θ [degrees] = 2 asin √u, u = sin² θ; from 90 degrees on by the complement."""
    quarter = 0.25 * wavelength * wavelength
    degrees = 360.0 / math.pi
    for r in range(q.shape[0]):
        u = q[r] * quarter
        small = u if u <= 0.5 else 1.0 - u
        value = _ARCSINE[16]
        for i in range(15, -1, -1):
            value = value * small + _ARCSINE[i]
        angle = degrees * (math.sqrt(small) * value)
        two_theta[r] = angle if u <= 0.5 else 180.0 - angle


# Without Python's check of each divisor, which would keep the loop scalar.
@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def fill_lorentz_polarization(
    q: Doubles,
    wavelength: float,
    sigma: float,
    pi: float,
    lorentz: Float[np.ndarray, " reflections"],
) -> None:
    """(sigma + pi cos² 2θ) / (sin² θ cos θ), see polarization.

    In the precision of the structure factors.
    """
    real = lorentz.dtype.type
    quarter = 0.25 * wavelength * wavelength
    one, two = real(1.0), real(2.0)
    perpendicular, parallel = real(sigma), real(pi)
    for r in range(q.shape[0]):
        sin2 = q[r] * quarter
        u, cos2 = real(sin2), real(1.0 - sin2)
        cos_2theta = one - two * u
        part = parallel * cos_2theta
        lorentz[r] = (perpendicular + part * cos_2theta) / (u * np.sqrt(cos2))


@njit(cache=True, nogil=True)
def fill_stol2(
    q: Doubles,
    stol2: Float[np.ndarray, " reflections"],
) -> None:
    """(sin θ/λ)² in the precision of the structure factors."""
    real = stol2.dtype.type
    for r in range(q.shape[0]):
        stol2[r] = real(0.25 * q[r])


@njit(cache=True, nogil=True)
def weigh(
    multiplicity: Int32[np.ndarray, " reflections"],
    lorentz: Float[np.ndarray, " reflections"],
    squares: Float[np.ndarray, " reflections"],
    scale: float,
    intensity: Doubles,
) -> None:
    """M Lp |F|²."""
    for r in range(intensity.shape[0]):
        intensity[r] = lorentz[r] * squares[r] * (scale * multiplicity[r])
