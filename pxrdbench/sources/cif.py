"""Crystals from CIF files: folders and archives of them, whatever state they are in.

Each data block with atoms is an entry. pymatgen reads it, gemmi where pymatgen
fails; spglib then finds the symmetry of what was read. An entry that cannot be read
is left out with its reason, and costs nothing but itself.
"""

import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pxrdbench.crystal.batches import join_crystals
from pxrdbench.crystal.structure import Crystal, CrystalBatch
from pxrdbench.crystal.symmetry import load_symmetry_tables
from pxrdbench.errors import SourceError
from pxrdbench.sources.guarded import Lost, run_guarded
from pxrdbench.sources.materials_project import Progress, ReadReport
from pxrdbench.sources.structure_type import SYMPREC

# A larger file holds measured reflections or an attack, hardly a crystal.
MAX_BYTES = 20_000_000
# Atoms of a cell [count]; the search for symmetry takes minutes beyond.
MAX_ATOMS = 4000
# Crystals are packed in groups of this size, so that memory stays flat.
_PACK = 1000
_B_OF_U = 8.0 * np.pi**2

# (Root of the search, file, member of the archive or "").
_Place = tuple[str, str]
# Reader and crystal of an entry, or the reason why there is none.
_Outcome = tuple[str, Crystal] | str


@dataclass(frozen=True)
class CifReport(ReadReport):
    """What became of the entries of CIF files.

    A failure's message is a reason, and details after a colon.

    Attributes:
        n_rows: Entries: data blocks with atoms, and files that hold none.
        failures: Id and message of each entry that gave no crystal.
        n_files: Files that were opened.
        readers: Entries read, by the library that could.
    """

    n_files: int = 0
    readers: dict[str, int] = field(default_factory=dict)

    @property
    def reasons(self) -> dict[str, int]:
        """Failures by reason, the most frequent first."""
        found = Counter(text.split(":")[0] for _, text in self.failures)
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def read_cifs(
    paths: str | Path | Sequence[str | Path],
    symprec: float = SYMPREC,
    workers: int | None = None,
    progress: Progress | None = None,
    *,
    time_limit: float = 20.0,
) -> tuple[CrystalBatch, tuple[str, ...], CifReport]:
    """Read crystals from CIF files and bring them into the standard setting.

    Partial occupancies and isotropic displacements are kept; anisotropic ones
    become their isotropic equivalent.

    Args:
        paths: CIF files, folders (searched to any depth) and zip archives, or one of
            these. Archives are read in place, never unpacked.
        symprec: Tolerance of the search for symmetry [Å].
        workers: Processes; as many as there are cores if None. The result does not
            depend on it.
        progress: Is called with the files done and the files there are.
        time_limit: Longest time for one file [s].

    Returns:
        Crystals, their ids, and what failed. An id is the path of the file within
        its folder or archive without suffix, and ":block" where a file holds
        several crystals.

    Raises:
        SourceError: If a path does not exist, or is no folder, archive or CIF.
    """
    places = find_cifs(paths)
    tasks = [(file, member, symprec) for file, member, _ in places]
    outcomes = run_guarded(_read_place, tasks, workers, time_limit)
    packed: list[CrystalBatch] = []
    crystals: list[Crystal] = []
    names: dict[str, None] = {}
    failures: list[tuple[str, str]] = []
    readers: Counter[str] = Counter()
    for done, ((_, _, name), outcome_of_file) in enumerate(
        zip(places, outcomes, strict=True), start=1
    ):
        if isinstance(outcome_of_file, Lost):
            entries: list[tuple[str, _Outcome]] = [("", outcome_of_file.reason)]
        else:
            entries = outcome_of_file
        for block, outcome in entries:
            entry = f"{name}:{block}" if len(entries) > 1 else name
            if isinstance(outcome, str):
                failures.append((entry, outcome))
                continue
            readers[outcome[0]] += 1
            crystals.append(outcome[1])
            names[_unused(entry, names)] = None
        if len(crystals) >= _PACK:
            packed.append(CrystalBatch.from_crystals(crystals))
            crystals = []
        if progress:
            progress(done, len(places))
    packed.append(CrystalBatch.from_crystals(crystals))
    report = CifReport(
        len(names) + len(failures), tuple(failures), len(places), dict(readers)
    )
    return join_crystals(packed), tuple(names), report


