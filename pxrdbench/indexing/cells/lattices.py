"""Metrics of lattices: reduction, Bravais lattices within a tolerance, matching.

A basis is three row vectors; its metric is G = B Bᵀ [Å²]; a change of basis is an
integer matrix T with new basis = T · basis and new metric T G Tᵀ.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from numba import njit

from pxrdbench.errors import CrystalError

# From the lowest symmetry to the highest: codes of kernels are positions herein.
BRAVAIS_LATTICES = (
    "aP",
    "mP",
    "mC",
    "oP",
    "oC",
    "oI",
    "oF",
    "tP",
    "tI",
    "hR",
    "hP",
    "cP",
    "cI",
    "cF",
)
AP, MP, MC, OP, OC, OI, OF, TP, TI, HR, HP, CP, CI, CF = range(14)
CRYSTAL_SYSTEM_OF_LATTICE = {
    "a": "triclinic",
    "m": "monoclinic",
    "o": "orthorhombic",
    "t": "tetragonal",
    "h": "hexagonal",
    "c": "cubic",
}
# Lattice points in a conventional cell.
POINTS = np.array([1, 1, 2, 1, 2, 2, 4, 1, 2, 3, 1, 1, 2, 4])
# Free parameters of a metric.
PARAMETERS = np.array([6, 4, 4, 3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1])


def _two_folds() -> Int64[np.ndarray, "two_folds 3 3"]:
    """The 81 two-fold rotations that a reduced cell can have.

    Entries of a symmetry operation of a Buerger-reduced cell are -1, 0 or 1
    (Lebedev, Vagin & Murshudov 2006, Acta Cryst. D62, 83, appendix A2).
    """
    entries = np.stack(np.meshgrid(*[[-1, 0, 1]] * 9, indexing="ij"), -1)
    matrices = entries.reshape(-1, 3, 3)
    trace = np.trace(matrices, axis1=1, axis2=2) == -1
    matrices = matrices[trace]
    involution = (matrices @ matrices == np.eye(3, dtype=int)).all((1, 2))
    return np.ascontiguousarray(matrices[involution]).astype(np.int64)


TWO_FOLDS = _two_folds()


class BravaisChoice(NamedTuple):
    """A Bravais lattice that a metric can be.

    Attributes:
        bravais_lattice: "mP", …
        conventional: a, b, c [Å], α, β, γ [degrees], with its symmetry exact.
        transformation: conventional basis = transformation · primitive basis (rows).
        strain: By how much the metric must be strained to have this symmetry.
    """

    bravais_lattice: str
    conventional: tuple[float, float, float, float, float, float]
    transformation: Int64[np.ndarray, "3 3"]
    strain: float


@njit(cache=True, nogil=True)
def metric(cell):
    """G_ij = a_i · a_j of a, b, c, α, β, γ."""
    g = np.empty((3, 3))
    for i in range(3):
        g[i, i] = cell[i] * cell[i]
    g[1, 2] = g[2, 1] = cell[1] * cell[2] * math.cos(math.radians(cell[3]))
    g[0, 2] = g[2, 0] = cell[0] * cell[2] * math.cos(math.radians(cell[4]))
    g[0, 1] = g[1, 0] = cell[0] * cell[1] * math.cos(math.radians(cell[5]))
    return g


@njit(cache=True, nogil=True)
def cell_parameters(g):
    """a, b, c, α, β, γ of a metric."""
    cell = np.empty(6)
    for i in range(3):
        cell[i] = math.sqrt(max(g[i, i], 0.0))
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        cosine = g[j, k] / max(cell[j] * cell[k], 1e-300)
        cell[3 + i] = math.degrees(math.acos(min(1.0, max(-1.0, cosine))))
    return cell


@njit(cache=True, nogil=True)
def determinant(g):
    """Determinant of a 3 × 3 matrix."""
    return (
        g[0, 0] * (g[1, 1] * g[2, 2] - g[1, 2] * g[2, 1])
        - g[0, 1] * (g[1, 0] * g[2, 2] - g[1, 2] * g[2, 0])
        + g[0, 2] * (g[1, 0] * g[2, 1] - g[1, 1] * g[2, 0])
    )


@njit(cache=True, nogil=True)
def inverse(g):
    """Inverse of a 3 × 3 matrix."""
    d = 1.0 / determinant(g)
    out = np.empty((3, 3))
    for i in range(3):
        for j in range(3):
            a, b = (j + 1) % 3, (j + 2) % 3
            c, e = (i + 1) % 3, (i + 2) % 3
            out[i, j] = d * (g[a, c] * g[b, e] - g[a, e] * g[b, c])
    return out


@njit(cache=True, nogil=True)
def transform(t, g):
    """Metric T G Tᵀ of the basis T · B."""
    out = np.zeros((3, 3))
    for i in range(3):
        for j in range(i, 3):
            total = 0.0
            for k in range(3):
                for m in range(3):
                    total += t[i, k] * t[j, m] * g[k, m]
            out[i, j] = total
            out[j, i] = total
    return out


@njit(cache=True, nogil=True)
def multiply(a, b):
    """Product of two integer 3 × 3 matrices."""
    out = np.zeros((3, 3), np.int64)
    for i in range(3):
        for j in range(3):
            for k in range(3):
                out[i, j] += a[i, k] * b[k, j]
    return out


@njit(cache=True, nogil=True)
def shorten(g):
    """T of a basis whose vectors can't be shortened pairwise, as a start."""
    t = np.eye(3, dtype=np.int64)
    h = g.copy()
    for _ in range(200):
        changed = False
        for i in range(3):
            for j in range(3):
                if i == j:
                    continue
                n = round(h[i, j] / max(h[j, j], 1e-300))
                if n != 0.0 and abs(n) < 1e9:
                    m = int(n)
                    gain = 2 * m * h[i, j] - m * m * h[j, j]
                    if gain > 1e-9 * h[i, i]:
                        for k in range(3):
                            t[i, k] -= m * t[j, k]
                        h = transform(t, g)
                        changed = True
        if not changed:
            break
    return t


