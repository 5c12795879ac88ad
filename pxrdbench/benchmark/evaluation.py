"""From a model to numbers: predict a track, score what was predicted, report."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pxrdbench.benchmark.foreign.open import opened_model
from pxrdbench.benchmark.foreign.sandbox import SandboxLimits
from pxrdbench.benchmark.scoring.evaluation_record import Evaluation
from pxrdbench.benchmark.scoring.predict import describe_model, predict_track
from pxrdbench.benchmark.scoring.predictions import Predictions
from pxrdbench.benchmark.scoring.score import score
from pxrdbench.tracks.load import Part, load_part

if TYPE_CHECKING:  # imports torch, which scoring stored predictions needs not
    from pxrdbench.learning.networks.registry import Classifier

__all__ = [
    "DEFAULT_TRACK",
    "Evaluation",
    "Predictions",
    "describe_model",
    "evaluate",
    "predict_track",
    "score",
]

DEFAULT_TRACK = "aflow/prototypes"


def evaluate(
    model: "Path | str | Classifier | Predictions",
    track: str | Path | Part = DEFAULT_TRACK,
    part: str = "test",
    out: Path | str | None = None,
    *,
    model_name: str | None = None,
    batch_size: int = 256,
    on_progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Find out what a model is worth on a track.

    Args:
        model: Path of a checkpoint (``.pt``) or of stored predictions (``.h5``), a
            classifier, or predictions.
        track: Name of a track, see ``available_tracks``, the folder of one that was
            built from licensed data or measured patterns, or a loaded part.
        part: Part of the track, if it is given by name.
        out: Folder for ``predictions.h5``, ``evaluation.json`` and ``report.html``;
            nothing is written if None.
        model_name: What to call the model; its architecture's name if None.
        batch_size: Patterns in memory at once.
        on_progress: Called with patterns done and patterns in total.

    Raises:
        ModelError: If a checkpoint cannot be opened safely.
        EvaluationError: If the model or the predictions do not belong to the track.
        SplitError: If the track is unknown.
    """
    loaded = load_part(track, part)
    predictions = _find_predictions(model, loaded, model_name, batch_size, on_progress)
    evaluation = score(predictions, loaded)
    if out is not None:
        # The report draws figures, which takes matplotlib: not needed for numbers.
        from pxrdbench.benchmark.report.page import write_report

        out = Path(out)
        predictions.write(out / "predictions.h5")
        evaluation.write(out / "evaluation.json")
        write_report(evaluation, predictions, out / "report.html", track=loaded)
    return evaluation


def _find_predictions(
    model: "Path | str | Classifier | Predictions",
    track: Part,
    model_name: str | None,
    batch_size: int,
    on_progress: Callable[[int, int], None] | None,
) -> Predictions:
    """Take predictions as they are, read them, or ask the model."""
    if isinstance(model, Predictions):
        return model
    if isinstance(model, str | Path):
        path = Path(model)
        if path.suffix in {".h5", ".hdf5"}:
            return Predictions.read(path)
        from pxrdbench.learning.models.checkpoint import load_classifier

        model = load_classifier(path)
    return predict_track(
        model,
        track,
        describe_model(model, model_name),
        batch_size=batch_size,
        on_progress=on_progress,
    )


def evaluate_file(
    model: Path | str,
    track: str | Path | Part = DEFAULT_TRACK,
    part: str = "test",
    out: Path | str | None = None,
    *,
    weights: Path | str | None = None,
    model_name: str | None = None,
    limits: SandboxLimits | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Evaluate whatever a user has, safely; see ``evaluate``.

    Args:
        model: One of our checkpoints, stored predictions (``.h5``), a stranger's
            model, ``module:factory``, or a name; see above.
        track: Name of a track, or a loaded part.
        part: Part of the track, if it is given by name.
        out: Folder for predictions, evaluation and report.
        weights: What a name or ``module:factory`` is given.
        model_name: What to call the model; the file's name for a stranger's.
        limits: What a stranger's model may use.
        on_progress: Called with patterns done and patterns in total.

    Raises:
        ModelError: If the model cannot be found or opened safely.
        EvaluationError: If it does not belong to the track.
    """
    path = Path(model)
    if path.suffix in {".h5", ".hdf5"}:
        return evaluate(path, track, part, out, model_name=model_name)
    loaded = load_part(track, part)
    with opened_model(model, limits, weights=weights, name=model_name) as opened:
        classifier, description = opened
        predictions = predict_track(
            classifier, loaded, description, on_progress=on_progress
        )
    return evaluate(predictions, loaded, out=out)
