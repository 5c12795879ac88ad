"""px.predict: typed, calibrated, drawable, the same for any way of measuring."""

import csv
import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from laboratory_minerals import laboratory_draw, lines_of
from measured_scans import GROUPS, draw_crystals, measure, write_model

import pxrdbench as px
from pxrdbench.crystal.symmetry.extinction_symbols import load_extinction_symbols
from pxrdbench.crystal.symmetry.tables import load_symmetry_tables
from pxrdbench.errors import ModelError, PatternError, SourceError
from pxrdbench.learning.models.find import MODEL_FOLDER
from pxrdbench.prediction.predict import (
    contract_of,
    find_model_file,
    load_model,
    predict_pattern,
    predict_scan_logits,
    to_probabilities,
)
from pxrdbench.prediction.prepare import prepare_scan
from pxrdbench.sources.scans.pattern import make_pattern

GRID = px.TwoThetaGrid()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "untrained.pt")


@pytest.fixture(scope="module")
def scan():
    angles, scans = measure(draw_crystals(1), "CuKa", GRID, noise=1)
    return angles, scans[0]


def test_the_result_is_typed_and_adds_up(scan, model):
    result = px.predict(*scan, radiation="CuKa", model=model, name="quartz?")
    assert isinstance(result, px.Prediction)
    assert [c.space_group for c in result.candidates] != sorted(GROUPS)
    assert {c.space_group for c in result.candidates} == set(range(1, 231))
    probabilities = [c.probability for c in result.candidates]
    assert probabilities == sorted(probabilities, reverse=True)
    for totals in (
        result.candidates,
        result.by_extinction_symbol,
        result.by_crystal_system,
    ):
        assert abs(sum(t.probability for t in totals) - 1.0) < 1e-9
    names = {t.name for t in result.by_crystal_system}
    assert {"monoclinic", "cubic"} < names
    record = result.to_dict(top=3)
    assert {"file", "candidates", "warnings", "confident", "reasons"} < set(record)
    assert [set(c) for c in record["candidates"]] == [
        {"space_group", "symbol", "probability"}
    ] * 3
    assert json.loads(json.dumps(record)) == record
    assert "quartz?" in repr(result)


def test_a_notebook_gets_picture_and_tables(scan, model):
    page = px.predict(
        *scan, radiation="CuKa", model=model, name="<script>x</script>"
    )._repr_html_()
    assert "<svg" in page
    assert page.count("<tr>") == 11
    assert page.count("<td>") > 30
    assert "Extinction symbols" in page
    assert "<script>" not in page


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_pictures(scan, model, suffix, tmp_path):
    path = tmp_path / "deep" / f"picture.{suffix}"
    px.predict(*scan, radiation="CuKa", model=model, name="a$b$c").save_picture(path)
    assert path.stat().st_size > 5_000


LABORATORY = np.arange(10.0, 90.0, 0.02)


@pytest.fixture(scope="module")
def rutile():
    """A scan of a laboratory, of lines that another program computed."""
    angles, heights = lines_of("rutile")
    return LABORATORY, laboratory_draw(angles, heights, seed=0)


def test_a_mineral_is_read_with_cell_errors_and_what_would_decide(rutile, model):
    result = px.predict(*rutile, radiation="CuKa", model=model)
    assert result.is_confident
    assert not result.reasons
    assert result.candidates[0].space_group == 136
    assert result.candidates[0].probability > 0.5
    cell = result.cells[0]
    assert cell.bravais_lattice == "tP"
    truth = (4.5937, 4.5937, 2.9587)
    for value, error, true in zip(cell.lattice, cell.errors, truth, strict=False):
        assert 0.0 < error < 0.005
        assert abs(value - true) < max(4.0 * error, 0.002)
    assert cell.errors[3:] == (0.0, 0.0, 0.0)
    assert cell.m20 > 20
    assert set(result.sets[0].space_groups) <= set(result.indistinguishable)
    assert any("centre of symmetry" in text for text in result.sets[0].deciding)
    assert "136" in result.headline()


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        (lambda random, x: random.poisson(100.0, len(x)), "Noise"),
        (
            lambda random, x: random.poisson(
                100.0 + 900.0 * np.exp(-(((x - 28.0) / 6.0) ** 2))
            ),
            "Amorphous",
        ),
        (lambda random, x: np.full(len(x), 7.0), "Noise"),
        (lambda random, x: random.poisson(30 + 2e3 * np.exp(-x / 8.0)), "Noise"),
    ],
    ids=["noise", "hump", "constant", "empty holder"],
)
def test_what_is_no_pattern_has_no_confident_answer(model, counts, told):
    scan = counts(np.random.default_rng(1), LABORATORY).astype(float)
    result = px.predict(LABORATORY, scan, radiation="CuKa", model=model)
    assert not result.is_confident
    assert result.reasons[0].startswith(told)
    assert len(result.candidates) == 230
    assert "No confident answer" in result.headline()
    assert result._repr_html_()


