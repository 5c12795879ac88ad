"""Try lattices against lines: one look-up table, one probe, one pool of the best.

Everything is in Q = 1/d² [Å⁻²], which is linear in six numbers,

    Q(hkl) = h² A + k² B + l² C + kl F + hl E + hk D,

A = a*², …, F = 2 b*·c*, E = 2 a*·c*, D = 2 a*·b*; a metric is written (A B C F E D).
"""

import math

import numpy as np
from numba import njit

from pxrdbench.indexing.cells.lattices import CP, PARAMETERS, inverse, transform
from pxrdbench.indexing.cells.line_table import COARSE, FINE, SHADOW
from pxrdbench.indexing.cells.refine import (
    assign_lines,
    fit,
    free_from_metric,
    matrix_of_six,
    metric_from_free,
    six_of_matrix,
)

POOL = 96  # lattices kept while searching
# Added to the scores of lattices while searching, so that those of measured scans,
# where most predicted lines are too weak to be seen, stay above zero, the mark of empty
# rows.
HEAD_START = 60.0
# What each free number of a metric costs there: else cells of low symmetry, which are
# many, crowd those of high symmetry out.
OCCAM_SEARCH = 4.0
MOST_LINES = 60  # lines that a search looks at, one bit each
# Of these the best, whose sub- and superlattices are tried: measured scans, where the
# pool is full of lattices that are about as good.
CLOSED = 24
# No lattice vector is shorter [Å]: of elements and compounds at rest beryllium's a,
# 2.286 Å, is about the shortest (Mackay & Hill 1963, J. Nucl. Mater. 8, 263).
LEAST_VECTOR = 2.1
# Columns of a pool after the six of the metric.
SCORE, DETERMINANT, N_HIT, N_PREDICTED = 6, 7, 8, 9


