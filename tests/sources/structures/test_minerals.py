import numpy as np
import pytest

from pxrdbench.errors import SourceError
from pxrdbench.sources.structures.minerals import choose_minerals

NAMES = ["Quartz", "Spinel", "Spinel", "", "Spinel", "Quartz", "Spinel"]
IDS = ["a", "b", "c", "d", "e", "f", "g"]
GROUPS = np.array([180, 227, 227, 1, 227, 152, 141], np.int16)
VOLUMES = np.array([118.0, 600.0, 500.0, 9.0, 530.0, 113.0, 520.0])


def test_each_mineral_weighs_one():
    rows = choose_minerals(NAMES, IDS, GROUPS, VOLUMES)
    # Quartz: two groups as frequent, the lower number; spinel: the median volume.
    assert [IDS[row] for row in rows] == ["f", "e"]


def test_the_order_of_entries_does_not_matter():
    order = np.random.default_rng(0).permutation(len(IDS))
    shuffled = choose_minerals(
        [NAMES[i] for i in order],
        [IDS[i] for i in order],
        GROUPS[order],
        VOLUMES[order],
    )
    assert [IDS[order[row]] for row in shuffled] == ["f", "e"]


def test_an_import_without_names_is_refused():
    with pytest.raises(SourceError, match="names its mineral"):
        choose_minerals([""] * 7, IDS, GROUPS, VOLUMES)