@njit(cache=True, nogil=True)
def niggli(g, tolerance):
    """Niggli-reduce a metric; return the change of basis T.

    The steps of Křivý & Gruber (1976), Acta Cryst. A32, 297, with comparisons that
    allow for errors after Grosse-Kunstleve, Sauter & Adams (2004), Acta Cryst. A60, 1.

    Args:
        g: Metric.
        tolerance: Relative to the square of the cube root of the volume.
    """
    t = shorten(g)
    eps = tolerance * max(determinant(g), 1e-300) ** (1.0 / 3.0)
    step = np.zeros((3, 3), np.int64)
    for _ in range(300):
        h = transform(t, g)
        a, b, c = h[0, 0], h[1, 1], h[2, 2]
        xi, eta, zeta = 2 * h[1, 2], 2 * h[0, 2], 2 * h[0, 1]
        step[:] = 0
        if a > b + eps or (abs(a - b) <= eps and abs(xi) > abs(eta) + eps):
            step[0, 1] = step[1, 0] = step[2, 2] = -1
            t = multiply(step, t)
            continue
        if b > c + eps or (abs(b - c) <= eps and abs(eta) > abs(zeta) + eps):
            step[0, 0] = step[1, 2] = step[2, 1] = -1
            t = multiply(step, t)
            continue
        # Signs: all angles acute, or none (steps 3 and 4).
        n_zero = 0
        n_positive = 0
        for value in (xi, eta, zeta):
            if abs(value) <= eps:
                n_zero += 1
            elif value > 0:
                n_positive += 1
        i = j = k = 1
        if n_zero == 0 and n_positive in (1, 3):
            if xi < 0:
                i = -1
            if eta < 0:
                j = -1
            if zeta < 0:
                k = -1
        else:
            free = -1
            if xi > eps:
                i = -1
            elif xi >= -eps:
                free = 0
            if eta > eps:
                j = -1
            elif eta >= -eps:
                free = 1
            if zeta > eps:
                k = -1
            elif zeta >= -eps:
                free = 2
            if i * j * k < 0:
                if free == 0:
                    i = -1
                elif free == 1:
                    j = -1
                elif free == 2:
                    k = -1
        if i * j * k > 0:
            for m in range(3):
                t[0, m] *= i
                t[1, m] *= j
                t[2, m] *= k
            h = transform(t, g)
            xi, eta, zeta = 2 * h[1, 2], 2 * h[0, 2], 2 * h[0, 1]
        if (
            abs(xi) > b + eps
            or (abs(xi - b) <= eps and 2 * eta < zeta - eps)
            or (abs(xi + b) <= eps and zeta < -eps)
        ):
            sign = 1 if xi > 0 else -1
            for m in range(3):
                t[2, m] -= sign * t[1, m]
            continue
        if (
            abs(eta) > a + eps
            or (abs(eta - a) <= eps and 2 * xi < zeta - eps)
            or (abs(eta + a) <= eps and zeta < -eps)
        ):
            sign = 1 if eta > 0 else -1
            for m in range(3):
                t[2, m] -= sign * t[0, m]
            continue
        if (
            abs(zeta) > a + eps
            or (abs(zeta - a) <= eps and 2 * xi < eta - eps)
            or (abs(zeta + a) <= eps and eta < -eps)
        ):
            sign = 1 if zeta > 0 else -1
            for m in range(3):
                t[1, m] -= sign * t[0, m]
            continue
        total = xi + eta + zeta + a + b
        if total < -eps or (abs(total) <= eps and 2 * (a + eta) + zeta > eps):
            for m in range(3):
                t[2, m] += t[0, m] + t[1, m]
            continue
        break
    return t


