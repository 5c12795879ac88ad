"""The account that a reader gives of what it read and what it left out."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ReadReport:
    """What became of the rows of a table.

    Attributes:
        n_rows: Rows that were asked for.
        failures: Id and message of each row that gave no crystal, in their order.
    """

    n_rows: int
    failures: tuple[tuple[str, str], ...] = ()

    @property
    def n_read(self) -> int:
        """Rows that gave a crystal."""
        return self.n_rows - len(self.failures)

    @property
    def reasons(self) -> dict[str, int]:
        """Failures by reason, the most frequent first; numbers are left out."""
        found = Counter(
            re.sub(r"-?\d[\d.e+-]*", "#", text) for _, text in self.failures
        )
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))
