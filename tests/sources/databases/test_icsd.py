"""The table of an ICSD export, however it has been saved."""

import pytest

from pxrdbench.errors import SourceError
from pxrdbench.sources.databases.icsd import (
    find_icsd_tables,
    normal_code,
    read_icsd_tables,
)

ROWS = '9900002,P 42/m n m,Ti O2,Rutile#TiO2\n9900006,F m -3 m,"(Cu0.5, Au0.5)",\n'
HEAD = "CollectionCode,HMS,StructuredFormula,StructureType\n"
EXPECTED = {"9900002": ("rutile#TiO2", 136), "9900006": ("", 225)}


def flat(rows):
    return {code: (row.structure_type, row.space_group) for code, row in rows.items()}


@pytest.mark.parametrize(
    "text",
    [
        HEAD + ROWS,
        '"ICSD export, first line"\n' + HEAD + ROWS,
        "sep=,\n\n" + HEAD + ROWS + "\n,,,\n",
        (HEAD + ROWS).replace("\n", "\r\n"),
        HEAD.replace("CollectionCode", "Collection Code").replace("Type", " type")
        + ROWS,
        "\ufeff" + HEAD + ROWS.replace("9900002", " 009900002"),
    ],
)
def test_columns_are_found_by_name(tmp_path, text):
    path = tmp_path / "export.csv"
    path.write_bytes(text.encode())
    assert flat(read_icsd_tables([path])) == EXPECTED


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_encodings_and_delimiters(tmp_path, encoding, delimiter):
    path = tmp_path / "export.csv"
    text = f"Autor é\nStructureType{delimiter}x{delimiter}CollectionCode\n"
    text += f"Rutile-TiO2{delimiter}Müller{delimiter}7\n"
    path.write_bytes(text.encode(encoding))
    assert flat(read_icsd_tables([path])) == {"7": ("rutile#TiO2", 0)}


def test_a_table_without_the_columns_is_refused(tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("CollectionCode,Formula\n1,NaCl\n")
    with pytest.raises(SourceError, match="StructureType among its first 20"):
        read_icsd_tables([path])
    assert find_icsd_tables(tmp_path) == []
    with pytest.raises(SourceError, match="cannot be read"):
        read_icsd_tables([tmp_path / "missing.csv"])


def test_tables_that_contradict_each_other_are_refused(tmp_path):
    for name, kind in (("a", "NaCl"), ("b", "CsCl"), ("c", "")):
        (tmp_path / f"{name}.csv").write_text(
            f"CollectionCode,StructureType\n1,{kind}\n"
        )
    files = {path.stem: path for path in find_icsd_tables(tmp_path)}
    assert set(files) == {"a", "b", "c"}
    with pytest.raises(SourceError, match="CsCl and NaCl"):
        read_icsd_tables([files["a"], files["b"]])
    for order in ("ac", "ca"):
        rows = read_icsd_tables([files[name] for name in order])
        assert flat(rows) == {"1": ("NaCl", 0)}


def test_codes():
    assert [normal_code(t) for t in ("1", "001", "1.0", "", "a1", "-1", "0")] == [
        "1", "1", "1", "", "", "", "0",
    ]  # fmt: skip


@pytest.mark.data
def test_the_fixture_table(test_data):
    (path,) = find_icsd_tables(test_data / "icsd_layout")
    rows = read_icsd_tables([path])
    assert sorted(rows) == [f"990000{n}" for n in range(1, 8)]
    assert flat(rows)["9900003"] == ("spinel#Al2MgO4", 227)
    assert flat(rows)["9900004"] == ("corundum#Al2O3", 167)
    assert flat(rows)["9900006"] == ("", 225)
