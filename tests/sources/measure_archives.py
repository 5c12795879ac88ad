"""What is read of the shared archives: one line an input, to compare two versions.

    python tests/sources/measure_archives.py > before.txt  # needs PXRDBENCH_TEST_DATA
    (change the readers)
    python tests/sources/measure_archives.py > before.txt
    python tests/sources/measure_archives.py before.txt after.txt

PXRDBENCH_TEST_DATA names the shared data. A line of a crystal: formula, group, atoms
and volume of the cell, mean distance to the nearest neighbour [Å], sum of occupancies
and mean B of the sites. These do not depend on which of the equivalent descriptions of
a crystal was found. A line of a scan: points, first and last angle, radiation, sum of
intensities. Or the reason of a refusal.
"""

import os
import sys
import warnings
import zipfile
from itertools import chain
from pathlib import Path

import numpy as np

CIFS = ("amcsd", "cod_hard_cases", "tool_test_cifs", "iucr_powder_pdcif")


def list_cifs(root):
    from pxrdbench.sources.cif import files

    for name in CIFS:
        for file, member, stem in files.find_cifs(root / "cifs" / f"{name}.zip"):
            try:
                entries = files._read_place((file, member, 0.01))
            except Exception as error:
                yield f"{name}/{stem}\tCRASH {type(error).__name__} {error}"
                continue
            for number, (block, outcome) in enumerate(entries):
                key = f"{name}/{stem}:{number}:{block}"
                if isinstance(outcome, str):
                    yield f"{key}\trefused\t{outcome[:160]}"
                else:
                    yield f"{key}\tread\t{describe(outcome[1])}"


def describe(crystal):
    from pxrdbench.sources.structures.entry import crystal_formula

    structure = crystal.to_pymatgen()
    shown = (
        f"{crystal_formula(crystal)[0]} {crystal.space_group} {len(structure)} atoms "
        f"{crystal.volume:.1f}"
    )
    if 1 < len(structure) <= 600:
        distance = np.array(structure.distance_matrix)
        np.fill_diagonal(distance, np.inf)
        shown += f" nearest {distance.min(axis=1).mean():.2f}"
    b_iso = np.mean([site.b_iso for site in crystal.sites])
    filled = sum(site.occupancy for site in crystal.sites)
    return f"{shown} sites {len(crystal.sites)} filled {filled:.2f} B {b_iso:.2f}"


def list_scans(root):
    from pxrdbench.errors import PxrdbenchError
    from pxrdbench.sources.scans.read import read_scan_bytes

    for path in sorted((root / "formats").rglob("*")):
        if path.is_file():
            yield from _scan(
                read_scan_bytes, PxrdbenchError, path.name, path.read_bytes(),
                str(path.relative_to(root)),
            )  # fmt: skip
    for path in sorted((root / "experimental").glob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    yield from _scan(
                        read_scan_bytes, PxrdbenchError, Path(info.filename).name,
                        archive.read(info), f"{path.stem}/{info.filename}",
                    )  # fmt: skip
    for path in sorted((root / "rruff").glob("*case_*.csv")):
        yield from _scan(
            read_scan_bytes, PxrdbenchError, path.name, path.read_bytes(), path.name
        )


def _scan(read, refusal, name, data, key):
    try:
        scans = read(data, name)
    except refusal as error:
        yield f"{key}\trefused\t{str(error)[:160]}"
        return
    except Exception as error:
        yield f"{key}\tCRASH {type(error).__name__} {error}"
        return
    for number, scan in enumerate(scans):
        radiation = scan.radiation
        lines = "" if radiation is None else " ".join(
            f"{w:.5f}*{share:.2f}" for w, share in radiation.lines
        )  # fmt: skip
        yield (
            f"{key}:{number}\tread\t{len(scan)} points {scan.two_theta[0]:.3f}"
            f"-{scan.two_theta[-1]:.3f} sum {scan.intensity.sum():.6g} "
            f"sigma {scan.sigma is not None} radiation {lines or None}"
        )


def compare(before, after):
    """Lines that differ, by kind; how many are equal."""
    old, new = (
        dict(line.split("\t", 1) for line in Path(p).read_text().splitlines())
        for p in (before, after)
    )
    kinds = {}
    for key in sorted(old.keys() | new.keys()):
        one, two = old.get(key, "absent"), new.get(key, "absent")
        states = one.split("\t")[0], two.split("\t")[0]
        if one == two or states == ("refused", "refused"):
            kinds.setdefault("same", []).append(key)
            continue
        kinds.setdefault(f"{states[0]} -> {states[1]}", []).append(key)
        print(f"{key}\n  - {one}\n  + {two}")
    for kind, keys in sorted(kinds.items()):
        print(f"{len(keys):6d} {kind}")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if len(sys.argv) == 3:
        compare(*sys.argv[1:])
    else:
        data = Path(os.environ["PXRDBENCH_TEST_DATA"])
        for line in chain(list_cifs(data), list_scans(data)):
            print(line.encode("utf-8", "replace").decode())
