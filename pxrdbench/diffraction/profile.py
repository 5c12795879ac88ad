"""From lists of peaks to patterns: widths, profiles, and their sum on a grid."""

import math
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64

from pxrdbench.diffraction.kernels.gaussian import (
    BAD_WIDTH,
    NO_PEAK,
    render_gaussians,
)
from pxrdbench.diffraction.kernels.pseudo_voigt import render_pseudo_voigts
from pxrdbench.diffraction.pattern import PeakBatch, TwoThetaGrid
from pxrdbench.errors import PatternError

# Scherrer constant for the fwhm (Langford & Wilson 1978, J. Appl. Cryst. 11, 102).
SCHERRER_K = 0.9
# What a crystallite is taken to measure when nothing is said about widths: the middle
# of the range of the reference work (Schopmans et al. 2023), 20-100 nm.
DEFAULT_CRYSTALLITE_SIZE_NM = 60.0
_SIGMA_OF_FWHM = 1.0 / math.sqrt(8.0 * math.log(2.0))

PerPattern = float | Float64[np.ndarray, " batch"]


@dataclass(frozen=True, eq=False)
class Broadening:
    """Widths that an instrument and a sample give to a peak.

        Γ_G² = u tan² θ + v tan θ + w + size²      size = K λ / (L cos θ)
        Γ_L  = x tan θ + y / cos θ + 4 strain tan θ

    are the full widths at half maximum of the Gaussian and the Lorentzian part on the
    scale of 2θ; Thompson, Cox and Hastings make one pseudo-Voigt of them. Each value is
    one number, or one for each pattern.

    Attributes:
        u: Caglioti coefficient [degrees²], with v and w.
        x: Lorentzian coefficient of strain [degrees].
        y: Lorentzian coefficient of size [degrees].
        strain: Mean relative deviation of d, without unit; Lorentzian.
        size_profile: Which part the crystallite size broadens.
        lorentz_share: Fixed part of the area in the Lorentzian, 0 to 1, where √Γ_G² is
            the width of both parts; the Lorentzian widths must then be zero. Without
            it Thompson, Cox and Hastings decide.

    References:
        Caglioti, Paoletti & Ricci (1958), Nucl. Instrum. 3, 223.
        Thompson, Cox & Hastings (1987), J. Appl. Cryst. 20, 79.
    """

    u: PerPattern = 0.0
    v: PerPattern = 0.0
    w: PerPattern = 0.0
    x: PerPattern = 0.0
    y: PerPattern = 0.0
    strain: PerPattern = 0.0
    size_profile: Literal["gaussian", "lorentzian"] = "gaussian"
    lorentz_share: PerPattern | None = None

    def __post_init__(self) -> None:
        for field in fields(self)[:6]:
            if not np.isfinite(getattr(self, field.name)).all():
                raise PatternError(
                    f"broadening {field.name} is {getattr(self, field.name)}; "
                    "it must be finite"
                )
        if self.size_profile not in {"gaussian", "lorentzian"}:
            raise PatternError(
                f"unknown size_profile {self.size_profile!r}; "
                "known are gaussian, lorentzian"
            )
        if self.lorentz_share is None:
            return
        share = np.asarray(self.lorentz_share)
        if not ((share >= 0.0) & (share <= 1.0)).all():
            raise PatternError(
                f"lorentz_share is {self.lorentz_share}; it lies between 0 and 1"
            )
        if (
            np.any(self.x)
            or np.any(self.y)
            or np.any(self.strain)
            or self.size_profile == "lorentzian"
        ):
            raise PatternError(
                "a fixed lorentz_share needs zero x, y and strain, and a Gaussian size"
            )


def render(
    peaks: PeakBatch,
    grid: TwoThetaGrid,
    crystallite_size_nm: PerPattern | None = None,
    *,
    broadening: Broadening | None = None,
) -> Float32[np.ndarray, "batch points"]:
    """Add up one profile per peak, its area the peak's intensity.

    Without ``broadening`` a profile is the Gaussian of a crystallite's size,

        fwhm(θ) = K λ / (L cos θ),    K = 0.9,

    cut where it has fallen below 1e-6 of the strongest profile. With it, a
    pseudo-Voigt; a Lorentzian part reaches over the whole grid.

    Args:
        peaks: Reflections, ascending in 2θ.
        grid: Angles of the result. Peaks outside add only the tail that reaches in.
        crystallite_size_nm: L [nm], one for all or one for each pattern. Without it
            and without ``broadening`` 60 nm.
        broadening: Instrument, strain and size widths.

    Returns:
        One pattern a row, scaled to a maximum of one.

    Raises:
        PatternError: If a size is no positive number, a width is no real number, or a
            pattern has no peak on the grid; it names the index.

    References:
        Scherrer (1918), Nachr. Ges. Wiss. Göttingen, 98.
    """
    return render_roughly(peaks, grid, crystallite_size_nm, broadening, 1.0)


