"""Which space groups a network tells apart: its class list."""

from collections.abc import Sequence

from pxrdbench.crystal.prior.prior import load_prior
from pxrdbench.errors import ModelError

ALL_SPACE_GROUPS = tuple(range(1, 231))


def parse_class_list(text: str, of_source: Sequence[int]) -> tuple[int, ...]:
    """Find a class list by name.

    Args:
        text: ``source`` (the groups that the source may show), ``open-145`` (as many as
            the reference work has), ``all``, or numbers joined by commas.
        of_source: The groups of the source.

    Raises:
        ModelError: If it is none of these, or names a group twice.

    Example:
        >>> parse_class_list("2,14,62", [2, 14])
        (2, 14, 62)
    """
    if text == "source":
        return tuple(int(group) for group in of_source)
    if text == "all":
        return ALL_SPACE_GROUPS
    if text == "open-145":
        return load_prior("open-145").space_groups
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 1 <= int(part) <= 230 for part in parts):
        raise ModelError(
            f"{text!r} is no class list; use source, open-145, all, or numbers 1-230 "
            "joined by commas"
        )
    groups = tuple(int(part) for part in parts)
    if len(set(groups)) != len(groups):
        raise ModelError(f"the class list {text!r} names a space group twice")
    return groups
