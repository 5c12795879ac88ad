"""What a user types, and the one sentence they get when it cannot be."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pxrdbench.benchmark.evaluation import find_part
from pxrdbench.cli import app
from pxrdbench.cli.display import format_seconds


def run(*arguments):
    script = "from pxrdbench.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
    )


def test_version():
    result = CliRunner().invoke(app, ["--version"])
    assert result.output.strip() == "0.2.0"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("pxrdbench le", {"leaderboard"}), ("pxrdbench prior mer", {"merge"})],
)
def test_a_shell_completes_verbs(typed, offered):
    """As bash asks: by the variables that the script of --show-completion sets."""
    script = "import sys; sys.argv = ['pxrdbench']; from pxrdbench.cli import main; "
    result = subprocess.run(
        [sys.executable, "-c", script + "main()"],
        env=os.environ
        | {
            "_PXRDBENCH_COMPLETE": "complete_bash",
            "COMP_WORDS": typed,
            "COMP_CWORD": str(len(typed.split()) - 1),
        },
        capture_output=True,
        text=True,
    )
    assert set(result.stdout.split()) == offered, result.stderr


def test_completion_is_offered():
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "120"}).output
    assert "--install-completion" in shown
    assert "--show-completion" in shown


def test_every_verb_has_help():
    for verb in (
        "demo", "generate", "train", "stream", "eval", "verify", "bench",
        "models",
        "prior fit", "prior show", "split list", "split show", "split audit",
        "split export", "split check", "split build icsd", "split build rruff",
        "split build compare",
    ):  # fmt: skip
        result = CliRunner().invoke(app, [*verb.split(), "--help"])
        assert result.exit_code == 0
        assert "Usage" in result.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["eval", "missing.pt"], "missing.pt"),
        (["eval", "missing.h5"], "missing.h5"),
        (["verify", "no-such-folder"], "no-such-folder"),
        (["prior", "show", "no-such-prior"], "no-such-prior"),
        (["train", "--model", "no-such", "--online", "--patterns", 9], "peak-network"),
        (["train", "--model", "peak-network", "--shards", "nowhere"], "nowhere"),
        (["generate", "--samples", 9, "--prior", "no-such-prior"], "open-v0"),
        (["generate", "--samples", 9, "--radiation", "Unobtainium"], "CuKa1"),
        (["generate", "--samples", 9, "--radiation", 0], "wavelength"),
        (["generate", "--samples", 9, "--max-size", "much"], "20GB"),
        (["generate", "--samples", 0], "samples"),
        (["train", "--model", "peak-network"], "--online"),
        (["prior", "fit", "--cif", ".", "--out", "p.npz"], "no .cif file"),
        (["prior", "fit", "gone.parquet", "--out", "p.npz"], "gone.parquet"),
        (["submit"], "--template"),
        (["split", "show", "open/no-such"], "open/structure-type"),
        (["split", "audit", "icsd/random"], "split build"),
    ],
)
def test_bad_input_is_one_clear_sentence(arguments, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert told in " ".join(result.stderr.split())
    assert not list(tmp_path.rglob("*.pt"))


def test_split_list_shows_tracks_with_sizes():
    result = CliRunner().invoke(app, ["split", "list"])
    assert "aflow/prototypes" in result.output
    assert "288" in result.output


def test_prior_show_names_the_split():
    result = CliRunner().invoke(app, ["prior", "show"])
    assert "open-v0" in result.output
    assert "open/structure-type" in result.output
    assert "Fm-3m" in result.output


def test_numbers_as_people_write_them():
    assert format_seconds(59.6) == "60 s"
    assert format_seconds(7200) == "2 h 00 min"


def test_stored_predictions_are_scored_on_their_own_track():
    kept = Path(__file__).parents[2] / "leaderboards" / "open-structure-type"
    part = find_part(kept / "peak-network-wide-2h.h5")
    assert (part.name, part.part) == ("open/structure-type", "test")
    assert find_part("model.pt").name == "aflow/prototypes"
