"""Measure how lines of clean patterns are found: recall, false lines, errors, time.

python tests/indexing/measure_lines.py clean [--part dev] [--count 100]
python tests/indexing/measure_lines.py measured [--third choose|rest]
python tests/indexing/measure_lines.py cells [--third choose|rest]
"""

import argparse
import json
import time
from pathlib import Path

import gemmi
import numpy as np
from measured_truth import (
    allowed_hkl,
    fit_cell,
    load_named,
    nearest,
    space_group_of,
    stated_cell,
)
from scipy.signal import find_peaks, savgol_filter

from pxrdbench.diffraction.measurement.effect import Samples
from pxrdbench.diffraction.measurement.line_effects import (
    SampleDisplacement,
    SpectralLines,
    ZeroShift,
)
from pxrdbench.diffraction.measurement.measurement import (
    Measurement,
    load_measurement,
)
from pxrdbench.diffraction.pattern import PeakBatch
from pxrdbench.diffraction.radiation import Radiation
from pxrdbench.indexing.cells.find import find_cells
from pxrdbench.indexing.cells.lattices import same_lattice
from pxrdbench.indexing.lines.find import find_lines
from pxrdbench.tracks.load import load_track

HEIGHT_CLASSES = ((0.1, 2.0), (0.01, 0.1), (0.001, 0.01), (1e-4, 1e-3))


def join_close(two_theta, height, sigma):
    """True lines closer than a quarter of σ are one, at their centre of gravity."""
    places, heights = [], []
    for t, h, s in zip(two_theta, height, sigma, strict=True):
        if places and t - places[-1] < 0.25 * s:
            total = heights[-1] + h
            places[-1] = (places[-1] * heights[-1] + t * h) / total
            heights[-1] = total
        else:
            places.append(t)
            heights.append(h)
    return np.array(places), np.array(heights)


