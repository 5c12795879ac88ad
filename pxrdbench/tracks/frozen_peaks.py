"""Peak lists of a track: quantised once, the same integers for ever.

A position is a whole number of 1e-5 degrees, an intensity a step on a square-root
scale below the strongest peak of the crystal:

    I / I_max = (code / 5000)²

Half a step of a position changes a pattern by less than 1e-4 of its maximum where
profiles are narrowest (100 nm, low angle), half a step of an intensity by 2e-4 √I.
The rounded peaks are what a track evaluates on, so nobody sees these differences.

On disk an array is one LZMA stream: positions as differences from peak to peak, the
bytes of the numbers sorted by significance. Three bytes and a bit a peak; the general
form of `dataset.packing` would take four and a half.
"""

import lzma
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8, UInt16, UInt32

from pxrdbench.diffraction.pattern import PeakBatch
from pxrdbench.errors import PatternError, SplitError
from pxrdbench.frozen import freeze_arrays
from pxrdbench.outside import check_array, guard

POSITION_STEPS = 100_000  # a degree
INTENSITY_STEPS = 5000  # from zero to the square root of the strongest
INTENSITY_FLOOR = 1e-5  # of the strongest; weaker peaks are left out
# Limits of one stream: memory of the decompressor (preset 6 takes 9 MB), bytes, and
# how often it may grow (honest streams by 2 to 4 times, equal counts by some hundreds).
_MOST_LZMA = 64 * 2**20
_MOST_STREAM = 2**31
_MOST_GROWTH = 1000


