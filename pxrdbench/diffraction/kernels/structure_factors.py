"""Structure factors of many reflections at once, in single or double precision.

Coordinates are integers: a cell edge is 2³² (single) or 2⁶⁴ (double) steps, and the
phase h·x + k·y + l·z is added up in wrapping integers, which takes it modulo one turn
without rounding. Still in integers, the cosine of a phase p becomes the sine of a
quarter turn less |p|, which lies within a quarter turn of 0, where a short polynomial
has all the digits of its precision. Reflections are the inner loop, which
the compiler turns into vector instructions of whatever width the machine has.
"""

# ruff: noqa: E741 - h, k, l are the names of the indices

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Int64
from numba import float32, njit
from numba.extending import overload

Indices = Int[np.ndarray, " reflections"]
Reals = Float[np.ndarray, " reflections"]

# sin πt / t interpolated in t² at Chebyshev nodes of [0, ¼]; largest error 1.4e-8.
_SINE_32 = tuple(
    np.float32(c)
    for c in (
        3.1415926400772034,
        -5.167710076668315,
        2.550077386528912,
        -0.5982904112834275,
        0.07765591227601387,
    )
)
# The same for double precision; its error is below 1e-21, so rounding decides.
_SINE_64 = (
    3.141592653589793,
    -5.16771278004997,
    2.5501640398773455,
    -0.5992645293207869,
    0.08214588661099356,
    -0.007370430943702136,
    0.0004663027874593273,
    -2.1915250301851375e-05,
    7.94853903737232e-07,
    -2.228371216069697e-08,
)
# 2^x on [−½, ½], the same way; largest error 2e-9.
_POWER_OF_TWO = tuple(
    np.float32(c)
    for c in (
        1.0,
        0.6931472067028326,
        0.24022650922288757,
        0.05550327226670302,
        0.009618056678524637,
        0.0013400428177615838,
        0.0001546144469856913,
    )
)
_LOG2_E = np.float32(1.4426950408889634)
# A turn is 2³² or 2⁶⁴ steps.
_QUARTER_32, _HALF_TURNS_32 = np.int32(2**30), np.float32(2.0**-31)
_QUARTER_64, _HALF_TURNS_64 = np.int64(2**62), 2.0**-63


def _cosine(
    phase: Any,
) -> Any:
    """Cosine of a fixed-point phase; replaced by what follows when compiled."""
    return np.cos(2.0 * np.pi * (float(phase) / 2.0 ** (8 * phase.itemsize)))


def _sine(
    phase: Any,
) -> Any:
    """Sine of a fixed-point phase."""
    return np.sin(2.0 * np.pi * (float(phase) / 2.0 ** (8 * phase.itemsize)))


def _decay(
    x: float,
) -> Any:
    """exp(−x) for x >= 0."""
    return np.exp(-x)


@njit(cache=True, nogil=True, fastmath={"contract"})
def sine_of_half_turns_32(t: np.float32) -> np.float32:
    """Sine of πt for t in [−½, ½], in single precision."""
    square = t * t
    value = _SINE_32[4]
    for i in range(3, -1, -1):
        value = value * square + _SINE_32[i]
    return value * t


@njit(cache=True, nogil=True, fastmath={"contract"})
def _cosine_32(
    phase: np.int32,
) -> Any:
    return sine_of_half_turns_32(
        np.float32(np.int32(_QUARTER_32 - abs(phase))) * _HALF_TURNS_32
    )


@njit(cache=True, nogil=True, fastmath={"contract"})
def sine_of_half_turns(t: float) -> float:
    """Sine of πt for t in [−½, ½], in double precision."""
    square = t * t
    value = _SINE_64[9]
    for i in range(8, -1, -1):
        value = value * square + _SINE_64[i]
    return value * t


@njit(cache=True, nogil=True, fastmath={"contract"})
def _cosine_64(phase: np.int64) -> Any:
    return sine_of_half_turns(np.float64(_QUARTER_64 - abs(phase)) * _HALF_TURNS_64)


# numba compares names and annotations of an overload with those of what it returns.
@overload(_cosine)
def _cosine_typed(phase: Any) -> Callable[[Any], Any]:
    if phase.bitwidth == 32:

        def cosine(phase: Any) -> Any:
            return _cosine_32(phase)
    else:

        def cosine(phase: Any) -> Any:
            return _cosine_64(phase)

    return cosine


