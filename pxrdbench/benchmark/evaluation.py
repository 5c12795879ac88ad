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
from pxrdbench.errors import OptionError
from pxrdbench.tracks.load import Part, check_track_name, load_part

if TYPE_CHECKING:  # imports torch, which scoring stored predictions needs not
    from pxrdbench.learning.networks.registry import Classifier

__all__ = [
    "DEFAULT_TRACK",
    "Evaluation",
    "Predictions",
    "describe_model",
    "evaluate",
    "find_part",
    "predict_model",
    "predict_track",
    "score",
]

DEFAULT_TRACK = "aflow/prototypes"
_PREDICTIONS = {".h5", ".hdf5"}


def evaluate(
    model: "Path | str | Classifier | Predictions",
    track: str | Path | Part | None = None,
    part: str | None = None,
    out: Path | str | None = None,
    *,
    weights: Path | str | None = None,
    model_name: str | None = None,
    limits: SandboxLimits | None = None,
    batch_size: int = 256,
    on_progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Find out what a model is worth on a track.

    Args:
        model: Whatever there is: one of our checkpoints, the folder of its run or the
            name of one that ships; a state dict, safetensors or ONNX file of a
            stranger, ``module:factory`` of your own code, or a name that a package
            registered, which are opened where they can do no harm; stored predictions
            (``.h5``); or a classifier or predictions in memory.
        track: Name of a track, see ``available_tracks``, the folder of one that was
            built from licensed data or measured patterns, or a loaded part; that of
            stored predictions, else ``aflow/prototypes``, if None.
        part: Part of the track, if it is not loaded; that of stored predictions, else
            ``test``, if None.
        out: Folder for ``predictions.h5``, ``evaluation.json`` and ``report.html``;
            nothing is written if None.
        weights: What a name or ``module:factory`` is given.
        model_name: What to call the model; its architecture's name, or the file's for
            a stranger's, if None.
        limits: What a model in a process of its own may use.
        batch_size: Patterns in memory at once.
        on_progress: Called with patterns done and patterns in total.

    Raises:
        ModelError: If the model cannot be found or opened safely.
        OptionError: If weights, limits or a name are given to what takes none.
        EvaluationError: If the model or the predictions do not belong to the track.
        SplitError: If the track is unknown.
    """
    stored = _find_stored(model)
    loaded = find_part(model if stored is None else stored, track, part)
    predictions = predict_model(
        model if stored is None else stored,
        loaded,
        weights=weights,
        model_name=model_name,
        limits=limits,
        batch_size=batch_size,
        on_progress=on_progress,
    )
    evaluation = score(predictions, loaded)
    if out is not None:
        # The report draws figures, which takes matplotlib: not needed for numbers.
        from pxrdbench.benchmark.report.page import write_report

        out = Path(out)
        predictions.write(out / "predictions.h5")
        evaluation.write(out / "evaluation.json")
        write_report(evaluation, predictions, out / "report.html", track=loaded)
    return evaluation


def find_part(
    model: "Path | str | Classifier | Predictions",
    track: str | Path | Part | None = None,
    part: str | None = None,
) -> Part:
    """Find the part of a track that a model is evaluated on; see ``evaluate``.

    Raises:
        SplitError: If there is no such track or part. Predictions name a track of this
            installation: what is read from a file chooses no folder.
    """
    stored = _find_stored(model)
    if track is None:
        track = DEFAULT_TRACK if stored is None else check_track_name(stored.track)
    if part is None:
        part = "test" if stored is None else stored.part
    return load_part(track, part)


def predict_model(
    model: "Path | str | Classifier | Predictions",
    track: Part,
    *,
    weights: Path | str | None = None,
    model_name: str | None = None,
    limits: SandboxLimits | None = None,
    batch_size: int = 256,
    on_progress: Callable[[int, int], None] | None = None,
) -> Predictions:
    """Take predictions as they are, read them, or open a model and ask it.

    Args:
        model: See ``evaluate``, as for the others.
        track: What to ask.
        weights: What a name or ``module:factory`` is given.
        model_name: What to call the model.
        limits: What a model in a process of its own may use.
        batch_size: Patterns in memory at once.
        on_progress: Called with patterns done and patterns in total.

    Raises:
        ModelError: If the model cannot be found or opened safely.
        OptionError: If weights, limits or a name are given to what takes none.
    """
    stored = _find_stored(model)
    if stored is not None:
        for option, value in (
            ("weights (--weights)", weights),
            ("limits (--unconfined)", limits),
            ("model_name", model_name),
        ):
            if value is not None:
                raise OptionError(
                    f"{option} cannot act on stored predictions: they were made"
                )
        return stored
    with opened_model(model, limits, weights=weights, name=model_name) as opened:  # type: ignore[arg-type]  # no predictions are left
        classifier, description = opened
        return predict_track(
            classifier,
            track,
            description,
            batch_size=batch_size,
            on_progress=on_progress,
        )


def _find_stored(
    model: "Path | str | Classifier | Predictions",
) -> Predictions | None:
    """Predictions in memory or in a file; None for a model."""
    if isinstance(model, Predictions):
        return model
    if isinstance(model, str | Path) and Path(model).suffix in _PREDICTIONS:
        return Predictions.read(Path(model))
    return None