@njit(cache=True, nogil=True)
def strain_between(g, other):
    """Frobenius norm of the strain ½ L⁻¹ (G' - G) L⁻ᵀ with G = L Lᵀ."""
    # L of the Cholesky factorisation, then two triangular solutions.
    l00 = math.sqrt(max(g[0, 0], 1e-300))
    l10, l20 = g[1, 0] / l00, g[2, 0] / l00
    l11 = math.sqrt(max(g[1, 1] - l10 * l10, 1e-300))
    l21 = (g[2, 1] - l20 * l10) / l11
    l22 = math.sqrt(max(g[2, 2] - l20 * l20 - l21 * l21, 1e-300))
    x = np.empty((3, 3))
    for j in range(3):
        x[0, j] = (other[0, j] - g[0, j]) / l00
        x[1, j] = (other[1, j] - g[1, j] - l10 * x[0, j]) / l11
        x[2, j] = (other[2, j] - g[2, j] - l20 * x[0, j] - l21 * x[1, j]) / l22
    total = 0.0
    for i in range(3):
        y0 = x[i, 0] / l00
        y1 = (x[i, 1] - l10 * y0) / l11
        y2 = (x[i, 2] - l20 * y0 - l21 * y1) / l22
        total += y0 * y0 + y1 * y1 + y2 * y2
    return 0.5 * math.sqrt(total)


@njit(cache=True, nogil=True)
def _primitive_row(m, out):
    """The shortest integer vector along the rows of a matrix of rank one."""
    for i in range(3):
        if m[i, 0] != 0 or m[i, 1] != 0 or m[i, 2] != 0:
            n = math.gcd(math.gcd(abs(m[i, 0]), abs(m[i, 1])), abs(m[i, 2]))
            for j in range(3):
                out[j] = m[i, j] // n
            return


@njit(cache=True, nogil=True)
def _two_fold_axis(m, out):
    """Lattice vector along a two-fold axis: rows of M + 1 are multiples of it."""
    s = m.copy()
    for i in range(3):
        s[i, i] += 1
    _primitive_row(s, out)


@njit(cache=True, nogil=True)
def _integer_determinant(t):
    return (
        t[0, 0] * (t[1, 1] * t[2, 2] - t[1, 2] * t[2, 1])
        - t[0, 1] * (t[1, 0] * t[2, 2] - t[1, 2] * t[2, 0])
        + t[0, 2] * (t[1, 0] * t[2, 1] - t[1, 1] * t[2, 0])
    )


@njit(cache=True, nogil=True)
def _dot(g, a, b):
    total = 0.0
    for i in range(3):
        for j in range(3):
            total += a[i] * g[i, j] * b[j]
    return total


@njit(cache=True, nogil=True)
def _is_point(t, p, q, r, n):
    """Whether (p a + q b + r c) / n of the rows of t is a lattice point."""
    off = 0
    for k in range(3):
        off += (p * t[0, k] + q * t[1, k] + r * t[2, k]) % n
    return off == 0


@njit(cache=True, nogil=True)
def _right_handed(t):
    """Turn the third vector where a basis is left-handed."""
    if _integer_determinant(t) < 0:
        for k in range(3):
            t[2, k] = -t[2, k]


