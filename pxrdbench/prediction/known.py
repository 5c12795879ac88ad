"""What the owner of a sample knows of it, and what that says before the scan is read.

Elements and formulas speak of volumes: atoms of a kind take nearly the same room in all
oxides and fluorides, and another in all other crystals (``atomic_volumes.csv``: least
squares on 8,368 and 15,133 crystals of the Materials Project, CC-BY 4.0; ln(volume) is
within 0.1 for two of three). A cell holds whole formula units, and a group can place
them or cannot.
"""

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Float64

from pxrdbench.crystal.elements import ELEMENT_SYMBOLS
from pxrdbench.crystal.prior.prior import available_priors, load_prior
from pxrdbench.crystal.symmetry.symbols import find_space_group
from pxrdbench.crystal.symmetry.tables import (
    CRYSTAL_SYSTEMS,
    crystal_system,
    load_symmetry_tables,
)
from pxrdbench.errors import PatternError
from pxrdbench.indexing.groups.posterior import PRIORS, group_prior
from pxrdbench.indexing.index import stated_cells
from pxrdbench.indexing.lines.scan_lines import no_lines
from pxrdbench.outside import parse_strict_json

DEFAULT_PRIOR = "minerals"
# Added to counts of crystals: a group that no mineral has may be the next one's.
_PSEUDO_COUNT = 0.5
# Crystals with more oxygen and fluorine than this are oxides here.
_OXIDE = 0.15
# Standard deviation of ln(volume) of a formula, see above.
_VOLUME_SPREAD = 0.13
# A cell whose volume no number of formula units gives is so unlikely and no less:
# solid solutions, vacancies and water that a formula leaves out.
_LEAST_LOG = -8.0
# Nor may it count for more than this between cells: a formula may be wrong, and then
# the cell of the lines has to stand for that to be noticed.
_LEAST_WEIGHT = -3.0
# Formula units a primitive cell: shares among the 15,219 crystals of the `statistics`
# part of `open/structure-type` (1: 5,922, 2: 5,828, 3: 343, 4: 2,802, 6: 101, 8: 162,
# 12: 15, 16: 15; all others together 31). A formula may be written in parts or
# multiples of what a chemist would call a unit: every number keeps a share.
_UNITS = {1: 0.389, 2: 0.383, 3: 0.0225, 4: 0.184, 6: 0.0066, 8: 0.0106}
_ANY_UNITS = 0.004
# A group whose positions cannot hold the formula units keeps so much: occupancies of a
# part are usual (32 % of ICSD entries).
_CANNOT_HOLD = 0.25
# ln of what a volume may be off when units are counted; garnets are 0.18 denser.
_ROOM = 0.35
# Formula units are not told apart by volume beyond so many.
_MOST_UNITS = 96
_TOKEN = re.compile(r"([A-Z][a-z]?)|(\d+(?:\.\d+)?)|([(\[])|([)\]])|([.·*•])|(\s+)")

