"""What intensities tell between space groups that extinguish the same reflections.

Volume and shape of the cell, how strengths are spread (Wilson 1949, Acta Cryst. 2,
318), and mean strengths of classes of reflections (zones: Rogers 1950, Acta Cryst. 3,
455; parities: atoms on special positions) are put into one linear softmax for each
extinction symbol. Its weights were fitted to random crystals, see
``symmetry_statistics_build``.
"""

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64
from numba import njit

N_CLASSES, N_SHAPE, N_SPREAD, N_FIRST = 32, 6, 5, 8
# Where there are too few lines: what random crystals have.
_USUAL_SPREAD = np.array([-1.3, 0.1, 0.3, 1.0, 1.8])
N_FEATURES = N_CLASSES + N_SHAPE + N_SPREAD + N_FIRST

Features = Float64[np.ndarray, " features"]


@njit(cache=True, nogil=True)
def fill_classes(h, k, l, belongs):
    """Which of 32 classes a reflection belongs to."""
    i = -(h + k)
    third = (h - k) % 3 == 0
    zeros = int(h == 0) + int(k == 0) + int(l == 0)
    a, b, c = abs(h), abs(k), abs(l)
    equal = int(a == b) + int(b == c) + int(a == c)
    odd = h % 2 + k % 2 + l % 2
    belongs[0] = l == 0
    belongs[1] = h == 0
    belongs[2] = k == 0
    belongs[3] = h == 0 and k == 0
    belongs[4] = k == 0 and l == 0
    belongs[5] = h == 0 and l == 0
    belongs[6] = h % 2 == 0
    belongs[7] = k % 2 == 0
    belongs[8] = l % 2 == 0
    belongs[9] = (h + k) % 2 == 0
    belongs[10] = (h + l) % 2 == 0
    belongs[11] = (k + l) % 2 == 0
    belongs[12] = (h + k + l) % 2 == 0
    belongs[13] = abs(h) == abs(k)
    belongs[14] = h - k == 0 or h - i == 0 or k - i == 0
    belongs[15] = h == 0 or k == 0 or i == 0
    belongs[16] = third
    belongs[17] = third and l % 2 == 0
    belongs[18] = third and l % 2 != 0
    belongs[19] = not third and l % 2 == 0
    belongs[20] = not third and l % 2 != 0
    belongs[21] = l % 3 == 0
    belongs[22] = h % 2 == 0 and k % 2 == 0
    belongs[23] = odd == 0
    belongs[24] = odd == 3
    belongs[25] = (2 * h + l) % 4 == 0
    belongs[26] = zeros >= 1
    belongs[27] = zeros == 2
    belongs[28] = equal >= 1
    belongs[29] = equal == 3
    belongs[30] = (odd == 0) | (odd == 3)
    belongs[31] = (h + k + l) % 4 == 0


@njit(cache=True, nogil=True)
def _sort_three(values: Features, a: int, b: int, c: int) -> None:
    """Sort three features, where the names of axes say nothing."""
    part = np.sort(np.array([values[a], values[b], values[c]]))
    values[a], values[b], values[c] = part[0], part[1], part[2]


@njit(cache=True, nogil=True)
def fill_features(
    family, volume, lengths, cosine, hkl, line_of, normalised, error, multiplicity
):
    """Features of a lattice's lines; family is the first letter's place in "amothc"."""
    out = np.zeros(N_FEATURES)
    strength, weight = np.zeros(N_CLASSES), np.zeros(N_CLASSES)
    belongs = np.zeros(N_CLASSES, np.bool_)
    for r in range(hkl.shape[0]):
        line = line_of[r]
        if line < 0 or error[line] > 0.05:
            continue
        fill_classes(hkl[r, 0], hkl[r, 1], hkl[r, 2], belongs)
        for c in range(N_CLASSES):
            if belongs[c]:
                strength[c] += 2.0 * normalised[line]
                weight[c] += 2.0
    for c in range(N_CLASSES):
        out[c] = math.log((strength[c] + 0.3) / (weight[c] + 0.3))
    if family == 2:
        _sort_three(out, 0, 1, 2)
        _sort_three(out, 3, 4, 5)
        _sort_three(out, 6, 7, 8)
        _sort_three(out, 9, 10, 11)
    elif family == 1:
        _sort_three(out, 6, 8, 10)
    n = N_CLASSES
    size = math.log(volume / 100.0)
    out[n], out[n + 1] = size, size * size
    if family == 2:
        a, b, c = np.sort(lengths)
        out[n + 2], out[n + 3] = math.log(b / a), math.log(c / a)
    else:
        ratio = math.log(lengths[2] / lengths[0])
        out[n + 2], out[n + 3] = ratio, ratio * ratio
        out[n + 4] = math.log(lengths[1] / lengths[0])
        out[n + 5] = cosine
    n += N_SHAPE
    count, logs, squares, total, fourth = 0.0, 0.0, 0.0, 0.0, 0.0
    weak, weaker = 0.0, 0.0
    for i in range(normalised.shape[0]):
        if error[i] > 0.05:
            continue
        e = normalised[i]
        value = math.log(e + 1e-3)
        count += 1.0
        logs += value
        squares += value * value
        total += e
        fourth += e * e
        weak += e < 0.1
        weaker += e < 0.01
    if count >= 3.0:
        mean = logs / count
        out[n] = mean
        out[n + 1] = weaker / count
        out[n + 2] = weak / count
        out[n + 3] = math.log(fourth * count / max(total * total, 1e-12) + 0.1)
        out[n + 4] = math.sqrt(max(squares / count - mean * mean, 0.0))
    else:
        out[n : n + N_SPREAD] = _USUAL_SPREAD
    n += N_SPREAD
    for i in range(min(N_FIRST, normalised.shape[0])):
        if error[i] <= 0.05:
            out[n + i] = math.log(normalised[i] + 1e-2)
    return out


