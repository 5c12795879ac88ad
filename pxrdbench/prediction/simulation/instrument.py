"""What an instrument adds to every scan: widths, zero, displacement, Kα doublet.

It is measured with a standard of known cell and is kept as a file of JSON:

    2θ seen = 2θ + zero + displacement · cos θ
    fwhm² = u tan² θ + v tan θ + w

Zero and displacement are nearly the same thing over a short range of angles; both are
fitted where the lines of the standard reach 2θ = 60 degrees apart, else zero alone.
"""

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Le, Len
from jaxtyping import Float64

from pxrdbench.crystal.structure import Crystal, CrystalBatch, Site
from pxrdbench.diffraction.peaks import simulate_peaks
from pxrdbench.diffraction.profile import Broadening
from pxrdbench.diffraction.radiation import Radiation
from pxrdbench.errors import PatternError, SourceError
from pxrdbench.files import write_atomically
from pxrdbench.indexing.lines.find import find_lines
from pxrdbench.indexing.lines.scan_lines import prepare_scan, width_function
from pxrdbench.outside import read_model

Points = Float64[np.ndarray, " points"]

# A line of the standard is looked for so far from where it should be [degrees].
_NEAR = 0.4
# Lines needed, and the range of angles from which displacement is told from zero.
_LEAST_LINES, _LONG = 4, 60.0
# A line narrower than this part of what the others say is an outlier, and so on.
_OUTLIER = 4.0
_FORMAT = "pxrdbench instrument 1"
# Angles, and coefficients of squared widths [degrees, degrees²].
_Degrees = Annotated[float, Ge(-90.0), Le(90.0)]

# Cells of standards [Å] at 22.5 °C: NIST certificates of SRM 660c (LaB6), 640f (Si),
# 676a (corundum) and 674b (CeO2, TiO2 left out).
STANDARDS: dict[str, Crystal] = {
    "LaB6": Crystal(
        221,
        (4.156826, 4.156826, 4.156826, 90.0, 90.0, 90.0),
        (Site("La", "a", (0, 0, 0)), Site("B", "f", (0.1993, 0.5, 0.5))),
    ),
    "Si": Crystal(
        227,
        (5.431144, 5.431144, 5.431144, 90.0, 90.0, 90.0),
        (Site("Si", "a", (0.125, 0.125, 0.125)),),
    ),
    "Al2O3": Crystal(
        167,
        (4.759091, 4.759091, 12.991779, 90.0, 90.0, 120.0),
        (Site("Al", "c", (0, 0, 0.3522)), Site("O", "e", (0.3063, 0.0, 0.25))),
    ),
    "CeO2": Crystal(
        225,
        (5.411651, 5.411651, 5.411651, 90.0, 90.0, 90.0),
        (Site("Ce", "a", (0, 0, 0)), Site("O", "c", (0.25, 0.25, 0.25))),
    ),
}


