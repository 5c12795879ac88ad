"""Probabilities of space groups, from intensities at the lines of candidate lattices.

    P(g | pattern) ∝ P(g) Σ_cells w(cell) Σ_lattices c^n Σ_settings P(I | symbol) / n_s

with P(g) a stated prior, w the weight of a cell, n the coincidences of the metric that
a lattice of lower symmetry needs and c the probability of one. Compare Markvardsen et
al. (2001), Acta Cryst. A57, 47.
"""

import csv
import math
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from pxrdbench.crystal.prior.prior import load_prior
from pxrdbench.crystal.symmetry.extinction_symbols import load_extinction_symbols
from pxrdbench.crystal.symmetry.tables import load_symmetry_tables
from pxrdbench.errors import PatternError, PriorError
from pxrdbench.indexing.cells.sublattices import lower_lattices
from pxrdbench.indexing.groups.absences import (
    line_evidence,
    normalised_of,
    pattern_log_likelihood,
)
from pxrdbench.indexing.groups.extinction import load_patterns
from pxrdbench.indexing.groups.intensities import LatticeIntensities
from pxrdbench.indexing.groups.symmetry_statistics import (
    group_log_ratio,
    symmetry_features,
)

PRIORS: tuple[str, ...] = ("icsd", "open", "uniform")

# Added to counts: a group that no collection has may still be the next crystal's.
_PSEUDO_COUNT = {"icsd": 2.0, "open": 0.3, "uniform": 1.0}
_FITTED_PSEUDO_COUNT = 0.3
# How often a metric is of higher symmetry than its crystal, a coincidence: 97 of 15,219
# crystals of `open/structure-type` within 1e-3, 427 within 5e-3.
_CLEAN_COINCIDENCE, _MEASURED_COINCIDENCE = 0.004, 0.02
_MOST_COINCIDENCES = 2
# Share of what intensities say between groups of one symbol that is believed: they were
# learnt on random crystals, which real ones resemble in part. Chosen on ``dev``.
_CLEAN_BELIEF, _CUBIC_BELIEF, _MEASURED_BELIEF = 0.35, 0.2, 0.3
_MOST_RATIO = 5.0
# Power of what the volume says between symbols.
_VOLUME_BELIEF = 0.7

# Volumes of primitive cells are counted in steps of half a power of two, from 8 Å³ on.
VOLUME_BINS = 18
# Crystals of the family that count beside those of a group itself.
_FAMILY_CRYSTALS = 10.0

Groups = Float64[np.ndarray, " 231"]


@dataclass(frozen=True, eq=False)
class CellEvidence:
    """What one cell says about space groups.

    Attributes:
        log_group: Logarithm of prior times likelihood of each space group 0-230.
        log_weight: Logarithm of the evidence for the cell, up to a constant that cells
            of one pattern share.
        allowance: Log-likelihood of all lines, were they allowed.
        residual: Of the fit.
        expected_prior: Mean of the prior over the groups, each by its probability under
            this cell: how frequent crystals of the kind that the cell says are.
    """

    log_group: Groups
    log_weight: float
    allowance: float
    residual: float
    expected_prior: float


@cache
def group_prior(name: str) -> Groups:
    """Probability of each space group before anything is seen; entry 0 is 0.

    ``icsd`` counts entries of the Inorganic Crystal Structure Database after Dara's
    filters (facts of CederGroupHub/dara, MIT, 2025 v3); ``open`` counts crystals of the
    ``statistics`` part of ``open/structure-type`` (Materials Project, CC-BY 4.0). Any
    other name is that of a generator's prior, shipped (``minerals``) or a file: the
    crystals that it was fitted on are counted.

    Raises:
        PatternError: If there is no such prior.
    """
    counts = np.zeros(231)
    counts[1:] = _PSEUDO_COUNT.get(name, _FITTED_PSEUDO_COUNT)
    if name not in PRIORS:
        try:
            fitted = load_prior(name)
        except PriorError as error:
            raise PatternError(
                f"there is no prior {name!r} of space groups; known are "
                f"{', '.join(PRIORS)}, or those of the generator: {error}"
            ) from error
        counts[fitted.space_group] += fitted.n_crystals
    elif name != "uniform":
        path = Path(__file__).with_name("group_counts.csv")
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                counts[int(row["space_group"])] += int(row[name])
    counts /= counts.sum()
    counts.flags.writeable = False
    return counts