def symmetry_features(
    bravais_lattice: str,
    metric: Float64[np.ndarray, " 6"],
    hkl: Int64[np.ndarray, "reflections 3"],
    line_of: Int64[np.ndarray, " reflections"],
    normalised: Float64[np.ndarray, " lines"],
    error: Float64[np.ndarray, " lines"],
    multiplicity: Int64[np.ndarray, " lines"],
) -> Features:
    """Features of the intensities of a lattice.

    Args:
        bravais_lattice: Of the reflections.
        metric: Reciprocal metric of its conventional cell [Å⁻²].
        hkl: Reflections.
        line_of: Line of each.
        normalised: Intensity a reflection, of mean 1.
        error: Its standard error.
        multiplicity: Reflections of each line.
    """
    g0, g1, g2, g3, g4, g5 = metric / np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0])
    direct = np.linalg.inv(np.array([[g0, g5, g4], [g5, g1, g3], [g4, g3, g2]]))
    points = {"P": 1, "A": 2, "C": 2, "I": 2, "F": 4, "R": 3}[bravais_lattice[1]]
    lengths = np.sqrt(np.diag(direct))
    features: Features = fill_features(
        "amothc".index(bravais_lattice[0]),
        math.sqrt(np.linalg.det(direct)) / points,
        lengths,
        direct[0, 2] / (lengths[0] * lengths[2]),
        hkl,
        line_of,
        normalised,
        error,
        multiplicity,
    )
    return features


@dataclass(frozen=True, eq=False)
class SymbolWeights:
    """Linear softmax between the groups of one extinction symbol.

    Attributes:
        groups: Space-group numbers.
        mean: Of each feature.
        scale: What features are divided by.
        weights: One row a group.
        bias: One number a group; the groups' frequencies are not in it.
    """

    groups: Int64[np.ndarray, " groups"]
    mean: Features
    scale: Features
    weights: Float64[np.ndarray, "groups features"]
    bias: Float64[np.ndarray, " groups"]


@cache
def load_weights(bravais_lattice: str) -> tuple[SymbolWeights, ...]:
    """Weights of all symbols of a lattice; none where the file is not there."""
    path = Path(__file__).with_name("symmetry_statistics.npz")
    found: list[SymbolWeights] = []
    with np.load(path, allow_pickle=False) as file:
        for name in file.files:
            lattice, symbol, part = name.split("_", 2)
            if lattice == bravais_lattice and part == "groups":
                stem = f"{lattice}_{symbol}_"
                found.append(
                    SymbolWeights(
                        groups=file[stem + "groups"].astype(np.int64),
                        mean=file[stem + "mean"].astype(np.float64),
                        scale=file[stem + "scale"].astype(np.float64),
                        weights=file[stem + "weights"].astype(np.float64),
                        bias=file[stem + "bias"].astype(np.float64),
                    )
                )
    return tuple(found)


def group_log_ratio(
    features: Features, bravais_lattice: str
) -> Float64[np.ndarray, " 231"]:
    """Logarithm of P(features | group) within each extinction symbol.

    Up to a constant a symbol: with the frequencies of the crystals that the weights
    were fitted to, the mean over the groups of a symbol is 1.
    """
    ratio = np.zeros(231)
    for symbol in load_weights(bravais_lattice):
        z = np.clip((features - symbol.mean) / symbol.scale, -4.0, 4.0)
        ratio[symbol.groups] = symbol.weights @ z + symbol.bias
    return ratio