def render_roughly(
    peaks: PeakBatch,
    grid: TwoThetaGrid,
    crystallite_size_nm: PerPattern | None,
    broadening: Broadening | None,
    roughness: float,
) -> Float32[np.ndarray, "batch points"]:
    """As ``render``, with pseudo-Voigts cut ``roughness`` times as early."""
    if crystallite_size_nm is None and broadening is None:
        crystallite_size_nm = DEFAULT_CRYSTALLITE_SIZE_NM
    size_width = _size_width(peaks, crystallite_size_nm)
    pattern = np.empty((len(peaks), grid.points), np.float32)
    lists = (peaks.two_theta, peaks.intensity, peaks.peak_offset)
    if broadening is None:
        status, index = render_gaussians(
            *lists, size_width * _SIGMA_OF_FWHM, grid.start, grid.step, pattern
        )
    else:
        widths = _width_coefficients(size_width, broadening)
        status, index = render_pseudo_voigts(
            *lists, widths, grid.start, grid.step, roughness, pattern
        )
    if status == NO_PEAK:
        raise PatternError(
            f"pattern {index} has no peak between {grid.start} and {grid.stop} degrees",
            index=int(index),
        )
    if status == BAD_WIDTH:
        raise PatternError(
            f"pattern {index}: the squared width u tan² θ + v tan θ + w is negative, "
            "or all widths are zero, at one of its peaks",
            index=int(index),
        )
    return pattern


def _size_width(
    peaks: PeakBatch, crystallite_size_nm: PerPattern | None
) -> Float64[np.ndarray, " batch"]:
    """Fwhm that the size of the crystallites gives at θ = 0 [degrees]."""
    if crystallite_size_nm is None:
        return np.zeros(len(peaks))
    size = _one_for_each("crystallite_size_nm", crystallite_size_nm, len(peaks))
    bad = np.flatnonzero(~((size > 0.0) & (size < math.inf)))
    if len(bad):
        raise PatternError(
            f"pattern {bad[0]}: crystallite_size_nm is {size[bad[0]]}; "
            "it must be a positive number",
            index=int(bad[0]),
        )
    width: Float64[np.ndarray, " batch"] = np.degrees(
        SCHERRER_K * 0.1 * peaks.wavelength / size  # 0.1 nm to the angstrom
    )
    return width


def _width_coefficients(
    size_width: Float64[np.ndarray, " batch"], broadening: Broadening
) -> Float64[np.ndarray, "batch 7"]:
    """u, v, w, Gaussian size, Lorentzian tan θ and 1/cos θ terms, share."""
    batch = len(size_width)
    u, v, w, x, y, strain = (
        _one_for_each(field.name, getattr(broadening, field.name), batch)
        for field in fields(broadening)[:6]
    )
    is_gaussian = broadening.size_profile == "gaussian"
    share = -1.0 if broadening.lorentz_share is None else broadening.lorentz_share
    return np.column_stack(
        [
            u,
            v,
            w,
            size_width if is_gaussian else np.zeros(batch),
            # Stokes & Wilson (1944), Proc. Phys. Soc. 56, 174.
            x + np.degrees(4.0 * strain),
            y if is_gaussian else y + size_width,
            _one_for_each("lorentz_share", share, batch),
        ]
    )


def _one_for_each(
    name: str, value: PerPattern, batch: int
) -> Float64[np.ndarray, " batch"]:
    """One value a pattern."""
    array = np.asarray(value, np.float64)
    if array.shape not in {(), (batch,)}:
        raise PatternError(
            f"{name} has shape {array.shape}; one number or {batch} are needed, "
            "one for each pattern"
        )
    return np.broadcast_to(array, (batch,)).copy()