@overload(_sine)
def _sine_typed(phase: Any) -> Callable[[Any], Any]:
    if phase.bitwidth == 32:

        def sine(phase: Any) -> Any:
            return _cosine_32(np.int32(phase - _QUARTER_32))
    else:

        def sine(phase: Any) -> Any:
            return _cosine_64(phase - _QUARTER_64)

    return sine


@njit(cache=True, nogil=True, fastmath={"contract"})
def _decay_32(x: np.float32) -> np.float32:
    # 2^−126 is the smallest normal number; below it there is nothing to add.
    y = -x * _LOG2_E
    y = y if y > np.float32(-126.0) else np.float32(-126.0)
    whole = np.rint(y)
    rest = y - whole
    value = _POWER_OF_TWO[6]
    for i in range(5, -1, -1):
        value = value * rest + _POWER_OF_TWO[i]
    bits = np.int32(np.int32(whole) + np.int32(127)) << np.int32(23)
    return value * np.int32(bits).view(np.float32)


@overload(_decay)
def _decay_typed(x: Any) -> Callable[[Any], Any]:
    if x == float32:

        def decay(x: Any) -> Any:
            return _decay_32(x)
    else:

        def decay(x: Any) -> Any:
            return math.exp(-x)

    return decay


# contract: a product and a sum may round once, which fused instructions do. It changes
# results below the rounding of either form, and is the same for every batch.
@njit(cache=True, nogil=True, fastmath={"contract"})
def _add_cosines(
    h: Indices,
    k: Indices,
    l: Indices,
    x: Int[np.ndarray, " atoms"],
    y: Int[np.ndarray, " atoms"],
    z: Int[np.ndarray, " atoms"],
    weight: Float[np.ndarray, " atoms"],
    cosines: Reals,
) -> None:
    """Cosines += Σ_atoms weight · cos 2π h·x; two atoms a pass over memory."""
    integer = h.dtype.type
    n_atoms = x.shape[0]
    for atom in range(0, n_atoms - 1, 2):
        x0, y0, z0, w0 = x[atom], y[atom], z[atom], weight[atom]
        x1, y1, z1, w1 = x[atom + 1], y[atom + 1], z[atom + 1], weight[atom + 1]
        for r in range(h.shape[0]):
            c0 = _cosine(integer(h[r] * x0 + k[r] * y0 + l[r] * z0))
            c1 = _cosine(integer(h[r] * x1 + k[r] * y1 + l[r] * z1))
            cosines[r] += w0 * c0 + w1 * c1
    if n_atoms % 2:
        atom = n_atoms - 1
        x0, y0, z0, w0 = x[atom], y[atom], z[atom], weight[atom]
        for r in range(h.shape[0]):
            cosines[r] += w0 * _cosine(integer(h[r] * x0 + k[r] * y0 + l[r] * z0))


@njit(cache=True, nogil=True, fastmath={"contract"})
def _add_waves(
    h: Indices,
    k: Indices,
    l: Indices,
    x: Int[np.ndarray, " atoms"],
    y: Int[np.ndarray, " atoms"],
    z: Int[np.ndarray, " atoms"],
    weight: Float[np.ndarray, " atoms"],
    cosines: Reals,
    sines: Reals,
) -> None:
    """As _add_cosines, and sines += Σ_atoms weight · sin 2π h·x."""
    integer = h.dtype.type
    for atom in range(x.shape[0]):
        x0, y0, z0, w0 = x[atom], y[atom], z[atom], weight[atom]
        for r in range(h.shape[0]):
            phase = integer(h[r] * x0 + k[r] * y0 + l[r] * z0)
            cosines[r] += w0 * _cosine(phase)
            sines[r] += w0 * _sine(phase)


@njit(cache=True, nogil=True, fastmath={"contract"})
def _form_factors(
    stol2: Reals,
    row: Float[np.ndarray, " 12"],
    b_iso: float,
    out: Reals,
) -> None:
    """F of one species (see scattering) times exp(−B s²), for each reflection."""
    a0, a1, a2, a3 = row[0], row[1], row[2], row[3]
    b0, b1, b2, b3 = row[4], row[5], row[6], row[7]
    constant, scale, scale_stol2 = row[8], row[9], row[10]
    for r in range(stol2.shape[0]):
        s = stol2[r]
        waves = a0 * _decay(b0 * s) + a1 * _decay(b1 * s)
        waves += a2 * _decay(b2 * s) + a3 * _decay(b3 * s)
        out[r] = constant + (scale + scale_stol2 * s) * waves
    if b_iso != 0.0:
        for r in range(stol2.shape[0]):
            out[r] *= _decay(b_iso * stol2[r])