def test_a_mixture_has_no_confident_answer(model):
    scan = sum(
        laboratory_draw(*lines_of(name), seed) / (1 + seed)
        for seed, name in enumerate(("rutile", "quartz", "corundum"))
    )
    result = px.predict(LABORATORY, scan, radiation="CuKa", model=model)
    assert not result.is_confident


def test_a_list_of_peaks_is_called_that(model):
    angles, heights = lines_of("rutile")
    result = px.predict(angles[:20], heights[:20], radiation="CuKa", model=model)
    assert result.reasons[0].startswith("List of peaks")
    assert result.cells[0].bravais_lattice == "tP"


def test_what_is_known_of_the_sample_acts(rutile, model):
    def ask(**known):
        return px.predict(*rutile, radiation="CuKa", model=model, **known)

    near = ask(cell=(4.61, 4.61, 2.965, 90, 90, 90))
    assert near.candidates[0].space_group == 136
    assert near.no_cell_probability < 1e-6
    wrong = ask(cell=(5, 6, 7, 90, 90, 90))
    assert wrong.reasons[0].startswith("Wrong cell?")
    cubic = ask(crystal_system="cubic")
    assert all(c.space_group >= 195 for c in cubic.candidates if c.probability > 0.0)
    without = ask(exclude="P42/mnm,cubic")
    zero = {c.space_group for c in without.candidates if c.probability == 0.0}
    assert zero == {136, *range(195, 231)}
    assert any("Formula" in w for w in ask(formula="Ba3(PO4)2").warnings)
    assert not ask(formula="TiO2", elements="Ti,O").warnings
    assert ask(prior="uniform").candidates[0].probability < 0.5


def test_a_page_to_zoom_asks_for_nothing_from_outside(rutile, model, tmp_path):
    result = px.predict(*rutile, radiation="CuKa", model=model, name="</script><b>")
    result.save_page(tmp_path / "deep" / "page.html")
    page = (tmp_path / "deep" / "page.html").read_text()
    assert "http" not in page
    assert "<b>" not in page.replace("&lt;b&gt;", "")
    data = json.loads(
        page.split("id='data'>")[1].split("</script>")[0].replace("<\\/", "</")
    )
    assert len(data["scan"]) == len(data["calc"]) == len(data["back"])
    assert [row["name"] for row in data["rows"]][1] == "of the cell, seen"
    assert "1 1 0" in data["rows"][1]["hkl"]


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_page_is_zoomed(rutile, model, tmp_path):
    result = px.predict(*rutile, radiation="CuKa", model=model)
    result.save_page(tmp_path / "page.html")
    script = Path(__file__).parents[1] / "helpers/press_zoom_page.js"
    done = subprocess.run(
        ["node", str(script), str(tmp_path / "page.html")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    told = json.loads(done.stdout)
    whole, wheel, drag, moved, back = told["seen"]
    assert whole == back
    assert whole[0] < wheel[0] < wheel[1] < whole[1]
    assert drag[1] - drag[0] < 0.5 * (wheel[1] - wheel[0])
    assert moved[0] > drag[0]
    assert "hkl" in told["tip"] or "intensity" in told["tip"]
    assert told["lines"] > 1000


def test_the_radiation_is_never_assumed(scan, model):
    with pytest.raises(SourceError, match="needs to know the radiation"):
        px.predict(*scan, radiation=None, model=model)
    with pytest.raises(PatternError, match="unknown radiation 'Cu'"):
        px.predict(*scan, radiation="Cu", model=model)
    pattern = px.MeasuredPattern(*map(np.array, scan), name="x.xy")
    with pytest.raises(SourceError, match=r"x\.xy: the file does not tell"):
        predict_pattern(pattern, model=model)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda x, y: (x[::-1], y), "do not ascend"),
        (lambda x, y: (x, np.where(x > 50, np.nan, y)), "is nan"),
        (lambda x, y: (x, y - 5000.0), "negative counts"),
        (lambda x, y: (x[:-1], y), "8500 angles, but 8501"),
        (lambda x, y: (x, ["a"] * len(x)), "not a number"),
        (lambda x, y: (x[:2], y[:2]), "2 points"),
        (lambda x, y: (np.arange(1e7) * 1e-5, np.ones(10**7)), "10,000,000 points"),
        (lambda x, y: (np.stack([x, x]), np.stack([y, y])), "2 axes"),
        (lambda x, y: ([], []), "0 points"),
    ],
)
def test_bad_numbers_are_one_sentence(scan, model, change, told):
    with pytest.raises(SourceError, match=told) as caught:
        px.predict(*change(*scan), radiation="CuKa", model=model)
    assert "\n" not in str(caught.value)


def test_models_are_found_by_path_or_name(tmp_path):
    with pytest.raises(ModelError, match="no model of that name ships"):
        find_model_file("no-such-model")
    (tmp_path / "x.pt").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="not a tensors-only checkpoint"):
        px.predict(
            GRID.angles(), np.ones(8501), radiation="CuKa", model=tmp_path / "x.pt"
        )