@njit(cache=True, nogil=True)
def monoclinic_basis(g, u, t):
    """Conventional basis with unique axis along u; returns the code of the lattice.

    b is along u; a and c are the obtuse reduced vectors of the lattice plane at right
    angles, so that β is the smallest one ≥ 90°; of a centred lattice a is the one
    whose sum with b is twice a lattice vector.
    """
    # Plane normal in reciprocal indices: h ∝ G u. With exact symmetry it is integer;
    # the integer combinations that vanish on it are found by search.
    gu = np.empty(3)
    for i in range(3):
        gu[i] = g[i, 0] * u[0] + g[i, 1] * u[1] + g[i, 2] * u[2]
    length = math.sqrt(max(_dot(g, u, u), 1e-300))
    n = 0
    v = np.zeros((3, 3), np.int64)
    lengths = np.zeros(2)
    best = np.zeros((2, 3), np.int64)
    w = np.zeros(3, np.int64)
    for x in range(-3, 4):
        for y in range(-3, 4):
            for z in range(-3, 4):
                if x < 0 or (x == 0 and (y < 0 or (y == 0 and z <= 0))):
                    continue
                w[0], w[1], w[2] = x, y, z
                square = _dot(g, w, w)
                along = (x * gu[0] + y * gu[1] + z * gu[2]) / length
                if abs(along) > 1e-6 * math.sqrt(square):
                    continue
                if math.gcd(math.gcd(abs(x), abs(y)), abs(z)) != 1:
                    continue
                if n == 0 or square < lengths[0]:
                    if n > 0:
                        lengths[1] = lengths[0]
                        best[1] = best[0]
                    lengths[0] = square
                    best[0] = w
                    n += 1
                elif n == 1 or square < lengths[1]:
                    lengths[1] = square
                    best[1] = w
                    n += 1
    if n < 2:
        return -1
    v[0], v[1] = best[0], best[1]
    if _dot(g, v[0], v[1]) > 0:
        v[1] = -v[1]
    v[2] = -(v[0] + v[1])
    t[0], t[1], t[2] = v[0], u, v[1]
    det = abs(_integer_determinant(t))
    if det == 1:
        if _dot(g, t[0], t[0]) > _dot(g, t[2], t[2]):
            t[0], t[2] = v[1].copy(), v[0].copy()
        if _integer_determinant(t) < 0:
            t[1] = -t[1]
        return MP
    if det != 2:
        return -1
    for i in range(3):
        t[0] = v[i]
        if not _is_point(t, 1, 1, 0, 2):
            continue
        first, second = v[(i + 1) % 3], v[(i + 2) % 3]
        pick = first
        # c with β ≥ 90 and nearest to it
        p1, p2 = _dot(g, v[i], first), _dot(g, v[i], second)
        c1 = abs(p1) / math.sqrt(_dot(g, first, first))
        c2 = abs(p2) / math.sqrt(_dot(g, second, second))
        if c2 < c1 * (1 - 1e-9):
            pick = second
        t[2] = pick
        if _dot(g, t[0], t[2]) > 0:
            t[2] = -t[2]
        if _integer_determinant(t) < 0:
            t[1] = -t[1]
        return MC
    return -1


@njit(cache=True, nogil=True)
def _orthogonal_basis(g, t):
    """Order three axes at right angles; returns the code of the lattice."""
    det = abs(_integer_determinant(t))
    if det == 2 and not _is_point(t, 1, 1, 1, 2):
        # C-centred: the third axis is the one that has no part in the centring.
        if _is_point(t, 0, 1, 1, 2):
            third = 0
        elif _is_point(t, 1, 0, 1, 2):
            third = 1
        else:
            third = 2
        if third != 2:
            w = t[2].copy()
            t[2] = t[third]
            t[third] = w
        if _dot(g, t[0], t[0]) > _dot(g, t[1], t[1]):
            w = t[0].copy()
            t[0] = t[1]
            t[1] = w
        _right_handed(t)
        return OC
    for i in range(2):
        for j in range(2 - i):
            if _dot(g, t[j], t[j]) > _dot(g, t[j + 1], t[j + 1]):
                w = t[j].copy()
                t[j] = t[j + 1]
                t[j + 1] = w
    _right_handed(t)
    if det == 1:
        return OP
    if det == 2:
        return OI
    if det == 4:
        return OF
    return -1


