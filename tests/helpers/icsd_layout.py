"""Exports in the layout of the ICSD, written from crystals that are free."""

from pathlib import Path

from pxrdbench.crystal.structure import Crystal


def icsd_cif(code: int, crystal: Crystal, structure_type: str = "") -> str:
    """One entry, in the layout of 2021 and later."""
    text = crystal.to_cif(f"{code}-ICSD")
    head, _, rest = text[text.index("data_") :].partition("\n")
    extra = f"_database_code_ICSD {code}\n"
    if structure_type:
        extra += f"_chemical_name_structure_type '{structure_type}'\n"
    return f"(C) 2022 by FIZ Karlsruhe\n{head}\n{extra}{rest}"


def write_export(
    folder: Path, entries: dict[int, tuple[Crystal, str]], per_folder: int = 50
) -> Path:
    """Write entries as files in folders."""
    for number, (code, (crystal, label)) in enumerate(entries.items()):
        place = folder / f"part{number // per_folder}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"EntryWithCollCode{code}.cif").write_text(
            icsd_cif(code, crystal, label)
        )
    return folder
