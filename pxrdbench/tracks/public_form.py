"""What may be said in public of a track that must stay private.

Whoever holds the same licence builds the same track; to see that two did, they compare
digests and counts. Nothing in a public form leads back to a crystal: digests are over
the names of all crystals of a part, or of all its types, at once.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

PUBLIC_NAME = "public.json"
PUBLIC_VERSION = 1


def make_public_form(
    columns: Mapping[str, Sequence[Any]], record: Mapping[str, Any]
) -> dict[str, Any]:
    """Count and hash the parts of a track.

    Args:
        columns: Of its table: id, part, structure_type, space_group.
        record: What is written about it.

    Returns:
        The digest and counts of each part, and of how the track was dealt.
    """
    rows = list(
        zip(
            columns["id"],
            columns["part"],
            columns["structure_type"],
            columns["space_group"],
            strict=True,
        )
    )
    parts = {}
    for part in sorted(set(columns["part"])):
        mine = [row for row in rows if row[1] == part]
        parts[part] = {
            "crystals": len(mine),
            "structure_types": len({row[2] for row in mine}),
            "space_groups": len({row[3] for row in mine}),
            "digest": _digest(f"{row[0]}\t{row[2]}\t{row[3]}" for row in mine),
            "digest_of_types": _digest({row[2] for row in mine}),
        }
    return {
        "version": PUBLIC_VERSION,
        "track": record["name"],
        "track_version": record["version"],
        "key": record["key"],
        "shares": record["shares"],
        "split_digest": record["split_digest"],
        "parts": parts,
        "left_out": record["left_out"],
        "versions": record["versions"],
    }


def _digest(lines: Iterable[str]) -> str:
    """Hash lines in their own order, whatever order they come in."""
    text = "".join(f"{line}\n" for line in sorted(lines))
    return hashlib.sha256(text.encode()).hexdigest()


def write_public_form(form: Mapping[str, Any], folder: Path) -> Path:
    """Write a public form beside its track."""
    path = folder / PUBLIC_NAME
    text = json.dumps(form, indent=1, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", "utf-8")
    return path


def compare_public_forms(
    first: Mapping[str, Any], second: Mapping[str, Any]
) -> list[str]:
    """Say where two public forms differ, one sentence each; none if they agree.

    Versions of packages may differ: they are named only where something else does.
    """
    found = []
    for name in ("track", "track_version", "key", "shares"):
        if first[name] != second[name]:
            found.append(f"{name}: {first[name]} and {second[name]}")
    if found:
        return found
    for part in sorted({*first["parts"], *second["parts"]}):
        mine, theirs = first["parts"].get(part), second["parts"].get(part)
        if mine == theirs:
            continue
        if mine is None or theirs is None:
            found.append(f"part {part} is in one of them only")
            continue
        counts = ", ".join(
            f"{mine[name]:,} and {theirs[name]:,} {name.replace('_', ' ')}"
            for name in ("crystals", "structure_types", "space_groups")
        )
        same = mine["digest_of_types"] == theirs["digest_of_types"]
        found.append(
            f"part {part}: {counts}; the types are {'' if same else 'not '}the same"
        )
    if found and first["versions"] != second["versions"]:
        found.append(f"made with {first['versions']} and {second['versions']}")
    return found
