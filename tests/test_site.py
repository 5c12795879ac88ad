"""The docs build as a site without a warning; a page fetches nothing from outside."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pxrdbench

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site; `--strict` fails at a dead link, or at a page that no menu holds."""
    folder = tmp_path_factory.mktemp("site") / "site"
    result = subprocess.run(
        [
            sys.executable, "-m", "mkdocs", "build", "--strict",
            "-f", ROOT / "docs/site/mkdocs.yml", "-d", folder,
        ],
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return folder


def test_every_page_is_there_and_fetches_nothing_from_outside(site):
    for page in ROOT.glob("docs/*.md"):
        text = (site / f"{page.stem}.html").read_text("utf-8")
        fetched = re.findall(
            r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"([^\"]+)", text
        )
        for tag in re.findall(r"<link\b[^>]*>", text):
            if not re.search(r'rel="?canonical', tag):
                fetched += re.findall(r'href="([^"]+)', tag)
        assert fetched
        assert not [a for a in fetched if re.match(r"(https?:)?//", a)], page


def test_reference_has_every_public_name(site):
    text = (site / "reference.html").read_text("utf-8")
    for name, room in pxrdbench._HOME.items():
        assert f'id="pxrdbench.{room}.{name}"' in text, name