@njit(cache=True, nogil=True)
def _uniaxial_basis(g, two_folds, n_two_folds, axis, order, t):
    """Basis of a lattice with a three-, four- or six-fold axis; returns its code."""
    # Two-fold axes at right angles to the main axis, the shortest first; of equal
    # determinant that of the smallest cell.
    best_det = 1000
    best = -1
    shortest = 1e300
    for i in range(n_two_folds):
        if abs(_dot(g, two_folds[i], axis)) > 1e-6 * math.sqrt(
            _dot(g, axis, axis) * _dot(g, two_folds[i], two_folds[i])
        ):
            continue
        square = _dot(g, two_folds[i], two_folds[i])
        if square < shortest * (1 - 1e-6):
            shortest = square
            best = i
    if best < 0:
        return -1
    t[0] = two_folds[best]
    t[2] = axis
    # b: the two-fold axis of the same length at 90 or 120 degrees.
    cosine = 0.0 if order == 4 else -0.5
    found = False
    for i in range(n_two_folds):
        square = _dot(g, two_folds[i], two_folds[i])
        if abs(square - shortest) > 1e-6 * shortest:
            continue
        product = _dot(g, t[0], two_folds[i]) / shortest
        along = abs(_dot(g, two_folds[i], axis)) / math.sqrt(
            _dot(g, axis, axis) * shortest
        )
        if along > 1e-6:
            continue
        if abs(abs(product) - abs(cosine)) < 1e-6 and i != best:
            t[1] = two_folds[i] if product * cosine >= 0 else -two_folds[i]
            found = True
            break
    if not found:
        return -1
    _right_handed(t)
    best_det = abs(_integer_determinant(t))
    if order == 4:
        if best_det == 1:
            return TP
        if best_det == 2 and _is_point(t, 1, 1, 1, 2):
            return TI
        return -1
    if order == 6:
        return HP if best_det == 1 else -1
    if best_det != 3:
        return -1
    # Obverse: 2/3 1/3 1/3 is a lattice point (-h + k + l = 3n); else turn by 180.
    if not _is_point(t, 2, 1, 1, 3):
        t[0] = -t[0]
        t[1] = -t[1]
    return HR if _is_point(t, 2, 1, 1, 3) else -1


@njit(cache=True, nogil=True)
def _same(a, b):
    for i in range(3):
        for j in range(3):
            if a[i, j] != b[i, j]:
                return False
    return True


@njit(cache=True, nogil=True)
def _generate(generators, n_generators, group):
    """All products of matrices; how many, or -1 where they are more than 24."""
    n = 1
    group[0] = np.eye(3, dtype=np.int64)
    done = 0
    while done < n:
        for i in range(n_generators):
            product = multiply(group[done], generators[i])
            known = False
            for j in range(n):
                if _same(group[j], product):
                    known = True
                    break
            if not known:
                if n == group.shape[0]:
                    return -1
                group[n] = product
                n += 1
        done += 1
    return n


@njit(cache=True, nogil=True)
def _is_two_fold(m):
    return m[0, 0] + m[1, 1] + m[2, 2] == -1


@njit(cache=True, nogil=True)
def _order(m):
    """Order of a rotation by its trace: 2 cos φ + 1; 0 where it is no rotation."""
    trace = m[0, 0] + m[1, 1] + m[2, 2]
    if trace == -1:
        return 2
    if trace == 0:
        return 3
    if trace == 1:
        return 4
    if trace == 2:
        return 6
    return 1 if trace == 3 else 0


@njit(cache=True, nogil=True)
def _main_axis(m, order, out):
    """Lattice vector along the axis of a rotation: rows of Σ Mᵏ."""
    power = np.eye(3, dtype=np.int64)
    total = np.zeros((3, 3), np.int64)
    for _ in range(order):
        total += power
        power = multiply(power, m)
    _primitive_row(total, out)


@njit(cache=True, nogil=True)
def symmetrise(g, group, n):
    """Average of a metric over a group."""
    out = np.zeros((3, 3))
    for i in range(n):
        out += transform(group[i], g)
    return out / n


