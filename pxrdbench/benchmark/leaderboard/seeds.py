"""What another training seed would do to a row: measured spreads, a maintainers' file.

``seeds.json`` beside the tracks names the standard deviation of top-1 between runs of
one recipe that differ in their seed alone, by model:

    {"format": "pxrdbench.seeds", "format_version": 1,
     "measured": {"peak-network": {"deviation": 0.004, "runs": 3, "source": "where"}},
     "without": ["search-match-1"]}

A row is one run, so its own interval, over crystals, holds nothing of its seed. Models
that nobody has measured carry the largest deviation that is known; those named in
``without`` draw nothing by chance.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le

from pxrdbench.errors import EvaluationError
from pxrdbench.outside import read_model, read_strict_json

SEEDS_FILE = "seeds.json"

# Student's t for 95 %, two-sided, by degrees of freedom (Abramowitz & Stegun 1964,
# table 26.10): few runs say little of their spread.
_STUDENT = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365}
_NORMAL = 1.960


@dataclass(frozen=True)
class Spread:
    """What runs of one recipe differ by.

    Attributes:
        deviation: Standard deviation of top-1 between runs, a fraction.
        runs: Number of runs.
        source: Where the runs are described.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    deviation: Annotated[float, Ge(0.0), Le(1.0)]
    runs: Annotated[int, Ge(2), Le(1000)]
    source: str

    @property
    def half_width(self) -> float:
        """Half width of the 95 % interval that one run has from its seed."""
        return self.deviation * _STUDENT.get(self.runs - 1, _NORMAL)


@dataclass(frozen=True)
class SeedSpreads:
    """The maintainers' file.

    Attributes:
        format: Names the kind of file.
        format_version: Of the file.
        measured: By name of the model.
        without: Models that draw nothing by chance.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    format: Literal["pxrdbench.seeds"] = "pxrdbench.seeds"
    format_version: Literal[1] = 1
    measured: Mapping[str, Spread] = field(default_factory=dict)
    without: tuple[str, ...] = ()

    def half_width(self, model: str, *, is_reproduced: bool) -> float:
        """Half width of the 95 % interval of top-1 that comes from the seed.

        Args:
            model: Name of the model, as its predictions say.
            is_reproduced: Whether the maintainers made the row: names are words of
                whoever wrote them, and none may narrow its own interval.
        """
        if not self.measured:
            return 0.0
        if is_reproduced and model in self.without:
            return 0.0
        if is_reproduced and model in self.measured:
            return self.measured[model].half_width
        return max(spread.half_width for spread in self.measured.values())


def load_seed_spreads(folder: Path) -> SeedSpreads:
    """Read the spreads of a folder of leaderboards; none if there is no such file.

    Raises:
        EvaluationError: If it is no such file.
    """
    path = folder / SEEDS_FILE
    if not path.is_file():
        return SeedSpreads()
    text = json.dumps(read_strict_json(path))
    return read_model(SeedSpreads, text, f"{path} is damaged", EvaluationError)
