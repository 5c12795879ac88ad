"""Robustness of a model as data and as JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pxrdbench.benchmark.intervals import Estimate
from pxrdbench.errors import EvaluationError

FORMAT, FORMAT_VERSION = "pxrdbench.robustness", 1


@dataclass(frozen=True)
class LevelResult:
    """A model at one strength of one effect.

    Attributes:
        level: Strength, in the unit of the curve.
        top_1: Accuracy.
        loss: Accuracy without the effect minus accuracy with it, paired.
        top_5: Accuracy of the first five guesses.
    """

    level: float
    top_1: Estimate
    loss: Estimate
    top_5: Estimate


@dataclass(frozen=True)
class Curve:
    """A model under one effect; see ``effect_levels`` for what the levels are."""

    effect: str
    title: str
    unit: str
    levels: tuple[LevelResult, ...]


@dataclass(frozen=True)
class Robustness:
    """A model under every effect.

    Attributes:
        model: ``name`` and ``digest``.
        track: ``name``, ``part``, ``version``, ``digest``.
        crystals: How many of the part were used.
        seed: Of the effects' random numbers.
        top_1: Accuracy without any effect.
        top_5: Likewise.
        curves: One an effect.
    """

    model: Mapping[str, str]
    track: Mapping[str, str]
    crystals: int
    seed: int
    top_1: Estimate
    top_5: Estimate
    curves: tuple[Curve, ...]

    def to_json(self) -> str:
        """Write as JSON: equal results give equal text."""
        record = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}
        return json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def write(self, path: Path | str) -> None:
        """Write to a JSON file, whole or not at all."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        part.write_text(self.to_json(), encoding="utf-8")
        part.replace(path)


def read_robustness(path: Path | str) -> Robustness:
    """Read what `Robustness.write` wrote.

    Raises:
        EvaluationError: If it is missing or wrong.
    """
    path = Path(path)
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if (record["format"], record["format_version"]) != (FORMAT, FORMAT_VERSION):
            raise EvaluationError(f"{path} is no {FORMAT} of version {FORMAT_VERSION}")

        def estimate(item: Any) -> Estimate:
            return Estimate.from_dict(item, str(path))

        curves = tuple(
            Curve(
                curve["effect"],
                curve["title"],
                curve["unit"],
                tuple(
                    LevelResult(
                        float(item["level"]),
                        estimate(item["top_1"]),
                        estimate(item["loss"]),
                        estimate(item["top_5"]),
                    )
                    for item in curve["levels"]
                ),
            )
            for curve in record["curves"]
        )
        return Robustness(
            record["model"],
            record["track"],
            int(record["crystals"]),
            int(record["seed"]),
            estimate(record["top_1"]),
            estimate(record["top_5"]),
            curves,
        )
    except EvaluationError:
        raise
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise EvaluationError(f"{path} cannot be read: {error}") from error
