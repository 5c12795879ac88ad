"""One crystal a mineral, out of an import that names minerals.

Collections hold what was studied: spinel 130 times, most species once. Frequencies of
such entries are those of interest, not of minerals, so each species weighs one here.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int16, Int64

from pxrdbench.errors import SourceError


def choose_minerals(
    mineral: Sequence[str],
    ids: Sequence[str],
    space_group: Int16[np.ndarray, " entries"],
    volume: Float64[np.ndarray, " entries"],
) -> Int64[np.ndarray, " minerals"]:
    """Choose the entry that stands for each mineral.

    Of a mineral's entries those of its most frequent space group count (of equally
    frequent ones the lowest number), and of these the one with the median volume:
    series over pressure or temperature have their strained ends left out.

    Args:
        mineral: Name of each entry's mineral; "" for none.
        ids: Names of the entries; they settle ties.
        space_group: Of each entry, as found.
        volume: Of the conventional cells [Å³].

    Returns:
        Rows of the chosen entries, by name of the mineral.

    Raises:
        SourceError: If no entry names a mineral.
    """
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(mineral):
        if name:
            rows_of[name].append(row)
    if not rows_of:
        raise SourceError(
            "no entry names its mineral; `pxrdbench import amcsd` keeps the names "
            "(an import of before that must be made anew)"
        )
    chosen = []
    for name in sorted(rows_of):
        rows = rows_of[name]
        counts = Counter(int(space_group[row]) for row in rows)
        group = min(counts, key=lambda number: (-counts[number], number))
        same = [row for row in rows if space_group[row] == group]
        same.sort(key=lambda row: (float(volume[row]), ids[row]))
        chosen.append(same[(len(same) - 1) // 2])
    return np.array(chosen, np.int64)
