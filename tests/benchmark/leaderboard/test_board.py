import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from chromium import PROGRAM, Chromium
from small_track import make_predictions, make_track, random_logits
from submission_metadata import METADATA

from pxrdbench.benchmark.leaderboard.board import load_leaderboard
from pxrdbench.benchmark.leaderboard.maintained import vouch
from pxrdbench.benchmark.leaderboard.row_page import _list_ties
from pxrdbench.benchmark.leaderboard.site import load_reported, render_leaderboards
from pxrdbench.benchmark.leaderboard.submission import submit, to_text
from pxrdbench.benchmark.scoring.class_order import predict_class_order
from pxrdbench.benchmark.scoring.score import score
from pxrdbench.errors import EvaluationError
from pxrdbench.tracks.load import available_tracks, load_track
from pxrdbench.tracks.new_types import find_new_types

ROOT = Path(__file__).parents[3]
SKILL = {"strong": 6.0, "strong-too": 6.0, "weak": 1.0}
EVIL = "<script>alert(1)</script><img src=https://evil.example/x>"


@pytest.fixture(scope="module")
def track():
    return make_track(200)


@pytest.fixture(scope="module")
def folder(track, tmp_path_factory):
    """Three models and a baseline, one of the models named to do harm."""
    folder = tmp_path_factory.mktemp("boards")
    stored = folder / "predictions.h5"
    for seed, (name, skill) in enumerate(SKILL.items()):
        make_predictions(track, random_logits(track, seed, skill)).write(stored)
        more = {
            "name": name,
            "title": EVIL if name == "weak" else name,
            "patterns_seen": {"strong": 10**6, "strong-too": None, "weak": 1000}[name],
            "compute": {"hardware": EVIL, "hours": {"weak": 0.5}.get(name, 20)},
            "training_data": METADATA["training_data"]
            | {"saw_track_types": "no" if name == "strong" else "yes"},
        }
        submit(stored, METADATA | more, folder, track=track)
    predict_class_order(track, "class-order").write(stored)
    baseline = METADATA | {"name": "order", "title": "Order", "kind": "baseline"}
    submit(stored, baseline, folder, track=track)
    stored.unlink()
    shutil.copy(ROOT / "leaderboards" / "reported.json", folder)
    return folder


@pytest.fixture(scope="module")
def pages(folder, track, tmp_path_factory):
    out = tmp_path_factory.mktemp("pages")
    render_leaderboards(folder, out, tracks=[track])
    return out


class Elements(HTMLParser):
    """What a page is made of, as a browser reads it."""

    def __init__(self):
        super().__init__()
        self.all, self.loading, self.policy = [], set(), ""

    def handle_starttag(self, tag, attrs):
        self.all.append(tag)
        known = dict(attrs)
        self.loading |= {"src", "srcset", "data", "action", "background"} & set(known)
        self.loading |= {name for name in known if name.startswith("on")}
        if known.get("http-equiv") == "Content-Security-Policy":
            self.policy = known["content"]

    @property
    def names(self):
        return set(self.all)

    def count(self, tag):
        return self.all.count(tag)


def test_rows_are_ranked_and_ties_shown(folder, track):
    board = load_leaderboard(folder, track)
    ranks = {s.name: (s.best, s.worst) for s in board.standings}
    assert ranks["strong"] == ranks["strong-too"] == (1, 2)
    assert ranks["weak"] == (3, 3)
    assert ranks["order"] == (4, 4)
    assert [row.name for row in board.rows] == [s.name for s in board.standings]


def test_other_versions_are_never_ranked_together(folder, track, tmp_path):
    shutil.copytree(folder, tmp_path / "all")
    place = tmp_path / "all" / "test-small"
    for field, value in (("evaluator", "0"), ("data", "1" * 64)):
        record = json.loads((place / "strong.json").read_text())
        record["metadata"]["name"] = f"old-{field}"
        record["evaluation"]["versions"][field] = value
        if field == "data":
            record["evaluation"]["track"]["digest"] = value
        (place / f"old-{field}.json").write_text(to_text(record))
    board = load_leaderboard(tmp_path / "all", track)
    assert {row.name for row in board.unranked} == {"old-evaluator", "old-data"}
    assert {s.name for s in board.standings} == {*SKILL, "order"}
    render_leaderboards(tmp_path / "all", tracks=[track])
    page = (place / "index.html").read_text()
    assert page.index('id="unranked"') < page.index("old-data.html")
    assert page.count("old-data.html") == 1


