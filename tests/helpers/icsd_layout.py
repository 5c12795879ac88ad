"""Exports in the layout of the ICSD, written from crystals that are free."""

from pathlib import Path

from pxrdbench.crystal.structure import Crystal

# Tags of exports up to 2019 for those of later ones; operations had no id then.
_TAGS_OF_2019 = {
    "_space_group_IT_number": "_symmetry_Int_Tables_number",
    "_space_group_name_H-M_alt": "_symmetry_space_group_name_H-M",
    "_space_group_symop_id": "_symmetry_equiv_pos_site_id",
    "_space_group_symop_operation_xyz": "_symmetry_equiv_pos_as_xyz",
}


def icsd_cif(
    code: int, crystal: Crystal, structure_type: str = "", year: int = 2022
) -> str:
    """One entry, in the layout of 2019 or of 2021 and later."""
    text = crystal.to_cif(f"{code}-ICSD")
    head, _, rest = text[text.index("data_") :].partition("\n")
    extra = f"_database_code_ICSD {code}\n"
    if structure_type:
        extra += f"_chemical_name_structure_type '{structure_type}'\n"
    if year < 2021:
        for later, earlier in _TAGS_OF_2019.items():
            assert later in rest, later
            rest = rest.replace(later, earlier)
        kept = [line for line in rest.splitlines() if "_name_Hall" not in line]
        rest = "\n".join(line for line in kept if "_crystal_system" not in line) + "\n"
    return f"#(C) {year} by FIZ Karlsruhe\n{head}\n{extra}{rest}"


def write_export(
    folder: Path,
    entries: dict[int, tuple[Crystal, str]],
    per_folder: int = 50,
    *,
    with_table: bool = False,
) -> Path:
    """Write entries as files in folders.

    Args:
        folder: Where to.
        entries: Crystal and structure type of each collection code.
        per_folder: Files in each.
        with_table: Every other file has the layout of 2019 and no type: that stands in
            a table beside the folders, as the ICSD's API exports it.
    """
    rows = ['"ICSD export"', "CollectionCode,HMS,StructuredFormula,StructureType"]
    for number, (code, (crystal, label)) in enumerate(entries.items()):
        place = folder / f"part{number // per_folder}"
        place.mkdir(parents=True, exist_ok=True)
        is_old = with_table and number % 2 == 1
        text = (
            icsd_cif(code, crystal, year=2019)
            if is_old
            else icsd_cif(code, crystal, label)
        )
        (place / f"EntryWithCollCode{code}.cif").write_text(text)
        if is_old:
            rows.append(f'{code},,,"{label}"')
    if with_table:
        (folder / "ICSD_data_from_API.csv").write_text("\n".join(rows) + "\n")
    return folder
