"""What the pages of the leaderboards share."""

import base64
import hashlib
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from pxrdbench.benchmark.leaderboard.submission import Submission
from pxrdbench.benchmark.scoring.evaluation_record import Baseline, percent
from pxrdbench.benchmark.scoring.intervals import Estimate


def badges(metadata: Mapping[str, Any]) -> str:
    """Mark the tier, and a baseline."""
    tier = str(metadata["tier"])
    badge = f'<span class="badge {tier.replace(" ", "-")}">{escape(tier)}</span>'
    if metadata["kind"] == "baseline":
        badge += ' <span class="badge">baseline</span>'
    return badge


def class_order(row: Submission) -> Baseline | None:
    """Find the baseline that guesses by class frequency."""
    found = [b for b in row.evaluation.baselines if b.name == "most_frequent"]
    return found[0] if found else None


def link(text: str, url: str | None) -> str:
    """Link to an address that has been checked to be https."""
    if url is None:
        return escape(text)
    return f'<a href="{escape(url)}" rel="noreferrer nofollow">{escape(text)}</a>'


def range_text(item: Estimate) -> str:
    """Write value and interval in percent."""
    return f"{percent(item.value)} % ({percent(item.low)}–{percent(item.high)})"


def css_length(fraction: float) -> str:
    """Write a fraction as a length."""
    return f"{100.0 * fraction:.2f}%"


def page(title: str, body: str, *, with_script: bool = False) -> str:
    """Put a body into a page that may do nothing but show itself."""
    folder = Path(__file__).parent
    style = (folder / "leaderboard.css").read_text(encoding="utf-8")
    policy, script = "default-src 'none'; style-src 'unsafe-inline'", ""
    if with_script:
        code = "\n" + (folder / "leaderboard.js").read_text(encoding="utf-8")
        # Only this very script may run, whatever a row's texts hold.
        digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        policy += f"; script-src 'sha256-{digest}'"
        script = f"<script>{code}</script>\n"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)} · pxrdbench</title>\n"
        f"<style>\n{style}</style>\n</head>\n<body>\n<main>\n{body}\n"
        "<footer>Made by <code>pxrdbench leaderboard</code>. How to add a row: "
        "docs/submit.md.</footer>\n"
        f"</main>\n{script}</body>\n</html>\n"
    )