def measure_clean(part: str, count: int) -> None:
    track = load_track("open/structure-type", part)
    n = len(track.ids)
    rows = np.linspace(0, n - 1, min(count, n)).astype(np.int64)
    batch = track.take(rows)
    x = track.grid.angles()
    found = {c: [0, 0, 0, 0] for c in HEIGHT_CLASSES}  # alone, seen; blended, seen
    false = dict.fromkeys(HEIGHT_CLASSES, 0)
    ratios = {c: [] for c in HEIGHT_CLASSES}
    deviations, first20, times, refused = [], [], [], 0
    find_lines(x, batch.intensity[0])
    for k, i in enumerate(rows):
        start = time.process_time()
        try:
            lines = find_lines(x, batch.intensity[k])
        except ValueError:
            refused += 1
            continue
        times.append(time.process_time() - start)
        these = slice(track.peaks.peak_offset[i], track.peaks.peak_offset[i + 1])
        two_theta = track.peaks.two_theta[these]
        size = batch.crystallite_size_nm[k]
        sigma = (
            np.degrees(0.9 * 0.15406 / size)
            / 2.3548
            / np.cos(np.radians(two_theta / 2))
        )
        height = track.peaks.intensity[these] / sigma
        end = lines.two_theta_range[1]
        place, high = join_close(two_theta, height, sigma)
        inside = (place > x[0] + 0.05) & (place < end - 0.05)
        s = np.interp(place, two_theta, sigma)
        high = high / high[(place > x[0])].max()
        got = lines.two_theta
        if len(got) == 0:
            continue
        # Each true line belongs to the nearest found one, if that is near enough.
        nearest = np.abs(got[:, None] - place[None]).argmin(axis=0)
        off = got[nearest] - place
        seen = np.abs(off) < 0.3 * s
        gap = np.minimum(np.diff(place, prepend=-9), np.diff(place, append=999))
        for low, top in HEIGHT_CLASSES:
            mine = inside & (high >= low) & (high < top)
            alone = gap > 3.0 * s
            c = found[low, top]
            c[0] += int((mine & alone).sum())
            c[1] += int((mine & alone & seen).sum())
            c[2] += int((mine & ~alone).sum())
            c[3] += int((mine & ~alone & seen).sum())
            good = mine & seen
            ratios[low, top] += list(off[good] / lines.two_theta_error[nearest[good]])
        rel = lines.intensity / lines.fwhm
        rel = rel / rel.max()
        truth = np.abs(got[:, None] - place[None]).min(axis=1)
        wrong = truth > 0.3 * lines.fwhm / 2.3548
        for low, top in HEIGHT_CLASSES:
            false[low, top] += int((wrong & (rel >= low) & (rel < top)).sum())
        deviations += list(np.abs(off[inside & seen & (gap > 3 * s) & (high > 1e-3)]))
        # What indexing uses: the first twenty true lines above 1e-3.
        use = np.flatnonzero(inside & (high > 1e-3))[:20]
        if len(use):
            first20.append(
                (seen[use].mean(), wrong[: int((got <= place[use[-1]]).sum())].sum())
            )
    print(f"{len(rows)} patterns of {part}, {refused} refused")
    for c in HEIGHT_CLASSES:
        a, b, d, e = found[c]
        r = np.array(ratios[c])
        core = np.sqrt((r[np.abs(r) < 5] ** 2).mean())
        middle, far = np.median(np.abs(r)), (np.abs(r) >= 5).mean()
        print(
            f"height {c[0]:g}-{c[1]:g}: alone {b}/{a} = {b / max(a, 1):.3f}, blended "
            f"{e}/{d} = {e / max(d, 1):.3f}, false {false[c]}; off/error median "
            f"{middle:.2f}, rms below 5 {core:.2f}, share above 5 {far:.4f}"
        )
    f = np.array(first20)
    print(
        f"first 20 true lines above 1e-3: seen {f[:, 0].mean():.4f}, all seen in "
        f"{(f[:, 0] == 1).mean():.3f}, false among them {f[:, 1].mean():.3f} a pattern"
    )
    print(
        f"deviation of lines alone: median {np.median(deviations) / 0.01:.1e} steps, "
        f"95 % {np.quantile(deviations, 0.95) / 0.01:.1e}"
    )
    t = np.array(times) * 1e3
    print(
        f"CPU ms a pattern: median {np.median(t):.1f}, mean {t.mean():.1f}, "
        f"max {t.max():.1f}"
    )


def measure_simulated(part: str, count: int) -> None:
    """Scans of the preset ``laboratory`` (what acts on rendering), truth known."""
    track = load_track("open/structure-type", part)
    n = len(track.ids)
    rows = np.linspace(0, n - 1, min(count, n)).astype(np.int64)
    offset = track.peaks.peak_offset
    these = [slice(offset[i], offset[i + 1]) for i in rows]
    peaks = PeakBatch(
        np.concatenate([track.peaks.two_theta[s] for s in these]),
        np.concatenate([track.peaks.intensity[s] for s in these]),
        np.concatenate([[0], np.cumsum([s.stop - s.start for s in these])]),
        wavelength=track.peaks.wavelength,
    )
    whole, samples = load_measurement("laboratory"), Samples(1, 0, len(rows))
    rendered = Measurement(
        tuple(e for e in whole.effects if e.acts_when == "rendered"), name="rendered"
    )
    scans = rendered.render(peaks, track.grid, samples, track.crystallite_size_nm[rows])
    first = SpectralLines(((Radiation.parse("CuKa").lines[0][0], 1.0),))
    truth = first.apply(peaks, samples, track.grid)
    for kind in (ZeroShift, SampleDisplacement):
        if (effect := rendered.get(kind)) is not None:
            truth = effect.apply(truth, samples, track.grid)
    x = track.grid.angles()
    ratios, foreign, seen, strong, alone = [], 0, 0, 0, []
    for k in range(len(rows)):
        lines = find_lines(x, scans.intensity[k], "CuKa", kind="measured")
        here = slice(truth.peak_offset[k], truth.peak_offset[k + 1])
        place, area = truth.two_theta[here], truth.intensity[here]
        got = lines.two_theta[:20]
        if len(got) == 0:
            continue
        off = got - nearest(place, got)
        reach = np.maximum(0.03, 0.3 * lines.fwhm[:20])
        foreign += int((np.abs(off) > reach).sum())
        # A line that no other of a tenth of its area comes near.
        for j in range(len(got)):
            near = np.abs(place - got[j]) < 2.5 * lines.fwhm[j]
            if near.sum() == 0 or abs(off[j]) > reach[j]:
                continue
            top = area[near].max()
            if (area[near] > 0.03 * top).sum() == 1:
                true = place[near][area[near].argmax()]
                ratios.append((got[j] - true) / lines.two_theta_error[j])
                alone.append(abs(got[j] - true))
        high = area > 0.05 * area.max()
        inside = high & (place < lines.two_theta_range[1]) & (place > x[0] + 0.2)
        strong += int(inside.sum())
        distance = np.abs(
            nearest(np.sort(lines.two_theta), place[inside]) - place[inside]
        )
        seen += int((distance < 0.1).sum())
    r = np.array(ratios)
    print(
        f"laboratory: {len(rows)} scans of {part}; in the first 20 lines foreign "
        f"{foreign / len(rows):.2f} a scan; true lines above 5 % within 0.1 degrees "
        f"{seen / strong:.3f}; lines alone: {len(r)}, |off| median "
        f"{np.median(alone):.4f}, off/error rms {np.sqrt((r**2).mean()):.2f}, median "
        f"{np.median(np.abs(r)):.2f}, share above 3 {(np.abs(r) > 3).mean():.3f}"
    )


