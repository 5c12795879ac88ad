"""Fit the weights of candidate cells on scans: where `groups/reading.py` has them from.

    python tests/indexing/measure_weights.py [--simulated 279]

Which of a scan's candidates is right is fitted as a multinomial logit of score, misfit,
evidence, free numbers, ln volume, share of lines indexed, whether it is a multiple of a
better one that indexes no more, and ln of the expected prior of its groups; that one of
them is right, as a logit of score, free numbers and share of the heaviest. The scans:
every third named RRUFF pattern, and simulated ``laboratory`` ones, without impurities,
of crystals of `open/structure-type` dev, at most 40 a crystal system. Needs
PXRDBENCH_TEST_DATA.
"""

import argparse
import math

import numpy as np
from measure_groups import measured_cases
from scipy.optimize import minimize

from pxrdbench.crystal.structure import take_crystals
from pxrdbench.crystal.symmetry.tables import (
    CENTRINGS,
    CRYSTAL_SYSTEMS,
    crystal_system,
    load_symmetry_tables,
)
from pxrdbench.diffraction.measurement.effect import Samples
from pxrdbench.diffraction.measurement.measurement import (
    LatticeStrain,
    Measurement,
    load_measurement,
)
from pxrdbench.diffraction.measurement.sample_effects import ImpurityPhases
from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.indexing.cells.find import find_cells
from pxrdbench.indexing.cells.lattices import primitive_cell, same_lattice
from pxrdbench.indexing.groups.intensities import fit_intensities, model_measured
from pxrdbench.indexing.groups.posterior import group_prior, weigh_groups
from pxrdbench.indexing.groups.reading import (
    _free_numbers,
    _indexed_share,
    _is_empty_multiple,
)
from pxrdbench.indexing.lines.find import find_lines
from pxrdbench.tracks.load import load_track

# As many are fitted as `index.READ_CELLS`, of twice as many that are found.
CANDIDATES, FITTED, LEAST_RESIDUAL = 20, 10, 0.05
NAMES = (
    "score",
    "misfit",
    "evidence",
    "free number",
    "ln volume",
    "indexed",
    "empty",
    "frequency",
)
# Penalty on squared weights in units of SCALE, in all as of so many scans.
RIDGE = 0.1
SCALE = np.array([10.0, 1.0, 10.0, 1.0, 1.0, 1.0, 1.0, 1.0])


def simulated_cases(count):
    """Angles, scan and true primitive cell."""
    track = load_track("open/structure-type", "dev")
    systems = np.array([crystal_system(int(g)) for g in track.space_group])
    rng = np.random.default_rng(7)
    rows = np.concatenate(
        [rng.permutation(np.flatnonzero(systems == s))[:40] for s in CRYSTAL_SYSTEMS]
    )
    crystals = take_crystals(track.crystals, np.sort(rows))
    effects = [
        effect
        for effect in load_measurement("laboratory").effects
        if not isinstance(effect, ImpurityPhases)
    ]
    measurement, samples = Measurement(tuple(effects)), Samples(11, 0, len(crystals))
    grid = TwoThetaGrid(5.0, 90.0, 4251)
    scans = measurement.render(
        measurement.simulate(crystals, samples),
        grid,
        samples,
        np.random.default_rng(3).uniform(30, 150, len(crystals)),
    )
    strain = next(e for e in effects if isinstance(e, LatticeStrain))
    cells = strain.apply(crystals, samples).lattice
    centring = load_symmetry_tables().centring
    for row in np.linspace(0, len(crystals) - 1, count).round().astype(int):
        letter = CENTRINGS[int(centring[crystals.space_group[row]])]
        yield (
            grid.angles(),
            scans.intensity[row].astype(float),
            primitive_cell(tuple(cells[row]), letter),
        )


def named_cases():
    for angles, scan, cell, _ in measured_cases("choose"):
        yield angles, scan, primitive_cell(cell.conventional, cell.bravais_lattice)


def describe(angles, scan, true):
    """Numbers of each candidate that can be fitted, and which are right."""
    cells = find_cells(find_lines(angles, scan, radiation="CuKa"), n_cells=CANDIDATES)
    if not cells:
        return None
    model, prior = model_measured(angles, scan, "CuKa"), group_prior("icsd")
    rows, right = [], []
    for cell in cells[:FITTED]:
        fit = fit_intensities(model, cell.conventional, cell.bravais_lattice)
        if fit is None or fit.residual > 0.95:
            continue
        found = weigh_groups(
            fit, cell.bravais_lattice, prior, model.wavelength, measured=True
        )
        if not math.isfinite(found.log_weight):
            continue
        rows.append(
            (
                cell.score,
                -math.log(math.hypot(fit.residual, LEAST_RESIDUAL)),
                found.log_weight + found.allowance,
                _free_numbers(cell),
                math.log(cell.volume),
                _indexed_share(cell),
                _is_empty_multiple(cell, cells),
                math.log(max(found.expected_prior, 1e-12)),
            )
        )
        right.append(same_lattice(true, cell.primitive, 0.01, 1.0))
    return (np.array(rows, float), np.array(right)) if rows else None


def log_share(weights, numbers, right):
    z = numbers / SCALE @ weights
    z = np.exp(z - z.max())
    return math.log(max(z[right].sum() / z.sum(), 1e-12))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulated", type=int, default=279)
    choice = parser.parse_args()
    cases = [*named_cases(), *simulated_cases(choice.simulated)]
    described = [d for d in (describe(*case) for case in cases) if d is not None]
    some = [d for d in described if d[1].any()]

    def loss(weights):
        total = sum(log_share(weights, *one) for one in some)
        return (-total + RIDGE * weights @ weights) / len(some)

    weights = minimize(loss, np.zeros(len(NAMES)), method="BFGS").x
    first = np.mean([r[np.argmax(n / SCALE @ weights)] for n, r in some])
    print(
        f"{len(cases)} scans, {len(described)} with candidates, {len(some)} with the "
        f"right one; first {100 * first:.1f} %, ln share "
        f"{np.mean([log_share(weights, *one) for one in some]):.3f}"
    )
    for name, weight in zip(NAMES, weights / SCALE, strict=True):
        print(f"{name:12s} {weight:8.3f}")
    heaviest = [(n[np.argmax(n / SCALE @ weights)], r.any()) for n, r in described]
    design = np.array([(1.0, n[0] / 10, n[3], n[5]) for n, _ in heaviest])
    sign = np.array([1.0 if right else -1.0 for _, right in heaviest])

    def miss(odds):
        return np.mean(np.log1p(np.exp(-sign * (design @ odds)))) + 2e-3 * odds @ odds

    odds = minimize(miss, np.zeros(4)).x / [1, 10, 1, 1]
    for name, value in zip(("constant", "score", *NAMES[3:6:2]), odds, strict=True):
        print(f"one is right: {name:12s} {value:8.3f}")


if __name__ == "__main__":
    main()
