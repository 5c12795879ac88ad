"""Structure types: which crystals are the same but for elements and sizes.

The type of a crystal is its canonical prototype label, for example that of rock
salt, ``AB_cF8_225_a_b``: anonymous formula, Pearson symbol, space group, Wyckoff
letters of each element. Two crystals of one type differ in elements, lattice
parameters and free coordinates only. The label contains the space group, so no type
spans two groups.
"""

import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from math import gcd
from string import ascii_uppercase
from typing import Any

from pxrdbench.crystal.structure import Crystal
from pxrdbench.crystal.symmetry.tables import (
    crystal_system,
    load_symmetry_tables,
    space_group_symbol,
)
from pxrdbench.errors import SourceError

SYMPREC = 0.01  # Å, the tolerance under which a real crystal gets its label
LOOSE_SYMPREC = 0.1  # Å, the tolerance a crystal's symmetry must survive


@dataclass(frozen=True)
class Symmetry:
    """What a search for symmetry says about one crystal.

    Attributes:
        structure_type: Canonical prototype label at ``SYMPREC``, "" if none is found.
        space_group: Group in that label, 0 if none is found.
        loose_space_group: Group found at ``LOOSE_SYMPREC``, 0 if none is found.
        failure: Why there is no label, "" if there is one.
    """

    structure_type: str
    space_group: int
    loose_space_group: int
    failure: str = ""

    @property
    def is_certain(self) -> bool:
        """Whether both tolerances give one and the same space group."""
        return self.space_group > 0 and self.space_group == self.loose_space_group


def prototype_label(structure: Any, symprec: float = SYMPREC) -> str:
    """Name the structure type of a crystal.

    Args:
        structure: A ``pymatgen.core.Structure`` in any setting, fully ordered.
        symprec: Tolerance of the search for symmetry [Å].

    Returns:
        The label, the same for any order or naming of the elements, any choice of
        origin and any cell.

    Raises:
        SourceError: If no label can be found.

    References:
        Goodall et al. (2022), Sci. Adv. 8, eabn4117; Parackal et al. (2024),
        Phys. Rev. Mater. 8, 103801: labels made canonical.

    Example:
        >>> from pymatgen.core import Lattice, Structure
        >>> cubic = Lattice.cubic(5.64)
        >>> atoms = ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
        >>> prototype_label(Structure.from_spacegroup("Fm-3m", cubic, *atoms))
        'AB_cF8_225_a_b'
    """
    from pymatgen.analysis.prototypes import (
        get_protostructure_label,
        get_prototype_from_protostructure,
    )

    try:
        with _quiet_pymatgen():
            # Protostructure labels depend on the alphabet of the elements (500
            # crystals: 281 such labels, 228 canonical ones); prototypes do not.
            return str(
                get_prototype_from_protostructure(
                    get_protostructure_label(
                        structure,
                        method="spglib",
                        init_symprec=symprec,
                        raise_errors=True,
                    )
                )
            )
    except Exception as error:  # pymatgen and spglib raise many kinds
        raise SourceError(
            f"no prototype label at symprec {symprec} angstrom: {error}"
        ) from error


