"""A track's patterns become predictions."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64

from pxrdbench.benchmark.scoring.predictions import Predictions, pack_logits
from pxrdbench.benchmark.scoring.seen import describe_physics, find_seen
from pxrdbench.benchmark.scoring.track_input import TrackInput
from pxrdbench.diffraction.pattern import Radiation, TwoThetaGrid
from pxrdbench.errors import EvaluationError, PxrdbenchWarning
from pxrdbench.learning.networks.registry import Classifier
from pxrdbench.tracks.load import Part

# Patterns of a range, and which of their points were measured.
MakePatterns = Callable[
    [int, int],
    tuple[Float32[np.ndarray, "batch points"], Bool[np.ndarray, "batch points"] | None],
]


# float16 keeps shares to 2^-11 of themselves (IEEE 754: 11 bits), so that even its
# softmax sums to 1 within 5e-4; logits do so in every row by no chance.
_NEAR_ONE = 1e-3


class ProbabilityWarning(PxrdbenchWarning):
    """A model gives what look like probabilities where logits are asked for."""


@dataclass(frozen=True, eq=False)
class ModelDescription:
    """What predictions write down about the model that made them.

    Attributes:
        name: What to call it.
        digest: sha256 of its checkpoint, hex; "" for a model in memory.
        radiation: What it reads patterns of, if it says so.
        class_frequencies: Share of each space group in training, if known.
        restricted: Whether licensed crystals went into it.
        provenance: More, as text by name.
    """

    name: str = "model"
    digest: str = ""
    radiation: Radiation | None = None
    class_frequencies: Mapping[int, float] | None = None
    restricted: bool = False
    provenance: Mapping[str, str] = field(default_factory=dict)

    def frequencies_of(
        self, classes: tuple[int, ...]
    ) -> Float64[np.ndarray, " classes"] | None:
        """Give the shares in the order of a class list."""
        if self.class_frequencies is None:
            return None
        shares = [self.class_frequencies.get(number, 0.0) for number in classes]
        return np.array(shares, np.float64)


def describe_model(
    classifier: "Classifier", name: str | None = None
) -> ModelDescription:
    """Gather what a model says of itself.

    Args:
        classifier: A checkpoint's classifier, or any other.
        name: What to call it; its architecture if None.
    """
    from pxrdbench.learning.models.checkpoint import CheckpointClassifier
    from pxrdbench.learning.models.crystallographer import NAME, Crystallographer

    if isinstance(classifier, Crystallographer):
        return ModelDescription(
            name or NAME,
            radiation=classifier.radiation,
            class_frequencies=dict(enumerate(classifier.prior[1:].tolist(), 1)),
            provenance={
                "architecture": "lines, cells, absences, groups; nothing learnt",
                "prior": classifier.prior_name,
            },
        )
    if not isinstance(classifier, CheckpointClassifier):
        return ModelDescription(name or type(classifier).__name__)
    checkpoint = classifier.checkpoint
    provenance = {
        "architecture": checkpoint.model,
        "patterns seen": f"{checkpoint.patterns_seen:,}",
        "recipe digest": checkpoint.recipe_digest,
        "prior digest": checkpoint.prior_digest,
        **{f"trained with {k}": v for k, v in checkpoint.versions.items()},
    }
    return ModelDescription(
        name=name or checkpoint.model,
        digest=classifier.digest,
        radiation=checkpoint.radiation,
        class_frequencies=(
            dict(
                zip(checkpoint.space_groups, checkpoint.class_frequencies, strict=True)
            )
            if checkpoint.class_frequencies
            else _training_frequencies(checkpoint.prior_digest)
        ),
        restricted=checkpoint.restricted,
        provenance=provenance,
    )


def _training_frequencies(prior_digest: str) -> dict[int, float] | None:
    """Find the class frequencies of a prior that this package ships."""
    from pxrdbench.crystal.prior.prior import load_prior

    prior = load_prior("open-v0")
    for kind in ("fitted", "icsd"):
        variant = prior.with_frequencies(kind)
        if prior_digest == variant.digest:
            shares = variant.space_group_probability
            return dict(zip(variant.space_groups, shares.tolist(), strict=True))
    return None


def predict_track(
    classifier: "Classifier",
    track: Part,
    description: "ModelDescription | None" = None,
    *,
    batch_size: int = 256,
    on_progress: Callable[[int, int], None] | None = None,
) -> Predictions:
    """Ask a model about every crystal of a track.

    Patterns are made on the grid and with the radiation that the model reads, where
    they differ from the track's: see ``TrackInput``.

    Args:
        classifier: The model.
        track: Frozen patterns.
        description: What to write down about the model; what it says of itself if
            None.
        batch_size: Patterns in memory at once.
        on_progress: Called with patterns done and patterns in total.

    Warns:
        ProbabilityWarning: If every row that the model gives is not negative and sums
            to 1. First guesses are then right, but what is read from its confidence
            is not.

    Raises:
        EvaluationError: If the model reads angles that the track lacks, or gives
            logits of another shape.
    """
    known = describe_model(classifier) if description is None else description
    takes_mask = bool(getattr(classifier, "takes_mask", False))
    source = TrackInput.match(
        track, classifier.grid, known.radiation, takes_mask=takes_mask
    )
    n = len(track.ids)
    rows, done, suspicious = [], 0, True
    for logits in ask_model(classifier, source.batch, n, batch_size=batch_size):
        suspicious = suspicious and look_like_probabilities(logits)
        rows.append(pack_logits(logits))
        done += len(logits)
        if on_progress is not None:
            on_progress(done, n)
    if suspicious:
        warnings.warn(
            f"every answer of {known.name} is between 0 and 1 and sums to 1, like "
            "probabilities: logits are asked for (leave the softmax away, or give the "
            "logarithm); as they are, its confidence and its nll are wrong",
            ProbabilityWarning,
            stacklevel=2,
        )
    how = {"patterns": source.method} if source.method else {}
    classes = tuple(int(number) for number in classifier.space_groups)
    return Predictions(
        ids=tuple(track.ids),
        logits=np.concatenate(rows),
        space_groups=classes,
        track=track.name,
        part=track.part,
        track_version=str(track.version),
        track_digest=track.digest,
        model_name=known.name,
        model_digest=known.digest,
        class_frequencies=known.frequencies_of(classes),
        restricted=known.restricted or track.restricted,
        provenance={
            **known.provenance,
            **how,
            **describe_physics(classifier, track),
            **find_seen(classifier, track).provenance(track),
        },
    )


def look_like_probabilities(logits: Float[np.ndarray, "batch classes"]) -> bool:
    """Tell whether each row lies between 0 and 1 and sums to 1, as of a softmax."""
    if logits.shape[1] < 2:
        return False
    total = logits.sum(axis=1, dtype=np.float64)
    return bool((logits >= 0.0).all() and (np.abs(total - 1.0) < _NEAR_ONE).all())


def ask_model(
    classifier: "Classifier",
    make: MakePatterns,
    count: int,
    *,
    batch_size: int = 256,
) -> Iterator[Float32[np.ndarray, "batch classes"]]:
    """Ask a model about patterns, some at a time: the one loop that does.

    Args:
        classifier: The model.
        make: From the first pattern and how many to the patterns (maximum 1) and to
            which points were measured, None for all.
        count: Patterns in all.
        batch_size: Patterns in memory at once.

    Yields:
        Logits of the next patterns.

    Raises:
        EvaluationError: If the model gives logits of another shape.
    """
    takes_mask = bool(getattr(classifier, "takes_mask", False))
    classes = len(classifier.space_groups)
    for start in range(0, count, batch_size):
        size = min(batch_size, count - start)
        patterns, mask = make(start, size)
        extra = (mask,) if takes_mask else ()
        logits = np.asarray(classifier.predict(patterns, *extra))
        if logits.shape != (size, classes):
            raise EvaluationError(
                f"the model gives logits of shape {logits.shape} for {size} patterns "
                f"and {classes} classes"
            )
        yield logits


def resample(
    intensity: Float32[np.ndarray, "batch points"],
    source: TwoThetaGrid,
    target: TwoThetaGrid,
) -> Float32[np.ndarray, "batch other_points"]:
    """Interpolate patterns linearly at other angles and scale them to maximum 1."""
    if source == target:
        return intensity
    wanted, angles = target.angles(), source.angles()
    rows = np.array([np.interp(wanted, angles, row) for row in intensity], np.float32)
    largest = rows.max(axis=1, keepdims=True)
    return np.asarray(np.divide(rows, largest, out=rows, where=largest > 0.0))