def test_a_row_without_outcomes_ties_by_its_interval(folder, track, tmp_path):
    shutil.copytree(folder, tmp_path / "all")
    path = tmp_path / "all" / "test-small" / "weak.json"
    record = json.loads(path.read_text()) | {"outcomes": None}
    path.write_text(to_text(record))
    standings = {s.name: s for s in load_leaderboard(tmp_path / "all", track).standings}
    assert not any(standings[name].is_paired for name in SKILL)
    render_leaderboards(tmp_path / "all", tracks=[track])
    page = (tmp_path / "all" / "test-small" / "index.html").read_text()
    assert "≈" in page
    assert "publish no outcome by crystal" in page


def test_all_faults_come_at_once_and_stop_no_other_row(folder, track, tmp_path):
    shutil.copytree(folder, tmp_path / "all")
    place = tmp_path / "all" / "test-small"
    for name in ("strong", "weak"):
        record = json.loads((place / f"{name}.json").read_text())
        record["evaluation"]["metrics"]["top_1"]["low"] -= 0.01
        (place / f"{name}.json").write_text(to_text(record))
    with pytest.raises(EvaluationError) as caught:
        render_leaderboards(tmp_path / "all", tracks=[track])
    assert "strong.json has 1 fault" in str(caught.value)
    assert "weak.json has 1 fault" in str(caught.value)
    assert {path.name for path in place.glob("*.html")} == {
        "index.html",
        "order.html",
        "strong-too.html",
    }
    assert "2 rows are left out" in (place / "index.html").read_text()


EVIL_ROWS = [
    b"",
    b"\xff",
    b"[" * 100_000,
    b'{"metadata": {"name": 1' + b"0" * 400 + b"}}",
    b'{"metadata": {"seeds": [1e999]}}',
    b'{"metadata": {"title": "\\ud800"}}',
    b'{"format": 1, "format": 2}',
]


@pytest.mark.parametrize("content", EVIL_ROWS, ids=range(len(EVIL_ROWS)))
def test_a_row_that_is_none_stops_no_other(folder, track, tmp_path, content):
    shutil.copytree(folder, tmp_path / "all")
    (tmp_path / "all" / "test-small" / "evil.json").write_bytes(content)
    board = load_leaderboard(tmp_path / "all", track)
    assert len(board.refused) == 1
    assert "evil.json" in board.refused[0]
    assert {s.name for s in board.standings} == {*SKILL, "order"}


EDITS = [
    ("metadata", "name", "index"),  # overwrote the page of its track
    ("metadata", "name", "index.x"),
    ("metadata", "name", "con"),
    ("metadata", "name", "strong\n"),
    ("metadata", "name", "../strong"),
    ("metadata", "name", "strong."),
    ("metadata", "date", "2026-01-01\n"),
    ("metadata", "patterns_seen", 10**400),
    ("metadata", "parameters", 2**60),
    ("metadata", "seeds", [10**30]),
    ("metadata", "seeds", [1, 1]),
    ("metadata", "compute", {"hardware": "x", "hours": 1e300}),
    ("metadata", "title", "a\x1b[2Jb"),
    ("metadata", "title", "a\u202eb"),
    ("metadata", "description", "x" * 10**5),
    ("evaluation", "predictions_digest", "0" * 64),
    ("predictions", "bytes", 10**400),
    ("predictions", "sha256", "0" * 64 + "\n"),
]


