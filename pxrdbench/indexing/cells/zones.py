"""Lattices from zones: planes of reciprocal space that many lines lie in.

A zone Q = h² A + k² B + hk D is found from three lines and judged by all (Ito 1949,
Nature 164, 755; de Wolff 1957, Acta Cryst. 10, 590; Visser 1969, J. Appl. Cryst. 2,
89). A lattice is a zone and a layer above it: at right angles, straight or shifted by
half a vector, for every lattice with a two-fold axis; or through a second zone that
shares a row, for the others. The one number that is then missing is voted for by all
lines at once.
"""

import math

import numpy as np
from numba import njit

from pxrdbench.indexing.cells.lattices import HP, MP, TP
from pxrdbench.indexing.cells.line_table import FINE, SHADOW
from pxrdbench.indexing.cells.search import (
    N_HIT,
    ONE,
    SCORE,
    entropy_cost,
    probe,
)

ZONES = 48
# Greatest Q over the area of a zone's cell: about half its points, of which some dozens
# lie among the lines of a crystal.
MOST_ZONE = 1000.0
# Lines that give the height of a layer, and indices of the points below them.
LAYER_LINES, LAYER_INDEX = 8, 2
VOTES = 2048
# Columns of zones after A, B, D (D ≤ 0, reduced: -D ≤ A ≤ B).
ZONE_SCORE, ZONE_BITS = 3, 4


@njit(cache=True, nogil=True)
def score_zone(a, b, d, data, n, q_first, table, scale, result):
    """How much more often a zone meets lines than chance would.

    Returns:
        Score, -1 of a zone that is too fine to be any; result receives the lines as
        bits and the points.
    """
    q_cut = data[0, n - 1] + data[1, n - 1]
    bits = np.int64(0)
    missed = 0
    hits = 0
    total = 0.0
    b2 = b - 0.25 * d * d / a
    if q_cut > MOST_ZONE * math.sqrt(a * b2):
        result[0] = result[1] = 0
        return -1.0
    k_last = int(math.sqrt(q_cut / b2))
    for k in range(k_last + 1):
        centre = -0.5 * d * k / a
        room = (q_cut - k * k * b2) / a
        if room < 0.0:
            continue
        room = math.sqrt(room)
        h_first, h_last = math.ceil(centre - room), math.floor(centre + room)
        if k == 0:
            h_first = 1
        for h in range(h_first, h_last + 1):
            value = h * h * a + k * k * b + h * k * d
            cell = int(value * scale)
            if cell >= FINE or value < q_first:
                continue
            line = table[cell]
            if line == 0:
                missed += 1
            elif line != SHADOW:
                bit = np.int64(1) << np.int64(line - 1)
                if bits & bit == 0:
                    bits |= bit
                    hits += 1
                    total += data[2, line - 1]
    result[0] = bits
    result[1] = hits
    if hits < 3:
        return 0.0
    return total - entropy_cost(hits + missed, hits)


@njit(cache=True, nogil=True)
def refine_zone(zone, data, n, table, scale):
    """Least squares of A, B, D on the lines that the zone meets (in place)."""
    for _ in range(2):
        a, b, d = zone[0], zone[1], zone[2]
        normal = np.zeros((3, 3))
        right = np.zeros(3)
        row = np.empty(3)
        q_cut = data[0, n - 1] + data[1, n - 1]
        b2 = b - 0.25 * d * d / a
        if b2 <= 0.0:
            return
        k_last = int(math.sqrt(q_cut / b2))
        for k in range(k_last + 1):
            centre = -0.5 * d * k / a
            room = (q_cut - k * k * b2) / a
            if room < 0.0:
                continue
            room = math.sqrt(room)
            h_first, h_last = math.ceil(centre - room), math.floor(centre + room)
            if k == 0:
                h_first = 1
            for h in range(h_first, h_last + 1):
                value = h * h * a + k * k * b + h * k * d
                cell = int(value * scale)
                if cell >= FINE:
                    continue
                line = table[cell]
                if line in (0, SHADOW):
                    continue
                w = 1.0 / data[3, line - 1] ** 2
                row[0], row[1], row[2] = h * h, k * k, h * k
                for i in range(3):
                    right[i] += w * row[i] * (data[0, line - 1] - value)
                    for j in range(3):
                        normal[i, j] += w * row[i] * row[j]
        trace = normal[0, 0] * normal[1, 1] * normal[2, 2]
        det = (
            normal[0, 0] * (normal[1, 1] * normal[2, 2] - normal[1, 2] ** 2)
            - normal[0, 1] * (normal[0, 1] * normal[2, 2] - normal[1, 2] * normal[0, 2])
            + normal[0, 2] * (normal[0, 1] * normal[1, 2] - normal[1, 1] * normal[0, 2])
        )
        if det <= 1e-9 * trace or trace == 0.0:
            return
        step = np.linalg.solve(normal, right)
        if (
            abs(step[0]) > 0.02 * a
            or abs(step[1]) > 0.02 * b
            or abs(step[2]) > 0.02 * (a + b)
        ):
            return
        straight = d == 0.0
        d_new = 0.0 if straight else d + step[2]
        if d_new * d_new > 2.2 * (a + step[0]) * (b + step[1]):
            return
        zone[0] += step[0]
        zone[1] += step[1]
        if not straight:
            zone[2] += step[2]


