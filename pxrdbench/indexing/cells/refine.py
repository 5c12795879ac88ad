"""Least squares of a lattice on its lines, under the symmetry of a Bravais lattice.

The model is Q_i = Σ_p x_p r_p(hkl_i) + s_i z, with one x for every free number of the
reciprocal metric, the slope s = dQ/d2θ and the zero shift z, where it is wanted.
"""

import math

import numpy as np
from numba import njit

from pxrdbench.indexing.cells.lattices import HP, HR, MC, MP, OC, OF, OI, OP, TI, TP
from pxrdbench.indexing.cells.line_table import FINE, SHADOW

BOUND = 3.0


@njit(cache=True, nogil=True)
def design_row(code, h, k, l, row):
    """Factors of the free numbers of a reciprocal metric; returns how many."""
    if code == 0:
        row[0], row[1], row[2] = h * h, k * k, l * l
        row[3], row[4], row[5] = k * l, h * l, h * k
        return 6
    if code in (MP, MC):
        row[0], row[1], row[2], row[3] = h * h, k * k, l * l, h * l
        return 4
    if code in (OP, OC, OI, OF):
        row[0], row[1], row[2] = h * h, k * k, l * l
        return 3
    if code in (TP, TI):
        row[0], row[1] = h * h + k * k, l * l
        return 2
    if code in (HP, HR):
        row[0], row[1] = h * h + h * k + k * k, l * l
        return 2
    row[0] = h * h + k * k + l * l
    return 1


@njit(cache=True, nogil=True)
def metric_from_free(code, x, g):
    """Reciprocal metric (A B C F E D) of the free numbers of `design_row`."""
    g[:] = 0.0
    if code == 0:
        for i in range(6):
            g[i] = x[i]
    elif code in (MP, MC):
        g[0], g[1], g[2], g[4] = x[0], x[1], x[2], x[3]
    elif code in (OP, OC, OI, OF):
        g[0], g[1], g[2] = x[0], x[1], x[2]
    elif code in (TP, TI):
        g[0] = g[1] = x[0]
        g[2] = x[1]
    elif code in (HP, HR):
        g[0] = g[1] = g[5] = x[0]
        g[2] = x[1]
    else:
        g[0] = g[1] = g[2] = x[0]


@njit(cache=True, nogil=True)
def free_from_metric(code, g, x):
    """Free numbers of `design_row` of a metric that has the symmetry nearly."""
    if code == 0:
        for i in range(6):
            x[i] = g[i]
    elif code in (MP, MC):
        x[0], x[1], x[2], x[3] = g[0], g[1], g[2], g[4]
    elif code in (OP, OC, OI, OF):
        x[0], x[1], x[2] = g[0], g[1], g[2]
    elif code in (TP, TI, HP, HR):
        x[0], x[1] = 0.5 * (g[0] + g[1]), g[2]
    else:
        x[0] = (g[0] + g[1] + g[2]) / 3.0


@njit(cache=True, nogil=True)
def six_of_matrix(m, g):
    """(A B C F E D) of a symmetric matrix."""
    g[0], g[1], g[2] = m[0, 0], m[1, 1], m[2, 2]
    g[3], g[4], g[5] = 2 * m[1, 2], 2 * m[0, 2], 2 * m[0, 1]


@njit(cache=True, nogil=True)
def matrix_of_six(g):
    """Symmetric matrix of (A B C F E D)."""
    m = np.empty((3, 3))
    m[0, 0], m[1, 1], m[2, 2] = g[0], g[1], g[2]
    m[1, 2] = m[2, 1] = 0.5 * g[3]
    m[0, 2] = m[2, 0] = 0.5 * g[4]
    m[0, 1] = m[1, 0] = 0.5 * g[5]
    return m