def _unused(name: str, taken: dict[str, None]) -> str:
    """Append a number to a name until it is new."""
    number, unique = 1, name
    while unique in taken:
        number += 1
        unique = f"{name}:{number}"
    return unique


def find_cifs(
    paths: str | Path | Sequence[str | Path],
) -> list[tuple[str, str, str]]:
    """Find CIF files: path, member of the archive or "", and name of each.

    Raises:
        SourceError: If a path does not exist, or is no folder, archive or CIF.
    """
    roots = [paths] if isinstance(paths, str | Path) else list(paths)
    places: list[tuple[str, str, str]] = []
    for root in map(Path, roots):
        if root.is_dir():
            files = sorted(root.rglob("*"))
            places += [
                (str(file), "", _stem(file.relative_to(root).as_posix()))
                for file in files
                if file.suffix.lower() == ".cif" and file.is_file()
            ]
        elif not root.exists():
            raise SourceError(f"{root}: there is no such file or folder")
        elif zipfile.is_zipfile(root):
            with zipfile.ZipFile(root) as archive:
                members = [info.filename for info in archive.infolist()]
            places += [
                (str(root), member, _stem(member))
                for member in members
                if member.lower().endswith(".cif")
            ]
        elif root.suffix.lower() == ".cif":
            places.append((str(root), "", root.stem))
        else:
            raise SourceError(f"{root} is no folder, zip archive or .cif file")
    return places


def _stem(name: str) -> str:
    return name[: -len(".cif")]


def _read_place(task: tuple[str, str, float]) -> list[tuple[str, _Outcome]]:
    """Read all entries of one file: block and outcome of each."""
    file, member, symprec = task
    try:
        text = _read_text(file, member)
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        # RuntimeError: an encrypted member; NotImplementedError: its compression.
        return [("", f"the file cannot be read: {error}")]
    except SourceError as error:
        return [("", str(error))]
    entries = [
        (name, read_block(block, symprec))
        for name, block in split_blocks(text)
        if "_atom_site" in block.lower()
    ]
    return entries or [("", "no atoms")]


def _read_text(file: str, member: str) -> str:
    """Read a file or a member of an archive, but never more than ``MAX_BYTES``."""
    if member:
        with _open_archive(file).open(member) as stream:
            data = stream.read(MAX_BYTES + 1)
    else:
        with Path(file).open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise SourceError(f"the file is larger than {MAX_BYTES // 10**6} MB")
    return data.decode("utf-8", errors="replace").replace("\r\n", "\n")


@lru_cache(maxsize=1)
def _open_archive(file: str) -> zipfile.ZipFile:
    """Keep the archive open that is being read: its list of members may be long."""
    return zipfile.ZipFile(file)


def split_blocks(text: str) -> list[tuple[str, str]]:
    """Cut a CIF into its data blocks: name and text of each.

    Lines of text fields, which begin and end with a semicolon, do not count.
    """
    blocks: list[tuple[str, list[str]]] = []
    is_text_field = False
    for line in text.splitlines():
        if line.startswith(";"):
            is_text_field = not is_text_field
        head = re.match(r"data_(\S*)", line, re.IGNORECASE)
        if head and not is_text_field:
            blocks.append((head[1], []))
        if blocks:
            blocks[-1][1].append(line)
    return [(name, "\n".join(lines) + "\n") for name, lines in blocks]


