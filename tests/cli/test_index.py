import json
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from minerals import MINERALS
from typer.testing import CliRunner

import pxrdbench as px
from pxrdbench.cli import app
from pxrdbench.cli.display import first_use

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """Rutile as a laboratory would measure it, near enough: noise and background."""
    grid = px.TwoThetaGrid(10.0, 90.0, 4001)
    crystals = px.CrystalBatch.from_crystals([MINERALS["rutile"]])
    peaks = px.simulate_peaks(crystals, radiation="CuKa")
    clean = px.render(peaks, grid, crystallite_size_nm=np.array([40.0]))[0]
    rng = np.random.default_rng(1)
    counts = rng.poisson(4000.0 * clean + 60.0 + 40.0 * np.exp(-grid.angles() / 30.0))
    path = tmp_path_factory.mktemp("scan") / "rutile.xy"
    np.savetxt(path, np.stack([grid.angles(), counts], 1), fmt="%.3f")
    return path


def test_a_scan_is_indexed(scan, tmp_path):
    picture = tmp_path / "rutile.png"
    result = RUNNER.invoke(
        app,
        ["index", str(scan), "--radiation", "CuKa", "--out", str(picture),
         "--cif", str(tmp_path / "a.cif"), "--hkl", str(tmp_path / "a.hkl")],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "tP" in result.output
    assert "P - n -" in result.output
    assert "(136)" in result.output or " 136 " in result.output
    assert picture.stat().st_size > 10_000
    assert (tmp_path / "a.cif").is_file()
    assert (tmp_path / "a.hkl").is_file()


def test_json_is_one_line(scan):
    result = RUNNER.invoke(app, ["index", str(scan), "--radiation", "CuKa", "--json"])
    record = json.loads(result.stdout)
    assert record["cells"][0]["bravais_lattice"] == "tP"
    groups = [one["space_group"] for one in record["space_groups"][:5]]
    assert 136 in groups


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "does not tell its radiation"),
        (["--radiation", "CuKa", "--cell", "4.59 4.59"], "six numbers"),
        (["--radiation", "CuKa", "--cell", "a b c"], "six numbers"),
        (["--radiation", "CuKa", "--scan", "3"], "3"),
        (["--radiation", "CuKa", "--out", "x.txt"], "a picture ends in"),
        (["--radiation", "CuKa", "--bravais-lattice", "tP"], "give cell"),
    ],
)
def test_what_cannot_be_is_said(scan, options, words):
    result = RUNNER.invoke(app, ["index", str(scan), *options])
    assert result.exit_code != 0
    assert words in str(result.exception)


def test_a_long_wait_says_what_it_is_for(capsys):
    with first_use(longest=0.02):
        time.sleep(0.2)
    assert "compiles its kernels" in capsys.readouterr().err.replace("\n", " ")
    with first_use(longest=5.0):
        pass
    assert not capsys.readouterr().err


def test_the_package_is_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "pxrdbench", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.fullmatch(r"\d+\.\d+\.\d+", done.stdout.strip())


def test_a_warning_is_one_sentence(tmp_path, recipe):
    """A shard that is not there is said without a place in the code."""
    from small_sets import write_set

    folder = tmp_path / "set"
    write_set(recipe, folder)
    for path in folder.glob("shard-000000.*"):
        path.unlink()
    done = subprocess.run(
        [sys.executable, "-m", "pxrdbench", "verify", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "pxrdbench: warning: " in done.stderr + done.stdout
    assert ".py:" not in done.stderr
