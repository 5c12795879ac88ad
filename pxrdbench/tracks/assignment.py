"""Who learns and who is asked: rules that deal crystals to the parts of a split.

Each rule depends on labels and names only: not on the order of the crystals, the number
of workers or the machine.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from pxrdbench.errors import SplitError

# What priors may see, what one tunes on, what is reported: percent of the crystals.
PART_SHARES: Mapping[str, int] = {"statistics": 65, "dev": 5, "test": 30}


def deal_types(
    space_groups: Sequence[int],
    structure_types: Sequence[str],
    shares: Mapping[str, int] = PART_SHARES,
    key: str = "pxrdbench 1",
) -> list[str]:
    """Deal whole structure types to the parts of a split.

    Within each space group the largest type comes first, and each goes to the part
    that lacks most crystals of its share; equal sizes come in the order of a keyed
    hash of the label. A bare hash of the types would leave the space groups of two
    parts 0.2-0.3 apart in total variation, because a few types are huge.

    Args:
        space_groups: Of each crystal.
        structure_types: Label of each crystal, see `sources.structure_type`.
        shares: Parts, and how the crystals should be shared out among them.
        key: Another key breaks ties otherwise.

    Returns:
        The part of each crystal. It does not depend on the order of the crystals.

    Raises:
        SplitError: If a type is found in two space groups.

    Example:
        >>> deal_types([2, 2, 2, 1], ["b", "b", "a", "c"], {"x": 6, "y": 4})
        ['x', 'x', 'y', 'x']
    """
    sizes = Counter(structure_types)
    group_of: dict[str, int] = {}
    for group, label in zip(space_groups, structure_types, strict=True):
        if group_of.setdefault(label, int(group)) != group:
            raise SplitError(
                f"structure type {label!r} is found in space groups "
                f"{group_of[label]} and {group}; a type lies in one"
            )
    types_of: defaultdict[int, list[str]] = defaultdict(list)
    for label, group in group_of.items():
        types_of[group].append(label)
    part_of: dict[str, str] = {}
    for labels in types_of.values():
        total = sum(sizes[label] for label in labels)
        # In whole numbers, crystals times the sum of the shares: ties stay ties.
        lacking = {part: share * total for part, share in shares.items()}
        for label in sorted(labels, key=lambda x: (-sizes[x], keyed_hash(key, x))):
            part = max(lacking, key=lambda name: lacking[name])
            lacking[part] -= sizes[label] * sum(shares.values())
            part_of[label] = part
    return [part_of[label] for label in structure_types]


def keyed_hash(key: str, text: str) -> bytes:
    """Order texts in a way that nobody chose."""
    return hashlib.blake2b(text.encode(), key=key.encode(), digest_size=16).digest()


def deal_rows(
    names: Sequence[str], counts: Mapping[str, int], rest: str, key: str
) -> list[str]:
    """Deal crystals one by one, as if at random: what everyone did once.

    The crystals are put in the order of a keyed hash of their names; the first go to
    the first part, and so on.

    Args:
        names: Of the crystals, no two alike.
        counts: Parts, and how many crystals each gets.
        rest: Part of all others.
        key: Another key deals otherwise.

    Returns:
        The part of each crystal. It does not depend on the order of the crystals.

    Raises:
        SplitError: If there are fewer crystals than are to be dealt, or two of a name.

    Example:
        >>> deal_rows(["a", "b", "c"], {"test": 1}, "statistics", "key")
        ['statistics', 'test', 'statistics']
    """
    if len(set(names)) != len(names):
        raise SplitError("two crystals have one name; a deal by names cannot be fair")
    if sum(counts.values()) > len(names):
        raise SplitError(
            f"{len(names)} crystals cannot give {sum(counts.values())} to parts"
        )
    parts = [part for part, count in counts.items() for _ in range(count)]
    ordered = sorted(names, key=lambda name: keyed_hash(key, name))
    part_of = dict(zip(ordered, parts, strict=False))
    return [part_of.get(name, rest) for name in names]


def deal_by_hash(
    labels: Sequence[str],
    shares: Mapping[str, int] = PART_SHARES,
    key: str = "pxrdbench 1",
) -> list[str]:
    """Deal labels by their keyed hash alone: a label never changes its part.

    Where a data base grows from release to release, `deal_types` would deal its types
    anew. Here the hash of a label is a number in [0, 1), and the parts are intervals
    of it, the last of the shares first: statistics of 65, dev of 5 and test of 30 % are
    [0.35, 1), [0.30, 0.35) and [0, 0.30).

    Args:
        labels: What stays together: structure types, or names of crystals.
        shares: Parts, and how the labels should be shared out among them.
        key: Another key deals otherwise.

    Example:
        >>> deal_by_hash(["NaCl", "CsCl", "NaCl"], {"x": 1, "y": 1})
        ['x', 'y', 'x']
    """
    total = sum(shares.values())

    def part_of(label: str) -> str:
        place = int.from_bytes(keyed_hash(key, label), "big") * total >> 128
        for part in reversed(list(shares)):
            place -= shares[part]
            if place < 0:
                return part
        raise AssertionError("a hash of 128 bits is below 2 to the 128")

    known = {label: part_of(label) for label in set(labels)}
    return [known[label] for label in labels]


def deal_exactly(
    labels: Sequence[str], test_percent: int = 30, key: str = "pxrdbench 1"
) -> list[str]:
    """Deal an exact share of the labels, and no part to tune on, as the paper does.

    The labels are put in the order of their keyed hash; the first are asked about, as
    many as the share rounded up, all others are to learn from. The share is one of
    labels (structure types), not of crystals.

    Args:
        labels: What stays together: structure types, or names of crystals.
        test_percent: Share of the labels that are asked about.
        key: Another key deals otherwise.

    References:
        Schopmans et al. (2023), Digital Discovery 2, 1414: 70 % and 30 % of the types.

    Example:
        >>> deal_exactly(["a", "b", "b", "c"]).count("test")
        1
    """
    known = sorted(set(labels), key=lambda label: (keyed_hash(key, label), label))
    asked = set(known[: -(-len(known) * test_percent // 100)])
    return ["test" if label in asked else "statistics" for label in labels]


def deal_by_year(
    years: Sequence[int], names: Sequence[str], counts: Mapping[str, int], key: str
) -> list[str]:
    """Deal crystals by the year in which they became known: learn from the past.

    The last year is asked about, the year before is for tuning, all others are to
    learn from. Of the last two years only some are taken, see `deal_rows`.

    Args:
        years: Of each crystal, 0 if unknown.
        names: Of the crystals.
        counts: Crystals of ``dev`` and ``test``.
        key: Another key takes others.

    Returns:
        The part of each crystal: ``statistics``, ``dev``, ``test``, ``reserve`` for
        what was not taken, "" where no year is known.

    Raises:
        SplitError: If the last two years hold too few crystals.
    """
    known = sorted({year for year in years if year > 0})
    if len(known) < 3:
        raise SplitError(f"three years are needed, the crystals are of {known}")
    parts = ["statistics" if year else "" for year in years]
    for part, year in (("dev", known[-2]), ("test", known[-1])):
        rows = [row for row, other in enumerate(years) if other == year]
        dealt = deal_rows(
            [names[row] for row in rows], {part: counts[part]}, "reserve", key
        )
        for row, name in zip(rows, dealt, strict=True):
            parts[row] = name
    return parts


def total_variation(first: Sequence[int], second: Sequence[int]) -> float:
    """Measure how far apart the frequencies of two sets of labels are.

        Σ_x |p(x) − q(x)| / 2

    Returns:
        0 for equal frequencies, 1 where no label is in both.

    Example:
        >>> total_variation([1, 1, 2, 2], [1, 1, 1, 2])
        0.25
    """
    if not len(first) or not len(second):
        raise SplitError("the total variation of an empty part is not defined")
    p, q = Counter(first), Counter(second)
    return 0.5 * sum(
        abs(p[x] / len(first) - q[x] / len(second)) for x in sorted(p.keys() | q.keys())
    )
