"""The spectral lines that patterns are made with: anodes, wavelengths, energies."""

import re
from dataclasses import dataclass

from pxrdbench.errors import PatternError

# Planck's constant times the speed of light [keV Å], exact since 2019 (CODATA 2018).
KEV_ANGSTROM = 12.398419843320026

# Kα1 and Kα2 [Å] of the anodes of laboratories: International Tables C (2004), table
# 4.2.2.4, on the scale of Deslattes et al. (2003), Rev. Mod. Phys. 75, 35; for Cr, Fe,
# Co and Cu these are the measurements of Hölzer et al. (1997), Phys. Rev. A 56, 4554.
_K_ALPHA: dict[str, tuple[float, float]] = {
    "Cr": (2.2897260, 2.2936510),
    "Fe": (1.9360410, 1.9399730),
    "Co": (1.7889960, 1.7928350),
    "Cu": (1.540593, 1.544427),
    "Mo": (0.70931715, 0.713607),
    "Ag": (0.55942178, 0.5638131),
}
# The reference work's single line (Schopmans et al. 2023), and what most people type.
_CU_KA1 = 1.5406
# Two states of j = 3/2 to one of j = 1/2. Measured areas are 0.51 to 0.53 of Kα1
# (Hölzer et al. 1997, table III; Scofield 1974, Phys. Rev. A 9, 1041).
_WEIGHTS = (2 / 3, 1 / 3)

# Emission profiles of fundamental parameters have up to 12; each is simulated.
MOST_LINES = 64

_WITH_UNIT = re.compile(r"\s*([-+.\d]+(?:e[-+]?\d+)?)\s*(keV|Å|A|angstrom)?\s*", re.I)


def _name_lines() -> dict[str, tuple[tuple[float, float], ...]]:
    """Kα1 alone and the doublet of each anode; copper first."""
    named: dict[str, tuple[tuple[float, float], ...]] = {}
    for anode in ("Cu", "Mo", "Co", "Cr", "Fe", "Ag"):
        first, second = _K_ALPHA[anode]
        named[f"{anode}Ka1"] = ((_CU_KA1 if anode == "Cu" else first, 1.0),)
        named[f"{anode}Ka"] = ((first, _WEIGHTS[0]), (second, _WEIGHTS[1]))
    return named


# ``CuKa1`` is 1.5406 Å, ``CuKa`` the doublet of the table.
NAMED_LINES = _name_lines()


@dataclass(frozen=True)
class Radiation:
    """The spectral lines that a pattern is made with.

    Attributes:
        lines: Wavelength [Å] and weight of each line; the weights add up to 1.
        name: What to print.

    Example:
        >>> Radiation.parse("CuKa1").lines
        ((1.5406, 1.0),)
        >>> Radiation.parse("17.4 keV").name
        '17.4 keV'
    """

    lines: tuple[tuple[float, float], ...]
    name: str = ""

    def __post_init__(self) -> None:
        if len(self.lines) > MOST_LINES:
            raise PatternError(
                f"a radiation of {len(self.lines):,} lines; at most {MOST_LINES} can be"
            )
        for wavelength, weight in self.lines:
            # From hard synchrotron radiation (120 keV) to vanadium L edges.
            if not 0.1 <= wavelength <= 25.0 or not weight > 0.0:
                raise PatternError(
                    f"wavelength {wavelength} angstrom with weight {weight}; "
                    "wavelengths lie between 0.1 and 25, weights above 0"
                )
        if not self.lines or abs(sum(w for _, w in self.lines) - 1.0) > 1e-9:
            raise PatternError("a radiation needs lines whose weights add up to 1")

    @property
    def wavelength(self) -> float:
        """Mean of the lines by weight [Å]."""
        return sum(wavelength * weight for wavelength, weight in self.lines)

    @property
    def energy(self) -> float:
        """Energy of a photon of the mean wavelength [keV]."""
        return KEV_ANGSTROM / self.wavelength

    @classmethod
    def from_energy(cls, energy: float) -> "Radiation":
        """Make a single line from the energy of its photons [keV].

        Raises:
            PatternError: If the energy is not between 0.5 and 124 keV.
        """
        energy = float(energy)
        # The bounds of wavelengths, 0.1 to 25 Å, in energies.
        if not KEV_ANGSTROM / 25.0 <= energy <= KEV_ANGSTROM / 0.1:
            raise PatternError(
                f"energy {energy} keV; energies lie between 0.5 and 123.98 keV"
            )
        return cls(((KEV_ANGSTROM / energy, 1.0),), f"{energy:g} keV")

    @classmethod
    def parse(cls, radiation: "str | float | Radiation") -> "Radiation":
        """Make a radiation from a name, a wavelength, an energy or a radiation.

        Args:
            radiation: ``CuKa1`` (Kα1 alone) or ``CuKa`` (the doublet), and so for Mo,
                Co, Cr, Fe and Ag; a wavelength [Å], as a number or as ``"0.5 Å"``; an
                energy as ``"17.4 keV"``.

        Raises:
            PatternError: If the name is unknown; it lists those known.
        """
        if isinstance(radiation, Radiation):
            return radiation
        if isinstance(radiation, str):
            return cls._parse_text(radiation)
        return cls(((float(radiation), 1.0),), f"{float(radiation):g} Å")

    @classmethod
    def _parse_text(cls, text: str) -> "Radiation":
        name = text.strip().replace("α", "a")
        if name in NAMED_LINES:
            return cls(NAMED_LINES[name], name)
        match = _WITH_UNIT.fullmatch(text)
        try:
            value = float(match[1]) if match else None
        except ValueError:
            value = None
        if match is None or value is None:
            raise PatternError(
                f"unknown radiation {text!r}; known are {', '.join(NAMED_LINES)}, or "
                "give a wavelength in angstrom or an energy such as '17.4 keV'"
            )
        if (match[2] or "").lower() == "kev":
            return cls.from_energy(value)
        return cls.parse(value)
