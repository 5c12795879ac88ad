import hashlib
import json
import subprocess
import sys

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jaxtyping import TypeCheckError
from small_track import CLASSES, make_predictions, make_track

from pxrdbench.benchmark.scoring.metrics import find_ranks, log_probabilities
from pxrdbench.benchmark.scoring.predictions import Predictions, pack_logits
from pxrdbench.errors import EvaluationError


@pytest.fixture(scope="module")
def predictions() -> Predictions:
    return make_predictions(
        make_track(),
        model_name="a <model> of Åland",
        model_digest="ab" * 32,
        restricted=True,
        provenance={"patterns seen": "1,000", "architecture": "park-cnn-small"},
    )


def test_what_is_written_is_read(predictions, tmp_path):
    predictions.write(tmp_path / "folder" / "predictions.h5")
    again = Predictions.read(tmp_path / "folder" / "predictions.h5")
    for name in vars(predictions):
        one, other = getattr(predictions, name), getattr(again, name)
        assert np.array_equal(one, other), name
    assert again.logits.dtype == np.float16
    assert again.digest == predictions.digest
    assert not list(tmp_path.rglob("*.part"))


def test_equal_predictions_give_equal_bytes(predictions, tmp_path):
    """Even from another process, at another time, in another folder."""
    predictions.write(tmp_path / "one.h5")
    code = (
        "import sys; from pxrdbench.benchmark.scoring.predictions import Predictions;"
        "Predictions.read(sys.argv[1]).write(sys.argv[2])"
    )
    command = [
        sys.executable,
        "-c",
        code,
        tmp_path / "one.h5",
        tmp_path / "b" / "two.h5",
    ]
    subprocess.run([str(part) for part in command], check=True)
    one = hashlib.sha256((tmp_path / "one.h5").read_bytes()).hexdigest()
    two = hashlib.sha256((tmp_path / "b" / "two.h5").read_bytes()).hexdigest()
    assert one == two


def test_the_file_is_plain_hdf5(predictions, tmp_path):
    predictions.write(tmp_path / "p.h5")
    with h5py.File(tmp_path / "p.h5") as file:
        assert set(file) == {"id", "logits", "space_group", "class_frequency"}
        assert file["logits"].dtype == np.float16
        assert file["logits"].compression == "gzip"
        assert file["space_group"][:].tolist() == list(CLASSES)
        assert json.loads(bytes(file.attrs["header"]))["track"] == "test/small"


@pytest.mark.parametrize(
    "change",
    [
        {"model_name": "other"},
        {"track_digest": "1" * 64},
        {"restricted": False},
        {"class_frequencies": None},
        {"provenance": {}},
        {"logits": np.zeros((60, 7), np.float16)},
    ],
)
def test_the_digest_covers_every_part(predictions, change):
    known = {name: getattr(predictions, name) for name in vars(predictions)}
    assert Predictions(**(known | change)).digest != predictions.digest


def rows_of(draw_from):
    return hnp.arrays(np.float32, (5, len(CLASSES)), elements=draw_from)


@given(rows_of(st.floats(-50, 50, width=32)))
def test_packing_keeps_first_guess_and_probabilities(logits):
    packed = pack_logits(logits)
    assert packed.dtype == np.float16
    assert (packed.max(axis=1) == 0).all()
    # The first guess survives unless two logits agree to a part in 10^7.
    best = np.sort(logits, axis=1)
    clear = best[:, -1] - best[:, -2] > 1e-6
    assert (packed.argmax(axis=1) == logits.argmax(axis=1))[clear].all()
    change = np.abs(
        np.exp(log_probabilities(packed)) - np.exp(log_probabilities(logits))
    )
    assert change.max() < 5e-4