def volume_bin(volume: float) -> int:
    """Bin of the volume of a primitive cell [Å³]."""
    return int(np.clip(2.0 * (math.log2(max(volume, 1.0)) - 3.0), 0, VOLUME_BINS - 1))


@cache
def _volume_shares() -> Float64[np.ndarray, "231 bins"]:
    """Share of each group's crystals in each bin of volume."""
    counts = np.zeros((231, VOLUME_BINS))
    path = Path(__file__).with_name("group_counts.csv")
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            counts[int(row["space_group"])] = [
                int(n) for n in row["open_by_volume"].split()
            ]
    # Half of a crystal counts in its bin, a quarter in each neighbour.
    padded = np.pad(counts, ((0, 0), (1, 1)), mode="edge")
    counts = 0.25 * padded[:, :-2] + 0.5 * padded[:, 1:-1] + 0.25 * padded[:, 2:]
    family = load_symmetry_tables().lattice_type
    shares = np.zeros_like(counts)
    for kind in np.unique(family[1:]):
        members = np.flatnonzero(family == kind)
        members = members[members > 0]
        together = counts[members].sum(axis=0) + 0.5
        together /= together.sum()
        shares[members] = counts[members] + _FAMILY_CRYSTALS * together
    shares[1:] /= shares[1:].sum(axis=1, keepdims=True)
    return shares


def volume_ratio(volume: float, prior: Groups) -> Groups:
    """P(volume | extinction symbol) over P(volume), for each group.

    Args:
        volume: Of the primitive cell [Å³].
        prior: Probability of each group, by which those of a symbol are averaged.
    """
    share = _volume_shares()[:, volume_bin(volume)]
    _, row = _symbol_rows()
    weight = np.bincount(row[1:], prior[1:])
    mean = np.bincount(row[1:], (prior * share)[1:]) / np.maximum(weight, 1e-300)
    ratio: Groups = mean[row] / float(prior @ share)
    ratio[0] = 0.0
    return ratio


def weigh_groups(
    fit: LatticeIntensities,
    bravais_lattice: str,
    prior: Groups,
    wavelength: float,
    *,
    measured: bool,
    statistics: bool = True,
) -> CellEvidence:
    """Weigh all space groups that a lattice's metric allows.

    Args:
        fit: Intensities at the lattice's lines.
        bravais_lattice: Of the metric.
        prior: Probability of each group.
        wavelength: Wavelength [Å].
        measured: Whether the pattern was measured.
        statistics: Whether volume, shape and the statistics of intensities weigh the
            groups of one extinction symbol; else the prior alone does.
    """
    evidence, allowance, _ = line_evidence(fit, wavelength, measured=measured)
    likelihood = np.zeros(231)
    coincidence = _MEASURED_COINCIDENCE if measured else _CLEAN_COINCIDENCE
    # Likelihoods are summed above this.
    highest = -math.inf
    parts = []
    for name, depth, change in lower_lattices(bravais_lattice):
        if depth > _MOST_COINCIDENCES:
            continue
        patterns = load_patterns(name)
        hkl = fit.hkl if depth == 0 else np.rint(fit.hkl @ change).astype(np.int64)
        log = pattern_log_likelihood(evidence, hkl, fit.line_of, patterns)
        log += depth * math.log(coincidence)
        highest = max(highest, float(log.max()))
        parts.append((log, patterns.setting_share))
    for log, share in parts:
        likelihood += np.exp(log - highest) @ share
    weight = likelihood * prior
    if statistics:
        weight = weight * volume_ratio(fit.volume, prior) ** _VOLUME_BELIEF
        weight = _weigh_by_statistics(
            weight, fit, bravais_lattice, wavelength, measured=measured
        )
    with np.errstate(divide="ignore"):
        log_group = np.log(weight) + highest
    total = float(weight.sum())
    return CellEvidence(
        log_group=log_group,
        log_weight=_log_sum(log_group),
        allowance=float(allowance.sum()),
        residual=fit.residual,
        expected_prior=float(weight @ prior) / total if total > 0.0 else 0.0,
    )