def sublattices(index: int) -> np.ndarray:
    """Bases of all sublattices of an index: Hermite normal forms."""
    found: list[list[list[int]]] = []
    for a in range(1, index + 1):
        for c in range(1, index + 1):
            if index % a or (index // a) % c:
                continue
            e = index // a // c
            found.extend(
                [[a, 0, 0], [b, c, 0], [d, f, e]]
                for b in range(a)
                for d in range(a)
                for f in range(c)
            )
    return np.array(found, dtype=np.float64)


SUBLATTICES = np.concatenate([sublattices(2), sublattices(3)])
SUPERLATTICES = np.linalg.inv(SUBLATTICES)


@njit(cache=True, nogil=True)
def lattice_determinant(g):
    """Determinant of the matrix of a metric (A B C F E D): 1 / V²."""
    a, b, c, f, e, d = g[0], g[1], g[2], 0.5 * g[3], 0.5 * g[4], 0.5 * g[5]
    return a * (b * c - f * f) - d * (d * c - f * e) + e * (d * f - b * e)


@njit(cache=True, nogil=True)
def entropy_cost(n, k):
    """-log of the likelihood of k of n at the share that fits best, k / n."""
    if k <= 0 or k >= n:
        return 0.0
    r = k / n
    return -k * math.log(r) - (n - k) * math.log(1.0 - r)


@njit(cache=True, nogil=True)
def count_lines(g, q, tolerance, n, q_first, table, scale, stamp, result):
    """Count which lines a lattice explains and how many others it predicts.

    Args:
        g: Metric (A B C F E D), positive definite.
        q: Lines.
        tolerance: Their tolerances.
        n: Lines that count, from the first.
        q_first: Where the scan begins.
        table: Of `fill_table`.
        scale: Its cells per Q.
        stamp: Marks of predicted cells; the last element counts the calls.
        result: Receives the lines explained as bits, the number of distinct predicted
            lines that aren't seen, and of lattice points (half of space).
    """
    a, b, c, f, e, d = g[0], g[1], g[2], g[3], g[4], g[5]
    stamp[-1] += 1
    mark = stamp[-1]
    q_cut = q[n - 1] + tolerance[n - 1]
    coarse = COARSE * scale / FINE
    a2, b2, d2 = a - 0.25 * e * e / c, b - 0.25 * f * f / c, d - 0.5 * e * f / c
    a3 = a2 - 0.25 * d2 * d2 / b2
    bits = np.int64(0)
    missed = 0
    points = 0
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
                if cell >= FINE or value < q_first:
                    continue
                points += 1
                line = table[cell]
                if line == 0:
                    cell = int(value * coarse)
                    if stamp[cell] != mark:
                        stamp[cell] = mark
                        missed += 1
                elif line != SHADOW:
                    bits |= np.int64(1) << np.int64(line - 1)
    result[0] = bits
    result[1] = missed
    result[2] = points


@njit(cache=True, nogil=True)
def popcount(bits):
    """Number of ones."""
    n = 0
    while bits:
        bits &= bits - 1
        n += 1
    return n


@njit(cache=True, nogil=True)
def quick_score(bits, missed, weight, cost, n):
    """Logarithm of a likelihood ratio against lines anywhere.

    A line that is hit by chance has p = 2 · tolerance · density of lines; its weight is
    -log p. Of the predicted lines a share is seen that the lattice itself tells. A line
    that isn't explained costs -log of its probability to be foreign.
    """
    total = 0.0
    hits = 0
    for i in range(n):
        if (bits >> i) & 1:
            total += weight[i]
            hits += 1
        else:
            total -= cost[i]
    return total - entropy_cost(hits + missed, hits)


@njit(cache=True, nogil=True)
def is_positive(g):
    """Whether a metric is positive definite by more than rounding."""
    if g[0] <= 0.0 or g[1] <= 0.0 or g[2] <= 0.0:
        return False
    minor = g[1] * g[2] - 0.25 * g[3] * g[3]
    if minor <= 1e-4 * g[1] * g[2]:
        return False
    if g[0] * g[2] - 0.25 * g[4] * g[4] <= 1e-4 * g[0] * g[2]:
        return False
    if g[0] * g[1] - 0.25 * g[5] * g[5] <= 1e-4 * g[0] * g[1]:
        return False
    return lattice_determinant(g) > 1e-5 * g[0] * g[1] * g[2]


@njit(cache=True, nogil=True)
def is_too_short(g, det):
    """Whether a vector of the direct basis is shorter than any of a crystal.

    Args:
        g: Metric (A B C F E D).
        det: Its determinant.
    """
    least = LEAST_VECTOR**2 * det
    return (
        g[1] * g[2] - 0.25 * g[3] * g[3] < least
        or g[0] * g[2] - 0.25 * g[4] * g[4] < least
        or g[0] * g[1] - 0.25 * g[5] * g[5] < least
    )


@njit(cache=True, nogil=True)
def adjust(g, code, t, data, n, table, scale):
    """Fit a metric to the first lines (in place), held near to where it was.

    Args:
        g: Metric (A B C F E D).
        code: Bravais lattice whose free numbers are fitted.
        t: Its basis on that of the metric; need not be of integers.
        data: See `probe`.
        n: Lines that are fitted.
        table: See `probe`.
        scale: Cells of the table per Q.

    Returns:
        Whether it is still a metric.
    """
    hkl = np.zeros((n, 3), np.int64)
    deviation = np.empty(n)
    x = np.empty(7)
    start = np.empty(6)
    whole = np.empty(6)
    back = inverse(t)
    # Q = hᵀ G h and conventional indices T h: G' = T⁻ᵀ G T⁻¹
    six_of_matrix(transform(back.T, matrix_of_six(g)), whole)
    free_from_metric(code, whole, start)
    assign_lines(g, data, n, table, scale, 0.0, hkl, deviation)
    if not fit(code, t, start, data, n, hkl, deviation, True, 1e-3, x):
        return False
    metric_from_free(code, x, whole)
    six_of_matrix(transform(t.T, matrix_of_six(whole)), g)
    return is_positive(g)


@njit(cache=True, nogil=True)
def probe(g, code, t, data, setup, table, stamp, pool, most_points):
    """Try one lattice; into the pool with it where it's good.

    Rejects by the number of lattice points that the volume implies before anything is
    enumerated, then by the first lines, before all are looked at.

    Args:
        g: Metric (A B C F E D).
        code: Symmetry under which it's adjusted, see `adjust`.
        t: See `adjust`.
        data: Rows: Q, tolerance, weight, σ, slope, cost of not being explained.
        setup: Lines that count; first lines; how many of those that are trusted must be
            explained; where the scan begins; cells per Q; the least determinant;
            whether the lines are measured: then there is an adjustment to lines on the
            way; the trusted ones among the first lines as bits.
        table: Of `fill_table`.
        stamp: Scratch of `count_lines`.
        pool: The best so far, best first.
        most_points: Most lattice points per line.

    Returns:
        Its score, 0 where it's rejected.
    """
    if not is_positive(g):
        return 0.0
    det = lattice_determinant(g)
    n, first, spare = int(setup[0]), int(setup[1]), int(setup[2])
    if det < setup[5] or is_too_short(g, det):
        return 0.0
    q, tolerance, weight = data[0], data[1], data[2]
    # Half of the points of an ellipsoid: (2π/3) Q^(3/2) V.
    if 2.0944 * q[n - 1] ** 1.5 / math.sqrt(det) > most_points * n + 20.0:
        return 0.0
    result = np.empty(3, np.int64)
    if first < n:
        count_lines(g, q, tolerance, first, setup[3], table, setup[4], stamp, result)
        if popcount(result[0] & np.int64(setup[7])) < spare:
            return 0.0
        if setup[6] > 0.0:
            # Errors of low angles grow on the way to high ones: least squares over the
            # lines so far, then twice as many.
            g = g.copy()
            while first < n:
                if not adjust(g, code, t, data, first, table, setup[4]):
                    return 0.0
                first = min(2 * first, n)
            det = lattice_determinant(g)
    count_lines(g, q, tolerance, n, setup[3], table, setup[4], stamp, result)
    score = quick_score(result[0], result[1], weight, data[5], n)
    if setup[6] > 0.0:
        score += HEAD_START - OCCAM_SEARCH * (PARAMETERS[code] if code else 6)
    if score > pool[-1, SCORE]:
        insert(pool, g, score, det, popcount(result[0]), result[1])
    return score


@njit(cache=True, nogil=True)
def insert(pool, g, score, det, hits, missed):
    """Put a lattice into a pool that is sorted by score, unless it's there."""
    n = pool.shape[0]
    predicted = hits + missed
    for i in range(n):
        if pool[i, SCORE] <= 0.0:
            break
        if (
            abs(pool[i, DETERMINANT] - det) < 4e-3 * det
            and abs(pool[i, N_PREDICTED] - predicted) <= 1
            and abs(pool[i, N_HIT] - hits) <= 1
        ):
            # The same lattice with other errors, or in another basis.
            if score <= pool[i, SCORE]:
                return
            for j in range(i, n - 1):
                pool[j] = pool[j + 1]
            pool[n - 1] = 0.0
            break
    i = n - 1
    while i > 0 and pool[i - 1, SCORE] < score:
        pool[i] = pool[i - 1]
        i -= 1
    for j in range(6):
        pool[i, j] = g[j]
    pool[i, SCORE] = score
    pool[i, DETERMINANT] = det
    pool[i, N_HIT] = hits
    pool[i, N_PREDICTED] = predicted


@njit(cache=True, nogil=True)
def change_basis(t, g, out):
    """Metric (A B C F E D) of the basis T · basis."""
    for i in range(3):
        x, y, z = t[i, 0], t[i, 1], t[i, 2]
        out[i] = (
            x * x * g[0]
            + y * y * g[1]
            + z * z * g[2]
            + y * z * g[3]
            + x * z * g[4]
            + x * y * g[5]
        )
    for n in range(3):
        i, j = (1, 2) if n == 0 else ((0, 2) if n == 1 else (0, 1))
        out[3 + n] = (
            2 * (t[i, 0] * t[j, 0] * g[0] + t[i, 1] * t[j, 1] * g[1])
            + 2 * t[i, 2] * t[j, 2] * g[2]
            + (t[i, 1] * t[j, 2] + t[i, 2] * t[j, 1]) * g[3]
            + (t[i, 0] * t[j, 2] + t[i, 2] * t[j, 0]) * g[4]
            + (t[i, 0] * t[j, 1] + t[i, 1] * t[j, 0]) * g[5]
        )


# h² + k² + l² that occur; those of P, I and F all among them.
CUBIC_SUMS = np.array([n for n in range(1, 41) if n not in (7, 15, 23, 28, 31, 39)])


ONE = np.eye(3)
# Primitive vectors of face- and body-centred reciprocal lattices.
FACE_CENTRED = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
BODY_CENTRED = np.array([[-1.0, 1.0, 1.0], [1.0, -1.0, 1.0], [1.0, 1.0, -1.0]])


@njit(cache=True, nogil=True)
def search_cubic(data, setup, table, stamp, pool, sums, most_points):
    """Each of the first lines with each h² + k² + l², P, I and F."""
    n = min(int(setup[0]), 4)
    g = np.empty(6)
    for i in range(n):
        for m in sums:
            s = data[0, i] / m
            g[0] = g[1] = g[2] = s
            g[3] = g[4] = g[5] = 0.0
            probe(g, CP, ONE, data, setup, table, stamp, pool, most_points)
            # Reciprocal lattices of I and F: face- and body-centred.
            g[0] = g[1] = g[2] = g[3] = g[4] = g[5] = 2 * s
            probe(g, CP, FACE_CENTRED, data, setup, table, stamp, pool, most_points)
            g[0] = g[1] = g[2] = 3 * s
            g[3] = g[4] = g[5] = -2 * s
            probe(g, CP, BODY_CENTRED, data, setup, table, stamp, pool, most_points)


@njit(cache=True, nogil=True)
def close_pool(data, setup, table, stamp, pool, sub, sup, rounds, most_points):
    """Try the sub- and superlattices of index 2 and 3 of all that is in a pool.

    A centred cell is found with its full reciprocal lattice at first; its lines lie in
    a sublattice. A superlattice is worth trying only where lines are left over, or of
    measured scans, whose tolerances are so wide that lines are explained by chance.
    """
    g = np.empty(6)
    n = setup[0]
    for _ in range(rounds):
        before = pool.copy()
        best = pool[0, SCORE]
        # Relatives of the best are tried again at their refined zero shift.
        last = CLOSED if setup[6] > 0.0 else before.shape[0]
        for i in range(last):
            if before[i, SCORE] <= 0.3 * best:
                break
            for j in range(sub.shape[0]):
                change_basis(sub[j], before[i], g)
                probe(g, 0, ONE, data, setup, table, stamp, pool, most_points)
            if before[i, N_HIT] < n or setup[6] > 0.0:
                for j in range(sup.shape[0]):
                    change_basis(sup[j], before[i], g)
                    probe(g, 0, ONE, data, setup, table, stamp, pool, most_points)
        if pool[0, SCORE] <= best and pool[5, SCORE] <= before[5, SCORE]:
            break
