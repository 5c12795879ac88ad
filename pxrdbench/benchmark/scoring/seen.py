"""What a model has seen of what it is asked about: said with every prediction."""

from pathlib import Path
from typing import TYPE_CHECKING

from pxrdbench.tracks.learnt import (
    Learnt,
    Overlap,
    find_by_summary,
    find_overlap,
    learnt_of_prior,
)
from pxrdbench.tracks.part import Part

if TYPE_CHECKING:  # imports torch
    from pxrdbench.learning.networks.registry import Classifier


def find_seen(classifier: "Classifier", track: Part) -> Overlap:
    """Measure what a model has learnt from of a part of a track.

    Only our own checkpoints say what they learnt from; of a stranger's model, and of
    predictions that somebody brings, it is unknown.

    Args:
        classifier: The model.
        track: What it is asked about.
    """
    return find_overlap(_learnt_of(classifier), track)


def describe_physics(classifier: "Classifier", track: Part) -> dict[str, str]:
    """Say which physics the model learnt with and which the track has."""
    from pxrdbench.learning.models.checkpoint import CheckpointClassifier

    said = {"physics of the track": str(getattr(track, "physics", "measured"))}
    if isinstance(classifier, CheckpointClassifier):
        checkpoint = classifier.checkpoint
        said["physics learnt with"] = checkpoint.physics or "unknown"
        if checkpoint.protocol:
            said["protocol"] = checkpoint.protocol
    return said


def _learnt_of(classifier: "Classifier") -> Learnt | None:
    from pxrdbench.crystal.prior.prior import available_priors, load_prior
    from pxrdbench.learning.models.checkpoint import CheckpointClassifier
    from pxrdbench.learning.models.crystallographer import Crystallographer

    if isinstance(classifier, Crystallographer):
        name = classifier.prior_name
        # Whatever the frequencies, its volumes are those of the part that open-v0 was
        # fitted on; "open" has its frequencies, too.
        volumes = learnt_of_prior(load_prior("open-v0"))
        if name in ("open", "uniform"):
            return volumes
        if name not in available_priors() and not Path(name).is_file():
            return None
        found = learnt_of_prior(load_prior(name), name)
        return None if found is None or volumes is None else found.join(volumes)
    if not isinstance(classifier, CheckpointClassifier):
        return None
    checkpoint = classifier.checkpoint
    if checkpoint.learnt:
        found = None
        if classifier.place is not None:
            found = Learnt.read(classifier.place, checkpoint.learnt)
        return found or find_by_summary(checkpoint.learnt)
    # Checkpoints of before tell the prior only.
    for name in available_priors():
        prior = load_prior(name)
        if prior.digest == checkpoint.prior_digest:
            return learnt_of_prior(prior)
    return None