Groups = Float64[np.ndarray, " 231"]


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of a sample.

    Attributes:
        cell: a, b, c [Å], α, β, γ [degrees], exact or near.
        bravais_lattice: Of that cell.
        elements: Symbols of all elements that may be there.
        formula: Atoms of each element in a formula unit.
        crystal_system: Of the crystal.
        max_volume: Of the primitive cell [Å³].
        prior: How frequent each group 0-230 is; zero where it is excluded.
        prior_name: Where that comes from.
    """

    prior: Groups
    prior_name: str
    cell: tuple[float, ...] | None = None
    bravais_lattice: str | None = None
    elements: tuple[str, ...] = ()
    formula: Mapping[str, float] = field(default_factory=dict)
    crystal_system: str | None = None
    max_volume: float | None = None

    def __post_init__(self) -> None:
        self.prior.flags.writeable = False
        object.__setattr__(self, "formula", MappingProxyType(dict(self.formula)))

    @property
    def formula_volume(self) -> float:
        """Volume that the formula unit should take [Å³]; 0 where none is known."""
        total = sum(self.formula.values())
        anions = self.formula.get("O", 0.0) + self.formula.get("F", 0.0)
        rooms = atomic_volumes(anions > _OXIDE * total)
        return sum(rooms[e] * n for e, n in self.formula.items())

    def log_volume(self, volume: float) -> float:
        """Log-likelihood of the volume of a primitive cell [Å³], at most 0.

        Of a formula: the likeliest number of its units, by how frequent the number is
        and by the volume that is left for each.
        """
        unit = self.formula_volume
        if unit > 0.0:
            most = max(_UNITS.values())
            near = {max(1, int(volume / unit)), max(1, math.ceil(volume / unit))}
            return max(
                _LEAST_WEIGHT,
                *(
                    math.log(_UNITS.get(units, _ANY_UNITS) / most)
                    - 0.5 * (math.log(volume / (unit * units)) / _VOLUME_SPREAD) ** 2
                    for units in {*near, *_UNITS}
                ),
            )
        return max(_LEAST_WEIGHT, self.log_room(volume))

    def log_room(self, volume: float) -> float:
        """As `log_volume`, whatever the number of formula units is."""
        unit = self.formula_volume
        if unit > 0.0:
            units = max(1, round(volume / unit))
            off = math.log(volume / (unit * units)) / _VOLUME_SPREAD
            return max(_LEAST_LOG, -0.5 * off * off)
        if self.elements:
            # A crystal of several elements has one atom of each at least; that all
            # are there is not said, so half of them is what is asked for.
            is_oxide = bool({"O", "F"} & set(self.elements))
            least = 0.5 * sum(atomic_volumes(is_oxide)[e] for e in self.elements)
            off = min(0.0, math.log(volume / least)) / _VOLUME_SPREAD
            return max(_LEAST_LOG, -0.5 * off * off)
        return 0.0

    def holding(self, volume: float) -> Groups:
        """Factor of each group by whether its positions can hold the formula.

        Args:
            volume: Of the primitive cell [Å³].
        """
        factor = np.ones(231)
        unit = self.formula_volume
        counts = tuple(sorted(self.formula.items()))
        if unit <= 0.0 or any(n != int(n) for _, n in counts):
            return factor
        tables = load_symmetry_tables()
        atoms = tuple(int(n) for _, n in counts)
        for group in np.flatnonzero(self.prior):
            whole = volume * int(tables.n_centring[group])
            low, high = (whole / unit * math.exp(s) for s in (-_ROOM, _ROOM))
            units = range(
                max(1, math.ceil(low)), min(math.floor(high), _MOST_UNITS) + 1
            )
            if not any(_can_hold(int(group), atoms, z) for z in units):
                factor[group] = _CANNOT_HOLD
        return factor


def make_known(
    *,
    cell: Sequence[float] | None = None,
    bravais_lattice: str | None = None,
    elements: str | Sequence[str] | None = None,
    formula: str | None = None,
    crystal_system: str | None = None,
    exclude: str | Sequence[str | int] | None = None,
    prior: str | Path | Groups | None = None,
    max_volume: float | None = None,
) -> Known:
    """Check what a person says of a sample.

    Args:
        cell: Six numbers.
        bravais_lattice: Of it, such as "mP".
        elements: Symbols, as a list or "Fe,O".
        formula: Such as "Ca3Al2(SiO4)3" or "CuSO4·5H2O".
        crystal_system: "triclinic" … "cubic".
        exclude: Space groups by number or symbol, and crystal systems, that it's not.
        prior: "icsd", "open", "uniform", or the name of a prior of crystals such as
            "minerals"; a file (.csv with columns space_group and
            weight, or .json of weights by number); or 231 weights.
        max_volume: Of the primitive cell [Å³].

    Raises:
        PatternError: If one of these cannot be, or they contradict each other.
    """
    symbols = _read_elements(elements)
    counts = parse_formula(formula) if formula is not None else {}
    missing = sorted(set(counts) - set(symbols)) if symbols else []
    if missing:
        raise PatternError(
            f"the formula {formula} has {', '.join(missing)}, which elements "
            f"({', '.join(symbols)}) leave out"
        )
    if crystal_system is not None and crystal_system not in CRYSTAL_SYSTEMS:
        raise PatternError(
            f"unknown crystal system {crystal_system!r}; known are "
            f"{', '.join(CRYSTAL_SYSTEMS)}"
        )
    if max_volume is not None and not 0.0 < max_volume < math.inf:
        raise PatternError(f"max_volume {max_volume} must be above zero")
    if cell is not None and max_volume is not None:
        raise PatternError(
            "max_volume guides a search, and with a stated cell none takes place: "
            "leave it away"
        )
    if bravais_lattice is not None and cell is None:
        raise PatternError("bravais_lattice says what a stated cell is: give cell, too")
    if cell is not None:  # refuses what is no cell
        stated_cells(cell, bravais_lattice, no_lines(1.0, np.array([5.0, 90.0])))
    shares, name = _read_prior(prior)
    allowed = np.ones(231, np.bool_)
    if crystal_system is not None:
        allowed = _of_system(crystal_system)
    for group in _read_groups(exclude):
        allowed[group] = False
    shares = np.where(allowed, shares, 0.0)
    if shares.sum() <= 0.0:
        raise PatternError("what is excluded leaves no space group")
    return Known(
        prior=shares / shares.sum(),
        prior_name=name,
        cell=None if cell is None else tuple(float(v) for v in cell),
        bravais_lattice=bravais_lattice,
        elements=symbols,
        formula=counts,
        crystal_system=crystal_system,
        max_volume=max_volume,
    )


@cache
def atomic_volumes(in_oxides: bool) -> Mapping[str, float]:
    """Room that an atom of each element takes [Å³]; 15 where no crystal told."""
    rooms = dict.fromkeys(ELEMENT_SYMBOLS[1:], 15.0)
    path = Path(__file__).with_name("atomic_volumes.csv")
    column = "in_oxides" if in_oxides else "in_others"
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            rooms[row["element"]] = float(row[column])
    return MappingProxyType(rooms)


def parse_formula(text: str) -> dict[str, float]:
    """Count the atoms of a formula, in lowest terms where they are whole.

    Raises:
        PatternError: If it is no formula.

    Example:
        >>> parse_formula("Mg2Al4(SiO4)2")
        {'Mg': 1.0, 'Al': 2.0, 'Si': 1.0, 'O': 4.0}
        >>> parse_formula("CuSO4·5H2O")
        {'Cu': 1.0, 'S': 1.0, 'O': 9.0, 'H': 10.0}
    """
    counts: dict[str, float] = {}
    # A point is that of a number, unless water or a symbol follows.
    for part in re.split(r"[·*•]|\.(?=\d*H2O|[A-Z(])", text):
        match = re.match(r"\s*(\d+(?:\.\d+)?)\s*(?=[A-Z(\[])", part)
        factor = float(match[1]) if match else 1.0
        body = part[match.end() :] if match else part
        for element, count in _count_part(body, text).items():
            counts[element] = counts.get(element, 0.0) + factor * count
    if not counts:
        raise PatternError(f"{text!r} is no formula, such as CaCO3 or Ca3Al2(SiO4)3")
    if all(n == int(n) for n in counts.values()):
        divisor = math.gcd(*(int(n) for n in counts.values()))
        counts = {element: n / divisor for element, n in counts.items()}
    return counts


def _count_part(body: str, whole: str) -> dict[str, float]:
    stack: list[dict[str, float]] = [{}]
    last: dict[str, float] = {}
    place = 0
    while place < len(body):
        match = _TOKEN.match(body, place)
        if match is None or match[5]:
            raise PatternError(
                f"formula {whole!r}: {body[place]!r} is not understood; write it as "
                "CaCO3, Ca3Al2(SiO4)3 or CuSO4·5H2O"
            )
        place = match.end()
        element, number, opened, closed = match[1], match[2], match[3], match[4]
        if element:
            if element not in ELEMENT_SYMBOLS[1:]:
                raise PatternError(f"formula {whole!r}: there is no element {element}")
            last = {element: 1.0}
            stack[-1][element] = stack[-1].get(element, 0.0) + 1.0
        elif number:
            if not last or float(number) <= 0.0:
                raise PatternError(f"formula {whole!r}: {number} counts nothing")
            for name, count in last.items():
                stack[-1][name] += (float(number) - 1.0) * count
            last = {}
        elif opened:
            stack.append({})
            last = {}
        elif closed:
            if len(stack) == 1:
                raise PatternError(f"formula {whole!r}: a bracket closes too much")
            last = stack.pop()
            for name, count in last.items():
                stack[-1][name] = stack[-1].get(name, 0.0) + count
    if len(stack) > 1:
        raise PatternError(f"formula {whole!r}: a bracket is not closed")
    return stack[0]


def _read_elements(elements: str | Sequence[str] | None) -> tuple[str, ...]:
    if elements is None:
        return ()
    words = re.split(r"[\s,;-]+", elements) if isinstance(elements, str) else elements
    symbols = tuple(dict.fromkeys(word.strip().capitalize() for word in words if word))
    wrong = [s for s in symbols if s not in ELEMENT_SYMBOLS[1:]]
    if wrong or not symbols:
        raise PatternError(
            f"elements {elements!r}: write symbols from H to Cf with commas, as Fe,O"
            + (f"; there is no {wrong[0]}" if wrong else "")
        )
    return symbols


def _of_system(name: str) -> Bool[np.ndarray, " 231"]:
    return np.array([False, *(crystal_system(g) == name for g in range(1, 231))])


def _read_groups(exclude: str | Sequence[str | int] | None) -> set[int]:
    """Numbers, symbols and systems to numbers."""
    if exclude is None:
        return set()
    words = exclude.split(",") if isinstance(exclude, str) else list(exclude)
    found: set[int] = set()
    for word in words:
        text = str(word).strip()
        if text in CRYSTAL_SYSTEMS:
            found |= set(np.flatnonzero(_of_system(text)).tolist())
            continue
        group = int(text) if text.isdigit() else find_space_group(text)
        if not 1 <= group <= 230:
            raise PatternError(
                f"exclude {text!r}: no space group (1-230, or a symbol such as P21/c) "
                "and no crystal system"
            )
        found.add(group)
    return found


def _read_prior(prior: str | Path | Groups | None) -> tuple[Groups, str]:
    if prior is None:
        prior = DEFAULT_PRIOR
    if isinstance(prior, str) and prior in PRIORS:
        return group_prior(prior).copy(), prior
    if isinstance(prior, str) and prior in available_priors():
        return _of_crystals(prior), prior
    if isinstance(prior, str | Path):
        return _checked(_read_prior_file(Path(prior)), str(prior)), Path(prior).name
    return _checked(np.asarray(prior, np.float64), "prior"), "given"


def _of_crystals(name: str) -> Groups:
    """Frequencies of the crystals that a prior of the generator was fitted to."""
    fitted = load_prior(name)
    counts = np.full(231, _PSEUDO_COUNT)
    counts[0] = 0.0
    groups = list(fitted.space_groups)
    counts[groups] += fitted.space_group_probability * float(np.sum(fitted.n_crystals))
    result: Groups = counts / counts.sum()
    return result


def _checked(shares: np.ndarray, name: str) -> Groups:
    if shares.shape != (231,) or not (
        np.isfinite(shares).all() and (shares >= 0).all() and shares[1:].sum() > 0.0
    ):
        raise PatternError(
            f"{name}: a prior is 231 weights, none below zero and not all zero; entry "
            "0 is not used"
        )
    shares = shares.copy()
    shares[0] = 0.0
    result: Groups = shares / shares.sum()
    return result


def _read_prior_file(path: Path) -> np.ndarray:
    """Weights by group; those that a file leaves out are zero."""
    if not path.is_file():
        raise PatternError(
            f"there is no prior {str(path)!r}, and no such file; known are "
            f"{', '.join((*PRIORS, *available_priors()))}"
        )
    shares = np.zeros(231)
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".json":
            rows = list(parse_strict_json(text, str(path), PatternError).items())
        else:
            table = csv.DictReader(text.splitlines())
            rows = [(row["space_group"], row["weight"]) for row in table]
        for group, weight in rows:
            number = int(group)
            if not 1 <= number <= 230:
                raise ValueError(f"no space group {number}")
            shares[number] += float(weight)
    except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise PatternError(
            f"{path}: a prior is a .csv with columns space_group and weight, or a "
            f".json of weights by number ({error})"
        ) from error
    return shares


@lru_cache(maxsize=4096)
def _can_hold(group: int, atoms: tuple[int, ...], units: int) -> bool:
    """Whether the positions of a group can hold so many atoms of each element.

    A position without a free coordinate is taken once, others as often as wanted.
    """
    tables = load_symmetry_tables()
    rows = slice(
        int(tables.position_offset[group]), int(tables.position_offset[group + 1])
    )
    sizes = tables.multiplicity[rows].astype(int)
    is_fixed = tables.degrees_of_freedom[rows] == 0
    free = sorted(set(sizes[~is_fixed].tolist()))
    kinds, counts = np.unique(sizes[is_fixed], return_counts=True)
    wanted = sorted((units * n for n in atoms), reverse=True)
    return _place(
        tuple(wanted), tuple(kinds.tolist()), tuple(counts.tolist()), tuple(free)
    )


@lru_cache(maxsize=65536)
def _place(
    wanted: tuple[int, ...],
    kinds: tuple[int, ...],
    left: tuple[int, ...],
    free: tuple[int, ...],
) -> bool:
    if not wanted:
        return True
    count, rest = wanted[0], wanted[1:]
    for used in _choices(count, kinds, left):
        remain = count - sum(k * n for k, n in zip(kinds, used, strict=True))
        if _is_sum(remain, free):
            still = tuple(a - b for a, b in zip(left, used, strict=True))
            if _place(rest, kinds, still, free):
                return True
    return False


def _choices(
    count: int, kinds: tuple[int, ...], left: tuple[int, ...]
) -> list[tuple[int, ...]]:
    """Ways to take positions without a free coordinate, not above a count."""
    found: list[tuple[int, ...]] = [()]
    for kind, most in zip(kinds, left, strict=True):
        found = [
            (*one, n) for one in found for n in range(min(most, count // kind) + 1)
        ]
    return [
        one
        for one in found
        if sum(k * n for k, n in zip(kinds, one, strict=True)) <= count
    ]


@lru_cache(maxsize=65536)
def _is_sum(count: int, sizes: tuple[int, ...]) -> bool:
    """Whether a count is a sum of sizes, each taken as often as wanted."""
    if count == 0:
        return True
    if not sizes:
        return False
    divisor = math.gcd(*sizes)
    if count % divisor:
        return False
    reach = {0}
    for _ in range(count // min(sizes)):
        reach |= {r + s for r in reach for s in sizes if r + s <= count}
        if count in reach:
            return True
    return False
