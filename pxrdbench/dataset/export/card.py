"""What stands beside exported data: who made it, what is in it, what one may do.

`DataCard` is plain data. `write_card` writes it as the README.md that Hugging Face and
its readers expect: with its ``configs``, ``datasets.load_dataset(folder)`` opens the
folder. `dataset.croissant` writes the same card as Croissant.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pxrdbench.errors import SplitError
from pxrdbench.files import write_atomically

CARD_NAME = "README.md"

# Identifier of the SPDX list -> where the licence stands.
LICENCE_URLS: Mapping[str, str] = {
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "MIT": "https://opensource.org/license/mit",
}
DTYPES = (
    "string", "binary", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16",
    "uint32", "float16", "float32", "float64",
)  # fmt: skip
# Upper bounds of the size classes that Hugging Face knows.
_SIZES = (
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"),
    (10**9, "100M<n<1B"),
)


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: Name in the file.
        dtype: One of ``DTYPES``; of the elements, if they are lists.
        description: What it means, with its unit.
        is_list: Whether a cell holds a list.
        classes: Names of the classes, where the column counts into a class list.
    """

    name: str
    dtype: str
    description: str
    is_list: bool = False
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise SplitError(
                f"column {self.name!r} is of type {self.dtype!r}; known are "
                f"{', '.join(DTYPES)}"
            )


@dataclass(frozen=True)
class DataFile:
    """One file of an export.

    Attributes:
        path: Below the folder, with forward slashes.
        split: Part it belongs to, such as ``test``; "" for none.
        rows: Rows or samples in it.
        n_bytes: Its size.
        sha256: Of its bytes, hexadecimal.
    """

    path: str
    split: str
    rows: int
    n_bytes: int
    sha256: str


