"""Kernels for symmetric banded systems, such as lines that overlap their neighbours.

The lower triangle is stored by rows: ``band[i, k]`` is element (i, i − k). Factors are
unit lower triangular, with the diagonal of D in column 0: A = L D Lᵀ.
"""

import numpy as np
from jaxtyping import Float64
from numba import njit

Band = Float64[np.ndarray, "n bandwidth_and_one"]
Vector = Float64[np.ndarray, " n"]


@njit(cache=True, nogil=True)
def factor_band(band: Band) -> bool:
    """Factor A into L D Lᵀ in place; false if A is not positive definite."""
    n, width = band.shape
    for i in range(n):
        for k in range(min(i, width - 1), 0, -1):
            j = i - k  # element (i, j), still that of L D
            total = band[i, k]
            for m in range(max(i - width + 1, j - width + 1, 0), j):
                total -= band[i, i - m] * band[j, j - m]
            band[i, k] = total
        diagonal = band[i, 0]
        for k in range(1, min(i, width - 1) + 1):
            value = band[i, k]
            band[i, k] = value / band[i - k, 0]
            diagonal -= value * band[i, k]
        # Rows above are finished: they hold L, and (i, j) of this one L D until here.
        if not diagonal > 0.0:
            return False
        band[i, 0] = diagonal
    return True


@njit(cache=True, nogil=True)
def solve_band(factor: Band, right: Vector) -> None:
    """Solve A x = right in place, A factored."""
    n, width = factor.shape
    for i in range(n):
        total = right[i]
        for k in range(1, min(i, width - 1) + 1):
            total -= factor[i, k] * right[i - k]
        right[i] = total
    for i in range(n):
        right[i] /= factor[i, 0]
    for i in range(n - 1, -1, -1):
        value = right[i]
        for k in range(1, min(i, width - 1) + 1):
            right[i - k] -= factor[i, k] * value


@njit(cache=True, nogil=True)
def invert_within_band(factor: Band, inverse: Band) -> None:
    """Elements of A⁻¹ within the band, A factored.

    Takahashi, Fagan & Chin (1973), Proc. 8th PICA Conf., 63: with Z = A⁻¹,
    Z_ij = δ_ij / d_i − Σ_{m > i} l_mi Z_mj for j >= i, from the last row on.
    """
    n, width = factor.shape
    for i in range(n - 1, -1, -1):
        last = min(n - 1, i + width - 1)
        for j in range(last, i - 1, -1):
            total = 0.0
            for m in range(i + 1, last + 1):
                z = inverse[m, m - j] if m >= j else inverse[j, j - m]
                total -= factor[m, m - i] * z
            inverse[j, j - i] = total + (1.0 / factor[i, 0] if i == j else 0.0)
