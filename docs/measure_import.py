"""Measure the import of CIFs: what is read, how fast, and in how much memory.

    python docs/measure_import.py read SHARED_DATA      every block, and who reads it
    python docs/measure_import.py speed SHARED_DATA N   N files: rate and memory

``read`` lets pymatgen and gemmi read each data block by themselves, without our help,
and lists what one of them reads and we do not. A reader counts as able if it gives a
cell with finite coordinates, real elements and no place filled more than once.
"""

# ruff: noqa: T201 - a script that talks

import sys
import tempfile
import time
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from pxrdbench.sources.cif.blocks import read_block, split_blocks
from pxrdbench.sources.cif.files import find_cifs, read_text
from pxrdbench.sources.structures.load import import_structures

ARCHIVES = ("amcsd", "cod_hard_cases", "tool_test_cifs", "iucr_powder_pdcif")


def pymatgen_reads(text: str) -> bool:
    """Whether pymatgen makes a structure of real elements of a block."""
    from pymatgen.core import DummySpecies
    from pymatgen.io.cif import CifParser

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            structure = CifParser.from_str(text).parse_structures(primitive=False)[0]
    except Exception:
        return False
    return len(structure) > 0 and not any(
        isinstance(specie, DummySpecies) for specie in structure.composition
    )


def gemmi_reads(text: str) -> bool:
    """Whether gemmi makes a cell of real elements of a block, none place overfull."""
    import gemmi

    try:
        block = gemmi.cif.read_string(text).sole_block()
        if not len(block.find("_atom_site_fract_", ["x", "y", "z"])):
            return False
        small = gemmi.make_small_structure_from_block(block)
        sites = small.get_all_unit_cell_sites()
    except Exception:
        return False
    if not sites or not small.cell.is_crystal() or small.spacegroup is None:
        return False
    fract = np.array([site.fract.tolist() for site in sites])
    values = np.append(fract, small.cell.parameters)
    if not np.isfinite(values).all() or any(s.element.name == "X" for s in sites):
        return False
    # A place counts as overfull if more than one atom is within 0.01 Å of it.
    matrix = np.array(small.cell.orth.mat.tolist()).T
    occupancy = np.array([site.occ for site in sites])
    for point in fract[:400]:
        apart = fract - point
        near = (((apart - np.rint(apart)) @ matrix) ** 2).sum(axis=1) < 1e-4
        if occupancy[near].sum() > 1.05:
            return False
    return True


def judge(place: tuple[str, str, str]) -> list[tuple[str, bool, bool, str]]:
    """Name of each block of a file, who reads it, and why we do not."""
    file, member, name = place
    found = []
    for block, text in split_blocks(read_text(file, member)):
        if "_atom_site" in text.lower():
            ours = read_block(text)
            found.append(
                (
                    f"{Path(file).stem}/{name}:{block}",
                    pymatgen_reads(text),
                    gemmi_reads(text),
                    ours if isinstance(ours, str) else "",
                )
            )
    return found


def compare(data: Path) -> None:
    """Print what each reader reads."""
    places = [p for n in ARCHIVES for p in find_cifs(data / "cifs" / f"{n}.zip")]
    with ProcessPoolExecutor() as pool:
        rows = [row for part in pool.map(judge, places, chunksize=8) for row in part]
    either = [row for row in rows if row[1] or row[2]]
    lost = [row for row in either if row[3]]
    print(f"{len(rows)} blocks with atoms in {len(places)} files")
    print(f"pymatgen reads {sum(r[1] for r in rows)}, gemmi {sum(r[2] for r in rows)}")
    print(f"one or the other {len(either)}, we {sum(not row[3] for row in rows)}")
    print(f"read by one of them and not by us: {len(lost)}")
    for name, _, _, reason in lost:
        print(f"  {name}: {reason[:110]}")
    reasons = Counter(row[3].split(":")[0] for row in rows if row[3])
    for reason, count in reasons.most_common():
        print(f"{count:4d}  {reason}")


def resident_mb() -> list[float]:
    """Memory of this process and of its children [MB] (Linux)."""
    import multiprocessing

    total = []
    for pid in ("self", *(p.pid for p in multiprocessing.active_children())):
        status = Path(f"/proc/{pid}/status").read_text()
        total.append(int(status.split("VmRSS:")[1].split()[0]) / 1000)
    return total


def speed(data: Path, n_files: int) -> None:
    """Import copies of the ICSD fixtures and AMCSD files, renumbered."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "export")
        place.mkdir()
        texts = [p.read_bytes() for p in sorted((data / "icsd_layout").glob("*.cif"))]
        texts += [
            read_text(file, member).encode()
            for file, member, _ in find_cifs(data / "cifs" / "amcsd.zip")[:200]
        ]
        for number in range(n_files):
            (place / f"{number:07d}.cif").write_bytes(texts[number % len(texts)])
        memory = []

        def tell(done: int, total: int, cpu: float) -> None:
            del cpu
            if done % max(total // 10, 1) == 0:
                memory.append((done, *resident_mb()))

        start, cpu = time.monotonic(), time.process_time()
        report = import_structures(
            "cif", place, Path(folder, "out"), workers=2, on_progress=tell
        )
        wall, own = time.monotonic() - start, time.process_time() - cpu
        size = sum(f.stat().st_size for f in Path(folder, "out").glob("*.parquet"))
        rate = report.n_files / (report.cpu_seconds + own)
        print(f"{report.n_files} files, {report.n_kept} crystals, {wall:.0f} s")
        print(f"workers {report.cpu_seconds:.1f} s, main process {own:.1f} s of CPU")
        print(
            f"{rate:.1f} files a second and core; 270,000: {75 / rate:.1f} h of a core"
        )
        print(f"crystals.parquet {size / report.n_kept:.0f} bytes a crystal")
        for done, *sizes in memory:
            print(f"{done:7d} files: {' '.join(f'{x:.0f}' for x in sizes)} MB")


if __name__ == "__main__":
    task, path, *rest = sys.argv[1:]
    if task == "read":
        compare(Path(path))
    else:
        speed(Path(path), int(rest[0]))
