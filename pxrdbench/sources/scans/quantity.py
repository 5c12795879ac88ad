"""What a column is: angle, Q, d, counts, their unit, and how it becomes 2θ.

A column is an angle only if its name says so. What is known here is what programs
write: pyFAI (``2th_deg``, ``q_A^-1``, ``r_mm``), FIT2D (``Q (Inverse Angstroms)``),
PDFgetX, Mantid, HighScore, DIFFRAC, spreadsheets of people.
"""

import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from pxrdbench.diffraction.radiation import Radiation
from pxrdbench.errors import SourceError

TWO_THETA = "2theta"
INTENSITY = "intensity"
SIGMA = "sigma"
# Counts of the beam before the sample, and when a point was measured.
MONITOR = "monitor"
# Quantities that a wavelength or nothing turns into 2θ.
CONVERTED = (TWO_THETA, "theta", "Q", "d", "s", "sin(theta)/lambda")


@dataclass(frozen=True)
class Quantity:
    """What a column holds.

    Attributes:
        kind: ``2theta``, ``theta``, ``Q``, ``d``, ``s``, ``intensity``, ``sigma`` …
        unit: ``degrees``, ``radians``, ``1/Å``, ``1/nm``, ``Å``, ``nm``, ``mm`` …;
            "" if it does not say.
        transform: ``log10``, ``ln``, ``log``, ``sqrt`` or ``power`` of an intensity,
            else "".
    """

    kind: str
    unit: str = ""
    transform: str = ""


_SUPERSCRIPTS = str.maketrans({"⁻": "-", "¹": "1", "−": "-", "–": "-", "θ": "theta",
                               "Θ": "theta", "ϑ": "theta", "Å": "å", "λ": "lambda",
                               "σ": "sigma", "\u212b": "å"})  # fmt: skip

_TWO_THETA = re.compile(
    r"(?:^|[^a-z0-9])(?:2|two|zwei|ii)[\s_*-]*(?:theta|th|t)(?![a-z])|^t?tth(?![a-z])|"
    r"^th(?:eta)?[\s_/-]*2[\s_-]*th|^(?:2\s*theta\s*)?winkel|"
    r"ttheta|[^a-z]tth(?![a-z])|^2th|2\s*theta|°\s*2|twotheta|2-?theta|"
    r"^pos\.?\s*[\[(]|^angle|scattering angle|diffraction angle|bragg angle.*2"
)
_THETA = re.compile(r"^(?:theta|th|bragg[\s_-]*angle)(?![a-z0-9])")
# sin²θ, cos θ, 1/d², Q²: no reader is sure what to do with them.
_FUNCTION = re.compile(
    r"^(?:sin|cos|tan)(?![a-z]*\s*\(?\s*theta\s*\)?\s*/\s*lambda)|"
    r"(?:\^|\*\*)\s*[({]?-?2(?!\d)|²|squared"
)
# A unit alone is that of Q or of s, which differ by 2π.
_INVERSE_ALONE = re.compile(
    r"[x\s(\[]*(?:1\s*/\s*(?:å|a|nm|angstr\w*)|"
    r"(?:å|a|nm|angstr\w*)\s*\^?\s*[({]?\s*-\s*1[)}]?)[\s)\]]*"
)
_LENGTH_ALONE = re.compile(r"[x\s(\[]*(?:å|nm|angstr\w*)[\s)\]]*")
_DEGREES_ALONE = re.compile(r"[x\s(\[]*(?:deg(?:rees?)?|°)[.\s)\]]*")
_Q = re.compile(
    r"^q(?![a-z])(?!-?\d)|^q[\s_]*\(|scattering[\s_-]*vector|momentum[\s_-]*transfer|"
    r"wave[\s_-]*vector|^4\s*\*?\s*pi|\bqa\b|^qnm$"
)
_D = re.compile(r"^d[\s_]*(?:$|[(\[,]|space|val|hkl|in\b)|^d[\s_-]*spac|interplanar|"
                r"^d_(?:a|nm|å)|lattice[\s_-]*spacing|netzebenen")  # fmt: skip
