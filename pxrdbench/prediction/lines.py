"""The second line of a tube, Kα2: taken off a scan, or put on.

With s = sin θ, q the ratio of the wavelengths and r that of the intensities, a scan of
both lines is I(s) = I1(s) + r I1(s / q).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from pxrdbench.diffraction.radiation import Radiation

# Kα2 that comes off must not leave holes of more than this part of what remains: with
# it 0.000 to 0.02, without it 0.05 to 0.4 for nine patterns of ten of `laboratory`.
_HOLES = 0.025
_SMOOTH = 0.09  # [degrees]
# Second lines are told apart from first ones where they are this far off [degrees].
_RESOLVED = 0.12


@dataclass(frozen=True)
class LineChange:
    """What is done about second lines: ratios of those to take off and to put on."""

    off: tuple[float, float] | None = None
    on: tuple[float, float] | None = None
    note: tuple[str, ...] = ()

    def apply(
        self,
        angles: Float64[np.ndarray, " points"],
        net: Float64[np.ndarray, "*rows points"],
    ) -> Float64[np.ndarray, "*rows points"]:
        """Do it to patterns without background."""
        if self.off is not None:
            net = _strip(angles, net, *self.off)
        if self.on is not None:
            net = add_second_line(angles, net, *self.on)
        return net


def match_lines(
    angles: Float64[np.ndarray, " points"],
    net: Float64[np.ndarray, " points"],
    radiation: Radiation,
    wanted: Radiation,
) -> LineChange:
    """How a scan gets the second line that a model's patterns have, or loses it.

    Args:
        angles: Even steps of 2θ [degrees], at the model's wavelength.
        net: The scan without background.
        radiation: What it was measured with.
        wanted: What the model's patterns are made with.
    """
    theirs, ours = second_line(radiation), second_line(wanted)
    is_alike = theirs and ours and abs(theirs[0] / ours[0] - 1.0) < 3e-4
    if is_alike or (theirs is None and ours is None):
        return LineChange()
    if theirs is not None:
        if strip_second_line(angles, net, *theirs) is None:
            return LineChange(
                note=(
                    "The second line of the radiation is not seen in this scan: left "
                    "out of account.",
                )
            )
    elif ours is not None and strip_second_line(angles, net, *ours) is not None:
        # A file may name Kα1 alone though the tube sent both.
        return LineChange()
    return LineChange(theirs, ours)


def second_line(radiation: Radiation) -> tuple[float, float] | None:
    """Ratios of wavelength and of intensity of the second line to the first."""
    if len(radiation.lines) < 2:
        return None
    (first, weight), (second, other) = radiation.lines[:2]
    return second / first, other / weight


def strip_second_line(
    angles: Float64[np.ndarray, " points"],
    net: Float64[np.ndarray, " points"],
    wavelengths: float,
    intensities: float,
) -> Float64[np.ndarray, " points"] | None:
    """Take Kα2 off a pattern without background.

        I1(s) = I(s) - r I1(s / q),  s = sin θ,

    from low angles to high; q and r are the ratios of wavelengths and intensities.

    Returns:
        The pattern of the first line; None if that leaves holes where second lines
        should be: they are not in this pattern.

    References:
        Rachinger (1948), J. Sci. Instrum. 25, 254.
    """
    result = _strip(angles, net, wavelengths, intensities)
    shift = np.degrees(2.0 * np.tan(np.radians(angles / 2))) * (wavelengths - 1.0)
    is_resolved = shift > _RESOLVED
    width = max(3, round(_SMOOTH / (angles[1] - angles[0])))
    smooth = np.convolve(result, np.full(width, 1.0 / width), mode="same")
    # Three standard deviations; of two equal ones the median difference is 0.954.
    noise = 3.0 / 0.954 * float(np.median(np.abs(np.diff(smooth[::width]))))
    holes = -(smooth + noise).clip(None, 0.0)[is_resolved].sum()
    rest = (smooth - noise).clip(0.0)[is_resolved].sum()
    return None if holes > _HOLES * max(rest, 1e-12) else result


def _strip(
    angles: Float64[np.ndarray, " points"],
    net: Float64[np.ndarray, "*rows points"],
    wavelengths: float,
    intensities: float,
) -> Float64[np.ndarray, "*rows points"]:
    """Take the second line off, point after point, whether it is there or not."""
    lower, share, is_inside = _places(angles, 1.0 / wavelengths)
    result = net.copy()
    for point in np.flatnonzero(is_inside & (lower + 1 < np.arange(len(angles)))):
        low = lower[point]
        before, after = result[..., low], result[..., low + 1]
        before = before + share[point] * (after - before)
        # Noise below zero would be handed on from line to line.
        result[..., point] -= intensities * np.maximum(before, 0.0)
    return result


def add_second_line(
    angles: Float64[np.ndarray, " points"],
    net: Float64[np.ndarray, "*rows points"],
    wavelengths: float,
    intensities: float,
) -> Float64[np.ndarray, "*rows points"]:
    """Give patterns of one line a second one: I(s) + r I(s / q)."""
    lower, share, is_inside = _places(angles, 1.0 / wavelengths)
    second = net[..., lower] + share * (net[..., lower + 1] - net[..., lower])
    return net + intensities * np.where(is_inside, second, 0.0)


def _places(
    angles: Float64[np.ndarray, " points"], ratio: float
) -> tuple[
    Int64[np.ndarray, " points"],
    Float64[np.ndarray, " points"],
    Bool[np.ndarray, " points"],
]:
    """Where the angle lies whose sin θ is a ratio of each one's.

    Returns:
        The point before it, the share of the step from there, and whether it is one
        of the angles at all.
    """
    moved = np.degrees(2.0 * np.arcsin(np.sin(np.radians(angles / 2)) * ratio))
    place = (moved - angles[0]) / (angles[1] - angles[0])
    lower = np.floor(place).astype(np.int64).clip(0, len(angles) - 2)
    return lower, place - lower, place >= 0.0
