"""Patterns of crystals: as pymatgen's, with reflections, and over a scan."""

import json

import numpy as np
import pytest
from laboratory_minerals import GRID, MINERALS, laboratory_draw, lines_of, structure
from typer.testing import CliRunner

import pxrdbench as px
from pxrdbench.cli import app
from pxrdbench.errors import CrystalError, OptionError, PxrdbenchError, SourceError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """CIFs and a scan of a mixture."""
    folder = tmp_path_factory.mktemp("simulate")
    for name in ("rutile", "quartz"):
        crystal = px.Crystal.from_pymatgen(structure(name))
        (folder / f"{name}.cif").write_text(crystal.to_cif(name))
    both = "".join((folder / f"{n}.cif").read_text() for n in ("rutile", "quartz"))
    (folder / "both.cif").write_text(both)
    scan = laboratory_draw(*lines_of("rutile"), 0)
    scan += 0.5 * laboratory_draw(*lines_of("quartz"), 0)
    rows = "\n".join(f"{x:.3f} {y:.1f}" for x, y in zip(GRID, scan, strict=True))
    (folder / "scan.xy").write_text(rows)
    return folder


@pytest.mark.parametrize("name", MINERALS)
def test_paper_mode_equals_pymatgen(name):
    from pymatgen.analysis.diffraction.xrd import XRDCalculator

    atoms = structure(name)
    found = px.simulate(
        px.Crystal.from_pymatgen(atoms), "CuKa1", (5, 90), scattering="paper"
    )
    theirs = XRDCalculator(wavelength=1.5406).get_pattern(
        atoms, two_theta_range=(5, 90)
    )
    ours = found.reflections
    peak = np.cumsum(np.diff(ours.two_theta, prepend=0.0) > 1e-5) - 1
    np.testing.assert_allclose(
        np.bincount(peak, ours.intensity), theirs.y, atol=1e-6 * 100
    )
    first = np.searchsorted(peak, np.arange(peak[-1] + 1))
    np.testing.assert_allclose(ours.two_theta[first], theirs.x, atol=1e-6)
    np.testing.assert_allclose(ours.d[first], theirs.d_hkls, rtol=1e-9)


@pytest.mark.parametrize("name", ["quartz", "spinel", "calcite"])
def test_reflections_add_up_to_the_peaks_of_the_kernel(name):
    crystal = px.Crystal.from_pymatgen(structure(name))
    ours = px.simulate(crystal, "CuKa1", (5, 90)).reflections
    peaks = px.simulate_peaks(
        px.CrystalBatch.from_crystals([crystal]), "CuKa1", (5, 90), precision="double"
    )
    peak = np.cumsum(np.diff(ours.two_theta, prepend=0.0) > 1e-5) - 1
    total = np.bincount(peak, ours.intensity)
    np.testing.assert_allclose(
        total, 100 * peaks.intensity / peaks.intensity.max(), atol=1e-5
    )


def test_quartz_has_its_reflections():
    quartz = px.Crystal.from_pymatgen(structure("quartz"))
    ours = px.simulate(quartz, "CuKa1").reflections
    assert ours.hkl[0].tolist() == [1, 0, 0]
    assert ours.multiplicity[:3].tolist() == [6, 6, 6]
    assert ours.d[0] == pytest.approx(4.2574, abs=1e-3)
    assert "100.00000" in ours.to_text() or ours.intensity.max() < 100.0


def test_widths_and_what_contradicts():
    crystal = px.Crystal.from_pymatgen(structure("halite"))
    narrow, broad = (px.simulate(crystal, fwhm=w).intensity.sum() for w in (0.1, 0.4))
    assert broad > 2.0 * narrow
    one, two = (
        px.simulate(crystal, measurement="laboratory", seed=seed).intensity
        for seed in (1, 2)
    )
    assert not np.array_equal(one, two)
    with pytest.raises(OptionError):
        px.simulate(crystal, measurement="laboratory", fwhm=0.1)
    with pytest.raises(OptionError):
        px.simulate(crystal, step=0.0)
    with pytest.raises(OptionError):
        px.simulate(crystal, fwhm=-1.0)
    with pytest.raises(SourceError):
        px.simulate("nowhere.cif")


