"""Candidates for the cell of a pattern, ranked: the automatic indexer."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from jaxtyping import Float64, Int16, Int64
from numba import njit

from pxrdbench.errors import PatternError
from pxrdbench.indexing.cells.indexer import (
    NOISY_TOLERANCE,
    SHIFTS,
    SYSTEMS,
    index_many,
)
from pxrdbench.indexing.cells.lattices import (
    BRAVAIS_LATTICES,
    POINTS,
    TWO_FOLDS,
    bravais_lattices,
    cell_parameters,
    inverse,
    metric,
    niggli,
    primitive_cell,
    same_lattice,
    transform,
)
from pxrdbench.indexing.cells.ranking import RESULT, count_distinct, row_volume
from pxrdbench.indexing.cells.refine import (
    design_row,
    matrix_of_six,
    metric_from_free,
    six_of_matrix,
)
from pxrdbench.indexing.cells.search import SUBLATTICES, SUPERLATTICES, sublattices
from pxrdbench.indexing.lines.line_list import LineList

# Candidates whose sub- and superlattices of index 2, 3 and 4 are tried, and the latter
# on the reciprocal basis.
RELATIVES = 5
_RELATED = np.concatenate(
    [np.linalg.inv(sublattices(4)), SUPERLATTICES, SUBLATTICES, sublattices(4)]
)

Six = tuple[float, float, float, float, float, float]
# Given the candidates, best first: what to add to each score.
Judge = Callable[[Sequence["Cell"]], Sequence[float]]


@dataclass(frozen=True, eq=False)
class Cell:
    """A cell that explains a list of lines.

    Attributes:
        primitive: a, b, c [Å], α, β, γ [degrees] of the Niggli-reduced primitive cell.
        conventional: The same of the conventional cell of ``bravais_lattice``; hR on
            hexagonal axes, monoclinic with unique axis b (mC is C-centred, β ≥ 90).
        bravais_lattice: One of aP mP mC oP oC oI oF tP tI hP hR cP cI cF.
        volume: Volume of the primitive cell [Å³].
        m20: Figure of merit of the first 20 lines (de Wolff 1968, J. Appl. Cryst. 1,
            108); of all lines where there are fewer.
        score: Logarithm of a likelihood ratio, larger is better; see `ranking`.
        zero_shift: What was subtracted from the angles 2θ [degrees].
        hkl: Indices of each line on the conventional cell, 0 0 0 where it has none.
        ambiguities: What other lattices have the same lines, in words.
    """

    primitive: Six
    conventional: Six
    bravais_lattice: str
    volume: float
    m20: float
    score: float
    zero_shift: float
    hkl: Int16[np.ndarray, "lines 3"]
    ambiguities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.hkl.flags.writeable = False


def _six(g: Float64[np.ndarray, "3 3"]) -> Six:
    a, b, c, alpha, beta, gamma = (float(v) for v in cell_parameters(g))
    return (a, b, c, alpha, beta, gamma)


def _allowed(crystal_system: str | None) -> np.ndarray:
    """Which Bravais lattices may be."""
    if crystal_system is None:
        return np.ones(len(BRAVAIS_LATTICES), dtype=np.bool_)
    if crystal_system not in SYSTEMS:
        raise PatternError(
            f"unknown crystal system {crystal_system!r}: {', '.join(SYSTEMS)} are known"
        )
    allowed = np.zeros(len(BRAVAIS_LATTICES), dtype=np.bool_)
    allowed[list(SYSTEMS[crystal_system])] = True
    return allowed


def foreign_probability(lines: LineList) -> Float64[np.ndarray, " lines"]:
    """How probable it is that a line isn't of the crystal.

    Measured on 62 scans of RRUFF, whose cells are known: of lines below 0.02 of the
    strongest 55 % are foreign, then 16 % (to 0.04), 6 % (to 0.2), 3 % above. Patterns
    without noise have no foreign lines, but blends that no one resolves.
    """
    if len(lines) == 0 or not np.isfinite(lines.significance).any():
        return np.full(len(lines), 0.02)
    strength = lines.intensity / max(float(lines.intensity.max()), 1e-300)
    return 0.03 + 0.5 * np.exp(-strength / 0.025)


def _arrays(lines: LineList) -> tuple[np.ndarray, ...]:
    """What the kernels take of a list of lines."""
    return (
        lines.two_theta,
        lines.two_theta_error,
        lines.fwhm,
        foreign_probability(lines),
    )


@njit(cache=True, nogil=True)
def _index_all(g, q, tolerance, hkl, gap):
    """Nearest lattice point of every line, within its tolerance."""
    n = len(q)
    a, b, c, f, e, d = g[0], g[1], g[2], g[3], g[4], g[5]
    q_cut = 0.0
    for i in range(n):
        q_cut = max(q_cut, q[i] + tolerance[i])
        gap[i] = np.inf
    a2, b2, d2 = a - 0.25 * e * e / c, b - 0.25 * f * f / c, d - 0.5 * e * f / c
    a3 = a2 - 0.25 * d2 * d2 / b2
    widest = tolerance.max()
    for h in range(int(math.sqrt(q_cut / a3)) + 1):
        room = (q_cut - a3 * h * h) / b2
        if room < 0.0:
            continue
        room = math.sqrt(room)
        centre = -0.5 * d2 * h / b2
        k_first = 0 if h == 0 else math.ceil(centre - room)
        for k in range(k_first, math.floor(centre + room) + 1):
            in_plane = h * h * a + k * k * b + h * k * d
            slope = k * f + h * e
            top = -0.5 * slope / c
            room2 = (q_cut - in_plane) / c + top * top
            if room2 < 0.0:
                continue
            room2 = math.sqrt(room2)
            l_first = 1 if h == 0 and k == 0 else math.ceil(top - room2)
            for l in range(l_first, math.floor(top + room2) + 1):
                value = in_plane + l * (slope + l * c)
                i = np.searchsorted(q, value - widest)
                while i < n and q[i] <= value + widest:
                    distance = abs(q[i] - value)
                    if distance <= tolerance[i] and distance < gap[i]:
                        gap[i] = distance
                        hkl[i, 0], hkl[i, 1], hkl[i, 2] = h, k, l
                    i += 1


@lru_cache(maxsize=16)
def derivative_lattices(
    bravais_lattice: str,
) -> tuple[tuple[int, Int64[np.ndarray, "3 3"]], ...]:
    """Smaller lattices that have exactly the lines of a Bravais lattice.

    They are found as sublattices of the reciprocal lattice of index 2, 3, 4 and 6 in
    which every Q of the lattice occurs, for axes whose ratios are no special ones.

    Args:
        bravais_lattice: "cP", …

    Returns:
        (Index, basis of the sublattice on the reciprocal basis of the Niggli-reduced
        primitive cell); the cell is smaller by the index.

    References:
        Mighell & Santoro (1975), J. Appl. Cryst. 8, 372.
    """
    ratio = {"c": (5.0, 5.0, 5.0), "t": (5.0, 5.0, 7.13), "h": (5.0, 5.0, 7.13)}
    if bravais_lattice[0] not in ratio:
        return ()
    gamma = 120.0 if bravais_lattice[0] == "h" else 90.0
    cell = primitive_cell(
        (*ratio[bravais_lattice[0]], 90.0, 90.0, gamma), bravais_lattice
    )
    reciprocal = inverse(metric(np.array(cell)))
    g, smaller = np.empty(6), np.empty(6)
    six_of_matrix(reciprocal, g)
    values = np.empty(60000)
    limit = 3.0
    whole = count_distinct(g, limit, 0.0, values)
    found: list[tuple[int, Int64[np.ndarray, "3 3"]]] = []
    steps = [np.eye(3), *SUBLATTICES]
    seen = set()
    for first in SUBLATTICES:
        for second in steps:
            basis = np.rint(second @ first)
            six_of_matrix(transform(basis, reciprocal), smaller)
            if count_distinct(smaller, limit, 0.0, values) != whole:
                continue
            index = round(abs(np.linalg.det(basis)))
            direct = inverse(transform(basis, reciprocal))
            direct = transform(niggli(direct, 1e-5), direct)
            key = (index, *(round(v, 4) for v in _six(direct)))
            if key not in seen:
                seen.add(key)
                found.append((index, basis.astype(np.int64)))
    return tuple(sorted(found, key=lambda item: item[0]))


def _ambiguities(bravais_lattice: str, primitive: Six) -> tuple[str, ...]:
    """Derivative lattices of a cell, named."""
    texts = []
    reciprocal = inverse(metric(np.array(primitive)))
    for index, basis in derivative_lattices(bravais_lattice):
        direct = inverse(transform(basis.astype(np.float64), reciprocal))
        direct = transform(niggli(direct, 1e-5), direct)
        codes = np.empty(128, np.int64)
        bases = np.empty((128, 3, 3), np.int64)
        metrics = np.empty((128, 3, 3))
        strain = np.empty(128)
        bravais_lattices(direct, 1e-4, TWO_FOLDS, False, codes, bases, metrics, strain)
        numbers = " ".join(f"{v:.5g}" for v in _six(metrics[0]))
        texts.append(
            f"{BRAVAIS_LATTICES[codes[0]]} {numbers} with 1/{index} of the volume has "
            "the same lines (Mighell & Santoro 1975)"
        )
    return tuple(texts)


def _figure_of_merit(
    g: Float64[np.ndarray, " 6"],
    q: Float64[np.ndarray, " lines"],
    gap: Float64[np.ndarray, " lines"],
) -> float:
    """M20 = Q20 / (2 ⟨ΔQ⟩ N20), over the indexed ones of the first 20 lines."""
    n = min(20, len(q))
    seen = np.isfinite(gap[:n])
    if not seen.any():
        return 0.0
    values = np.empty(20000)
    predicted = count_distinct(g, q[n - 1] * (1 + 1e-9), 0.0, values)
    mean = max(float(gap[:n][seen].mean()), 1e-7 * float(q[n - 1]))
    return float(q[n - 1] / (2 * mean * max(predicted, 1)))


def _cell_of_row(row: Float64[np.ndarray, " columns"], lines: LineList) -> Cell:
    """A candidate of a row of results, with the indices of all lines."""
    code, shift = int(row[0]), float(row[3])
    lattice = BRAVAIS_LATTICES[code]
    basis = row[16:25].reshape(3, 3)
    direct_conventional = inverse(row[25:34].reshape(3, 3))
    primitive_reciprocal = row[7:16].reshape(3, 3)
    direct = inverse(primitive_reciprocal)
    direct = transform(niggli(direct, 1e-7), direct)
    g = np.empty(6)
    six_of_matrix(primitive_reciprocal, g)
    theta = np.radians((lines.two_theta - shift) / 2)
    corrected = (2.0 * np.sin(theta) / lines.wavelength) ** 2
    # dQ/d2θ per degree
    slope = np.radians(2.0 * np.sin(2 * theta) / lines.wavelength**2)
    hkl, gap = np.zeros((len(lines), 3), np.int64), np.empty(len(lines))
    error = 3.0 * max(1.0, float(row[6])) * lines.two_theta_error
    tolerance = slope * np.maximum(error, NOISY_TOLERANCE if shift else 0.003)
    _index_all(g, corrected, tolerance, hkl, gap)
    hkl = hkl @ basis.T.astype(np.int64)
    if lattice[0] == "m" and direct_conventional[0, 2] > 0.0:
        # Refined across 90°: -a, -b, c is right-handed and obtuse.
        hkl[:, :2] *= -1
        direct_conventional[0, 2] *= -1
        direct_conventional[2, 0] *= -1
    conventional = _six(direct_conventional)
    primitive = _six(direct)
    return Cell(
        primitive=primitive,
        conventional=conventional,
        bravais_lattice=lattice,
        volume=float(math.sqrt(max(np.linalg.det(direct_conventional), 0.0)))
        / int(POINTS[code]),
        m20=_figure_of_merit(g, corrected, gap),
        score=float(row[1]),
        zero_shift=shift,
        hkl=hkl.astype(np.int16),
        ambiguities=_ambiguities(lattice, primitive),
    )


def _once_each(cells: Sequence[Cell]) -> list[Cell]:
    """Leave out what is an earlier candidate at another zero shift.

    Copies would share its weight, and their worse fits would speak as loudly.
    """
    kept: list[Cell] = []
    for cell in cells:
        if not any(
            cell.bravais_lattice == other.bravais_lattice
            and abs(cell.volume - other.volume) < 0.01 * other.volume
            and same_lattice(other.primitive, cell.primitive)
            for other in kept
        ):
            kept.append(cell)
    return kept


def find_cells(
    lines: LineList,
    *,
    max_volume: float | None = None,
    crystal_system: str | None = None,
    n_cells: int = 20,
    zero_shift: bool | None = None,
    judge: Judge | None = None,
) -> list[Cell]:
    """Index a list of lines: the cells that explain it, best first.

    The first 32 lines are looked at: ten are few, twenty are usual. Cubic lattices are
    searched one by one, tetragonal, hexagonal and rhombohedral ones along a line hk0,
    the others through zones. Foreign lines are allowed, at a cost.

    Args:
        lines: Positions with their standard errors.
        max_volume: Greatest volume of the primitive cell [Å³]; without it what the
            number of lines allows.
        crystal_system: "triclinic" … "cubic", where it's known.
        n_cells: Cells to return at most.
        zero_shift: Whether to look for a zero shift and to fit it; without it as the
            lines have noise or not (`LineList.significance`).
        judge: Called with the candidates, best first; what it returns is added to
            their scores and the order is made anew. Least squares of the whole pattern
            are a better judge than lines.

    Returns:
        Candidates; none where fewer than three lines are given or nothing is found.

    Raises:
        PatternError: If an option can't be, or lines aren't finite numbers.
    """
    if max_volume is not None and not max_volume > 0.0:
        raise PatternError(f"max_volume {max_volume} must be above zero")
    if n_cells < 1:
        raise PatternError(f"n_cells {n_cells} must be one or more")
    for values in (lines.two_theta, lines.two_theta_error, lines.fwhm):
        if not np.isfinite(values).all():
            raise PatternError("positions, errors and widths of lines must be finite")
    if zero_shift is None:
        zero_shift = bool(np.isfinite(lines.significance).any())
    # One compiled entry serves one list and many.
    rows, counts = find_cells_batch(
        [lines],
        max_volume=max_volume,
        crystal_system=crystal_system,
        n_cells=n_cells,
        zero_shift=zero_shift,
    )
    cells = [_cell_of_row(row, lines) for row in rows[0, : counts[0]]]
    if zero_shift:
        cells = _once_each(cells)
    if judge is not None and cells:
        more = judge(cells)
        if len(more) != len(cells):
            raise PatternError(f"the judge gave {len(more)} scores of {len(cells)}")
        cells = [
            replace(cell, score=cell.score + float(extra))
            for cell, extra in zip(cells, more, strict=True)
        ]
        cells.sort(key=lambda cell: -cell.score)
    return cells


@dataclass(frozen=True, eq=False)
class RefinedCell:
    """Least squares of a cell on its indexed lines.

    Attributes:
        conventional: a, b, c [Å], α, β, γ [degrees].
        error: Their standard errors; 0 where the symmetry fixes them.
        zero_shift: Zero shift [degrees].
        zero_shift_error: Its standard error; 0 where it isn't refined.
        error_scale: Root of χ² per degree of freedom, by which errors are multiplied
            where it's above one.
        n_lines: Lines that were fitted.
    """

    conventional: Six
    error: Six
    zero_shift: float
    zero_shift_error: float
    error_scale: float
    n_lines: int


def refine_cell(
    cell: Cell, lines: LineList, *, zero_shift: bool = False
) -> RefinedCell:
    """Refine a cell on all of its lines, under its symmetry.

    The model is Q = Σ x_p r_p(hkl) + (dQ/d2θ) z, linear in the free numbers of the
    reciprocal metric and in the zero shift z; weights are 1/σ². Errors of the cell
    follow from the covariance of the free numbers.

    Args:
        cell: With the indices of each line.
        lines: The lines it was found on.
        zero_shift: Whether to refine the zero shift; else that of the cell is kept.

    Raises:
        PatternError: If fewer lines are indexed than numbers are free.
    """
    code = BRAVAIS_LATTICES.index(cell.bravais_lattice)
    used = cell.hkl.any(axis=1)
    hkl = cell.hkl[used].astype(np.float64)
    theta = np.radians((lines.two_theta[used] - cell.zero_shift) / 2)
    q = (2.0 * np.sin(theta) / lines.wavelength) ** 2
    slope = np.radians(2.0 * np.sin(2 * theta) / lines.wavelength**2)
    weight = 1.0 / (slope * lines.two_theta_error[used])
    row = np.zeros(7)
    p = design_row(code, 1.0, 1.0, 1.0, row)
    size = p + 1 if zero_shift else p
    if len(q) < size:
        raise PatternError(f"{len(q)} indexed lines do not determine {size} numbers")
    design = np.zeros((len(q), size))
    for i, (h, k, l) in enumerate(hkl):
        design_row(code, h, k, l, row)
        design[i, :p] = row[:p]
    if zero_shift:
        design[:, p] = slope
    scaled = design * weight[:, None]
    x, _, rank, _ = np.linalg.lstsq(scaled, q * weight, rcond=None)
    if rank < size:
        raise PatternError(f"the indexed lines do not determine {size} numbers")
    covariance = np.linalg.inv(scaled.T @ scaled)
    freedom = max(len(q) - size, 1)
    scale = float(np.sqrt(np.sum((scaled @ x - q * weight) ** 2) / freedom))
    covariance *= max(1.0, scale) ** 2

    def parameters(free: Float64[np.ndarray, " free"]) -> Float64[np.ndarray, " 6"]:
        g = np.empty(6)
        metric_from_free(code, free, g)
        return np.array(cell_parameters(inverse(matrix_of_six(g))))

    centre = parameters(x[:p])
    jacobian = np.empty((6, p))
    for j in range(p):
        moved = x[:p].copy()
        step = 1e-6 * max(abs(moved[j]), 1e-3 * abs(moved[0]))
        moved[j] += step
        jacobian[:, j] = (parameters(moved) - centre) / step
    variance = np.einsum("ij,jk,ik->i", jacobian, covariance[:p, :p], jacobian)
    error = np.sqrt(np.maximum(variance, 0.0))
    error[error < 1e-9 * centre] = 0.0
    a, b, c, alpha, beta, gamma = (float(v) for v in centre)
    ea, eb, ec, e_alpha, e_beta, e_gamma = (float(v) for v in error)
    return RefinedCell(
        conventional=(a, b, c, alpha, beta, gamma),
        error=(ea, eb, ec, e_alpha, e_beta, e_gamma),
        zero_shift=cell.zero_shift + (float(x[p]) if zero_shift else 0.0),
        zero_shift_error=float(np.sqrt(covariance[p, p])) if zero_shift else 0.0,
        error_scale=scale,
        n_lines=len(q),
    )


def find_cells_batch(
    many: Sequence[LineList],
    *,
    max_volume: float | None = None,
    crystal_system: str | None = None,
    n_cells: int = 20,
    zero_shift: bool = False,
) -> tuple[Float64[np.ndarray, "lists cells columns"], Int64[np.ndarray, " lists"]]:
    """Index many lists in one kernel that leaves other threads free.

    Args:
        many: Lists of lines.
        max_volume: See `find_cells`.
        crystal_system: See `find_cells`.
        n_cells: See `find_cells`.
        zero_shift: See `find_cells`; here it has no default of its own.

    Returns:
        Rows of candidates, best first, with the columns that `ranking.RESULT` names;
        and how many each list has.
    """
    parts = [_arrays(lines) for lines in many]
    offset = np.concatenate([[0], np.cumsum([len(p[0]) for p in parts])])
    results = np.zeros((len(many), n_cells, RESULT))
    counts = np.zeros(len(many), np.int64)
    if many:
        index_many(
            offset.astype(np.int64),
            *(np.concatenate([p[i] for p in parts]) for i in range(4)),
            np.array([lines.wavelength for lines in many]),
            np.array([lines.two_theta_range[0] for lines in many]),
            0.0 if max_volume is None else max_volume**-2.0,
            _allowed(crystal_system),
            zero_shift,
            np.zeros((0, 6)),
            True,
            SHIFTS if zero_shift else np.zeros(1),
            results,
            counts,
        )
    if zero_shift:
        for i, lines in enumerate(many):
            counts[i] = _try_relatives(
                lines, results[i], int(counts[i]), max_volume, crystal_system
            )
    return results, counts


def _try_relatives(
    lines: LineList,
    rows: Float64[np.ndarray, "cells columns"],
    count: int,
    max_volume: float | None,
    crystal_system: str | None,
) -> int:
    """Try sub- and superlattices of the best candidates at their refined zero shift.

    Tolerances of a search are as wide as its steps of zero shift; what they hide comes
    out where the shift is known. Rows are changed in place.

    Returns:
        How many candidates there are now.
    """
    new = np.zeros((len(rows), RESULT))
    found = np.zeros(1, np.int64)
    for i in range(min(count, RELATIVES)):
        known, shift = rows[:count].copy(), float(rows[i, 3])
        g, seeds = np.empty(6), np.empty((len(_RELATED), 6))
        for j, change in enumerate(_RELATED):
            six_of_matrix(transform(change, known[i, 7:16].reshape(3, 3)), g)
            seeds[j] = g
        index_many(
            np.array([0, len(lines)]),
            *_arrays(lines),
            np.array([lines.wavelength]),
            np.array([lines.two_theta_range[0]]),
            0.0 if max_volume is None else max_volume**-2.0,
            _allowed(crystal_system),
            True,
            seeds,
            False,
            np.array([shift]),
            new[None],
            found,
        )
        count = _merge_rows(rows, count, new[: found[0]])
    return count


def _merge_rows(
    rows: Float64[np.ndarray, "cells columns"],
    count: int,
    new: Float64[np.ndarray, "more columns"],
) -> int:
    """Add candidates to others, best first and each lattice once; returns how many."""
    best: list[np.ndarray] = []
    for row in sorted([*rows[:count].copy(), *new.copy()], key=lambda row: -row[1]):
        volume = row_volume(row)
        if not any(
            row[0] == other[0]
            and abs(volume - row_volume(other)) < 5e-3 * volume
            and abs(row[5] - other[5]) <= 2.0
            for other in best
        ):
            best.append(row)
    best = best[: len(rows)]
    for i, row in enumerate(best):
        rows[i] = row
    return len(best)
