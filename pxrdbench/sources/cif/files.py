"""Crystals from CIF files: folders and archives of them, whatever state they are in.

Each data block with atoms is an entry. pymatgen reads it, gemmi where pymatgen
fails; spglib then finds the symmetry of what was read. An entry that cannot be read
is left out with its reason, and costs nothing but itself.
"""

import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from pxrdbench.crystal.cif_reader.read import MAX_BYTES
from pxrdbench.crystal.cif_reader.text import decode_text
from pxrdbench.crystal.structure import Crystal, CrystalBatch, join_crystals
from pxrdbench.errors import SourceError
from pxrdbench.sources.account import Progress, ReadReport
from pxrdbench.sources.cif.blocks import Outcome, load_readers, read_entries
from pxrdbench.sources.cif.fields import CifFields, find_codes
from pxrdbench.sources.guarded import Lost, run_guarded
from pxrdbench.sources.labels.structure_type import SYMPREC

# Crystals are packed in groups of this size, so that memory stays flat.
_PACK = 1000


@dataclass(frozen=True)
class CifReport(ReadReport):
    """What became of the entries of CIF files.

    A failure's message is a reason, and details after a colon.

    Attributes:
        n_rows: Entries: data blocks with atoms, and files that hold none.
        failures: Id and message of each entry that gave no crystal.
        n_files: Files that were opened.
        readers: Entries read, by the library that could.
    """

    n_files: int = 0
    readers: dict[str, int] = field(default_factory=dict)

    @property
    def reasons(self) -> dict[str, int]:
        """Failures by reason, the most frequent first."""
        found = Counter(text.split(":")[0] for _, text in self.failures)
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def read_cifs(
    paths: str | Path | Sequence[str | Path],
    symprec: float = SYMPREC,
    workers: int | None = None,
    progress: Progress | None = None,
    *,
    time_limit: float = 20.0,
) -> tuple[CrystalBatch, tuple[str, ...], CifReport]:
    """Read crystals from CIF files and bring them into the standard setting.

    Partial occupancies and isotropic displacements are kept; anisotropic ones
    become their isotropic equivalent.

    Args:
        paths: CIF files, folders (searched to any depth) and zip archives, or one of
            these. Archives are read in place, never unpacked.
        symprec: Tolerance of the search for symmetry [Å].
        workers: Processes; as many as there are cores if None. The result does not
            depend on it.
        progress: Is called with the files done and the files there are.
        time_limit: Longest time for one file [s]; see `run_guarded`.

    Returns:
        Crystals, their ids, and what failed. An id is the path of the file within
        its folder or archive without suffix, and ":block" where a file holds
        several crystals.

    Raises:
        SourceError: If a path does not exist, or is no folder, archive or CIF.
    """
    places = find_cifs(paths)
    tasks = [(file, member, symprec) for file, member, _ in places]
    outcomes = run_guarded(
        _read_place, tasks, workers, time_limit, prepare=load_readers
    )
    packed: list[CrystalBatch] = []
    crystals: list[Crystal] = []
    names: dict[str, None] = {}
    failures: list[tuple[str, str]] = []
    readers: Counter[str] = Counter()
    for done, ((_, _, name), outcome_of_file) in enumerate(
        zip(places, outcomes, strict=True), start=1
    ):
        if isinstance(outcome_of_file, Lost):
            entries: list[tuple[str, Outcome]] = [("", outcome_of_file.reason)]
        else:
            entries = outcome_of_file
        for block, outcome in entries:
            entry = f"{name}:{block}" if len(entries) > 1 else name
            if isinstance(outcome, str):
                failures.append((entry, outcome))
                continue
            readers[outcome[0]] += 1
            crystals.append(outcome[1])
            names[_unused(entry, names)] = None
        if len(crystals) >= _PACK:
            packed.append(CrystalBatch.from_crystals(crystals))
            crystals = []
        if progress:
            progress(done, len(places))
    packed.append(CrystalBatch.from_crystals(crystals))
    report = CifReport(
        len(names) + len(failures), tuple(failures), len(places), dict(readers)
    )
    return join_crystals(packed), tuple(names), report


def _unused(name: str, taken: dict[str, None]) -> str:
    """Append a number to a name until it is new."""
    number, unique = 1, name
    while unique in taken:
        number += 1
        unique = f"{name}:{number}"
    return unique


def find_cifs(
    paths: str | Path | Sequence[str | Path], *, archives: bool = False
) -> list[tuple[str, str, str]]:
    """Find CIF files: path, member of the archive or "", and name of each.

    Args:
        paths: Folders, zip archives and files, or one of these.
        archives: Look into the zip archives of folders, too.

    Raises:
        SourceError: If a path does not exist, or is no folder, archive or CIF.
    """
    roots = [paths] if isinstance(paths, str | Path) else list(paths)
    places: list[tuple[str, str, str]] = []
    for root in map(Path, roots):
        if root.is_dir():
            for file in sorted(root.rglob("*")):
                name = file.relative_to(root).as_posix()
                if file.suffix.lower() == ".cif" and file.is_file():
                    places.append((str(file), "", _stem(name)))
                elif archives and file.suffix.lower() == ".zip" and file.is_file():
                    places += _members(file)
        elif not root.exists():
            raise SourceError(f"{root}: there is no such file or folder")
        elif zipfile.is_zipfile(root):
            places += _members(root)
        elif root.suffix.lower() == ".cif":
            places.append((str(root), "", root.stem))
        else:
            raise SourceError(f"{root} is no folder, zip archive or .cif file")
    return places


def find_licensed(paths: str | Path | Sequence[str | Path]) -> str:
    """Name the first file that says it is an entry of the ICSD; "" if none does.

    Open databases quote the ICSD's code now and then: their own code tells them apart.
    """
    for file, member, name in find_cifs(paths):
        try:
            text = read_text(file, member)
        except (OSError, zipfile.BadZipFile, RuntimeError, SourceError):
            continue  # whoever reads it in earnest will say why it cannot be read
        if CifFields(codes=find_codes(text)).is_licensed:
            return name
    return ""


def _members(file: Path) -> list[tuple[str, str, str]]:
    """CIFs of a zip archive."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = [info.filename for info in archive.infolist()]
    except (OSError, zipfile.BadZipFile) as error:
        raise SourceError(f"{file} is no zip archive: {error}") from error
    return [
        (str(file), name, _stem(name))
        for name in names
        if name.lower().endswith(".cif")
    ]


def _stem(name: str) -> str:
    return name[: -len(".cif")]


def _read_place(task: tuple[str, str, float]) -> list[tuple[str, Outcome]]:
    """Read all entries of one file: block and outcome of each."""
    file, member, symprec = task
    try:
        text = read_text(file, member)
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        # RuntimeError: an encrypted member; NotImplementedError: its compression.
        return [("", f"the file cannot be read: {error}")]
    except SourceError as error:
        return [("", str(error))]
    return read_entries(text, symprec) or [("", "no atoms")]


def read_text(file: str, member: str = "") -> str:
    """Read a file or a member of an archive, but never more than ``MAX_BYTES``.

    Raises:
        SourceError: If there is more. What zipfile and the system raise passes.
    """
    if member:
        with _open_archive(file).open(member) as stream:
            data = stream.read(MAX_BYTES + 1)
    else:
        with Path(file).open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise SourceError(f"the file is larger than {MAX_BYTES // 10**6} MB")
    return decode_text(data)


@lru_cache(maxsize=1)
def _open_archive(file: str) -> zipfile.ZipFile:
    """Keep the archive open that is being read: its list of members may be long."""
    return zipfile.ZipFile(file)