@njit(cache=True, nogil=True)
def bravais_lattices(
    g, tolerance, two_folds, conjugates, codes, bases, metrics, strain
):
    """All Bravais lattices that a reduced metric can be.

    Every pair of two-fold rotations that the metric bears within the tolerance spans
    a dihedral group; with one rotation alone these are all groups of lattices but the
    cubic one, which a four-fold group and a further two-fold rotation span.

    Args:
        g: Metric of a reduced primitive basis.
        tolerance: Greatest strain.
        two_folds: `TWO_FOLDS`.
        conjugates: Whether to list orientations that the metric's highest symmetry
            makes equivalent.
        codes: Receives codes, see `BRAVAIS_LATTICES`.
        bases: Receives conventional bases on the primitive one.
        metrics: Receives exact conventional metrics.
        strain: Receives strains.

    Returns:
        How many lattices there are, the highest symmetry first.
    """
    room = codes.shape[0]
    held = np.empty((24, 3, 3), np.int64)
    n_held = 0
    for i in range(two_folds.shape[0]):
        moved = transform(two_folds[i], g)
        if strain_between(g, (moved + g) * 0.5) <= tolerance and n_held < 24:
            held[n_held] = two_folds[i]
            n_held += 1
    group = np.empty((24, 3, 3), np.int64)
    biggest = np.empty((24, 3, 3), np.int64)
    biggest[0] = np.eye(3, dtype=np.int64)
    n_biggest = 1
    generators = np.empty((3, 3, 3), np.int64)
    axes = np.empty((24, 3), np.int64)
    axis = np.empty(3, np.int64)
    t = np.empty((3, 3), np.int64)
    # A group is known by its two-fold rotations, as bits over the held ones.
    seen = np.zeros(256, np.int64)
    kept = np.zeros((256, 24, 3, 3), np.int64)
    kept_size = np.zeros(256, np.int64)
    n_seen = 0
    for i in range(n_held):
        for j in range(i, n_held):
            order = _order(multiply(held[i], held[j])) if j > i else 1
            if order == 0:
                continue
            for k in range(-1, n_held):
                # k = -1: one or two generators; else a third one for the cubic group
                if k >= 0 and (order != 4 or k in (i, j) or n_biggest == 24):
                    continue
                generators[0] = held[i]
                generators[1] = held[j]
                n_generators = 2
                if k >= 0:
                    generators[2] = held[k]
                    n_generators = 3
                n = _generate(generators, n_generators, group)
                if n < 0 or (k >= 0 and n != 24):
                    continue
                bits = np.int64(0)
                outside = False
                for m in range(n):
                    if _is_two_fold(group[m]):
                        known = False
                        for p in range(n_held):
                            if _same(group[m], held[p]):
                                bits |= np.int64(1) << p
                                known = True
                                break
                        if not known:
                            outside = True
                if outside:
                    continue
                known = False
                for m in range(n_seen):
                    if seen[m] == bits:
                        known = True
                        break
                if known or n_seen == 256:
                    continue
                if strain_between(g, symmetrise(g, group, n)) > tolerance:
                    continue
                seen[n_seen] = bits
                kept[n_seen] = group
                kept_size[n_seen] = n
                n_seen += 1
                if n > n_biggest:
                    n_biggest = n
                    biggest[:] = group
    count = 0
    done = np.zeros(256, np.int64)
    for size in (24, 12, 8, 6, 4, 2):
        for s in range(n_seen):
            n = kept_size[s]
            if n != size or done[s]:
                continue
            group[:] = kept[s]
            if not conjugates:
                # Mark the groups that the biggest one turns this one into.
                for b in range(n_biggest):
                    turn = biggest[b]
                    # inverse of a rotation of finite order by its powers
                    back = np.eye(3, dtype=np.int64)
                    power = turn.copy()
                    for _ in range(6):
                        if _same(power, np.eye(3, dtype=np.int64)):
                            break
                        back = power.copy()
                        power = multiply(power, turn)
                    bits = np.int64(0)
                    for m in range(n):
                        if _is_two_fold(group[m]):
                            other = multiply(multiply(back, group[m]), turn)
                            for p in range(n_held):
                                if _same(other, held[p]):
                                    bits |= np.int64(1) << p
                                    break
                    for m in range(n_seen):
                        if seen[m] == bits:
                            done[m] = 1
            done[s] = 1
            exact = symmetrise(g, group, n)
            n_axes = 0
            main = 0
            for m in range(n):
                if _is_two_fold(group[m]):
                    _two_fold_axis(group[m], axes[n_axes])
                    n_axes += 1
                o = _order(group[m])
                if o > main:
                    main = o
                    _main_axis(group[m], o, axis)
            code = -1
            if n == 2:
                code = monoclinic_basis(exact, axes[0], t)
            elif n == 4:
                t[0], t[1], t[2] = axes[0], axes[1], axes[2]
                code = _orthogonal_basis(exact, t)
            elif n in (6, 8, 12):
                order = 3 if n == 6 else (4 if n == 8 else 6)
                code = _uniaxial_basis(exact, axes, n_axes, axis, order, t)
            elif n == 24:
                # The axes of four-fold rotations.
                m_axes = 0
                for m in range(n):
                    if _order(group[m]) == 4 and m_axes < 3:
                        _main_axis(group[m], 4, axis)
                        new = True
                        for p in range(m_axes):
                            if abs(_dot(exact, t[p], axis)) > 1e-6 * _dot(
                                exact, axis, axis
                            ):
                                new = False
                        if new:
                            t[m_axes] = axis
                            m_axes += 1
                if m_axes == 3:
                    det = abs(_integer_determinant(t))
                    _right_handed(t)
                    code = CP if det == 1 else CI if det == 2 else CF
                    if det not in (1, 2, 4):
                        code = -1
            if code < 0 or count == room - 1:
                continue
            codes[count] = code
            bases[count] = t
            metrics[count] = transform(t, exact)
            strain[count] = strain_between(g, exact)
            count += 1
    codes[count] = AP
    bases[count] = np.eye(3, dtype=np.int64)
    metrics[count] = g
    strain[count] = 0.0
    return count + 1


