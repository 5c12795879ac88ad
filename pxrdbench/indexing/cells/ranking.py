"""Which lattice it is: refined under each symmetry that it can have, and scored.

The score is the logarithm of a likelihood ratio, lines of this lattice against lines
anywhere with their density ρ:

    Σ_i log([(1 - ε) N(ΔQ_i; s σ_i) + ε / 2t_i] / ρ)       lines that are explained
    + Σ_j log f_j            lines that aren't; f: their probability to be foreign
    - H(predicted, seen)            lines predicted and not seen, see `visibility_cost`
    - OCCAM · (free numbers of the metric),

with t the tolerance within which a line counts as explained, ε the share of lines whose
errors say nothing, s ≥ 1 the factor by which deviations exceed the errors, and H the
binomial cost of the share of lines that is seen. Lattices with the same lines (Mighell
& Santoro 1975, J. Appl. Cryst. 8, 372) differ in the last term alone: the one with the
fewest free numbers wins.
"""

import math

import numpy as np
from numba import njit

from pxrdbench.indexing.cells.lattices import (
    PARAMETERS,
    bravais_lattices,
    inverse,
    niggli,
    transform,
)
from pxrdbench.indexing.cells.line_table import COARSE, FINE, SHADOW
from pxrdbench.indexing.cells.refine import (
    assign_lines,
    fit,
    free_from_metric,
    matrix_of_six,
    metric_from_free,
    six_of_matrix,
)
from pxrdbench.indexing.cells.search import (
    SCORE,
    count_lines,
    entropy_cost,
    is_positive,
    is_too_short,
    lattice_determinant,
    popcount,
)

OCCAM = 9.0
OUTLIERS = 0.1
# That lines of a sublattice are seen more often than the others: rare where every line
# above 1e-4 is known, common where weak ones drown in noise (chosen on 400 patterns of
# `dev` and 62 scans of RRUFF).
SPLIT = 8.0
NOISY_SPLIT = 4.0
STRAIN = 0.006  # greatest strain to a symmetry that is tried
# The most symmetric lattice of a metric stays a candidate if it scores no worse than
# the best by this: lines of a scan are off by what no model of their errors knows, and
# the whole pattern decides.
SYMMETRIC = 20.0
LATTICES = 40  # room for the lattices of one metric
# Columns of results: code, score, m20, zero shift, lines explained, lines predicted,
# s, then 9 + 9 + 9 of the primitive metric (reciprocal), basis and conventional metric.
RESULT = 34


@njit(cache=True, nogil=True)
def likelihood(data, n, deviation, p):
    """Sum over lines that are explained and not, with the fitted scale of errors."""
    squares = np.empty(n)
    hits = 0
    for i in range(n):
        if math.isfinite(deviation[i]):
            squares[hits] = (deviation[i] / data[3, i]) ** 2
            hits += 1
    if hits == 0:
        return -1e300, 1.0, 0
    # The median of χ² with one degree of freedom is 0.455; p of them are used up.
    scale2 = np.median(squares[:hits]) / 0.455 * hits / max(hits - p, 1)
    scale2 = max(1.0, scale2)
    scale = math.sqrt(scale2)
    density = n / data[0, n - 1]
    total = 0.0
    for i in range(n):
        if math.isfinite(deviation[i]):
            sigma = data[3, i] * scale
            near = 0.3989 / sigma * math.exp(-0.5 * (deviation[i] / sigma) ** 2)
            far = 0.5 / data[1, i]
            total += math.log(((1.0 - OUTLIERS) * near + OUTLIERS * far) / density)
        else:
            total -= data[5, i]
    return total, scale, hits