_HALF_S = re.compile(r"^(?:sin|stol)[\s(]*(?:theta)?\)?\s*/\s*lambda|^stol|^sthol")
_S = re.compile(r"^s[\s_]*(?:$|[(\[=])|2\s*\*?\s*sin|^1\s*/\s*d(?![a-z])|^d\*(?!\*)")
_RADIUS = re.compile(r"^r(?:adi(?:us|al))?(?![a-z])|radial|^distance|pixel")
_NO_ANGLE = re.compile(
    r"^(?:time|energy|e_?\(|wavelength|lambda|channel|tof|temperature|frequency|"
    r"wavenumber|chi|phi|psi|omega|azimuth|d\(|g\(r|raman|binding|mass)|"
    r"time[\s_-]*of[\s_-]*flight"
)
_INTENSITY = re.compile(
    r"int|count|cps|\bcts|^y(?![a-z])|^i(?![a-z])|i[\s_]*\(|obs(?!or)|signal|"
    r"z(?:ae|ä|a)hl|impuls|"
    r"ordinate|psd|height|yield|^lps|detector"
)
_TRANSFORMS = re.compile(r"log[\s_]*10|l[gn]|log|sqrt|square[\s_-]*root( of)?|√|\^.*")
_MONITOR = re.compile(
    r"^(?:monitor|mon\d?$|epoch|seconds?$|sec$|io$|i0$|i_0$|ring|temp)|current$"
)
_SIGMA = re.compile(r"sig|^s\.?u\.?$|esd|err|unc|^e$|std|dev|^di$|^dy$")
_PEAKS = re.compile(
    r"fwhm|rel\.?[\s_]*int|d[\s_-]*spac|^height|\bhkl\b|^h$|^k$|^l$|area|i/i0|i/imax"
)


def read_quantity(name: str) -> Quantity | None:
    """What the name of a column says; None if it says nothing that is known.

    Example:
        >>> read_quantity("2th_rad")
        Quantity(kind='2theta', unit='radians', transform='')
        >>> read_quantity("Q (Inverse Nanometres)")
        Quantity(kind='Q', unit='1/nm', transform='')
        >>> read_quantity("Quartz") is read_quantity("D-2") is None
        True
    """
    text = " ".join(name.translate(_SUPERSCRIPTS).lower().split()).strip("\"' ")
    text = text.replace("$", "").replace("\\aa", "å").replace("\\theta", "theta")
    text = text.replace("\\", "").lstrip("#").strip()
    if not text or len(text) > 60:
        return None
    transform = _transform(text)
    if not transform and _INTENSITY.search(text) and re.search(r"\^|²|\*\*", text):
        return Quantity(INTENSITY, "", "power")
    if transform:
        # What stands within "log( … )": I, counts, y.
        bare = _TRANSFORMS.sub(" ", text)
        bare = re.sub(r"[()\[\]_]", " ", bare).strip()
        is_counts = _INTENSITY.search(text) or _INTENSITY.search(bare) or text == "db"
        return Quantity(INTENSITY, "", transform) if is_counts else None
    if _MONITOR.search(text):
        return Quantity(MONITOR)
    if _FUNCTION.search(text) and not _INVERSE_ALONE.fullmatch(text):
        return Quantity("function of an angle or a distance")
    if _TWO_THETA.search(text):
        return Quantity(TWO_THETA, _angle_unit(text))
    if _HALF_S.search(text):
        return Quantity("sin(theta)/lambda", _inverse_unit(text))
    if _S.search(text):
        return Quantity("s", _inverse_unit(text))
    if _THETA.search(text):
        return Quantity("theta", _angle_unit(text))
    if _Q.search(text):
        return Quantity("Q", _inverse_unit(text))
    if _D.search(text):
        return Quantity("d", _length_unit(text) or "Å")
    if _NO_ANGLE.search(text):
        return Quantity(text.split("(")[0].strip(), _length_unit(text))
    if _RADIUS.search(text):
        return Quantity("radius", _length_unit(text))
    if _DEGREES_ALONE.fullmatch(text):
        return Quantity(TWO_THETA, "degrees")
    if _INVERSE_ALONE.fullmatch(text):
        return Quantity("inverse length", _inverse_unit(text))
    if _LENGTH_ALONE.fullmatch(text):
        return Quantity("length", _length_unit(text))
    if _SIGMA.search(text):
        return Quantity(SIGMA)
    if _INTENSITY.search(text):
        return Quantity(INTENSITY)
    return None


def is_of_peaks(names: list[str]) -> bool:
    """Whether the columns are those of a table of peaks, not of a scan."""
    return sum(bool(_PEAKS.search(name.strip().lower())) for name in names) >= 2


def _transform(text: str) -> str:
    for pattern, transform in (
        (r"\blog[\s_]*10|\blg\b|^log_?10|^lg[\s_(]", "log10"),
        (r"\bln\b|^ln[\s_(]|^ln(?=i\b|int|y\b|counts)", "ln"),
        (r"\blog\b|^log[\s_(]|_log\b|^log(?=i\b|int|y\b|counts)|\bdb\b", "log"),
        (r"sqrt|square[\s_-]*root|√|\^\s*\(?(?:0?\.5|1/2)\)?$", "sqrt"),
    ):
        if re.search(pattern, text):
            return transform
    return ""


