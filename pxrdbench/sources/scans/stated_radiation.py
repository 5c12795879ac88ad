"""What the header of a text file says of the radiation: one parser for all of them.

A wavelength is believed where a line says that it is one: a number, perhaps with an
exponent, its unit before or behind it. Without a unit, ``2.066e-11`` is in metres (as
pyFAI writes it), anything from 0.1 to 25 in Å. Names such as ``CuKa1`` count where the
line speaks of radiation, not of a sample.
"""

import re
from collections.abc import Sequence

from pxrdbench.diffraction.radiation import NAMED_LINES, Radiation
from pxrdbench.errors import PatternError
from pxrdbench.sources.scans.pattern import find_radiation, make_doublet

_NUMBER = r"[-+]?(?:\d+[.,]?\d*|\.\d+)(?:[eEdD][-+]?\d+)?"
_UNIT = r"(?:nm|pm|å|angstroms?|ang|a|m|nanomet\w*|met(?:er|re)s?|kev|ev)(?![a-z0-9])"
_WAVELENGTH = re.compile(
    rf"(?:wave[\s_-]*length|lambda|λ|wl)(?:[\s_-]*used|[\s_-]*mean)?\s*[\"']?\s*"
    rf"(?:[\s(\[,_]*(?P<before>{_UNIT})[)\]\"']*)?\s*[:=,\s]?\s*[\"']?\s*"
    rf"(?P<number>{_NUMBER})(?![\d.]*\s*[:=])\s*[\"'(\[]*\s*(?P<behind>{_UNIT})?",
    re.IGNORECASE,
)
_ENERGY = re.compile(
    rf"(?:energy|\bE(?=\s*[:=]))[\"']?\s*(?:[(\[]?\s*(?P<before>k?ev)\s*[)\]]?)?\s*[:=,]?\s*[\"']?"
    rf"(?P<number>{_NUMBER})\s*(?P<behind>k?ev)?(?![a-z])",
    re.IGNORECASE,
)
_FIRST = re.compile(
    rf"(?:alpha|α|k[\s_-]*a)[\s_-]*1(?![0-9])(?P<words>[^\d\n]{{0,24}}?)"
    rf"(?P<number>{_NUMBER})\s*(?P<behind>{_UNIT})?",
    re.IGNORECASE,
)
_SECOND = re.compile(_FIRST.pattern.replace("1(?![0-9])", "2(?![0-9])"), re.IGNORECASE)
_INDEXED = re.compile(
    rf"(?:wave[\s_-]*length|lambda|wl)[\s_-]*(?P<which>[12])\s*[\"']?\s*[:=,]\s*[\"']?"
    rf"(?P<number>{_NUMBER})\s*(?P<behind>{_UNIT})?",
    re.IGNORECASE,
)
_RATIO = re.compile(
    rf"(?:ratio[^\n\d]*?(?:alpha|ka)[^\n=:,]*|alpha[\s_-]*ratio|wlratio|"
    rf"intensity[\s_-]*ratio|ka2\s*/\s*ka1)\s*[:=,]\s*[\"']?(?P<number>{_NUMBER})",
    re.IGNORECASE,
)
_ANODE = re.compile(
    r"(?:anode|target|tube)[\s_a-z]*[:=,]\s*[\"']?(Cu|Mo|Co|Cr|Fe|Ag)\b", re.IGNORECASE
)
_NAMED = re.compile(
    r"\b(Cu|Mo|Co|Cr|Fe|Ag)[\s_-]*K[\s_-]*(?:α|alpha|a)?[\s_-]*(1|_1)?(?![\w])"
)
_SPEAKS = re.compile(
    r"radiation|anode|tube|target|source|x-?ray|wave|lambda|strahlung|emission", re.I
)
_SAMPLE = re.compile(r"^\W*(?:sample|title|name|comment|remark|phase|material)\b", re.I)


