"""What the maintainers say of rows: a file of theirs, never a word of the row itself.

``maintained.json`` beside the tracks names rows whose predictions the maintainers have
scored though they do not lie beside the row, and those whose commands they ran:

    {"format": "pxrdbench.maintained", "format_version": 1,
     "rows": {"open-random/mine": {"tier": "reproduced", "numbers": "<sha256>"}}}

``numbers`` is the checksum of all that a row claims: a row that changes afterwards is
no longer the one that was meant.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from pxrdbench.errors import EvaluationError
from pxrdbench.files import write_atomically
from pxrdbench.outside import read_model, read_strict_json

MAINTAINED_FILE = "maintained.json"
# How far a row has been checked, the furthest first.
TIERS = ("reproduced", "predictions only", "self-scored")
_FORMAT = "pxrdbench.maintained"
_CLAIMS = ("evaluation", "outcomes", "predictions")


@dataclass(frozen=True)
class Vouched:
    """What the maintainers say of one row.

    Attributes:
        tier: How far they checked it.
        numbers: Checksum of what they checked, see `claims_digest`.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    tier: Literal["reproduced", "predictions only"]
    numbers: str


@dataclass(frozen=True)
class Maintained:
    """The maintainers' file.

    Attributes:
        format: Names the kind of file.
        format_version: Of the file.
        rows: By folder and name of the row.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    format: Literal["pxrdbench.maintained"] = "pxrdbench.maintained"
    format_version: Literal[1] = 1
    rows: Mapping[str, Vouched] = field(default_factory=dict)

    def tier(self, path: Path, record: Mapping[str, Any]) -> str | None:
        """Say how far a row was checked; None if it is not listed as it is now."""
        found = self.rows.get(_key(path))
        if found is None or found.numbers != claims_digest(record):
            return None
        return found.tier


def load_maintained(folder: Path) -> Maintained:
    """Read the maintainers' file of a folder of leaderboards; empty if there is none.

    Raises:
        EvaluationError: If it is no such file.
    """
    path = folder / MAINTAINED_FILE
    if not path.is_file():
        return Maintained()
    text = json.dumps(read_strict_json(path))
    return read_model(Maintained, text, f"{path} is damaged", EvaluationError)


def vouch(
    folder: Path, path: Path, tier: Literal["reproduced", "predictions only"]
) -> None:
    """Write down that a row was checked; for maintainers, who have its predictions."""
    known = load_maintained(folder)
    entry = Vouched(tier, claims_digest(read_strict_json(path)))
    rows = dict(sorted({**known.rows, _key(path): entry}.items()))
    text = json.dumps(asdict(Maintained(rows=rows)), indent=1)
    write_atomically(folder / MAINTAINED_FILE, f"{text}\n")


def claims_digest(record: Mapping[str, Any]) -> str:
    """Checksum of all numbers that a row claims, hex."""
    claims = {name: record[name] for name in _CLAIMS}
    text = json.dumps(claims, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _key(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"