def smoothed_maxima(x, y):
    """The baseline: smoothed maxima above a twentieth, as many would write it."""
    step = np.median(np.diff(x))
    smooth = savgol_filter(y, 9, 2)
    base = np.quantile(smooth, 0.3)
    noise = 1.4826 * np.median(np.abs(np.diff(y))) / np.sqrt(2)
    high = max(6 * noise, 0.03 * (smooth.max() - base))
    found, _ = find_peaks(smooth, prominence=high, distance=max(1, int(0.15 / step)))
    return x[found]


def judge(label, got, errors, first):
    """Of the first lines: how many near allowed ones; how many of these are found."""
    got = got[(got > 5.3) & (got < 75)]
    if len(got) < 4:
        return None
    hkl = allowed_hkl(label, min(got[-1] + 1.0, 89.0))
    places, zero = fit_cell(label, got, hkl)
    got_fixed = got - zero
    off = got_fixed - nearest(places, got_fixed)
    use = slice(0, first)
    distinct = places[np.diff(places, prepend=-9) > 0.05]
    distinct = distinct[distinct < got_fixed[use][-1] + 0.05][:first]
    seen = np.abs(nearest(np.sort(got_fixed), distinct) - distinct) < 0.05
    # How far apart allowed lines are says what a match by chance is worth.
    chance = min(1.0, 0.1 * len(distinct) / max(np.ptp(distinct), 1.0))
    r = np.abs(off[use])
    return (
        len(r),
        (r < 0.03).sum(),
        (r < 0.05).sum(),
        len(distinct),
        seen.sum(),
        chance,
        off,
        zero,
    )