@dataclass(frozen=True, eq=False)
class FrozenPeaks:
    """Peak lists as whole numbers.

    Attributes:
        position: 2θ in 1e-5 degrees, ascending within a crystal.
        code: Step on the scale of intensities, 5000 for the strongest peak.
        peak_count: Peaks of each crystal.
        wavelength: Mean of the radiation's lines by weight [Å].
    """

    position: UInt32[np.ndarray, " peaks"]
    code: UInt16[np.ndarray, " peaks"]
    peak_count: UInt32[np.ndarray, " batch"]
    wavelength: float

    def __post_init__(self) -> None:
        freeze_arrays(self)

    @classmethod
    def from_peaks(cls, peaks: PeakBatch) -> "FrozenPeaks":
        """Round peak lists; peaks below the floor are left out.

        Raises:
            PatternError: If a crystal has no peak.
        """
        counts = np.diff(peaks.peak_offset)
        if not counts.all():
            empty = int(np.argmin(counts))
            raise PatternError(f"crystal {empty} has no peak to freeze", index=empty)
        strongest = np.maximum.reduceat(peaks.intensity, peaks.peak_offset[:-1])
        relative = peaks.intensity / np.repeat(strongest, counts)
        is_kept = relative >= INTENSITY_FLOOR
        kept_before = np.concatenate([[0], np.cumsum(is_kept)])
        return cls(
            position=np.rint(peaks.two_theta[is_kept] * POSITION_STEPS).astype("u4"),
            code=np.rint(np.sqrt(relative[is_kept]) * INTENSITY_STEPS).astype("u2"),
            peak_count=np.diff(kept_before[peaks.peak_offset]).astype("u4"),
            wavelength=peaks.wavelength,
        )

    @classmethod
    def join(cls, lists: Sequence["FrozenPeaks"]) -> "FrozenPeaks":
        """Put the crystals of several lists one after the other.

        Raises:
            SplitError: If they were made with different radiation, or there are none.
        """
        wavelengths = {peaks.wavelength for peaks in lists}
        if len(wavelengths) != 1:
            raise SplitError(
                f"peak lists of wavelengths {sorted(wavelengths)} cannot be joined"
            )
        return cls(
            position=np.concatenate([peaks.position for peaks in lists]),
            code=np.concatenate([peaks.code for peaks in lists]),
            peak_count=np.concatenate([peaks.peak_count for peaks in lists]),
            wavelength=lists[0].wavelength,
        )

    def take(self, rows: Int64[np.ndarray, " rows"]) -> "FrozenPeaks":
        """Take the peaks of some crystals, in the order given."""
        end = np.cumsum(self.peak_count, dtype=np.int64)
        counts = self.peak_count[rows].astype(np.int64)
        # Number of each peak in the result, moved to where its crystal stands here.
        move = (end - self.peak_count)[rows] - (np.cumsum(counts) - counts)
        picked = np.arange(counts.sum()) + np.repeat(move, counts)
        return FrozenPeaks(
            position=self.position[picked],
            code=self.code[picked],
            peak_count=self.peak_count[rows],
            wavelength=self.wavelength,
        )

    def to_peaks(self) -> PeakBatch:
        """Make the peaks that patterns are rendered from."""
        peak_offset = np.zeros(len(self.peak_count) + 1, np.int64)
        np.cumsum(self.peak_count, out=peak_offset[1:])
        return PeakBatch(
            two_theta=self.position / POSITION_STEPS,
            intensity=(self.code / INTENSITY_STEPS) ** 2,
            peak_offset=peak_offset,
            wavelength=self.wavelength,
        )

    def to_streams(self) -> dict[str, np.ndarray]:
        """Compress for a file: the arrays as bytes, and the wavelength."""
        # Differences wrap around at the first peak of a crystal; so does their sum.
        return {
            "position": deflate(np.diff(self.position, prepend=np.uint32(0))),
            "code": deflate(self.code),
            "peak_count": deflate(self.peak_count),
            "wavelength": np.array(self.wavelength, np.float64),
        }

    @classmethod
    def from_streams(cls, streams: Mapping[str, np.ndarray]) -> "FrozenPeaks":
        """Undo `to_streams`.

        Raises:
            SplitError: If a stream is damaged or the streams do not belong together.
        """
        with guard(SplitError, "a frozen peak list is damaged"):
            steps = inflate(streams["position"], np.dtype("<u4"))
            code = inflate(streams["code"], np.dtype("<u2"))
            peak_count = inflate(streams["peak_count"], np.dtype("<u4"))
            wavelength = check_array("wavelength", streams["wavelength"], "f", ())
        total = int(peak_count.sum(dtype=np.int64))
        if not len(steps) == len(code) == total:
            raise SplitError(
                f"{len(steps)} positions, {len(code)} intensities and counts that add "
                f"up to {total} do not make peak lists"
            )
        position = np.cumsum(steps, dtype=np.uint32)
        # Bounds of what a grid can hold, and of wavelengths (see `radiation`).
        if total and (
            position.max() > 180 * POSITION_STEPS
            or code.max() > INTENSITY_STEPS
            or not peak_count.all()
        ):
            raise SplitError("a frozen peak list has peaks that cannot be")
        if not 0.1 <= wavelength <= 25.0:
            raise SplitError(f"a frozen peak list has the wavelength {wavelength} Å")
        return cls(
            position=position,
            code=code,
            peak_count=peak_count,
            wavelength=float(wavelength),
        )

    def to_bytes(self) -> bytes:
        """Write the whole numbers out, for a digest."""
        arrays = (self.peak_count, self.position, self.code)
        parts = [a.astype(a.dtype.newbyteorder("<")).tobytes() for a in arrays]
        return b"".join([*parts, repr(self.wavelength).encode()])


def deflate(values: np.ndarray) -> UInt8[np.ndarray, " stream"]:
    """Compress an array with its bytes sorted by significance."""
    little = values.astype(values.dtype.newbyteorder("<"))
    planes = little.view(np.uint8).reshape(-1, values.dtype.itemsize).T
    # A larger preset would reserve half a gigabyte and save nothing.
    return np.frombuffer(lzma.compress(planes.tobytes(), preset=6), np.uint8)


def inflate(stream: np.ndarray, dtype: "np.dtype[Any]") -> np.ndarray:
    """Undo `deflate`.

    Raises:
        SplitError: If the stream is damaged, or would be far larger than it is.
    """
    with guard(SplitError, "a frozen stream is damaged"):
        check_array("a stream", stream, "u", (None,))
        packed = stream.tobytes()
        # Unpacked with bounds: LZMA can say a gigabyte in a few kilobytes, and ask for
        # as much memory as it likes.
        reader = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST_LZMA)
        most = min(_MOST_STREAM, _MOST_GROWTH * len(packed) + 2**20)
        content = reader.decompress(packed, max_length=most)
        if not reader.eof or reader.unused_data:
            raise ValueError(f"a stream does not end within {most:,} bytes")
        planes = np.frombuffer(content, np.uint8).reshape(dtype.itemsize, -1)
    return np.ascontiguousarray(planes.T).view(dtype).reshape(-1).astype(dtype.type)