@njit(cache=True, nogil=True)
def find_zones(data, n, n_first, n_third, q_first, table, scale, zones):
    """The best zones through pairs of the first lines; returns how many.

    Args:
        data: Rows: Q, tolerance, weight, σ.
        n: Lines that judge.
        n_first: Lines, and quarters of lines, that may be a row's first.
        n_third: Lines that may be the sum of both rows.
        q_first: Where the scan begins.
        table: Of `fill_table`.
        scale: Its cells per Q.
        zones: Receives A, B, D, score, lines as bits (as a float of an integer).
    """
    q, tolerance = data[0], data[1]
    result = np.zeros(2, np.int64)
    count = 0
    room = zones.shape[0]
    for i in range(n_first):
        for j in range(n_first):
            for quarter in range(4):
                a = q[i] if quarter & 1 == 0 else 0.25 * q[i]
                b = q[j] if quarter & 2 == 0 else 0.25 * q[j]
                if b < a or (i == j and quarter == 0):
                    continue
                for k in range(-1, n_third):
                    d = 0.0 if k < 0 else q[k] - a - b
                    if d > 0.0:
                        d = -d
                    # reduced, and a lattice however wide tolerances are
                    if -d > a + tolerance[i] or d * d > 2.0 * a * b:
                        continue
                    if 0.0 < -d < 0.5 * (tolerance[i] + tolerance[j]):
                        continue
                    score = score_zone(a, b, d, data, n, q_first, table, scale, result)
                    if score <= 0.0 or result[1] < 4:
                        continue
                    if count == room and score <= zones[count - 1, ZONE_SCORE]:
                        continue
                    known = False
                    for m in range(count):
                        if (
                            abs(zones[m, 0] - a) < 2e-3 * a
                            and abs(zones[m, 1] - b) < 2e-3 * b
                            and abs(zones[m, 2] - d) < 2e-3 * b
                        ):
                            known = True
                            if score > zones[m, ZONE_SCORE]:
                                # move the better one up
                                p = m
                                while p > 0 and zones[p - 1, ZONE_SCORE] < score:
                                    zones[p] = zones[p - 1]
                                    p -= 1
                                zones[p, 0], zones[p, 1], zones[p, 2] = a, b, d
                                zones[p, ZONE_SCORE] = score
                                zones[p, ZONE_BITS] = result[0]
                            break
                    if known:
                        continue
                    if count < room:
                        count += 1
                    p = count - 1
                    while p > 0 and zones[p - 1, ZONE_SCORE] < score:
                        zones[p] = zones[p - 1]
                        p -= 1
                    zones[p, 0], zones[p, 1], zones[p, 2] = a, b, d
                    zones[p, ZONE_SCORE] = score
                    zones[p, ZONE_BITS] = result[0]
    for m in range(count):
        refine_zone(zones[m], data, n, table, scale)
    return count


@njit(cache=True, nogil=True)
def strongest_votes(votes, sums, expected, best, most):
    """Where votes pile up most above chance: (log-likelihood gain, mean) rows.

    The gain of m votes where λ are expected is m log(m / λ) - (m - λ) (Poisson).
    Neighbouring cells are counted together, since a peak may lie on their border.
    """
    found = 0
    least = 0.0
    low = max(2.0, 2.0 * expected + 1.0)
    for i in range(1, VOTES - 1):
        total = votes[i] + votes[i + 1]
        if total < low or total < votes[i - 1] + votes[i]:
            continue
        if i + 2 < VOTES and total < votes[i + 1] + votes[i + 2]:
            continue
        gain = total * math.log(total / (2.0 * expected)) - (total - 2.0 * expected)
        if found == most and gain <= least:
            continue
        mean = (sums[i] + sums[i + 1]) / total
        if found > 0 and mean == best[found - 1, 1]:
            continue
        p = found if found < most else most - 1
        if found < most:
            found += 1
        while p > 0 and best[p - 1, 0] < gain:
            best[p] = best[p - 1]
            p -= 1
        best[p, 0] = gain
        best[p, 1] = mean
        least = best[found - 1, 0]
    return found


