"""How strongly each atom scatters: form factors and anomalous dispersion.

All tables come to one formula, with s = sin θ/λ:

    f(s) = constant + (scale + scale_stol2 · s²) Σ_i a_i exp(−b_i s²)
    f″   = imaginary

``default``: f0 of Brown, Fox, Maslen, O'Keefe & Willis (2006), International Tables C,
table 6.1.1.4, and f′, f″ after Cromer & Liberman (1981), Acta Cryst. A37, 267, both as
carried by gemmi. Their constant holds c + f′.

``paper``: the reference work (Schopmans et al. 2023) takes over pymatgen's form
factors, f = Z − 41.78214 s² Σ_i a_i exp(−b_i s²), for neutral atoms and without
dispersion. The sum is the electron scattering factor of an atom, which the Mott-Bethe
formula turns into that for X-rays.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64

from pxrdbench.crystal.elements import ELEMENT_SYMBOLS
from pxrdbench.errors import PatternError
from pxrdbench.frozen import freeze_arrays

Scattering = Literal["default", "paper"]
SCATTERINGS: tuple[str, ...] = ("default", "paper")

# 8π² times the Bohr radius [Å], the constant of the Mott-Bethe formula, as pymatgen
# rounds it (De Graef & McHenry 2007, Structure of Materials).
_MOTT_BETHE = 41.78214

# gemmi's switch for ions is global; it is held for the length of one look-up.
_GEMMI_CHARGE_SWITCH = Lock()


@dataclass(frozen=True, eq=False)
class ScatteringTable:
    """Coefficients of f(s) and f″ at one wavelength; one row a species.

    Rows 1-98 are the neutral atoms by atomic number, row 0 is no atom, ions follow.

    Attributes:
        amplitude: a_i of the formula above.
        exponent: b_i [Å²].
        constant: c + f′, or Z.
        scale: Factor of the sum.
        scale_stol2: Factor of the sum, times s² [Å²].
        imaginary: f″.
    """

    amplitude: Float64[np.ndarray, "species 4"]
    exponent: Float64[np.ndarray, "species 4"]
    constant: Float64[np.ndarray, " species"]
    scale: Float64[np.ndarray, " species"]
    scale_stol2: Float64[np.ndarray, " species"]
    imaginary: Float64[np.ndarray, " species"]

    def __post_init__(self) -> None:
        freeze_arrays(self)

    def form_factor(
        self, species: int, stol2: Float64[np.ndarray, " reflections"]
    ) -> Float64[np.ndarray, " reflections"]:
        """Real part f0 + f′ of one species [electrons].

        Args:
            species: Row of the table; for a neutral atom its atomic number.
            stol2: (sin θ/λ)² [Å⁻²].

        Example:
            >>> table = load_scattering_table("paper", 1.5406)
            >>> table.form_factor(14, np.zeros(1))
            array([14.])
        """
        waves = np.exp(-np.outer(stol2, self.exponent[species]))
        total: Float64[np.ndarray, " reflections"] = self.constant[species] + (
            self.scale[species] + self.scale_stol2[species] * stol2
        ) * (waves @ self.amplitude[species])
        return total


def load_scattering_table(
    scattering: Scattering,
    wavelength: float,
    ions: tuple[tuple[int, int], ...] = (),
) -> ScatteringTable:
    """Look up what atoms scatter at one wavelength.

    Args:
        scattering: ``default`` or ``paper`` (see the module).
        wavelength: In angstrom; decides f′ and f″.
        ions: Atomic number and charge of each ion; rows 99 and on.

    Raises:
        PatternError: If the scattering mode is unknown.
    """
    if scattering not in SCATTERINGS:
        raise PatternError(
            f"unknown scattering {scattering!r}; known are {', '.join(SCATTERINGS)}"
        )
    if scattering == "paper":
        return _paper_table()
    return _default_table(float(wavelength), ions)


def find_species(
    atomic_number: Int64[np.ndarray, " sites"], charge: Int64[np.ndarray, " sites"]
) -> tuple[Int64[np.ndarray, " sites"], tuple[tuple[int, int], ...]]:
    """Rows of the default table for each site, and the ions it must hold."""
    if not charge.any():
        return atomic_number, ()
    charged = charge != 0
    pairs, inverse = np.unique(
        np.stack([atomic_number[charged], charge[charged]]), axis=1, return_inverse=True
    )
    species = atomic_number.copy()
    species[charged] = len(ELEMENT_SYMBOLS) + inverse.reshape(-1)
    return species, tuple((int(z), int(q)) for z, q in pairs.T)


@cache
def _paper_table() -> ScatteringTable:
    path = Path(__file__).with_name("paper_form_factors.json")
    coefficients = json.loads(path.read_text("utf-8"))["coefficients"]
    rows = np.array([coefficients[symbol] for symbol in ELEMENT_SYMBOLS[1:]])
    rows = np.concatenate([np.zeros((1, 4, 2)), rows])
    n_species = len(ELEMENT_SYMBOLS)
    return ScatteringTable(
        amplitude=np.ascontiguousarray(rows[:, :, 0]),
        exponent=np.ascontiguousarray(rows[:, :, 1]),
        constant=np.arange(n_species, dtype=np.float64),
        scale=np.zeros(n_species),
        scale_stol2=np.full(n_species, -_MOTT_BETHE),
        imaginary=np.zeros(n_species),
    )


@cache
def _default_table(
    wavelength: float, ions: tuple[tuple[int, int], ...]
) -> ScatteringTable:
    species = [(z, 0) for z in range(1, len(ELEMENT_SYMBOLS))] + list(ions)
    rows = np.array([[0.0] * 10] + [_default_row(z, q, wavelength) for z, q in species])
    return ScatteringTable(
        amplitude=np.ascontiguousarray(rows[:, :4]),
        exponent=np.ascontiguousarray(rows[:, 4:8]),
        constant=rows[:, 8].copy(),
        scale=np.ones(len(rows)),
        scale_stol2=np.zeros(len(rows)),
        imaginary=rows[:, 9].copy(),
    )


def _default_row(atomic_number: int, charge: int, wavelength: float) -> list[float]:
    """a, b, c + f′ and f″ of one species."""
    import gemmi

    element = gemmi.Element(atomic_number)
    with _GEMMI_CHARGE_SWITCH:
        ignored = gemmi.IT92_get_ignore_charge()
        gemmi.IT92_set_ignore_charge(False)
        # An ion without a published curve scatters as the published ion with the
        # nearest smaller charge of the same sign, in the end as the neutral atom.
        for tried in range(charge, 0, -1 if charge > 0 else 1):
            coefficients = gemmi.IT92_get_exact(element, tried)
            if coefficients is not None:
                break
        else:
            coefficients = gemmi.IT92_get_exact(element, 0)
        gemmi.IT92_set_ignore_charge(ignored)
    # Zero beyond uranium, for which nothing is published.
    real, imaginary = gemmi.cromer_liberman(atomic_number, gemmi.hc / wavelength)
    return [*coefficients.a, *coefficients.b, coefficients.c + real, imaginary]