@njit(cache=True, nogil=True)
def _clear(
    array: Reals,
) -> None:
    # A loop and not a slice: numba compiles it in half the time.
    for r in range(array.shape[0]):
        array[r] = 0


@njit(cache=True, nogil=True, fastmath={"contract"})
def _add_product(
    factor: Reals,
    waves: Reals,
    total: Reals,
) -> None:
    for r in range(total.shape[0]):
        total[r] += factor[r] * waves[r]


@njit(cache=True, nogil=True, fastmath={"contract"})
def _add_imaginary(
    imaginary: float,
    b_iso: float,
    stol2: Reals,
    waves: Reals,
    total: Reals,
) -> None:
    if b_iso == 0.0:
        for r in range(total.shape[0]):
            total[r] += imaginary * waves[r]
    else:
        for r in range(total.shape[0]):
            total[r] += imaginary * _decay(b_iso * stol2[r]) * waves[r]


@njit(cache=True, nogil=True, fastmath={"contract"})
def _add_squares(
    real: Reals,
    total: Reals,
) -> None:
    for r in range(total.shape[0]):
        total[r] += real[r] * real[r]


@njit(cache=True, nogil=True)
def square_structure_factors(
    h: Indices,
    k: Indices,
    l: Indices,
    stol2: Reals,
    is_centrosymmetric: bool,
    atoms: Int[np.ndarray, "3 atoms"],
    weight: Float[np.ndarray, " atoms"],
    group_offset: Int64[np.ndarray, " groups_and_one"],
    rows: Float[np.ndarray, "groups 12"],
    b_iso: Float[np.ndarray, " groups"],
    scratch: Float[np.ndarray, "7 block"],
    out: Reals,
) -> None:
    """|P|² + |Q|² of each reflection, the mean of |F(h)|² and |F(−h)|².

    P sums f0 + f′ over the atoms and Q sums f″ (see scattering).

    Args:
        h: Miller indices; integers of the width of ``atoms``.
        k: The same.
        l: The same.
        stol2: (sin θ/λ)² of each reflection.
        is_centrosymmetric: The atoms stand for their inverse images too.
        atoms: Fixed-point x, y, z (3, atoms); those of a group are contiguous.
        weight: Of each atom.
        group_offset: First atom of each group of equal species and b_iso.
        rows: Coefficients of each group's species.
        b_iso: Of each group.
        scratch: Seven rows as long as a block of reflections.
        out: Receives the result.
    """
    block = scratch.shape[1]
    n_groups = group_offset.shape[0] - 1
    for start in range(0, h.shape[0], block):
        stop = min(start + block, h.shape[0])
        n = stop - start
        hb, kb, lb, sb = h[start:stop], k[start:stop], l[start:stop], stol2[start:stop]
        cosines, sines, factor = scratch[0, :n], scratch[1, :n], scratch[2, :n]
        p_cos, p_sin, q_cos, q_sin = (
            scratch[3, :n], scratch[4, :n], scratch[5, :n], scratch[6, :n],
        )  # fmt: skip
        for row in range(3, 7):
            _clear(scratch[row, :n])
        has_imaginary = False
        for g in range(n_groups):
            first, last = group_offset[g], group_offset[g + 1]
            x, y, z = atoms[0, first:last], atoms[1, first:last], atoms[2, first:last]
            w = weight[first:last]
            _clear(cosines)
            _form_factors(sb, rows[g], b_iso[g], factor)
            if is_centrosymmetric:
                _add_cosines(hb, kb, lb, x, y, z, w, cosines)
            else:
                _clear(sines)
                _add_waves(hb, kb, lb, x, y, z, w, cosines, sines)
                _add_product(factor, sines, p_sin)
            _add_product(factor, cosines, p_cos)
            imaginary = rows[g, 11]
            if imaginary != 0.0:
                has_imaginary = True
                _add_imaginary(imaginary, b_iso[g], sb, cosines, q_cos)
                if not is_centrosymmetric:
                    _add_imaginary(imaginary, b_iso[g], sb, sines, q_sin)
        total = out[start:stop]
        _clear(total)
        _add_squares(p_cos, total)
        if not is_centrosymmetric:
            _add_squares(p_sin, total)
        if has_imaginary:
            _add_squares(q_cos, total)
            if not is_centrosymmetric:
                _add_squares(q_sin, total)
