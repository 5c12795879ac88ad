"""One part of a track in memory: what models are asked about."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int16, Int64

from pxrdbench.dataset.batch import Batch
from pxrdbench.diffraction.pattern import PeakBatch, Radiation, TwoThetaGrid
from pxrdbench.diffraction.profile import render
from pxrdbench.errors import SplitError
from pxrdbench.frozen import freeze_arrays


@dataclass(frozen=True, eq=False)
class _Part(ABC):
    """What crystals and measured patterns of a track have in common.

    Attributes are those of the two classes below, which say what each means.
    """

    name: str
    part: str
    version: int
    digest: str
    ids: tuple[str, ...]
    space_group: Int16[np.ndarray, " samples"]
    structure_type: tuple[str, ...]

    def __post_init__(self) -> None:
        freeze_arrays(self)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def length(self) -> int:
        """Number of samples."""
        return len(self)

    @property
    def space_groups(self) -> tuple[int, ...]:
        """Space groups that occur, ascending."""
        return tuple(np.unique(self.space_group).tolist())

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

    @abstractmethod
    def take(self, rows: Int64[np.ndarray, " rows"]) -> Batch:
        """Give the patterns of some samples, in the order given."""


@dataclass(frozen=True, eq=False)
class TrackPart(_Part):
    """One part of a track with its frozen patterns: a batch source.

    Attributes:
        name: Name of the track.
        part: Name of the part.
        version: Version of the track.
        digest: sha256 over everything the track freezes, hexadecimal.
        ids: Names of the crystals.
        space_group: Number in the International Tables, 1-230.
        structure_type: Canonical prototype label: crystals of one are no independent
            witnesses.
        crystallite_size_nm: Size that broadens each pattern [nm].
        peaks: Frozen peak lists; they reach beyond the grid so that tails come in.
        grid: Angles of the patterns.
        radiation: What the patterns are made with.
        restricted: Whether licensed crystals lie behind it.
    """

    crystallite_size_nm: Float64[np.ndarray, " crystals"]
    peaks: PeakBatch
    grid: TwoThetaGrid
    radiation: Radiation
    restricted: bool = False

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


@dataclass(frozen=True, eq=False)
class MeasuredPart(_Part):
    """One part of a track of measured patterns: a batch source without peak lists.

    Attributes:
        name: Name of the track.
        part: Name of the part.
        version: Version of the rules that chose the patterns.
        digest: sha256 over everything the track freezes, hexadecimal.
        ids: Names of the patterns.
        space_group: Number in the International Tables, 1-230.
        structure_type: Name of the mineral: patterns of one are no independent
            witnesses.
        intensity: Patterns on the grid, with a maximum of one.
        grid: Angles of the patterns.
        radiation: What they were measured with.
        restricted: Whether they must stay where they are.
        mask: Points that were measured; the others are zero. None if all were.
    """

    intensity: Float32[np.ndarray, "patterns points"]
    grid: TwoThetaGrid
    radiation: Radiation
    restricted: bool = False
    mask: Bool[np.ndarray, "patterns points"] | None = None
    # Nobody knows the reflections of a measured pattern.
    peaks: None = None

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
