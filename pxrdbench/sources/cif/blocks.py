"""Data blocks of a CIF for imports: what `crystal.cif_reader` makes of them."""

import os

from pxrdbench.crystal.cif_reader import read as reader
from pxrdbench.crystal.cif_reader.text import split_blocks
from pxrdbench.crystal.structure import Crystal
from pxrdbench.crystal.symmetry.tables import load_symmetry_tables
from pxrdbench.sources.labels.structure_type import SYMPREC

__all__ = ["Outcome", "load_readers", "read_block", "read_entries", "split_blocks"]

# Parser and crystal of a block, or the reason why there is none.
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
    reader.warm_up()


def read_block(text: str, symprec: float = SYMPREC) -> Outcome:
    """Read one data block: parser and crystal, or why there is none."""
    return _outcome(reader.read_block(text, symprec))


def read_entries(text: str, symprec: float = SYMPREC) -> list[tuple[str, Outcome]]:
    """Read all blocks with atoms of a file: name of each, and what was read."""
    return [(name, _outcome(read)) for name, read in reader.read_blocks(text, symprec)]


def _outcome(read: reader.ReadBlock) -> Outcome:
    return read.failure if read.crystal is None else (read.reader, read.crystal)