def measure_measured(third: str) -> None:
    rows = [
        r for i, r in enumerate(load_named()) if (i % 3 == 0) == (third == "choose")
    ]
    find_lines(*rows[0][1].T, "CuKa")
    for name in ("find_lines", "smoothed maxima"):
        times, results, ratios = [], [], []
        for label, scan in rows:
            x, y = scan.T
            start = time.process_time()
            if name == "find_lines":
                lines = find_lines(x, y, "CuKa")
                got, errors = lines.two_theta, lines.two_theta_error
            else:
                got = smoothed_maxima(x, y)
                errors = np.full(len(got), 0.03)
            times.append(time.process_time() - start)
            result = judge(label, got, errors, 20)
            if result is None:
                results.append(
                    (label["id"], label["crystal_system"], 0, 0, 0, 1, 0, 0, 0.0)
                )
                continue
            inside = (got > 5.3) & (got < 75)
            off = result[6]
            ratios += list((off / errors[inside])[:20][np.abs(off[:20]) < 0.08])
            results.append(
                (label["id"], label["crystal_system"], *result[:6], result[7])
            )
        r = np.array([v[2:8] for v in results], float)
        n = r.sum(axis=0)
        foreign, middle = r[:, 0] - r[:, 2], np.median(np.abs(ratios))
        print(
            f"{name}: {len(rows)} scans; of the first 20 lines within 0.03: "
            f"{n[1] / n[0]:.3f}, 0.05: {n[2] / n[0]:.3f}; foreign a scan "
            f"{foreign.mean():.2f}, scans with <= 1: {(foreign <= 1).mean():.2f}, "
            f"lines a scan {r[:, 0].mean():.1f}; allowed positions up to the last of "
            f"them found {n[4] / n[3]:.3f}; off/error rms "
            f"{np.sqrt(np.mean(np.square(ratios))):.2f} median {middle:.2f}; CPU ms "
            f"median {1e3 * np.median(times):.1f} max {1e3 * max(times):.1f}"
        )
        if name == "find_lines":
            for v in results:
                if v[2] - v[4] > 1:
                    print(
                        "   ",
                        v[0],
                        v[1],
                        "lines",
                        v[2],
                        "near",
                        v[4],
                        "zero",
                        f"{v[8]:.3f}",
                    )


def primitive_of(label):
    """Stated cell, reduced: the primitive one of the group's centring."""
    cell, group = gemmi.UnitCell(*stated_cell(label)), space_group_of(label)
    centring = group.hm[0]
    if centring == "R" and abs(cell.gamma - 120.0) > 1.0:
        centring = "P"
    vector = gemmi.GruberVector(cell, centring)
    vector.niggli_reduce()
    return tuple(vector.cell_parameters())


def measure_cells(third: str, out: str | None) -> None:
    """Cells of measured scans: mapped within 1 % and 1 degree, first and among five."""
    rows = [
        r for i, r in enumerate(load_named()) if (i % 3 == 0) == (third == "choose")
    ]
    find_cells(find_lines(*rows[0][1].T, "CuKa"))
    by = {}
    lines_time, cells_time, ranks = [], [], {}
    for label, scan in rows:
        start = time.process_time()
        lines = find_lines(*scan.T, "CuKa")
        middle = time.process_time()
        cells = find_cells(lines)
        end = time.process_time()
        lines_time.append(middle - start)
        cells_time.append(end - middle)
        true = primitive_of(label)
        good = [same_lattice(true, c.primitive, 0.01, 1.0) for c in cells]
        rank = good.index(True) + 1 if any(good) else 0
        ranks[label["id"]] = rank
        by.setdefault(label["crystal_system"], []).append(rank)
    every = np.concatenate([np.array(v) for v in by.values()])
    for name, found in [*sorted(by.items()), ("all", every)]:
        r = np.array(found)
        print(
            f"{name:13s} {len(r):4d} first {(r == 1).mean():.3f} among five "
            f"{((r > 0) & (r <= 5)).mean():.3f} among twenty {(r > 0).mean():.3f}"
        )
    print(
        f"CPU ms median: lines {1e3 * np.median(lines_time):.1f}, cells "
        f"{1e3 * np.median(cells_time):.1f}"
    )
    if out:
        Path(out).write_text(json.dumps(ranks))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["clean", "simulated", "measured", "cells"])
    parser.add_argument("--part", default="dev")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--third", default="choose", choices=["choose", "rest"])
    parser.add_argument("--out")
    given = parser.parse_args()
    if given.what == "clean":
        measure_clean(given.part, given.count)
    elif given.what == "simulated":
        measure_simulated(given.part, given.count)
    elif given.what == "measured":
        measure_measured(given.third)
    else:
        measure_cells(given.third, given.out)
