"""From a pattern and candidate cells to space groups with probabilities."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Float64

from pxrdbench.diffraction.radiation import Radiation
from pxrdbench.indexing.cells.find import Cell
from pxrdbench.indexing.cells.lattices import BRAVAIS_LATTICES as LATTICES
from pxrdbench.indexing.cells.lattices import PARAMETERS
from pxrdbench.indexing.groups.absences import line_evidence, normalised_of
from pxrdbench.indexing.groups.extinction import BRAVAIS_LATTICES
from pxrdbench.indexing.groups.intensities import (
    LatticeIntensities,
    ScanModel,
    fit_intensities,
    model_clean,
    model_measured,
)
from pxrdbench.indexing.groups.posterior import (
    CellEvidence,
    GroupPosterior,
    Groups,
    group_prior,
    symbol_probability,
    weigh_groups,
)
from pxrdbench.indexing.groups.symmetry_statistics import N_FEATURES, symmetry_features

# A cell that leaves most of the pattern explains nothing.
_WORST_RESIDUAL = 0.9
# Weights of what speaks for a cell: its score from lines, ln(residual) of the fit, and
# the evidence of its groups and of lines that are not seen. Chosen on ``dev``.
_SCORE, _EVIDENCE, _MISFIT = 0.6, 0.3, 3.0
# The same of measured scans, whose scores and evidence are not as sharp as their errors
# say; besides, what a free number of the metric costs, ln of the volume, the share of
# lines that is indexed, and ln of how frequent the cell's groups are: evidence that is
# believed by a tenth would leave a tenth of the prior. Multinomial logits of which
# candidate is right, fitted to every third named RRUFF pattern (62) and 277 simulated
# scans of crystals of ``dev`` (`tests/indexing/measure_weights.py`); on patterns left
# out of the fit the prior's term takes ln of the right one's share from -0.62 to -0.51
# (named) and from -0.47 to -0.43 (simulated).
_MEASURED_SCORE, _MEASURED_EVIDENCE, _MEASURED_MISFIT = 0.264, 0.106, 2.17
_FREE_NUMBER, _LOG_VOLUME, _INDEXED = 0.14, 2.23, 2.33
_FREQUENCY = 0.98
# Against a lattice that is a multiple of a better one and indexes no more lines: such
# as quartz read in twice its cell.
_EMPTY_MULTIPLE = 0.44
# Log-odds that one of the candidates is right. Of scans by score, free numbers and
# share of indexed lines of the heaviest, fitted to the same patterns; of clean patterns
# by a residual above 2e-3 (97 % of found cells are right on ``dev``).
_MEASURED_ODDS, _ODDS_OF_SCORE = -1.35, 0.063
_ODDS_OF_FREE_NUMBER, _ODDS_OF_INDEXED = 0.53, 0.41
_CLEAN_ODDS, _ODDS_OF_LOG_RESIDUAL = 4.5, 1.5
# Of a stated cell each centring is weighed by what it forbids, half of which is
# believed, and less above a residual; lines of two of its lattices are one within so
# much [degrees]; each number that a centring leaves free although the metric does not
# costs -ln of a coincidence. Chosen on every third named RRUFF pattern.
_CENTRING, _GOOD_FIT, _SAME_LINE, _COINCIDENCE = 0.5, 0.2, 0.03, 3.0
# Cells whose lines speak so much less for them are not fitted (natural logarithm).
_HOPELESS, _MEASURED_HOPELESS = 25.0, 9.0
_CLEAN_RESIDUAL, _MEASURED_RESIDUAL = 1e-3, 0.05


def read_groups(
    two_theta: Float64[np.ndarray, " points"],
    intensity: Float64[np.ndarray, " points"],
    cells: Sequence[Cell],
    *,
    radiation: str | float | Radiation = "CuKa1",
    measured: bool = False,
    prior: str | Groups = "icsd",
    given: bool = False,
) -> GroupPosterior:
    """Weigh the space groups of a pattern, given candidates for its cell.

    Args:
        two_theta: Evenly spaced angles [degrees].
        intensity: The pattern.
        cells: Candidates; ``score`` is the logarithm of what is known of their weights.
        radiation: Spectral lines of the pattern.
        measured: Whether it has background, noise and displaced lines; else it is a
            noise-free sum of Gaussians of one crystallite size.
        prior: Name of a prior, see `posterior.PRIORS`, or 231 probabilities.
        given: Whether one of the cells is known to be right; else some probability is
            left for none of them being so.

    Returns:
        Probabilities of groups, symbols and cells.

    Raises:
        PatternError: If the pattern cannot be fitted, or there is no such prior.
    """
    if measured:
        model = model_measured(two_theta, intensity, radiation)
    else:
        model = model_clean(two_theta, intensity, radiation)
    known = group_prior(prior) if isinstance(prior, str) else prior
    return read_model(model, cells, known, given=given)


def read_model(
    model: ScanModel, cells: Sequence[Cell], prior: Groups, *, given: bool = False
) -> GroupPosterior:
    """As `read_groups`, of a pattern that is already prepared."""
    fits: list[LatticeIntensities | None] = []
    found: list[CellEvidence | None] = []
    highest = max((cell.score for cell in cells), default=0.0)
    weight = score_weight(measured=model.measured)
    hopeless = _MEASURED_HOPELESS if model.measured else _HOPELESS
    for cell in cells:
        if weight * (highest - cell.score) > hopeless:
            fits.append(None)
            found.append(None)
            continue
        fit = fit_intensities(model, cell.conventional, cell.bravais_lattice)
        usable = fit is not None and fit.residual < _WORST_RESIDUAL
        fits.append(fit)
        found.append(
            weigh_groups(
                fit, cell.bravais_lattice, prior, model.wavelength,
                measured=model.measured,
            )
            if fit is not None and usable
            else None
        )  # fmt: skip
    return combine_cells(model, cells, fits, found, given=given)


def combine_cells(
    model: ScanModel,
    cells: Sequence[Cell],
    fits: Sequence[LatticeIntensities | None],
    found: Sequence[CellEvidence | None],
    *,
    given: bool = False,
) -> GroupPosterior:
    """Sum the evidence of candidate cells."""
    log_weight = np.full(len(cells), -np.inf)
    centred = _centring_evidence(model, fits) if given else np.zeros(len(cells))
    for row, (cell, one) in enumerate(zip(cells, found, strict=True)):
        if one is None or not math.isfinite(one.log_weight):
            continue
        if given and len(cells) > 1:
            log_weight[row] = _CENTRING * (
                one.log_weight + centred[row]
            ) - _COINCIDENCE * _free_numbers(cell)
        else:
            log_weight[row] = _log_weight(cell, one, measured=model.measured)
            if model.measured and _is_empty_multiple(cell, cells):
                log_weight[row] -= _EMPTY_MULTIPLE
    probability = np.zeros(231)
    weight = np.zeros(len(cells))
    best = -1
    if np.any(np.isfinite(log_weight)):
        weight = np.exp(log_weight - log_weight.max())
        weight /= weight.sum()
        best = int(weight.argmax())
        if not given:
            weight *= _right_share(model, cells[best], fits[best])
        for share, one in zip(weight, found, strict=True):
            if one is not None and share > 0.0:
                probability += share * np.exp(one.log_group - one.log_weight)
    names, symbols = symbol_probability(probability)
    fit = fits[best] if best >= 0 else None
    return GroupPosterior(
        space_group_probability=probability,
        extinction_symbols=names,
        extinction_symbol_probability=symbols,
        cell_weight=weight,
        no_cell_probability=1.0 - float(probability.sum()),
        best_cell=best,
        intensities=fit,
        residual=1.0 if fit is None else fit.residual,
    )


def _centring_evidence(
    model: ScanModel, fits: Sequence[LatticeIntensities | None]
) -> Float64[np.ndarray, " cells"]:
    """Evidence for each centring of a stated cell: that what it forbids is absent.

    All are judged on the lines of the finest reciprocal lattice, the primitive one: a
    centring forbids those that none of its own lines lies at.

    Returns:
        Logarithm of the likelihood ratio against nothing being forbidden.
    """
    out = np.zeros(len(fits))
    known = [fit for fit in fits if fit is not None]
    if not known:
        return out
    whole = max(known, key=lambda fit: fit.volume)
    evidence, _, _ = line_evidence(whole, model.wavelength, measured=model.measured)
    for row, fit in enumerate(fits):
        if fit is not None and fit is not whole and len(fit.two_theta):
            own = np.sort(fit.two_theta)
            at = np.clip(np.searchsorted(own, whole.two_theta), 1, len(own) - 1)
            distance = np.minimum(
                np.abs(own[at] - whole.two_theta),
                np.abs(own[at - 1] - whole.two_theta),
            )
            out[row] = evidence[distance > _SAME_LINE].sum()
    # What a bad fit leaves at lines that are absent says nothing against absence.
    return out * min(1.0, _GOOD_FIT / max(whole.residual, 1e-9))


def score_weight(*, measured: bool) -> float:
    """What one of a candidate's score adds to the logarithm of its weight."""
    return _MEASURED_SCORE if measured else _SCORE


