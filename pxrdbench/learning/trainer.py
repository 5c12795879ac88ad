"""Train a model for some minutes or some patterns, stop, and go on later."""

from collections.abc import Callable, Mapping
from typing import Any

from pxrdbench.dataset.batch import Batch, BatchSource
from pxrdbench.dataset.recipe_card import RecipeCard
from pxrdbench.dataset.shard_set import ShardSet
from pxrdbench.dataset.split import load_track
from pxrdbench.errors import ModelError
from pxrdbench.learning.source_range import SourceRange
from pxrdbench.learning.threads import stop_signals, torch_threads
from pxrdbench.learning.train_config import TrainConfig, TrainProgress, TrainReport
from pxrdbench.learning.training_run import TrainingRun

__all__ = ["TrainConfig", "TrainProgress", "TrainReport", "fit", "train"]

# Samples of a recipe from here on are held out: no run gets so far.
_HELD_OUT_START = 2**40
_LARGEST_SHARE_HELD_OUT = 10  # one in so many samples of shards


def train(
    config: TrainConfig, on_progress: Callable[[TrainProgress], None] | None = None
) -> TrainReport:
    """Train a model on shards or on patterns drawn meanwhile.

    Ctrl-C and SIGTERM end the run behind the step at hand, with a checkpoint.

    Args:
        config: What, on what, how long.
        on_progress: Called about twice a second and behind each look at held-out
            patterns.

    Raises:
        ModelError: If the configuration contradicts itself, or the checkpoint to go
            on from belongs to another model or other data.
    """
    if (config.shards is None) == (config.recipe is None):
        raise ModelError(
            "give either a folder of shards or a recipe to draw patterns from"
        )
    source, synthetic, card = _open_source(config)
    held_out = {"synthetic": synthetic}
    if config.track is not None:
        part = load_track(config.track, "dev")
        held_out["real"] = part.batch(0, len(part))
    return fit(
        config,
        source,
        held_out,
        provenance={
            "recipe_digest": card.digest,
            "prior_digest": card.prior_digest,
            "restricted": card.restricted,
        },
        on_progress=on_progress,
    )


def _open_source(config: TrainConfig) -> tuple[BatchSource, Batch, RecipeCard]:
    """Find what to learn from, what is held out of it, and what it is."""
    if config.recipe is not None and config.shards is None:
        recipe = config.recipe
        return recipe, recipe.batch(_HELD_OUT_START, config.held_out), recipe.card
    if config.shards is None or config.recipe is not None:
        raise ModelError(
            "give either a folder of shards or a recipe to draw patterns from"
        )
    shards = ShardSet(config.shards, measurement=config.measurement)
    # The last samples, so that no recipe and no prior is needed to read shards.
    n_held_out = min(config.held_out, shards.length // _LARGEST_SHARE_HELD_OUT)
    if n_held_out < 1:
        raise ModelError(
            f"{config.shards} holds {shards.length} samples; at least "
            f"{_LARGEST_SHARE_HELD_OUT} are needed, of which one is held out"
        )
    first = shards.length - n_held_out
    return (
        SourceRange(shards, 0, first),
        shards.batch(first, n_held_out),
        shards.card,
    )


def fit(
    config: TrainConfig,
    source: BatchSource,
    held_out: Mapping[str, Batch],
    *,
    provenance: Mapping[str, Any] | None = None,
    on_progress: Callable[[TrainProgress], None] | None = None,
) -> TrainReport:
    """Train a model on any source; ``train`` finds the source and calls this.

    Args:
        config: What and how long; its ``shards``, ``recipe``, ``held_out`` and
            ``track`` are not read.
        source: Patterns to learn from.
        held_out: Patterns to look at on the way, by name. Those of space groups that
            the source does not have count as wrong.
        provenance: Fields of the checkpoint on where the patterns come from.
        on_progress: Called now and then.
    """
    run = TrainingRun(config, source, held_out, provenance or {}, on_progress)
    with torch_threads(run.threads), stop_signals() as stop:
        return run.train(stop)
