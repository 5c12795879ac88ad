"""What each stage of reading is worth: groups after lattice, absences, intensities.

    python tests/indexing/measure_ablations.py clean test --count 600
    python tests/indexing/measure_ablations.py measured --third others --prior minerals

On the same patterns: the order of the prior; the prior among groups that the Bravais
lattice of the heaviest cell allows; besides, its absences; besides, what volume, shape
and statistics of intensities say; all of it summed over candidates; and all but the
last with the true cell. Intervals are those of a bootstrap over patterns, top-1 by
crystal system stands below. Needs PXRDBENCH_TEST_DATA.
"""

import argparse

import numpy as np
from measure_groups import clean_cases, measured_cases

from pxrdbench.crystal.symmetry.tables import CRYSTAL_SYSTEMS, crystal_system
from pxrdbench.indexing.cells.find import find_cells
from pxrdbench.indexing.cells.sublattices import lower_lattices
from pxrdbench.indexing.groups.extinction import load_patterns
from pxrdbench.indexing.groups.intensities import (
    fit_intensities,
    model_clean,
    model_measured,
)
from pxrdbench.indexing.groups.posterior import group_prior, weigh_groups
from pxrdbench.indexing.groups.reading import read_model
from pxrdbench.indexing.lines.find import find_lines
from pxrdbench.studies.resampling import percent_interval

STAGES = ("prior", "lattice", "absences", "intensities", "all cells")
# As of `posterior`: a metric is of higher symmetry than its crystal so often.
COINCIDENCE = {False: 0.004, True: 0.02}


def of_lattice(bravais_lattice, prior, measured):
    """The prior among groups whose lattice can have the metric."""
    weight = np.zeros(231)
    for name, depth, _ in lower_lattices(bravais_lattice):
        has = (load_patterns(name).setting_share > 0.0).any(axis=0)
        weight = np.maximum(weight, COINCIDENCE[measured] ** depth * has)
    return weight * prior


def stages_of(model, cell, prior):
    """Weights of groups after each stage that looks at one cell."""
    out = [of_lattice(cell.bravais_lattice, prior, model.measured)]
    fit = fit_intensities(model, cell.conventional, cell.bravais_lattice)
    for statistics in (False, True):
        if fit is None:
            out.append(out[0])
            continue
        found = weigh_groups(
            fit, cell.bravais_lattice, prior, model.wavelength,
            measured=model.measured, statistics=statistics,
        )  # fmt: skip
        out.append(np.exp(found.log_group - found.log_weight))
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=["clean", "measured"])
    parser.add_argument("part", nargs="?", default="dev")
    parser.add_argument("--count", type=int, default=10**9)
    parser.add_argument("--third", default="choose")
    parser.add_argument("--prior", default="")
    options = parser.parse_args()
    measured = options.kind == "measured"
    prior = group_prior(options.prior or ("icsd" if measured else "open"))
    cases = (
        measured_cases(options.third)
        if measured
        else clean_cases(options.part, options.count)
    )
    radiation = "CuKa" if measured else "CuKa1"
    make = model_measured if measured else model_clean
    ranks, systems = {}, []

    def note(stage, weight, group):
        rank = 1 + int((weight > weight[group]).sum()) if weight[group] > 0 else 231
        ranks.setdefault(stage, []).append(rank)

    for angles, pattern, true, group in cases:
        systems.append(crystal_system(group))
        model = make(angles, pattern, radiation)
        cells = find_cells(find_lines(angles, pattern, radiation=radiation))[:10]
        found = read_model(model, cells, prior)
        weights = [prior] * 3
        if found.best_cell >= 0:
            weights = stages_of(model, cells[found.best_cell], prior)
        for stage, weight in zip(STAGES[1:4], weights, strict=True):
            note(stage, weight, group)
        note("prior", prior, group)
        note("all cells", found.space_group_probability, group)
        weights = [prior] * 3 if true is None else stages_of(model, true, prior)
        for stage, weight in zip(STAGES[1:4], weights, strict=True):
            note(f"{stage}, true cell", weight, group)
    labels = [str(row) for row in range(len(systems))]
    for stage in (*STAGES, *(f"{stage}, true cell" for stage in STAGES[1:4])):
        rank = np.array(ranks[stage])
        words = []
        for k in (1, 5):
            one = percent_interval((rank <= k) * 1.0, labels)
            words.append(
                f"top-{k} {one['value']:5.1f} ({one['low']:.1f}-{one['high']:.1f})"
            )
        by_system = " ".join(
            f"{s[:5]} {100 * np.mean((rank == 1)[np.array(systems) == s]):.0f}"
            for s in CRYSTAL_SYSTEMS
            if s in systems
        )
        print(f"{stage:24s} {'  '.join(words)}  {by_system}")


if __name__ == "__main__":
    main()
