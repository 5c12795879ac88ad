"""Public data sets that can be fetched: where they are, and under which licence.

None of these addresses could be reached from where this was written. They are copied
from public programs that use them (2024-2026); where a site has moved, `base_url` of
`fetch_source` names another place that holds the same files.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pxrdbench.errors import SourceError


@dataclass(frozen=True)
class RemoteFile:
    """One file of a source.

    Attributes:
        name: Under which it is kept.
        kind: "zip", "txz", "csv", "csv.gz" or "cif"; what comes must be that.
        columns: Of a table, those that it must have.
    """

    name: str
    kind: str
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class RemoteSource:
    """A public data set.

    Attributes:
        name: What is typed.
        title: What it is.
        base_url: Where its files are, with a slash at the end.
        files: What is fetched.
        licence: Terms, as far as we know them; is shown first and kept beside.
        citation: To be cited by who uses it.
        size: Of all files, about.
        use: Command that reads it.
    """

    name: str
    title: str
    base_url: str
    files: tuple[RemoteFile, ...]
    licence: str
    citation: str
    size: str
    use: str


_MP_TABLE = ("material_id", "cif")
_MP_LICENCE = """\
Materials Project data: Creative Commons Attribution 4.0 (CC-BY 4.0). You may use and
pass on the data, also changed, if you name the source."""
_CODE = re.compile(r"[1-9]\d{6}")

CATALOGUE: dict[str, RemoteSource] = {
    source.name: source
    for source in (
        RemoteSource(
            name="rruff",
            title="RRUFF: measured powder patterns of minerals, and DIF files",
            base_url="https://www.rruff.net/zipped_data_files/powder/",
            files=(
                RemoteFile("DIF.zip", "zip"),
                RemoteFile("XY_RAW.zip", "zip"),
                RemoteFile("XY_Processed.zip", "zip"),
            ),
            licence="""\
RRUFF states no open licence that we could find. The files are yours to use under the
terms of its site; do not pass them on, nor anything that holds the measured points.""",
            citation="""\
Lafuente, Downs, Yang & Stone (2015), The power of databases: the RRUFF project. In:
Highlights in Mineralogical Crystallography, De Gruyter, 1-30.""",
            size="some 100 MB",
            use="pxrdbench.sources.databases.rruff.read_rruff(FOLDER)",
        ),
        RemoteSource(
            name="amcsd",
            title="American Mineralogist Crystal Structure Database, all CIFs",
            base_url="https://www.rruff.net/AMS/zipped_files/",
            files=(RemoteFile("cif.zip", "zip"),),
            licence="""\
The AMCSD is free to use with attribution. No licence for passing on the whole
collection is stated that we could find: fetch it, do not mirror it.""",
            citation="""\
Downs & Hall-Wallace (2003), The American Mineralogist crystal structure database.
American Mineralogist 88, 247-250.""",
            size="some 20 MB",
            use="pxrdbench import cod FOLDER --out imports/amcsd",
        ),
        RemoteSource(
            name="cod",
            title="Crystallography Open Database, all CIFs (or, with --ids, some)",
            base_url="https://www.crystallography.net/archives/",
            files=(RemoteFile("cod-cifs-mysql.txz", "txz"),),
            licence="""\
COD: public domain (CC0). The COD asks to cite it, and the publications of entries.""",
            citation="""\
Gražulis et al. (2012), Crystallography Open Database (COD): an open-access collection
of crystal structures. Nucleic Acids Research 40, D420-D427.""",
            size="18 GB, 90 GB unpacked",
            use="unpack it (tar -xJf); pxrdbench import cod FOLDER --out imports/cod",
        ),
        RemoteSource(
            name="mp-20",
            title="MP-20: 45,231 crystals of the Materials Project, up to 20 atoms",
            base_url="https://raw.githubusercontent.com/txie-93/cdvae/main/data/mp_20/",
            files=tuple(
                RemoteFile(f"{part}.csv", "csv", _MP_TABLE)
                for part in ("train", "val", "test")
            ),
            licence=_MP_LICENCE,
            citation="""\
Jain et al. (2013), APL Materials 1, 011002 (the Materials Project); Xie et al. (2021),
arXiv:2110.06197 (the selection).""",
            size="some 70 MB",
            use="pxrdbench import mp FOLDER --out imports/mp-20",
        ),
        RemoteSource(
            name="mpts-52",
            title="MPTS-52: 40,476 crystals of the Materials Project, by year",
            base_url=(
                "https://raw.githubusercontent.com/SymmetryAdvantage/"
                "WyckoffTransformer/main/data/mpts_52/"
            ),
            files=tuple(
                RemoteFile(f"{part}.csv.gz", "csv.gz", _MP_TABLE)
                for part in ("train", "val", "test")
            ),
            licence=_MP_LICENCE,
            citation="""\
Jain et al. (2013), APL Materials 1, 011002 (the Materials Project); Baird & Sparks
(2022), figshare 19991516 (the selection).""",
            size="some 30 MB",
            use="pxrdbench import mp FOLDER --out imports/mpts-52",
        ),
    )
}

# Single entries of the COD.
COD_ENTRY_URL = "https://www.crystallography.net/cod/"


def find_source(name: str) -> RemoteSource:
    """Find a source by its name.

    Raises:
        SourceError: If there is none; it lists those there are.
    """
    if name not in CATALOGUE:
        raise SourceError(
            f"nothing is known of {name!r}; there are {', '.join(CATALOGUE)}"
        )
    return CATALOGUE[name]


def pick_entries(codes: Sequence[str]) -> tuple[RemoteFile, ...]:
    """Files of single COD entries.

    Raises:
        SourceError: If a code is no number of the COD.
    """
    for code in codes:
        if not _CODE.fullmatch(code):
            raise SourceError(f"{code!r} is no number of the COD, such as 1000041")
    return tuple(RemoteFile(f"{code}.cif", "cif") for code in dict.fromkeys(codes))