def read_block(text: str, symprec: float = SYMPREC) -> _Outcome:
    """Read one data block: reader and crystal, or why there is none."""
    failures = []
    for reader, read in (("pymatgen", _read_pymatgen), ("gemmi", _read_gemmi)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                structure = read(text)
                if len(structure) > MAX_ATOMS:
                    raise SourceError(f"more than {MAX_ATOMS} atoms in the cell")
                crystal = Crystal.from_pymatgen(structure, symprec)
                CrystalBatch.from_crystals([crystal])
                _check_symmetry(text, crystal)
        except Exception as error:  # anything may happen on a broken file
            detail = " ".join(f"{type(error).__name__} {error}".split())
            failures.append(f"{reader} {detail[:200]}")
        else:
            return reader, crystal
    return _explain("; ".join(failures))


# What the messages of both readers tell, the first that fits.
_REASONS = (
    ("too many atoms", "more than [0-9]+ atoms"),
    ("occupancies above one", "exceeded tolerance|occupancies above one"),
    ("an unknown element", "is no element|not a valid Element"),
    ("no atoms with fractional coordinates", "'_atom_site_|no fractional"),
    ("no cell", "no cell|reshape|Lattice[.]|thickness"),
    ("the space group is not understood", "not understood"),
    ("a coordinate that is no number", "to float|not finite"),
    ("lower symmetry than the file states", "lower symmetry"),
    ("no symmetry found", "no symmetry|equivalent atoms"),
)


def _explain(details: str) -> str:
    """Name the reason of a failure, and keep the details."""
    for reason, pattern in _REASONS:
        if re.search(pattern, details):
            return f"{reason}: {details}"
    return f"no valid CIF: {details}"


def _check_symmetry(text: str, crystal: Crystal) -> None:
    """Raise where fewer operations were found than the file states.

    Atoms are then missing or twice there: a reader took a special position for a
    general one, say.
    """
    import gemmi

    try:
        small = gemmi.make_small_structure_from_block(
            gemmi.cif.read_string(text).sole_block()
        )
        stated = len(small.spacegroup.operations().sym_ops)
    except (AttributeError, ValueError, RuntimeError):
        return  # gemmi cannot tell
    tables = load_symmetry_tables()
    found = len(tables.operators(crystal.space_group)[0])
    if found < stated * tables.n_centring[crystal.space_group]:
        raise SourceError(
            f"lower symmetry, group {crystal.space_group}, than the file states, "
            f"{small.spacegroup.xhm()}"
        )


def _read_pymatgen(text: str) -> Any:
    """Make a structure with pymatgen.

    It raises whatever comes to its mind on a broken file.
    """
    from pymatgen.io.cif import CifParser

    # Sums of rounded occupancies end a little above one.
    parser = CifParser.from_str(text, occupancy_tolerance=1.05, check_cif=False)
    (structure,) = parser.parse_structures(primitive=False, on_error="raise")
    (tags,) = parser.as_dict().values()
    if any("Defaulting to P1" in warning for warning in parser.warnings):
        _refuse_unknown_symmetry(tags)
    displacement = _find_displacements(tags, structure.lattice)
    structure.add_site_property(
        "b_iso", [displacement.get(site.label, 0.0) for site in structure]
    )
    return structure


def _refuse_unknown_symmetry(tags: dict[str, Any]) -> None:
    """Raise where a group is named that the reader did not understand.

    A block that says nothing of symmetry lists all atoms: x, y, z is the default.
    """
    for tag, value in tags.items():
        is_group = re.match(r"_(symmetry|space_group)_.*(name|number|hall)", tag, re.I)
        if is_group and str(value).replace(" ", "") not in {"?", ".", "P1", "1", ""}:
            raise SourceError(f"the space group is not understood: {value}")


def _find_displacements(tags: dict[str, Any], lattice: Any) -> dict[str, float]:
    """Displacement B [Å²] of each label; below zero, as some refinements, is none."""
    found: dict[str, float] = {}
    aniso = tags.get("_atom_site_aniso_label")
    for prefix, factor in (("U", _B_OF_U), ("B", 1.0)):
        columns = [
            tags.get(f"_atom_site_aniso_{prefix}_{part}")
            for part in ("11", "22", "33", "23", "13", "12")
        ]
        if aniso and all(columns):
            for label, texts in zip(aniso, zip(*columns, strict=False), strict=False):
                numbers = [_number(text) for text in texts]
                if None not in numbers:
                    found[label] = factor * _equivalent(numbers, lattice)
        isotropic = tags.get(f"_atom_site_{prefix}_iso_or_equiv", [])
        labels = tags.get("_atom_site_label", [])
        for label, value in zip(labels, isotropic, strict=False):
            number = _number(value)
            if number is not None:
                found[label] = factor * number
    return {label: max(value, 0.0) for label, value in found.items()}


def _equivalent(values: Sequence[float | None], lattice: Any) -> float:
    """Isotropic equivalent of a tensor: 1/3 Σ_ij U_ij a*_i a*_j a_i·a_j."""
    xx, yy, zz, yz, xz, xy = values
    tensor = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]], np.float64)
    star = np.array(lattice.reciprocal_lattice_crystallographic.abc)
    metric = np.asarray(lattice.matrix) @ np.asarray(lattice.matrix).T
    return float((tensor * np.outer(star, star) * metric).sum() / 3.0)


