"""Fit the weights of ``symmetry_statistics`` to random crystals.

    python -m pxrdbench.indexing.groups.symmetry_statistics_build 40000

draws crystals of the prior ``open-v0``, renders their clean patterns, fits the
intensities of their cells and fits one softmax for each extinction symbol.
"""

import sys
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from pxrdbench.crystal.generator.draw import draw_crystals
from pxrdbench.crystal.prior.prior import load_prior
from pxrdbench.crystal.symmetry.tables import CENTRINGS, load_symmetry_tables
from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.diffraction.peaks import simulate_peaks
from pxrdbench.diffraction.profile import render
from pxrdbench.errors import PatternError
from pxrdbench.indexing.cells.lattices import lattices_of, primitive_cell
from pxrdbench.indexing.groups.absences import normalised_of
from pxrdbench.indexing.groups.extinction import bravais_lattice_of
from pxrdbench.indexing.groups.intensities import fit_intensities, model_clean
from pxrdbench.indexing.groups.symmetry_statistics import symmetry_features

# Square of the size of weights, of unit features, that costs half a nat, inverted.
STIFFNESS = 100.0
_BLOCK = 500


def collect(
    count: int, seed: int
) -> tuple[Int64[np.ndarray, " crystals"], Float64[np.ndarray, "crystals features"]]:
    """Groups and features of random crystals whose metric has their symmetry."""
    prior, grid = load_prior("open-v0"), TwoThetaGrid(5.0, 90.0, 8501)
    angles = np.linspace(5.0, 90.0, 8501)
    random = np.random.default_rng(seed)
    groups, rows = [], []
    centring = load_symmetry_tables().centring
    for start in range(0, count, _BLOCK):
        crystals = draw_crystals(prior, seed=seed, start=start, count=_BLOCK)
        peaks = simulate_peaks(crystals, radiation="CuKa1")
        patterns = render(
            peaks, grid, crystallite_size_nm=random.uniform(20.0, 100.0, _BLOCK)
        )
        for pattern, lattice, group in zip(
            patterns, crystals.lattice, crystals.space_group, strict=True
        ):
            name = bravais_lattice_of(int(group))
            letter = CENTRINGS[int(centring[group])]
            try:
                model = model_clean(angles, pattern.astype(np.float64))
            except PatternError:
                continue
            choice = lattices_of(primitive_cell(lattice, letter), 1e-4)[0]
            if choice.bravais_lattice != name:
                continue
            fit = fit_intensities(model, choice.conventional, name, steps=2)
            if fit is None:
                continue
            normalised, error = normalised_of(fit, model.wavelength)
            groups.append(int(group))
            rows.append(
                symmetry_features(
                    name, fit.metric, fit.hkl, fit.line_of, normalised, error,
                    fit.multiplicity,
                )
            )  # fmt: skip
    return np.array(groups), np.array(rows)


def fit_softmax(
    features: Float64[np.ndarray, "crystals features"],
    label: Int64[np.ndarray, " crystals"],
    n_labels: int,
    stiffness: float,
) -> tuple[Float64[np.ndarray, "labels features"], Float64[np.ndarray, " labels"]]:
    """Weights and biases of the likeliest softmax, large weights punished."""
    from scipy.optimize import minimize

    n, width = features.shape
    one_hot = np.zeros((n, n_labels))
    one_hot[np.arange(n), label] = 1.0
    start = np.zeros((n_labels, width + 1))
    start[:, -1] = np.log(one_hot.mean(axis=0) + 1e-6)

    def loss(flat: Float64[np.ndarray, " all"]) -> tuple[float, np.ndarray]:
        weights = flat.reshape(n_labels, width + 1)
        logits = features @ weights[:, :-1].T + weights[:, -1]
        logits -= logits.max(axis=1, keepdims=True)
        share = np.exp(logits)
        share /= share.sum(axis=1, keepdims=True)
        value = -np.log(share[np.arange(n), label] + 1e-30).sum()
        slope = np.empty_like(weights)
        slope[:, :-1] = (share - one_hot).T @ features + stiffness * weights[:, :-1]
        slope[:, -1] = (share - one_hot).sum(axis=0)
        value += 0.5 * stiffness * (weights[:, :-1] ** 2).sum()
        return float(value), slope.ravel()

    found = minimize(
        loss, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 200}
    )
    weights = found.x.reshape(n_labels, width + 1)
    return weights[:, :-1], weights[:, -1]


def fit_all(
    groups: Int64[np.ndarray, " crystals"],
    features: Float64[np.ndarray, "crystals features"],
    stiffness: float = STIFFNESS,
) -> dict[str, np.ndarray]:
    """Arrays of the file, by name."""
    classes = load_symmetry_tables().extinction_group
    arrays: dict[str, np.ndarray] = {}
    for symbol in np.unique(classes[1:]):
        members = np.flatnonzero(classes == symbol)
        members = members[members > 0]
        rows = np.isin(groups, members)
        seen = [int(g) for g in members if np.any(groups[rows] == g)]
        if len(seen) < 2:
            continue
        part, label = features[rows], np.searchsorted(seen, groups[rows])
        mean, scale = part.mean(axis=0), part.std(axis=0) + 0.05
        z = np.clip((part - mean) / scale, -4.0, 4.0)
        weights, bias = fit_softmax(z, label, len(seen), stiffness)
        bias = bias - np.log(np.bincount(label, minlength=len(seen)) / len(label))
        stem = f"{bravais_lattice_of(seen[0])}_{symbol}_"
        arrays[stem + "groups"] = np.array(seen, np.int16)
        arrays[stem + "mean"] = mean.astype(np.float32)
        arrays[stem + "scale"] = scale.astype(np.float32)
        arrays[stem + "weights"] = weights.astype(np.float32)
        arrays[stem + "bias"] = bias.astype(np.float32)
    return arrays


def main() -> None:
    """Write the file beside this module."""
    groups, features = collect(int(sys.argv[1]), seed=2)
    path = Path(__file__).with_name("symmetry_statistics.npz")
    np.savez_compressed(path, **fit_all(groups, features))  # type: ignore[arg-type]  # names are not options
    sys.stdout.write(f"{len(groups)} crystals, {path.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
