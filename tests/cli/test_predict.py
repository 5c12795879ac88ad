"""``pxrdbench predict``: what a user types, and what comes back."""

import csv
import json
from pathlib import Path

import pytest
from measured_scans import draw_crystals, measure, write_model
from typer.testing import CliRunner

from pxrdbench.cli import app
from pxrdbench.cli import predict as predict_app
from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.errors import PxrdbenchError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, two good scans, a bad one, and one that tells its radiation."""
    folder = tmp_path_factory.mktemp("predict")
    write_model(folder / "model.pt")
    angles, scans = measure(draw_crystals(3), "CuKa", TwoThetaGrid(), noise=1)
    (folder / "scans" / "deep").mkdir(parents=True)
    for name, scan, header in (
        ("silent.xy", scans[0], ""),
        ("deep/told.xy", scans[1], "# wavelength: 1.5418\n"),
        ("other.xy", scans[2], "# radiation CuKa\n"),
    ):
        rows = "\n".join(f"{a:.3f} {c:.0f}" for a, c in zip(angles, scan, strict=True))
        (folder / "scans" / name).write_text(header + rows)
    (folder / "scans/broken.xy").write_bytes(bytes(range(256)) * 9)
    return folder


def run(folder, *arguments, **options):
    arguments = ["predict", *map(str, arguments), "--model", str(folder / "model.pt")]
    return CliRunner().invoke(app, arguments, **options)


def test_one_scan_prints_a_list_and_draws_a_picture(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(folder, folder / "scans/deep/told.xy", "--top", 4)
    assert result.exit_code == 0, result.output
    assert "Extinction symbols" in result.output
    assert "Crystal systems" in result.output
    assert result.output.count(" %") > 4
    assert (tmp_path / "told-space-groups.png").stat().st_size > 5_000
    result = run(folder, folder / "scans/other.xy", "--out", tmp_path / "x.svg")
    assert (tmp_path / "x.svg").read_text().count("<svg") == 1


def test_json_is_only_json_and_never_asks(folder):
    path = folder / "scans/deep/told.xy"
    result = run(folder, path, "--json", "--top", 3)
    assert result.exit_code == 0
    (line,) = result.stdout.splitlines()
    record = json.loads(line)
    assert {"file", "candidates", "warnings", "confident", "cells"} < set(record)
    assert record["file"] == str(path)
    assert len(record["candidates"]) == 3
    assert set(record["candidates"][0]) == {"space_group", "symbol", "probability"}
    result = run(folder, folder / "scans/silent.xy", "--json", input="CuKa\n")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "does not tell its radiation" in result.stderr


def test_json_of_many_names_on_stderr_what_failed(folder):
    result = run(folder, folder / "scans", "--json", "--radiation", "CuKa")
    assert result.exit_code == 2
    assert [Path(json.loads(x)["file"]).name for x in result.stdout.splitlines()] == [
        "told.xy", "other.xy", "silent.xy",
    ]  # fmt: skip
    assert "broken.xy: a binary file" in result.stderr


def test_many_files_give_one_table(folder, tmp_path):
    out = tmp_path / "all.csv"
    result = run(folder, folder / "scans", "--radiation", "CuKa", "--out", out)
    assert result.exit_code == 2  # one could not be read
    assert "3 of 4 scans predicted" in result.output
    assert "broken.xy: a binary file" in result.output
    rows = {Path(r["file"]).name: r for r in csv.DictReader(out.open())}
    assert set(rows) == {"silent.xy", "told.xy", "other.xy", "broken.xy"}
    assert "binary" in rows["broken.xy"]["error"]
    good = rows["told.xy"]
    assert (good["points"], good["first"], good["last"]) == ("8501", "5", "90")
    assert good["radiation"] == "CuKa"
    shares = [float(good[f"probability_{rank}"]) for rank in range(1, 11)]
    assert shares == sorted(shares, reverse=True)
    assert not list(tmp_path.glob("*.part"))


def test_a_page_and_what_is_known(folder, tmp_path):
    scan, out = folder / "scans/deep/told.xy", tmp_path / "x.html"
    result = run(folder, scan, "--out", out, "--crystal-system", "cubic")
    assert result.exit_code == 0, result.output
    assert "<canvas" in out.read_text()
    result = run(folder, scan, "--json", "--formula", "CaCO3", "--exclude", "cubic")
    assert json.loads(result.stdout)["prior"] == "minerals"
    for wrong, told in (
        (["--cell", "1 2"], "six numbers"),
        (["--formula", "Xx2"], "no element Xx"),
        (["--elements", "Fe,Zz"], "no Zz"),
        (["--prior", "nothing"], "no prior"),
        (["--exclude", "P99"], "no space group"),
        (["--bravais-lattice", "cF"], "give cell"),
    ):
        result = run(folder, scan, *wrong)
        assert isinstance(result.exception, PxrdbenchError), wrong
        assert told in str(result.exception)


def test_interrupted_it_keeps_what_is_done(folder, tmp_path, monkeypatch):
    done = []

    def stop(scan, ask):
        if done:
            raise KeyboardInterrupt
        done.append(scan)
        return whole(scan, ask)

    whole = predict_app._predict
    monkeypatch.setattr(predict_app, "_predict", stop)
    out = tmp_path / "all.csv"
    result = run(folder, folder / "scans", "--radiation", "CuKa", "--out", out)
    assert result.exit_code == 130
    assert len(list(csv.DictReader(out.open()))) == 1


def test_without_a_person_the_radiation_is_asked_of_nobody(folder, tmp_path):
    result = run(folder, folder / "scans/silent.xy", "--out", tmp_path / "x.png")
    assert isinstance(result.exception, PxrdbenchError)
    assert "--radiation CuKa" in str(result.exception)
    out = tmp_path / "x.csv"
    result = run(folder, folder / "scans", "--out", out)
    assert "2 of 4 scans predicted" in result.output
    assert "silent.xy: the file does not tell its radiation" in result.output


def test_a_person_is_asked_until_the_answer_is_a_radiation(
    folder, tmp_path, monkeypatch
):
    class Terminal:
        @staticmethod
        def isatty():
            return True

    answers = iter(["copper", "CuKa"])
    monkeypatch.setattr(predict_app.sys, "stdin", Terminal)
    monkeypatch.setattr(predict_app.typer, "prompt", lambda _: next(answers))
    assert predict_app._ask_radiation([folder / "scans/silent.xy"]) == "CuKa"
    assert predict_app._ask_radiation([folder / "scans/other.xy"]) is None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere.xy"], "no such file or folder"),
        (["scans/other.xy", "--radiation", "Kryptonite"], "unknown radiation"),
        (["scans/other.xy", "--out", "x.doc"], "ends in .png"),
        (["scans", "--out", "x.png"], "one table"),
        (["scans/broken.xy"], "a binary file"),
        (["empty"], "no files of scans"),
    ],
)
def test_bad_input_is_one_sentence(folder, monkeypatch, arguments, told):
    monkeypatch.chdir(folder)
    (folder / "empty").mkdir(exist_ok=True)
    result = run(folder, *arguments)
    assert isinstance(result.exception, PxrdbenchError), result.output
    assert told in str(result.exception)
    assert not list(folder.glob("*.part"))


def test_a_scan_of_several_ranges_is_several_rows(folder, tmp_path):
    angles, scans = measure(draw_crystals(1), "CuKa1", TwoThetaGrid(), noise=1)
    text = "_FILEVERSION=2\n_WL1=1.5406\n_ANODE='Cu'\n"
    for part in (slice(None), slice(None)):  # measured twice
        numbers = "\n".join(str(int(c)) for c in scans[0][part])
        text += f"_DRIVE='COUPLED'\n_START={angles[part][0]}\n_STEPSIZE=0.01\n_COUNTS\n"
        text += numbers + "\n"
    (tmp_path / "two.uxd").write_text(text)
    result = run(folder, tmp_path / "two.uxd", "--json")
    names = [json.loads(x)["file"] for x in result.stdout.splitlines()]
    assert [Path(n).name for n in names] == ["two.uxd (range 1)", "two.uxd (range 2)"]
