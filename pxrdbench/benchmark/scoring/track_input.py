"""Patterns of a track as a model reads them: its angles, its radiation.

Where angles or radiation differ, patterns are rendered anew from the frozen peak
lists, each reflection at the angle where the other wavelength finds its spacing:

    sin θ' = sin θ · λ'/λ        I' = I · Lp(θ') / Lp(θ)

with Lp of an unpolarised beam. Form factors depend on sin θ/λ and stay; dispersion f',
f'' stays that of the track's wavelength, which is the one thing this leaves out.

Measured patterns have no peak lists: they are interpolated linearly, each point at the
spacing that it shows, its intensity times the same ratio of Lp.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64

from pxrdbench.diffraction.line_lists import drop_beyond, merge_lists
from pxrdbench.diffraction.pattern import PeakBatch, Radiation, TwoThetaGrid
from pxrdbench.diffraction.profile import render
from pxrdbench.errors import EvaluationError
from pxrdbench.tracks.load import MeasuredPart, Part, TrackPart
from pxrdbench.tracks.part import require_crystals

# Lines nearer than this are the same: it moves a peak at 90 degrees by 0.01, while
# 1.5406 and 1.54056 angstrom, both called Kα1 of copper, are 3e-5 apart.
_SAME_LINE = 1e-4
_SAME_ANODE = 0.005


@dataclass(frozen=True, eq=False)
class TrackInput:
    """Patterns of a track on the grid, and of the radiation, that a model reads.

    Attributes:
        track: Where they come from.
        grid: Angles of the patterns.
        radiation: What they are made with.
        method: How they come about, in words; "" where the track's own are read.
        measured: Points that the track can tell about; None if all.
    """

    track: Part
    grid: TwoThetaGrid
    radiation: Radiation
    method: str
    measured: Bool[np.ndarray, " points"] | None = None

    @classmethod
    def match(
        cls,
        track: Part,
        grid: TwoThetaGrid,
        radiation: Radiation | None,
        *,
        takes_mask: bool = False,
    ) -> "TrackInput":
        """Find out how a track's patterns become a model's.

        Args:
            track: The part of the track.
            grid: Angles that the model reads.
            radiation: What its patterns are made with; the track's if None.
            takes_mask: Whether it can be told which points were not measured.

        Raises:
            EvaluationError: If the model reads angles that the track lacks, and
                cannot be told so; or lines that cannot be had from the track's.
        """
        wanted = track.radiation if radiation is None else radiation
        is_measured = not isinstance(track, TrackPart)
        same_lines = _same_lines(wanted, track.radiation)
        if is_measured and _same_anode(wanted, track.radiation):
            same_lines = True  # a measured doublet cannot be made, nor undone
        if same_lines and grid == track.grid:
            return cls(track, grid, wanted, "")
        if not (same_lines or is_measured) and len(track.radiation.lines) != 1:
            raise EvaluationError(
                f"the model reads patterns of {wanted.name or wanted.wavelength}; the "
                f"patterns of {track.name} have {len(track.radiation.lines)} spectral "
                "lines, which cannot be taken apart"
            )
        low, high = _known_range(track, wanted)
        slack = 1e-6
        if grid.start >= low - slack and grid.stop <= high + slack:
            measured = None
        elif takes_mask:
            angles = grid.angles()
            measured = (angles >= low - slack) & (angles <= high + slack)
        else:
            raise EvaluationError(
                f"the model reads {grid.start}-{grid.stop} degrees at "
                f"{wanted.wavelength:.4f} angstrom; there the track {track.name} "
                f"tells of {low:.2f}-{high:.2f} degrees only"
            )
        name = wanted.name or f"{wanted.wavelength:g} Å"
        how = "interpolated" if is_measured else "rendered from the peak lists"
        method = (
            f"{how}: {name}, {grid.start:g}-{grid.stop:g} degrees, {grid.points} points"
        )
        return cls(track, grid, wanted, method, measured)

    def batch(
        self, start: int, count: int
    ) -> tuple[
        Float32[np.ndarray, "batch points"], Bool[np.ndarray, "batch points"] | None
    ]:
        """Give patterns, maximum 1, and which points were measured (None: all).

        A pattern without a peak on the model's grid is zero everywhere.
        """
        track = self.track
        if not self.method:
            batch = track.batch(start, count)
            return batch.intensity, getattr(batch, "mask", None)
        if isinstance(track, MeasuredPart):
            given = track.batch(start, count).intensity
            intensity = interpolate_spacings(given, track, self.grid, self.radiation)
        else:
            crystals = require_crystals(track, f"a model of {self.radiation.name}")
            peaks = move_peaks(slice_peaks(crystals, start, count), self.radiation)
            size = crystals.crystallite_size_nm[start : start + count]
            intensity = render_where_possible(peaks, self.grid, size)
        if self.measured is None:
            return intensity, None
        intensity = np.where(self.measured, intensity, np.float32(0.0))
        largest = intensity.max(axis=1, keepdims=True)
        np.divide(intensity, largest, out=intensity, where=largest > 0.0)
        return intensity, np.broadcast_to(self.measured, intensity.shape)


def interpolate_spacings(
    intensity: Float32[np.ndarray, "batch points"],
    track: MeasuredPart,
    grid: TwoThetaGrid,
    radiation: Radiation,
) -> Float32[np.ndarray, "batch other_points"]:
    """Read measured patterns at the spacings of another grid or radiation."""
    sine = np.sin(np.radians(0.5 * grid.angles()))
    ratio = track.radiation.wavelength / radiation.wavelength
    if _same_anode(radiation, track.radiation):
        ratio = 1.0
    own = np.minimum(sine * ratio, 1.0 - 1e-9)
    angles = np.degrees(2.0 * np.arcsin(own))
    factor = _lorentz_polarization(sine) / _lorentz_polarization(own)
    source = track.grid.angles()
    rows = np.array([np.interp(angles, source, row) * factor for row in intensity])
    largest = rows.max(axis=1, keepdims=True)
    return np.asarray(rows / np.where(largest > 0.0, largest, 1.0), np.float32)


def slice_peaks(track: TrackPart, start: int, count: int) -> PeakBatch:
    """Take the peak lists of crystals start to start + count."""
    offset = track.peaks.peak_offset[start : start + count + 1]
    return PeakBatch(
        two_theta=track.peaks.two_theta[offset[0] : offset[-1]],
        intensity=track.peaks.intensity[offset[0] : offset[-1]],
        peak_offset=offset - offset[0],
        wavelength=track.peaks.wavelength,
    )


def move_peaks(peaks: PeakBatch, radiation: Radiation) -> PeakBatch:
    """Find the same reflections with another radiation; ``hkl`` is dropped.

    Args:
        peaks: Of one wavelength.
        radiation: Each of its lines gives every reflection once.
    """
    sine = np.sin(np.radians(0.5 * peaks.two_theta))
    factor = _lorentz_polarization(sine)
    result: PeakBatch | None = None
    for wavelength, weight in radiation.lines:
        moved = sine * (wavelength / peaks.wavelength)
        reached = moved < 1.0
        moved = np.where(reached, moved, 0.5)  # left out below, at 180 degrees
        angle = np.where(reached, np.degrees(2.0 * np.arcsin(moved)), 180.0)
        line = drop_beyond(
            PeakBatch(
                two_theta=angle,
                intensity=weight
                * peaks.intensity
                * (_lorentz_polarization(moved) / factor),
                peak_offset=peaks.peak_offset,
                wavelength=radiation.wavelength,
            ),
            0.0,
            180.0,
        )
        result = line if result is None else merge_lists(result, line)
    if result is None:
        raise EvaluationError("a radiation needs lines")
    return result


def render_where_possible(
    peaks: PeakBatch, grid: TwoThetaGrid, size_nm: Float64[np.ndarray, " batch"]
) -> Float32[np.ndarray, "batch points"]:
    """Render; patterns without a peak on the grid are zero instead of refused."""
    inside = (peaks.two_theta >= grid.start) & (peaks.two_theta <= grid.stop)
    running = np.concatenate([[0], np.cumsum(inside)])
    numbers = np.diff(running[peaks.peak_offset])
    filled = np.flatnonzero(numbers > 0)
    result = np.zeros((len(peaks), grid.points), np.float32)
    if len(filled) == len(peaks):
        return render(peaks, grid, size_nm)
    if len(filled):
        counts = np.diff(peaks.peak_offset)
        kept = np.repeat(numbers > 0, counts)
        chosen = PeakBatch(
            two_theta=peaks.two_theta[kept],
            intensity=peaks.intensity[kept],
            peak_offset=np.concatenate([[0], np.cumsum(counts[filled])]),
            wavelength=peaks.wavelength,
        )
        result[filled] = render(chosen, grid, size_nm[filled])
    return result


def _known_range(track: Part, radiation: Radiation) -> tuple[float, float]:
    """Find the angles [degrees] at which every line shows spacings of the track."""
    lengths = [wavelength for wavelength, _ in radiation.lines]
    own = track.radiation.wavelength
    if _same_lines(radiation, track.radiation):
        return track.grid.start, track.grid.stop

    def angle(two_theta: float, wavelength: float) -> float:
        sine = np.sin(np.radians(0.5 * two_theta)) * wavelength / own
        return float(np.degrees(2.0 * np.arcsin(min(sine, 1.0))))

    # The lines of a doublet are so near that the peaks beyond the grid cover both.
    if _same_anode(radiation, track.radiation):
        return track.grid.start, track.grid.stop
    return (
        max(angle(track.grid.start, length) for length in lengths),
        min(angle(track.grid.stop, length) for length in lengths),
    )


def _same_lines(first: Radiation, second: Radiation) -> bool:
    return len(first.lines) == len(second.lines) and all(
        abs(a / b - 1.0) < _SAME_LINE
        for (a, _), (b, _) in zip(
            sorted(first.lines), sorted(second.lines), strict=True
        )
    )


def _same_anode(first: Radiation, second: Radiation) -> bool:
    """Kα1 and the Kα doublet of copper are 0.08 % apart, other anodes 8 % and more."""
    return all(
        abs(a / b - 1.0) < _SAME_ANODE for a, _ in first.lines for b, _ in second.lines
    )


def _lorentz_polarization(
    sine: Float64[np.ndarray, " peaks"],
) -> Float64[np.ndarray, " peaks"]:
    """(1 + cos² 2θ) / (sin² θ cos θ) from sin θ."""
    squared = sine**2
    cos_two_theta = 1.0 - 2.0 * squared
    result: Float64[np.ndarray, " peaks"] = (1.0 + cos_two_theta**2) / (
        squared * np.sqrt(1.0 - squared)
    )
    return result
