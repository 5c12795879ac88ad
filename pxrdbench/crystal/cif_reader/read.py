"""One data block of a CIF becomes a crystal, or a reason why it cannot.

A block may mean several things: an origin that it does not name, an axis that the cell
tells, operations without the centring of the symbol. Each reading is built and compared
with what the block says of itself. One that is left is kept; if several are, and they
are not the same, the block does not tell, and is refused.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pxrdbench.crystal.cif_reader.build import BuiltCell, build_cell
from pxrdbench.crystal.cif_reader.checks import (
    Findings,
    Stated,
    check_cell,
    read_stated,
)
from pxrdbench.crystal.cif_reader.rows import AtomTable, read_rows
from pxrdbench.crystal.cif_reader.settings import (
    LISTED_TAGS,
    NUMBER_TAGS,
    SYMBOL_TAGS,
    Named,
    Setting,
    hall_setting,
    listed_setting,
    number_settings,
    read_symbol,
    symbol_settings,
)
from pxrdbench.crystal.cif_reader.text import (
    CifTags,
    decode_text,
    parse_tags,
    read_number,
    split_blocks,
)
from pxrdbench.crystal.conversion import crystal_from_atoms
from pxrdbench.crystal.structure import Crystal, CrystalBatch
from pxrdbench.crystal.symmetry.tables import load_symmetry_tables
from pxrdbench.errors import CrystalError

# Tolerance of the search for symmetry [Å], and how much wider the second try is.
SYMPREC = 0.01
_LOOSER = 10.0
# A larger file holds measured reflections or an attack, hardly a crystal.
MAX_BYTES = 20_000_000


@dataclass(frozen=True)
class ReadBlock:
    """What was read of one data block.

    Attributes:
        crystal: In the standard setting; None if it could not be read.
        reader: Library that parsed the text.
        symprec: Tolerance of the search for symmetry [Å].
        failure: Why there is no crystal: a reason, and details after a colon.
        n_rows: Rows of the atom table that have a place.
        left_out: Labels of rows that have none, or hold no atom.
        notes: How the block was understood where it does not say so itself.
        tags: What it says under each tag.
    """

    crystal: Crystal | None
    reader: str
    symprec: float
    failure: str
    n_rows: int
    left_out: tuple[str, ...]
    notes: tuple[str, ...]
    tags: CifTags


def warm_up() -> None:
    """Make the table of symbols, which takes a second, before files are timed."""
    read_symbol("P 1", (4.0, 4.0, 4.0, 90.0, 90.0, 90.0))


def crystal_from_cif(source: str | Path, symprec: float = SYMPREC) -> Crystal:
    """Read the one crystal of a CIF.

    Args:
        source: A path, or the text itself (which holds ``data_``).
        symprec: Tolerance of the search for symmetry [Å].

    Raises:
        CrystalError: If there is no crystal in it or more than one, or if it is not
            told apart what it means; one sentence with the reason.
    """
    if isinstance(source, str) and ("\n" in source or "data_" in source[:4096].lower()):
        text, name = source, "the CIF"
    else:
        path = Path(source)
        name = path.name
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise CrystalError(f"{path}: {error.strerror or error}") from None
        if len(data) > MAX_BYTES:
            raise CrystalError(f"{name} is larger than {MAX_BYTES // 10**6} MB")
        text = decode_text(data)
    read = read_blocks(text, symprec)
    if not read:
        raise CrystalError(f"{name}: no data block with atoms")
    if len(read) > 1:
        names = ", ".join(block for block, _ in read[:5])
        raise CrystalError(
            f"{name} holds {len(read)} crystals ({names}…); give the text of one block"
        )
    ((_, only),) = read
    if only.crystal is None:
        raise CrystalError(f"{name}: {only.failure}")
    return only.crystal


def read_blocks(text: str, symprec: float = SYMPREC) -> list[tuple[str, ReadBlock]]:
    """Read each data block with atoms of a CIF: name and what was read."""
    blocks = split_blocks(text)
    elsewhere = names_symmetry_elsewhere(blocks)
    return [
        (name, read_block(block, symprec, symmetry_elsewhere=elsewhere))
        for name, block in blocks
        if "_atom_site" in block.lower()
    ]


def names_symmetry_elsewhere(blocks: Sequence[tuple[str, str]]) -> bool:
    """Whether a block without atoms names a space group: that of another block."""
    for _, block in blocks:
        lower = block.lower()
        if "_atom_site_fract" in lower:
            continue
        if any(tag in lower for tag in (*SYMBOL_TAGS, *LISTED_TAGS)):
            tags = parse_tags(block)
            if tags.first(*SYMBOL_TAGS) or any(tags.all(tag) for tag in LISTED_TAGS):
                return True
    return False


def read_block(
    text: str, symprec: float = SYMPREC, *, symmetry_elsewhere: bool = False
) -> ReadBlock:
    """Read one data block.

    Args:
        text: Of the block.
        symprec: Tolerance of the search for symmetry [Å].
        symmetry_elsewhere: Whether another block of the file, one without atoms, names
            a group: then this one is not taken for P1.
    """
    os.environ.setdefault("SPGLIB_WARNING", "OFF")
    tags = parse_tags(text)
    table = AtomTable((), ())
    try:
        _refuse_broken(tags)
        cell = _read_cell(tags)
        _refuse_other_kinds(tags)
        stated = read_stated(tags)
        table = read_rows(tags, cell, stated.formula.keys())
        if not table.rows:
            raise CrystalError("no atoms with fractional coordinates: none has a place")
        choices = _list_readings(tags, cell, symmetry_elsewhere)
        setting, built, notes = _choose(choices, table, cell, stated)
        crystal, tolerance = _find_crystal(built, setting, symprec)
    except CrystalError as error:
        return _failed(str(error), tags, table, symprec)
    except Exception as error:  # anything may happen on a broken file
        detail = " ".join(f"{type(error).__name__} {error}".split())[:200]
        return _failed(f"no valid CIF: {detail}", tags, table, symprec)
    return ReadBlock(
        crystal,
        tags.parser,
        tolerance,
        "",
        len(table.rows),
        table.left_out,
        tuple(notes),
        tags,
    )


_REASONS = (
    "a cell that cannot be",
    "a coordinate that is no number",
    "a magnetic structure",
    "a modulated structure",
    "an unknown element",
    "atoms too near to each other",
    "it contradicts its formula",
    "its operations are no group",
    "its symmetry stands elsewhere",
    "lower symmetry than the file states",
    "no atoms with fractional coordinates",
    "no cell",
    "no symmetry found",
    "no valid CIF",
    "occupancies above one",
    "the setting is not told",
    "the symmetry is not told",
    "the space group is not understood",
    "too many atoms",
)


def _failed(message: str, tags: CifTags, table: AtomTable, symprec: float) -> ReadBlock:
    message = " ".join(message.split())
    if not message.startswith(_REASONS):
        is_symmetry = "symmetry" in message or "equivalent atoms" in message
        reason = "no symmetry found" if is_symmetry else "no valid CIF"
        message = f"{reason}: {message}"
    return ReadBlock(
        None, tags.parser, symprec, message, len(table.rows), table.left_out, (), tags
    )


# Tags of which two that differ leave open what is meant.
_DECISIVE = ("_cell_", "_symmetry_", "_space_group_", "_atom_site_")


def _refuse_broken(tags: CifTags) -> None:
    if not tags.parser:
        raise CrystalError("no valid CIF: neither gemmi nor pymatgen can parse it")
    twice = [tag for tag in tags.repeated if tag.startswith(_DECISIVE)]
    if twice:
        raise CrystalError(
            f"no valid CIF: {twice[0]} stands there twice, with different values"
        )


def _read_cell(tags: CifTags) -> tuple[float, ...]:
    names = [f"_cell_length_{axis}" for axis in "abc"]
    names += [f"_cell_angle_{angle}" for angle in ("alpha", "beta", "gamma")]
    values = [read_number(tags.first(name)) for name in names]
    # The dictionary's default of an angle is 90.
    are_told = all(value is not None for value in values[3:])
    values[3:] = [
        90.0 if v is None and not tags.first(n) else v
        for v, n in zip(values[3:], names[3:], strict=True)
    ]
    number = tags.first(*NUMBER_TAGS)
    system = tags.first("_symmetry_cell_setting", "_space_group_crystal_system")
    if not are_told and (
        (number.isdigit() and int(number) < 16)
        or system.lower() in ("triclinic", "monoclinic")
    ):
        raise CrystalError("no cell: an angle is not given")
    if any(value is None or value <= 0.0 for value in values):
        raise CrystalError(f"no cell: {', '.join(tags.first(n) or '?' for n in names)}")
    cell = tuple(float(value) for value in values if value is not None)
    cosines = np.cos(np.radians(cell[3:]))
    if not 1.0 - (cosines**2).sum() + 2.0 * cosines.prod() > 1e-6:
        raise CrystalError(f"no cell: its angles are {cell[3:]}")
    return cell


def _refuse_other_kinds(tags: CifTags) -> None:
    """Refuse what needs more than three dimensions, or spins, to be described."""
    dimension = read_number(tags.first("_cell_modulation_dimension"))
    has_ssg = any(
        "_ssg_" in tag or tag.startswith("_space_group_ssg") for tag in tags.values
    )
    if (dimension or 0.0) > 0.0 or has_ssg:
        raise CrystalError(
            "a modulated structure: it is described in more than three dimensions"
        )
    is_magnetic = any(
        tag.startswith(
            ("_space_group_magn", "_space_group_symop_magn", "_parent_space")
        )
        for tag in tags.values
    )
    if is_magnetic and not any(tags.all(tag) for tag in LISTED_TAGS):
        raise CrystalError(
            "a magnetic structure: only operations of a magnetic group are given"
        )


@dataclass(frozen=True)
class _Choices:
    """Readings in groups: a later group is tried if none of the earlier fits.

    Attributes:
        groups: Of settings.
        is_sure: Whether operations and name agree, so that Z may be wrong.
        number: Of the group that the file names, 0 if it names none.
        broken: What is wrong with the operations listed: then formula and Z must fit.
        is_untold: Whether the file says nothing of its symmetry: then they must, too.
    """

    groups: tuple[tuple[Setting, ...], ...]
    is_sure: bool
    number: int
    broken: str = ""
    is_untold: bool = False


_P1 = Setting(np.eye(3, dtype=np.int64)[None], np.zeros((1, 3), np.int64), "P1")


def _list_readings(
    tags: CifTags, cell: tuple[float, ...], symmetry_elsewhere: bool
) -> _Choices:
    """List what the block may mean, the likeliest first."""
    listed = listed_setting(tags)
    hall = hall_setting(tags)
    symbol = symbol_settings(tags, cell)
    numbered = number_settings(tags, cell)
    named = symbol if symbol is not None and symbol.settings else numbered
    broken = ""
    if isinstance(listed, str):
        broken = listed
    elif listed is not None and not listed.is_group():
        broken = f"{len(listed)} operations, some of whose products are missing"
    if broken:
        # A slip of the pen among operations that a Hall symbol gives in full.
        if hall is None or not _agrees(hall, named):
            raise CrystalError(f"its operations are no group: {broken}")
        return _Choices(((hall,),), False, hall.number, broken)
    assert not isinstance(listed, str)  # noqa: S101 - for the type checker
    if listed is not None and len(listed) > 1:
        return _with_operations(listed, hall, symbol, named, numbered)
    if hall is not None and len(hall) > 1:
        rest = () if named is None else named.settings
        if named is None or _agrees(hall, named):
            return _Choices(((hall,), rest), named is not None, hall.number)
        # They contradict each other: neither is believed before it is tried.
        return _Choices(((hall, *rest),), False, 0)
    if named is None and symbol is not None and not _is_p1(symbol):
        raise CrystalError(f"the space group is not understood: {symbol.text}")
    if named is None or (symbol is not None and _is_p1(symbol)):
        if symbol is None and listed is None and hall is None and symmetry_elsewhere:
            raise CrystalError(
                "its symmetry stands elsewhere: another data block of the file names "
                "the space group"
            )
        if listed is None and hall is None and _is_asked(tags):
            raise CrystalError(
                "the space group is not understood: the file has ? where its symbol is"
            )
        if symbol is None and listed is None and hall is None:
            return _Choices(((_P1,),), False, 1, is_untold=True)
        # Nothing but x, y, z, or P 1: all atoms are listed.
        rest = () if numbered is None else numbered.settings
        is_one = numbered is None or numbered.number == 1
        if symbol is not None and listed is None and not is_one:
            return _Choices(((_P1, *rest),), False, 0)
        # The symbol alone is what programs write that do not know.
        told = listed is not None or numbered is not None or hall is not None
        return _Choices(((_P1,), rest), symbol is not None and told and is_one, 1)
    if not named.settings:
        raise CrystalError(f"the space group is not understood: {named.text}")
    if (
        numbered is not None
        and symbol is not None
        and symbol.settings
        and numbered.number != symbol.number
    ):
        return _Choices(((*symbol.settings, *numbered.settings),), False, 0)
    groups = [named.settings]
    if listed is not None:
        groups.append((_P1,))
    return _Choices(tuple(groups), False, named.number)


def _is_asked(tags: CifTags) -> bool:
    """Whether the file has tags of the group, and a question mark behind each."""
    told = [v.strip() for t in (*SYMBOL_TAGS, *NUMBER_TAGS) for v in tags.all(t)]
    return bool(told) and all(value == "?" for value in told)


def _is_p1(symbol: Named) -> bool:
    """Whether it says that all atoms are listed; C1 has another half of them."""
    bare = symbol.text.replace(" ", "").upper()
    return bare == "1" or (symbol.number == 1 and bare[:1] not in "ABCIF")


def _agrees(setting: Setting, named: Named | None) -> bool:
    return named is not None and named.number == setting.number


def _with_operations(
    listed: Setting,
    hall: Setting | None,
    symbol: Named | None,
    named: Named | None,
    numbered: Named | None,
) -> _Choices:
    """Readings of a block that lists more than x, y, z."""
    number = listed.number
    agree = [n.number for n in (symbol, numbered) if n is not None and n.number]
    others = [] if named is None else list(named.settings)
    if hall is not None:
        others.insert(0, hall)
    if not agree or number in agree:
        # A number that is off beside a symbol that agrees is a slip of the pen.
        return _Choices(((listed,), tuple(others)), bool(agree), number)
    # The symbol's centring may have been left out of the list.
    letter = symbol.text.strip()[:1].upper() if symbol is not None else "P"
    centred = listed.with_centring(letter)
    if len(centred) > len(listed) and centred.number in agree:
        return _Choices(((centred,), (listed,)), False, centred.number)
    return _Choices(((listed, *others),), False, 0)


def _choose(
    choices: _Choices, table: AtomTable, cell: tuple[float, ...], stated: Stated
) -> tuple[Setting, BuiltCell, list[str]]:
    """Keep the reading that fits; raise if none does, or more than one."""
    problem = ""
    first_source = next((g[0].source for g in choices.groups if g), "")
    for group in choices.groups:
        fitting: list[tuple[Setting, BuiltCell, Findings]] = []
        for setting in group:
            found = _try(setting, table, cell, stated, choices.is_sure)
            if isinstance(found, str):
                problem = problem or found
            elif choices.broken and not (found[1].formula_fits and found[1].z_fits):
                problem = f"its operations are no group: {choices.broken}"
            elif choices.is_untold and not (found[1].formula_fits and found[1].z_fits):
                problem = (
                    "the symmetry is not told: no operations, symbol or number, and no "
                    "formula with Z or density that would show that all atoms are "
                    "listed"
                )
            else:
                fitting.append((setting, *found))
        fitting = _without_copies(fitting)
        if len(fitting) > 1:
            better = [f for f in fitting if f[2].z_fits and f[2].formula_fits]
            fitting = better if better else fitting
        if len(fitting) > 1:
            fitting = _with_multiplicities(fitting, table)
        if len(fitting) > 1:
            names = " or ".join(f[0].source for f in fitting[:3])
            raise CrystalError(f"the setting is not told: {names}; each of them fits")
        if fitting:
            ((setting, built, findings),) = fitting
            notes = []
            if choices.broken:
                notes.append(f"read with {setting.source}: {choices.broken}")
            elif choices.is_untold:
                notes.append("no symmetry is stated: P1, as formula and Z agree")
            elif setting.source != first_source or len(group) > 1:
                notes.append(f"read with {setting.source}: what else it may mean fails")
            if built.n_repeated:
                notes.append(
                    f"{built.n_repeated} rows repeat an atom: it is there once"
                )
            if findings.z_fits is False:
                notes.append(f"Z is not {stated.z:g} as the file states")
            return setting, built, notes
    raise CrystalError(problem or "the space group is not understood: none fits")


def _with_multiplicities(
    fitting: list[tuple[Setting, BuiltCell, Findings]], table: AtomTable
) -> list[tuple[Setting, BuiltCell, Findings]]:
    """Readings whose rows have the images that the file states; all if none does."""
    stated = [atom.multiplicity for atom in table.rows]
    if not any(stated):
        return fitting
    kept = [
        reading
        for reading in fitting
        if all(
            said in (0, found)
            for said, found in zip(stated, reading[1].n_images, strict=True)
        )
    ]
    return kept or fitting


def _try(
    setting: Setting,
    table: AtomTable,
    cell: tuple[float, ...],
    stated: Stated,
    is_sure: bool,
) -> tuple[BuiltCell, Findings] | str:
    """Build a reading and check it; or what is wrong with it."""
    if not setting.fits_cell(cell):
        return f"a cell that cannot be: it has not the symmetry of {setting.source}"
    try:
        built = build_cell(table.rows, setting, cell)
    except CrystalError as error:
        return str(error)
    findings = check_cell(built, stated)
    if findings.problem:
        return findings.problem
    if findings.z_fits is False and not is_sure:
        amount = sum(n for e, n in built.amounts.items() if e != "H")
        return (
            f"it contradicts its formula: {amount:.4g} atoms in the cell with "
            f"{setting.source}, Z = {stated.z:g} is stated"
        )
    return built, findings


def _without_copies(
    fitting: list[tuple[Setting, BuiltCell, Findings]],
) -> list[tuple[Setting, BuiltCell, Findings]]:
    """Readings that give the same atoms are one."""
    kept: list[tuple[Setting, BuiltCell, Findings]] = []
    for candidate in fitting:
        if not any(_is_same(candidate[1], other[1]) for other in kept):
            kept.append(candidate)
    return kept


def _is_same(one: BuiltCell, two: BuiltCell) -> bool:
    """Whether two cells hold the same atoms at the same places."""
    if len(one.fract) != len(two.fract):
        return False
    for point, filling in zip(one.fract, one.fillings, strict=True):
        apart = two.fract - point
        apart -= np.rint(apart)
        distance = ((apart @ one.matrix) ** 2).sum(axis=1)
        place = int(distance.argmin())
        if distance[place] > 0.02**2 or two.fillings[place] != filling:
            return False
    return True


def _find_crystal(
    built: BuiltCell, setting: Setting, symprec: float
) -> tuple[Crystal, float]:
    """Find a symmetry that the setting does not contradict, and its tolerance."""
    try:
        return _standardise(built, setting, symprec), symprec
    except CrystalError:
        return _standardise(built, setting, _LOOSER * symprec), _LOOSER * symprec


def _standardise(built: BuiltCell, setting: Setting, symprec: float) -> Crystal:
    crystal = crystal_from_atoms(built.matrix, built.fract, built.fillings, symprec)
    CrystalBatch.from_crystals([crystal])
    tables = load_symmetry_tables()
    group = crystal.space_group
    order = len(tables.operators(group)[0]) // int(tables.n_centring[group])
    if order < setting.n_rotations:
        raise CrystalError(
            f"lower symmetry than the file states: group {group}, but "
            f"{setting.n_rotations} rotations"
        )
    _check_amounts(crystal, built)
    return crystal


def _check_amounts(crystal: Crystal, built: BuiltCell) -> None:
    """Raise unless each atom of the cell has arrived in the crystal."""
    from pxrdbench.crystal.symmetry.tables import find_wyckoff_index

    tables = load_symmetry_tables()
    rows = tables.position_rows(crystal.space_group)
    held: dict[str, float] = {}
    for site in crystal.sites:
        index = find_wyckoff_index(crystal.space_group, site.wyckoff_letter)
        multiplicity = int(tables.multiplicity[rows[index]])
        held[site.element] = held.get(site.element, 0.0) + multiplicity * site.occupancy
    factor = built.volume / crystal.volume
    for element in held.keys() | built.amounts.keys():
        wanted = built.amounts.get(element, 0.0)
        if abs(held.get(element, 0.0) * factor - wanted) > 0.01 * wanted + 0.01:
            raise CrystalError(
                f"no symmetry found: {wanted:g} {element} in the cell became "
                f"{held.get(element, 0.0) * factor:g}"
            )
