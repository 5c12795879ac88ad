"""The indexer as one kernel: from lines to ranked lattices, for many lists at once."""

import math

import numpy as np
from numba import njit

from pxrdbench.indexing.lattices import (
    AP,
    CF,
    CI,
    CP,
    HP,
    HR,
    MC,
    MP,
    OC,
    OF,
    OI,
    OP,
    TI,
    TP,
    TWO_FOLDS,
)
from pxrdbench.indexing.ranking import rank_pool
from pxrdbench.indexing.search import (
    COARSE,
    CUBIC_SUMS,
    FINE,
    POOL,
    SUBLATTICES,
    SUPERLATTICES,
    close_pool,
    fill_table,
    search_cubic,
)
from pxrdbench.indexing.zones import (
    VOTES,
    ZONES,
    find_zones,
    is_good,
    pair_zones,
    stack_uniaxial,
    stack_zones,
)

LINES = 32  # lines that a search looks at: the first ones
FIRST_LINES = 8  # of which all but SPARE must be explained before more are looked at
SPARE = 2
# Half a tolerance of clean lines [degrees]: what lattices from a few lines are off.
LEAST_TOLERANCE = 0.006
# Positions are never better than this [degrees]: simulated cells and blends that no
# one resolves; without it noise in the seventh figure decides about symmetry.
LEAST_ERROR = 3e-4
TOLERANCE = 3.0  # in standard errors
HIDDEN = 0.4  # of a line's width: nearer ones can't be seen beside it
LATTICES_RANKED = 16
SYSTEMS = {
    "triclinic": (AP,),
    "monoclinic": (MP, MC),
    "orthorhombic": (OP, OC, OI, OF),
    "tetragonal": (TP, TI),
    "trigonal": (HP, HR),
    "hexagonal": (HP,),
    "cubic": (CP, CI, CF),
}


@njit(cache=True, nogil=True)
def index_one(q, error, width, slope, q_first, least_det, allowed, with_zero, results):
    """Search, refine and rank the lattices of one list of lines.

    Args:
        q: 1/d² of the lines, ascending [Å⁻²].
        error: Their standard errors.
        width: Their full widths at half maximum, in Q.
        slope: dQ/d2θ at the lines [Å⁻² per degree].
        q_first: Where the scan begins; lattice points below can't be seen.
        least_det: 1 / V² of the largest primitive cell.
        allowed: Whether each Bravais lattice may be.
        with_zero: Whether to fit a zero shift.
        results: Receives lattices, best first, see `ranking.RESULT`.

    Returns:
        How many lattices there are.
    """
    n = min(len(q), LINES)
    if n < 3 or q[0] <= 0.0:
        return 0
    data = np.empty((5, n))
    density = n / q[n - 1]
    hidden = np.empty(n)
    for i in range(n):
        data[0, i] = q[i]
        data[3, i] = math.sqrt(error[i] ** 2 + (LEAST_ERROR * slope[i]) ** 2)
        data[4, i] = slope[i]
        data[1, i] = max(TOLERANCE * data[3, i], LEAST_TOLERANCE * slope[i])
        chance = min(1.0, 2 * data[1, i] * density)
        data[2, i] = max(0.3, -math.log(chance))
        hidden[i] = HIDDEN * width[i]
    table = np.empty(FINE, np.uint8)
    scale = fill_table(
        data[0], data[1], hidden, n, data[0, n - 1] + 1.5 * data[1, n - 1], table
    )
    stamp = np.zeros(COARSE + 2, np.int64)
    setup = np.empty(6)
    setup[0], setup[1], setup[2] = n, min(FIRST_LINES, n), min(SPARE, n - 3)
    setup[3], setup[4], setup[5] = q_first, scale, least_det
    pool = np.zeros((POOL, 10))
    scratch = np.zeros((2, VOTES))
    cubic = allowed[CP] or allowed[CI] or allowed[CF]
    uniaxial = allowed[TP] or allowed[TI] or allowed[HP] or allowed[HR]
    low = False
    for code in range(TP):
        low = low or allowed[code]
    if cubic:
        search_cubic(data, setup, table, stamp, pool, CUBIC_SUMS, 60.0)
    if uniaxial:
        stack_uniaxial(data, setup, table, stamp, pool, scratch, 12, 4)
    if low and not is_good(pool, data, n):
        zones = np.zeros((ZONES, 5))
        found = find_zones(
            data, n, min(n, 14), min(n, 24), q_first, table, scale, zones
        )
        stack_zones(zones, min(found, 32), data, setup, table, stamp, pool, scratch, 10)
        if not is_good(pool, data, n):
            pair_zones(zones, found, data, setup, table, stamp, pool, scratch, 4)
    close_pool(data, setup, table, stamp, pool, SUBLATTICES, SUPERLATTICES, 2)
    return rank_pool(
        pool,
        data,
        setup,
        table,
        stamp,
        TWO_FOLDS,
        allowed,
        with_zero,
        LATTICES_RANKED,
        results,
    )


@njit(cache=True, nogil=True)
def index_many(
    offset,
    q,
    error,
    width,
    slope,
    q_first,
    least_det,
    allowed,
    with_zero,
    results,
    counts,
):
    """`index_one` for many lists, one behind the other; releases the GIL.

    Args:
        offset: Where each list begins, and where the last one ends.
        q: 1/d² of all lines [Å⁻²].
        error: Their standard errors.
        width: Their full widths at half maximum, in Q.
        slope: dQ/d2θ at the lines [Å⁻² per degree].
        q_first: Where the scans begin.
        least_det: 1 / V² of the largest primitive cell.
        allowed: Whether each Bravais lattice may be.
        with_zero: Whether to fit a zero shift.
        results: Receives (lists, cells, `ranking.RESULT`).
        counts: Receives lattices per list.
    """
    for i in range(len(offset) - 1):
        these = slice(offset[i], offset[i + 1])
        counts[i] = index_one(
            q[these],
            error[these],
            width[these],
            slope[these],
            q_first[i],
            least_det,
            allowed,
            with_zero,
            results[i],
        )
