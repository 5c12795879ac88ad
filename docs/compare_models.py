"""Compare networks at equal processor time and at equal patterns, on ``dev``.

    python docs/compare_models.py OUT.json [--seconds 60] [--patterns 60000]

One thread trains, the same thread draws the patterns: processor time holds everything.
Runs that stand in OUT.json are not repeated, so that it can go on after a stop. Then

    python docs/compare_models.py OUT.json --table docs/models.md

writes the tables between the markers of the page.
"""

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np

from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.learning.networks.registry import build_model
from pxrdbench.learning.training.trainer import TrainConfig, train

MODELS = (
    "peak-network",
    "peak-network-light",
    "peak-network-wide",
    "scan-network",
    "profile-network",
    "peak-attention",
    "pattern-convnext",
)
SEEDS = (0, 1, 2)
BEGIN, END = "<!-- comparison -->", "<!-- end of comparison -->"


def run(model: str, seed: int, limit: dict[str, float]) -> dict[str, object]:
    """Train once and say how well."""
    with tempfile.TemporaryDirectory() as folder:
        report = train(
            TrainConfig(
                model=model,
                out=Path(folder),
                recipe=Recipe("open-v0", seed=seed),
                seed=seed,
                threads=1,
                loader_workers=0,
                evaluations=0,
                **limit,
            )
        )
    if report.is_interrupted:  # a run that was cut short is no result
        sys.exit("stopped; the same command goes on")
    return {
        "patterns": report.patterns_seen,
        "cpu_seconds": round(report.cpu_seconds, 1),
        "parameters": report.n_parameters,
        **{name: round(value, 4) for name, value in report.accuracy.items()},
    }


def write_table(results: dict[str, dict[str, object]], page: Path) -> None:
    """Put the tables between the markers."""
    groups: dict[tuple[str, str], list[dict[str, object]]] = defaultdict(list)
    for key, value in results.items():
        limit, model, _ = key.split("|")
        groups[limit, model].append(value)
    lines = [BEGIN]
    for limit in dict.fromkeys(limit for limit, _ in groups):
        lines += [
            "",
            f"Equal {limit}:",
            "",
            "| model | parameters | patterns seen | µs a pattern | dev top-1 % | "
            "dev top-5 % | synthetic top-1 % | seeds |",
            "|---|---|---|---|---|---|---|---|",
        ]
        rows = []
        for (other, model), runs in groups.items():
            if other != limit:
                continue
            rows.append((np.mean([r["real_top_1"] for r in runs]), model, runs))
        for _, model, runs in sorted(rows, key=lambda row: -row[0]):
            seen = np.mean([r["patterns"] for r in runs])
            cost = np.mean([r["cpu_seconds"] / r["patterns"] for r in runs])
            cells = [model, f"{runs[0]['parameters']:,}", f"{seen:,.0f}"]
            cells.append(f"{1e6 * cost:,.0f}")
            for name in ("real_top_1", "real_top_5", "synthetic_top_1"):
                values = 100 * np.array([r[name] for r in runs])
                cells.append(f"{values.mean():.1f} ± {np.ptp(values) / 2:.1f}")
            lines.append("| " + " | ".join([*cells, str(len(runs))]) + " |")
    lines += ["", END]
    text = page.read_text("utf-8")
    start, stop = text.index(BEGIN), text.index(END) + len(END)
    page.write_text(text[:start] + "\n".join(lines) + text[stop:], "utf-8")


def main() -> None:
    """Run what is missing, or write the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--patterns", type=int, default=60_000)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    if options.table is not None:
        write_table(results, options.table)
        return
    limits = {
        f"processor time, {options.seconds:g} s": {"cpu_minutes": options.seconds / 60},
        f"patterns, {options.patterns:,}": {"patterns": options.patterns},
    }
    for seed in SEEDS[: options.seeds]:
        for model in options.models.split(","):
            build_model(model, 95)  # an unknown name ends it here
            for name, limit in limits.items():
                key = f"{name}|{model}|{seed}"
                if key in results:
                    continue
                results[key] = run(model, seed, limit)
                options.out.write_text(json.dumps(results, indent=1) + "\n")
                sys.stdout.write(f"{key}: {results[key]}\n")


if __name__ == "__main__":
    main()