@pytest.mark.parametrize(("part", "name", "value"), EDITS, ids=range(len(EDITS)))
def test_an_edited_row_stops_no_other(folder, track, tmp_path, part, name, value):
    shutil.copytree(folder, tmp_path / "all")
    place = tmp_path / "all" / "test-small"
    record = json.loads((place / "strong.json").read_text())
    record[part][name] = value
    path = place / "strong.json"
    if name == "name" and "/" not in value:
        path.unlink()
        path = place / f"{value}.json"
    path.write_text(json.dumps(record))
    with pytest.raises(EvaluationError, match="without what is wrong"):
        render_leaderboards(tmp_path / "all", tracks=[track])
    page = (place / "index.html").read_text()
    assert "test/small · leaderboard" in page
    assert "weak.html" in page
    assert "strong.html" not in page


def test_a_row_ranks_by_predictions_or_by_the_maintainers(folder, track, tmp_path):
    shutil.copytree(folder, tmp_path / "all")
    place = tmp_path / "all" / "test-small"
    row = place / "weak.json"
    record = json.loads(row.read_text())
    record["metadata"]["tier"] = "reproduced"  # a row says nothing of its own tier
    record["metadata"]["reproduce"] = ["true"]
    row.write_text(to_text(record))
    board = load_leaderboard(tmp_path / "all", track)
    assert {r.name: r.metadata["tier"] for r in board.rows}[
        "weak"
    ] == "predictions only"
    (place / "weak.h5").unlink()
    board = load_leaderboard(tmp_path / "all", track)
    assert [r.name for r in board.unscored] == ["weak"]
    assert board.unscored[0].metadata["tier"] == "self-scored"
    render_leaderboards(tmp_path / "all", tracks=[track])
    assert 'id="unscored"' in (place / "index.html").read_text()
    vouch(tmp_path / "all", row, "reproduced")
    board = load_leaderboard(tmp_path / "all", track)
    assert {r.name: r.metadata["tier"] for r in board.rows}["weak"] == "reproduced"
    # The numbers that were vouched for are not those of a row that changes later.
    record["evaluation"]["metrics"]["nll"]["value"] += 1e-3
    row.write_text(to_text(record))
    assert load_leaderboard(tmp_path / "all", track).unscored


def test_predictions_beside_a_row_are_scored_whatever_it_says(folder, track, tmp_path):
    shutil.copytree(folder, tmp_path / "all")
    place = tmp_path / "all" / "test-small"
    vouch(tmp_path / "all", place / "weak.json", "reproduced")
    shutil.copy(place / "strong.h5", place / "weak.h5")
    board = load_leaderboard(tmp_path / "all", track)
    assert "weak.json has" in board.refused[0]
    (place / "weak.h5").write_bytes(b"no HDF5")
    assert (
        "weak.json has 1 fault" in load_leaderboard(tmp_path / "all", track).refused[0]
    )


def test_the_same_predictions_twice_are_said(folder, track, tmp_path):
    shutil.copytree(folder, tmp_path / "all")
    place = tmp_path / "all" / "test-small"
    record = json.loads((place / "strong.json").read_text())
    record["metadata"]["name"] = "strong-again"
    (place / "strong-again.json").write_text(to_text(record))
    shutil.copy(place / "strong.h5", place / "strong-again.h5")
    assert load_leaderboard(tmp_path / "all", track).same == (
        ("strong", "strong-again"),
    )
    render_leaderboards(tmp_path / "all", tracks=[track])
    page = (place / "index.html").read_text()
    assert "The same predictions under several names: strong, strong-again." in page


@pytest.mark.parametrize("text", ["[]", "{", '{"format": "x"}', '{"rows": {"a": {}}}'])
def test_a_damaged_file_of_the_maintainers_ranks_nothing(folder, track, tmp_path, text):
    shutil.copytree(folder, tmp_path / "all")
    (tmp_path / "all" / "maintained.json").write_text(text)
    with pytest.raises(EvaluationError, match="maintained"):
        load_leaderboard(tmp_path / "all", track)


def test_pages_hold_no_markup_of_strangers_and_load_nothing(pages):
    paths = sorted(pages.rglob("*.html"))
    assert len(paths) == 1 + 1 + 4
    for path in paths:
        found = Elements()
        found.feed(path.read_text())
        assert found.names.isdisjoint({"img", "link", "iframe", "object", "embed"})
        assert found.names.isdisjoint({"base", "video", "audio", "source", "image"})
        assert found.count("script") == (path.parent.name == "test-small") * (
            path.name == "index.html"
        ), path
        assert found.loading == set(), path
        assert found.policy.startswith("default-src 'none'; ")
        style = path.read_text().split("<style>")[1].split("</style>")[0]
        assert "@import" not in style
        assert "url(" not in style


