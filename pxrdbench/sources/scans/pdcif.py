"""Measured profiles in powder CIFs (the dictionary ``pdCIF`` of the IUCr)."""

import re
from typing import Any

import numpy as np

from pxrdbench.diffraction.radiation import NAMED_LINES, Radiation
from pxrdbench.errors import PatternError, SourceError
from pxrdbench.sources.scans.pattern import (
    MAX_POINTS,
    MeasuredPattern,
    find_radiation,
    make_pattern,
    read_number,
)

_ANGLES = (
    "_pd_meas_2theta_scan",
    "_pd_meas_2theta_corrected",
    "_pd_proc_2theta_corrected",
)
# What was measured, before what somebody made of it; never what was calculated.
_COUNTS = (
    "_pd_meas_counts_total",
    "_pd_meas_intensity_total",
    "_pd_proc_intensity_total",
    "_pd_proc_intensity_net",
    "_pd_meas_counts_net",
    "_pd_meas_intensity_net",
)
_ANODE = re.compile(r"\b(Cu|Mo|Co|Cr|Fe|Ag)[\s\\~-]*K", re.IGNORECASE)


def read_pdcif(text: str, name: str) -> tuple[MeasuredPattern, ...]:
    """Read the measured profile of each data block that has one.

    Raises:
        SourceError: If it is no CIF, or holds no profile over 2θ.
    """
    import gemmi

    try:
        document = gemmi.cif.read_string(text)
    except (ValueError, RuntimeError) as error:
        detail = " ".join(str(error).split())[:100]
        raise SourceError(f"{name}: no valid CIF ({detail})") from None
    scans = []
    for block in document:
        # The radiation may stand in a block of its own.
        pattern = _read_block(block, name)
        if pattern is not None:
            scans.append(pattern)
    if not scans:
        if any(block.find_values("_pd_meas_time_of_flight") for block in document):
            raise SourceError(f"{name}: measured by time of flight, not over angles 2θ")
        raise SourceError(
            f"{name}: no measured profile over 2θ in this CIF (no "
            "_pd_meas_counts_total, _pd_proc_intensity_total or the like)"
        )
    return tuple(scans)


def _read_block(block: Any, name: str) -> MeasuredPattern | None:
    column = next((tag for tag in _COUNTS if len(_values(block, tag)) > 2), None)
    if column is None:
        return None
    texts = _values(block, column)
    if len(texts) > MAX_POINTS:
        raise SourceError(f"{name}: {len(texts):,} points; {MAX_POINTS:,} are read")
    counts = np.array([_number(t) for t in texts])
    angles = _find_angles(block, len(counts), column)
    if angles is None:
        raise SourceError(
            f"{name}: {len(counts)} intensities of {column}, but neither an angle for "
            "each nor the first, last and step of 2θ"
        )
    # A point that was not measured has a dot or a question mark.
    known = np.isfinite(counts) & np.isfinite(angles)
    warnings: tuple[str, ...] = ()
    if not known.all():
        warnings = (f"{int((~known).sum())} points without a number are left out.",)
    sigma = None
    if all(re.search(r"\(\d+\)", t) for t in texts):
        sigma = np.array([_uncertainty(t) for t in texts])[known]
    metadata = _find_metadata(block, column)
    return make_pattern(
        angles[known], counts[known], _find_radiation(block), sigma, name, metadata,
        warnings,
    )  # fmt: skip


def _values(block: Any, tag: str) -> list[str]:
    return list(block.find_values(tag))


def _number(text: str) -> float:
    value = read_number(text)
    return np.nan if value is None else value


def _uncertainty(text: str) -> float:
    """What 327(18) or 1.250(3) has in brackets, in the units of the number."""
    match = re.match(r"\s*[-+]?\d*\.?(\d*)\((\d+)\)", text)
    return np.nan if match is None else int(match[2]) * 10.0 ** -len(match[1])


def _first_number(block: Any, tag: str) -> float | None:
    return next((read_number(text) for text in _values(block, tag)), None)


def _find_angles(block: Any, count: int, column: str) -> np.ndarray | None:
    for tag in _ANGLES:
        texts = _values(block, tag)
        if len(texts) == count:
            return np.array([_number(t) for t in texts])
    # Counts belong to the measured range, processed intensities to the processed one.
    kinds = ("meas", "proc") if "_meas_" in column else ("proc", "meas")
    for kind in kinds:
        start, stop, step = (
            _first_number(block, f"_pd_{kind}_2theta_range_{end}")
            for end in ("min", "max", "inc")
        )
        if start is not None and step is not None and step > 0.0:
            # The step is often rounded; the last angle, if it fits, is better.
            last = start + step * (count - 1)
            if stop is not None and abs(stop - last) < 0.05 * (last - start):
                last = stop
            return np.linspace(start, last, count)
    return None


def _find_radiation(block: Any) -> Radiation | None:
    """The lines that the block states; the anode alone is the doublet."""
    if "neutron" in _probe(block):
        wavelength = _first_number(block, "_diffrn_radiation_wavelength")
        return None if wavelength is None else _single(wavelength)
    for tag in ("_diffrn_radiation_wavelength", "_pd_proc_wavelength"):
        wavelengths = [read_number(text) for text in _values(block, tag)]
        found = [w for w in wavelengths if w is not None and 0.1 <= w <= 25.0]
        if len(found) >= 2 and len(found) == len(wavelengths):
            return _weighted(found, _values(block, "_diffrn_radiation_wavelength_wt"))
        if found:
            return find_radiation(found[0])
    match = _ANODE.search(" ".join(_values(block, "_diffrn_radiation_type")))
    if match is not None and f"{match[1].title()}Ka" in NAMED_LINES:
        return Radiation.parse(f"{match[1].title()}Ka")
    return None


def _single(wavelength: float) -> Radiation | None:
    try:
        return Radiation.parse(wavelength)
    except PatternError:
        return None


def _weighted(wavelengths: list[float], texts: list[str]) -> Radiation | None:
    """Lines with their weights; Kα1 and Kα2 as two to one where none are given."""
    weights = [read_number(text) for text in texts]
    known = [w for w in weights if w is not None and w > 0.0]
    if len(known) != len(wavelengths):
        if len(wavelengths) != 2:
            return find_radiation(wavelengths[0])
        known = [2.0, 1.0]
    order = np.argsort(wavelengths)
    total = sum(known)
    lines = tuple((wavelengths[i], known[i] / total) for i in order)
    name = " and ".join(f"{w:g}" for w, _ in lines) + " Å"
    for named, theirs in NAMED_LINES.items():
        if len(theirs) == len(lines) and all(
            abs(a / b - 1.0) < 3e-5
            for (a, _), (b, _) in zip(lines, theirs, strict=True)
        ):
            name = named
    return Radiation(lines, name)


def _probe(block: Any) -> str:
    return " ".join(
        _values(block, "_diffrn_radiation_probe")
        + _values(block, "_diffrn_radiation_type")
    ).lower()


def _find_metadata(block: Any, column: str) -> dict[str, str]:
    found = {"block": block.name, "column": column}
    probe = _probe(block)
    found["probe"] = "neutron" if "neutron" in probe else "x-ray"
    for key, tags in {
        "space_group_symbol": (
            "_symmetry_space_group_name_H-M",
            "_space_group_name_H-M_alt",
        ),
        "space_group": ("_symmetry_Int_Tables_number", "_space_group_IT_number"),
        "formula": ("_chemical_formula_sum",),
    }.items():
        texts = [text for tag in tags for text in _values(block, tag)]
        if texts and texts[0] not in "?.":
            found[key] = texts[0].strip("'\"")
    return found
