"""One entry of an import: a crystal and what is known of it, or why there is none.

This is what the worker processes do; `import_plan` says on what.
"""

import time
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pxrdbench.crystal.cif_reader.read import names_symmetry_elsewhere, read_block
from pxrdbench.crystal.cif_reader.text import split_blocks
from pxrdbench.crystal.structure import Crystal
from pxrdbench.errors import SourceError
from pxrdbench.sources.cif.fields import CifFields, read_fields
from pxrdbench.sources.cif.files import read_text
from pxrdbench.sources.labels.structure_type import (
    crystal_prototype,
    letter_multiplicities,
)


@dataclass(frozen=True)
class ImportEntry:
    """A crystal that was read.

    Attributes:
        block: Name of its data block; "" in a table.
        crystal: In the standard setting.
        reader: Library that read it.
        symprec: Tolerance at which its symmetry was found [Å].
        fields: What the file says of it.
        prototype: Canonical label of its structure type, "" if there is none.
        formula: Reduced formula of what was read.
        anonymous_formula: The same with letters for the elements.
        n_sites: Rows of the atom table that have a place.
        left_out: Atoms without a place that were left out.
        notes: How the file was understood where it does not say so itself.
    """

    block: str
    crystal: Crystal
    reader: str
    symprec: float
    fields: CifFields
    prototype: str
    formula: str
    anonymous_formula: str
    n_sites: int
    left_out: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def is_disordered(self) -> bool:
        """Whether a position is shared, or partly empty."""
        return any(site.occupancy < 1.0 for site in self.crystal.sites)


@dataclass(frozen=True)
class ImportFailure:
    """An entry that gave no crystal.

    Attributes:
        block: Name of its data block.
        fields: What the file says of it.
        message: A reason, and details after a colon.
    """

    block: str
    fields: CifFields
    message: str


@dataclass(frozen=True)
class TaskResult:
    """What became of one task, and the processor time that it took [s]."""

    outcomes: tuple[ImportEntry | ImportFailure, ...]
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class CifTask:
    """Data blocks of one file: those from first to before last, all if last is -1."""

    file: str
    member: str
    symprec: float
    first: int = 0
    last: int = -1


@dataclass(frozen=True, slots=True)
class RowTask:
    """One row of a table: atoms, or the text of a CIF."""

    symprec: float
    cell: tuple[float, ...] = ()
    elements: tuple[str, ...] = ()
    fract: tuple[float, ...] = ()
    cif: str = ""
    space_group: int = 0
    year: int = 0


def run_task(task: CifTask | RowTask) -> TaskResult:
    """Read all entries of one task."""
    start = time.process_time()
    outcomes = _read_row(task) if isinstance(task, RowTask) else _read_file(task)
    return TaskResult(tuple(outcomes), time.process_time() - start)


def _read_file(task: CifTask) -> Sequence[ImportEntry | ImportFailure]:
    try:
        text = read_text(task.file, task.member)
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        # RuntimeError: an encrypted member; NotImplementedError: its compression.
        message = f"the file cannot be read: {error}"
        return [ImportFailure("", CifFields(), message)]
    except SourceError as error:
        return [ImportFailure("", CifFields(), str(error))]
    blocks = split_blocks(text)
    elsewhere = names_symmetry_elsewhere(blocks)
    if task.last >= 0:
        blocks = blocks[task.first : task.last]
    made = [
        _read_block(name, block, task.symprec, elsewhere)
        for name, block in blocks
        if "_atom_site" in block.lower()
    ]
    if made or task.last >= 0:
        return made
    return [ImportFailure("", CifFields(), "no atoms")]


def _read_block(
    name: str, text: str, symprec: float, elsewhere: bool = False
) -> ImportEntry | ImportFailure:
    read = read_block(text, symprec, symmetry_elsewhere=elsewhere)
    fields = read_fields(read.tags, text, name)
    if read.crystal is None:
        return ImportFailure(name, fields, read.failure)
    formula, anonymous = crystal_formula(read.crystal)
    return ImportEntry(
        block=name,
        crystal=read.crystal,
        reader=read.reader,
        symprec=read.symprec,
        fields=fields,
        prototype=_prototype(read.crystal),
        formula=formula,
        anonymous_formula=anonymous,
        n_sites=read.n_rows,
        left_out=read.left_out,
        notes=read.notes,
    )


def _read_row(task: RowTask) -> Sequence[ImportEntry | ImportFailure]:
    if task.cif:
        return [_read_row_cif(task)]
    from pymatgen.core import Lattice, Structure

    fields = CifFields(space_group=task.space_group, year=task.year)
    try:
        structure = Structure(
            Lattice.from_parameters(*task.cell),
            task.elements,
            [task.fract[at : at + 3] for at in range(0, len(task.fract), 3)],
        )
        crystal = Crystal.from_pymatgen(structure, task.symprec)
        formula, anonymous = crystal_formula(crystal)
    except Exception as error:  # one bad row must not cost the others
        detail = " ".join(f"{type(error).__name__} {error}".split())[:300]
        return [ImportFailure("", fields, f"the row is no crystal: {detail}")]
    return [
        ImportEntry(
            block="",
            crystal=crystal,
            reader="pymatgen",
            symprec=task.symprec,
            fields=fields,
            prototype=_prototype(crystal),
            formula=formula,
            anonymous_formula=anonymous,
            n_sites=len(crystal.sites),
            left_out=(),
        )
    ]


def _read_row_cif(task: RowTask) -> ImportEntry | ImportFailure:
    """The text of a CIF in a table, read as any other; the table's group and year."""
    blocks = [block for _, block in split_blocks(task.cif) if "_atom_site" in block]
    if len(blocks) != 1:
        fields = CifFields(space_group=task.space_group, year=task.year)
        found = f"{len(blocks)} data blocks with atoms"
        return ImportFailure("", fields, f"the row is no crystal: {found}")
    entry = _read_block("", blocks[0], task.symprec)
    fields = replace(
        entry.fields,
        space_group=task.space_group or entry.fields.space_group,
        year=task.year or entry.fields.year,
    )
    return replace(entry, fields=fields)


def _prototype(crystal: Crystal) -> str:
    try:
        return crystal_prototype(crystal)
    except SourceError:
        return ""


def crystal_formula(crystal: Crystal) -> tuple[str, str]:
    """Reduced formula of a crystal, and its anonymous form.

    Example:
        >>> from pxrdbench.crystal.structure import Site
        >>> cell = (4.6, 4.6, 2.96, 90.0, 90.0, 90.0)
        >>> tin, oxygen = Site("Sn", "a", (0, 0, 0)), Site("O", "f", (0.3, 0.3, 0))
        >>> crystal_formula(Crystal(136, cell, (tin, oxygen)))
        ('SnO2', 'AB2')
    """
    from pymatgen.core import Composition

    multiplicity = letter_multiplicities(crystal.space_group)
    amounts: Counter[str] = Counter()
    for site in crystal.sites:
        share = multiplicity[site.wyckoff_letter] * site.occupancy
        amounts[site.element] += share  # type: ignore[assignment] # not whole numbers
    # Thirds and the like must not depend on the order in which they are added.
    composition: Any = Composition({e: round(n, 6) for e, n in amounts.items()})
    return str(composition.reduced_formula), str(composition.anonymized_formula)
