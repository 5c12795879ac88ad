"""How many entries a collection has in each space group, from a table of counts."""

import csv
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from pxrdbench.errors import SourceError

# Counts are facts; the records behind them are not needed and not included.
ICSD_COLUMN = "icsd_filtered_info_2025_v3"
ICSD_SOURCE = "ICSD entries per group: CederGroupHub/dara (MIT), filtered, 2025 v3"


def read_icsd_counts(
    path: str | Path, column: str = ICSD_COLUMN
) -> Int64[np.ndarray, " 231"]:
    """Read the entries of the ICSD in each space group, after Dara's filters.

    Args:
        path: CSV file with a column ``space_group`` and one column a collection.
        column: Which collection.

    Returns:
        Counts indexed by space group; groups that are not in the file have 0.

    Raises:
        SourceError: If the file is missing or has no such column, or a number in it
            is none.
    """
    counts = np.zeros(231, np.int64)
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                group, count = int(row["space_group"]), int(row[column])
                if not 1 <= group <= 230 or count < 0:
                    raise SourceError(f"{path}: {count} entries of group {group}")
                counts[group] = count
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error}") from error
    except KeyError as error:
        raise SourceError(
            f"{path} has no column {error}; counts stand in `space_group` and "
            f"`{column}`"
        ) from error
    except (TypeError, ValueError) as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"{path} holds what is no count: {error}") from error
    return counts