def test_a_class_ruled_out_stays_ruled_out():
    packed = pack_logits(np.array([[0.0, -np.inf, 1.0], [1e8, 0.0, -1e8]]))
    assert np.isfinite(packed).all()
    assert np.exp(log_probabilities(packed))[0, 1] == 0.0
    classes = np.array([1, 2, 3])
    assert find_ranks(packed, classes, np.array([3, 1])).tolist() == [1, 1]


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_diverged_model_is_refused(poison):
    logits = np.zeros((3, 4))
    logits[1, 2] = poison
    with pytest.raises(EvaluationError, match=r"row 1 .* diverged"):
        pack_logits(logits)
    with pytest.raises(EvaluationError, match="row 0"):
        pack_logits(np.full((1, 3), -np.inf))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space_groups": (225, 225, 14, 2, 194, 76, 78)}, "names a group twice"),
        ({"space_groups": (0, 62, 14, 2, 194, 76, 78)}, "space group 0"),
        ({"space_groups": ()}, "empty"),
        ({"space_groups": (225, 62)}, "2 classes"),
        ({"ids": ("one",) * 60}, "stands twice"),
        ({"ids": ("one",)}, "1 crystals"),
        ({"logits": np.full((60, 7), np.nan, np.float16)}, "not all finite"),
        ({"class_frequencies": np.zeros(7)}, "class frequencies"),
    ],
)
def test_impossible_predictions_are_refused(predictions, change, message):
    known = {name: getattr(predictions, name) for name in vars(predictions)}
    known["class_frequencies"] = None
    with pytest.raises(EvaluationError, match=message):
        Predictions(**(known | change))


@pytest.mark.parametrize(
    "change",
    [
        {"logits": np.zeros((60, 7), np.float32)},
        {"class_frequencies": np.ones(3)},
    ],
)
def test_arrays_of_other_types_and_shapes_are_refused(predictions, change):
    known = {name: getattr(predictions, name) for name in vars(predictions)}
    # With shapes checked everywhere (the second pass) the check comes even earlier.
    with pytest.raises((EvaluationError, TypeCheckError)):
        Predictions(**(known | change))


def damage_external(file, folder):
    (folder / "secret").write_bytes(b"\0" * 840)
    del file["logits"]
    file.create_dataset(
        "logits", (60, 7), "<f2", external=[(str(folder / "secret"), 0, 840)]
    )


def damage_link(file, folder):
    with h5py.File(folder / "other.h5", "w") as other:
        other["logits"] = np.zeros((60, 7), np.float16)
    del file["logits"]
    file["logits"] = h5py.ExternalLink(str(folder / "other.h5"), "logits")


def damage_virtual(file, folder):
    with h5py.File(folder / "other.h5", "w") as other:
        other["logits"] = np.zeros((60, 7), np.float16)
    layout = h5py.VirtualLayout((60, 7), np.float16)
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "logits", (60, 7))
    del file["logits"]
    file.create_virtual_dataset("logits", layout)


def damage_size(file, folder):
    del file["logits"]
    file.create_dataset(
        "logits", (10**9, 230), "<f2", chunks=(1000, 230), compression="gzip"
    )


def damage_header(file, folder):
    header = json.loads(bytes(file.attrs["header"]))
    del header["track"]
    file.attrs["header"] = np.bytes_(json.dumps(header))


def damage_version(file, folder):
    header = json.loads(bytes(file.attrs["header"])) | {"format_version": 99}
    file.attrs["header"] = np.bytes_(json.dumps(header))


def damage_group(file, folder):
    del file["id"]
    file.create_group("id")


def damage_missing(file, folder):
    del file["logits"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_external, "no dataset stored in the file itself"),
        (damage_link, "no dataset stored in the file itself"),
        (damage_virtual, "no dataset stored in the file itself"),
        (damage_size, "at most"),
        (damage_header, "cannot be read as predictions"),
        (damage_version, "format version 99"),
        (damage_group, "no dataset"),
        (damage_missing, "no dataset"),
    ],
)
def test_hostile_or_damaged_files_are_refused(predictions, tmp_path, damage, message):
    path = tmp_path / "p.h5"
    predictions.write(path)
    with h5py.File(path, "r+") as file:
        damage(file, tmp_path)
    with pytest.raises(EvaluationError, match=message):
        Predictions.read(path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(EvaluationError, match="there is no predictions file"):
        Predictions.read(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("not HDF5")
    with pytest.raises(EvaluationError, match="cannot be read"):
        Predictions.read(tmp_path / "text.h5")
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    with pytest.raises(EvaluationError, match="cannot be read"):
        Predictions.read(tmp_path / "empty.h5")


def test_a_truncated_file_is_refused(predictions, tmp_path):
    predictions.write(tmp_path / "p.h5")
    whole = (tmp_path / "p.h5").read_bytes()
    (tmp_path / "p.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EvaluationError, match="cannot be read"):
        Predictions.read(tmp_path / "p.h5")
