"""The part of docs/results.md that shows the rows of the leaderboards."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pxrdbench.benchmark.leaderboard.board import Leaderboard, load_leaderboard

ROWS = Path(__file__).parent.parent / "leaderboards"
_TRACKS = (
    ("open/structure-type", "structure types that no model has seen"),
    ("open/random", "the same crystals, dealt one by one"),
    ("open/chronological", "crystals of 2013; real ones to learn from until 2011"),
    ("aflow/prototypes", "288 famous structures"),
)
_HEADLINE = ("type_balanced_accuracy", "macro_accuracy", "top_5", "top_10")
_REFERENCES = {
    "extinction_group": "perfect knowledge of the absences, then guessing by frequency",
    "extinction_and_laue": "the same with the Laue class known too",
    "enantiomorphs": "ceiling: mirror-image groups have the same pattern",
}


def rows_section() -> str:
    """All rows, a table a track, and the best one beside what bounds it."""
    parts = [
        "## Rows",
        "From `leaderboards/`; the commands beside each row rebuild it "
        "(`pxrdbench leaderboard` shows them), `leaderboards/make_rows.py` runs them. "
        "One seed a row; ranks such as 2–3 are ties, with what another seed would "
        "change in them (docs/submit.md). `new types`: top-1 on types that no other "
        "part holds (docs/metrics.md); a row without a rank has learnt from crystals "
        "of the asked part. Rows marked * keep their predictions beside them, so "
        "that anyone can score them again; of the others the row has the digest. "
        "Rows marked † keep a checkpoint in `leaderboards/checkpoints/`. Hours are of "
        "processor time. Intervals: 95 %, over structure types. The rows of parkCNN "
        "had seven minutes, as the light networks: they say what a convolutional "
        "network gives for that, not what it can.",
    ]
    for track, told in _TRACKS:
        parts.append(_table(track, told))
    parts.append(_fall())
    parts.append(_measured())
    parts.append(_best("open/structure-type"))
    return "\n\n".join(parts)


def load_rows(track: str) -> list[dict[str, Any]]:
    """The rows of a track, the best first."""
    folder = ROWS / track.replace("/", "-")
    rows = [
        {**json.loads(path.read_text("utf-8")), "path": path}
        for path in sorted(folder.glob("*.json"))
    ]
    return sorted(rows, key=lambda row: -row["evaluation"]["metrics"]["top_1"]["value"])


def _table(track: str, told: str) -> str:
    rows = load_rows(track)
    board = load_leaderboard(ROWS, track)
    crystals = rows[0]["evaluation"]["counts"]["crystals"]
    lines = [
        f"### `{track}`\n",
        f"{told[0].upper()}{told[1:]}; {crystals:,} crystals.\n",
        f"Of a type that no other part holds: {board.new_crystals:,} crystals.\n",
        "| row | learnt from | rank | top-1 % | new types % | mean of types % | mean "
        "of groups % | top-5 % | top-10 % | ECE | patterns seen | hours |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        about = row["metadata"]
        metrics = row["evaluation"]["metrics"]
        marks = "*" if row["path"].with_suffix(".h5").is_file() else ""
        if (ROWS / "checkpoints" / f"{about['name']}.pt").is_file():
            marks += "†"
        cells = [
            about["title"] + marks,
            _learnt(about),
            _rank(board, about["name"]),
            _cell(metrics["top_1"]),
            _new_types(board, about["name"]),
            *(_cell(metrics[name]) for name in _HEADLINE),
            f"{100 * metrics['ece']['value']:.1f}" if "ece" in metrics else "–",
            f"{about['patterns_seen']:,}",
            f"{about['compute']['hours']:g}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _rank(board: Leaderboard, name: str) -> str:
    """Where a row stands, with its ties."""
    found = next((s for s in board.standings if s.name == name), None)
    if found is None:
        return "–"
    return f"{found.best}" + (f"–{found.worst}" if found.worst > found.best else "")


def _new_types(board: Leaderboard, name: str) -> str:
    """Top-1 on types of no other part; not of rows of other versions."""
    found = board.new_types.get(name)
    return "–" if found is None else _cell(asdict(found))


def _fall() -> str:
    """What each row that learnt from real crystals loses on unseen types."""
    lines = [
        "### Recognition and reading\n",
        "Top-1 % of the rows that stand on both tracks; what learnt from real crystals "
        "learnt from those of the same track. Other crystals on each side, so the fall "
        "is not paired.\n",
        "| row | `open/random` | `open/structure-type` | fall |",
        "|---|---|---|---|",
    ]
    here = {row["metadata"]["name"]: row for row in load_rows("open/structure-type")}
    for row in load_rows("open/random"):
        about = row["metadata"]
        if about["kind"] == "baseline" or about["name"] not in here:
            continue
        both = [
            found["evaluation"]["metrics"]["top_1"]
            for found in (row, here[about["name"]])
        ]
        fall = 100 * (both[0]["value"] - both[1]["value"])
        cells = f"{_cell(both[0])} | {_cell(both[1])} | {fall:.1f}"
        lines.append(f"| {about['title']} ({_learnt(about)}) | {cells} |")
    lines.append(
        "\nWhat a row loses holds two things: relatives that are gone, and other "
        "crystals. The rows that learnt from synthetic ones have the second alone, "
        "but for the prior's frequencies. Both rows of parkCNN saw too few patterns "
        "to have anything to lose."
    )
    return "\n".join(lines)


def _measured() -> str:
    """The best network on simulated patterns, on measured ones."""
    path = Path(__file__).parent / "measured_scores_clean.json"
    sets = json.loads(path.read_text("utf-8"))["sets"]
    lines = [
        "### Measured patterns\n",
        "RRUFF itself could not be reached here; these sets could (docs/predict.md), "
        "and are no tracks. The two-hour network, which has seen clean patterns only, "
        "beside `lab-v0`, which learnt with measurement effects "
        "(`docs/score_measured.py A.pt --against B.pt`); percent:\n",
        "| set | patterns | measure | two-hour network | `lab-v0` | difference | by "
        "frequency |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in sets.items():
        for top in ("top_1", "top_5", "top_10"):
            if top not in found:
                continue
            cells = [name, f"{found['patterns']}", top.replace("_", "-")]
            for one in (found[top], found["against"][top], found["difference"][top]):
                cells.append("{value:.1f} ({low:.1f} to {high:.1f})".format(**one))
            cells.append(f"{found[top + '_by_frequency_in_training']:.1f}")
            lines.append("| " + " | ".join(cells) + " |")
    lines.append(
        "\nWhat is best on simulated patterns is not best on measured ones. Of "
        "xred_rruff90 the crystal family is asked for."
    )
    return "\n".join(lines)


def _learnt(about: dict[str, Any]) -> str:
    if about["kind"] == "baseline":
        return "frequencies"
    if about["patterns_seen"] == 0:
        return "no pattern"
    sources = " ".join(about["training_data"]["sources"])
    return "synthetic" if "open-v0" in sources else "real"


def _best(track: str) -> str:
    row = load_rows(track)[0]
    evaluation = row["evaluation"]
    lines = [
        "### The best row and its bounds\n",
        f"`{track}`, top-1 %. The first two rows are no models: they are told what a "
        "pattern can show.\n",
        "| | top-1 % | best row minus it |",
        "|---|---|---|",
    ]
    for found in evaluation["references"]:
        difference = found["comparisons"]["top_1"]["difference"]
        lines.append(
            f"| {_REFERENCES[found['name']]} | {_cell(found['metrics']['top_1'])} | "
            f"{_cell(difference, signed=True)} |"
        )
    metrics = evaluation["metrics"]
    lines.append(
        f"| **{row['metadata']['title']}** | **{_cell(metrics['top_1'])}** | |\n\n"
        f"Its first guess has the right extinction group in "
        f"{_cell(metrics['extinction_group_accuracy'])} % of the crystals, the right "
        f"crystal system in {_cell(metrics['crystal_system_accuracy'])} %; with "
        "mirror-image groups taken as one, "
        f"{_cell(metrics['enantiomorph_top_1'])} %; on the "
        f"crystals of the groups that it knows, {_cell(metrics['covered_top_1'])} %."
    )
    return "\n".join(lines)


def _cell(found: dict[str, float], *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    value, low, high = (100 * found[key] for key in ("value", "low", "high"))
    return f"{value:{sign}.1f} ({low:{sign}.1f} to {high:{sign}.1f})"
