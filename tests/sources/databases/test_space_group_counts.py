import numpy as np
import pytest

from pxrdbench.crystal.prior.prior import load_prior
from pxrdbench.errors import SourceError
from pxrdbench.sources.databases.space_group_counts import read_icsd_counts


@pytest.mark.data
def test_counts_are_those_inside_the_shipped_prior(test_data):
    counts = read_icsd_counts(test_data / "stats" / "sg_frequency.csv")
    assert counts[1] == 417
    assert counts[2] == 6018
    np.testing.assert_array_equal(counts, load_prior("open-v0").icsd_crystals)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("space_group,n\n1,2\n", "no column 'entries'"),
        ("space_group,entries\n1,many\n", "no count"),
        ("space_group,entries\n231,5\n", "group 231"),
        ("space_group,entries\n1,-5\n", "-5 entries"),
        ("space_group,entries\n1\n", "no count"),
    ],
)
def test_wrong_tables_are_refused(tmp_path, text, told):
    file = tmp_path / "counts.csv"
    file.write_text(text)
    with pytest.raises(SourceError, match=told):
        read_icsd_counts(file, "entries")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(SourceError, match=r"nothing\.csv"):
        read_icsd_counts(tmp_path / "nothing.csv")
