"""What was learnt from: whose crystals, types and formulas a prior or a model has seen.

Two forms. The **summary** travels, in the prior's file and in the checkpoint: counts,
and one digest each of all names and of all types at once. The **sidecar** stays on the
machine that made it, beside the file: one hash a name, a type, a formula. Hashes of
collection codes can be turned back by trying all codes, so it must not be passed on
where crystals are licensed; without it an overlap with a track can be found only where
the digest is that of a part of a track at hand. What cannot be found out is *unknown*,
which is not the same as none.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pxrdbench.crystal.prior.prior import Prior, load_prior, prior_place
from pxrdbench.dataset.shards.own_prior import LEARNT_SUFFIX
from pxrdbench.errors import SourceError
from pxrdbench.files import write_atomically
from pxrdbench.outside import read_strict_json
from pxrdbench.sources.labels.formulas import reduce_formula
from pxrdbench.tracks.crystals import SourceCrystals
from pxrdbench.tracks.load import (
    available_tracks,
    load_record,
    load_table,
    split_digest,
)
from pxrdbench.tracks.part import Part

SUFFIX = LEARNT_SUFFIX
MINERALS = "minerals"
_FORMAT, _VERSION = "pxrdbench.learnt", 1
# Three digests a crystal, of the largest data base there is (COD, 520,000).
_MOST_BYTES = 2**28
_HASH_CHARACTERS = 20
_STATISTICS = "statistics"
_PRIVATE = "stays here: hashes of collection codes can be turned back by trying them"


@dataclass(frozen=True)
class Learnt:
    """What has been seen, as hashes.

    Attributes:
        crystals: Of the names of the crystals.
        types: Of their structure types.
        formulas: Of their formulas, in one spelling.
        where: In words: a part of a track, an import.
        restricted: Whether crystals are licensed.
    """

    crystals: frozenset[str]
    types: frozenset[str]
    formulas: frozenset[str]
    where: str
    restricted: bool = False

    @classmethod
    def of(
        cls,
        ids: Iterable[str],
        types: Iterable[str],
        formulas: Iterable[str],
        where: str,
        restricted: bool = False,
    ) -> "Learnt":
        """Hash what was seen."""
        spelled = {reduce_formula(text) for text in set(formulas)}
        return cls(
            frozenset(map(_hash, ids)),
            frozenset(map(_hash, types)),
            frozenset(map(_hash, spelled)),
            where,
            restricted,
        )

    @classmethod
    def of_source(cls, read: SourceCrystals) -> "Learnt":
        """Hash what was read to learn from."""
        return cls.of(
            read.ids,
            read.structure_type,
            read.formula,
            read.source.partition(";")[0],
            read.restricted,
        )

    @classmethod
    def of_shipped(cls, name: str) -> "Learnt":
        """What a shipped prior was fitted on, where that is no part of a track."""
        return cls._read(prior_place(name).with_name(f"{name}{SUFFIX}"))

    def join(self, other: "Learnt") -> "Learnt":
        """Put together what two have seen."""
        return Learnt(
            self.crystals | other.crystals,
            self.types | other.types,
            self.formulas | other.formulas,
            " + ".join(dict.fromkeys([self.where, other.where])),
            self.restricted or other.restricted,
        )

    def summary(self) -> dict[str, Any]:
        """What may travel: counts, and digests over everything at once."""
        return {
            "where": self.where,
            "crystals": len(self.crystals),
            "types": len(self.types),
            "formulas": len(self.formulas),
            "digest": _digest(self.crystals),
            "digest_of_types": _digest(self.types),
        }

    def to_json(self) -> str:
        """Text of the private sidecar of a file."""
        record = {
            "format": _FORMAT,
            "version": _VERSION,
            "note": _PRIVATE if self.restricted else "",
            "where": self.where,
            "restricted": self.restricted,
            **{name: sorted(getattr(self, name)) for name in _SETS},
        }
        return json.dumps(record, ensure_ascii=False) + "\n"

    def write(self, beside: Path) -> Path:
        """Write the private sidecar of a file."""
        path = sidecar_of(beside)
        write_atomically(path, self.to_json())
        return path

    @classmethod
    def read(
        cls, beside: Path, summary: Mapping[str, Any] | None = None
    ) -> "Learnt | None":
        """Read the sidecar of a file.

        Args:
            beside: The file.
            summary: What the file says of what was learnt.

        Returns:
            None if there is no sidecar, or it does not belong to the file.

        Raises:
            SourceError: If it is damaged.
        """
        path = sidecar_of(beside)
        if not path.is_file():
            path = beside.with_name(f"run{SUFFIX}")
        if not path.is_file() or summary is None:
            return None
        found = cls._read(path)
        return found if found.summary()["digest"] == summary.get("digest") else None

    @classmethod
    def _read(cls, path: Path) -> "Learnt":
        try:
            record = read_strict_json(path, SourceError, _MOST_BYTES)
            if record["format"] != _FORMAT or record["version"] != _VERSION:
                raise SourceError(f"{path} is of another version of pxrdbench")
            crystals, types, formulas = (
                frozenset(map(str, record[name])) for name in _SETS
            )
            where, restricted = str(record["where"]), bool(record["restricted"])
            return cls(crystals, types, formulas, where, restricted)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SourceError(f"{path} does not say what was learnt: {error}") from None


_SETS = ("crystals", "types", "formulas")


@dataclass(frozen=True)
class Overlap:
    """What a model has seen of a part of a track.

    Attributes:
        state: ``known``, or ``unknown`` where nothing tells what was learnt.
        where: What was learnt from.
        crystals: Crystals of the part that were learnt from.
        types: Crystals of the part whose type was learnt from.
        formulas: Crystals of the part whose formula was learnt from.
        n_types: Structure types of the part that were learnt from.
        has_seen_part: Whether a crystal of the part was learnt from or, on a track that
            keeps types apart, a type of it.
    """

    state: str
    where: str = ""
    crystals: int = 0
    types: int = 0
    formulas: int = 0
    n_types: int = 0
    has_seen_part: bool = False

    def provenance(self, part: Part) -> dict[str, str]:
        """Say it as text by name, for what travels with predictions."""
        if self.state != "known":
            return {"learnt from": self.where or "unknown", SEEN: "unknown"}
        n = len(part)
        return {
            "learnt from": self.where,
            "crystals learnt from": f"{self.crystals:,} of {n:,}",
            "types learnt from": f"{self.n_types:,}",
            "of a type learnt from": f"{self.types:,} of {n:,}",
            "of a formula learnt from": f"{self.formulas:,} of {n:,}",
            SEEN: "yes" if self.has_seen_part else "no",
        }


# In the provenance of predictions: yes, no or unknown.
SEEN = "has seen the test part"


def sidecar_of(beside: Path) -> Path:
    """Where the sidecar of a file lies."""
    return beside.with_name(f"{beside.stem}{SUFFIX}")


def learnt_of_prior(prior: Prior, place: str | Path | None = None) -> Learnt | None:
    """Find out what a prior was fitted on.

    Args:
        prior: The prior.
        place: Its file, beside which a sidecar may lie.

    Returns:
        None if nothing tells: no sidecar, no split of a track at hand.

    Raises:
        SourceError: If the sidecar is damaged.
    """
    if place is not None:
        found = Learnt.read(Path(place), prior.learnt)
        if found is not None:
            return found
    if prior.digest == load_prior(MINERALS).digest:
        return Learnt.of_shipped(MINERALS)
    for track in available_tracks():
        if prior.split_digest and split_digest(track) == prior.split_digest:
            return learnt_of_part(track, _STATISTICS)
    return None


def learnt_of_part(track: str | Path, part: str) -> Learnt:
    """Hash the crystals of a part of a track."""
    table, record = load_table(track, part), load_record(track)
    return Learnt.of(
        table["id"].to_pylist(),
        table["structure_type"].to_pylist(),
        table["formula"].to_pylist(),
        f"{record['name']} {part}",
        bool(record.get("restricted", False)),
    )


def find_by_summary(summary: Mapping[str, Any]) -> Learnt | None:
    """Find what ships with this package and has the digest of a summary.

    It is a part of a track to learn from, or what the prior ``minerals`` has seen.
    """
    minerals = Learnt.of_shipped(MINERALS)
    if minerals.summary()["digest"] == summary.get("digest"):
        return minerals
    for track in available_tracks():
        if _STATISTICS in load_record(track)["parts"]:
            learnt = learnt_of_part(track, _STATISTICS)
            if learnt.summary()["digest"] == summary.get("digest"):
                return learnt
    return None


def find_overlap(learnt: Learnt | None, part: Part) -> Overlap:
    """Measure what was seen of a part of a track.

    Args:
        learnt: What was seen; None if nobody knows.
        part: What is asked about.
    """
    if learnt is None or not learnt.crystals or not part.place:
        return Overlap("unknown", "" if learnt is None else learnt.where)
    track = part.place
    table = load_table(track, part.part)
    if (
        "formula" not in table.column_names
        or "structure_type" not in table.column_names
    ):
        return Overlap("unknown", learnt.where)
    formula_of = dict(
        zip(table["id"].to_pylist(), table["formula"].to_pylist(), strict=True)
    )
    types = [_hash(label) for label in part.structure_type]
    n_crystals = sum(_hash(name) in learnt.crystals for name in part.ids)
    known = {label for label in types if label in learnt.types}
    n_types = sum(label in known for label in types)
    n_formulas = sum(
        _hash(reduce_formula(formula_of[name])) in learnt.formulas for name in part.ids
    )
    return Overlap(
        "known",
        learnt.where,
        n_crystals,
        n_types,
        n_formulas,
        len(known),
        n_crystals > 0 or (n_types > 0 and _keeps_types_apart(track, part)),
    )


def _keeps_types_apart(track: str | Path, part: Part) -> bool:
    """Whether no type of the part is in the part to learn from."""
    if _STATISTICS not in load_record(track)["parts"]:
        return False
    others = load_table(track, _STATISTICS)["structure_type"].to_pylist()
    return not set(part.structure_type) & set(others)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_CHARACTERS]


def _digest(hashes: Sequence[str] | frozenset[str]) -> str:
    """Hash hashes in their own order."""
    return hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest()