def test_links_between_pages_lead_somewhere(pages):
    for path in pages.rglob("*.html"):
        for link in re.findall(r'href="([^"]+)"', path.read_text()):
            if not link.startswith("https://"):
                assert (path.parent / link).is_file(), (path, link)


def test_a_seed_and_new_types_are_on_the_pages(folder, tmp_path):
    out = tmp_path / "pages"
    render_leaderboards(ROOT / "leaderboards", out, tracks=["aflow/prototypes"])
    page = (out / "aflow-prototypes" / "index.html").read_text()
    assert "New types: top-1 on the 160 crystals" in page
    assert "What another seed would change is in the ranks (up to ±1.4" in page
    row = (out / "aflow-prototypes" / "peak-network-wide-2h.html").read_text()
    assert "top 1, new types" in row
    assert "Another training seed moves top-1 by up to ±1.4" in row
    assert "its predictions say, prior digest" in row
    forest = load_leaderboard(ROOT / "leaderboards", "aflow/prototypes")
    track = load_track("aflow/prototypes")
    new = find_new_types(track)
    hits = {r.name: r.hits(1) for r in forest.rows}["random-forest"]
    assert forest.new_types["random-forest"].value == pytest.approx(
        hits[new].mean(), abs=1e-6
    )


def test_what_has_seen_the_part_is_shown_with_new_types_but_not_ranked(tmp_path):
    board = load_leaderboard(ROOT / "leaderboards", "open/random")
    assert "crystallographer" in {row.name for row in board.unranked}
    assert "crystallographer" not in {row.name for row in board.rows}
    # Crystals of new types cannot have been learnt from, so this number counts.
    assert board.new_types["crystallographer"].low > 0.4
    render_leaderboards(ROOT / "leaderboards", tmp_path, tracks=["open/random"])
    page = (tmp_path / "open-random" / "crystallographer.html").read_text()
    assert "it has learnt from crystals that are asked about" in page


def test_ties_of_a_thousand_rows_are_not_all_named():
    names = tuple(f"row-{i}" for i in range(1000))
    text = _list_ties(names)
    assert text.endswith("row-19 and 980 others")
    assert _list_ties(names[:3]) == "row-0, row-1, row-2"


def test_rendering_again_gives_the_same_pages(folder, track, pages, tmp_path):
    for path in render_leaderboards(folder, tmp_path, tracks=[track]):
        assert path.read_bytes() == (pages / path.relative_to(tmp_path)).read_bytes()


def test_reported_numbers_stand_apart(pages):
    page = (pages / "test-small" / "index.html").read_text()
    apart = page.index('id="reported"')
    assert page.index("</tbody>") < apart < page.index("25.2")
    assert "not comparable" in page[apart:]


def test_reported_numbers_are_read_strictly(tmp_path):
    good = json.loads((ROOT / "leaderboards" / "reported.json").read_text())
    assert load_reported(tmp_path / "none.json")["rows"] == []
    for change, reason in (
        ({"url": "javascript:alert(1)"}, "no https address"),
        ({"unknown": 1}, "lacks or adds"),
    ):
        path = tmp_path / "reported.json"
        path.write_text(json.dumps(good | {"rows": [good["rows"][0] | change]}))
        with pytest.raises(EvaluationError, match=reason):
            load_reported(path)


def test_the_class_order_is_the_baseline_of_every_evaluation():
    track = load_track("aflow/prototypes")
    predictions = predict_class_order(track, "class-order")
    evaluation = score(predictions, track)
    baseline = next(b for b in evaluation.baselines if b.name == "most_frequent")
    for k in (1, 5, 10):
        assert evaluation.metrics[f"top_{k}"] == baseline.metrics[f"top_{k}"]
    alone = score(predict_class_order(track, "most-frequent-class"), track)
    assert alone.metrics["top_10"] == alone.metrics["top_1"]
    assert alone.metrics["top_1"] == evaluation.metrics["top_1"]