@njit(cache=True, nogil=True)
def assign_lines(g, data, n, table, scale, shift, hkl, deviation):
    """Give each line the nearest lattice point within its tolerance.

    Args:
        g: Reciprocal metric of a primitive basis.
        data: Rows: Q, tolerance, weight, σ, slope dQ/d2θ [1/degree].
        n: Lines that count.
        table: Of `fill_table`.
        scale: Its cells per Q.
        shift: Zero shift [degrees]: what is seen is Q + slope · shift.
        hkl: Receives indices, 0 0 0 where there's none.
        deviation: Receives seen minus calculated Q; infinite where there's none.
    """
    a, b, c, f, e, d = g[0], g[1], g[2], g[3], g[4], g[5]
    q_cut = data[0, n - 1] + data[1, n - 1]
    a2, b2, d2 = a - 0.25 * e * e / c, b - 0.25 * f * f / c, d - 0.5 * e * f / c
    a3 = a2 - 0.25 * d2 * d2 / b2
    for i in range(n):
        hkl[i, 0] = hkl[i, 1] = hkl[i, 2] = 0
        deviation[i] = np.inf
    # slope ≈ √Q √(1 - Q λ²/4) …: of a value between lines that of the nearest line
    h_last = int(math.sqrt(q_cut / a3))
    for h in range(h_last + 1):
        room = (q_cut - a3 * h * h) / b2
        if room < 0.0:
            continue
        room = math.sqrt(room)
        centre = -0.5 * d2 * h / b2
        k_first, k_last = math.ceil(centre - room), math.floor(centre + room)
        if h == 0:
            k_first = 0
        for k in range(k_first, k_last + 1):
            in_plane = h * h * a + k * k * b + h * k * d
            slope = k * f + h * e
            top = -0.5 * slope / c
            room = (q_cut - in_plane) / c + top * top
            if room < 0.0:
                continue
            room = math.sqrt(room)
            l_first, l_last = math.ceil(top - room), math.floor(top + room)
            if h == 0 and k == 0:
                l_first = 1
            for l in range(l_first, l_last + 1):
                value = in_plane + l * (slope + l * c)
                cell = int(value * scale)
                if cell >= FINE:
                    continue
                line = table[cell]
                if line in (0, SHADOW):
                    continue
                i = int(line) - 1
                # Windows overlap: a point may belong to a neighbour as well.
                for j in range(max(i - 1, 0), min(i + 2, n)):
                    gap = data[0, j] - data[4, j] * shift - value
                    if abs(gap) <= data[1, j] * 1.2 and abs(gap) < abs(deviation[j]):
                        deviation[j] = gap
                        hkl[j, 0], hkl[j, 1], hkl[j, 2] = h, k, l


@njit(cache=True, nogil=True)
def solve_symmetric(m, right, p, out):
    """Solve m x = right by Cholesky factors (in place); False where it can't be."""
    for j in range(p):
        total = m[j, j]
        for k in range(j):
            total -= m[j, k] * m[j, k]
        if total <= 1e-12 * abs(m[j, j]) or total <= 0.0:
            return False
        m[j, j] = math.sqrt(total)
        for i in range(j + 1, p):
            total = m[i, j]
            for k in range(j):
                total -= m[i, k] * m[j, k]
            m[i, j] = total / m[j, j]
    for i in range(p):
        total = right[i]
        for k in range(i):
            total -= m[i, k] * out[k]
        out[i] = total / m[i, i]
    for i in range(p - 1, -1, -1):
        total = out[i]
        for k in range(i + 1, p):
            total -= m[k, i] * out[k]
        out[i] = total / m[i, i]
    return True


@njit(cache=True, nogil=True)
def fit(code, t, start, data, n, hkl, deviation, with_zero, ridge, x):
    """Weighted least squares of the free numbers on indexed lines.

    Args:
        code: Bravais lattice.
        t: Conventional basis on the primitive one: indices turn as T · hkl.
        start: Numbers to start from; the result is held near to them where lines
            don't determine it.
        data: Rows: Q, tolerance, weight, σ, slope.
        n: Lines that count.
        hkl: Indices on the primitive basis.
        deviation: Infinite where a line isn't indexed.
        with_zero: Whether to fit a zero shift as well.
        ridge: Relative error of ``start``, as prior.
        x: Receives the free numbers, at last the zero shift.

    Returns:
        Whether it could be solved.
    """
    row = np.zeros(7)
    normal = np.zeros((7, 7))
    right = np.zeros(7)
    p = design_row(code, 1.0, 1.0, 1.0, row)
    size = p + 1 if with_zero else p
    for i in range(n):
        if not math.isfinite(deviation[i]):
            continue
        h = t[0, 0] * hkl[i, 0] + t[0, 1] * hkl[i, 1] + t[0, 2] * hkl[i, 2]
        k = t[1, 0] * hkl[i, 0] + t[1, 1] * hkl[i, 1] + t[1, 2] * hkl[i, 2]
        l = t[2, 0] * hkl[i, 0] + t[2, 1] * hkl[i, 1] + t[2, 2] * hkl[i, 2]
        design_row(code, float(h), float(k), float(l), row)
        if with_zero:
            row[p] = data[4, i]
        rest = data[0, i]
        for j in range(p):
            rest -= row[j] * start[j]
        # A line off by more than BOUND errors has a bounded influence (Huber).
        w = 1.0 / (data[3, i] * max(data[3, i], abs(deviation[i]) / BOUND))
        for j in range(size):
            right[j] += w * row[j] * rest
            for m in range(j + 1):
                normal[j, m] += w * row[j] * row[m]
    scale = 0.0
    for j in range(p):
        scale = max(scale, abs(start[j]))
    for j in range(p):
        width = ridge * (abs(start[j]) if j < 3 else scale)
        width = max(width, 1e-3 * ridge * scale)
        normal[j, j] += 1.0 / (width * width)
    if with_zero:
        normal[p, p] += 1.0 / 0.1**2  # shifts beyond 0.1° are rare
    step = np.zeros(7)
    if not solve_symmetric(normal, right, size, step):
        return False
    for j in range(p):
        x[j] = start[j] + step[j]
    x[6] = step[p] if with_zero else 0.0
    return True
