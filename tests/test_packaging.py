"""The wheel holds all that the package reads, and works away from the checkout."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

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


def test_wheel_works_elsewhere(wheel, tmp_path):
    site = tmp_path / "site"
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
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env={"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert result.stdout.strip() == "complete", result.stderr
