"""Which crystals of an import are kept, and why the others are not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pxrdbench.errors import SourceError


@dataclass(frozen=True)
class ImportFilters:
    """Rules that a crystal must meet; None and False mean no rule.

    They are applied in this order, and a crystal is counted under the first that it
    does not meet. Crystals are counted per group after all other rules.

    Attributes:
        max_volume: Largest conventional cell [Å³], inclusive.
        max_sites: Most rows of the atom table, inclusive.
        ordered: No position is shared or partly empty.
        same_group: The space group is found as it is given.
        min_crystals: Fewest crystals of a space group, as found.
    """

    max_volume: float | None = None
    max_sites: int | None = None
    ordered: bool = False
    same_group: bool = False
    min_crystals: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_volume", "max_sites", "min_crystals"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise SourceError(f"{name} {value} is not above 0")

    def find_reason(self, row: Mapping[str, Any]) -> str:
        """Why a crystal is left out, whatever the others are; "" if it is not."""
        if self.max_volume is not None and row["volume"] > self.max_volume:
            return f"volume above {self.max_volume:g} Å³"
        if self.max_sites is not None and row["n_sites"] > self.max_sites:
            return f"more than {self.max_sites} sites"
        if self.ordered and row["disordered"]:
            return "disordered"
        if self.same_group and row["space_group_given"] != row["space_group_found"]:
            return "the group found is not the one given"
        return ""

    def find_thin_groups(self, counts: Mapping[int, int]) -> frozenset[int]:
        """Space groups with too few crystals."""
        fewest = self.min_crystals or 0
        return frozenset(group for group, n in counts.items() if n < fewest)

    @property
    def thin_reason(self) -> str:
        """Why crystals of thin groups are left out."""
        return f"fewer than {self.min_crystals} crystals of the space group"


# Schopmans et al. (2023), Digital Discovery 2, 1414: statistics from the crystals up to
# 7000 Å³ and 100 rows, of groups with 50 or more (counted there after fitting).
PAPER_FILTERS = ImportFilters(max_volume=7000.0, max_sites=100, min_crystals=50)