def _log_weight(cell: Cell, one: CellEvidence, *, measured: bool) -> float:
    """Logarithm of a candidate's weight, up to a constant."""
    evidence = one.log_weight + one.allowance
    if not measured:
        misfit = math.log(math.hypot(one.residual, _CLEAN_RESIDUAL))
        return _SCORE * cell.score + _EVIDENCE * evidence - _MISFIT * misfit
    misfit = math.log(math.hypot(one.residual, _MEASURED_RESIDUAL))
    return (
        _MEASURED_SCORE * cell.score
        + _MEASURED_EVIDENCE * evidence
        - _MEASURED_MISFIT * misfit
        + _FREE_NUMBER * _free_numbers(cell)
        + _LOG_VOLUME * math.log(cell.volume)
        + _INDEXED * _indexed_share(cell)
        + _FREQUENCY * math.log(max(one.expected_prior, 1e-12))
    )


def _is_empty_multiple(cell: Cell, cells: Sequence[Cell]) -> bool:
    """Whether a candidate is a multiple of a better one and indexes no more lines."""
    indexed = int(cell.hkl.any(axis=1).sum())
    return any(
        other.score > cell.score
        and indexed <= int(other.hkl.any(axis=1).sum())
        and any(abs(cell.volume / other.volume - k) < 0.01 * k for k in (2, 3, 4))
        for other in cells
    )


