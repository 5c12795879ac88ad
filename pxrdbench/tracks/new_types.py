"""Structure types that no part holds which is learnt from or tuned on.

A track that deals crystals as if at random asks mostly about types that were learnt
from; on ``aflow/prototypes`` the parts of ``open/structure-type`` hold many of the
types. A type is *new* on a track if it occurs in its asked part and neither in another
part of the track, nor in the parts ``statistics`` and ``dev`` of
``open/structure-type``: the shipped prior was fitted on the first, what is shipped was
chosen by the second. Which these are follows from labels alone, no score has a say;
``new_types.json`` holds their number and the digest of their labels, so that no later
change of a table moves them unseen.
"""

import hashlib
from functools import lru_cache

import numpy as np
from jaxtyping import Bool

from pxrdbench.errors import SplitError
from pxrdbench.outside import guard, read_strict_json
from pxrdbench.tracks.load import (
    OPEN_TRACK,
    TRACKS_FOLDER,
    available_tracks,
    load_record,
    load_table,
    load_track,
)
from pxrdbench.tracks.part import Part

NEW_TYPES = TRACKS_FOLDER / "new_types.json"
_FORMAT, _VERSION = "pxrdbench.new-types", 1
# The shipped prior was fitted on the first, shipped models were chosen by the second.
_LEARNT_PARTS = ("statistics", "dev")
_ASKED = "test"


def find_new_types(part: Part) -> Bool[np.ndarray, " crystals"] | None:
    """Tell which crystals of a part are of a type that no other part holds.

    Args:
        part: What is asked about.

    Returns:
        A flag a crystal; None where no list was fixed beforehand (tracks of own data,
        other parts than ``test``) or the list is of another version of the track.

    Raises:
        SplitError: If the list is not the one that was fixed.
    """
    if part.part != _ASKED or part.place not in available_tracks():
        return None
    if str(load_record(part.place)["split_digest"]) != _fixed()[part.name][2]:
        return None
    new = _new_labels(part.name)
    n_types, digest, _ = _fixed()[part.name]
    if (len(new), digest_of(new)) != (n_types, digest):
        raise SplitError(
            f"{part.name}: {len(new)} types of no other part are not the {n_types} "
            f"that {NEW_TYPES.name} fixed"
        )
    return np.array([label in new for label in part.structure_type], bool)


@lru_cache
def _new_labels(track: str) -> frozenset[str]:
    """Labels of the types of the asked part that occur nowhere else."""
    table = load_table(track)
    asked: set[str] = set()
    others: set[str] = set()
    for part, label in zip(
        table["part"].to_pylist(), table["structure_type"].to_pylist(), strict=True
    ):
        (asked if part == _ASKED else others).add(label)
    for part in _LEARNT_PARTS:
        others |= set(load_table(OPEN_TRACK, part)["structure_type"].to_pylist())
    return frozenset(asked - others)


def digest_of(labels: frozenset[str]) -> str:
    """Hash labels in their own order: sha256, hexadecimal."""
    return hashlib.sha256("\n".join(sorted(labels)).encode()).hexdigest()


@lru_cache
def _fixed() -> dict[str, tuple[int, str, str]]:
    """Number and digest of the new types, digest of the split, by track."""
    record = read_strict_json(NEW_TYPES, SplitError)
    with guard(SplitError, f"{NEW_TYPES} cannot be read"):
        if record["format"] != _FORMAT or record["format_version"] != _VERSION:
            raise SplitError(f"{NEW_TYPES} is of another version of pxrdbench")
        return {
            str(name): (int(one["types"]), str(one["digest"]), str(one["split"]))
            for name, one in record["tracks"].items()
        }


def describe_new_types() -> dict[str, object]:
    """Make the record that fixes the lists: for whoever builds a track anew."""
    tracks = {}
    for name in available_tracks():
        new = _new_labels(name)
        types = load_track(name, _ASKED).structure_type
        tracks[name] = {
            "types": len(new),
            "crystals": sum(label in new for label in types),
            "digest": digest_of(new),
            "split": str(load_record(name)["split_digest"]),
        }
    return {"format": _FORMAT, "format_version": _VERSION, "tracks": tracks}
