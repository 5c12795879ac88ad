"""Are the shards what their recipe makes?"""

import hashlib
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from pxrdbench.crystal.prior.prior import Prior
from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.shards.manifest import (
    Manifest,
    ShardRecord,
    ShardWarning,
)
from pxrdbench.dataset.shards.own_prior import recall_recipe
from pxrdbench.dataset.shards.rolling import find_end
from pxrdbench.dataset.shards.shard import Block, draw_block, read_recorded_block
from pxrdbench.dataset.storage.open import open_store
from pxrdbench.dataset.storage.store import Store
from pxrdbench.errors import ShardError
from pxrdbench.files import PART_SUFFIX

# On another processor or with other versions the last bits of a float may differ:
# an angle or an intensity then falls into the next unit of its storage.
_UNITS_ALLOWED = 1
# Peaks within so few units of each other that they may be exchanged: hardly ever two.
_CANDIDATES = 4
# A shard is read in pieces of this size, whatever its own [bytes].
_PIECE = 32 * 1024 * 1024
# Shards at a time: a store answers as fast as ever, and checksums free the interpreter.
_AT_ONCE = 8


@dataclass(frozen=True)
class VerifyReport:
    """What a verification found.

    Attributes:
        shards: Shards looked at.
        samples: Samples in them.
        bytes: Their size [bytes].
        redrawn: Samples that were made again and compared.
        identical: Those that came out as the same bytes.
        problems: What is wrong, a sentence each; empty if nothing is.
        leftovers: Files that belong to no finished shard.
    """

    shards: int
    samples: int
    bytes: int
    redrawn: int
    identical: int
    problems: tuple[str, ...]
    leftovers: tuple[str, ...]

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong; leftovers do no harm."""
        return not self.problems


def verify_shards(
    location: str | Path | Store,
    *,
    sample: int = 1024,
    prior: str | Path | Prior | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> VerifyReport:
    """Check every shard against its record, and some samples against the recipe.

    Args:
        location: Where the shards are: a folder, or a URL such as
            ``s3://bucket/prefix``.
        sample: About how many samples to draw again, in whole blocks that are spread
            evenly; 0 for none.
        prior: Where the recipe's prior is; looked for among those that ship and
            beside the shards if left away.
        on_progress: Called with the shards done and their number.

    Raises:
        ShardError: If the folder holds no data set.
        RecipeError: If samples are to be drawn again and the prior has changed.
    """
    store = open_store(location)
    problems: list[str] = []
    manifest = Manifest.read(store, problems)
    recipe = recall_recipe(store, manifest.card, prior) if sample else None
    problems += [
        f"{name}: there is a record, but no tar of that size"
        for name in manifest.missing
    ]
    problems += _find_missing(store, manifest)
    chosen = _choose_blocks(manifest, sample)
    redrawn = identical = 0

    def look(record: ShardRecord) -> _Found:
        numbers = chosen.get(record.index, [])
        return _look_at(store, record, manifest, numbers, recipe)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for done, found in enumerate(pool.map(look, manifest.records), start=1):
            problems += found.problems
            redrawn += found.redrawn
            identical += found.identical
            if on_progress is not None:
                on_progress(done, len(manifest.records))
    return VerifyReport(
        shards=len(manifest.records),
        samples=manifest.samples,
        bytes=manifest.bytes,
        redrawn=redrawn,
        identical=identical,
        problems=tuple(problems),
        leftovers=tuple(find_leftovers(store, manifest)),
    )


@dataclass
class _Found:
    """What was found in one shard."""

    problems: list[str]
    redrawn: int = 0
    identical: int = 0


def _look_at(
    store: Store,
    record: ShardRecord,
    manifest: Manifest,
    numbers: list[int],
    recipe: Recipe | None,
) -> _Found:
    """Check a shard, and draw some of its blocks again."""
    try:
        found = _Found(check_record(store, record, manifest))
    except OSError as error:
        return _Found([f"{record.name}: it cannot be read ({error})"])
    for number in numbers:
        try:
            first, last = record.block_offset[number : number + 2]
            data = store.read(f"{record.name}.tar", first, last)
            block = read_recorded_block(data, record, number, manifest.block_samples)
        except ShardError as error:
            found.problems.append(f"{record.name}, block {number}: {error}")
            continue
        if recipe is not None:
            same, why = _compare(recipe, block)
            found.redrawn += len(block)
            found.identical += same
            found.problems += [f"{record.name}, block {number}: {why}"] if why else []
    return found


def _find_missing(store: Store, manifest: Manifest) -> Iterator[str]:
    """Say what is not there: a fault of a set that has its end, else a warning.

    A run that was interrupted leaves gaps, which the same command fills.
    """
    gaps, end = manifest.find_gaps(), find_end(store)
    if end is not None:
        yield from (f"{name}: it is not there, but later ones are" for name in gaps)
        if manifest.held_samples < end and not gaps and not manifest.missing:
            yield (
                f"{store.location} was written with {end:,} samples, of which "
                f"{manifest.held_samples:,} are there"
            )
    elif gaps:
        warnings.warn(
            f"{store.location}: {gaps[0]} is not there"
            + (f", and {len(gaps) - 1} more" if gaps[1:] else "")
            + "; run the same `pxrdbench generate` again",
            ShardWarning,
            stacklevel=3,
        )


def check_record(store: Store, record: ShardRecord, manifest: Manifest) -> list[str]:
    """Compare a shard with its record: each block, checksum, counts of groups."""
    problems, counts, tar = [], np.zeros(231, np.int64), f"{record.name}.tar"
    digest, offset = hashlib.sha256(), record.block_offset
    for number, (start, stop) in enumerate(pairwise(offset)):
        data = store.read(tar, start, stop)
        digest.update(data)
        try:
            block = read_recorded_block(data, record, number, manifest.block_samples)
        except ShardError as error:
            problems.append(f"{record.name}, block {number}: {error}")
            continue
        counts += np.bincount(block.space_group, minlength=231)
    for start in range(offset[-1], record.bytes, _PIECE):
        digest.update(store.read(tar, start, min(start + _PIECE, record.bytes)))
    if not problems and digest.hexdigest() != record.sha256:
        problems.append(
            f"{record.name}: its contents have changed since it was written; delete it "
            "and run the same `pxrdbench generate` again"
        )
    found = {int(g): int(counts[g]) for g in np.flatnonzero(counts)}
    if not problems and found != dict(record.space_group_counts):
        problems.append(f"{record.name}: it holds other groups than its record says")
    return problems


def find_leftovers(store: Store, manifest: Manifest) -> Iterator[str]:
    """Find files of crashed runs and shards without a record."""
    recorded = {record.name for record in manifest.records}
    for name in sorted(store.sizes()):
        is_part = name.endswith(PART_SUFFIX)
        stem, _, ending = name.rpartition(".")
        if is_part or (ending == "tar" and stem not in recorded):
            yield name


def _choose_blocks(manifest: Manifest, sample: int) -> dict[int, list[int]]:
    """Blocks to draw again, evenly over the set: by shard."""
    blocks = [
        (record.index, number)
        for record in manifest.records
        for number in range(len(record.block_offset) - 1)
    ]
    count = min(len(blocks), -(-sample * len(blocks) // max(manifest.samples, 1)))
    chosen: dict[int, list[int]] = {}
    for position in np.linspace(0, len(blocks) - 1, count).round().astype(int):
        shard, number = blocks[position]
        chosen.setdefault(shard, []).append(number)
    return chosen


def _compare(recipe: Recipe, stored: Block) -> tuple[int, str]:
    """Draw a block again; samples that are identical, and what else is wrong."""
    drawn, _ = draw_block(recipe, int(stored.index[0]), len(stored))
    if not np.array_equal(drawn.space_group, stored.space_group):
        return 0, "the recipe draws other space groups"
    if not np.array_equal(drawn.crystallite_size_nm, stored.crystallite_size_nm):
        return 0, "the recipe draws other crystallite sizes"
    identical, why = 0, ""
    for row in range(len(stored)):
        ours, theirs = drawn.rows(row, row + 1).peaks, stored.rows(row, row + 1).peaks
        if all(np.array_equal(ours[name], theirs[name]) for name in ours):
            identical += 1
        elif _has_stranger(ours, theirs) or _has_stranger(theirs, ours):
            why = why or f"the recipe gives sample {stored.index[row]} other peaks"
    return identical, why


def _has_stranger(peaks: dict[str, np.ndarray], others: dict[str, np.ndarray]) -> bool:
    """Whether a peak has no partner within a unit in another list."""
    position, code = (peaks[n].astype(np.int64) for n in ("two_theta", "intensity"))
    there, their_code = (
        # A last entry that no peak resembles keeps the look-up inside the array.
        np.append(others[n].astype(np.int64), -(10**9))
        for n in ("two_theta", "intensity")
    )
    first = np.searchsorted(there[:-1], position - _UNITS_ALLOWED)
    is_met = np.zeros(len(position), bool)
    for step in range(_CANDIDATES):
        partner = np.minimum(first + step, len(there) - 1)
        is_met |= (np.abs(there[partner] - position) <= _UNITS_ALLOWED) & (
            np.abs(their_code[partner] - code) <= _UNITS_ALLOWED
        )
    # The weakest peak may stand on either side of the floor.
    return bool(np.any(~is_met & (code > _UNITS_ALLOWED)))
