import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from small_track import CLASSES, make_predictions, make_track, random_logits

from pxrdbench.benchmark.report import figures
from pxrdbench.benchmark.report.examples import choose_examples
from pxrdbench.benchmark.report.page import render_report, write_report
from pxrdbench.benchmark.scoring.intervals import Estimate
from pxrdbench.benchmark.scoring.score import score
from pxrdbench.errors import EvaluationError

HOSTILE = "<script>alert('x')</script>\"&"
VOID = {"meta", "link", "img", "br", "hr", "input", "path", "use", "rect", "stop"}


class Checker(HTMLParser):
    """Collects elements and texts; fails where one is closed that is not open."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def checked(page):
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    return checker


@pytest.fixture(scope="module")
def track():
    return make_track(90)


@pytest.fixture(scope="module")
def predictions(track):
    return make_predictions(track, random_logits(track, skill=1.5), model_name="small")


@pytest.fixture(scope="module")
def page(predictions, track):
    return render_report(score(predictions, track), predictions, track)


def test_the_page_asks_for_nothing(page):
    assert "http" not in page.replace('http-equiv="Content-Security-Policy"', "")
    assert not re.search(r"@import|\ssrc=|url\((?!#)", page)
    checker = checked(page)
    for tag, attributes in checker.elements:
        assert tag not in {
            "script",
            "link",
            "img",
            "iframe",
            "object",
            "embed",
            "image",
        }
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("href", "#").startswith("#")


def test_names_inside_the_page_are_unique_and_exist(page):
    checker = checked(page)
    names = [a["id"] for _, a in checker.elements if "id" in a]
    assert len(names) == len(set(names))
    used = {a["href"][1:] for _, a in checker.elements if "href" in a}
    used |= set(re.findall(r"url\(#([^)]*)\)", page))
    assert used
    assert used <= set(names)


def test_the_page_says_the_numbers(page, predictions, track):
    evaluation = score(predictions, track)
    text = checked(page).text
    top_1 = evaluation.metrics["top_1"]
    assert f"{100 * top_1.value:.1f} %" in text
    assert f"{100 * top_1.low:.1f}–{100 * top_1.high:.1f}" in text
    for word in ("McNemar", "hindsight", "triclinic", track.digest, "Laue class"):
        assert word in text
    n = len([tag for tag, _ in checked(page).elements if tag == "svg"])
    assert n == 6 + 6  # figures and examples


def test_figures_have_names_and_page_colours(page):
    checker = checked(page)
    figures_found = [a for tag, a in checker.elements if tag == "svg"]
    assert sum("aria-label" in a for a in figures_found) == len(figures_found)
    body = page[page.index("<body>") :]
    # Only colours of the style sheet, which have a light and a dark value each.
    assert not re.search(r"(fill|stroke): #", body)
    style = page[: page.index("<body>")]
    for name in set(re.findall(r"var\((--[a-z-]+)\)", page)):
        assert style.count(f"{name}:") == 2, name


def test_what_comes_from_files_is_escaped(track):
    hostile_track = dataclasses.replace(
        track, name=HOSTILE, ids=tuple(f"{HOSTILE} {i}" for i in range(len(track)))
    )
    predictions = make_predictions(
        hostile_track,
        model_name=HOSTILE,
        model_digest=HOSTILE,
        provenance={HOSTILE: HOSTILE},
    )
    evaluation = score(predictions, hostile_track)
    page = render_report(evaluation, predictions, hostile_track)
    checker = checked(page)
    assert "script" not in {tag for tag, _ in checker.elements}
    assert HOSTILE in checker.text


def test_equal_evaluations_give_equal_pages(predictions, track, page):
    assert render_report(score(predictions, track), predictions, track) == page


def test_a_page_is_written_whole(predictions, track, page, tmp_path):
    path = tmp_path / "folder" / "report.html"
    write_report(score(predictions, track), predictions, path, track=track)
    assert path.read_text(encoding="utf-8") == page
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_numbers_of_other_predictions_are_refused(predictions, track, tmp_path):
    other = make_predictions(track, random_logits(track, seed=9))
    with pytest.raises(EvaluationError, match="not computed from these"):
        write_report(score(other, track), predictions, tmp_path / "r.html", track=track)


@pytest.mark.parametrize("right", [True, False])
def test_pages_of_perfect_and_hopeless_models(track, right):
    is_true = track.space_group[:, None] == np.array(CLASSES)
    logits = np.where(is_true, 9.0, 0.0) * (1 if right else -1)
    predictions = make_predictions(track, logits)
    page = render_report(score(predictions, track), predictions, track)
    text = checked(page).text
    assert ("right" in text) or not right
    assert "nan" not in text.lower().replace("nanometre", "")


def test_a_model_that_covers_nothing_has_a_page(track):
    predictions = make_predictions(
        track, random_logits(track, classes=(3, 5)), classes=(3, 5)
    )
    page = render_report(score(predictions, track), predictions, track)
    assert "not among its classes" in checked(page).text


def test_examples_are_right_and_wrong_from_sure_to_unsure(predictions, track):
    examples = choose_examples(predictions, track)
    assert [e.rank == 1 for e in examples] == [True] * 3 + [False] * 3
    for part in (examples[:3], examples[3:]):
        shares = [example.guesses[0][1] for example in part]
        assert shares == sorted(shares, reverse=True)
    for example in examples:
        place = track.ids.index(example.name)
        assert example.space_group == track.space_group[place]
        if example.rank == 1:
            assert example.guesses[0][0] == example.space_group
        assert example.intensity == pytest.approx(track.batch(place, 1).intensity[0])


@pytest.mark.parametrize("place", [1234, 1235])
def test_the_strongest_peak_survives_the_drawing(track, place):
    intensity = np.zeros(track.grid.points, np.float32)
    intensity[place] = 1.0  # two angles are drawn as one point
    svg = figures.draw_pattern(intensity, track.grid, "one")
    curve = re.search(r'<path d="([^"]*)"[^>]*stroke: var\(--ink\)', svg)
    heights = [float(y) for y in re.findall(r"[ML] [\d.]+ ([\d.]+)", curve[1])]
    # From a line at the foot nearly to the top: 1.7 inches are 122 units.
    assert max(heights) - min(heights) > 60


def test_names_at_the_ends_of_curves_keep_apart(track, predictions):
    evaluation = score(predictions, track)
    same = tuple(Estimate(1.0, 1.0, 1.0) for _ in range(7))
    baselines = [
        dataclasses.replace(b, top_k=(1.0,) * 20) for b in evaluation.baselines
    ]
    svg = figures.draw_top_k(same, baselines)
    places = [
        float(found)
        for name in ("model", "hindsight", "class order")
        for found in re.findall(rf'y="([\d.]+)"[^>]*>{name}<', svg)
    ]
    assert len(places) == 3
    gaps = np.diff(sorted(places))
    assert gaps.min() > 12