def _angle_unit(text: str) -> str:
    if re.search(r"m\s*rad|millirad", text):
        return "milliradians"
    if re.search(r"(?:^|[^a-z])rad(?:ians?)?(?![a-z])", text):
        return "radians"
    return "degrees"


def _inverse_unit(text: str) -> str:
    """1/Å or 1/nm; "" if the name does not say."""
    if re.search(r"nm|nanom", text):
        return "1/nm"
    if re.search(r"å|angstr|(?<![a-z])(?:1/a|a\^?\(?-1|/a|a-1|qa)(?![a-z])|_a\b|_a\^",
                 text):  # fmt: skip
        return "1/Å"
    if re.search(r"(?<![a-z])(?:1/pm|pm)", text):
        return "1/pm"
    return ""


def _length_unit(text: str) -> str:
    for pattern, unit in (
        (r"nm|nanom", "nm"), (r"å|angstr|[(\[_]a[)\]]?$", "Å"), (r"mm|millim", "mm"),
        (r"pix", "pixels"), (r"kev", "keV"), (r"µs|us|microsec", "µs"),
        (r"\bm\b|_m$", "m"),
    ):  # fmt: skip
        if re.search(pattern, text):
            return unit
    return ""


def to_two_theta(
    values: Float64[np.ndarray, " points"],
    quantity: Quantity,
    radiation: Radiation | None,
    name: str,
    column: str,
) -> Float64[np.ndarray, " points"]:
    """Angles 2θ [degrees] of a column.

    Args:
        values: Of the column.
        quantity: What it is.
        radiation: That it was measured with; Q, d and s need it.
        name: Of the file, for messages.
        column: Its name, for messages.

    Raises:
        SourceError: If it cannot be converted; with what is missing.
    """
    if quantity.kind in (TWO_THETA, "theta"):
        factor = 2.0 if quantity.kind == "theta" else 1.0
        if quantity.unit == "radians":
            factor *= np.degrees(1.0)
        elif quantity.unit == "milliradians":
            factor *= np.degrees(1e-3)
        return np.asarray(values * factor)
    if quantity.kind not in CONVERTED:
        unit = f" [{quantity.unit}]" if quantity.unit else ""
        raise SourceError(
            f"{name}: the first column is {column[:60]!r}, a {quantity.kind}{unit}, "
            "none of them an angle 2θ; integrate or export the scan over 2θ in degrees"
        )
    if not quantity.unit:
        raise SourceError(
            f"{name}: the column {column[:60]!r} has no unit, none of them an angle "
            "2θ; write 1/Å or 1/nm behind its name, or convert it to degrees 2θ"
        )
    if radiation is None:
        raise SourceError(
            f"{name}: the column {column[:60]!r} is {quantity.kind} [{quantity.unit}], "
            "none of them an angle 2θ; give the radiation, with which it is converted"
        )
    scale = {"1/Å": 1.0, "1/nm": 0.1, "1/pm": 100.0, "Å": 1.0, "nm": 10.0,
             "pm": 0.01}[quantity.unit]  # fmt: skip
    scaled = values * scale
    with np.errstate(divide="ignore"):
        # Q = 4π sinθ/λ, s = 1/d = 2 sinθ/λ.
        inverse_d = {
            "Q": scaled / (2.0 * np.pi),
            "s": scaled,
            "sin(theta)/lambda": 2.0 * scaled,
            "d": 1.0 / scaled,
        }[quantity.kind]
    # The angle of a scan that was converted once is that of its first line.
    wavelength = radiation.lines[0][0]
    sine = inverse_d * wavelength / 2.0
    if not (np.abs(sine) < 1.0).all():
        raise SourceError(
            f"{name}: {quantity.kind} reaches beyond what {wavelength:g} Å can "
            "measure; another radiation was used"
        )
    return np.degrees(2.0 * np.arcsin(sine))


def undo_transform(
    values: Float64[np.ndarray, " points"], transform: str, name: str, column: str
) -> Float64[np.ndarray, " points"]:
    """Intensities of a column that holds their logarithm or square root.

    Raises:
        SourceError: If the base of the logarithm is not told.
    """
    if transform == "log":
        raise SourceError(
            f"{name}: the column {column[:60]!r} is a logarithm of unknown base; give "
            "the intensities themselves"
        )
    if transform == "power":
        raise SourceError(
            f"{name}: the column {column[:60]!r} is a power or a product; give the "
            "intensities themselves"
        )
    with np.errstate(over="ignore"):
        if transform == "log10":
            return np.asarray(10.0**values)
        if transform == "ln":
            return np.asarray(np.exp(values))
        return np.asarray(values**2) if transform == "sqrt" else values
