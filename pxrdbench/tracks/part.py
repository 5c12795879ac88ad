"""One part of a track in memory: what models are asked about."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int16, Int64

from pxrdbench.crystal.structure import CrystalBatch
from pxrdbench.dataset.batch import Batch
from pxrdbench.dataset.source import BatchSource
from pxrdbench.diffraction.pattern import PeakBatch, Radiation, TwoThetaGrid
from pxrdbench.diffraction.profile import render
from pxrdbench.errors import SplitError
from pxrdbench.frozen import freeze_arrays


@dataclass(frozen=True, eq=False, kw_only=True)
class Part(BatchSource):
    """One part of a track, simulated or measured: a batch source with names.

    Attributes:
        name: Name of the track.
        part: Name of the part.
        version: Version of the track.
        digest: sha256 over everything the track freezes, hexadecimal.
        ids: Names of the samples.
        space_group: Number in the International Tables, 1-230.
        structure_type: What makes samples alike: those of one are no independent
            witnesses.
        grid: Angles of the patterns.
        radiation: What the patterns are made with.
        restricted: Whether licensed crystals or patterns lie behind it.
    """

    name: str
    part: str
    version: int
    digest: str
    ids: tuple[str, ...]
    space_group: Int16[np.ndarray, " samples"]
    structure_type: tuple[str, ...]
    grid: TwoThetaGrid
    radiation: Radiation
    restricted: bool = False

    # What the samples of one ``structure_type`` have in common.
    clusters: ClassVar[str] = "structure types"

    is_random_access = True

    def __post_init__(self) -> None:
        freeze_arrays(self)
        object.__setattr__(self, "length", len(self.ids))
        groups = tuple(np.unique(self.space_group).tolist())
        object.__setattr__(self, "space_groups", groups)

    def __len__(self) -> int:
        return len(self.ids)

    def identity(self) -> dict[str, str | int]:
        """What tells this part from another."""
        return {"source": "Part", "part": self.part, "track": self.digest}

    def batch(self, start: int, count: int) -> Batch:
        """Give the patterns of samples start to start + count.

        Raises:
            SplitError: If the range leaves the part.
        """
        stop = start + count
        if not 0 <= start < stop <= len(self):
            raise SplitError(
                f"samples {start} to {stop} of {self.name} {self.part}, which has "
                f"{len(self)}"
            )
        return self.take(np.arange(start, stop, dtype=np.int64))

    def with_grid(self, grid: TwoThetaGrid) -> "Part":
        """Give the same samples at other angles.

        Raises:
            SplitError: If the patterns were measured at these ones.
        """
        return replace(require_crystals(self, "another grid"), grid=grid)

    @abstractmethod
    def take(self, rows: Int64[np.ndarray, " rows"]) -> Batch:
        """Give the patterns of some samples, in the order given."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TrackPart(Part):
    """One part of a track of crystals with their frozen patterns.

    The digest is over the peak lists, and ``structure_type`` is the canonical
    prototype label.

    Attributes:
        crystallite_size_nm: Size that broadens each pattern [nm].
        peaks: Frozen peak lists; they reach beyond the grid so that tails come in.
        read_crystals: Reads crystals by their ids; None where there are none.
    """

    crystallite_size_nm: Float64[np.ndarray, " crystals"]
    peaks: PeakBatch
    read_crystals: Callable[[tuple[str, ...]], CrystalBatch] | None = None

    @property
    def crystals(self) -> CrystalBatch:
        """The crystals behind the patterns, in their order and standard setting.

        Raises:
            SplitError: If the track carries none.
        """
        if self.read_crystals is None:
            raise SplitError(f"{self.name} carries no crystals")
        return self.read_crystals(self.ids)

    def take(self, rows: Int64[np.ndarray, " rows"]) -> Batch:
        """Render the patterns of some crystals, in the order given.

        Raises:
            SplitError: If a row is not of the part.
        """
        rows = check_rows(rows, len(self), f"{self.name} {self.part}")
        size = self.crystallite_size_nm[rows]
        return Batch(
            intensity=render(take_peaks(self.peaks, rows), self.grid, size),
            space_group=self.space_group[rows],
            crystallite_size_nm=size,
            index=rows,
            ids=tuple(self.ids[row] for row in rows),
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class MeasuredPart(Part):
    """One part of a track of measured patterns, whose reflections nobody knows.

    ``version`` is that of the rules that chose the patterns, ``structure_type`` the
    name of the mineral.

    Attributes:
        intensity: Patterns on the grid, with a maximum of one.
        mask: Points that were measured; the others are zero. None if all were.
    """

    intensity: Float32[np.ndarray, "patterns points"]
    mask: Bool[np.ndarray, "patterns points"] | None = None

    clusters: ClassVar[str] = "minerals"

    def take(self, rows: Int64[np.ndarray, " rows"]) -> Batch:
        """Give some patterns, in the order given.

        Raises:
            SplitError: If a row is not of the part.
        """
        rows = check_rows(rows, len(self), f"{self.name} {self.part}")
        return Batch(
            intensity=self.intensity[rows],
            space_group=self.space_group[rows],
            crystallite_size_nm=np.full(len(rows), np.nan),  # nobody knows it
            index=rows,
            ids=tuple(self.ids[row] for row in rows),
            mask=None if self.mask is None else self.mask[rows],
        )


def require_crystals(part: Part, deed: str) -> TrackPart:
    """Take a part whose reflections are known, for a deed that needs them.

    Raises:
        SplitError: If its patterns were measured.
    """
    if not isinstance(part, TrackPart):
        raise SplitError(
            f"{part.name} holds measured patterns, whose reflections nobody knows: "
            f"{deed} needs a track of crystals"
        )
    return part


def check_rows(
    rows: Int64[np.ndarray, " rows"], length: int, where: str
) -> Int64[np.ndarray, " rows"]:
    """Refuse rows that are not there, negative ones too."""
    rows = np.asarray(rows, np.int64)
    if len(rows) and not (rows.min() >= 0 and rows.max() < length):
        wrong = int(rows[(rows < 0) | (rows >= length)][0])
        raise SplitError(f"row {wrong} of {where}, which has {length}")
    return rows


def take_peaks(peaks: PeakBatch, rows: Int64[np.ndarray, " rows"]) -> PeakBatch:
    """Take the peak lists of some crystals, in the order given."""
    first = peaks.peak_offset[rows]
    counts = peaks.peak_offset[rows + 1] - first
    offset = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(counts, out=offset[1:])
    if len(rows) and (np.diff(rows) == 1).all():  # neighbours: no copy is needed
        picked: slice | np.ndarray = slice(first[0], first[-1] + counts[-1])
    else:
        picked = np.arange(offset[-1]) + np.repeat(first - offset[:-1], counts)
    return PeakBatch(
        two_theta=peaks.two_theta[picked],
        intensity=peaks.intensity[picked],
        peak_offset=offset,
        wavelength=peaks.wavelength,
    )