def _weigh_by_statistics(
    weight: Groups,
    fit: LatticeIntensities,
    bravais_lattice: str,
    wavelength: float,
    *,
    measured: bool,
) -> Groups:
    """Share each symbol's weight among its groups by what intensities say."""
    normalised, error = normalised_of(fit, wavelength)
    features = symmetry_features(
        bravais_lattice, fit.metric, fit.hkl, fit.line_of, normalised, error,
        fit.multiplicity,
    )  # fmt: skip
    belief = _MEASURED_BELIEF if measured else _CLEAN_BELIEF
    if bravais_lattice[0] == "c":
        belief = min(belief, _CUBIC_BELIEF)
    ratio = np.clip(
        group_log_ratio(features, bravais_lattice), -_MOST_RATIO, _MOST_RATIO
    )
    tilted = weight * np.exp(belief * ratio)
    _, row = _symbol_rows()
    before, after = np.bincount(row, weight), np.bincount(row, tilted)
    scale = np.divide(before, after, out=np.ones_like(before), where=after > 0.0)
    shared: Groups = tilted * scale[row]
    return shared


def _log_sum(values: Float64[np.ndarray, " values"]) -> float:
    top = float(values.max())
    if top == -math.inf:
        return top
    return top + math.log(float(np.exp(values - top).sum()))


def symbol_probability(
    space_group_probability: Groups,
) -> tuple[tuple[str, ...], Float64[np.ndarray, " symbols"]]:
    """Add probabilities of groups up to those of their extinction symbols.

    Returns:
        Names of all symbols and the probability of each, in one fixed order.
    """
    names, row = _symbol_rows()
    values = np.zeros(len(names))
    np.add.at(values, row[1:], space_group_probability[1:])
    return names, values


@cache
def _symbol_rows() -> tuple[tuple[str, ...], np.ndarray]:
    """Names of extinction symbols with their crystal family, and each group's row."""
    symbols = load_extinction_symbols()
    tables = load_symmetry_tables()
    keys: dict[int, int] = {}
    names: list[str] = []
    row = np.zeros(231, np.int64)
    for group in range(1, 231):
        key = int(tables.extinction_group[group])
        if key not in keys:
            keys[key] = len(names)
            names.append(symbols[group])
        row[group] = keys[key]
    return tuple(names), row


@dataclass(frozen=True, eq=False)
class GroupPosterior:
    """Space groups of a pattern, with probabilities.

    Attributes:
        space_group_probability: Of each group 0-230; what is missing to 1 is
            ``no_cell_probability``.
        extinction_symbols: Names of all extinction symbols.
        extinction_symbol_probability: Probability of each.
        cell_weight: Probability of each candidate cell.
        no_cell_probability: That none of the cells is right.
        best_cell: Place of the heaviest cell; -1 where none could be fitted.
        intensities: Of the heaviest cell.
        residual: Of its fit, as R_wp; 1 where there is none.
    """

    space_group_probability: Groups
    extinction_symbols: tuple[str, ...]
    extinction_symbol_probability: Float64[np.ndarray, " symbols"]
    cell_weight: Float64[np.ndarray, " cells"]
    no_cell_probability: float
    best_cell: int
    intensities: LatticeIntensities | None
    residual: float

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                value.flags.writeable = False

    @property
    def space_groups(self) -> tuple[int, ...]:
        """All groups that may be, the likeliest first."""
        order = np.argsort(-self.space_group_probability, kind="stable")
        return tuple(int(g) for g in order if self.space_group_probability[g] > 0.0)
