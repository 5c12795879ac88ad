"""How far reader and network are believed: numbers fitted on measured patterns.

Fitted by ``docs/measure_prediction.py fit`` on the named RRUFF patterns whose place in
the list is a multiple of three (62 of 184), by the likelihood of the true group;
reported is what the other 122 say (docs/predict.md).
"""

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Calibration:
    """Numbers of the sum of reader and network.

    Attributes:
        offset: Log-odds added to the reader's own odds that a cell is right.
        slope: Factor of the reader's odds.
        group_power: Of the reader's probabilities of groups, below one flattens them.
        network_power: Of the network's probabilities where no cell was found.
        prior_power: Of the frequencies of groups, likewise.
        smoothing: Share of the frequencies in the network's answer, which knows 95
            of the 230 groups.
    """

    offset: float = 0.0
    slope: float = 1.0
    group_power: float = 1.0
    network_power: float = 1.0
    prior_power: float = 0.0
    smoothing: float = 0.1

    def cell_share(self, share: float) -> float:
        """Calibrated probability that the cell is right."""
        bounded = min(max(share, 1e-6), 1.0 - 1e-6)
        odds = self.offset + self.slope * math.log(bounded / (1.0 - bounded))
        return 1.0 / (1.0 + math.exp(-odds))


@cache
def load_calibration() -> Calibration:
    """The numbers that ship."""
    path = Path(__file__).with_name("calibration.json")
    return Calibration(**json.loads(path.read_text(encoding="utf-8"))["numbers"])