@njit(cache=True, nogil=True)
def vote_heights(a, b, d, u, v, bits, data, n, high, width, votes, sums):
    """Let lines outside a zone vote for the height C of the layer that is shifted.

    Every line votes for the C = Q - Q_zone(h + u, k + v) of all points of the layer
    below it; where the layer isn't shifted for a quarter of it as well, as if it was in
    the second layer.

    Returns:
        Votes per cell that are expected.
    """
    votes[:] = 0.0
    sums[:] = 0.0
    inverse = 1.0 / width
    straight = u == 0.0 and v == 0.0
    b2 = b - 0.25 * d * d / a
    total = 0
    for i in range(n):
        if (bits >> i) & 1:
            continue
        limit = data[0, i]
        k_room = math.sqrt(limit / b2)
        for k in range(math.ceil(-v - k_room), math.floor(k_room - v) + 1):
            # (h, k) and (-h, -k) of a straight layer give the same
            if straight and k < 0:
                continue
            y = k + v
            room = (limit - y * y * b2) / a
            if room < 0.0:
                continue
            room = math.sqrt(room)
            centre = -0.5 * d * y / a - u
            first = math.ceil(centre - room)
            if straight and k == 0 and first < 0:
                first = 0
            for h in range(first, math.floor(centre + room) + 1):
                x = h + u
                height = limit - (x * x * a + y * y * b + x * y * d)
                cell = int(height * inverse)
                if 0 < cell < VOTES - 1:
                    votes[cell] += 1.0
                    sums[cell] += height
                    total += 1
                if straight:
                    height *= 0.25
                    cell = int(height * inverse)
                    if 0 < cell < VOTES - 1:
                        votes[cell] += 1.0
                        sums[cell] += height
                        total += 1
    return max(total, 1) / VOTES


@njit(cache=True, nogil=True)
def stack_zone(
    zones, shifts, bits, data, setup, table, stamp, pool, scratch, tries, most_points
):
    """Lattices of layers straight above a zone, or shifted by part of a vector.

    Args:
        zones: A, B, D of the zone, or of finer ones that have it as a sublattice.
        shifts: Parts of the two vectors by which the layer may be shifted.
        bits: Lines in the zone.
        data: Rows: Q, tolerance, weight, σ.
        setup: See `probe`.
        table: See `probe`.
        stamp: See `probe`.
        pool: See `probe`.
        scratch: Votes and their sums.
        tries: Lattices to try.
        most_points: See `probe`.
    """
    n = int(setup[0])
    most = 4
    best = np.empty((most, 2))
    ranked = np.zeros((tries, 6))
    count = 0
    left = 0
    for i in range(n):
        if (bits >> i) & 1 == 0:
            left += 1
    # Where nothing is left all lines vote: the layer's are hidden by the zone's.
    voters = bits if left > 0 else np.int64(0)
    # The layer's first line is among the first lines that the zone leaves.
    high = data[0, n - 1]
    left = 0
    for i in range(n):
        if (voters >> i) & 1 == 0:
            left += 1
            if left == 8:
                high = data[0, i]
    width = max(high / VOTES, data[1, min(n - 1, 8)])
    for z in range(zones.shape[0]):
        a, b, d = zones[z, 0], zones[z, 1], zones[z, 2]
        for s in range(shifts.shape[0]):
            u, v = shifts[s, 0], shifts[s, 1]
            expected = vote_heights(
                a, b, d, u, v, voters, data, n, high, width, scratch[0], scratch[1]
            )
            found = strongest_votes(scratch[0], scratch[1], expected, best, most)
            for i in range(found):
                gain = best[i, 0]
                if count == tries and gain <= ranked[count - 1, 0]:
                    break
                if count < tries:
                    count += 1
                p = count - 1
                while p > 0 and ranked[p - 1, 0] < gain:
                    ranked[p] = ranked[p - 1]
                    p -= 1
                ranked[p, 0] = gain
                ranked[p, 1] = best[i, 1]
                ranked[p, 2] = z
                ranked[p, 3] = u
                ranked[p, 4] = v
    g = np.empty(6)
    t = np.eye(3)
    m = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    for i in range(count):
        z = int(ranked[i, 2])
        a, b, d = zones[z, 0], zones[z, 1], zones[z, 2]
        u, v = ranked[i, 3], ranked[i, 4]
        g[0], g[1], g[5] = a, b, d
        g[2] = ranked[i, 1] + u * u * a + v * v * b + u * v * d
        g[4] = 2 * u * a + v * d
        g[3] = 2 * v * b + u * d
        if a == b and d in (0.0, -a):
            # of the obtuse hexagonal basis k changes its sign: h² + hk + k²
            sign = 1.0 if d == 0.0 else -1.0
            t[1, 1] = sign
            t[0, 2], t[1, 2] = u, sign * v
            code = TP if d == 0.0 else HP
            probe(g, code, t, data, setup, table, stamp, pool, most_points)
        else:
            # the layers' direction is the unique axis: (x, z, y) of MP
            m[0, 2], m[2, 2] = u, v
            probe(g, MP, m, data, setup, table, stamp, pool, most_points)


