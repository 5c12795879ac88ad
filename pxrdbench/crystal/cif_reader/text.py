"""The text of a CIF: its encoding, its data blocks, and what stands under each tag."""

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

UNKNOWN = ("", "?", ".")
# What word processors and journals write for a minus and a blank.
_PLAIN = str.maketrans(
    {"\u2212": "-", "\u2010": "-", "\u2011": "-", "\u2012": "-", "\u2013": "-",
     "\u2014": "-", "\ufe63": "-", "\uff0d": "-", "\u00a0": " ", "\u2009": " ",
     "\u202f": " ", "\ufeff": "", "\u2018": "'", "\u2019": "'", "\u201c": '"',
     "\u201d": '"', "\x1a": "", "\x00": ""}
)  # fmt: skip


def decode_text(data: bytes) -> str:
    """Text in UTF-8 or UTF-16, with or without its mark, or else in cp1252.

    Line ends of all kinds become newlines.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = data.decode("utf-16", "replace")
    elif data[:400].count(b"\0") > len(data[:400]) // 3:
        # No mark, but every other byte of plain letters is zero.
        is_little = data[1:2] == b"\0"
        text = data.decode("utf-16-le" if is_little else "utf-16-be", "replace")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            try:
                text = data.decode("cp1252")
            except UnicodeDecodeError:
                text = data.decode("latin-1")
    text = text.removeprefix("\ufeff")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def split_blocks(text: str) -> list[tuple[str, str]]:
    """Cut a CIF into its data blocks: name and text of each.

    Lines of text fields, which begin and end with a semicolon, do not count.
    """
    blocks: list[tuple[str, list[str]]] = []
    is_text_field = False
    for line in text.removeprefix("\ufeff").splitlines():
        if line.startswith(";"):
            is_text_field = not is_text_field
        head = re.match(r"data_(\S*)", line, re.IGNORECASE)
        if head and not is_text_field:
            blocks.append((head[1], []))
        if blocks:
            blocks[-1][1].append(line)
    return [(name, "\n".join(lines) + "\n") for name, lines in blocks]


@dataclass(frozen=True)
class CifTags:
    """What stands under each tag of a data block.

    Attributes:
        values: Unquoted values by tag in small letters; one where no loop gives more.
        loops: Tags that share a loop.
        parser: Library that parsed the text; "" if none could.
        repeated: Tags that stand twice with different values; the first are kept.
    """

    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    loops: tuple[tuple[str, ...], ...] = ()
    parser: str = ""
    repeated: tuple[str, ...] = ()

    def all(self, tag: str) -> tuple[str, ...]:
        """All values of a tag; none if it is not there."""
        return self.values.get(tag.lower(), ())

    def first(self, *tags: str) -> str:
        """First value of the first of these tags that has one that is known."""
        for tag in tags:
            for value in self.all(tag):
                text = value.strip()
                if text not in UNKNOWN:
                    return text
        return ""

    def rows(self, *tags: str) -> list[dict[str, str]]:
        """Rows of the first loop (or single values) that holds one of these tags."""
        for tag in tags:
            if tag not in self.values:
                continue
            names = next((loop for loop in self.loops if tag in loop), (tag,))
            if names == (tag,):
                # No loop: all tags of one category, with one value each.
                head = tag[: tag.rfind("_")].rsplit("_fract", 1)[0]
                names = tuple(
                    name
                    for name, values in self.values.items()
                    if name.startswith(head) and len(values) == 1
                )
            columns = [self.values[name] for name in names]
            return [dict(zip(names, row, strict=True)) for row in zip(*columns)]  # noqa: B905
        return []


def parse_tags(text: str) -> CifTags:
    """Parse one data block: gemmi, or pymatgen's forgiving parser where it fails."""
    plain = _plain(text)
    try:
        return _parse_gemmi(plain)
    except (ValueError, RuntimeError):
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _parse_pymatgen(plain)
    except Exception:  # anything may happen on a broken file
        return CifTags()


def _plain(text: str) -> str:
    """ASCII: minus signs and blanks of all kinds; other letters do not matter."""
    text = text.translate(_PLAIN)
    if not text.isascii():
        text = re.sub(r"[^\x00-\x7f]", "_", text)
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", " ", text)


def _name(tag: str) -> str:
    """A tag in small letters; ``_cell.length_a`` of newer dictionaries as the older."""
    return tag.lower().replace(".", "_", 1)


def _parse_gemmi(text: str) -> CifTags:
    import gemmi

    document = gemmi.cif.Document()
    document.parse_string(text)
    block = document.sole_block()
    values: dict[str, tuple[str, ...]] = {}
    loops = []
    repeated: dict[str, None] = {}

    def put(name: str, cells: tuple[str, ...]) -> None:
        if values.setdefault(name, cells) != cells:
            repeated[name] = None

    items: Any = block  # gemmi's stubs do not say that a block is iterable
    for item in items:
        if item.pair is not None:
            tag, value = item.pair
            put(_name(tag), (gemmi.cif.as_string(value),))
        elif item.loop is not None:
            loop = item.loop
            names = tuple(_name(tag) for tag in loop.tags)
            loops.append(names)
            cells = [gemmi.cif.as_string(value) for value in loop.values]
            for place, name in enumerate(names):
                put(name, tuple(cells[place :: len(names)]))
    return CifTags(values, tuple(loops), "gemmi", tuple(repeated))


def _parse_pymatgen(text: str) -> CifTags:
    from pymatgen.io.cif import CifFile

    (block,) = CifFile.from_str(text).data.values()
    values = {
        _name(tag): tuple(map(str, value)) if isinstance(value, list) else (str(value),)
        for tag, value in block.data.items()
    }
    loops = tuple(tuple(_name(tag) for tag in loop) for loop in block.loops)
    return CifTags(values, loops, "pymatgen")


def read_number(text: str) -> float | None:
    """Read a number with or without its uncertainty in brackets; None if it is none."""
    match = re.fullmatch(
        r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(?:\(\d*\.?\d*\)?)?\s*",
        text,
    )
    return float(match[1]) if match else None
