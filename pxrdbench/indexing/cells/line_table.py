"""Which line is near a Q: a table, so that a lattice point costs one look-up."""

from numba import njit

FINE = 16384  # cells of the table that finds a line near a Q
COARSE = 4096  # cells in which predicted lines count once
SHADOW = 127  # table entry: so near to a line that a weak one can't be seen


@njit(cache=True, nogil=True)
def fill_table(q, tolerance, width, n, q_end, table):
    """Note beside each Q which line is near; returns cells per Q.

    Args:
        q: Lines, ascending.
        tolerance: Greatest distance of a predicted line.
        width: Half the distance within which a line hides a weak one.
        n: Lines that count.
        q_end: Where the table ends.
        table: Receives position + 1, 0 where nothing is near, `SHADOW` where a weak
            line would be hidden.
    """
    scale = FINE / q_end
    table[:] = 0
    for i in range(n):
        first = max(int((q[i] - width[i]) * scale), 0)
        last = min(int((q[i] + width[i]) * scale), FINE - 1)
        for j in range(first, last + 1):
            table[j] = SHADOW
    for i in range(n):
        first = max(int((q[i] - tolerance[i]) * scale), 0)
        last = min(int((q[i] + tolerance[i]) * scale), FINE - 1)
        for j in range(first, last + 1):
            old = table[j]
            if 0 < old < SHADOW:
                centre = (j + 0.5) / scale
                # of two lines the one that is nearer for its tolerance
                mine = abs(centre - q[i]) / tolerance[i]
                if abs(centre - q[old - 1]) / tolerance[old - 1] <= mine:
                    continue
            table[j] = i + 1
    return scale
