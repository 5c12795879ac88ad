"""What the README shows is what a user gets."""

import re
from pathlib import Path

import pytest

import pxrdbench as px

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


# The page on formats has a test of its own, which makes the shards that it reads.
PAGES = [
    ROOT / "README.md",
    *(ROOT / "docs" / f"{n}.md" for n in ("tutorial", "indexing", "tracks")),
]


def blocks(language, text=README):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for code in blocks("python", page.read_text()):
        exec(compile(code, page.name, "exec"), {})  # noqa: S102 - our own text


def test_split_looks_as_shown():
    shown = blocks("pycon")[0].split('"test")\n', 1)[1].strip()
    assert repr(px.load_split("open/structure-type", "test")).strip() == shown


def test_both_commands_pin_the_versions():
    for kind in ("demo", "test"):
        command = README.split(f"<!-- {kind} command -->")[1].split("```")[1]
        assert "-c constraints.txt" in command
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text()


@pytest.mark.parametrize("link", re.findall(r"\]\((?!http)([^)#]+)", README))
def test_links_lead_somewhere(link):
    assert (ROOT / link).exists()


def test_links_of_the_docs_lead_somewhere():
    for page in ROOT.glob("docs/*.md"):
        for link in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), (page.name, link)
