"""How far the list depends on the way of measuring: the same scan, written otherwise.

    python docs/measure_agreement.py [--model MODEL] [--out F.json]

28 measured scans: eight of laboratories and journals and every 36th of ``rruff_agi``,
beginning with the tenth. With ``--others`` it is every twelfth of ``rruff_agi``
beginning with the fourth, 61 scans that are none of the 28: on those the number and
the size of the shifts were chosen that prediction averages over. Each is predicted as
it is and

mo      at the angles of molybdenum, each line's wavelength times the same factor
mo even the same, interpolated linearly to as many even steps
added   pairs of neighbouring points added up: twice the step, the same counts
halved  every second point left out: twice the step, half of the counts

What is printed of each: how many of the five likeliest groups are the same, the share
of scans in which all five are, the share with the same first guess; and for scans where
the five differ, the probability of what was exchanged, and how far apart the groups at
the edge of the list were. Needs PXRDBENCH_TEST_DATA.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from score_measured import COPPER, read_agi

from pxrdbench.diffraction.radiation import Radiation
from pxrdbench.prediction.predict import predict_pattern
from pxrdbench.prediction.result import Prediction
from pxrdbench.sources.scans.pattern import MeasuredPattern
from pxrdbench.sources.scans.read import make_pattern, read_scan

LABORATORIES = (
    "formats/dara/GeO2-ZnO_700C_60min.xrdml",
    "formats/pynxtools/XRD-918-16_10.xrdml",
    "formats/xerus/MnF2+TiO2_parsed.csv",
    "formats/xerus/HoB21.ras",
    "formats/gsas2/PBSO4.XRA",
    "formats/powdR/D5000_1.RAW",
    "formats/xrdpattern/data.cif",
    "formats/xylib/Cu3Au-1.raw",
)
MO_KA1 = 0.709317  # [Å]
FIRST, EVERY, MINERALS = 9, 36, 20
OTHER_FIRST, OTHER_EVERY = 3, 12
TOP = 5


def read_scans(
    data: Path, is_other: bool = False
) -> Iterator[tuple[MeasuredPattern, Radiation]]:
    """The 28, each with its radiation; copper where the file does not tell."""
    if is_other:
        for entry in islice(read_agi(data), OTHER_FIRST, None, OTHER_EVERY):
            yield entry.pattern, entry.radiation
        return
    for name in LABORATORIES:
        pattern = read_scan(data / name)[0]
        yield pattern, pattern.radiation or COPPER
    for entry in islice(read_agi(data), FIRST, FIRST + EVERY * MINERALS, EVERY):
        yield entry.pattern, entry.radiation


def rewrite(
    pattern: MeasuredPattern, radiation: Radiation
) -> dict[str, tuple[MeasuredPattern, Radiation]]:
    """The same scan as other instruments would have written it."""
    x, y = pattern.two_theta, pattern.intensity
    factor = MO_KA1 / radiation.lines[0][0]
    lines = tuple((length * factor, share) for length, share in radiation.lines)
    molybdenum = Radiation(lines, "Mo")
    moved = np.degrees(2.0 * np.arcsin(np.sin(np.radians(x / 2.0)) * factor))
    even = np.linspace(moved[0], moved[-1], len(moved))
    pairs = len(x) // 2 * 2
    added = (
        x[:pairs].reshape(-1, 2).mean(axis=1),
        y[:pairs].reshape(-1, 2).sum(axis=1),
    )
    scans = {
        "mo": (moved, y, molybdenum),
        "mo even": (even, np.interp(even, moved, y), molybdenum),
        "added": (*added, radiation),
        "halved": (x[::2], y[::2], radiation),
    }
    return {
        way: (make_pattern(angles, counts, tube, name=pattern.name), tube)
        for way, (angles, counts, tube) in scans.items()
    }


def compare(first: Prediction, second: Prediction) -> dict[str, Any]:
    """What two lists have in common, and what their difference is worth."""
    lists = [[c.space_group for c in p.candidates[:TOP]] for p in (first, second)]
    shared = set(lists[0]) & set(lists[1])
    chance = {c.space_group: c.probability for c in first.candidates}
    gone, come = ([chance[g] for g in found if g not in shared] for found in lists)
    return {
        "scan": first.name,
        "shared": len(shared),
        "same_first": lists[0][0] == lists[1][0],
        # Both by the list of the scan as it is.
        "gone": round(sum(gone), 4),
        "come": round(sum(come), 4),
        "largest_change": round(
            max(abs(chance[c.space_group] - c.probability) for c in second.candidates),
            4,
        ),
    }


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over scans."""
    differ = [row for row in rows if row["shared"] < TOP]
    return {
        "scans": len(rows),
        "mean_shared_of_5": round(float(np.mean([r["shared"] for r in rows])), 2),
        "same_five": len(rows) - len(differ),
        "same_first": sum(row["same_first"] for row in rows),
        "mean_largest_change_of_probability": round(
            float(np.mean([row["largest_change"] for row in rows])), 4
        ),
        # In the list of the scan as it is: what left it, and what took its place.
        "mean_probability_gone": round(
            float(np.mean([row["gone"] for row in differ])) if differ else 0.0, 4
        ),
        "mean_probability_come": round(
            float(np.mean([row["come"] for row in differ])) if differ else 0.0, 4
        ),
    }


def main() -> None:
    """Predict all, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model")
    parser.add_argument("--others", action="store_true", help="the 61 instead")
    parser.add_argument("--out", type=Path, help="JSON file; else on stdout")
    arguments = parser.parse_args()
    data = Path(os.environ["PXRDBENCH_TEST_DATA"])
    rows: dict[str, list[dict[str, Any]]] = {}
    seconds = []
    for pattern, radiation in read_scans(data, arguments.others):
        start = time.process_time()
        whole = predict_pattern(pattern, radiation, model=arguments.model)
        seconds.append(time.process_time() - start)
        for way, (other, tube) in rewrite(pattern, radiation).items():
            second = predict_pattern(other, tube, model=arguments.model)
            rows.setdefault(way, []).append(compare(whole, second))
    record = {
        "median_cpu_seconds_of_a_scan": round(float(np.median(seconds)), 3),
        "summary": {way: summarise(found) for way, found in rows.items()},
        "scans_that_differ": {
            way: [row for row in found if row["shared"] < TOP]
            for way, found in rows.items()
        },
    }
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    if arguments.out:
        arguments.out.write_text(text, "utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