@njit(cache=True, nogil=True)
def matching(g, other, length_tolerance, angle_tolerance):
    """Whether a unimodular mapping takes one reduced lattice onto another.

    Args:
        g: Reduced metric of the lattice to be met.
        other: Reduced metric of the lattice that is judged.
        length_tolerance: Greatest relative difference of the three lengths.
        angle_tolerance: Greatest difference of the three angles [degrees].
    """
    cell = cell_parameters(g)
    back = inverse(other)
    room = 64
    vectors = np.empty((3, room, 3), np.int64)
    counts = np.zeros(3, np.int64)
    w = np.empty(3, np.int64)
    longest = 0.0
    for i in range(3):
        longest = max(longest, cell[i])
    bound = (longest * (1 + length_tolerance)) ** 2
    r0 = int(math.sqrt(bound * back[0, 0]) + 1e-9)
    r1 = int(math.sqrt(bound * back[1, 1]) + 1e-9)
    r2 = int(math.sqrt(bound * back[2, 2]) + 1e-9)
    if r0 * r1 * r2 > 200000:
        return False
    for x in range(-r0, r0 + 1):
        for y in range(-r1, r1 + 1):
            for z in range(-r2, r2 + 1):
                w[0], w[1], w[2] = x, y, z
                length = math.sqrt(max(_dot(other, w, w), 0.0))
                for i in range(3):
                    near = abs(length - cell[i]) <= length_tolerance * cell[i]
                    if near and counts[i] < room:
                        vectors[i, counts[i]] = w
                        counts[i] += 1
    t = np.empty((3, 3), np.int64)
    for i in range(counts[0]):
        a = vectors[0, i]
        la = math.sqrt(_dot(other, a, a))
        for j in range(counts[1]):
            b = vectors[1, j]
            lb = math.sqrt(_dot(other, b, b))
            cosine = min(1.0, max(-1.0, _dot(other, a, b) / (la * lb)))
            if abs(math.degrees(math.acos(cosine)) - cell[5]) > angle_tolerance:
                continue
            for k in range(counts[2]):
                c = vectors[2, k]
                t[0], t[1], t[2] = a, b, c
                if abs(_integer_determinant(t)) != 1:
                    continue
                lc = math.sqrt(_dot(other, c, c))
                cosine = min(1.0, max(-1.0, _dot(other, b, c) / (lb * lc)))
                if abs(math.degrees(math.acos(cosine)) - cell[3]) > angle_tolerance:
                    continue
                cosine = min(1.0, max(-1.0, _dot(other, a, c) / (la * lc)))
                if abs(math.degrees(math.acos(cosine)) - cell[4]) > angle_tolerance:
                    continue
                return True
    return False


@njit(cache=True, nogil=True)
def reduced(g):
    """Niggli-reduced metric, with a tolerance for rounding alone."""
    return transform(niggli(g, 1e-9), g)


def _checked(cell: object) -> Float64[np.ndarray, " 6"]:
    """Six numbers of a cell that can be."""
    values = np.array(cell, dtype=np.float64)
    if values.shape != (6,) or not np.isfinite(values).all() or (values <= 0).any():
        raise CrystalError(f"a cell is six positive numbers, not {cell}")
    if (values[3:] >= 180.0).any():
        raise CrystalError(f"angles of a cell are below 180 degrees, not {cell}")
    if determinant(metric(values)) <= 0.0:
        raise CrystalError(f"no lattice has the cell {cell}")
    return values


def reduce_cell(
    cell: object, tolerance: float = 1e-5
) -> tuple[float, float, float, float, float, float]:
    """Niggli-reduce a primitive cell.

    Args:
        cell: a, b, c [Å], α, β, γ [degrees].
        tolerance: Differences that count as none, relative to the square of the cube
            root of the volume.

    Raises:
        CrystalError: If no lattice has such a cell.

    References:
        Křivý & Gruber (1976), Acta Cryst. A32, 297; Grosse-Kunstleve, Sauter & Adams
        (2004), Acta Cryst. A60, 1.
    """
    g = metric(_checked(cell))
    a, b, c, alpha, beta, gamma = cell_parameters(transform(niggli(g, tolerance), g))
    return (float(a), float(b), float(c), float(alpha), float(beta), float(gamma))