def _free_numbers(cell: Cell) -> int:
    """Numbers of the metric that its symmetry leaves free."""
    return int(PARAMETERS[LATTICES.index(cell.bravais_lattice)])


def _indexed_share(cell: Cell) -> float:
    """Share of the lines that have indices; 0 of a stated cell, of which none has."""
    return float(cell.hkl.any(axis=1).mean()) if len(cell.hkl) else 0.0


def _right_share(model: ScanModel, cell: Cell, fit: LatticeIntensities | None) -> float:
    """Probability that the heaviest cell is right, or one that lies near."""
    residual = 1.0 if fit is None else fit.residual
    if model.measured:
        odds = _MEASURED_ODDS + _ODDS_OF_SCORE * cell.score
        odds += _ODDS_OF_FREE_NUMBER * _free_numbers(cell)
        odds += _ODDS_OF_INDEXED * _indexed_share(cell)
    else:
        odds = _CLEAN_ODDS
        odds -= _ODDS_OF_LOG_RESIDUAL * max(math.log(max(residual, 1e-9) / 2e-3), 0.0)
    return 1.0 / (1.0 + math.exp(-odds))


def group_features(
    model: ScanModel, cell: Cell | None
) -> Float32[np.ndarray, " features"]:
    """Describe a pattern under one cell in numbers, for a network.

    Args:
        model: The pattern.
        cell: The cell; None where there is none.

    Returns:
        `symmetry_statistics.N_FEATURES` numbers of intensities, volume and shape; ln of
        the probability of each extinction symbol under equal groups, not below -20; a
        one at the place of the Bravais lattice; ln of residual and of the primitive
        volume [Å³], and whether the cell could be fitted. All zero without a cell.
    """
    n_symbols = len(symbol_probability(np.zeros(231))[0])
    n_lattices = len(BRAVAIS_LATTICES)
    out = np.zeros(N_FEATURES + n_symbols + n_lattices + 3, np.float32)
    if cell is None:
        return out
    fit = fit_intensities(model, cell.conventional, cell.bravais_lattice)
    if fit is None:
        return out
    evidence = weigh_groups(
        fit, cell.bravais_lattice, group_prior("uniform"), model.wavelength,
        measured=model.measured, statistics=False,
    )  # fmt: skip
    if not math.isfinite(evidence.log_weight):
        return out
    normalised, error = normalised_of(fit, model.wavelength)
    out[:N_FEATURES] = symmetry_features(
        cell.bravais_lattice, fit.metric, fit.hkl, fit.line_of, normalised, error,
        fit.multiplicity,
    )  # fmt: skip
    _, symbols = symbol_probability(np.exp(evidence.log_group - evidence.log_weight))
    end = N_FEATURES + n_symbols
    out[N_FEATURES:end] = np.log(np.maximum(symbols, 2e-9))
    out[end + BRAVAIS_LATTICES.index(cell.bravais_lattice)] = 1.0
    out[-3:] = math.log(max(fit.residual, 1e-6)), math.log(fit.volume), 1.0
    return out
