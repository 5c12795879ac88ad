import hashlib
import pickle  # noqa: TID251 - what must be refused is made here
from pathlib import Path

import numpy as np
import pytest
import torch
from memory_source import SMALL_GRID, SPACE_GROUPS

from pxrdbench.diffraction.pattern import Radiation
from pxrdbench.errors import ModelError
from pxrdbench.learning.models.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_classifier,
    save_checkpoint,
)
from pxrdbench.learning.networks.registry import Classifier, build_model


@pytest.fixture
def checkpoint():
    model = build_model("peak-network", len(SPACE_GROUPS), grid=SMALL_GRID)
    return Checkpoint(
        model="peak-network",
        state_dict=model.state_dict(),
        space_groups=SPACE_GROUPS,
        grid=SMALL_GRID,
        radiation=Radiation.parse("CuKa"),
        recipe_digest="ab" * 32,
        prior_digest="cd" * 32,
        restricted=True,
        patterns_seen=12,
        training={"steps": 3, "optimizer": {"state": {0: torch.ones(2)}}},
    )


def test_what_was_saved_comes_back(tmp_path, checkpoint):
    path = tmp_path / "folder" / "last.pt"
    save_checkpoint(path, checkpoint)
    found = load_checkpoint(path)
    for name in ("model", "space_groups", "grid", "radiation", "recipe_digest"):
        assert getattr(found, name) == getattr(checkpoint, name)
    for name in ("prior_digest", "restricted", "patterns_seen", "versions"):
        assert getattr(found, name) == getattr(checkpoint, name)
    assert set(found.versions) == {"pxrdbench", "torch", "numpy"}
    assert found.training["steps"] == 3
    assert torch.equal(found.training["optimizer"]["state"][0], torch.ones(2))
    for name, value in checkpoint.state_dict.items():
        assert torch.equal(found.state_dict[name], value)
    assert [p.name for p in path.parent.iterdir()] == ["last.pt"]


def test_the_file_opens_with_weights_only_and_has_its_documented_keys(
    tmp_path, checkpoint
):
    save_checkpoint(tmp_path / "last.pt", checkpoint)
    content = torch.load(tmp_path / "last.pt", weights_only=True)
    assert content["format"] == "pxrdbench-checkpoint"
    assert content["schema_version"] == 1
    assert content["grid"] == {"start": 10.0, "stop": 40.0, "points": 301}
    assert content["space_groups"] == list(SPACE_GROUPS)


def test_a_failed_write_leaves_the_old_file(tmp_path, checkpoint, monkeypatch):
    path = tmp_path / "last.pt"
    save_checkpoint(path, checkpoint)
    before = path.read_bytes()

    def full(content, file):
        file.write(b"half of it")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(path, checkpoint)
    assert path.read_bytes() == before


def test_a_classifier_gives_the_logits_of_its_network(tmp_path, checkpoint):
    path = tmp_path / "last.pt"
    save_checkpoint(path, checkpoint)
    classifier = load_classifier(path)
    assert isinstance(classifier, Classifier)
    assert classifier.space_groups == SPACE_GROUPS
    assert classifier.grid == SMALL_GRID
    assert classifier.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    x = np.random.default_rng(0).random((150, 301), np.float32)
    logits = classifier.predict(x)
    assert logits.dtype == np.float32
    network = checkpoint.build().eval()
    with torch.no_grad():
        expected = network(torch.tensor(x)[:, None]).numpy()
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
    assert classifier.predict(x[:0]).shape == (0, 4)


@pytest.mark.parametrize("shape", [(301,), (2, 300), (2, 1, 301)])
def test_patterns_of_another_grid_are_refused(tmp_path, checkpoint, shape):
    save_checkpoint(tmp_path / "last.pt", checkpoint)
    classifier = load_classifier(tmp_path / "last.pt")
    # TypeError where shapes are checked at every call, as in the second pass of tests.
    with pytest.raises((ModelError, TypeError), match="301"):
        classifier.predict(np.zeros(shape, np.float32))


class Touch:
    """Runs code when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_what_could_run_code_is_refused_and_does_not_run(tmp_path):
    victim = tmp_path / "was_here"
    torch.save({"format": "pxrdbench-checkpoint", "x": Touch(victim)}, tmp_path / "a")
    (tmp_path / "b").write_bytes(pickle.dumps(Touch(victim), protocol=2))
    torch.save(torch.nn.Linear(2, 2), tmp_path / "c")
    (tmp_path / "d").write_bytes(b"no checkpoint at all")
    (tmp_path / "e").write_bytes(b"")
    for name in "abcde":
        with pytest.raises(ModelError, match="not a tensors-only checkpoint"):
            load_checkpoint(tmp_path / name)
    assert not victim.exists()


def test_other_files_are_refused_in_a_sentence(tmp_path, checkpoint):
    with pytest.raises(ModelError, match="no checkpoint at"):
        load_checkpoint(tmp_path / "nothing.pt")
    torch.save({"weight": torch.ones(2)}, tmp_path / "weights.pt")
    with pytest.raises(ModelError, match="is no pxrdbench checkpoint"):
        load_checkpoint(tmp_path / "weights.pt")
    save_checkpoint(tmp_path / "last.pt", checkpoint)
    content = torch.load(tmp_path / "last.pt", weights_only=True)
    torch.save(content | {"schema_version": 99}, tmp_path / "new.pt")
    with pytest.raises(ModelError, match="schema version 99"):
        load_checkpoint(tmp_path / "new.pt")
    del content["grid"]
    torch.save(content, tmp_path / "damaged.pt")
    with pytest.raises(ModelError, match="damaged"):
        load_checkpoint(tmp_path / "damaged.pt")


def test_a_truncated_file_is_refused(tmp_path, checkpoint):
    path = tmp_path / "last.pt"
    save_checkpoint(path, checkpoint)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ModelError):
        load_checkpoint(path)


def test_weights_of_another_model_are_refused(tmp_path, checkpoint):
    checkpoint.state_dict.popitem()
    save_checkpoint(tmp_path / "last.pt", checkpoint)
    with pytest.raises(ModelError, match="do not fit"):
        load_classifier(tmp_path / "last.pt")
