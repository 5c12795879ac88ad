"""The options of `pxrdbench train`, parsed and handed on."""

import pytest
from typer.testing import CliRunner

from pxrdbench.cli import app
from pxrdbench.errors import OptionError
from pxrdbench.learning.training import trainer


@pytest.fixture
def trained(monkeypatch):
    """What the verb would train."""
    seen = []
    monkeypatch.setattr("pxrdbench.cli.train.run_train", seen.append)
    return seen


def invoke(*arguments):
    return CliRunner().invoke(app, ["train", *arguments])


def test_a_published_run_is_estimated_and_started(trained):
    result = invoke("--preset", "schopmans2023/park-big", "--seed", "3")
    assert result.exit_code == 0, result.output
    assert "130,500,000 patterns" in result.output
    assert "days" in result.output or " h " in result.output
    (config,) = trained
    assert (config.model, config.optimizer) == ("park-cnn-big", "adam")
    assert (config.batch_size, config.learning_rate) == (870, 1e-3)
    assert config.recipe.card.preset == "paper"
    assert len(config.recipe.space_groups) == 145
    assert config.recipe.card.seed == 3


def test_options_reach_the_run(trained, tmp_path):
    result = invoke(
        *("--model", "scan-network", "--online", "--cpu-minutes", "2"),
        *("--grid", "5:90:4251", "--mixture", "clean,laboratory"),
        *("--average", "0.99", "--classes", "all", "--keep", "2"),
        *("--tasks", "space_group,lattice", "--from", str(tmp_path / "a.pt")),
    )
    assert result.exit_code == 0, result.output
    (config,) = trained
    assert config.mixture == ("clean", "laboratory")
    assert config.recipe.grid.points == 4251
    assert config.tasks == ("space_group", "lattice")
    assert (config.cpu_minutes, config.average, config.keep) == (2.0, 0.99, 2)
    assert config.start_from == str(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--online",), "--model"),
        (("--model", "peak-network"), "--shards"),
        (("--model", "peak-network", "--online", "--preset", "best"), "unknown preset"),
        (
            ("--model", "peak-network", "--online", "--grid", "5-90"),
            "START:STOP:POINTS",
        ),
    ],
)
def test_wrong_options_are_told(trained, arguments, message):
    result = invoke(*arguments)
    assert isinstance(result.exception, OptionError)
    assert message in str(result.exception)
    assert not trained


def test_the_verb_and_the_function_share_their_config():
    assert trainer.TrainConfig.__module__ == "pxrdbench.learning.training.config"
