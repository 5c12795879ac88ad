"""A cell as a person writes it down: parameters with errors, figures of merit."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from pxrdbench.indexing.cells.find import Cell
from pxrdbench.indexing.cells.lattices import (
    BRAVAIS_LATTICES,
    cell_parameters,
    inverse,
)
from pxrdbench.indexing.cells.refine import (
    design_row,
    matrix_of_six,
    metric_from_free,
)
from pxrdbench.indexing.groups.intensities import LatticeIntensities
from pxrdbench.indexing.index import Indexing

# A line belongs to a lattice where it is this near [widths], and [degrees] at least.
_NEAR, _NEARER = 0.5, 0.03
_STEP = 1e-6

_Six = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class FoundCell:
    """A candidate for the cell of a scan.

    Attributes:
        bravais_lattice: One of aP mP mC oP oC oI oF tP tI hP hR cP cI cF.
        lattice: a, b, c [Å], α, β, γ [degrees] of the conventional cell.
        errors: Their standard errors, 0 where symmetry fixes one, NaN where too few
            lines tell. They grow with the misfit of the lines; what an uncalibrated
            instrument adds is not in them.
        volume: Of the primitive cell [Å³].
        volume_error: Its standard error.
        m20: Figure of merit (de Wolff 1968); 0 of a stated cell.
        zero_shift: Subtracted from the angles 2θ [degrees].
        probability: That it is right.
        lines_indexed: Lines of the scan that are at a line of the cell.
    """

    bravais_lattice: str
    lattice: _Six
    errors: _Six
    volume: float
    volume_error: float
    m20: float
    zero_shift: float
    probability: float
    lines_indexed: int

    def __str__(self) -> str:
        names = ("a", "b", "c", "α", "β", "γ")
        units = ("Å", "Å", "Å", "°", "°", "°")
        written = [
            f"{name} {with_error(value, error)} {unit}"
            for name, value, error, unit in zip(
                names, self.lattice, self.errors, units, strict=True
            )
        ]
        return f"{self.bravais_lattice}  {'  '.join(written)}"


def with_error(value: float, error: float) -> str:
    """Write a value with its standard error in brackets.

    Example:
        >>> with_error(4.9134, 0.0004), with_error(90.0, 0.0), with_error(5.1, 0.23)
        ('4.9134(4)', '90', '5.1(2)')
    """
    if not np.isfinite(error):
        return f"{value:.3f}"
    if error <= 0.0:
        return f"{value:.5g}"
    digits = max(0, -int(np.floor(np.log10(error))))
    last = round(error * 10**digits)
    if last == 10:  # 0.0096 is one of the next digit
        digits, last = max(0, digits - 1), 1 if digits else 10
    return f"{value:.{digits}f}({last})"


def describe_cells(indexing: Indexing, no_cell: float) -> tuple[FoundCell, ...]:
    """Candidates with errors, the likeliest first.

    Args:
        indexing: Of the scan.
        no_cell: Calibrated probability that none is right.
    """
    total = float(indexing.cell_probability.sum())
    scale = (1.0 - no_cell) / total if total > 0.0 else 0.0
    return tuple(
        _describe(
            cell,
            indexing,
            float(share) * scale,
            indexing.intensities if not row else None,
        )
        for row, (cell, share) in enumerate(
            zip(indexing.cells, indexing.cell_probability, strict=True)
        )
    )


def line_positions(fit: LatticeIntensities) -> Float64[np.ndarray, " lines"]:
    """Where the lines of a lattice are in the scan [degrees]."""
    places: np.ndarray = fit.two_theta + fit.shift * np.cos(
        np.radians(fit.two_theta / 2)
    )
    return places


def explained_lines(
    indexing: Indexing,
) -> tuple[np.ndarray, np.ndarray]:
    """Which lines of a scan are at lines of the first cell, and at which.

    Lines beyond the last one of the cell that was fitted are counted as the cell's:
    nobody looked.

    Returns:
        For each line whether it is, and the nearest line of the cell.
    """
    lines, fit = indexing.lines, indexing.intensities
    if fit is None or not len(lines):
        return np.zeros(len(lines), np.bool_), np.zeros(len(lines), np.int64)
    places = line_positions(fit)
    off = np.abs(lines.two_theta[:, None] - places[None, :])
    nearest = off.argmin(axis=1)
    near = off.min(axis=1) < np.maximum(_NEAR * lines.fwhm, _NEARER)
    near |= lines.two_theta > places.max() + _NEARER
    return near, nearest


def _describe(
    cell: Cell, indexing: Indexing, share: float, fit: LatticeIntensities | None
) -> FoundCell:
    lines = indexing.lines
    hkl = np.asarray(cell.hkl, np.int64)
    used = (hkl != 0).any(axis=1)
    if fit is not None and not used.any():  # a stated cell
        used, nearest = explained_lines(indexing)
        used &= lines.two_theta <= line_positions(fit).max() + _NEARER
        first = np.searchsorted(fit.line_of, np.arange(len(fit)))
        hkl = fit.hkl[first][nearest]
    lattice, errors, volume_error = _errors(
        cell, hkl[used], lines.inverse_d2[used], lines.inverse_d2_error[used],
        np.radians(lines.two_theta[used]), lines.wavelength,
    )  # fmt: skip
    return FoundCell(
        bravais_lattice=cell.bravais_lattice,
        lattice=lattice if cell.m20 == 0.0 else cell.conventional,
        errors=errors,
        volume=float(cell.volume),
        volume_error=volume_error * float(cell.volume),
        m20=float(cell.m20),
        zero_shift=float(cell.zero_shift),
        probability=share,
        lines_indexed=int(used.sum()),
    )


def _errors(
    cell: Cell,
    hkl: np.ndarray,
    q: np.ndarray,
    q_error: np.ndarray,
    two_theta: np.ndarray,
    wavelength: float,
) -> tuple[_Six, _Six, float]:
    """Least squares of a cell on its lines: parameters, errors, that of ln(volume)."""
    code = BRAVAIS_LATTICES.index(cell.bravais_lattice)
    row = np.zeros(6)
    n = design_row(code, 0, 0, 0, row)
    unknown = (float("nan"),) * 6
    if len(hkl) < n + 2:
        return cell.conventional, unknown, float("nan")
    design = np.zeros((len(hkl), n + 1))
    for place, indices in enumerate(hkl.astype(np.float64)):
        design_row(code, *indices, row)
        design[place, :n] = row[:n]
    # dQ of a zero shift of one degree; Q = (2 sin θ / λ)².
    design[:, n] = np.radians(1.0) * 2.0 * np.sin(two_theta) / wavelength**2
    weight = 1.0 / np.maximum(q_error, 1e-9)
    weighted = design * weight[:, None]
    solution, _, rank, _ = np.linalg.lstsq(weighted, q * weight, rcond=None)
    if rank < n + 1:
        return cell.conventional, unknown, float("nan")
    rest = weighted @ solution - q * weight
    spread = max(1.0, float(rest @ rest) / (len(q) - n - 1))
    covariance = spread * np.linalg.inv(weighted.T @ weighted)[:n, :n]
    free = solution[:n]
    at = _parameters(code, free)
    if not np.isfinite(at).all():
        return cell.conventional, unknown, float("nan")
    slopes = np.stack(
        [
            (_parameters(code, free + _STEP * free.max() * unit) - at)
            / (_STEP * free.max())
            for unit in np.eye(n)
        ],
        axis=1,
    )
    variance = np.einsum("ij,jk,ik->i", slopes, covariance, slopes)
    errors = np.sqrt(np.maximum(variance, 0.0))
    errors[errors < 1e-7] = 0.0
    values = tuple(float(v) for v in at[:6])
    return values, tuple(float(e) for e in errors[:6]), float(errors[6])  # type: ignore[return-value]  # six each


def _parameters(code: int, free: np.ndarray) -> np.ndarray:
    """Six parameters and ln of the volume, of the free numbers of a metric."""
    six = np.zeros(6)
    metric_from_free(code, free, six)
    reciprocal = matrix_of_six(six)
    if np.linalg.det(reciprocal) <= 0.0:
        return np.full(7, np.nan)
    direct = inverse(reciprocal)
    values: np.ndarray = np.r_[
        np.asarray(cell_parameters(direct), np.float64),
        0.5 * np.log(np.linalg.det(direct)),
    ]
    return values
