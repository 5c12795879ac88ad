"""The wheel holds all that the package reads, and works away from the checkout."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import pxrdbench

ROOT = Path(__file__).parents[1]

SCRIPT = """
import numpy as np
import pxrdbench as px

assert "site" in px.__file__, px.__file__
prior = px.load_prior("open-v0")
crystals = px.draw_crystals(prior, seed=0, start=0, count=8)
patterns = px.render(px.simulate_peaks(crystals), px.TwoThetaGrid(), 50.0)
assert patterns.shape == (8, 8501) and np.all(patterns.max(axis=1) == 1)
assert len(px.load_track("aflow/prototypes")) == 288
assert px.load_split("open/structure-type", "dev").num_rows > 1000
from pxrdbench.benchmark.report.page import render_report
from pxrdbench.cli import app
print("complete")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return next(folder.glob("*.whl"))


def test_wheel_holds_every_tracked_file(wheel):
    git = subprocess.run(
        ["git", "ls-files", "pxrdbench"], cwd=ROOT, capture_output=True, text=True
    )
    tracked = set(git.stdout.split())
    if not tracked:
        pytest.skip("not a git checkout")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert tracked <= names
    assert {"pxrdbench/py.typed", "pxrdbench/benchmark/report/report.css"} <= names
    assert any(name.endswith("licenses/NOTICE") for name in names)


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    """The wheel, installed where nothing of the checkout is."""
    site = tmp_path_factory.mktemp("elsewhere") / "site"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-deps",
            "--target",
            site,
            wheel,
        ],
        check=True,
        capture_output=True,
    )
    return site


def run_elsewhere(site, folder, *arguments):
    """Run Python in a folder, with nothing but the installed wheel."""
    result = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env={
            "PYTHONPATH": str(site), "PATH": "/usr/bin:/bin", "HOME": str(folder),
            "NO_COLOR": "1", "COLUMNS": "200",
        },
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_wheel_works_elsewhere(site, tmp_path):
    assert run_elsewhere(site, tmp_path, "-c", SCRIPT).strip() == "complete"


@pytest.mark.slow
def test_open_crystals_are_learnt_from_and_checked_without_any_other_file(
    site, tmp_path
):
    def verb(*arguments):
        script = "from pxrdbench.cli import app; app()"
        return run_elsewhere(site, tmp_path, "-c", script, *arguments)

    assert list(tmp_path.iterdir()) == []
    digest = pxrdbench.load_prior("open-v0").digest
    assert digest[:12] in verb("prior", "fit", "--out", "open-v0.npz")
    assert pxrdbench.load_prior(tmp_path / "open-v0.npz").digest == digest
    said = verb("split", "check", "open/structure-type")
    assert said.count("the same to the last bit") == 2
    assert "0.0" in verb("split", "audit", "open/structure-type")
    verb(
        "train", "--source", "track:open/structure-type/statistics", "--model",
        "park-cnn-small", "--patterns", 16, "--batch-size", 8, "--evaluations", 0,
        "--out", "run",
    )  # fmt: skip
    verb("randomise", "run/last.pt", "--crystals", 4, "--out", "anew")
    assert (tmp_path / "anew" / "randomisation.json").is_file()


def test_one_version_and_whom_to_cite():
    about = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    version = about["version"]
    assert pxrdbench.__version__ == version
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {version}\n" in citation
    assert "# doi:" in citation or "\ndoi:" in citation
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.findall(r"^## (\S+)", changes, re.MULTILINE)[0] == version
    # No address is stated that nobody has opened.
    assert set(about["urls"]) == {"Method"}
    assert "github.com/pxrdbench" not in citation


def test_pictures_of_the_readme_are_there():
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    assert pictures
    for address in pictures:
        assert (ROOT / address).is_file()


def test_the_wheel_is_small(wheel):
    assert wheel.stat().st_size < 30e6
    names = zipfile.ZipFile(wheel).namelist()
    assert not [name for name in names if name.endswith((".nbi", ".nbc", ".pyc"))]


@pytest.mark.parametrize(
    "code",
    ["import pxrdbench", "import pxrdbench.cli.app", "px.read_scan", "px.Recipe"],
)
def test_heavy_packages_are_imported_by_what_needs_them(code):
    code = code if code.startswith("import") else f"import pxrdbench as px; {code}"
    heavy = ("torch", "ray", "datasets", "matplotlib", "sklearn", "onnx")
    script = f"{code}; import sys; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True
    )
    assert result.stdout.strip() == "[]", result.stderr