@njit(cache=True, nogil=True)
def visibility_cost(g, q, tolerance, n, q_first, table, scale, stamp, split):
    """Cost of the lines that a lattice predicts and that aren't seen.

    All predicted lines are seen with one probability, or those of a sublattice of
    index 2 or 3 with one and the others with another: reflections of a superstructure
    are weak, and those that a centring or a special position forbids are absent.
    """
    a, b, c, f, e, d = g[0], g[1], g[2], g[3], g[4], g[5]
    stamp[-1] += 1
    mark = stamp[-1]
    q_cut = q[n - 1] + tolerance[n - 1]
    coarse = COARSE * scale / FINE
    a2, b2, d2 = a - 0.25 * e * e / c, b - 0.25 * f * f / c, d - 0.5 * e * f / c
    a3 = a2 - 0.25 * d2 * d2 / b2
    seen2, all2 = np.zeros(8, np.int64), np.zeros(8, np.int64)
    seen3, all3 = np.zeros(27, np.int64), np.zeros(27, np.int64)
    # A line belongs to the first of its reflections; one in the sublattice goes first.
    owner = np.full((n, 3), -1, np.int64)
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
                cell = int(value * scale)
                if cell >= FINE or value < q_first:
                    continue
                line = table[cell]
                if line == SHADOW:
                    continue
                two = (h % 2) * 4 + (k % 2) * 2 + l % 2
                three = (h % 3) * 9 + (k % 3) * 3 + l % 3
                if line == 0:
                    cell = int(value * coarse)
                    if stamp[cell] != mark:
                        stamp[cell] = mark
                        all2[two] += 1
                        all3[three] += 1
                elif owner[line - 1, 0] < 0:
                    owner[line - 1, 0] = two
                    owner[line - 1, 1] = three
    total = 0
    hits = 0
    for i in range(n):
        if owner[i, 0] >= 0:
            hits += 1
            seen2[owner[i, 0]] += 1
            all2[owner[i, 0]] += 1
            seen3[owner[i, 1]] += 1
            all3[owner[i, 1]] += 1
    for i in range(8):
        total += all2[i]
    best = entropy_cost(total, hits)
    for v in range(1, 8):
        n_in = 0
        k_in = 0
        for i in range(8):
            if popcount(np.int64(i & v)) % 2 == 0:
                n_in += all2[i]
                k_in += seen2[i]
        cost = entropy_cost(n_in, k_in) + entropy_cost(total - n_in, hits - k_in)
        best = min(best, cost + split)
    for x in range(3):
        for y in range(3):
            for z in range(3):
                # of v and -v one
                if not (x == 1 or (x == 0 and (y == 1 or (y == 0 and z == 1)))):
                    continue
                n_in = 0
                k_in = 0
                for i in range(27):
                    if ((i // 9) * x + (i // 3 % 3) * y + (i % 3) * z) % 3 == 0:
                        n_in += all3[i]
                        k_in += seen3[i]
                cost = entropy_cost(n_in, k_in)
                cost += entropy_cost(total - n_in, hits - k_in)
                best = min(best, cost + split)
    return best


@njit(cache=True, nogil=True)
def count_distinct(g, q_cut, q_first, values):
    """Number of different Q of a lattice up to a limit, without absences."""
    a, b, c, f, e, d = g[0], g[1], g[2], g[3], g[4], g[5]
    a2, b2, d2 = a - 0.25 * e * e / c, b - 0.25 * f * f / c, d - 0.5 * e * f / c
    a3 = a2 - 0.25 * d2 * d2 / b2
    n = 0
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
                if value >= q_first and n < values.shape[0]:
                    values[n] = value
                    n += 1
    ordered = np.sort(values[:n])
    distinct = 0
    last = -1.0
    for i in range(n):
        if ordered[i] - last > 1e-6 * ordered[i]:
            distinct += 1
            last = ordered[i]
    return distinct


@njit(cache=True, nogil=True)
def row_volume(row):
    """Volume of the primitive cell of a result."""
    g = np.empty(6)
    m = np.empty((3, 3))
    for r in range(3):
        for c in range(3):
            m[r, c] = row[7 + 3 * r + c]
    six_of_matrix(m, g)
    return 1.0 / math.sqrt(max(lattice_determinant(g), 1e-300))


@njit(cache=True, nogil=True)
def insert_row(results, count, row):
    """Put a lattice among the results, best first; returns how many there are.

    Equal volume, symmetry and score is the same lattice: one row for it.
    """
    volume = row_volume(row)
    for m in range(count):
        other = row_volume(results[m])
        if (
            abs(other - volume) < 1e-3 * volume
            and abs(results[m, 1] - row[1]) < 0.3
            and results[m, 0] == row[0]
        ):
            return count
    if count == results.shape[0] and row[1] <= results[count - 1, 1]:
        return count
    if count < results.shape[0]:
        count += 1
    m = count - 1
    while m > 0 and results[m - 1, 1] < row[1]:
        results[m] = results[m - 1]
        m -= 1
    results[m] = row
    return count


@njit(cache=True, nogil=True)
def rank_pool(
    pool, data, setup, table, stamp, two_folds, allowed, with_zero, most, results
):
    """Refine and score the lattices of a pool; returns how many results there are.

    Args:
        pool: Of the search, best first.
        data: Rows: Q, tolerance, weight, σ, slope dQ/d2θ [1/degree], -log of the
            probability to be foreign.
        setup: See `probe`.
        table: See `probe`.
        stamp: See `probe`.
        two_folds: `lattices.TWO_FOLDS`.
        allowed: Whether each Bravais lattice may be.
        with_zero: Whether to fit a zero shift.
        most: Lattices of the pool to look at.
        results: Receives rows, best first; see `RESULT`.
    """
    n = int(setup[0])
    q_first, scale = setup[3], setup[4]
    split = NOISY_SPLIT if with_zero else SPLIT
    hkl = np.zeros((n, 3), np.int64)
    deviation = np.empty(n)
    codes = np.empty(LATTICES, np.int64)
    bases = np.empty((LATTICES, 3, 3), np.int64)
    metrics = np.empty((LATTICES, 3, 3))
    strain = np.empty(LATTICES)
    x = np.zeros(7)
    start = np.zeros(6)
    g = np.empty(6)
    g_new = np.empty(6)
    one = np.eye(3)
    counted = np.empty(3, np.int64)
    count = 0
    row = np.zeros(RESULT)
    best_row, symmetric_row = np.zeros(RESULT), np.zeros(RESULT)
    results[:, 1] = -1e300
    for i in range(min(most, pool.shape[0])):
        if pool[i, SCORE] <= 0.3 * pool[0, SCORE] or pool[i, SCORE] <= 0.0:
            break
        for j in range(6):
            g[j] = pool[i, j]
        # Without symmetry first, in the reduced basis.
        direct = inverse(matrix_of_six(g))
        direct = transform(niggli(direct, 1e-5), direct)
        six_of_matrix(inverse(direct), g)
        if not is_positive(g):
            continue
        shift = 0.0
        for _ in range(3):
            assign_lines(g, data, n, table, scale, shift, hkl, deviation)
            if not fit(0, one, g, data, n, hkl, deviation, with_zero, 2e-3, x):
                break
            for j in range(6):
                g_new[j] = x[j]
            if not is_positive(g_new):
                break
            g[:] = g_new
            shift = x[6]
        direct = inverse(matrix_of_six(g))
        direct = transform(niggli(direct, 1e-5), direct)
        six_of_matrix(inverse(direct), g)
        if not is_positive(g) or is_too_short(g, lattice_determinant(g)):
            continue
        found = bravais_lattices(
            direct, STRAIN, two_folds, False, codes, bases, metrics, strain
        )
        best_row[1] = symmetric_row[1] = -1e300
        symmetric_p = 7
        for m in range(found):
            code = codes[m]
            if not allowed[code]:
                continue
            p = PARAMETERS[code]
            t = bases[m]
            # Free numbers of the symmetric metric to start from.
            six_of_matrix(inverse(metrics[m]), g_new)
            free_from_metric(code, g_new, start)
            zero = shift
            good = True
            tt = t.astype(np.float64)
            for _ in range(3):
                # indices on the primitive basis of the symmetric metric
                metric_from_free(code, start, g_new)
                primitive = transform(tt.T, matrix_of_six(g_new))
                six_of_matrix(primitive, g_new)
                if not is_positive(g_new):
                    good = False
                    break
                assign_lines(g_new, data, n, table, scale, zero, hkl, deviation)
                if not fit(
                    code, tt, start, data, n, hkl, deviation, with_zero, 1e-2, x
                ):
                    good = False
                    break
                for j in range(p):
                    start[j] = x[j]
                zero = x[6]
            if not good:
                continue
            metric_from_free(code, start, g_new)
            conventional = matrix_of_six(g_new)
            primitive = transform(tt.T, conventional)
            six_of_matrix(primitive, g_new)
            if not is_positive(g_new):
                continue
            assign_lines(g_new, data, n, table, scale, zero, hkl, deviation)
            free = p + 1 if with_zero else p
            total, error_scale, hits = likelihood(data, n, deviation, free)
            count_lines(
                g_new, data[0], data[1], n, q_first, table, scale, stamp, counted
            )
            predicted = hits + counted[1]
            total -= visibility_cost(
                g_new, data[0], data[1], n, q_first, table, scale, stamp, split
            )
            total -= OCCAM * p
            if total > best_row[1] or p < symmetric_p:
                row[0] = code
                row[1] = total
                row[3] = zero
                row[4] = hits
                row[5] = predicted
                row[6] = error_scale
                for r in range(3):
                    for c in range(3):
                        row[7 + 3 * r + c] = primitive[r, c]
                        row[16 + 3 * r + c] = t[r, c]
                        row[25 + 3 * r + c] = conventional[r, c]
                if total > best_row[1]:
                    best_row[:] = row
                if p < symmetric_p:
                    symmetric_p = p
                    symmetric_row[:] = row
        if best_row[1] <= -1e299:
            continue
        count = insert_row(results, count, best_row)
        if (
            symmetric_row[0] != best_row[0]
            and symmetric_row[1] > best_row[1] - SYMMETRIC
        ):
            count = insert_row(results, count, symmetric_row)
    return count