def _number(text: str) -> float | None:
    """Read a number with or without its uncertainty in brackets."""
    match = re.fullmatch(r"\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)(?:\(\d*\))?\s*", str(text))
    try:
        return float(match[1]) if match else None
    except ValueError:
        return None


def _read_gemmi(text: str) -> Any:
    """Make a structure with gemmi.

    It raises whatever comes to its mind on a broken file.
    """
    import gemmi
    from pymatgen.core import Lattice, Species

    block = gemmi.cif.read_string(text).sole_block()
    # gemmi takes a missing column for zeros.
    if not len(block.find("_atom_site_fract_", ["x", "y", "z"])):
        raise SourceError("no fractional coordinates")
    small = gemmi.make_small_structure_from_block(block)
    if not small.cell.is_crystal():
        raise SourceError("no cell")
    if small.spacegroup is None:
        raise SourceError("the space group is not understood")
    sites = small.get_all_unit_cell_sites()
    if len(sites) > MAX_ATOMS:
        raise SourceError(f"more than {MAX_ATOMS} atoms in the cell")
    lattice = Lattice.from_parameters(*small.cell.parameters)
    fract = np.array([site.fract.tolist() for site in sites])
    return _merge(
        lattice,
        fract,
        [Species(site.element.name, site.charge or None) for site in sites],
        [site.occ for site in sites],
        [_gemmi_displacement(site, lattice) for site in sites],
    )


def _gemmi_displacement(site: Any, lattice: Any) -> float:
    value = float(site.u_iso)
    if not value and site.aniso.nonzero():
        u = site.aniso
        value = _equivalent([u.u11, u.u22, u.u33, u.u23, u.u13, u.u12], lattice)
    return max(_B_OF_U * value, 0.0)


def _merge(
    lattice: Any,
    fract: np.ndarray,
    species: list[Any],
    occupancy: list[float],
    b_iso: list[float],
) -> Any:
    """Put species of one place (within 0.01 Å) together on one site."""
    from pymatgen.core import Structure

    matrix = np.asarray(lattice.matrix)
    points: list[np.ndarray] = []
    held: list[dict[Any, float]] = []
    kept: list[float] = []
    for point, specie, share, value in zip(
        fract, species, occupancy, b_iso, strict=True
    ):
        if not share > 0.0:
            continue
        place = -1
        if points:
            apart = np.array(points) - point
            apart = (apart - np.rint(apart)) @ matrix
            distance = (apart**2).sum(axis=1)
            place = int(distance.argmin())
            place = place if distance[place] < 0.01**2 else -1
        if place < 0:
            points.append(point)
            held.append({})
            kept.append(value)
        held[place][specie] = held[place].get(specie, 0.0) + share
    for shares in held:
        total = sum(shares.values())
        if total > 1.05:
            raise SourceError(f"occupancies above one: {total:g}")
        for specie in shares:
            shares[specie] /= max(total, 1.0)
    return Structure(lattice, held, points, site_properties={"b_iso": kept})