def test_crystals_are_laid_over_a_scan():
    scan = laboratory_draw(*lines_of("rutile"), 0)
    right = ("rutile", px.Crystal.from_pymatgen(structure("rutile")))
    wrong = ("zircon", px.Crystal.from_pymatgen(structure("zircon")))
    found = px.overlay(GRID, scan, [right], "CuKa")
    assert found.r_wp < 0.12
    both = px.overlay(GRID, scan, [right, wrong], "CuKa")
    assert both.scale[0] > 50 * both.scale[1]
    assert px.overlay(GRID, scan, [wrong], "CuKa").r_wp > 2 * found.r_wp


def test_an_instrument_is_measured_kept_and_used(tmp_path):
    lab6 = px.prediction.simulation.instrument.STANDARDS["LaB6"]
    tool = px.Instrument(
        px.Radiation.parse("CuKa"), 0.04, 0.0, 2e-3, -1e-3, 4e-3, 0.4, "made"
    )
    made = px.simulate(lab6, two_theta=(15, 140), step=0.02, instrument=tool)
    counts = np.random.default_rng(0).poisson(200.0 * made.intensity + 50.0)
    found = px.fit_instrument(made.two_theta, counts.astype(float), "CuKa")
    angles = np.array([30.0, 60.0, 110.0])
    np.testing.assert_allclose(found.correct(angles), angles - 0.04, atol=0.003)
    np.testing.assert_allclose(found.fwhm(angles), tool.fwhm(angles), rtol=0.12)
    found.write(tmp_path / "a.json")
    assert px.Instrument.read(tmp_path / "a.json") == found
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(SourceError, match="no instrument file"):
        px.Instrument.read(tmp_path / "b.json")
    with pytest.raises(PxrdbenchError, match="Is it LaB6"):
        px.fit_instrument(GRID, laboratory_draw(*lines_of("quartz"), 0), "CuKa")


def run(*arguments):
    return CliRunner().invoke(app, ["simulate", *map(str, arguments)])


def test_the_verb_writes_every_kind(folder, tmp_path):
    outs = [tmp_path / f"x.{end}" for end in ("xy", "json", "hkl", "png")]
    options = [word for out in outs for word in ("--out", out)]
    result = run(folder / "rutile.cif", "--radiation", "CuKa1", *options)
    assert result.exit_code == 0, result.output
    assert all(out.stat().st_size > 500 for out in outs)
    record = json.loads(outs[1].read_text())
    assert record["space_group"] == 136
    assert px.read_scan(outs[0])[0].radiation.name == "CuKa1"
    result = run(folder / "both.cif", "--json")
    assert len(result.stdout.splitlines()) == 2


def test_the_verb_lays_over_a_scan(folder, tmp_path):
    outs = [tmp_path / f"x.{end}" for end in ("png", "json", "xy")]
    options = [word for out in outs for word in ("--out", out)]
    files = (folder / "rutile.cif", folder / "quartz.cif")
    result = run(*files, "--scan", folder / "scan.xy", "--radiation", "CuKa", *options)
    assert result.exit_code == 0, result.output
    record = json.loads(outs[1].read_text())
    assert record["r_wp"] < 0.2
    assert [one["scale"] > 0 for one in record["phases"]] == [True, True]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nothing.cif"], "No such file"),
        (["rutile.cif", "--mode", "x"], "default and paper"),
        (["rutile.cif", "--out", "x.doc"], ".xy, .json"),
        (["rutile.cif", "--seed", "1"], "cannot act"),
        (["rutile.cif", "--scan", "scan.xy", "--fwhm", "1"], "cannot act"),
        (["rutile.cif", "--scan", "scan.xy"], "does not tell its radiation"),
    ],
)
def test_bad_input_is_one_sentence(folder, monkeypatch, arguments, told):
    monkeypatch.chdir(folder)
    result = run(*arguments)
    assert isinstance(result.exception, PxrdbenchError), result.output
    assert told in str(result.exception)


def test_several_crystals_are_not_one(folder):
    with pytest.raises(CrystalError, match="holds 2 crystals"):
        px.simulate(folder / "both.cif")
