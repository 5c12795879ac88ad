"""The reader's word on a scan, and the network's where the reader has none.

    P(g | scan) = s P_reader(g | scan) + (1 - s) Q(g),    Q(g) ∝ N(g)^a P(g)^b

with s the calibrated probability that a cell was found, N the network's answer and P
the frequencies of groups. The numbers are fitted on measured patterns (`calibration`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from pxrdbench.crystal.symmetry.tables import crystal_system as system_of
from pxrdbench.diffraction.radiation import Radiation
from pxrdbench.errors import PatternError
from pxrdbench.indexing.cells.find import Cell
from pxrdbench.indexing.groups.posterior import GroupPosterior
from pxrdbench.indexing.groups.reading import read_groups, score_weight
from pxrdbench.indexing.index import (
    READ_CELLS,
    Indexing,
    index_lines,
    index_pattern,
)
from pxrdbench.indexing.lines.line_list import LineList
from pxrdbench.prediction.calibration import Calibration
from pxrdbench.prediction.known import Known

# Log-likelihoods of volumes that differ by less than this leave cells as they are.
_ALIKE = 0.5
# What a list of lines does not tell: errors and widths [degrees], and how far lines
# stand out.
_LIST_ERROR, _LIST_WIDTH, _LIST_SIGNIFICANCE = 0.02, 0.1, 20.0
_SYSTEMS = {
    "a": ("triclinic",),
    "m": ("monoclinic",),
    "o": ("orthorhombic",),
    "t": ("tetragonal",),
    "h": ("trigonal", "hexagonal"),
    "c": ("cubic",),
}
# Probability below which a group counts as this one.
_LEAST = 1e-9

Points = Float64[np.ndarray, " points"]
Groups = Float64[np.ndarray, " 231"]


@dataclass(frozen=True, eq=False)
class Reading:
    """What indexing says of a scan.

    Attributes:
        indexing: Lines, cells, intensities; None where the scan could not be read.
        groups: Probability of each group 0-230, all zero without a cell.
        no_cell: That none of the cells is right.
        problem: Why the scan could not be read.
    """

    indexing: Indexing | None
    groups: Groups
    no_cell: float
    problem: str = ""

    @property
    def is_measured(self) -> bool:
        """Whether the scan has noise; a simulated one may have none."""
        if self.indexing is None or not len(self.indexing.lines):
            return True
        return bool(np.isfinite(self.indexing.lines.significance).any())


def read_pattern(
    two_theta: Points, intensity: Points, radiation: Radiation, known: Known
) -> Reading:
    """Index a scan with all that is known of the sample.

    Args:
        two_theta: Angles [degrees].
        intensity: Counts.
        radiation: Of the scan.
        known: Of the sample.
    """
    try:
        found = index_pattern(
            two_theta,
            intensity,
            radiation,
            max_volume=known.max_volume,
            crystal_system=None if known.cell is not None else known.crystal_system,
            prior=known.prior,
            cell=known.cell,
            bravais_lattice=known.bravais_lattice,
        )
    except PatternError as error:
        return Reading(None, np.zeros(231), 1.0, str(error))
    groups = np.zeros(231)
    for one in found.space_groups:
        groups[one.space_group] = one.probability
    reading = Reading(found, groups, found.no_cell_probability)
    if not (known.formula or known.elements) or not found.cells:
        return reading
    return _weigh_volumes(reading, two_theta, intensity, radiation, known)


def read_peak_list(
    two_theta: Points, intensity: Points, radiation: Radiation, known: Known
) -> Reading:
    """Find cells of a list of lines; there are no absences to read groups from.

    Groups get the frequencies of those whose lattice may have the first cell's metric.
    """
    count = len(two_theta)
    strong = np.maximum(intensity, 0.0)
    lines = LineList(
        two_theta=two_theta.copy(),
        two_theta_error=np.full(count, _LIST_ERROR),
        intensity=strong / max(float(strong.max(initial=0.0)), 1e-300),
        fwhm=np.full(count, _LIST_WIDTH),
        significance=np.full(count, _LIST_SIGNIFICANCE),
        wavelength=radiation.lines[0][0],
        two_theta_range=(float(two_theta[0]), float(two_theta[-1])),
    )
    try:
        found = index_lines(
            lines,
            max_volume=known.max_volume,
            crystal_system=known.crystal_system,
        )
    except PatternError as error:
        return Reading(None, np.zeros(231), 1.0, str(error))
    if not found.cells:
        return Reading(found, np.zeros(231), 1.0)
    lattice = found.cells[0].bravais_lattice
    systems = _SYSTEMS[lattice[0]] if lattice != "hR" else ("trigonal",)
    groups = np.array(
        [0.0, *(p * (system_of(g) in systems) for g, p in _numbered(known.prior))]
    )
    total = float(groups.sum())
    return Reading(found, groups * (0.5 / total) if total > 0.0 else groups, 0.5)


def _numbered(prior: Groups) -> list[tuple[int, float]]:
    return [(group, float(prior[group])) for group in range(1, 231)]


def _weigh_volumes(
    reading: Reading,
    two_theta: Points,
    intensity: Points,
    radiation: Radiation,
    known: Known,
) -> Reading:
    """Let elements and formula speak on cells and groups."""
    found = reading.indexing
    if found is None:
        raise AssertionError("only what was read has cells")
    more = [known.log_volume(cell.volume) for cell in found.cells]
    if known.cell is None and max(more) - more[0] > _ALIKE:
        # Whole, as a likelihood does: scores count in part. The cell that fits best
        # keeps its score, by which it is known how likely one is right.
        part = score_weight(measured=reading.is_measured)
        cells = [
            replace(cell, score=cell.score + (extra - max(more)) / part)
            for cell, extra in zip(found.cells, more, strict=True)
        ]
        cells.sort(key=lambda cell: -cell.score)
        again = read_groups(
            two_theta,
            intensity,
            cells[:READ_CELLS],
            radiation=radiation,
            measured=reading.is_measured,
            prior=known.prior,
        )
        reading = _reread(found, cells, again)
    groups = reading.groups
    if groups.sum() > 0.0 and known.formula and reading.indexing is not None:
        factor = known.holding(reading.indexing.cells[0].volume)
        held = groups * factor
        groups = held * (groups.sum() / held.sum())
    return replace(reading, groups=groups)


def _reread(found: Indexing, cells: Sequence[Cell], again: GroupPosterior) -> Reading:
    """An indexing whose cells were weighed anew."""
    weight = np.zeros(len(cells))
    weight[: len(again.cell_weight)] = again.cell_weight
    order = np.argsort(-weight, kind="stable")
    indexing = replace(
        found,
        cells=tuple(cells[i] for i in order),
        cell_probability=weight[order],
        no_cell_probability=again.no_cell_probability,
        intensities=again.intensities,
        residual=again.residual,
    )
    groups = np.array(again.space_group_probability)
    return Reading(indexing, groups, again.no_cell_probability)


def add_up(
    reading: Reading,
    network: Groups | None,
    known: Known,
    calibration: Calibration,
) -> tuple[Groups, float]:
    """Sum reader and network.

    Args:
        reading: Of the scan.
        network: Probabilities of the network; None where it cannot read the scan.
        known: Of the sample.
        calibration: How far each is to be believed.

    Returns:
        Probability of each group 0-230, and that no cell was found.
    """
    total = float(reading.groups.sum())
    share = 0.0
    if total > 0.0:
        share = 1.0 - reading.no_cell
        if known.cell is None and reading.is_measured:
            share = calibration.cell_share(share)
    prior = known.prior
    fallback = prior.copy()
    if network is not None:
        smoothed = (
            1.0 - calibration.smoothing
        ) * network + calibration.smoothing * prior
        fallback = np.where(
            prior > 0.0,
            np.maximum(smoothed, _LEAST) ** calibration.network_power
            * prior**calibration.prior_power,
            0.0,
        )
        fallback /= fallback.sum()
    groups = (1.0 - share) * fallback
    if total > 0.0:
        read = (reading.groups / total) ** calibration.group_power
        groups = groups + share * read / read.sum()
    groups = np.where(prior > 0.0, np.maximum(groups, _LEAST * prior), 0.0)
    result: Groups = groups / groups.sum()
    return result, 1.0 - share
