"""A picture of a stream: samples written, learnt and given free, and who waited."""

import json
from datetime import datetime
from pathlib import Path

_MADE, _LEARNT, _FREE, _INK = "#1b6ca8", "#c8553d", "#9a9a9a", "#333333"


def draw_stream(log: Path, path: Path) -> bool:
    """Draw what ``stream.jsonl`` of a training run says.

    Args:
        log: That file.
        path: SVG or PNG, by its suffix.

    Returns:
        Whether there was enough to draw.
    """
    from matplotlib.figure import Figure

    lines = [json.loads(line) for line in log.read_text().splitlines()]
    lines = [line for line in lines if "written" in line]
    if len(lines) < 2:
        return False
    times = [datetime.fromisoformat(line["time"]) for line in lines]
    minutes = [(time - times[0]).total_seconds() / 60 for time in times]
    figure = Figure(figsize=(8, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for name, text, color in (
        ("written", "written", _MADE),
        ("learnt", "learnt", _LEARNT),
        ("acknowledged", "given free", _FREE),
    ):
        above.plot(minutes, [line[name] / 1e6 for line in lines], color=color)
        above.annotate(
            text, (minutes[-1], lines[-1][name] / 1e6), color=color, fontsize=9,
            xytext=(4, -3), textcoords="offset points",
        )  # fmt: skip
    above.set_ylabel("million samples")
    above.set_title(lines[-1]["bottleneck"], loc="left", fontsize=10, color=_INK)
    for name, text, color in (
        ("producers_waited", "producers", _MADE),
        ("trainer_waited", "trainer", _LEARNT),
    ):
        below.plot(minutes, [100 * line[name] for line in lines], color=color)
        below.annotate(
            text, (minutes[-1], 100 * lines[-1][name]), color=color, fontsize=9,
            xytext=(4, -3), textcoords="offset points",
        )  # fmt: skip
    below.set_ylabel("time waiting so far / %")
    below.set_ylim(0, 100)
    below.set_xlabel("minutes")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.08)
    figure.savefig(path, dpi=130)
    return True
