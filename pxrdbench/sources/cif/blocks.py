"""One data block of a CIF becomes a crystal, or a reason why it cannot.

pymatgen reads it, gemmi where pymatgen fails or gives less symmetry than the file
states; spglib then finds the symmetry of what was read. Where both give less than the
file states, a tolerance ten times as wide is tried: cells with angles of 90.03°, say.
"""

import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pxrdbench.crystal.structure import Crystal, CrystalBatch
from pxrdbench.crystal.symmetry.tables import load_symmetry_tables
from pxrdbench.errors import SourceError
from pxrdbench.sources.cif.repair import Repaired, find_element, repair_block
from pxrdbench.sources.labels.structure_type import LOOSE_SYMPREC, SYMPREC

# Atoms of a cell; the search for symmetry takes minutes beyond.
MAX_ATOMS = 8000
_B_OF_U = 8.0 * np.pi**2

# Reader and crystal of a block, or the reason why there is none.
Outcome = tuple[str, Crystal] | str


def load_readers() -> None:
    """Import what reading needs: it takes seconds, and belongs to no file."""
    os.environ.setdefault("SPGLIB_WARNING", "OFF")
    import gemmi
    import spglib
    from pymatgen.analysis import prototypes
    from pymatgen.io import cif

    del gemmi, spglib, prototypes, cif
    load_symmetry_tables()


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


@dataclass(frozen=True)
class ReadBlock:
    """What was read of one data block.

    Attributes:
        crystal: In the standard setting; None if it could not be read.
        reader: Library that could.
        symprec: Tolerance of the search for symmetry [Å].
        failure: Why there is no crystal: a reason, and details after a colon.
        repaired: The block as the readers saw it.
    """

    crystal: Crystal | None
    reader: str
    symprec: float
    failure: str
    repaired: Repaired


def read_block(text: str, symprec: float = SYMPREC) -> Outcome:
    """Read one data block: reader and crystal, or why there is none."""
    read = read_repaired(repair_block(text), symprec)
    return read.failure if read.crystal is None else (read.reader, read.crystal)


def read_repaired(repaired: Repaired, symprec: float = SYMPREC) -> ReadBlock:
    """Read one data block that `repair_block` has seen."""
    failures: list[str] = []
    for reader, read in (("pymatgen", _read_pymatgen), ("gemmi", _read_gemmi)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                structure = read(repaired.text)
                if len(structure) > MAX_ATOMS:
                    raise SourceError(f"more than {MAX_ATOMS} atoms in the cell")
                crystal, tolerance = _find_crystal(structure, repaired, symprec)
        except Exception as error:  # anything may happen on a broken file
            detail = " ".join(f"{type(error).__name__} {error}".split())
            failures.append(f"{reader} {detail[:200]}")
        else:
            return ReadBlock(crystal, reader, tolerance, "", repaired)
    return ReadBlock(None, "", symprec, _explain("; ".join(failures)), repaired)


def _find_crystal(
    structure: Any, repaired: Repaired, symprec: float
) -> tuple[Crystal, float]:
    """Find a symmetry that the block does not contradict, and its tolerance."""
    crystal = Crystal.from_pymatgen(structure, symprec)
    CrystalBatch.from_crystals([crystal])
    try:
        _check_symmetry(repaired, crystal)
    except SourceError:
        loose = symprec * LOOSE_SYMPREC / SYMPREC
        crystal = Crystal.from_pymatgen(structure, loose)
        CrystalBatch.from_crystals([crystal])
        _check_symmetry(repaired, crystal)
        return crystal, loose
    return crystal, symprec


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


def _check_symmetry(repaired: Repaired, crystal: Crystal) -> None:
    """Raise where fewer operations were found than the file states.

    Atoms are then missing or twice there: a reader took a special position for a
    general one, say.
    """
    import gemmi

    if repaired.block is None:
        return
    try:
        small = gemmi.make_small_structure_from_block(repaired.block)
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
    parser = CifParser.from_str(
        text,
        occupancy_tolerance=1.05,
        frac_tolerance=0.0 if _is_precise(text) else 1e-4,
        check_cif=False,
    )
    (structure,) = parser.parse_structures(primitive=False, on_error="raise")
    (tags,) = parser.as_dict().values()
    if any("Defaulting to P1" in warning for warning in parser.warnings):
        _refuse_unknown_symmetry(tags)
    displacement = _find_displacements(tags, structure.lattice)
    structure.add_site_property(
        "b_iso", [displacement.get(site.label, 0.0) for site in structure]
    )
    return structure


def _is_precise(text: str) -> bool:
    """Whether coordinates have so many decimals that 0.33341 is not a third."""
    import gemmi

    try:
        block = gemmi.cif.read_string(text).sole_block()
        values = list(block.find_values("_atom_site_fract_x"))
    except (ValueError, RuntimeError):
        return False
    decimals = [re.sub(r"[(].*|.*[.]", "", value) for value in values]
    return max(map(len, decimals), default=0) >= 6


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
        [Species(_gemmi_element(site), site.charge or None) for site in sites],
        [site.occ for site in sites],
        [_gemmi_displacement(site, lattice) for site in sites],
    )


def _gemmi_element(site: Any) -> str:
    """Symbol of a site; the type X stands for all that gemmi does not know."""
    name = str(site.element.name)
    return name if name != "X" else find_element(site.label, site.type_symbol) or name


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
    held: list[dict[Any, list[float]]] = []
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
        held[place].setdefault(specie, []).append(share)
    filled = [_fill(shares) for shares in held]
    return Structure(lattice, filled, points, site_properties={"b_iso": kept})


def _fill(shares: dict[Any, list[float]]) -> dict[Any, float]:
    """Add up what is on one place, each species from one row or several."""
    filled = {specie: sum(parts) for specie, parts in shares.items()}
    if sum(filled.values()) > 1.05:
        # Some files list an atom and its images too: then it is there once.
        filled = {specie: max(parts) for specie, parts in shares.items()}
    total = sum(filled.values())
    if total > 1.05:
        raise SourceError(f"occupancies above one: {total:g}")
    return {specie: share / max(total, 1.0) for specie, share in filled.items()}
