"""The page docs/results.md and its figures, from docs/results.json."""

from pathlib import Path
from typing import Any

import numpy as np
from results_rows import rows_section

_VARIANTS = ("as they are", "coordinates", "lattice", "both")


def write_page(results: dict[str, Any], folder: Path) -> None:
    """Write results.md and img/results-*.svg."""
    fit = fit_power_law(results["curve"])
    draw_randomised(results["randomised"], folder / "img" / "results-randomised.svg")
    draw_curve(results, fit, folder / "img" / "results-curve.svg")
    text = "\n\n".join(
        [
            _head(results),
            _rows(results),
            _findings(results),
            _randomised(results),
            _curve(results, fit),
            *([_long(results["long"])] if "long" in results else []),
            rows_section(),
            _rest(),
        ]
    )
    (folder / "results.md").write_text(text + "\n", encoding="utf-8")


def fit_power_law(curve: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Fit 1 - accuracy = a n^-b by least squares of the logarithms.

    The schedule anneals the learning rate, so that points within a run are no runs
    of that length: the law describes these curves, it does not promise more.
    """
    laws = {}
    for key in ("synthetic_top_1", "real_top_1"):
        n = np.array([row["patterns_seen"] for row in curve])
        error = 1.0 - np.array([row[key] for row in curve])
        slope, offset = np.polyfit(np.log(n), np.log(error), 1)
        laws[key] = {"a": float(np.exp(offset)), "b": float(-slope)}
    return laws


def draw_randomised(randomised: dict[str, Any], path: Path) -> None:
    """Accuracy on crystals drawn anew, test and statistics part side by side."""
    plt = _pyplot()
    figure, axes = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
    for shift, (part, color) in zip(
        (-0.18, 0.18), (("test", "#2a6f97"), ("statistics", "#bc6c25")), strict=True
    ):
        found = [randomised[part][name]["first"] for name in _VARIANTS]
        value = np.array([100 * one["value"] for one in found])
        low = value - [100 * one["low"] for one in found]
        high = [100 * one["high"] for one in found] - value
        axes.bar(
            np.arange(4) + shift, value, 0.34, yerr=[low, high], color=color,
            label=f"{part} part", capsize=3,
        )  # fmt: skip
    axes.set_xticks(range(4), ["as they are", "coordinates\nanew", "cell anew", "both"])
    axes.set_ylabel("top-1 accuracy (%)")
    axes.set_ylim(0, 80)
    axes.legend(frameon=False, ncols=2, loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def draw_curve(
    results: dict[str, Any], laws: dict[str, dict[str, float]], path: Path
) -> None:
    """Accuracy against patterns seen, with the power laws."""
    plt = _pyplot()
    curve = results["curve"]
    figure, axes = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
    labels = {
        "synthetic_top_1": ("unseen synthetic crystals", "#bc6c25"),
        "real_top_1": ("real crystals of unseen types (dev part)", "#2a6f97"),
    }
    n = np.array([row["patterns_seen"] for row in curve])
    along = np.geomspace(n.min(), 10 * n.max(), 100)
    for key, (label, color) in labels.items():
        axes.plot(n, [100 * row[key] for row in curve], "o", ms=4, color=color,
                  label=label)  # fmt: skip
        law = laws[key]
        axes.plot(along, 100 * (1 - law["a"] * along ** -law["b"]), "--", lw=1,
                  color=color)  # fmt: skip
        if "long" in results:
            rows = results["long"]["curve"]
            axes.plot([row["patterns_seen"] for row in rows],
                      [100 * row[key] for row in rows], "-", lw=1.2, alpha=0.7,
                      color=color)  # fmt: skip
    axes.plot([], [], "--", lw=1, color="gray", label="law, fitted to the points")
    if "long" in results:
        told = f"{results['long']['model']}, one long run"
        axes.plot([], [], "-", lw=1.2, color="gray", label=told)
    axes.set_xscale("log")
    axes.set_xlabel("patterns seen")
    axes.set_ylabel("top-1 accuracy (%)")
    axes.set_ylim(0, 80)
    axes.legend(frameon=False, loc="lower right", fontsize="small", ncols=2)
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def _head(results: dict[str, Any]) -> str:
    seconds = [c["cpu_seconds"] for runs in results["costs"].values() for c in runs]
    return (
        "# Results: the paper's three findings on open crystals\n\n"
        "Written by `docs/make_results.py` from `docs/results.json`; do not edit.\n\n"
        "    OMP_NUM_THREADS=1 python docs/make_results.py --data FOLDER --runs "
        "FOLDER\n\n"
        "What is compared was fixed beforehand in [results-plan.md](results-plan.md). "
        f"Model `{results['model']}`, {results['patterns']:,} patterns a run, seeds "
        f"{', '.join(map(str, results['seeds']))}; CPU time of a run "
        f"{min(seconds):.0f} to {max(seconds):.0f} s. Numbers are percent; intervals "
        "are 95 %, over structure types and training seeds (docs/metrics.md). Groups "
        "that a model cannot answer count as wrong."
    )


def _rows(results: dict[str, Any]) -> str:
    lines = [
        "## Accuracy\n",
        "| trained on, judged by | top-1 | top-5 | top-10 | crystal system |",
        "|---|---|---|---|---|",
    ]
    names = {
        "random on open/random": "crystals of `open/random`, its test part",
        "types on open/structure-type": (
            "crystals of `open/structure-type`, its test part"
        ),
        "synthetic on open/structure-type": (
            "synthetic crystals, test part of `open/structure-type`"
        ),
        "synthetic on open/random": "synthetic crystals, test part of `open/random`",
    }
    metrics = ("top_1", "top_5", "top_10", "crystal_system_accuracy")
    for name, told in names.items():
        row = results["comparisons"]["rows"][name]
        lines.append(f"| {told} | " + " | ".join(_cell(row[m]) for m in metrics) + " |")
    lines.append(
        "\nThe prior of the synthetic crystals was fitted on the `statistics` part of "
        "`open/structure-type`, which holds relatives of some crystals of "
        "`open/random`, test: its last row is no clean test of new types."
    )
    return "\n".join(lines)


def _findings(results: dict[str, Any]) -> str:
    found = results["comparisons"]
    one, two = found["1"]["metrics"]["top_1"], found["2"]["metrics"]["top_1"]
    lines = [
        "## Findings 1 and 2\n",
        "| no. | comparison | A | B | A − B | verdict |",
        "|---|---|---|---|---|---|",
        f"| 1 | relatives seen (A) or not (B), the same {found['1']['crystals']:,} "
        f"crystals | {_cell(one['first'])} | {_cell(one['second'])} | "
        f"{_cell(one['difference'], True)} | {verdict(one['difference'])} |",
        "| 1b | random split (A), split by type (B), each its own test | | | "
        f"{_cell(found['1b'], True)} | {verdict(found['1b'])} |",
        f"| 2 | endless synthetic (A), finite real crystals (B), "
        f"{found['2']['crystals']:,} crystals of unseen types | "
        f"{_cell(two['first'])} | {_cell(two['second'])} | "
        f"{_cell(two['difference'], True)} | {verdict(two['difference'])} |",
    ]
    return "\n".join(lines)


def verdict(difference: dict[str, float]) -> str:
    """Say what the plan says beforehand of an interval."""
    if difference["low"] > 0.0:
        return "repeated"
    return "refuted" if difference["high"] < 0.0 else "open"


def _randomised(results: dict[str, Any]) -> str:
    lines = [
        "## Finding 3: what sets real crystals apart\n",
        "The synthetic arm on real crystals whose coordinates, cells or both were "
        "drawn anew as those of synthetic crystals are; gains are paired by crystal "
        "and by model.\n",
        "| part | drawn anew | top-1 | gain | verdict |",
        "|---|---|---|---|---|",
    ]
    for part in ("test", "statistics"):
        found = results["randomised"][part]
        for name in _VARIANTS:
            row = found[name]
            gain = row["difference"]
            told = {
                "as they are": ("nothing", "", ""),
                # The plan expects of cells that they matter less: the row below.
                "lattice": ("lattice", _cell(gain, True), ""),
            }.get(name, (name, _cell(gain, True), verdict(gain)))
            lines.append(
                f"| {part} ({found['crystals']:,}) | {told[0]} | "
                f"{_cell(row['first'])} | {told[1]} | {told[2]} |"
            )
        gap = found["coordinates, not lattice"]["difference"]
        lines.append(
            f"| {part} ({found['crystals']:,}) | coordinates minus lattice | | "
            f"{_cell(gap, True)} | {verdict(gap)} |"
        )
    lines.append(
        "\nThe paper found that coordinates make most of the gap. That coordinates "
        "matter is repeated here; that coordinates matter more than cells is "
        "judged by the rows `coordinates minus lattice`, as the plan's 3b says."
    )
    lines.append("\n![Accuracy on crystals drawn anew](img/results-randomised.svg)")
    return "\n".join(lines)


def _curve(results: dict[str, Any], laws: dict[str, dict[str, float]]) -> str:
    law = laws["real_top_1"]
    last = max(row["patterns_seen"] for row in results["curve"])
    here, ten = (100 * (1 - law["a"] * n ** -law["b"]) for n in (last, 10 * last))
    return (
        "## Accuracy against patterns seen\n\n"
        "![Accuracy against patterns seen](img/results-curve.svg)\n\n"
        "Dashed: 1 − accuracy = a n^−b (the form of the paper's Fig. 5), fitted to the "
        f"three runs; b = {law['b']:.3f} for real crystals. Carried on, ten times the "
        f"patterns would raise {here:.1f} to {ten:.1f} %. The points lie within runs "
        "whose learning rate falls to zero at their end, so the law describes these "
        "curves and promises nothing."
    )


def _long(found: dict[str, Any]) -> str:
    test = found["randomised"]["test"]
    statistics = found["randomised"]["statistics"]
    law = fit_power_law(found["curve"])["real_top_1"]
    lines = [
        "## Not planned: another network, trained longer\n",
        f"`{found['model']}`, {found['patterns']:,} synthetic patterns, "
        f"{found['cpu_seconds'] / 3600:.1f} hours of processor time, one seed (full "
        "lines above; intervals over structure types only, so seeds are not in them). "
        f"Its points behave as b = {law['b']:.3f} for real crystals.\n",
        "| drawn anew | test part | gain | statistics part | gain |",
        "|---|---|---|---|---|",
    ]
    for name in _VARIANTS:
        cells = []
        for part in (test, statistics):
            gain = (
                "" if name == "as they are" else _cell(part[name]["difference"], True)
            )
            cells += [_cell(part[name]["first"]), gain]
        told = "nothing" if name == "as they are" else name
        lines.append(f"| {told} | " + " | ".join(cells) + " |")
    gaps = [
        _cell(part["coordinates, not lattice"]["difference"], True)
        for part in (test, statistics)
    ]
    lines.append(f"| coordinates minus lattice | | {gaps[0]} | | {gaps[1]} |")
    lines.append(
        "\nWhere the network is good enough to tell, coordinates matter more than "
        "cells, as the paper says; this was looked at afterwards and with one seed."
    )
    return "\n".join(lines)


def _rest() -> str:
    return (
        "## What was not computed here\n\n"
        "ResNet-10 and ResNet-50 need a GPU for days (a ResNet-10 trains 12 patterns/s "
        "on two CPU cores); the ICSD tracks need a licence; the measured patterns of "
        "RRUFF a download. Their commands are in docs/data.md, docs/tracks.md and "
        "`pxrdbench train --help`."
    )


def _cell(found: dict[str, float], signed: bool = False) -> str:
    sign = "+" if signed else ""
    value, low, high = (100 * found[key] for key in ("value", "low", "high"))
    return f"{value:{sign}.1f} ({low:{sign}.1f} to {high:{sign}.1f})"


def _pyplot() -> Any:
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "pxrdbench"
    return plt


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