def crystal_prototype(crystal: Crystal) -> str:
    """Name the structure type of a crystal whose asymmetric unit is known.

    Of an ordered crystal this is `prototype_label`. Sites that several elements share
    count as one kind of atom, whatever the shares; a site that is partly empty counts
    as full. Charges do not count.

    Raises:
        SourceError: If the crystal holds more than 26 kinds of atoms.

    Example:
        >>> from pxrdbench.crystal.structure import Site
        >>> cell = (4.2, 4.2, 4.2, 90.0, 90.0, 90.0)
        >>> iron = Site("Fe", "a", (0.0, 0.0, 0.0), 0.9)
        >>> oxygen = Site("O", "b", (0.5, 0.5, 0.5))
        >>> crystal_prototype(Crystal(225, cell, (iron, oxygen)))
        'AB_cF8_225_a_b'
    """
    from pymatgen.analysis.prototypes import WYCKOFF_POSITION_RELAB_DICT

    group = crystal.space_group
    places: dict[tuple[str, tuple[float, float, float]], set[str]] = {}
    for site in crystal.sites:
        places.setdefault((site.wyckoff_letter, site.fract), set()).add(site.element)
    kinds: dict[frozenset[str], Counter[str]] = {}
    for (letter, _), elements in places.items():
        kinds.setdefault(frozenset(elements), Counter())[letter] += 1
    if len(kinds) > len(ascii_uppercase):
        raise SourceError(
            f"{len(kinds)} kinds of atoms; a label has {len(ascii_uppercase)} letters"
        )
    multiplicity = letter_multiplicities(group)
    atoms = {
        kind: sum(multiplicity[letter] * n for letter, n in letters.items())
        for kind, letters in kinds.items()
    }
    divisor = gcd(*atoms.values())
    ordered = sorted(
        (atoms[kind] // divisor, list(letters.items()))
        for kind, letters in kinds.items()
    )
    formula = "".join(
        f"{name}{n if n > 1 else ''}"
        for name, (n, _) in zip(ascii_uppercase, ordered, strict=False)
    )
    # Letters that another choice of the origin or axes would swap; the least is taken,
    # and kinds of one count are in the order that makes it least.
    letters = min(
        _spell(ordered, str.maketrans(swap))
        for swap in WYCKOFF_POSITION_RELAB_DICT[str(group)]
    )[1]
    return f"{formula}_{_pearson_symbol(group, sum(atoms.values()))}_{group}_{letters}"


def _spell(
    kinds: list[tuple[int, list[tuple[str, int]]]], swap: dict[int, str]
) -> tuple[int, str]:
    """Score and letters of all kinds after a swap of letters."""
    score, words = 0, []
    for count, letters in kinds:
        swapped = sorted((letter.translate(swap), n) for letter, n in letters)
        score += sum(0 if letter == "A" else ord(letter) - 96 for letter, _ in swapped)
        word = "".join(f"{n if n > 1 else ''}{letter}" for letter, n in swapped)
        words.append((count, f"{word}_"))
    spelled = [
        word
        for _, same in groupby(words, key=lambda item: item[0])
        for _, word in sorted(same)
    ]
    return score, "".join(spelled)[:-1]


def letter_multiplicities(space_group: int) -> dict[str, int]:
    """Multiplicity of each letter of a group."""
    from pxrdbench.crystal.symmetry.letters import WYCKOFF_LETTERS

    tables = load_symmetry_tables()
    rows = tables.position_rows(space_group)
    counts = tables.multiplicity[rows.start : rows.stop].tolist()
    return dict(zip(WYCKOFF_LETTERS, counts, strict=False))


def _pearson_symbol(space_group: int, n_atoms: int) -> str:
    """Pearson symbol of a conventional cell: family, centring, number of atoms."""
    system = crystal_system(space_group)
    family = {"triclinic": "a", "trigonal": "h"}.get(system, system[0])
    centring = space_group_symbol(space_group)[0]
    return f"{family}{'C' if centring in 'ABCS' else centring}{n_atoms}"


def label_space_group(label: str) -> int:
    """Read the number of the space group from a prototype label.

    Raises:
        SourceError: If the text is no such label.

    Example:
        >>> label_space_group("AB_cF8_225_a_b")
        225
    """
    fields = label.split("_")
    if len(fields) < 4 or not fields[2].isdigit() or not 1 <= int(fields[2]) <= 230:
        raise SourceError(f"{label!r} is no prototype label such as 'AB_cF8_225_a_b'")
    return int(fields[2])


def find_space_group(structure: Any, symprec: float) -> int:
    """Find the number of the space group, 0 if the search fails.

    Args:
        structure: A ``pymatgen.core.Structure``.
        symprec: Tolerance of positions [Å]; that of angles is 5 degrees, as in the
            labels.
    """
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer, SymmetryUndeterminedError

    try:
        with _quiet_pymatgen():
            analyzer = SpacegroupAnalyzer(structure, symprec=symprec, angle_tolerance=5)
            return int(analyzer.get_space_group_number())
    except (SymmetryUndeterminedError, TypeError, ValueError):
        return 0


def find_symmetry(structure: Any) -> Symmetry:
    """Find the type of a crystal, and whether its space group is certain.

    Args:
        structure: A ``pymatgen.core.Structure``, fully ordered.
    """
    loose = find_space_group(structure, LOOSE_SYMPREC)
    try:
        label = prototype_label(structure)
    except SourceError as error:
        return Symmetry("", 0, loose, str(error))
    return Symmetry(label, label_space_group(label), loose)


@contextmanager
def _quiet_pymatgen() -> Iterator[None]:
    """Keep pymatgen's notes to its own developers off the user's screen."""
    with warnings.catch_warnings():
        # pymatgen 2026.10 calls a deprecated monty.fractions.gcd for each label.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
