"""Measure how lines of clean patterns are found: recall, false lines, errors, time.

    python tests/indexing/measure_lines.py clean [--part dev] [--count 100]
"""

import argparse
import time

import numpy as np

from pxrdbench.tracks.load import load_track
from pxrdbench.indexing.lines import find_lines

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
    false = {c: 0 for c in HEIGHT_CLASSES}
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
        sigma = np.degrees(0.9 * 0.15406 / size) / 2.3548 / np.cos(np.radians(two_theta / 2))
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
            first20.append((seen[use].mean(), wrong[: int((got <= place[use[-1]]).sum())].sum()))
    print(f"{len(rows)} patterns of {part}, {refused} refused")
    for c in HEIGHT_CLASSES:
        a, b, d, e = found[c]
        r = np.array(ratios[c])
        core = r[np.abs(r) < 5]
        print(
            f"height {c[0]:g}-{c[1]:g}: alone {b}/{a} = {b / max(a, 1):.3f}, blended "
            f"{e}/{d} = {e / max(d, 1):.3f}, false {false[c]}, off/error rms "
            f"{np.sqrt((r**2).mean()):.2f}, median |.| {np.median(np.abs(r)):.2f}, core "
            f"{np.sqrt((core**2).mean()):.2f}, > 5: {(np.abs(r) >= 5).mean():.4f}"
        )
    f = np.array(first20)
    print(
        f"first 20 true lines above 1e-3: seen {f[:, 0].mean():.4f}, all seen in "
        f"{(f[:, 0] == 1).mean():.3f}, false among them {f[:, 1].mean():.3f} a pattern; "
        f"deviation of lines alone: median {np.median(deviations) / 0.01:.1e} steps, "
        f"95 % {np.quantile(deviations, 0.95) / 0.01:.1e}"
    )
    t = np.array(times) * 1e3
    print(f"CPU ms a pattern: median {np.median(t):.1f}, mean {t.mean():.1f}, max {t.max():.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["clean"])
    parser.add_argument("--part", default="dev")
    parser.add_argument("--count", type=int, default=100)
    given = parser.parse_args()
    measure_clean(given.part, given.count)
