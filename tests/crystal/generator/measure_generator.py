"""Measure what issue 3 promises of the generator; minutes, not part of the tests.

    python tests/crystal/generator/measure_generator.py
        [labels] [frequencies] [shift] [smoothing] [speed]

Prints one JSON object for each measurement asked for, or for all.
"""

import json
import sys
import time

import numpy as np
from scipy import stats

from pxrdbench.crystal.generator.check import (
    check_labels,
    measure_rejection_shift,
    two_sample_distance,
)
from pxrdbench.crystal.generator.draw import draw_crystals, draw_crystals_with_report
from pxrdbench.crystal.prior.prior import load_prior
from pxrdbench.crystal.prior.smoothing import smooth_prior
from pxrdbench.crystal.symmetry.tables import load_symmetry_tables

SEED = 20231


def priors():
    shipped = {name: load_prior(name) for name in ("open-v0", "open-145")}
    return shipped | {"all 230": smooth_prior(shipped["open-v0"], name="all 230")}


def measure_labels():
    """20,000 crystals of each prior, groups alike: does spglib agree?"""
    for name, prior in priors().items():
        start = time.process_time()
        check = check_labels(prior.with_frequencies("uniform"), SEED, 0, 20_000)
        yield {
            "prior": name,
            "checked": int(check.n_checked.sum()),
            "groups": len(prior.space_groups),
            "fewest_in_a_group": int(check.n_checked[prior.space_group].min()),
            "given_up_by_spglib": int(check.n_given_up.sum()),
            "share_true": check.share_true,
            "wrong": [vars(wrong) for wrong in check.wrong],
            "cpu_seconds": time.process_time() - start,
        }


def measure_frequencies():
    """Chi-square of the groups of 10^6 crystals against the prior."""
    for name, prior in priors().items():
        counts = np.zeros(231, np.int64)
        for start in range(0, 1_000_000, 100_000):
            drawn = draw_crystals(prior, SEED, start, 100_000).space_group
            counts += np.bincount(drawn, minlength=231)
        expected = prior.space_group_probability * 1_000_000
        # Fewer than five expected are too few for the approximation.
        many = expected >= 5
        chi2 = ((counts[prior.space_group] - expected) ** 2 / expected)[many].sum()
        yield {
            "prior": name,
            "chi_square": chi2,
            "freedom": int(many.sum()) - 1,
            "p": float(stats.chi2.sf(chi2, many.sum() - 1)),
            "groups_drawn": int((counts > 0).sum()),
        }


def measure_shift():
    """What rejections do to elements, sites, atoms and volumes."""
    for name, prior in priors().items():
        shift = measure_rejection_shift(prior, SEED, 200_000)
        report = shift.rejections
        worst = prior.space_group[
            np.argsort(-shift.share_rejected[prior.space_group])[:10]
        ]
        yield {
            "prior": name,
            "distance": shift.distance,
            "noise": shift.noise,
            "mean_proposed_and_kept": shift.mean,
            "rejected": {
                reason: int(getattr(report, reason).sum()) for reason in vars(report)
            },
            "most_rejected": {int(g): shift.share_rejected[g] for g in worst},
        }


def measure_smoothing():
    """Is open-v0 the same to look at when its 95 groups are smoothed?

    Distances of drawn to fitted crystals, with and without, and of the two.
    """
    prior = load_prior("open-v0")
    smoothed = smooth_prior(prior, prior.space_groups)
    first = draw_crystals(prior, SEED, 0, 200_000)
    second = draw_crystals(smoothed, SEED + 1, 0, 200_000)
    other = draw_crystals(prior, SEED + 2, 0, 200_000)

    def values(crystals):
        tables = load_symmetry_tables()
        n_sites = np.diff(crystals.site_offset)
        owner = np.repeat(np.arange(len(crystals)), n_sites)
        row = tables.position_offset[crystals.space_group[owner]]
        row = row + crystals.wyckoff_index
        radius = tables.atomic_radius[crystals.atomic_number]
        ball = 4 / 3 * np.pi * radius**3 * tables.multiplicity[row]
        return {
            "volume": crystals.volume,
            "n_sites": n_sites.astype(float),
            "density_factor": crystals.volume / np.bincount(owner, ball),
        }

    points = {
        "volume": prior.volume_atomic * prior.volume_factor,
        "density_factor": prior.volume_factor,
    }
    drawn, drawn_smoothed, again = map(values, (first, second, other))
    yield {
        "smoothed_to_plain": {
            n: two_sample_distance(v, drawn_smoothed[n]) for n, v in drawn.items()
        },
        "noise": {n: two_sample_distance(v, again[n]) for n, v in drawn.items()},
        "plain_to_fitted": {
            n: two_sample_distance(v, drawn[n]) for n, v in points.items()
        },
        "smoothed_to_fitted": {
            n: two_sample_distance(v, drawn_smoothed[n]) for n, v in points.items()
        },
    }


def measure_speed():
    """Crystals a second of one core's CPU time, after compilation."""
    for name, prior in priors().items():
        for frequencies in ("fitted", "uniform"):
            chosen = prior.with_frequencies(frequencies)
            draw_crystals(chosen, SEED, 0, 100)
            start = time.process_time()
            crystals, _ = draw_crystals_with_report(chosen, SEED, 0, 300_000)
            seconds = time.process_time() - start
            yield {
                "prior": name,
                "frequencies": frequencies,
                "crystals_per_second": len(crystals) / seconds,
            }


MEASUREMENTS = {
    name.removeprefix("measure_"): function
    for name, function in list(globals().items())
    if name.startswith("measure_") and name != "measure_rejection_shift"
}


if __name__ == "__main__":
    for name in sys.argv[1:] or MEASUREMENTS:
        for result in MEASUREMENTS[name]():
            print(json.dumps({"measurement": name} | result, default=float))
