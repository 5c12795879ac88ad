"""The indexer as one kernel: from lines to ranked lattices, for many lists at once."""

import math

import numpy as np
from numba import njit

from pxrdbench.indexing.cells.lattices import (
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
    PARAMETERS,
    TI,
    TP,
    TWO_FOLDS,
)
from pxrdbench.indexing.cells.line_table import COARSE, FINE, fill_table
from pxrdbench.indexing.cells.ranking import rank_pool, row_volume
from pxrdbench.indexing.cells.search import (
    CUBIC_SUMS,
    ONE,
    POOL,
    SUBLATTICES,
    SUPERLATTICES,
    close_pool,
    probe,
    search_cubic,
)
from pxrdbench.indexing.cells.zones import (
    VOTES,
    ZONES,
    find_zones,
    is_good,
    pair_zones,
    stack_lines,
    stack_uniaxial,
    stack_uniaxial_lines,
    stack_zones,
)

LINES = 32  # lines that a search looks at: the first ones
FIRST_LINES = 8  # of which all but SPARE must be explained before more are looked at
SPARE = 2
# First lines of a measured scan are those that are less probably foreign; below 0.1 of
# the strongest line many are.
TRUSTED = 0.05
# Most lattice points per line: half of all points in the sphere of the last line. Of
# noise-free patterns nearly all lines are seen; of scans a few in a hundred, and those
# of high symmetry coincide.
CLEAN_POINTS = np.array([60.0, 12.0, 12.0, 8.0])  # cubic, uniaxial, stacked, paired
NOISY_POINTS = np.array([250.0, 60.0, 30.0, 16.0])
# Half a tolerance of clean lines [degrees]: what lattices from a few lines are off.
LEAST_TOLERANCE = 0.006
# Positions are never better than this [degrees]: simulated cells and blends that no
# one resolves; without it noise in the seventh figure decides about symmetry.
LEAST_ERROR = 3e-4
MOST_TOLERANCE = 0.15  # a line that is less sure explains everything [degrees]
TOLERANCE = 3.0  # in standard errors
# The same of measured ones: the nearest zero shift of the search is up to 0.02 off, and
# what a zero shift doesn't explain (displacement, transparency) stays.
NOISY_TOLERANCE = 0.02
NOISY_ERROR = 0.004
TOO_FOREIGN = 0.25  # lines that are foreign so probably aren't looked at
# Zero shifts of measured scans that are searched [degrees], the likeliest first: of 62
# scans of RRUFF they were -0.08 to 0.14, most above zero.
SHIFTS = np.array([0.03, 0.07, -0.01, 0.11, -0.05, 0.15, -0.09])
ZERO_SPREAD = 0.08
# Share of the lines, and score a line, above which no further zero shift is tried.
SURE_SHARE, SURE_SCORE = 0.9, 1.3
HIDDEN = 0.4  # of a line's width: nearer ones can't be seen beside it
LATTICES_RANKED = 16  # of the pool; half as many more of measured lines
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
def index_at_shift(
    two_theta,
    error,
    fwhm,
    foreign,
    wavelength,
    shift,
    first_angle,
    least_det,
    allowed,
    noisy,
    seeds,
    search,
    results,
):
    """Search, refine and rank the lattices of lines at one zero shift.

    Args:
        two_theta: Lines, ascending [degrees].
        error: Their standard errors [degrees].
        fwhm: Their full widths at half maximum [degrees].
        foreign: Probability that each isn't of this crystal.
        wavelength: Of the positions [Å].
        shift: Is subtracted from the angles [degrees].
        first_angle: Where the scan begins [degrees].
        least_det: 1 / V² of the largest primitive cell.
        allowed: Whether each Bravais lattice may be.
        noisy: Whether the pattern was measured: the zero shift is refined as well.
        seeds: Reciprocal metrics (A B C F E D) to try besides.
        search: Whether to search; else the seeds alone are tried.
        results: Receives lattices, best first, see `ranking.RESULT`.

    Returns:
        How many lattices there are.
    """
    least_tolerance = NOISY_TOLERANCE if noisy else LEAST_TOLERANCE
    least_error = NOISY_ERROR if noisy else LEAST_ERROR
    data = np.empty((6, LINES))
    hidden = np.empty(LINES)
    n = 0
    for i in range(len(two_theta)):
        angle = two_theta[i] - shift
        if n == LINES or angle <= 0.0 or foreign[i] > TOO_FOREIGN:
            continue
        theta = math.radians(0.5 * angle)
        slope = math.radians(2.0 * math.sin(2.0 * theta) / wavelength**2)
        if slope <= 1e-6:
            continue  # backscattering: positions say nothing
        data[0, n] = (2.0 * math.sin(theta) / wavelength) ** 2
        data[3, n] = math.sqrt(error[i] ** 2 + least_error**2) * slope
        data[4, n] = slope
        widest = min(TOLERANCE * data[3, n], MOST_TOLERANCE * slope)
        data[1, n] = max(widest, least_tolerance * slope)
        data[5, n] = -math.log(foreign[i])
        hidden[n] = HIDDEN * fwhm[i] * slope
        n += 1
    if n < 3:
        return 0
    data = data[:, :n].copy()
    density = n / data[0, n - 1]
    for i in range(n):
        chance = min(1.0, 2 * data[1, i] * density)
        data[2, i] = max(0.3, -math.log(chance))
    q_first = (2.0 * math.sin(math.radians(0.5 * first_angle)) / wavelength) ** 2
    table = np.empty(FINE, np.uint8)
    scale = fill_table(
        data[0], data[1], hidden, n, data[0, n - 1] + 1.5 * data[1, n - 1], table
    )
    stamp = np.zeros(COARSE + 2, np.int64)
    setup = np.empty(8)
    first = min(FIRST_LINES, n)
    trusted = (np.int64(1) << first) - 1
    wanted = first - min(SPARE, n - 3)
    if noisy:
        trusted = np.int64(0)
        count = 0
        first = 0
        while first < n and count < FIRST_LINES:
            if data[5, first] >= -math.log(TRUSTED):
                trusted |= np.int64(1) << first
                count += 1
            first += 1
        wanted = count - min(SPARE, max(count - 3, 0))
    setup[0], setup[1], setup[2], setup[7] = n, first, wanted, trusted
    setup[3], setup[4], setup[5] = q_first, scale, least_det
    setup[6] = 1.0 if noisy else 0.0
    most_points = NOISY_POINTS if noisy else CLEAN_POINTS
    pool = np.zeros((POOL, 10))
    scratch = np.zeros((2, VOTES))
    cubic = allowed[CP] or allowed[CI] or allowed[CF]
    uniaxial = allowed[TP] or allowed[TI] or allowed[HP] or allowed[HR]
    low = False
    for code in range(TP):
        low = low or allowed[code]
    if len(seeds) > 0:
        whole = setup.copy()
        whole[1] = n  # all lines at once
        for i in range(len(seeds)):
            probe(seeds[i], 0, ONE, data, whole, table, stamp, pool, 1000.0)
    cubic, uniaxial, low = cubic and search, uniaxial and search, low and search
    if cubic:
        search_cubic(data, setup, table, stamp, pool, CUBIC_SUMS, most_points[0])
    if uniaxial:
        stack_uniaxial(data, setup, table, stamp, pool, scratch, 12, 4, most_points[1])
        if noisy and not is_good(pool, data, n):
            stack_uniaxial_lines(data, setup, table, stamp, pool, 12, most_points[1])
    if low and not is_good(pool, data, n):
        zones = np.zeros((ZONES, 5))
        found = find_zones(
            data, n, min(n, 14), min(n, 24), q_first, table, scale, zones
        )
        stack_zones(
            zones, min(found, 32), data, setup, table, stamp, pool, scratch, 10,
            most_points[2],
        )  # fmt: skip
        if noisy and not is_good(pool, data, n):
            stack_lines(zones, found, data, setup, table, stamp, pool, most_points[2])
        if not is_good(pool, data, n):
            pair_zones(
                zones, found, data, setup, table, stamp, pool, scratch, 4,
                most_points[3],
            )  # fmt: skip
    if search:
        close_pool(
            data, setup, table, stamp, pool, SUBLATTICES, SUPERLATTICES, 2,
            most_points[2],
        )  # fmt: skip
    return rank_pool(
        pool,
        data,
        setup,
        table,
        stamp,
        TWO_FOLDS,
        allowed,
        noisy,
        LATTICES_RANKED + (LATTICES_RANKED // 2 if noisy else 0),
        results,
    )


@njit(cache=True, nogil=True)
def is_sure(row, n):
    """Whether a lattice of high symmetry explains nearly all lines, and well.

    Then no other zero shift is searched.
    """
    return (
        PARAMETERS[int(row[0])] <= 3
        and row[4] >= SURE_SHARE * n
        and row[1] >= SURE_SCORE * n
    )


@njit(cache=True, nogil=True)
def index_one(
    two_theta,
    error,
    fwhm,
    foreign,
    wavelength,
    first_angle,
    least_det,
    allowed,
    noisy,
    seeds,
    search,
    shifts,
    results,
):
    """Index one list of lines at each of several zero shifts; best results first.

    Args:
        two_theta: See `index_at_shift`.
        error: See `index_at_shift`.
        fwhm: See `index_at_shift`.
        foreign: See `index_at_shift`.
        wavelength: See `index_at_shift`.
        first_angle: See `index_at_shift`.
        least_det: See `index_at_shift`.
        allowed: See `index_at_shift`.
        noisy: See `index_at_shift`.
        seeds: See `index_at_shift`.
        search: See `index_at_shift`.
        shifts: Zero shifts [degrees].
        results: See `index_at_shift`.

    Returns:
        How many lattices there are.
    """
    if len(shifts) == 1:
        count = index_at_shift(
            two_theta,
            error,
            fwhm,
            foreign,
            wavelength,
            shifts[0],
            first_angle,
            least_det,
            allowed,
            noisy,
            seeds,
            search,
            results,
        )
        for i in range(count):
            results[i, 3] += shifts[0]
        return count
    room = results.shape[0]
    total = 0
    some = np.zeros_like(results)
    for shift in shifts:
        found = index_at_shift(
            two_theta,
            error,
            fwhm,
            foreign,
            wavelength,
            shift,
            first_angle,
            least_det,
            allowed,
            noisy,
            seeds,
            search,
            some,
        )
        for i in range(found):
            some[i, 3] += shift
            some[i, 1] -= 0.5 * (some[i, 3] / ZERO_SPREAD) ** 2
            volume = row_volume(some[i])
            known = -1
            for j in range(total):
                if (
                    abs(row_volume(results[j]) - volume) < 5e-3 * volume
                    and results[j, 0] == some[i, 0]
                    and abs(results[j, 5] - some[i, 5]) <= 2.0
                ):
                    known = j
                    break
            if known >= 0:
                if results[known, 1] >= some[i, 1]:
                    continue
                for j in range(known, total - 1):
                    results[j] = results[j + 1]
                total -= 1
            if total == room and some[i, 1] <= results[total - 1, 1]:
                continue
            if total < room:
                total += 1
            j = total - 1
            while j > 0 and results[j - 1, 1] < some[i, 1]:
                results[j] = results[j - 1]
                j -= 1
            results[j] = some[i]
        if total > 0 and is_sure(results[0], min(len(two_theta), LINES)):
            break
    return total


@njit(cache=True, nogil=True)
def index_many(
    offset,
    two_theta,
    error,
    fwhm,
    foreign,
    wavelength,
    first_angle,
    least_det,
    allowed,
    noisy,
    seeds,
    search,
    shifts,
    results,
    counts,
):
    """`index_one` for many lists, one behind the other; releases the GIL.

    Args:
        offset: Where each list begins, and where the last one ends.
        two_theta: All lines [degrees].
        error: Their standard errors [degrees].
        fwhm: Their full widths at half maximum [degrees].
        foreign: Probability that each isn't of the crystal.
        wavelength: Of each list [Å].
        first_angle: Where each scan begins [degrees].
        least_det: 1 / V² of the largest primitive cell.
        allowed: Whether each Bravais lattice may be.
        noisy: Whether patterns were measured.
        seeds: See `index_at_shift`.
        search: See `index_at_shift`.
        shifts: Zero shifts to search at [degrees].
        results: Receives (lists, cells, `ranking.RESULT`).
        counts: Receives lattices per list.
    """
    for i in range(len(offset) - 1):
        these = slice(offset[i], offset[i + 1])
        counts[i] = index_one(
            two_theta[these],
            error[these],
            fwhm[these],
            foreign[these],
            wavelength[i],
            first_angle[i],
            least_det,
            allowed,
            noisy,
            seeds,
            search,
            shifts,
            results[i],
        )