HALVES = np.array([[0.0, 0.0], [0.5, 0.0], [0.0, 0.5], [0.5, 0.5]])
SQUARE_SHIFTS = np.array([[0.0, 0.0], [0.5, 0.5]])
THIRDS = np.array([[0.0, 0.0], [1.0 / 3.0, 2.0 / 3.0]])
# h² + k² and h² + hk + k² of low indices.
SQUARE_SUMS = np.array([1.0, 2.0, 4.0, 5.0])
HEXAGONAL_SUMS = np.array([1.0, 3.0, 4.0, 7.0])


@njit(cache=True, nogil=True)
def stack_uniaxial(data, setup, table, stamp, pool, scratch, lines, tries, most_points):
    """Tetragonal, hexagonal and rhombohedral lattices: one line hk0, votes for c."""
    n = int(setup[0])
    zone = np.empty((1, 3))
    result = np.zeros(2, np.int64)
    for i in range(min(lines, n)):
        for m in range(SQUARE_SUMS.shape[0]):
            for hexagonal in range(2):
                a = data[0, i] / (HEXAGONAL_SUMS[m] if hexagonal else SQUARE_SUMS[m])
                d = -a if hexagonal else 0.0
                zone[0, 0] = zone[0, 1] = a
                zone[0, 2] = d
                score = score_zone(a, a, d, data, n, setup[3], table, setup[4], result)
                if score < 0.0:
                    continue
                shifts = THIRDS if hexagonal else SQUARE_SHIFTS
                stack_zone(
                    zone,
                    shifts,
                    result[0],
                    data,
                    setup,
                    table,
                    stamp,
                    pool,
                    scratch,
                    tries,
                    most_points,
                )
        if i >= 3 and is_good(pool, data, n):
            return


# h² + k² (and h² + hk + k²) of the points below a line, straight and shifted by half a
# diagonal or by a third of the long one.
SQUARE_BELOW = np.array([[0.0, 1.0, 2.0, 4.0, 5.0], [0.5, 2.5, 4.5, 6.5, 8.5]])
HEXAGON_BELOW = np.array(
    [
        [0.0, 1.0, 3.0, 4.0, 7.0],
        [1.0 / 3.0, 4.0 / 3.0, 7.0 / 3.0, 13.0 / 3.0, 16.0 / 3.0],
    ]
)
# h² + k² and h² + hk + k² that a first line may have, and zones that are tried.
SQUARE_INDICES = np.array([1, 2, 4, 5, 8, 9, 10, 13, 16, 17, 18])
HEXAGONAL_INDICES = np.array([1, 3, 4, 7, 9, 12, 13, 16])
UNIAXIAL_ZONES = 20
# Layers in which a line 00l may be, of a long axis: a screw axis leaves few.
AXIAL_LAYERS = 6