def lattices_of(
    primitive: object, tolerance: float = 0.005, *, conjugates: bool = False
) -> list[BravaisChoice]:
    """All Bravais lattices that a primitive cell can be within a tolerance.

    Lower symmetries of a metric are in the list as well: a monoclinic crystal may have
    β = 90°, so a metric that is oP can be mP in three ways and aP. The conventional
    cells have the symmetry exactly: they are those of the metric averaged over the
    rotations of the lattice.

    Args:
        primitive: a, b, c [Å], α, β, γ [degrees] of a primitive cell, reduced or not.
        tolerance: Greatest strain (Frobenius norm, without dimension) between the
            metric and the symmetric one; 0.005 is about 0.5 % or 0.3 degrees.
        conjugates: Whether to list orientations that the highest symmetry of the
            metric within the tolerance makes equivalent, such as the three tetragonal
            axes of a cubic lattice.

    Returns:
        Lattices, the highest symmetry first, at last aP. `transformation` refers to
        the given basis: conventional = transformation · primitive.

    Raises:
        CrystalError: If no lattice has such a cell.
    """
    g = metric(_checked(primitive))
    t = niggli(g, 1e-7)
    room = 128
    codes = np.empty(room, np.int64)
    bases = np.empty((room, 3, 3), np.int64)
    metrics = np.empty((room, 3, 3))
    strain = np.empty(room)
    n = bravais_lattices(
        transform(t, g), tolerance, TWO_FOLDS, conjugates, codes, bases, metrics, strain
    )
    found = []
    for i in range(n):
        a, b, c, alpha, beta, gamma = cell_parameters(metrics[i])
        six = (float(a), float(b), float(c), float(alpha), float(beta), float(gamma))
        name = BRAVAIS_LATTICES[codes[i]]
        found.append(BravaisChoice(name, six, bases[i] @ t, float(strain[i])))
    return found


_PRIMITIVE_BASES = {
    "P": np.eye(3),
    "C": np.array([[0.5, 0.5, 0], [-0.5, 0.5, 0], [0, 0, 1]]),
    "A": np.array([[1, 0, 0], [0, 0.5, 0.5], [0, -0.5, 0.5]]),
    "B": np.array([[0.5, 0, 0.5], [0, 1, 0], [-0.5, 0, 0.5]]),
    "I": np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]),
    "F": np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]),
    "R": np.array([[2, 1, 1], [-1, 1, 1], [-1, -2, 1]]) / 3.0,
}


def primitive_cell(
    conventional: object, centring: str
) -> tuple[float, float, float, float, float, float]:
    """Niggli-reduced primitive cell of a conventional one.

    Args:
        conventional: a, b, c [Å], α, β, γ [degrees].
        centring: P, A, B, C, I, F or R (obverse, on hexagonal axes), or a Bravais
            lattice, whose last letter is taken.

    Raises:
        CrystalError: If the centring is unknown or no lattice has such a cell.

    References:
        International Tables for Crystallography A (2016), table 1.5.1.1.
    """
    letter = centring[-1:]
    if letter not in _PRIMITIVE_BASES:
        raise CrystalError(f"unknown centring {centring}: P A B C I F R are known")
    t = _PRIMITIVE_BASES[letter]
    return reduce_cell(cell_parameters(transform(t, metric(_checked(conventional)))))


def same_lattice(
    true: object,
    candidate: object,
    length_tolerance: float = 0.005,
    angle_tolerance: float = 0.5,
) -> bool:
    """Judge a primitive cell: the match rule of every rate of found cells.

    True where some unimodular mapping of the candidate's lattice meets the reduced
    basis of the true lattice within the tolerances. Reduced parameters are never
    compared one by one, since they jump: of cells that are changed by 2e-4 a third no
    longer has its own parameters.

    Args:
        true: a, b, c [Å], α, β, γ [degrees] of a primitive cell.
        candidate: The primitive cell that is judged.
        length_tolerance: Greatest relative difference of the three lengths.
        angle_tolerance: Greatest difference of the three angles [degrees].

    Raises:
        CrystalError: If no lattice has such a cell.
    """
    g, other = reduced(metric(_checked(true))), reduced(metric(_checked(candidate)))
    return bool(matching(g, other, length_tolerance, angle_tolerance))
