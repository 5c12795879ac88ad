"""Preferred orientation of crystallites after March and Dollase."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int8, Int16, Int64
from numba import njit

from pxrdbench.diffraction.kernels.reflections import Metric
from pxrdbench.errors import PatternError

# Rotations of the holohedries leave at most 24 images of an axis, up to their sign.
_MOST_IMAGES = 48


@dataclass(frozen=True, eq=False)
class MarchDollase:
    """One preferred axis and how strongly each powder follows it.

        P(h) = mean over the images u of the axis of (r² cos² α + sin² α / r)^(−3/2)

    with α between the reciprocal vectors h and u; the mean over all orientations of h
    is 1. It multiplies the intensity of each reflection *before* overlapping ones are
    merged, so it must be known when peaks are drawn.

    Attributes:
        axis: Miller indices of the plane that plates lie on, or that needles stand
            on; one row a crystal.
        r: 1 is no texture; below 1 plates lie flat in reflection geometry, above 1
            needles do.

    References:
        March (1932), Z. Kristallogr. 81, 285; Dollase (1986), J. Appl. Cryst. 19, 267.
    """

    axis: Int16[np.ndarray, "batch 3"]
    r: Float64[np.ndarray, " batch"]

    def __post_init__(self) -> None:
        bad = np.flatnonzero(~((self.r >= 0.05) & (self.r <= 20.0)))
        if len(bad):
            raise PatternError(
                f"crystal {bad[0]}: March-Dollase r is {self.r[bad[0]]}; "
                "it lies between 0.05 and 20",
                index=int(bad[0]),
            )
        bad = np.flatnonzero(~self.axis.any(axis=1))
        if len(bad):
            raise PatternError(
                f"crystal {bad[0]}: the preferred axis is (0 0 0)", index=int(bad[0])
            )


@njit(cache=True, nogil=True)
def list_axis_images(
    axis: Int16[np.ndarray, " 3"],
    rotation: Int8[np.ndarray, "operators 3 3"],
    images: Int64[np.ndarray, "room 3"],
) -> int:
    """Write the images u·R of an axis, one of each pair ±u; return how many."""
    count = 0
    for op in range(rotation.shape[0]):
        u = (
            axis[0] * rotation[op, 0, 0]
            + axis[1] * rotation[op, 1, 0]
            + axis[2] * rotation[op, 2, 0]
        )
        v = (
            axis[0] * rotation[op, 0, 1]
            + axis[1] * rotation[op, 1, 1]
            + axis[2] * rotation[op, 2, 1]
        )
        w = (
            axis[0] * rotation[op, 0, 2]
            + axis[1] * rotation[op, 1, 2]
            + axis[2] * rotation[op, 2, 2]
        )
        is_new = True
        for i in range(count):
            x, y, z = images[i, 0], images[i, 1], images[i, 2]
            if (x == u and y == v and z == w) or (x == -u and y == -v and z == -w):
                is_new = False
                break
        if is_new:
            images[count, 0], images[count, 1], images[count, 2] = u, v, w
            count += 1
    return count


@njit(cache=True, nogil=True)
def apply_march_dollase(
    metric: Metric,
    h: np.ndarray,
    k: np.ndarray,
    m: np.ndarray,
    q: Float64[np.ndarray, " reflections"],
    axis: Int16[np.ndarray, " 3"],
    r: float,
    rotation: Int8[np.ndarray, "operators 3 3"],
    intensity: Float64[np.ndarray, " reflections"],
) -> None:
    """Multiply intensities by P(h); all orientations of a family have the same sum."""
    g11, g22, g33, g12, g13, g23 = metric
    images = np.empty((_MOST_IMAGES, 3), np.int64)
    n = list_axis_images(axis, rotation, images)
    factors = np.zeros(h.shape[0])
    for i in range(n):
        u, v, w = float(images[i, 0]), float(images[i, 1]), float(images[i, 2])
        x = g11 * u + g12 * v + g13 * w
        y = g12 * u + g22 * v + g23 * w
        z = g13 * u + g23 * v + g33 * w
        square = u * x + v * y + w * z
        for j in range(h.shape[0]):
            dot = float(h[j]) * x + float(k[j]) * y + float(m[j]) * z
            cos2 = min(dot * dot / (q[j] * square), 1.0)
            spread = r * r * cos2 + (1.0 - cos2) / r
            factors[j] += 1.0 / (spread * math.sqrt(spread))
    for j in range(h.shape[0]):
        intensity[j] *= factors[j] / n