@njit(cache=True, nogil=True)
def stack_uniaxial_lines(data, setup, table, stamp, pool, lines, most_points):
    """As `stack_lines`, above the square or hexagonal zone of each first line."""
    n = int(setup[0])
    trusted = np.int64(setup[7])
    g = np.empty(6)
    t = np.eye(3)
    result = np.zeros(2, np.int64)
    least = 0.04 * data[0, 0]
    best = np.empty((UNIAXIAL_ZONES, 2))
    for hexagonal in range(2):
        sums = HEXAGONAL_INDICES if hexagonal else SQUARE_INDICES
        below = HEXAGON_BELOW if hexagonal else SQUARE_BELOW
        code = HP if hexagonal else TP
        sign = -1.0 if hexagonal else 1.0
        found = 0
        for first in range(min(lines, n)):
            for index in sums:
                a = data[0, first] / index
                d = -a if hexagonal else 0.0
                score = score_zone(a, a, d, data, n, setup[3], table, setup[4], result)
                known = score < 0.0
                for m in range(found):
                    known = known or abs(best[m, 1] - a) < 1e-3 * a
                if known or (found == UNIAXIAL_ZONES and score <= best[found - 1, 0]):
                    continue
                found = min(found + 1, UNIAXIAL_ZONES)
                m = found - 1
                while m > 0 and best[m - 1, 0] < score:
                    best[m] = best[m - 1]
                    m -= 1
                best[m, 0], best[m, 1] = score, a
        for z in range(found):
            a = best[z, 1]
            d = -a if hexagonal else 0.0
            score_zone(a, a, d, data, n, setup[3], table, setup[4], result)
            bits = result[0]
            g[0], g[1], g[5] = a, a, d
            t[1, 1] = sign
            for shifted in range(2):
                u, v = 0.0, 0.0
                if shifted:
                    u = 1.0 / 3.0 if hexagonal else 0.5
                    v = 2.0 / 3.0 if hexagonal else 0.5
                t[0, 2], t[1, 2] = u, sign * v
                g[4] = 2 * u * a + v * d
                g[3] = 2 * v * a + u * d
                base = u * u * a + v * v * a + u * v * d
                used = 0
                for i in range(n):
                    if (bits >> i) & 1 or not (trusted >> i) & 1:
                        continue
                    used += 1
                    if used > LAYER_LINES:
                        break
                    for below_sum in below[shifted]:
                        height = data[0, i] - below_sum * a
                        if height < least:
                            continue
                        most = 1 if shifted else 2
                        if below_sum == 0.0:
                            most = AXIAL_LAYERS
                        for layer in range(1, most + 1):
                            value = height / (layer * layer)
                            if value < least:
                                break
                            g[2] = value + base
                            probe(
                                g, code, t, data, setup, table, stamp, pool,
                                most_points,
                            )  # fmt: skip


@njit(cache=True, nogil=True)
def is_good(pool, data, n):
    """Whether the best lattice explains nearly all at little cost."""
    total = 0.0
    for i in range(n):
        total += data[2, i]
    return pool[0, N_HIT] >= n - 1 and pool[0, SCORE] >= 0.6 * total


@njit(cache=True, nogil=True)
def stack_zones(
    zones, n_zones, data, setup, table, stamp, pool, scratch, tries, most_points
):
    """Try layers above each zone and above its three finer ones."""
    finer = np.empty((4, 3))
    n = int(setup[0])
    for i in range(n_zones):
        a, b, d = zones[i, 0], zones[i, 1], zones[i, 2]
        finer[0, 0], finer[0, 1], finer[0, 2] = a, b, d
        finer[1, 0], finer[1, 1], finer[1, 2] = 0.25 * a, b, 0.5 * d
        finer[2, 0], finer[2, 1], finer[2, 2] = a, 0.25 * b, 0.5 * d
        finer[3, 0], finer[3, 1] = a, 0.25 * (a + b + d)
        finer[3, 2] = a + 0.5 * d
        bits = np.int64(zones[i, ZONE_BITS])
        stack_zone(
            finer, HALVES, bits, data, setup, table, stamp, pool, scratch, tries,
            most_points,
        )  # fmt: skip
        if is_good(pool, data, n):
            return