def test_nothing_is_changed_in_what_the_caller_gave(scan, model):
    angles, counts = (values.copy() for values in scan)
    px.predict(angles, counts, radiation="CuKa", model=model)
    np.testing.assert_array_equal(angles, scan[0])
    np.testing.assert_array_equal(counts, scan[1])
    angles[0] = 4.99  # and the caller's arrays stay writable


def test_a_scan_takes_under_a_second_of_cpu(scan, model):
    px.predict(*scan, radiation="CuKa", model=model)
    start = time.process_time()
    for _ in range(3):
        px.predict(*scan, radiation="CuKa", model=model)
    assert (time.process_time() - start) / 3 < 1.0


def test_softmax_of_large_numbers():
    np.testing.assert_allclose(to_probabilities(np.array([1e4, 1e4])), [0.5, 0.5])


def test_extinction_symbols_are_those_of_the_classes():
    symbols, tables = load_extinction_symbols(), load_symmetry_tables()
    assert len(symbols) == 231
    by_class = {}
    for group in range(1, 231):
        by_class.setdefault(int(tables.extinction_group[group]), set()).add(
            symbols[group]
        )
    assert all(len(found) == 1 for found in by_class.values())
    # From the pages of International Tables A.
    for group, symbol in {
        2: "P -", 14: "P 1 21/c 1", 15: "C 1 c 1", 61: "P b c a", 62: "P n a -",
        88: "I 41/a - -", 136: "P - n -", 167: "R - c", 194: "P - - c", 205: "P a - -",
        225: "F - - -", 227: "F d - -", 230: "I a - d",
    }.items():  # fmt: skip
        assert symbols[group] == symbol


@pytest.mark.data
def test_extinction_classes_are_those_of_a_published_table(test_data):
    """The table of another program (scattering/paper-ai-diffraction)."""
    symbols = load_extinction_symbols()
    path = test_data / "stats/extinction_group_to_space_groups.csv"
    with path.open() as file:
        for row in csv.DictReader(file):
            groups = json.loads(row["Space Group Numbers"])
            assert len({symbols[group] for group in groups}) == 1
            theirs = row["Canonical Extinction Group"]
            names = theirs.replace(" (equiv: ", ", ").rstrip(")").split(", ")
            # They write R - - c where others write R - c.
            bare = {re.sub("[ -]|[(]obv[)]", "", n) for n in names}
            ours = {re.sub("[ -]", "", s) for s in symbols[groups[0]].split(" or ")}
            assert ours & bare, (groups, ours, bare)


shipped = pytest.mark.skipif(
    not list(MODEL_FOLDER.glob("*.pt")), reason="no model for measured scans ships yet"
)


def answers(two_theta, intensity, radiation):
    """Five groups of the network alone, and those of the reader and it together."""
    path = find_model_file()
    classifier = load_model(path)
    pattern = make_pattern(two_theta, intensity, radiation)
    scan = prepare_scan(pattern, radiation, contract_of(classifier))
    logits = predict_scan_logits(classifier, [scan])[0]
    first = np.argsort(-logits)[:5]
    network = {classifier.space_groups[place] for place in first}
    result = px.predict(two_theta, intensity, radiation=radiation)
    return network, {c.space_group for c in result.candidates[:5]}


@shipped
@pytest.mark.data
def test_converted_scans_have_the_same_top_5(test_data):
    """Measured scans; at another wavelength, points added up, every second point.

    The reader loses or finds a cell by noise more easily than the network its answer.
    """
    same = []
    for name, radiation in (
        ("formats/dara/GeO2-ZnO_700C_60min.xrdml", None),
        ("formats/xerus/MnF2+TiO2_parsed.csv", "CuKa"),
        ("formats/gsas2/PBSO4.XRA", "CuKa"),
        ("rruff/correct_case_015_Arsenopyrite__R050071-1__6130.csv", "CuKa"),
    ):
        pattern = px.read_scan(test_data / name)[0]
        x, y = np.array(pattern.two_theta), np.array(pattern.intensity)
        lines = pattern.radiation or px.Radiation.parse(radiation)
        whole = answers(x, y, lines)
        factor = 0.709317 / lines.lines[0][0]
        mo = px.Radiation(tuple((w * factor, share) for w, share in lines.lines), "Mo")
        moved = np.degrees(2 * np.arcsin(np.sin(np.radians(x / 2)) * factor))
        pairs = len(x) // 2 * 2
        added = (
            x[:pairs].reshape(-1, 2).mean(axis=1),
            y[:pairs].reshape(-1, 2).sum(axis=1),
        )
        for other in (
            answers(*added, lines),
            answers(moved, y, mo),
            answers(x[::2], y[::2], lines),
        ):
            same.append([len(a & b) for a, b in zip(whole, other, strict=True)])
    network, together = np.mean(same, axis=0)
    assert network > 4.5, same
    assert min(row[0] for row in same) >= 3, same
    assert together > 3.0, same
