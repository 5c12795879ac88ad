"""Draw synthetic crystals from a prior: sample i is a function of (seed, i).

The order of a draw is that of Schopmans, Reiser & Friederich (2023), Digital
Discovery 2, 1414, section 2.1: group, number of elements, elements with their
repetitions and Wyckoff positions, volume given the volume of the atoms, shape of
the cell, coordinates. The volume comes from the same conditional density, drawn
exactly; the cell has that volume to rounding; a crystal that would be more
symmetric than its group is drawn again within the group.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Int64

from pxrdbench.crystal.elements import ATOMIC_NUMBERS
from pxrdbench.crystal.generator.coordinate_model import CoordinateModel
from pxrdbench.crystal.generator.kernel import (
    N_REASONS,
    DrawOptions,
    TypeTemplate,
    draw_block,
)
from pxrdbench.crystal.prior.prior import Prior
from pxrdbench.crystal.prior.sampling_tables import sampling_tables
from pxrdbench.crystal.rng import check_seed
from pxrdbench.crystal.structure import CrystalBatch
from pxrdbench.crystal.symmetry.higher import (
    has_higher_symmetry,
    kernel_symmetry,
    load_higher_symmetry,
)
from pxrdbench.crystal.symmetry.letters import WYCKOFF_LETTERS
from pxrdbench.crystal.symmetry.tables import find_wyckoff_index, load_symmetry_tables
from pxrdbench.errors import CrystalError, PriorError

PRESETS = ("default", "paper")


@dataclass(frozen=True, eq=False)
class Rejections:
    """Draws that were thrown away, by space group (arrays indexed by its number).

    Attributes:
        accepted: Crystals returned.
        too_many_sites: The asymmetric unit grew above the prior's limit.
        atoms_too_large: The atoms fill more than any crystal of the group.
        volume_too_large: The cell is larger than the prior's limit.
        edge_too_short: A cell edge came out below 2 Å, which no crystal has.
        higher_symmetry: The crystal would have more symmetry than its group.
    """

    accepted: Int64[np.ndarray, " 231"]
    too_many_sites: Int64[np.ndarray, " 231"]
    atoms_too_large: Int64[np.ndarray, " 231"]
    volume_too_large: Int64[np.ndarray, " 231"]
    edge_too_short: Int64[np.ndarray, " 231"]
    higher_symmetry: Int64[np.ndarray, " 231"]

    @property
    def rejected(self) -> Int64[np.ndarray, " 231"]:
        """Draws thrown away for any reason."""
        total: np.ndarray = (
            self.too_many_sites
            + self.atoms_too_large
            + self.volume_too_large
            + self.edge_too_short
            + self.higher_symmetry
        )
        return total

    def __add__(self, other: "Rejections") -> "Rejections":
        return Rejections(
            *(getattr(self, f.name) + getattr(other, f.name) for f in fields(self))
        )


def draw_crystals(
    prior: Prior,
    seed: int,
    start: int,
    count: int,
    *,
    preset: str = "default",
    max_volume: float | None = None,
    max_sites: int | None = None,
    coordinates: CoordinateModel | None = None,
) -> CrystalBatch:
    """Draw the samples start to start + count - 1 of a seed.

    Args:
        prior: Distributions to draw from.
        seed: Key, 0 to 2^64 - 1.
        start: Index of the first sample.
        count: Number of samples.
        preset: "default", or "paper", which follows the reference implementation
            in two points: the last element of a crystal holds exactly one position,
            and cells miss the volume that was drawn by some percent.
        max_volume: Largest conventional cell [Å³]; the prior's if None.
        max_sites: Most sites of an asymmetric unit; the prior's if None.
        coordinates: Where atoms lie on their positions; uniform if None.

    Returns:
        Crystals whose draws depend on the prior, seed, options and index only, not on
        where the batch begins or ends.

    Raises:
        PriorError: If the preset is unknown, a limit is not positive, or a group
            yields no crystal.
    """
    return draw_crystals_with_report(
        prior,
        seed,
        start,
        count,
        preset=preset,
        max_volume=max_volume,
        max_sites=max_sites,
        coordinates=coordinates,
    )[0]


def draw_crystals_with_report(
    prior: Prior,
    seed: int,
    start: int,
    count: int,
    *,
    preset: str = "default",
    max_volume: float | None = None,
    max_sites: int | None = None,
    coordinates: CoordinateModel | None = None,
) -> tuple[CrystalBatch, Rejections]:
    """Draw crystals, and count what was thrown away (see ``draw_crystals``)."""
    options = _make_options(prior, preset, max_volume, max_sites)
    crystals, report = _draw(prior, seed, start, count, options, _NO_TYPE)
    return _place(crystals, coordinates, seed, start), report


def draw_naive_crystals(
    prior: Prior, seed: int, start: int, count: int, *, preset: str = "default"
) -> CrystalBatch:
    """Draw what ``draw_crystals`` draws before it throws anything away.

    Crystals may have more symmetry than their group, more atoms, larger cells and
    shorter edges than any known crystal. They serve to measure what rejections do to
    distributions; only more than ten times the prior's number of sites are drawn
    again.
    """
    options = _make_options(prior, preset, None, 10 * prior.max_sites)
    options = options._replace(is_naive=True)
    return _draw(prior, seed, start, count, options, _NO_TYPE)[0]


def draw_crystals_of_type(
    prior: Prior,
    space_group: int,
    sites: Sequence[tuple[int | str, str]],
    seed: int,
    start: int,
    count: int,
    *,
    preset: str = "default",
    max_volume: float | None = None,
    coordinates: CoordinateModel | None = None,
) -> tuple[CrystalBatch, Rejections]:
    """Draw crystals of one structure type: group and Wyckoff positions are given.

    Elements, volume, shape of the cell and free coordinates are drawn as always.

    Args:
        prior: Distributions to draw from; the group must be one of its groups.
        space_group: Number, 1-230.
        sites: Slot and Wyckoff letter of each site. A slot that is a symbol holds
            that element; one that is a number holds an element to be drawn, the same
            on all its sites and another than in any other slot.
        seed: Key, 0 to 2^64 - 1.
        start: Index of the first sample.
        count: Number of samples.
        preset: As of ``draw_crystals``; it concerns the cell only.
        max_volume: Largest conventional cell [Å³]; the prior's if None.
        coordinates: Where atoms lie on their positions; uniform if None.

    Returns:
        Crystals whose sites stand in the order given, and what was thrown away.

    Raises:
        PriorError: If the prior does not hold the group or enough elements, a
            position without freedom is given twice, all crystals of the type have
            more symmetry than the group, or none fits.
        CrystalError: If a letter is not one of the group, or an element is unknown.

    Example:
        >>> from pxrdbench.crystal.prior.prior import load_prior
        >>> perovskites, _ = draw_crystals_of_type(
        ...     load_prior("open-v0"), 221, [(0, "a"), (1, "b"), ("O", "c")], 1, 0, 5
        ... )
        >>> [site.wyckoff_letter for site in perovskites[4].sites]
        ['a', 'b', 'c']
        >>> perovskites[4].sites[2].element
        'O'
    """
    template = _make_template(prior, space_group, sites)
    options = _make_options(prior, preset, max_volume, len(sites))
    crystals, report = _draw(prior, seed, start, count, options, template)
    return _place(crystals, coordinates, seed, start), report


_NO_TYPE = TypeTemplate(
    -1, np.zeros(0, np.int64), np.zeros(0, np.int16), np.zeros(0, np.int64)
)


def _make_template(
    prior: Prior, space_group: int, sites: Sequence[tuple[int | str, str]]
) -> TypeTemplate:
    """Check a structure type, and number its slots."""
    if space_group not in prior.space_groups:
        raise PriorError(
            f"prior {prior.name!r} does not hold group {space_group}; it has "
            f"{len(prior.space_groups)} groups, a smoothed one can have all"
        )
    if not sites:
        raise PriorError("a structure type needs a site")
    row = prior.space_groups.index(space_group)
    wyckoff = [find_wyckoff_index(space_group, letter) for _, letter in sites]
    tables = load_symmetry_tables()
    first = tables.position_rows(space_group).start
    for index in set(wyckoff):
        is_fixed = tables.degrees_of_freedom[first + index] == 0
        if is_fixed and wyckoff.count(index) > 1:
            raise PriorError(
                f"group {space_group}: position {WYCKOFF_LETTERS[index]} has no "
                "freedom and holds one element, not more"
            )
    names = list(dict.fromkeys(slot for slot, _ in sites))
    unknown = [n for n in names if isinstance(n, str) and n not in ATOMIC_NUMBERS]
    if unknown:
        raise CrystalError(f"unknown element {unknown[0]!r}; symbols H to Cf are known")
    element = np.array([ATOMIC_NUMBERS.get(str(name), 0) for name in names], np.int64)
    known = np.flatnonzero(prior.element[row])
    left = np.setdiff1d(known, element)
    if len(left) < (element == 0).sum():
        raise PriorError(
            f"prior {prior.name!r} knows {len(known)} elements in group {space_group}: "
            f"too few for {(element == 0).sum()} slots"
        )
    template = TypeTemplate(
        row,
        np.array([names.index(slot) for slot, _ in sites], np.int64),
        np.array(wyckoff, np.int16),
        element,
    )
    # Any different numbers tell what all elements would.
    if has_higher_symmetry(
        space_group,
        template.slot + 1,
        template.wyckoff,
        kernel_symmetry(),
        load_higher_symmetry(),
    ):
        raise PriorError(
            f"all crystals of this type have more symmetry than group {space_group}: "
            f"{' '.join(f'{slot}:{letter}' for slot, letter in sites)}"
        )
    return template


def _make_options(
    prior: Prior, preset: str, max_volume: float | None, max_sites: int | None
) -> DrawOptions:
    """Check the options of a draw."""
    if preset not in PRESETS:
        raise PriorError(f"unknown preset {preset!r}; known are {', '.join(PRESETS)}")
    volume = prior.max_volume if max_volume is None else float(max_volume)
    sites = prior.max_sites if max_sites is None else int(max_sites)
    if not (volume > 0.0 and sites >= 1):
        raise PriorError(
            f"max_volume {volume:g} Å³, max_sites {sites}; it must hold that "
            "max_volume > 0 and max_sites >= 1"
        )
    return DrawOptions(0, sites, volume, preset == "paper", False)


def _place(
    crystals: CrystalBatch, coordinates: CoordinateModel | None, seed: int, start: int
) -> CrystalBatch:
    """Let a model draw the coordinates, if there is one."""
    if coordinates is None:
        return crystals
    return replace(crystals, fract=coordinates.place(crystals, seed, start))


def _draw(
    prior: Prior,
    seed: int,
    start: int,
    count: int,
    options: DrawOptions,
    template: TypeTemplate,
) -> tuple[CrystalBatch, Rejections]:
    """Run the kernel until all crystals are there."""
    check_seed(seed, start, count)
    lattice = np.empty((count, 6))
    space_group = np.empty(count, np.int16)
    site_offset = np.zeros(count + 1, np.int64)
    report = np.zeros((N_REASONS, 231), np.int64)
    # About nine sites a crystal; a block that is too small is followed by another.
    blocks: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    done = 0
    while done < count:
        capacity = min(12, options.max_sites) * (count - done) + options.max_sites
        sites = (
            np.empty((capacity, 3)),
            np.empty(capacity, np.int16),
            np.empty(capacity, np.int16),
        )
        first = done
        done = draw_block(
            sampling_tables(prior),
            kernel_symmetry(),
            load_higher_symmetry(),
            (np.uint64(seed), np.uint64(start)),
            options._replace(first=first),
            template,
            lattice,
            space_group,
            site_offset,
            sites,
            report,
        )
        if done < 0:
            raise PriorError(
                f"prior {prior.name!r}: group {space_group[-1 - done]} yields no "
                f"crystal of at most {options.max_volume:g} Å³ and "
                f"{options.max_sites} sites whose symmetry is its own"
            )
        used = int(site_offset[done] - site_offset[first])
        blocks.append((sites[0][:used], sites[1][:used], sites[2][:used]))
    n_sites = int(site_offset[-1])
    if not blocks:
        nothing = np.empty((0, 3)), np.empty(0, np.int16), np.empty(0, np.int16)
        blocks.append(nothing)
    fract, number, wyckoff = (
        np.concatenate(parts) for parts in zip(*blocks, strict=True)
    )
    crystals = CrystalBatch(
        lattice=lattice,
        space_group=space_group,
        site_offset=site_offset,
        fract=fract,
        atomic_number=number,
        wyckoff_index=wyckoff,
        occupancy=np.ones(n_sites),
        b_iso=np.zeros(n_sites),
        charge=np.zeros(n_sites, np.int8),
    )
    return crystals, Rejections(*report)
