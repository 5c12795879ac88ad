"""A scan from the laboratory in, ranked space groups out.

    result = px.predict(two_theta, intensity, radiation="CuKa")
    result.candidates[0].space_group, result.candidates[0].probability
    result.warnings
    result            # in a notebook: picture and tables

Torch is imported when a model is loaded, not with this module.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from pxrdbench.crystal.symmetry.extinction_symbols import load_extinction_symbols
from pxrdbench.crystal.symmetry.tables import crystal_system, space_group_symbol
from pxrdbench.diffraction.radiation import Radiation
from pxrdbench.errors import ModelError, PxrdbenchError, SourceError
from pxrdbench.learning.models.find import available_checkpoints, find_checkpoint
from pxrdbench.prediction.prepare import PreparedScan, ScanContract, prepare_scan
from pxrdbench.prediction.result import Candidate, Prediction, Total
from pxrdbench.sources.scans.pattern import MeasuredPattern, make_pattern

if TYPE_CHECKING:
    from pxrdbench.learning.models.checkpoint import CheckpointClassifier


def predict(
    two_theta: Sequence[float] | Float64[np.ndarray, " points"],
    intensity: Sequence[float] | Float64[np.ndarray, " points"],
    radiation: str | float | Radiation,
    *,
    model: str | Path | None = None,
    name: str = "scan",
) -> Prediction:
    """Rank space groups for one powder scan.

    Args:
        two_theta: Angles 2θ [degrees], ascending; any range and steps.
        intensity: Counts, or whatever is proportional to them, with background.
        radiation: What it was measured with: ``"CuKa"`` (the doublet of a tube without
            monochromator), ``"CuKa1"``, ``"MoKa"``, a wavelength [Å], or a
            ``Radiation``. It is never assumed.
        model: Name of a model of this package, checkpoint or run; the model that
            is made for measured scans if left away.
        name: What to call the scan.

    Raises:
        SourceError: If the numbers are no scan, or show no lines.
        PatternError: If the radiation is unknown.
        ModelError: If there is no such model.
    """
    if radiation is None:
        raise SourceError(
            "predict needs to know the radiation, such as radiation='CuKa'"
        )
    pattern = make_pattern(
        np.asarray(two_theta),
        np.asarray(intensity),
        Radiation.parse(radiation),
        name=name,
    )
    return predict_pattern(pattern, model=model)


def predict_pattern(
    pattern: MeasuredPattern,
    radiation: str | float | Radiation | None = None,
    *,
    model: str | Path | None = None,
) -> Prediction:
    """Rank space groups for a scan that was read from a file.

    Args:
        pattern: As ``read_scan`` gives it.
        radiation: What it was measured with; the pattern's own if left away.
        model: As for ``predict``.

    Raises:
        SourceError: If the radiation is not known, or the scan shows no lines.
        PatternError: If the radiation is unknown.
        ModelError: If there is no such model.
    """
    lines = pattern.radiation if radiation is None else Radiation.parse(radiation)
    if lines is None:
        raise SourceError(
            f"{pattern.name}: the file does not tell its radiation; say it, such as "
            "--radiation CuKa (radiation='CuKa')"
        )
    path = find_model_file(model)
    classifier = load_model(path)
    scan = prepare_scan(pattern, lines, contract_of(classifier))
    logits = predict_scan_logits(classifier, [scan])[0]
    return _make_prediction(pattern.name, logits, classifier, scan, lines, path.stem)


def find_model_file(model: str | Path | None = None) -> Path:
    """Path of a checkpoint, of a model's name, or of the model that ships.

    Raises:
        ModelError: If there is none.
    """
    if model is None:
        shipped = available_checkpoints()
        if not shipped:
            raise ModelError(
                "this version ships no model for measured scans; name a checkpoint "
                "(--model runs/last/last.pt)"
            )
        return next(iter(shipped.values()))
    return find_checkpoint(model)


def load_model(path: Path) -> "CheckpointClassifier":
    """Read a checkpoint, once for each state of the file."""
    return _load_model(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _load_model(path: Path, _changed: int) -> "CheckpointClassifier":
    from pxrdbench.learning.models.checkpoint import load_classifier

    return load_classifier(path)


def contract_of(classifier: "CheckpointClassifier") -> ScanContract:
    """What the patterns looked like that a model learnt from."""
    from pxrdbench.learning.loading.mixture import find_mixed_measurement

    checkpoint = classifier.checkpoint
    effects: set[str] = set()
    for name in checkpoint.measurement:
        try:
            measurement = find_mixed_measurement(name)
        except PxrdbenchError:
            continue  # of a newer version, or somebody's own
        if measurement is not None:
            effects |= {type(effect).__name__ for effect in measurement.effects}
    return ScanContract.of(checkpoint.grid, checkpoint.radiation, effects)


def predict_scan_logits(
    classifier: "CheckpointClassifier", scans: Sequence[PreparedScan]
) -> Float64[np.ndarray, "batch classes"]:
    """Calibrated logits of prepared scans, means over the shifts of each."""
    intensity = np.concatenate([scan.intensity for scan in scans])
    mask = np.concatenate([scan.is_measured for scan in scans])
    logits = classifier.predict(intensity, mask).astype(np.float64)
    rows = logits.reshape(len(scans), -1, logits.shape[1])
    means: np.ndarray = rows.mean(axis=1)
    return means


def to_probabilities(
    logits: Float64[np.ndarray, "batch classes"],
) -> Float64[np.ndarray, "batch classes"]:
    """Softmax; rows add up to one."""
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: np.ndarray = odds / odds.sum(axis=-1, keepdims=True)
    return result


def _make_prediction(
    name: str,
    logits: Float64[np.ndarray, " classes"],
    classifier: "CheckpointClassifier",
    scan: PreparedScan,
    radiation: Radiation,
    model: str,
) -> Prediction:
    probability = to_probabilities(logits)
    candidates = tuple(
        Candidate(
            classifier.space_groups[place],
            space_group_symbol(classifier.space_groups[place]),
            float(probability[place]),
        )
        for place in np.argsort(-probability, kind="stable")
    )
    symbols = load_extinction_symbols()
    return Prediction(
        name,
        candidates,
        _add_up(
            candidates,
            # One symbol may stand for classes of several systems.
            [
                f"{symbols[c.space_group]} ({_family(c.space_group)})"
                for c in candidates
            ],
        ),
        _add_up(candidates, [crystal_system(c.space_group) for c in candidates]),
        scan.warnings,
        radiation,
        model,
        classifier.grid.angles(),
        scan.scan,
        scan.baseline,
        scan.is_measured[scan.unmoved],
    )


def _family(space_group: int) -> str:
    """Crystal family: trigonal and hexagonal groups have absences in common."""
    system = crystal_system(space_group)
    return "hexagonal" if system == "trigonal" else system


def _add_up(candidates: Sequence[Candidate], names: Sequence[str]) -> tuple[Total, ...]:
    """Totals by name, the likeliest first."""
    members: dict[str, list[Candidate]] = {}
    for candidate, name in zip(candidates, names, strict=True):
        members.setdefault(name, []).append(candidate)
    totals = [
        Total(
            name,
            sum(candidate.probability for candidate in group),
            tuple(candidate.space_group for candidate in group),
        )
        for name, group in members.items()
    ]
    return tuple(sorted(totals, key=lambda total: -total.probability))
