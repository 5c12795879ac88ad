import pytest

from pxrdbench.benchmark.scoring.seen import find_seen
from pxrdbench.learning.models.crystallographer import Crystallographer
from pxrdbench.tracks.load import load_track


@pytest.mark.parametrize("prior", ["open", "uniform", "open-v0"])
def test_what_the_reader_counted_is_known(prior):
    reader = Crystallographer(prior)
    # Its volumes are those of the statistics part of open/structure-type.
    random = find_seen(reader, load_track("open/random", "test"))
    assert (random.state, random.crystals, random.has_seen_part) == ("known", 979, True)
    types = find_seen(reader, load_track("open/structure-type", "test"))
    assert (types.crystals, types.types, types.has_seen_part) == (0, 0, False)


def test_what_the_reader_knows_of_the_icsd_is_unknown():
    reader = Crystallographer("icsd")
    found = find_seen(reader, load_track("open/structure-type", "test"))
    assert found.state == "unknown"
