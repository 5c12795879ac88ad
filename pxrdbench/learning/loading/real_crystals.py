"""Real crystals to learn from: the statistics part of a track, or an import.

The reference work trains on the ICSD's own patterns first. Here only the part
``statistics`` of a track may be learnt from; the others judge.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from pxrdbench.crystal.rng import STREAM_CRYSTALLITE_SIZE, draw_uniforms
from pxrdbench.crystal.structure import CrystalBatch, take_crystals
from pxrdbench.dataset.batch import Batch
from pxrdbench.dataset.recipes.rendering import render_samples
from pxrdbench.dataset.source import BatchSource
from pxrdbench.diffraction.measurement.effect import Samples
from pxrdbench.diffraction.measurement.measurement import Measurement, load_measurement
from pxrdbench.diffraction.measurement.sample_effects import PhasePool
from pxrdbench.diffraction.pattern import PeakBatch, Radiation, TwoThetaGrid
from pxrdbench.diffraction.peaks import simulate_peaks
from pxrdbench.errors import ModelError
from pxrdbench.frozen import freeze_arrays
from pxrdbench.sources.structures.load import is_import
from pxrdbench.tracks.crystals import (
    SourceCrystals,
    read_import,
    read_part_crystals,
)
from pxrdbench.tracks.load import (
    find_track,
    holds_crystals,
    load_record,
    load_table,
)

_SIZE_RANGE_NM = (20.0, 100.0)  # Schopmans et al. (2023), Digital Discovery 2, 1414
_MARGIN = 2.0  # degrees beyond the grid, from where tails reach in
_TRAINING_PART = "statistics"


@dataclass(frozen=True, eq=False)
class RealCrystals(BatchSource):
    """Patterns of real crystals, with another size and noise in each pass.

    Attributes:
        crystals: In the standard setting.
        peaks: Their reflections.
        ids: Their names.
        grid: Angles of the patterns.
        radiation: What the patterns are made with.
        seed: Key of sizes and noise.
        measurement: What instrument and sample add when patterns are rendered.
        epoch: Number of the pass.
    """

    crystals: CrystalBatch
    peaks: PeakBatch
    ids: tuple[str, ...]
    grid: TwoThetaGrid
    radiation: Radiation
    seed: int
    measurement: Measurement | None = None
    epoch: int = 0

    def __post_init__(self) -> None:
        freeze_arrays(self)
        object.__setattr__(self, "length", len(self.ids))
        groups = tuple(np.unique(self.crystals.space_group).tolist())
        object.__setattr__(self, "space_groups", groups)

    def __len__(self) -> int:
        return len(self.ids)

    def with_epoch(self, epoch: int) -> "RealCrystals":
        """The same crystals with other sizes and noise."""
        return replace(self, epoch=epoch)

    def sizes(self, start: int, count: int) -> Float64[np.ndarray, " batch"]:
        """Crystallite sizes [nm] of a range in this pass."""
        low, high = _SIZE_RANGE_NM
        uniform = draw_uniforms(
            self.seed, start, count, STREAM_CRYSTALLITE_SIZE, 1, block=self.epoch
        )
        sizes: np.ndarray = low + (high - low) * uniform[:, 0]
        return sizes

    def batch(self, start: int, count: int) -> Batch:
        """Render the patterns of crystals start to start + count.

        Raises:
            ModelError: If the range leaves the set.
        """
        stop = start + count
        if not 0 <= start < stop <= len(self):
            raise ModelError(f"crystals {start} to {stop} of {len(self)}")
        first, last = self.peaks.peak_offset[start], self.peaks.peak_offset[stop]
        peaks = PeakBatch(
            two_theta=self.peaks.two_theta[first:last],
            intensity=self.peaks.intensity[first:last],
            peak_offset=self.peaks.peak_offset[start : stop + 1] - first,
            wavelength=self.peaks.wavelength,
        )
        sizes = self.sizes(start, count)
        # Each pass has random numbers of its own, far from those of the others.
        samples = Samples(self.seed, (self.epoch << 40) + start, count)
        scans = render_samples(
            peaks, self.grid, samples, sizes, self.measurement, self._pool()
        )
        rows = np.arange(start, stop, dtype=np.int64)
        return Batch(
            intensity=scans.intensity,
            space_group=self.crystals.space_group[start:stop],
            crystallite_size_nm=sizes,
            index=rows,
            ids=self.ids[start:stop],
            crystals=take_crystals(self.crystals, rows),
            mask=scans.is_measured,
        )

    def _pool(self) -> PhasePool | None:
        """Impurities by height are other crystals of the set."""
        if self.measurement is None or not self.measurement.needs_pool:
            return None
        return PhasePool(self.peaks, np.ones(len(self)))


@dataclass(frozen=True)
class CrystalSource:
    """Real crystals that somebody names.

    Attributes:
        track: Name or folder of the track whose statistics part it is; "" for none.
        folder: Of the import, for no track.
    """

    track: str | Path = ""
    folder: Path = Path()


def find_crystal_source(source: str | Path) -> CrystalSource:
    """Find real crystals to learn from: the one place that does.

    Args:
        source: ``track:TRACK/statistics``, where TRACK is the name of a track or the
            folder of one that was built; ``import:FOLDER``; or either without its
            prefix, also as a path.

    Raises:
        ModelError: If it is no such source, or names a part that judges.
        SplitError: If there is no such track.
    """
    kind, colon, rest = str(source).partition(":")
    if not colon or kind not in ("track", "import"):
        kind, rest = "", str(source)
    rest = rest.rstrip("/")
    if kind == "import" or (not kind and is_import(rest)):
        return CrystalSource(folder=Path(rest))
    track, _, part = rest.rpartition("/")
    if not kind and part != _TRAINING_PART:
        raise ModelError(
            f"{str(source)!r} is no source of real crystals; use "
            "track:open/structure-type/statistics, track:FOLDER/statistics of a track "
            "that was built, or import:FOLDER"
        )
    if part != _TRAINING_PART:
        raise ModelError(
            f"part {part!r} of {track!r} is there to judge; only its part "
            f"{_TRAINING_PART!r} may be learnt from: track:{track}/{_TRAINING_PART}"
        )
    return CrystalSource(track=find_track(track))


def open_real_crystals(
    name: str | Path, data: str | Path | None, measurement: str | None, seed: int
) -> tuple[RealCrystals, dict[str, Any]]:
    """Find real crystals to learn from.

    Args:
        name: See `find_crystal_source`.
        data: What the crystals of a track came from, where it carries none: the
            folder of its table, or an import.
        measurement: Name of what instrument and sample add, when patterns are
            rendered.
        seed: Key of sizes and noise.

    Returns:
        The crystals, and fields of a checkpoint on where they come from.

    Raises:
        ModelError: If the name is no such source, or names a part that judges.
    """
    found = find_crystal_source(name)
    if found.track:
        crystals, ids, restricted, digest = _read_track(found.track, data)
    else:
        crystals, ids, restricted, digest = _read_import(found.folder)
    grid, radiation = TwoThetaGrid(), Radiation.parse("CuKa1")
    peaks = simulate_peaks(
        crystals, radiation, (grid.start - _MARGIN, grid.stop + _MARGIN)
    )
    source = RealCrystals(
        crystals,
        peaks,
        ids,
        grid,
        radiation,
        seed,
        None if measurement is None else load_measurement(measurement),
    )
    groups, counts = np.unique(crystals.space_group, return_counts=True)
    shares = (counts / counts.sum()).tolist()
    return source, {
        "recipe_digest": digest,
        "prior_digest": "",
        "restricted": restricted,
        "measurement": () if measurement is None else (measurement,),
        "shares": dict(zip(groups.tolist(), shares, strict=True)),
    }


def count_real_crystals(name: str | Path, data: str | Path | None) -> int:
    """Crystals of a source, found without simulating them.

    Raises:
        ModelError: As for `open_real_crystals`.
    """
    found = find_crystal_source(name)
    if found.track:
        return int(load_table(found.track, _TRAINING_PART).num_rows)
    return len(open_real_crystals(name, data, None, 0)[0])


_Read = tuple[CrystalBatch, tuple[str, ...], bool, str]


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _digest(name: str, ids: tuple[str, ...]) -> str:
    return hashlib.sha256("\n".join([name, *ids]).encode()).hexdigest()


@lru_cache(maxsize=1)  # several seeds in one process
def _read_track(track: str | Path, data: str | Path | None) -> _Read:
    """The statistics part of a track, in an order that depends on the ids only."""
    label = load_record(track)["name"]
    if data is None and not holds_crystals(track):
        raise ModelError(
            f"{label} carries no crystals: build it anew from its import, or give "
            "--data IMPORT, or --data FOLDER with structures/mp_structures.parquet"
        )
    read = read_part_crystals(track, _TRAINING_PART, data)
    return _in_order(read, f"{label}/{_TRAINING_PART}")


def _read_import(folder: Path) -> _Read:
    """Crystals that `pxrdbench import` wrote, in an order of their ids' hashes."""
    return _in_order(read_import(folder), "import")


def _in_order(read: SourceCrystals, label: str) -> _Read:
    """By the hash of the ids: what comes last is held out, and ids tell whence."""
    order = sorted(range(len(read.ids)), key=lambda row: _hash(read.ids[row]))
    ids = tuple(read.ids[row] for row in order)
    crystals = take_crystals(read.crystals, np.array(order, np.int64))
    return crystals, ids, read.restricted, _digest(label, ids)