@njit(cache=True, nogil=True)
def stack_lines(zones, n_zones, data, setup, table, stamp, pool, most_points):
    """Layers above each zone through each of the first lines that it leaves.

    Votes need many lines of the layer that are seen; of a scan that shows few, one line
    is enough, if the lattice is tried at once: the first lines reject nearly all.

    Args:
        zones: Of `find_zones`.
        n_zones: How many there are.
        data: See `probe`.
        setup: See `probe`.
        table: See `probe`.
        stamp: See `probe`.
        pool: See `probe`.
        most_points: See `probe`.
    """
    n = int(setup[0])
    trusted = np.int64(setup[7])
    g = np.empty(6)
    m = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    for z in range(n_zones):
        a, b, d = zones[z, 0], zones[z, 1], zones[z, 2]
        bits = np.int64(zones[z, ZONE_BITS])
        g[0], g[1], g[5] = a, b, d
        least = 0.25 * data[0, 0]
        for s in range(HALVES.shape[0]):
            u, v = HALVES[s, 0], HALVES[s, 1]
            m[0, 2], m[2, 2] = u, v
            g[4] = 2 * u * a + v * d
            g[3] = 2 * v * b + u * d
            shifted = u != 0.0 or v != 0.0
            used = 0
            for i in range(n):
                if (bits >> i) & 1 or not (trusted >> i) & 1:
                    continue
                used += 1
                if used > LAYER_LINES:
                    break
                for h in range(-LAYER_INDEX, LAYER_INDEX + 1):
                    for k in range(LAYER_INDEX + 1):
                        if k == 0 and h < 0 and not shifted:
                            continue
                        x, y = h + u, k + v
                        height = data[0, i] - (x * x * a + y * y * b + x * y * d)
                        if height < least:
                            continue
                        g[2] = height + u * u * a + v * v * b + u * v * d
                        probe(g, MP, m, data, setup, table, stamp, pool, most_points)
                        if not shifted and height > 4.0 * least:
                            g[2] = 0.25 * height
                            probe(
                                g, MP, m, data, setup, table, stamp, pool, most_points
                            )


@njit(cache=True, nogil=True)
def rows_of_zone(zone, out):
    """Row Q, partner Q, product: the zone in bases that begin with its short rows."""
    a, b, d = zone[0], zone[1], zone[2]
    out[0, 0], out[0, 1], out[0, 2] = a, b, d
    out[1, 0], out[1, 1], out[1, 2] = b, a, d
    # a + b with partner a (D ≤ 0: the short diagonal), and a - b with partner a
    out[2, 0], out[2, 1], out[2, 2] = a + b + d, a, 2 * a + d
    out[3, 0], out[3, 1], out[3, 2] = a + b - d, a, 2 * a - d


@njit(cache=True, nogil=True)
def pair_zones(
    zones, n_zones, data, setup, table, stamp, pool, scratch, most, most_points
):
    """Lattices of two zones that share a row: all lines vote for the angle between."""
    n = int(setup[0])
    q, tolerance = data[0], data[1]
    votes, sums = scratch[0], scratch[1]
    best = np.empty((most, 2))
    g = np.empty(6)
    first = np.empty((4, 3))
    second = np.empty((4, 3))
    n_vote = min(n, 24)
    n_tries = 0
    for x in range(n_zones):
        rows_of_zone(zones[x], first)
        bits_x = np.int64(zones[x, 4])
        for y in range(x, n_zones):
            rows_of_zone(zones[y], second)
            bits = bits_x | np.int64(zones[y, 4])
            for i in range(4):
                for j in range(4):
                    if x == y and j <= i:
                        continue
                    # The error of a row is about that of a line near it.
                    a1, a2 = first[i, 0], second[j, 0]
                    if abs(a1 - a2) > 1e-3 * a1 + tolerance[0]:
                        continue
                    if abs(a1 - a2) > 1.5 * tolerance[0] + 4e-4 * a1:
                        continue
                    a = 0.5 * (a1 + a2)
                    b, d = first[i, 1], first[i, 2]
                    c, e = second[j, 1], second[j, 2]
                    span = 2.0 * math.sqrt(b * c)
                    width = max(2 * span / (VOTES - 2), tolerance[min(n - 1, 8)])
                    inverse = 1.0 / width
                    total = 0
                    votes[:] = 0.0
                    sums[:] = 0.0
                    for m in range(n_vote):
                        if (bits >> m) & 1:
                            continue
                        for h in range(-3, 4):
                            base = q[m] - h * h * a - b - c
                            for sign in range(2):
                                # k = 1, l = ±1
                                if sign == 0:
                                    f = base - h * d - h * e
                                else:
                                    f = -(base - h * d + h * e)
                                cell = int((f + span) * inverse)
                                if 0 < cell < VOTES - 1 and f + span > 0.0:
                                    votes[cell] += 1.0
                                    sums[cell] += f
                                    total += 1
                    expected = max(total, 1) / VOTES
                    found = strongest_votes(votes, sums, expected, best, most)
                    g[0], g[1], g[2], g[4], g[5] = a, b, c, e, d
                    g[3] = 0.0
                    probe(g, 0, ONE, data, setup, table, stamp, pool, most_points)
                    for m in range(found):
                        g[3] = best[m, 1]
                        probe(g, 0, ONE, data, setup, table, stamp, pool, most_points)
                    n_tries += 1
            if is_good(pool, data, n):
                return n_tries
    return n_tries