@dataclass(frozen=True)
class Instrument:
    """An instrument, from a standard.

    Attributes:
        radiation: Its lines.
        zero: Added to every angle 2θ [degrees].
        displacement: Added times cos θ [degrees].
        u: Caglioti coefficient [degrees²], with v and w.
        v: Likewise.
        w: Likewise.
        lorentz_share: Part of a profile's area that is Lorentzian.
        standard: What it was measured with.
        lines: Lines of the standard that were used.
        residual: Root mean square of what positions leave [degrees].
    """

    radiation: Radiation
    zero: float = 0.0
    displacement: float = 0.0
    u: float = 0.0
    v: float = 0.0
    w: float = 0.01
    lorentz_share: float = 0.5
    standard: str = ""
    lines: int = 0
    residual: float = 0.0

    def correct(self, two_theta: Points) -> Points:
        """Angles without zero and displacement."""
        true: Points = (
            two_theta
            - self.zero
            - self.displacement * np.cos(np.radians(two_theta / 2))
        )
        return true

    def fwhm(self, two_theta: Points) -> Points:
        """Full width at half maximum at each angle [degrees]."""
        t = np.tan(np.radians(two_theta / 2))
        square = self.u * t * t + self.v * t + self.w
        return np.sqrt(np.maximum(square, 1e-6))

    def broadening(self) -> Broadening:
        """The widths as `render` takes them."""
        return Broadening(
            u=self.u, v=self.v, w=self.w, lorentz_share=self.lorentz_share
        )

    def write(self, path: str | Path) -> None:
        """Write a file of JSON."""
        record = asdict(self) | {
            "format": _FORMAT,
            "radiation": {
                "name": self.radiation.name,
                "lines": [list(line) for line in self.radiation.lines],
            },
        }
        write_atomically(path, json.dumps(record, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, path: str | Path) -> "Instrument":
        """Read a file of JSON, or an instrument file of GSAS (PXCR, constant λ).

        Raises:
            SourceError: If it is neither.
        """
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(f"{path}: no instrument file ({error})") from None
        if text.lstrip().startswith("{"):
            return _from_json(text, str(path))
        if "ICONS" in text:
            return _from_gsas(text, str(path))
        raise SourceError(
            f"{path}: no instrument file; `pxrdbench instrument fit` writes one, and "
            "those of GSAS with ICONS are read"
        )


def fit_instrument(
    two_theta: Points,
    intensity: Points,
    radiation: str | float | Radiation,
    standard: str | Crystal = "LaB6",
) -> Instrument:
    """Measure an instrument with a scan of a standard.

    Args:
        two_theta: Angles [degrees].
        intensity: Counts.
        radiation: Of the scan.
        standard: Name of one of `STANDARDS`, or a crystal of known cell.

    Raises:
        PatternError: If there is no such standard, or the scan does not show it.
    """
    if isinstance(standard, str):
        if standard not in STANDARDS:
            raise PatternError(
                f"unknown standard {standard!r}; known are {', '.join(STANDARDS)}, or "
                "give the CIF of another"
            )
        crystal, name = STANDARDS[standard], standard
    else:
        crystal, name = standard, "crystal"
    source = Radiation.parse(radiation)
    first = source.lines[0][0]
    found = find_lines(two_theta, intensity, source, kind="measured")
    low, high = max(1.0, float(two_theta[0])), min(175.0, float(two_theta[-1]))
    peaks = simulate_peaks(
        CrystalBatch.from_crystals([crystal]), first, (low, high), precision="double"
    )
    strong = peaks.intensity > 1e-3 * peaks.intensity.max()
    true, place = _pair(peaks.two_theta[strong], found.two_theta)
    if len(true) < _LEAST_LINES:
        raise PatternError(
            f"{len(true)} lines of {name} were found; {_LEAST_LINES} are needed. Is it "
            f"{name}, and is the radiation {source.name}?"
        )
    off = found.two_theta[place] - true
    is_long = np.ptp(true) > _LONG
    design = np.column_stack(
        [np.ones(len(true)), np.cos(np.radians(true / 2)) if is_long else 0.0 * true]
    )
    kept = np.ones(len(true), np.bool_)
    shift = np.zeros(2)
    for _ in range(3):
        shift = np.linalg.lstsq(design[kept], off[kept], rcond=None)[0]
        rest = off - design @ shift
        spread = 1.4826 * float(np.median(np.abs(rest[kept]))) + 1e-4
        kept = np.abs(rest) < _OUTLIER * spread
        if kept.sum() < _LEAST_LINES:
            break
    u, v, w = _fit_widths(true[kept], found.fwhm[place][kept])
    scan = prepare_scan(two_theta, intensity, source)
    widths = width_function(scan)
    share = 0.5 if widths is None else float(widths.lorentz)
    rest = (off - design @ shift)[kept]
    return Instrument(
        radiation=source,
        zero=float(shift[0]),
        displacement=float(shift[1]),
        u=u,
        v=v,
        w=w,
        lorentz_share=min(max(_area_share(share), 0.0), 1.0),
        standard=name,
        lines=int(kept.sum()),
        residual=float(np.sqrt(np.mean(rest**2))),
    )


def _area_share(height_share: float) -> float:
    """Lorentzian part of the area of a pseudo-Voigt whose heights are mixed."""
    lorentz = height_share * math.pi / 2.0
    gauss = (1.0 - height_share) * math.sqrt(math.pi / (4.0 * math.log(2.0)))
    return lorentz / (lorentz + gauss)


def _pair(true: Points, seen: Points) -> tuple[Points, np.ndarray]:
    """Lines of the standard and those of the scan that they are.

    The usual shift is found first: lines may be off by more than their distance.
    """
    if not len(seen):
        return np.zeros(0), np.zeros(0, np.int64)
    best, shift = -1, 0.0
    for trial in np.linspace(-_NEAR, _NEAR, 81):
        off = np.abs(seen[None, :] - true[:, None] - trial).min(axis=1)
        count = int((off < 0.03).sum())
        if count > best or (count == best and abs(trial) < abs(shift)):
            best, shift = count, float(trial)
    off = np.abs(seen[None, :] - true[:, None] - shift)
    nearest = off.argmin(axis=1)
    near = off.min(axis=1) < 0.12
    alone = np.array([np.sum(nearest[near] == n) == 1 for n in nearest], np.bool_)
    return true[near & alone], nearest[near & alone]


def _fit_widths(two_theta: Points, fwhm: Points) -> tuple[float, float, float]:
    """u, v, w of squared widths, nowhere below a third of the narrowest line."""
    t = np.tan(np.radians(two_theta / 2))
    square = fwhm**2
    full = np.column_stack([t * t, t, np.ones(len(t))])
    weight = 1.0 / square  # relative errors of widths are alike
    for columns in ([0, 1, 2], [0, 2], [2]):
        if len(t) < len(columns) + 2:
            continue
        solution = np.zeros(3)
        solution[columns] = np.linalg.lstsq(
            full[:, columns] * weight[:, None], square * weight, rcond=None
        )[0]
        fine = np.tan(np.radians(np.linspace(2.0, 150.0, 300) / 2))
        everywhere = solution[0] * fine**2 + solution[1] * fine + solution[2]
        if everywhere.min() > float(square.min()) / 9.0:
            return float(solution[0]), float(solution[1]), float(solution[2])
    return 0.0, 0.0, float(np.median(square))


@dataclass(frozen=True)
class _Source:
    """Lines of an instrument file: wavelength [Å] and weight of each."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    name: str
    lines: Annotated[tuple[tuple[float, float], ...], Len(1, 100)]


@dataclass(frozen=True)
class _InstrumentFile:
    """What `Instrument.write` writes; the bounds are far beyond any diffractometer."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    format: Literal["pxrdbench instrument 1"]
    radiation: _Source
    zero: _Degrees = 0.0
    displacement: _Degrees = 0.0
    u: _Degrees = 0.0
    v: _Degrees = 0.0
    w: _Degrees = 0.01
    lorentz_share: Annotated[float, Ge(0.0), Le(1.0)] = 0.5
    standard: str = ""
    lines: Annotated[int, Ge(0), Le(10**6)] = 0
    residual: Annotated[float, Ge(0.0), Le(90.0)] = 0.0


def _from_json(text: str, name: str) -> Instrument:
    place = f"{name}: no instrument file of pxrdbench"
    file = read_model(_InstrumentFile, text, place, SourceError)
    values = {f.name: getattr(file, f.name) for f in fields(Instrument)}
    try:
        values["radiation"] = Radiation(file.radiation.lines, file.radiation.name)
    except PatternError as error:
        raise SourceError(f"{place}: {error}") from error
    return Instrument(**values)


def _from_gsas(text: str, name: str) -> Instrument:
    """ICONS λ1 λ2 zero … ratio; profile functions 2 to 4 begin with GU GV GW.

    Coefficients are in hundredths of a degree of variances (GSAS manual, LAUR 86-748):
    fwhm² = 8 ln 2 (GU tan² θ + GV tan θ + GW) / 10⁴.
    """
    try:
        row = next(r for r in text.splitlines() if "ICONS" in r)
        numbers = [float(word) for word in row.split("ICONS")[1].split()]
        first, second, zero = numbers[:3]
        ratio = numbers[6] if len(numbers) > 6 else 0.5
        profile = next((r for r in text.splitlines() if "PRCF11" in r), "")
        terms = [float(word) for word in profile.split("PRCF11")[1].split()[:3]]
    except (StopIteration, ValueError, IndexError):
        raise SourceError(f"{name}: ICONS and PRCF11 are not understood") from None
    scale = 8.0 * math.log(2.0) / 1e4
    lines: tuple[tuple[float, float], ...] = ((first, 1.0),)
    if second > 0.0 and ratio > 0.0:
        share = 1.0 / (1.0 + ratio)
        lines = ((first, share), (second, 1.0 - share))
    u, v, w = (scale * term for term in terms)
    return Instrument(
        Radiation(lines, f"{first:g} Å"),
        zero / 100.0,
        0.0,
        u,
        v,
        w,
        0.5,
        Path(name).name,
    )