@dataclass(frozen=True)
class DataConfig:
    """Files with the same columns.

    Attributes:
        name: What one gives to ``load_dataset`` beside the folder.
        description: One sentence.
        columns: Of all files; none where the files are no tables.
        files: All files.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    files: tuple[DataFile, ...]

    @property
    def splits(self) -> tuple[str, ...]:
        """Parts in the order of their files."""
        return tuple(dict.fromkeys(file.split for file in self.files if file.split))

    def files_of(self, split: str) -> tuple[DataFile, ...]:
        """The files of one part."""
        return tuple(file for file in self.files if file.split == split)

    def rows_of(self, split: str) -> int:
        """Rows of one part."""
        return sum(file.rows for file in self.files_of(split))


@dataclass(frozen=True)
class DataCard:
    """All that is said about a folder of data.

    Attributes:
        name: Short name, letters, digits and hyphens.
        title: Name to read.
        description: Some sentences.
        licence: SPDX identifier, such as "CC-BY-4.0", or a sentence.
        version: Of the data, "1.0.0".
        configs: What can be opened.
        attributions: Whom to cite.
        keywords: To be found by.
        released: Day of publication, "2026-11-22"; "" if it is not published.
        restricted: Whether licensed crystals went into it: it must stay with those
            who hold the licence.
        body: Markdown below the header.
        collection: How the data came about.
        use_cases: What it is for.
        limitations: What it cannot show.
        biases: Where it is not like the world.
        url: Where it is at home.
    """

    name: str
    title: str
    description: str
    licence: str
    version: str
    configs: tuple[DataConfig, ...]
    attributions: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ("powder diffraction", "crystallography")
    released: str = ""
    restricted: bool = False
    body: str = ""
    collection: str = ""
    use_cases: tuple[str, ...] = field(default=())
    limitations: tuple[str, ...] = field(default=())
    biases: tuple[str, ...] = field(default=())
    url: str = ""

    @property
    def rows(self) -> int:
        """Rows of the largest configuration."""
        return max((sum(f.rows for f in c.files) for c in self.configs), default=0)


def describe_file(folder: Path, path: str, split: str, rows: int) -> DataFile:
    """Hash a file that lies below a folder.

    Raises:
        SplitError: If there is no such file.
    """
    full = folder / path
    if not full.is_file():
        raise SplitError(f"there is no file {full} to describe")
    with full.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return DataFile(Path(path).as_posix(), split, rows, full.stat().st_size, digest)


def make_features(columns: Sequence[Column]) -> Any:
    """Make the ``datasets.Features`` of some columns."""
    import datasets

    def feature(column: Column) -> Any:
        if column.classes:
            return datasets.ClassLabel(names=list(column.classes))
        value = datasets.Value(column.dtype)
        return datasets.List(value) if column.is_list else value

    return datasets.Features({column.name: feature(column) for column in columns})


def write_card(folder: Path, card: DataCard) -> Path:
    """Write a card as ``README.md``; equal cards give equal bytes.

    The first configuration is the one that opens when none is named.

    Returns:
        The file.
    """
    text = f"---\n{_front_matter(card)}\n---\n\n{_markdown(card)}"
    path = folder / CARD_NAME
    write_atomically(path, text)
    return path


def _front_matter(card: DataCard) -> str:
    """Write the header that Hugging Face reads, by its own classes."""
    from datasets import DatasetInfo, SplitDict, SplitInfo
    from datasets.info import DatasetInfosDict
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCardData

    data = DatasetCardData(
        license=_hub_licence(card),
        pretty_name=card.title,
        tags=[word.replace(" ", "-") for word in card.keywords],
        task_categories=["other"],
        size_categories=[_size_category(card.rows)],
    )
    if data.license == "other":
        data["license_name"] = "see-below"
    infos, configs = DatasetInfosDict(), MetadataConfigs()
    for number, config in enumerate(card.configs):
        name = config.name
        splits = SplitDict()
        for split in config.splits:
            files = config.files_of(split)
            splits[split] = SplitInfo(
                split, sum(file.n_bytes for file in files), config.rows_of(split)
            )
        if config.columns:
            infos[name] = DatasetInfo(
                config_name=name,
                features=make_features(config.columns),
                splits=splits,
                download_size=sum(file.n_bytes for file in config.files),
                dataset_size=sum(file.n_bytes for file in config.files),
            )
        configs[name] = {
            "data_files": [
                {"split": split, "path": [f.path for f in config.files_of(split)]}
                for split in config.splits
            ],
            **({"default": True} if number == 0 and len(card.configs) > 1 else {}),
        }
    infos.to_dataset_card_data(data)
    configs.to_dataset_card_data(data)
    return str(data.to_yaml()).rstrip()


def _hub_licence(card: DataCard) -> str:
    """Name a licence as Hugging Face does."""
    is_known = card.licence in LICENCE_URLS and not card.restricted
    return card.licence.lower() if is_known else "other"


def _size_category(rows: int) -> str:
    return next((name for bound, name in _SIZES if rows < bound), "n>1T")


def _markdown(card: DataCard) -> str:
    """Write what a human reads."""
    licence = card.licence
    if licence in LICENCE_URLS:
        licence = f"[{licence}]({LICENCE_URLS[licence]})"
    lines = [f"# {card.title}", "", card.description, ""]
    if card.restricted:
        lines += [
            "**Restricted.** Licensed crystals went into these files: they must stay "
            "with those who hold the licence.",
            "",
        ]
    lines += [f"Version {card.version}. Licence: {licence}.", ""]
    for config in card.configs:
        lines += [f"## `{config.name}`", "", config.description, ""]
        lines += _markdown_table(
            ("part", "rows", "bytes", "files"),
            [
                (
                    split,
                    f"{config.rows_of(split):,}",
                    f"{sum(f.n_bytes for f in config.files_of(split)):,}",
                    str(len(config.files_of(split))),
                )
                for split in config.splits
            ],
        )
        lines += _markdown_table(
            ("column", "type", "meaning"),
            [
                (
                    f"`{column.name}`",
                    f"list of {column.dtype}" if column.is_list else column.dtype,
                    column.description,
                )
                for column in config.columns
            ],
        )
    sections = (
        ("What it is for", card.use_cases),
        ("What it cannot show", card.limitations),
        ("Where it is not like the world", card.biases),
        ("How it was made", (card.collection,) if card.collection else ()),
        ("Whom to cite", card.attributions),
    )
    for title, items in sections:
        if items:
            lines += [f"## {title}", "", *(f"- {item}" for item in items), ""]
    if card.body:
        lines += [card.body.strip(), ""]
    return "\n".join(lines)


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *escaped]
    return [*("| " + " | ".join(line) + " |" for line in lines), ""]
