"""Habits of the command line, verb by verb: help, --json, bad input, exit status."""

import json

import pytest
import typer
from typer.testing import CliRunner

from pxrdbench.cli import main
from pxrdbench.cli.app import app
from pxrdbench.cli.display import console, print_json
from pxrdbench.errors import PxrdbenchError

# Every verb with an input that it refuses.
REFUSED = {
    "demo": ["--minutes", "0"],
    "generate": ["--samples", "0"],
    "train": ["--model", "no-such-model", "--online"],
    "stream": ["--minutes", "-1"],
    "eval": ["no-such-model"],
    "predict": ["no-such-scan.xy"],
    "index": ["no-such-scan.xy"],
    "import": ["cif", "no-such-folder", "--out", "here"],
    "fetch": ["no-such-source"],
    "export": ["no-such-shards", "--out", "here"],
    "verify": ["no-such-shards"],
    "compare": ["no-such.h5", "neither.h5"],
    "robustness": ["no-such-model"],
    "randomise": ["no-such-model"],
    "submit": [],
    "leaderboard": ["no-such-folder"],
    "models": ["surplus"],
    "export-model": ["no-such-model"],
    "prior fit": ["no-such-file", "--out", "here.npz"],
    "prior show": ["no-such-prior"],
    "prior compare": ["no-such-prior", "neither"],
    "prior merge": ["no-such-prior", "neither", "--out", "here.npz"],
    "prior restrict": ["no-such-prior", "--out", "here.npz"],
    "prior export": ["no-such-prior", "--out", "here"],
    "prior check": ["no-such-prior"],
    "split list": ["surplus"],
    "split show": ["no-such-track"],
    "split export": ["no-such-track", "--out", "here"],
    "split check": ["no-such-track"],
    "split audit": ["no-such-track"],
    "split build icsd": ["no-such-import", "--out", "here"],
    "split build rruff": ["no-such-folder", "--out", "here"],
    "split build compare": ["no-such-folder", "neither"],
    "bench": ["--crystals", "-1"],
    "bench stream": ["--seconds", "-1"],
}
# Verbs whose output a script may want: arguments that make some.
FOR_SCRIPTS = {
    "models": [],
    "split list": [],
    "split show": ["aflow/prototypes"],
    "split check": ["aflow/prototypes"],
}
# Rooms of other verbs, and those that came after this table.
_LATER = {"simulate", "instrument", "instrument fit", "instrument show"}


def verbs(command=None, name=""):
    """Names of all commands."""
    command = typer.main.get_command(app) if command is None else command
    found = []
    for own, part in getattr(command, "commands", {}).items():
        full = f"{name} {own}".strip()
        inner = verbs(part, full)
        if not inner or getattr(part, "invoke_without_command", False):
            found.append(full)
        found += inner
    return found


def run(*words):
    return CliRunner().invoke(app, list(words))


def test_every_verb_is_in_the_table():
    assert set(verbs()) - _LATER == set(REFUSED)


@pytest.mark.parametrize("verb", REFUSED)
def test_every_verb_says_what_it_does(verb):
    result = run(*verb.split(), "--help")
    assert result.exit_code == 0
    assert "Usage" in result.output


@pytest.mark.parametrize("verb", REFUSED)
def test_bad_input_is_one_sentence_and_a_status(verb, tmp_path, monkeypatch):
    """The sentence is printed by `main`, with status 2 (see test_app)."""
    monkeypatch.chdir(tmp_path)
    result = run(*verb.split(), *REFUSED[verb])
    assert result.exit_code != 0
    if isinstance(result.exception, SystemExit):
        assert result.exit_code == 2  # of typer, about the words themselves
    else:
        assert isinstance(result.exception, PxrdbenchError), result.exception
        assert "\n" not in str(result.exception)
    assert list(tmp_path.iterdir()) == []  # nothing is left behind


@pytest.mark.parametrize("verb", FOR_SCRIPTS)
def test_json_stands_alone_on_standard_output(verb):
    result = run(*verb.split(), *FOR_SCRIPTS[verb], "--json")
    assert result.exit_code == 0
    (line,) = result.stdout.splitlines()
    assert json.loads(line)
    assert result.stderr  # words for people are there, beside it
    quiet = run("-q", *verb.split(), *FOR_SCRIPTS[verb], "--json")
    assert quiet.stdout == result.stdout
    assert not quiet.stderr
    # The next call speaks to people again.
    assert run("models").stdout
    assert not console.stderr


def test_json_of_what_json_cannot_hold(capsys):
    print_json({"a": float("nan"), "b": (1, 2), 3: None})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [1, 2], "3": None}


@pytest.mark.parametrize(
    "words",
    [
        ["import", "cif", "."],
        ["split", "export", "aflow/prototypes"],
        ["export", "shards"],
    ],
)
def test_a_slip_in_a_path_makes_no_folders(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*words, "--out", "improts/icsd/2021")
    assert result.exit_code != 0
    assert "neither" in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_verbose_tells_where(monkeypatch, capsys):
    import sys

    from pxrdbench.cli import main

    for words, is_told in ((["-v"], True), ([], False)):
        monkeypatch.setattr(sys, "argv", ["pxrdbench", *words, "split", "show", "x"])
        monkeypatch.delenv("PXRDBENCH_TRACEBACK", raising=False)
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == 2
        said = capsys.readouterr().err
        assert ("Traceback" in said) == is_told
        assert said.strip().splitlines()[-1].startswith("pxrdbench: ")


def test_verify_of_nothing_is_not_sound(tmp_path, monkeypatch, capsys):
    from small_sets import write_set

    from pxrdbench.dataset.recipes.recipe import Recipe

    write_set(Recipe(), tmp_path / "set", 0)
    monkeypatch.setattr("sys.argv", ["pxrdbench", "verify", str(tmp_path / "set")])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    told = capsys.readouterr()
    assert "holds no shard" in told.err
    assert "sound" not in told.out


def test_ctrl_c_that_no_verb_notes_is_one_sentence(monkeypatch, capsys):
    stopped = typer.Typer()

    @stopped.command()
    def wait() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.argv", ["pxrdbench"])
    # The package's attribute of that name is the module, not what `main` calls.
    monkeypatch.setitem(main.__globals__, "app", stopped)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 130
    assert capsys.readouterr().err.splitlines() == [
        "pxrdbench: interrupted; what was finished is kept"
    ]
