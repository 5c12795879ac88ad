"""What a run learns from, what is held out of it, and what a checkpoint says of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pxrdbench.crystal.prior.prior import find_shipped_prior, kept_name, load_prior
from pxrdbench.dataset.batch import Batch
from pxrdbench.dataset.recipes.card import RecipeCard
from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.shards.manifest import Manifest
from pxrdbench.dataset.shards.rolling import RollingSet
from pxrdbench.dataset.shards.shard_set import ShardSet
from pxrdbench.dataset.source import BatchSource
from pxrdbench.dataset.storage.open import open_store
from pxrdbench.dataset.storage.store import Store
from pxrdbench.errors import ModelError, OptionError
from pxrdbench.learning.loading.following import (
    Say,
    choose_consumer,
    find_origin,
    find_way,
    refuse_second,
)
from pxrdbench.learning.loading.growing import GrowingSet
from pxrdbench.learning.loading.loader import BUFFER
from pxrdbench.learning.loading.mixture import MixedRecipes
from pxrdbench.learning.loading.real_crystals import RealChoices, open_real_crystals
from pxrdbench.learning.loading.several_sizes import SeveralSizes
from pxrdbench.learning.loading.source_range import SourceRange
from pxrdbench.learning.models.checkpoint import load_checkpoint
from pxrdbench.learning.models.find import find_checkpoint
from pxrdbench.learning.networks.registry import find_model
from pxrdbench.learning.training.class_list import parse_class_list
from pxrdbench.learning.training.config import TrainConfig
from pxrdbench.tracks.learnt import Learnt, find_by_summary, learnt_of_prior
from pxrdbench.tracks.load import load_track

# Samples of a recipe from here on are held out: no run gets so far.
_HELD_OUT_START = 2**40
_LARGEST_SHARE_HELD_OUT = 10  # one in so many samples of shards


@dataclass(frozen=True, eq=False)
class TrainingSource:
    """Patterns to learn from, and others to look at.

    Attributes:
        source: To learn from.
        held_out: To look at, by name.
        classes: The class list.
        provenance: Fields of a checkpoint on where the patterns come from.
        learnt: Real crystals behind them; None if nobody knows.
    """

    source: BatchSource
    held_out: Mapping[str, Batch]
    classes: tuple[int, ...]
    provenance: Mapping[str, Any]
    learnt: Learnt | None = None


def open_training_source(
    config: TrainConfig,
    say: Say = lambda _: None,
    state: Mapping[str, int] | None = None,
) -> TrainingSource:
    """Find what a configuration names.

    Args:
        config: Of the run.
        say: Told what is waited for.
        state: What a checkpoint kept of the stream that the run goes on with.

    Raises:
        ModelError: If it names none or several, or one too small to hold anything out.
        SplitError: If it names an unknown track.
    """
    given = [config.recipe, config.shards, config.source]
    if sum(value is not None for value in given) != 1:
        raise ModelError(
            "give either a folder of shards or a recipe to draw patterns from, or "
            "a source of real crystals: one of them"
        )
    if config.source is not None:
        choices = RealChoices(config.physics, config.fixed_sizes, config.limits)
        source, provenance = open_real_crystals(
            config.source, config.data, config.measurement, config.seed, choices
        )
        learnt = source.learnt
        n = min(config.held_out, len(source) // _LARGEST_SHARE_HELD_OUT)
        held_out = {"synthetic": _last(source, n)} if n else {}
        kept: BatchSource = SourceRange(source, 0, len(source) - n) if n else source
    else:
        kept, synthetic, provenance = _open_synthetic(config, say, state)
        learnt = _learnt_of_drawn(config, str(provenance["prior_digest"]))
        held_out = {"synthetic": synthetic}
    if config.track is not None and (real := _real_patterns(config.track, kept)):
        held_out["real"] = real
    classes = parse_class_list(config.classes, kept.space_groups)
    shares = provenance.pop("shares", {})
    if config.start_from is not None:
        before = learnt_of_checkpoint(config.start_from)
        learnt = None if before is None or learnt is None else learnt.join(before)
    provenance["learnt"] = {} if learnt is None else learnt.summary()
    provenance["protocol"] = config.protocol
    return TrainingSource(
        kept,
        held_out,
        classes,
        {
            **provenance,
            "class_frequencies": tuple(float(shares.get(g, 0.0)) for g in classes)
            if shares
            else (),
        },
        learnt,
    )


def _open_synthetic(
    config: TrainConfig, say: Say, state: Mapping[str, int] | None
) -> tuple[BatchSource, Batch, dict[str, Any]]:
    """A recipe, a mixture of recipes, or shards."""
    if config.shards is not None:
        store = open_store(config.shards)
        way = find_way(store, config.patience, say)
        if config.consumer is not None and way != "rolling":
            raise OptionError(
                f"--consumer cannot act on {store.location}, which does not roll; "
                "`pxrdbench generate --rolling` makes one that does"
            )
        if way == "rolling" or (state and "origin" in state) or way == "growing":
            return _follow(config, store, way, say, state)
        return _open_shards(config, config.shards, state)
    if (recipe := config.recipe) is not None:
        if not config.mixture:
            held_out = recipe.batch(_HELD_OUT_START, config.held_out)
            n_sizes = config.fixed_sizes or 1
            drawn = SeveralSizes(recipe, n_sizes) if n_sizes > 1 else recipe
            return drawn, held_out, _provenance(recipe.card, _shares(recipe))
        block = config.batch_size or find_model(config.model).batch_size
        mixed = MixedRecipes.from_names(recipe, config.mixture, block)
        first = _HELD_OUT_START // block
        n_blocks = -(-max(config.held_out // block, 1) // len(mixed.recipes))
        blocks = range(first, first + n_blocks * len(mixed.recipes))
        held_out = mixed.batch(first * block, len(blocks) * block)
        provenance = _provenance(recipe.card, _shares(recipe))
        provenance["recipe_digest"] = mixed.digest
        provenance["measurement"] = tuple(config.mixture)
        return mixed, held_out, provenance
    raise ModelError("there is no recipe to draw from")


def _follow(
    config: TrainConfig,
    store: Store,
    way: str,
    say: Say,
    state: Mapping[str, int] | None,
) -> tuple[BatchSource, Batch, dict[str, Any]]:
    """Shards that are still written."""
    source: RollingSet | GrowingSet
    if way == "rolling":
        consumer = choose_consumer(store, config.consumer)
        refuse_second(store, consumer, str(config.out.resolve()))
        size = Manifest.read_description(store).shard_samples
        origin = (
            find_origin(store, consumer) * size if state is None else state["origin"]
        )
        source = reader = RollingSet(
            store,
            consumer,
            measurement=config.measurement,
            acknowledge_read=False,
            origin=origin,
        )
        begins = f", from sample {origin:,} on" if origin and state is None else ""
        say(f"following {store.location} as its consumer {consumer!r}{begins}")
    else:
        source = GrowingSet(
            store,
            seed=config.seed,
            buffer=BUFFER,
            measurement=config.measurement,
            first_pass=(state or {}).get("first_pass"),
            is_repeated=not config.is_endless,
        )
        reader = source.following
        say(
            f"following {store.location}: the first pass takes each sample once, as it "
            "comes"
            + (
                "; the run ends with the set"
                if config.is_endless
                else "; further passes follow if the run is longer"
            )
        )
    # No sample of the set is its last one yet: held out are others of its recipe.
    held_out = reader.draw(_HELD_OUT_START, config.held_out)
    provenance = _provenance(reader.card, _shares(reader.recipe))
    if config.measurement is not None:
        provenance["measurement"] = (config.measurement,)
    return source, held_out, provenance


def _open_shards(
    config: TrainConfig, folder: str | Path, state: Mapping[str, int] | None
) -> tuple[BatchSource, Batch, dict[str, Any]]:
    shards = ShardSet(folder, measurement=config.measurement)
    # A set that has grown since: the run goes on with what it began with, or the
    # samples that it is judged by would be learnt.
    length = min((state or {}).get("samples", shards.length), shards.length)
    # The last samples, so that no recipe and no prior is needed to read shards.
    n_held_out = min(config.held_out, length // _LARGEST_SHARE_HELD_OUT)
    if n_held_out < 1:
        raise ModelError(
            f"{folder} holds {length} samples; at least "
            f"{_LARGEST_SHARE_HELD_OUT} are needed, of which one is held out"
        )
    kept = SourceRange(shards, 0, length - n_held_out)
    held_out = shards.batch(length - n_held_out, n_held_out)
    provenance = _provenance(shards.card, _counted(held_out))
    if config.measurement is not None:
        provenance["measurement"] = (config.measurement,)
    return kept, held_out, provenance


def _provenance(card: RecipeCard, shares: Mapping[int, float]) -> dict[str, Any]:
    measurement = card.measurement
    return {
        "recipe_digest": card.digest,
        "prior_digest": card.prior_digest,
        "restricted": card.restricted,
        "physics": card.preset,
        "measurement": () if measurement is None else (measurement.name,),
        "shares": shares,
    }


def _learnt_of_drawn(config: TrainConfig, prior_digest: str) -> Learnt | None:
    """Real crystals behind what is drawn, or was drawn into shards."""
    if config.recipe is not None:
        return learnt_of_prior(config.recipe.prior, config.prior_place)
    prior = find_shipped_prior(prior_digest)
    if prior is not None:
        return learnt_of_prior(prior)
    # The prior of one's own lies beside the shards, unless they are streamed.
    kept = Path(str(config.shards)) / kept_name(prior_digest)
    return learnt_of_prior(load_prior(kept), kept) if kept.is_file() else None


def learnt_of_checkpoint(path: str | Path) -> Learnt | None:
    """Find out what a checkpoint has learnt from; None if nothing tells."""
    place = find_checkpoint(path)
    summary = load_checkpoint(place).learnt
    if not summary:
        return None
    return Learnt.read(place, summary) or find_by_summary(summary)


def _shares(recipe: Recipe) -> dict[int, float]:
    """How often a recipe draws each space group, whatever frequencies were chosen."""
    if recipe.card.structure_type is not None:
        return {recipe.space_groups[0]: 1.0}
    shares = recipe.prior.space_group_probability.tolist()
    return dict(zip(recipe.prior.space_groups, shares, strict=True))


def _counted(batch: Batch) -> dict[int, float]:
    """Shares of the groups among some samples, where the prior is not at hand."""
    groups, counts = np.unique(batch.space_group, return_counts=True)
    shares = counts / counts.sum()
    return dict(zip(groups.tolist(), shares.tolist(), strict=True))


def _last(source: Any, count: int) -> Batch:
    batch: Batch = source.batch(source.length - count, count)
    return batch


def _real_patterns(track: str | Path, source: BatchSource) -> Batch | None:
    """The ``dev`` part of a track on the grid of a source; None for other lines."""
    part = load_track(track, "dev")
    if part.radiation.lines != source.radiation.lines:
        return None
    part = part.with_grid(source.grid)
    return part.batch(0, len(part))
