"""Crystals: one asymmetric unit, and many of them as arrays."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64, Int8, Int16, Int64

from pxrdbench.crystal.elements import ATOMIC_NUMBERS, ELEMENT_SYMBOLS
from pxrdbench.crystal.lattice import cell_volumes
from pxrdbench.crystal.symmetry.letters import WYCKOFF_LETTERS
from pxrdbench.errors import CrystalError
from pxrdbench.frozen import freeze_arrays

if TYPE_CHECKING:
    from pymatgen.core import Structure

# Deuterium and tritium scatter X-rays as hydrogen does.
_NUMBERS = ATOMIC_NUMBERS | {"D": 1, "T": 1}


@dataclass(frozen=True)
class Site:
    """One species on one position of the asymmetric unit.

    Attributes:
        element: Chemical symbol, without charge.
        wyckoff_letter: Letter of the position in the standard setting.
        fract: Fractional coordinates of a representative that lies on the first
            coordinate triplet of the position (for ``(x, 2x, z)``: y = 2x).
        occupancy: Fraction of the position that this species fills, (0, 1].
        b_iso: Isotropic displacement B = 8π²⟨u²⟩ [Å²].
        charge: Formal charge; 0 scatters as the neutral atom.
    """

    element: str
    wyckoff_letter: str
    fract: tuple[float, float, float]
    occupancy: float = 1.0
    b_iso: float = 0.0
    charge: int = 0


@dataclass(frozen=True)
class Crystal:
    """The asymmetric unit of a crystal in the standard setting.

    Standard setting: unique axis b, hexagonal axes for rhombohedral groups, origin
    choice 2 (International Tables A).

    Attributes:
        space_group: Number in the International Tables, 1-230.
        lattice: a, b, c [Å], alpha, beta, gamma [degrees] of the conventional cell.
        sites: Species on positions; several on one position share ``fract``.
    """

    space_group: int
    lattice: tuple[float, float, float, float, float, float]
    sites: tuple[Site, ...]

    @classmethod
    def from_pymatgen(cls, structure: "Structure", symprec: float = 0.01) -> "Crystal":
        """Find the asymmetric unit of a structure in the standard setting.

        Args:
            structure: Any cell: primitive, conventional, P1, disordered. A site
                property ``b_iso`` [Å²] is taken over.
            symprec: How far atoms may be from where symmetry wants them [Å].

        Raises:
            CrystalError: If a species is no element from H to Cf, an occupancy is
                not in (0, 1], or no symmetry is found.
        """
        from pxrdbench.crystal.conversion import crystal_from_pymatgen

        return crystal_from_pymatgen(structure, symprec)

    @classmethod
    def from_cif(cls, source: str | Path, symprec: float = 0.01) -> "Crystal":
        """Read the one crystal of a CIF.

        Each row of the atom table arrives as itself; what was built is compared with
        the formula, Z, volume and operations that the file states, and another reading
        is tried where they contradict (see `pxrdbench.crystal.cif_reader`).

        Args:
            source: A path, or the text itself (which holds ``data_``).
            symprec: How far atoms may be from where symmetry wants them [Å].

        Raises:
            CrystalError: If the text holds no crystal or more than one, or does not
                tell what it means; one sentence with the reason.
        """
        from pxrdbench.crystal.cif_reader.read import crystal_from_cif

        return crystal_from_cif(source, symprec)

    def to_pymatgen(self) -> "Structure":
        """Expand to all atoms of the conventional cell.

        Raises:
            CrystalError: If a Wyckoff letter is not one of the group.
        """
        from pxrdbench.crystal.conversion import crystal_to_pymatgen

        return crystal_to_pymatgen(self)

    def to_cif(self, name: str = "crystal") -> str:
        """Write the crystal as the text of a CIF, with all operators of its group.

        Args:
            name: Of the data block.

        Raises:
            CrystalError: If the crystal cannot be.
        """
        from pxrdbench.crystal.cif_writer import write_cif

        return write_cif(self, name)

    @property
    def volume(self) -> float:
        """Volume of the conventional cell [Å³]."""
        return float(cell_volumes(np.array([self.lattice]))[0])


@dataclass(frozen=True, eq=False)
class CrystalBatch:
    """Crystals as ragged arrays: sites of crystal i are rows offset[i]:offset[i+1].

    Attributes:
        lattice: a, b, c [Å], alpha, beta, gamma [degrees], one row a crystal.
        space_group: Number in the International Tables, 1-230.
        site_offset: First site of each crystal, and the number of all sites.
        fract: Fractional coordinates of the representatives (see ``Site``).
        atomic_number: Of each site.
        wyckoff_index: Position in the group: 0 is letter a, the general one is last.
        occupancy: Fraction of the position filled, (0, 1].
        b_iso: Isotropic displacement B [Å²].
        charge: Formal charge, 0 for neutral atoms.
    """

    lattice: Float64[np.ndarray, "batch 6"]
    space_group: Int16[np.ndarray, " batch"]
    site_offset: Int64[np.ndarray, " batch_and_one"]
    fract: Float64[np.ndarray, "sites 3"]
    atomic_number: Int16[np.ndarray, " sites"]
    wyckoff_index: Int16[np.ndarray, " sites"]
    occupancy: Float64[np.ndarray, " sites"]
    b_iso: Float64[np.ndarray, " sites"]
    charge: Int8[np.ndarray, " sites"]

    def __post_init__(self) -> None:
        freeze_arrays(self)

    def __len__(self) -> int:
        return len(self.space_group)

    def __getitem__(self, index: int) -> Crystal:
        if not -len(self) <= index < len(self):
            raise IndexError(f"crystal {index} of a batch of {len(self)}")
        index %= len(self)
        rows = range(self.site_offset[index], self.site_offset[index + 1])
        return Crystal(
            space_group=int(self.space_group[index]),
            lattice=tuple(self.lattice[index].tolist()),
            sites=tuple(
                Site(
                    element=ELEMENT_SYMBOLS[self.atomic_number[row]],
                    wyckoff_letter=WYCKOFF_LETTERS[self.wyckoff_index[row]],
                    fract=tuple(self.fract[row].tolist()),
                    occupancy=float(self.occupancy[row]),
                    b_iso=float(self.b_iso[row]),
                    charge=int(self.charge[row]),
                )
                for row in rows
            ),
        )

    def __iter__(self) -> Iterator[Crystal]:
        return (self[index] for index in range(len(self)))

    @property
    def volume(self) -> Float64[np.ndarray, " batch"]:
        """Volume of each conventional cell [Å³]."""
        return cell_volumes(self.lattice)

    def check(self) -> None:
        """Refuse crystals that cannot be: cells, groups, positions, numbers.

        Raises:
            CrystalError: It names the first crystal at fault, its value and the
                bound, and holds the ``index``.
        """
        from pxrdbench.crystal.validation import check_crystals

        check_crystals(self)

    @classmethod
    def from_crystals(cls, crystals: Sequence[Crystal]) -> "CrystalBatch":
        """Gather crystals into arrays, and check them.

        Raises:
            CrystalError: If a crystal cannot be (see ``check``), or an element or
                Wyckoff letter is unknown; it names the crystal's index.
        """
        sites = [site for crystal in crystals for site in crystal.sites]
        counts = [len(crystal.sites) for crystal in crystals]
        owner = np.repeat(np.arange(len(crystals)), counts)
        for index, site in zip(owner, sites, strict=True):
            if site.element not in _NUMBERS:
                raise CrystalError(
                    f"crystal {index}: unknown element {site.element!r}; "
                    "symbols H to Cf are known",
                    index=int(index),
                )
            if len(site.wyckoff_letter) != 1 or (
                site.wyckoff_letter not in WYCKOFF_LETTERS
            ):
                raise CrystalError(
                    f"crystal {index}: unknown Wyckoff letter {site.wyckoff_letter!r}",
                    index=int(index),
                )
        batch = cls(
            lattice=np.array([c.lattice for c in crystals], np.float64).reshape(-1, 6),
            space_group=np.array([c.space_group for c in crystals], np.int16),
            site_offset=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            fract=np.array([s.fract for s in sites], np.float64).reshape(-1, 3),
            atomic_number=np.array([_NUMBERS[s.element] for s in sites], np.int16),
            wyckoff_index=np.array(
                [WYCKOFF_LETTERS.index(s.wyckoff_letter) for s in sites], np.int16
            ),
            occupancy=np.array([s.occupancy for s in sites], np.float64),
            b_iso=np.array([s.b_iso for s in sites], np.float64),
            charge=np.array([s.charge for s in sites], np.int8),
        )
        batch.check()
        return batch


def join_crystals(batches: Sequence[CrystalBatch]) -> CrystalBatch:
    """Put batches one after the other; nothing is checked again."""
    if not batches:
        return CrystalBatch.from_crystals([])
    offset, last = [np.zeros(1, np.int64)], 0
    for batch in batches:
        offset.append(batch.site_offset[1:] + last)
        last += int(batch.site_offset[-1])
    joined = {
        field.name: np.concatenate([getattr(batch, field.name) for batch in batches])
        for field in fields(CrystalBatch)
        if field.name != "site_offset"
    }
    return CrystalBatch(site_offset=np.concatenate(offset), **joined)


def take_crystals(
    crystals: CrystalBatch, index: Int64[np.ndarray, " taken"]
) -> CrystalBatch:
    """Take the crystals at these positions, in this order."""
    counts = np.diff(crystals.site_offset)[index]
    offset = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    # Row of a site = where its crystal begins, and how far into it the site is.
    start = crystals.site_offset[:-1][index] - offset[:-1]
    rows = np.repeat(start, counts) + np.arange(offset[-1])
    taken = {
        field.name: getattr(crystals, field.name)[
            index if field.name in ("lattice", "space_group") else rows
        ]
        for field in fields(CrystalBatch)
        if field.name != "site_offset"
    }
    return CrystalBatch(site_offset=offset, **taken)
