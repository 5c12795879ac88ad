"""What CONTRIBUTING tells runs word for word, as in a package of somebody else."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text("utf-8")


def block(title):
    """The text between the fences that follow a mark."""
    return re.search(rf"<!-- {re.escape(title)} -->\n```\w+\n(.*?)```", PAGE, re.S)[1]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs commands of the page where its package is on the path, as if installed."""
    folder = tmp_path_factory.mktemp("contributor")
    package = folder / "my_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "models.py").write_text(block("add a model: my_package/models.py"))
    project = block("add a model: pyproject.toml")
    name, target = re.search(r"^([\w-]+) = \"(.+:.+)\"$", project, re.M).groups()
    # What an installer makes of the entry points.
    about = folder / "my_package-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: my-package\nVersion: 0.1.0\n"
    )
    (about / "entry_points.txt").write_text(f"[pxrdbench.models]\n{name} = {target}\n")
    environment = os.environ | {"PYTHONPATH": str(folder)}

    def run(command):
        words = command.split()
        assert words[0] == "pxrdbench"
        result = subprocess.run(
            [sys.executable, "-m", "pxrdbench.cli", *words[1:]],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, (command, result.stdout, result.stderr)
        return result.stdout

    run.folder = folder
    return run


def commands(title):
    return [line for line in block(title).splitlines() if not line.startswith("#")]


def test_add_a_model_and_submit_its_result(run):
    for command in commands("add a model: commands"):
        shown = run(command)
    assert "my-model on aflow/prototypes" in shown
    template, *others = commands("submit a result: commands")
    run(template)
    path = run.folder / "my-model.json"
    metadata = json.loads(path.read_text())
    metadata |= {
        "name": "my-model",
        "title": "One dense layer",
        "date": "2026-11-30",
        "authors": [{"name": "A Contributor"}],
        "description": "A dense layer over strongest intensities.",
    }
    metadata["training_data"] |= {"description": "2,000 synthetic crystals"}
    metadata["training_data"]["sources"] = ["pxrdbench recipe, prior open-v0"]
    metadata["compute"]["hardware"] = "one core"
    metadata["links"]["predictions"] = "https://example.org/predictions.h5"
    path.write_text(json.dumps(metadata))
    for command in others:
        run(command)
    assert (run.folder / "leaderboards/aflow-prototypes/my-model.json").is_file()
    assert "One dense layer" in (
        run.folder / "leaderboards/aflow-prototypes/index.html"
    ).read_text("utf-8")
