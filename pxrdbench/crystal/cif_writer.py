"""One crystal as a CIF, in the standard setting, with all operators.

References:
    Hall, Allen & Brown (1991), Acta Cryst. A47, 655 (the format); IUCr core
    dictionary 2.4 (the names).
"""

import re

import numpy as np

from pxrdbench.crystal.structure import Crystal, CrystalBatch, Site
from pxrdbench.crystal.symmetry.tables import (
    TRANSLATION_DENOMINATOR,
    crystal_system,
    find_wyckoff_index,
    load_symmetry_tables,
)

# Names of data blocks are limited to 75 characters without blanks (CIF 1.1).
_LONGEST_NAME = 75


def write_cif(crystal: Crystal, name: str = "crystal") -> str:
    """Write a crystal as the text of a CIF.

    Args:
        crystal: In the standard setting.
        name: Of the data block; characters that a name must not hold become "_".

    Returns:
        Text that ends in a line feed. Coordinates have 12 decimals, so that a reader
        finds the same crystal.

    Raises:
        CrystalError: If the crystal cannot be.
    """
    CrystalBatch.from_crystals([crystal])
    block = re.sub(r"[^!-~]", "_", name)[:_LONGEST_NAME] or "crystal"
    lines = [
        f"data_{block}",
        "_audit_creation_method 'pxrdbench'",
        *_formula_lines(crystal),
        *_symmetry_lines(crystal.space_group),
        *_cell_lines(crystal),
        *_operator_lines(crystal.space_group),
        *_species_lines(crystal.sites),
        *_site_lines(crystal),
    ]
    return "\n".join(lines) + "\n"


def _formula_lines(crystal: Crystal) -> list[str]:
    """Content of the cell, elements by the alphabet."""
    tables = load_symmetry_tables()
    rows = tables.position_rows(crystal.space_group)
    content: dict[str, float] = {}
    for site in crystal.sites:
        row = rows[find_wyckoff_index(crystal.space_group, site.wyckoff_letter)]
        share = float(tables.multiplicity[row]) * site.occupancy
        content[site.element] = content.get(site.element, 0.0) + share
    parts = [f"{element}{content[element]:.6g}" for element in sorted(content)]
    return [f"_chemical_formula_sum '{' '.join(parts)}'", "_cell_formula_units_Z 1"]


def _symmetry_lines(space_group: int) -> list[str]:
    import spglib

    setting = spglib.get_spacegroup_type(
        int(load_symmetry_tables().hall_number[space_group])
    )
    # "F d -3 m :2" tells the second origin, "R -3 m :H" hexagonal axes, as in the
    # core dictionary's examples; other settings are the first of their group.
    symbol = _spaced(setting.international_short)
    if setting.choice in ("2", "H"):
        symbol += f" :{setting.choice}"
    return [
        f"_space_group_IT_number {space_group}",
        f"_space_group_name_H-M_alt '{symbol}'",
        # Hall symbols hold " (an axis on a face diagonal), never a single quote.
        f"_space_group_name_Hall '{setting.hall_symbol}'",
        f"_space_group_crystal_system {crystal_system(space_group)}",
    ]


def _spaced(symbol: str) -> str:
    """Set blanks between the parts of a short symbol: Fd-3m becomes F d -3 m."""
    parts = re.findall(r"[A-Z]|-?\d(?:_\d)?(?:/[a-z])?|[a-z]", symbol)
    return " ".join(part.replace("_", "") for part in parts)


def _cell_lines(crystal: Crystal) -> list[str]:
    names = [
        "length_a",
        "length_b",
        "length_c",
        "angle_alpha",
        "angle_beta",
        "angle_gamma",
    ]
    values = zip(names, crystal.lattice, strict=True)
    return [
        *(f"_cell_{name} {value:.13g}" for name, value in values),
        f"_cell_volume {crystal.volume:.8g}",
    ]


def _operator_lines(space_group: int) -> list[str]:
    rotations, translations = load_symmetry_tables().operators(space_group)
    lines = ["loop_", "_space_group_symop_id", "_space_group_symop_operation_xyz"]
    pairs = zip(rotations, translations, strict=True)
    for number, (rotation, translation) in enumerate(pairs, start=1):
        lines.append(f"{number} '{format_operator(rotation, translation)}'")
    return lines


def format_operator(rotation: np.ndarray, translation: np.ndarray) -> str:
    """Write an operator as coordinates: ``-y,x-y,z+1/3``.

    Args:
        rotation: Matrix of -1, 0, 1.
        translation: In 1/24; whole lattice translations are dropped.
    """
    parts = []
    for row, shift in zip(rotation.tolist(), translation.tolist(), strict=True):
        terms = [
            f"{'-' if factor < 0 else '+'}{axis}"
            for factor, axis in zip(row, "xyz", strict=True)
            if factor
        ]
        part = "".join(terms).removeprefix("+")
        wrapped = shift % TRANSLATION_DENOMINATOR
        if wrapped:
            divisor = int(np.gcd(wrapped, TRANSLATION_DENOMINATOR))
            part += f"+{wrapped // divisor}/{TRANSLATION_DENOMINATOR // divisor}"
        parts.append(part)
    return ",".join(parts)


def _species_lines(sites: tuple[Site, ...]) -> list[str]:
    """Formal charges, where an atom has one."""
    charges = {_type_symbol(site): site.charge for site in sites}
    if not any(charges.values()):
        return []
    return [
        "loop_",
        "_atom_type_symbol",
        "_atom_type_oxidation_number",
        *(f"{symbol} {charge}" for symbol, charge in sorted(charges.items())),
    ]


def _type_symbol(site: Site) -> str:
    if not site.charge:
        return site.element
    return f"{site.element}{abs(site.charge)}{'+' if site.charge > 0 else '-'}"


def _site_lines(crystal: Crystal) -> list[str]:
    tables = load_symmetry_tables()
    rows = tables.position_rows(crystal.space_group)
    lines = ["loop_"]
    for column in (
        "label",
        "type_symbol",
        "symmetry_multiplicity",
        "Wyckoff_symbol",
        "fract_x",
        "fract_y",
        "fract_z",
        "occupancy",
        "B_iso_or_equiv",
    ):
        lines.append(f"_atom_site_{column}")
    count: dict[str, int] = {}
    for site in crystal.sites:
        count[site.element] = count.get(site.element, 0) + 1
        row = rows[find_wyckoff_index(crystal.space_group, site.wyckoff_letter)]
        values = [
            f"{site.element}{count[site.element]}",
            _type_symbol(site),
            f"{tables.multiplicity[row]}",
            site.wyckoff_letter,
            *(f"{value:.12f}" for value in site.fract),
            f"{site.occupancy:.10g}",
            f"{site.b_iso:.8g}",
        ]
        lines.append(" ".join(values))
    return lines