def find_stated_radiation(lines: Sequence[str]) -> tuple[Radiation | None, str]:
    """Find what header lines say of the radiation.

    Returns:
        The radiation, or None if they do not tell, and the line that says so.
    """
    header = [line for line in lines if not _SAMPLE.search(line)]
    found = _doublet(header)
    if found[0] is not None:
        return found
    is_unclear = False
    for line in header:
        match = _WAVELENGTH.search(line)
        if match is None:
            is_unclear |= bool(re.search(r"wave[\s_-]*length.*\d", line, re.I))
            continue
        wavelength = _in_angstrom(match)
        if wavelength is not None:
            second = _second_line(wavelength, line[match.end() :])
            return second or find_radiation(wavelength), line.strip()[:120]
        is_unclear = True
    if not is_unclear:
        for line in header:
            match = _ENERGY.search(line)
            if match is not None:
                energy = _float(match["number"])
                unit = (match["before"] or match["behind"] or "").lower()
                radiation = _of_energy(energy, unit)
                if radiation is not None:
                    return radiation, line.strip()[:120]
    for line in header:
        named = _NAMED.search(line)
        bare = re.sub(r"[#!;%*/\s:,.()-]", "", line)
        if named is not None and (
            _SPEAKS.search(line) or len(bare) <= len(re.sub(r"\W", "", named[0])) + 2
        ):
            name = f"{named[1]}Ka{'1' if named[2] else ''}"
            if name in NAMED_LINES:
                return Radiation.parse(name), line.strip()[:120]
    return None, ""


def _second_line(first: float, rest: str) -> Radiation | None:
    """Kα1 and Kα2 if the rest of the line of a wavelength names the second."""
    numbers = [_float(text) for text in re.findall(_NUMBER, rest)]
    for place, value in enumerate(numbers):
        # Kα2 is longer than Kα1 by 0.2 % (Co, Cr) to 0.8 % (Ag).
        if 1.0015 < value / first < 1.01:
            ratio = next((n for n in numbers[place + 1 :] if 0.2 < n <= 1.0), 0.5)
            return make_doublet(first, value, ratio)
    return None


def _doublet(lines: Sequence[str]) -> tuple[Radiation | None, str]:
    """Kα1, Kα2 and their ratio, each on a line of its own."""
    values: dict[str, float] = {}
    said = []
    anode = ""
    for line in lines:
        ratio = _RATIO.search(line)
        if ratio is not None:
            values.setdefault("ratio", _float(ratio["number"]))
            said.append(line.strip())
            continue
        tube = _ANODE.search(line)
        if tube is not None:
            anode = anode or tube[1].title()
        indexed = {match["which"]: match for match in _INDEXED.finditer(line)}
        for key, pattern in (("1", _FIRST), ("2", _SECOND)):
            match = indexed.get(key) or pattern.search(line)
            if match is None:
                continue
            unit = (match["behind"] or "").lower()
            if not unit and "nm" in match.groupdict().get("words", "").lower():
                unit = "nm"
            wavelength = _scaled(_float(match["number"]), unit)
            if wavelength is not None and 0.1 <= wavelength <= 3.0:
                values.setdefault(key, wavelength)
                said.append(line.strip())
    if "1" not in values or "2" not in values:
        return None, ""
    made = make_doublet(values["1"], values["2"], values.get("ratio", 0.5), anode)
    return made, "; ".join(dict.fromkeys(said))[:160]


def _in_angstrom(match: re.Match[str]) -> float | None:
    unit = (match["before"] or match["behind"] or "").lower()
    return _scaled(_float(match["number"]), unit)


def _scaled(value: float, unit: str) -> float | None:
    """A wavelength in Å, None if it is none."""
    unit = unit.strip()
    if unit.startswith(("kev", "ev")):
        return None
    if not unit and _is_in_nm(value):
        return None  # 0.15406 is copper's in nm, or that of 80 keV in Å
    if unit.startswith(("nm", "nano")):
        value *= 10.0
    elif unit.startswith("pm"):
        value /= 100.0
    elif unit == "m" or unit.startswith("met") or (not unit and 1e-12 < value < 1e-8):
        value *= 1e10
    value = float(f"{value:.12g}")
    return value if 0.1 <= value <= 25.0 else None


def _is_in_nm(value: float) -> bool:
    """Whether ten times as much is the line of a tube."""
    return any(
        abs(10.0 * value / wavelength - 1.0) < 5e-4
        for name, lines in NAMED_LINES.items()
        for wavelength in (*(w for w, _ in lines), Radiation(lines, name).wavelength)
    )


def _of_energy(energy: float, unit: str) -> Radiation | None:
    if unit == "ev":
        energy /= 1000.0
    elif unit != "kev":
        return None
    try:
        return Radiation.from_energy(energy)
    except PatternError:
        return None


def _float(text: str) -> float:
    text = text.replace(",", ".").replace("D", "e").replace("d", "e")
    try:
        return float(text.rstrip("."))
    except ValueError:
        return 0.0