def test_the_published_leaderboards_render(tmp_path):
    paths = render_leaderboards(ROOT / "leaderboards", tmp_path)
    for name in available_tracks():
        page = tmp_path / name.replace("/", "-") / "index.html"
        assert page in paths
        assert "Class order, no model" in page.read_text()


needs_chromium = pytest.mark.skipif(PROGRAM is None, reason="no Chromium here")
VISIBLE = (
    "Array.from(document.querySelectorAll('#rows tr:not([hidden])'),"
    " row => row.dataset.name)"
)
TOP_5 = "document.querySelector('thead button[data-sort=top_5]')"


def set_field(field: str, value: str) -> str:
    return (
        f"{{ const f = document.getElementById('{field}'); f.value = '{value}';"
        " f.dispatchEvent(new Event('input', {bubbles: true}));"
        " f.dispatchEvent(new Event('change', {bubbles: true})); }"
    )


@needs_chromium
def test_sorting_and_filtering_in_a_real_browser(pages, tmp_path):
    with Chromium(tmp_path / "profile", 1200) as browser:
        browser.open(pages / "test-small" / "index.html")
        ranked = browser.run(VISIBLE)
        assert ranked[2:] == ["weak", "order"]
        # By keyboard: reach the button, press Enter, twice.
        browser.run(f"{TOP_5}.focus()")
        browser.press("Enter", 13, "\r")
        fives = browser.run(
            "Array.from(document.getElementById('rows').rows,"
            " row => Number(row.getAttribute('data-top-5')))"
        )
        assert fives == sorted(fives, reverse=True)
        assert browser.run(f"{TOP_5}.parentElement.ariaSort") == "descending"
        browser.press("Enter", 13, "\r")
        assert browser.run(VISIBLE)[0] == "order"
        assert "sort=top_5" in browser.run("location.hash")
        # What is unknown comes last, both ways.
        for _ in range(2):
            browser.run("document.querySelector('[data-sort=patterns_seen]').click()")
            assert set(browser.run(VISIBLE)[2:]) == {"strong-too", "order"}
        browser.run(set_field("search", "STRONG"))
        assert set(browser.run(VISIBLE)) == {"strong", "strong-too"}
        assert browser.run("document.getElementById('count').value") == "2 of 4 rows"
        browser.run("document.querySelector('button[type=reset]').click()")
        browser.run("new Promise(done => setTimeout(done, 50))")
        assert browser.run(VISIBLE) == ranked
        browser.run(set_field("hours", "1"))
        assert browser.run(VISIBLE) == ["weak", "order"]
        browser.run("document.getElementById('baselines').click()")
        assert browser.run(VISIBLE) == ["weak"]
        browser.run(set_field("hours", ""))
        browser.run("document.getElementById('unseen').click()")
        assert browser.run(VISIBLE) == ["strong"]
        browser.run(set_field("search", "nobody"))
        assert browser.run("document.getElementById('none').hidden") is False
        assert browser.problems == []


@needs_chromium
def test_a_link_shows_the_chosen_view_again(pages, tmp_path):
    with Chromium(tmp_path / "profile", 1200) as browser:
        view = "#sort=hours&direction=descending&baselines=false"
        browser.open(pages / "test-small" / "index.html", view)
        assert browser.run(VISIBLE)[-1] == "weak"
        assert "order" not in browser.run(VISIBLE)
        assert browser.problems == []


@needs_chromium
@pytest.mark.parametrize("width", [1200, 390])
def test_pages_fit_and_ask_for_nothing(pages, tmp_path, width):
    with Chromium(tmp_path / "profile", width, dark=width == 390) as browser:
        for path in sorted(pages.rglob("*.html")):
            browser.open(path)
            assert browser.run("document.documentElement.scrollWidth") <= width
            small = (
                "Array.from(document.querySelectorAll('#controls input, select'))"
                ".filter(e => e.type !== 'checkbox' && e.offsetHeight < 38).length"
            )
            assert browser.run(small) == 0
        assert browser.problems == []
        assert [url for url in browser.requests if not url.startswith("file:")] == []
