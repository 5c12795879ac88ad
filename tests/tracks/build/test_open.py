"""Building a track: what is left out, and that nothing but the table matters."""

import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from pxrdbench.errors import SplitError
from pxrdbench.sources.databases.aflow import read_prototypes
from pxrdbench.tracks.build.open import assign_parts, build_open_track
from pxrdbench.tracks.load import deal_types
from pxrdbench.tracks.store import (
    assignment_digest,
    freeze_sizes,
    read_columns,
)

# Groups with enough prototypes for all parts.
GROUPS = (62, 139, 194, 225)


@pytest.fixture(scope="module")
def rows():
    """Some prototypes as rows of a table of crystals."""
    prototypes = [p for p in read_prototypes() if p.aflow_space_group in GROUPS]
    return [
        {
            "id": f"x-{number}",
            "formula": p.formula,
            "cell": list(p.structure.lattice.parameters),
            "elements": " ".join(e.symbol for e in p.structure.species),
            "frac": p.structure.frac_coords.ravel().tolist(),
            "sg_symprec_0.1": p.aflow_space_group,
            "sg_symprec_0.01": p.aflow_space_group,
        }
        for number, p in enumerate(prototypes)
    ]


def write(rows, path):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def test_rows_without_a_certain_group_are_left_out_with_the_reason(rows, tmp_path):
    spoilt = [dict(row) for row in rows[:12]]
    spoilt[2]["sg_symprec_0.1"] = 1
    spoilt[5]["sg_symprec_0.1"] = spoilt[5]["sg_symprec_0.01"] = 2
    spoilt[7]["frac"] = [0.1] * len(spoilt[7]["frac"])
    kept, left_out = assign_parts(write(spoilt, tmp_path / "t.parquet"), workers=1)
    reasons = dict(zip(left_out["id"], left_out["reason"], strict=True))
    assert reasons == {
        "x-2": "space group differs at symprec 0.01 and 0.1",
        "x-5": "space group differs from the one in the table",
        "x-7": "no prototype label",
    }
    assert sorted(kept["id"]) == kept["id"]
    assert set(kept["id"]) == {f"x-{n}" for n in range(12)} - reasons.keys()
    assert kept["part"] == deal_types(kept["space_group"], kept["structure_type"])


def test_a_table_that_does_not_tell_its_groups_is_refused(rows, tmp_path):
    bare = [
        {k: v for k, v in row.items() if not k.startswith("sg")} for row in rows[:2]
    ]
    with pytest.raises(SplitError, match=r"no columns sg_symprec_0\.01"):
        assign_parts(write(bare, tmp_path / "t.parquet"), workers=1)


def test_files_depend_on_the_rows_only(rows, tmp_path):
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    record = build_open_track(write(rows, tmp_path / "t.parquet"), first, workers=1)
    order = np.random.default_rng(0).permutation(len(rows))
    shuffled = write([rows[int(row)] for row in order], tmp_path / "shuffled.parquet")
    build_open_track(shuffled, second, workers=1)
    names = sorted(path.name for path in first.iterdir())
    assert names == ["peaks.npz", "table.parquet", "track.json"]
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert record["split_digest"] == assignment_digest(
        read_columns(first / "table.parquet")
    )
    assert json.loads((first / "track.json").read_text("utf-8")) == record

    # The same assignment, frozen anew.
    third.mkdir()
    (third / "table.parquet").write_bytes((first / "table.parquet").read_bytes())
    build_open_track(shuffled, third, workers=1, keep_assignment=True)
    for name in names:
        assert (first / name).read_bytes() == (third / name).read_bytes()


def test_a_size_is_a_matter_of_the_id_alone():
    sizes = freeze_sizes(["a", "b", "c"])
    assert np.array_equal(freeze_sizes(["c", "a"]), sizes[[2, 0]])
    many = freeze_sizes([f"mp-{number}" for number in range(4000)])
    assert many.min() >= 20.0
    assert many.max() <= 100.0
    # Uniform: quartiles of 4,000 draws lie within 3 nm (3.7 standard errors).
    quartiles = np.percentile(many, [25, 50, 75])
    assert quartiles == pytest.approx([40.0, 60.0, 80.0], abs=3.0)
    assert len(set(many.tolist())) > 3800
