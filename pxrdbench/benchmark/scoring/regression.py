"""How far predicted cells and crystallite sizes are from the true ones.

Every measure is a number of each crystal, so that means come with the same cluster
intervals as accuracies (``score_regression``). A cell is its six conventional
parameters; permuted axes are another cell, unless a caller sorts them.

References:
    Hencky (1928), Z. Tech. Phys. 9, 215 (logarithmic strain).
    Hyndman & Koehler (2006), Int. J. Forecast. 22, 679 (percentage errors).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64

from pxrdbench.benchmark.scoring import metrics
from pxrdbench.benchmark.scoring.intervals import ClusterBootstrap, Estimate
from pxrdbench.errors import EvaluationError

Cells = Float64[np.ndarray, "crystals 6"]
Numbers = Float64[np.ndarray, " crystals"]

# A cell is called found where all edges and all angles are this near. A choice of ours,
# as wide as what a whole-pattern fit can start from; give others where they suit.
EDGE_TOLERANCE = 0.05
ANGLE_TOLERANCE = 3.0


def edge_error(predicted: Cells, true: Cells) -> Numbers:
    """Mean over the three edges of |a' − a| / a."""
    _check(predicted, true)
    relative = np.abs(predicted[:, :3] - true[:, :3]) / true[:, :3]
    return np.asarray(relative.mean(axis=1))


def edge_error_angstrom(predicted: Cells, true: Cells) -> Numbers:
    """Mean over the three edges of |a' − a| [Å]."""
    _check(predicted, true)
    return np.asarray(np.abs(predicted[:, :3] - true[:, :3]).mean(axis=1))


def angle_error(predicted: Cells, true: Cells) -> Numbers:
    """Mean over the three angles of |α' − α| [degrees]."""
    _check(predicted, true)
    return np.asarray(np.abs(predicted[:, 3:] - true[:, 3:]).mean(axis=1))


def volume_error(predicted: Cells, true: Cells) -> Numbers:
    """|V' − V| / V; NaN where the predicted angles close no cell."""
    _check(predicted, true)
    own, other = _volume(true), _volume(predicted)
    return np.asarray(np.abs(other - own) / own)


def is_cell_found(
    predicted: Cells,
    true: Cells,
    edge_tolerance: float = EDGE_TOLERANCE,
    angle_tolerance: float = ANGLE_TOLERANCE,
) -> Numbers:
    """1 where every edge (relative) and every angle [degrees] is within tolerance."""
    _check(predicted, true)
    edges = np.abs(predicted[:, :3] / true[:, :3] - 1.0).max(axis=1)
    angles = np.abs(predicted[:, 3:] - true[:, 3:]).max(axis=1)
    found = (edges <= edge_tolerance) & (angles <= angle_tolerance)
    return np.asarray(found.astype(np.float64))


def cell_strain(predicted: Cells, true: Cells) -> Numbers:
    """Root mean square of the principal logarithmic strains between two cells.

        F = A' A⁻¹,   ε_i = ½ ln λ_i(Fᵀ F),   √(Σ ε_i² / 3)

    It does not depend on how the axes of both cells are chosen, as long as alike, nor
    on which of the two is the true one. NaN where angles close no cell.
    """
    _check(predicted, true)
    result = np.full(len(true), np.nan)
    sound = np.isfinite(_volume(predicted)) & np.isfinite(_volume(true))
    one, other = _axes(true[sound]), _axes(predicted[sound])
    deformation = np.linalg.solve(one, other)  # rows are axes: the transpose of F
    stretch = deformation @ deformation.transpose(0, 2, 1)
    strains = 0.5 * np.log(np.linalg.eigvalsh(stretch))
    result[sound] = np.sqrt((strains**2).mean(axis=1))
    return result


def size_factor(predicted: Numbers, true: Numbers) -> Numbers:
    """|ln(L' / L)| of crystallite sizes: 0.69 is a factor of two, either way."""
    if (predicted <= 0.0).any() or (true <= 0.0).any():
        raise EvaluationError("a crystallite size is not above 0 nm")
    return np.asarray(np.abs(np.log(predicted / true)))


def relative_error(predicted: Numbers, true: Numbers) -> Numbers:
    """|x' − x| / x of positive numbers."""
    return np.asarray(np.abs(predicted - true) / true)


def determination(predicted: Numbers, true: Numbers) -> float:
    """R² = 1 − Σ (x' − x)² / Σ (x − x̄)²; NaN where all true numbers are equal."""
    spread = float(((true - true.mean()) ** 2).sum())
    if spread == 0.0:
        return float("nan")
    return 1.0 - float(((predicted - true) ** 2).sum()) / spread


def score_regression(
    measures: Mapping[str, Numbers], clusters: Sequence[str]
) -> dict[str, Estimate]:
    """Give the mean of each measure with its interval over clusters.

    Crystals whose measure is NaN do not count; a measure that is nowhere defined is
    left out.

    Args:
        measures: Of each crystal, by name.
        clusters: Structure type, or mineral, of each crystal.
    """
    bootstrap = ClusterBootstrap(clusters)
    estimates = {}
    for name, amount in measures.items():
        known = np.isfinite(amount)
        score = metrics.mean_score(
            np.where(known, amount, 0.0), known, highest=float("inf")
        )
        if (found := bootstrap.estimate(score)) is not None:
            estimates[name] = found
    return estimates


def _volume(cells: Cells) -> Numbers:
    """Volume [Å³]; NaN where the angles close no cell."""
    cosine = np.cos(np.radians(cells[:, 3:]))
    squared = 1.0 - (cosine**2).sum(axis=1) + 2.0 * cosine.prod(axis=1)
    root = np.sqrt(np.where(squared > 0.0, squared, np.nan))
    return np.asarray(cells[:, :3].prod(axis=1) * root)


def _axes(cells: Cells) -> Float64[np.ndarray, "crystals 3 3"]:
    """Cell vectors as rows, the first along x, the second in the xy plane."""
    a, b, c = cells[:, :3].T
    alpha, beta, gamma = np.radians(cells[:, 3:]).T
    axes = np.zeros((len(cells), 3, 3))
    axes[:, 0, 0] = a
    axes[:, 1, 0], axes[:, 1, 1] = b * np.cos(gamma), b * np.sin(gamma)
    x = np.cos(beta)
    y = (np.cos(alpha) - np.cos(beta) * np.cos(gamma)) / np.sin(gamma)
    axes[:, 2, 0], axes[:, 2, 1] = c * x, c * y
    axes[:, 2, 2] = c * np.sqrt(1.0 - x**2 - y**2)
    return axes


def _check(predicted: Cells, true: Cells) -> None:
    if predicted.shape != true.shape or true.ndim != 2 or true.shape[1] != 6:
        raise EvaluationError(
            f"cells have shapes {predicted.shape} and {true.shape}; six parameters a "
            "crystal are needed, of the same crystals"
        )
    if not (np.isfinite(true).all() and (true > 0.0).all()):
        raise EvaluationError("a true cell has a parameter that is not above 0")
    if not np.isfinite(predicted).all() or (predicted <= 0.0).any():
        raise EvaluationError(
            "a predicted cell has a parameter that is no number above 0"
        )
