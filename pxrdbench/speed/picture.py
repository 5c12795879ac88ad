"""A picture of what ``pxrdbench bench`` measured."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_OTHERS, _OURS, _STAGES, _INK = "#9a9a9a", "#1b6ca8", "#c8553d", "#333333"


def draw_benchmark(result: Mapping[str, Any], path: Path) -> None:
    """Draw CPU times a pattern as bars, ours and other programs', and the stages.

    Args:
        result: What ``benchmark_simulation`` returned, with ``measurement`` and
            ``workers`` where they were timed too.
        path: SVG or PNG, by its suffix.
    """
    from matplotlib.figure import Figure

    measurement = result.get("measurement")
    figure = Figure(figsize=(9, 7.5 if measurement else 4.5), layout="constrained")
    if measurement:
        axes, below = figure.subplots(2, 1, height_ratios=(10, 12))
        _draw_stages(below, measurement)
    else:
        axes = figure.subplots()
    _draw_programs(axes, result)
    figure.savefig(path, dpi=130, metadata={"Date": None} if _is_svg(path) else {})


def _is_svg(path: Path) -> bool:
    return path.suffix.lower() == ".svg"


def _draw_programs(axes: Any, result: Mapping[str, Any]) -> None:
    """Everything against pymatgen, on a logarithmic scale."""
    times = result["microseconds_per_pattern"]
    bars = [("pymatgen: peaks", times["pymatgen peaks"], _OTHERS)]
    for name, row in result["simulators"].items():
        if name != "pymatgen":
            title = f"{name}: peaks ({row['crystals']} crystals)"
            bars.append((title, row["microseconds_per_pattern"], _OTHERS))
    bars += [
        (name, time, _OURS) for name, time in times.items() if name != "pymatgen peaks"
    ]
    corpus = result["corpus"]
    _draw_bars(axes, bars)
    axes.set_xscale("log")
    axes.set_xlim(1, 4 * max(time for _, time, _ in bars))
    axes.set_title(
        f"CPU time a crystal, {corpus['crystals']} crystals of {corpus['name']}",
        loc="left", fontsize=10, color=_INK,
    )  # fmt: skip


def _draw_stages(axes: Any, measurement: Mapping[str, Any]) -> None:
    """The stages of a measurement, on a linear scale."""
    bars = [
        (name, time, _OURS if name in {"plain", "complete"} else _STAGES)
        for name, time in measurement["microseconds_per_pattern"].items()
    ]
    _draw_bars(axes, bars)
    axes.set_xlim(0, 1.15 * max(time for _, time, _ in bars))
    axes.set_title(
        f"{measurement['name']} by stage: {measurement['rate_over_plain']:.3f} of the "
        "plain rate",
        loc="left", fontsize=10, color=_INK,
    )  # fmt: skip


def _draw_bars(axes: Any, bars: list[tuple[str, float, str]]) -> None:
    rows = range(len(bars))
    axes.barh(rows, [time for _, time, _ in bars], color=[c for _, _, c in bars])
    axes.set_yticks(rows, [name for name, _, _ in bars], fontsize=8, color=_INK)
    axes.invert_yaxis()
    for row, (_, time, _) in zip(rows, bars, strict=True):
        text = f" {time:,.0f}" if time >= 100 else f" {time:.1f}"
        axes.text(time, row, text, va="center", fontsize=8, color=_INK)
    axes.set_xlabel("µs of one core", fontsize=8, color=_INK)
    axes.tick_params(labelsize=8, colors=_INK)
    for side in ("right", "top"):
        axes.spines[side].set_visible(False)
