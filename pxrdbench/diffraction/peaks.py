"""From crystals to lists of reflections with integrated intensities."""

import math
from dataclasses import astuple, dataclass
from functools import lru_cache
from typing import Literal, NoReturn

import numpy as np
from jaxtyping import Float, Float64, Int16, Int64

from pxrdbench.crystal.elements import ELEMENT_SYMBOLS
from pxrdbench.crystal.structure import CrystalBatch
from pxrdbench.crystal.symmetry.tables import SymmetryTables, load_symmetry_tables
from pxrdbench.diffraction.kernels.atoms import KernelTables, are_sites_sound
from pxrdbench.diffraction.kernels.peaks import (
    BAD_CELL,
    MAX_REFLECTIONS,
    NOTHING,
    TOO_MANY,
    simulate_batch,
)
from pxrdbench.diffraction.kernels.texture import MarchDollase
from pxrdbench.diffraction.pattern import PeakBatch, Radiation
from pxrdbench.diffraction.polarization import Polarization
from pxrdbench.diffraction.scattering import (
    Scattering,
    ScatteringTable,
    find_species,
    load_scattering_table,
)
from pxrdbench.errors import CrystalError, PatternError

Precision = Literal["single", "double"]

# Weaker peaks are dropped, relative to the strongest: pymatgen's SCALED_INTENSITY_TOL
# of 0.001 %, and less in the default mode, where absent reflections are all that goes.
_CUT_PAPER, _CUT_DEFAULT = 1e-5, 1e-7
_NO_HKL = np.zeros((0, 3), np.int16)


@dataclass(frozen=True, eq=False)
class _Peaks:
    """What the kernel returns."""

    two_theta: Float64[np.ndarray, " peaks"]
    intensity: Float64[np.ndarray, " peaks"]
    hkl: Int16[np.ndarray, "peaks_or_none 3"]
    peak_offset: Int64[np.ndarray, " batch_and_one"]


def simulate_peaks(
    crystals: CrystalBatch,
    radiation: str | float | Radiation = "CuKa1",
    two_theta: tuple[float, float] = (5.0, 90.0),
    scattering: Scattering = "default",
    precision: Precision = "single",
    *,
    hkl: bool = False,
    polarization: Polarization | None = None,
    texture: MarchDollase | None = None,
) -> PeakBatch:
    """Compute where and how strongly crystals reflect.

        I = m · Lp · (|P|² + |Q|²),    Lp = (1 + cos² 2θ) / (sin² θ cos θ)
        P, Q = Σ_atoms occupancy · (f0 + f′, f″) · exp(−B sin²θ/λ²) · exp 2πi h·x

    which is the mean of |F(h)|² and |F(−h)|², as a powder line is. ``paper`` mode has
    the reference work's form factors, no dispersion, and drops peaks below 1e-5 of the
    strongest; ``default`` drops those below 1e-7. Reflections within 1e-5 degrees are
    one peak: at the first of them in ``paper`` mode, else at their mean by intensity.

    Coordinates are first put exactly on their Wyckoff position, so that 0.3333 means
    one third where it must. The result for a crystal does not depend on its
    neighbours in the batch.

    Args:
        crystals: Asymmetric units in the standard setting.
        radiation: Name, wavelength [Å] or lines.
        two_theta: Lowest and highest angle 2θ [degrees]; peaks lie inside.
        scattering: Tables of ``pxrdbench.diffraction.scattering``.
        precision: Of the structure factors; angles are always double. Single is
            within 2e-6 of the strongest peak of double.
        hkl: Whether to return Miller indices.
        polarization: Of a beam with a monochromator or from a synchrotron; a tube's
            if not given, as in the formula.
        texture: Preferred orientation of each crystal's powder; none if not given.

    Returns:
        Peaks by crystal; intensities in electrons squared a conventional cell.

    Raises:
        CrystalError: If a crystal is impossible; it names the index.
        PatternError: If radiation or range are impossible, or a crystal has no
            reflection in the range.
    """
    radiation = Radiation.parse(radiation)
    low, high = float(two_theta[0]), float(two_theta[1])
    if not 0.0 < low < high < 180.0:
        raise PatternError(
            f"two_theta runs from {low} to {high} degrees; it must hold that "
            "0 < low < high < 180"
        )
    if precision not in {"single", "double"}:
        raise PatternError(f"unknown precision {precision!r}; known are single, double")
    if texture is not None and len(texture.r) != len(crystals):
        raise PatternError(
            f"{len(texture.r)} textures for {len(crystals)} crystals; "
            "one each is needed"
        )
    _check_sites(crystals)
    species = crystals.atomic_number.astype(np.int64)
    ions: tuple[tuple[int, int], ...] = ()
    if scattering != "paper":
        species, ions = find_species(species, crystals.charge.astype(np.int64))
    lines = [
        _simulate_line(
            crystals,
            species,
            load_scattering_table(scattering, wavelength, ions),
            wavelength,
            (low, high),
            (scattering == "paper", precision == "single", hkl),
            (polarization or Polarization()).weights,
            texture,
        )
        for wavelength, _ in radiation.lines
    ]
    merged = lines[0]
    if len(lines) > 1:
        merged = _interleave(lines, [weight for _, weight in radiation.lines])
    return PeakBatch(
        two_theta=merged.two_theta,
        intensity=merged.intensity,
        peak_offset=merged.peak_offset,
        hkl=merged.hkl if hkl else None,
        wavelength=radiation.wavelength,
    )


def _simulate_line(
    crystals: CrystalBatch,
    species: Int64[np.ndarray, " sites"],
    table: ScatteringTable,
    wavelength: float,
    two_theta: tuple[float, float],
    options: tuple[bool, bool, bool],
    polarization: tuple[float, float],
    texture: MarchDollase | None,
) -> _Peaks:
    """Run the kernel at one wavelength and turn its status into an error."""
    is_paper, is_single, with_hkl = options
    real, integer = (np.float32, np.int32) if is_single else (np.float64, np.int64)
    status, index, end, angle, intensity, peak_offset, *indices = simulate_batch(
        crystals.lattice,
        crystals.space_group,
        crystals.site_offset,
        crystals.fract,
        species,
        crystals.wyckoff_index,
        crystals.occupancy,
        crystals.b_iso,
        _kernel_tables(load_symmetry_tables()),
        _coefficients(table, real),
        np.zeros(0, integer),
        wavelength,
        two_theta[0],
        two_theta[1],
        _CUT_PAPER if is_paper else _CUT_DEFAULT,
        not is_paper,
        with_hkl,
        polarization,
        np.zeros((0, 3), np.int16) if texture is None else texture.axis,
        np.zeros(0) if texture is None else texture.r,
    )
    if status == BAD_CELL:
        raise CrystalError(
            f"crystal {index}: no cell has a, b, c, alpha, beta, gamma = "
            f"{crystals.lattice[index].tolist()}",
            index=int(index),
        )
    if status == TOO_MANY:
        raise PatternError(
            f"crystal {index}: over {MAX_REFLECTIONS} reflections up to "
            f"{two_theta[1]} degrees at {wavelength} angstrom; a shorter range or a "
            "longer wavelength has fewer",
            index=int(index),
        )
    if status == NOTHING:
        raise PatternError(
            f"crystal {index}: no reflection between {two_theta[0]} and "
            f"{two_theta[1]} degrees at {wavelength} angstrom",
            index=int(index),
        )
    return _Peaks(
        # Of the kernel's arrays; the rest of them was never written.
        two_theta=angle[:end],
        intensity=intensity[:end],
        hkl=np.stack([part[:end] for part in indices], axis=1) if with_hkl else _NO_HKL,
        peak_offset=peak_offset,
    )


def _check_sites(crystals: CrystalBatch) -> None:
    """Refuse values that the kernel would turn into nonsense.

    Raises:
        CrystalError: With the index of the first crystal at fault.
    """
    group = crystals.space_group.astype(np.int64)
    if len(group) == 0:
        return
    if are_sites_sound(
        group, crystals.site_offset, crystals.atomic_number.astype(np.int64),
        crystals.wyckoff_index, crystals.fract, crystals.occupancy, crystals.b_iso,
        load_symmetry_tables().position_offset, len(ELEMENT_SYMBOLS),
    ):  # fmt: skip
        return
    counts = np.diff(crystals.site_offset)
    for bad, values, name, allowed in (
        ((group < 1) | (group > 230), group, "space group", "1-230"),
        (counts < 1, counts, "number of sites", "1 or more"),
    ):
        if bad.any():
            index = int(bad.argmax())
            _refuse(index, values[index], name, allowed)
    owner = np.repeat(np.arange(len(group)), counts)
    position_offset = load_symmetry_tables().position_offset
    n_positions = np.diff(position_offset)[group][owner]
    wyckoff, element = crystals.wyckoff_index, crystals.atomic_number
    occupancy, b_iso = crystals.occupancy, crystals.b_iso
    n_elements = len(ELEMENT_SYMBOLS)
    for bad, values, name, allowed in (
        ((element < 1) | (element >= n_elements), element, "atomic number", "1-98"),
        (
            (wyckoff < 0) | (wyckoff >= n_positions),
            wyckoff,
            "wyckoff_index",
            "the positions of the group, counted from 0",
        ),
        (
            ~np.isfinite(crystals.fract).all(axis=1),
            crystals.fract,
            "coordinates",
            "finite",
        ),
        (~((occupancy > 0) & (occupancy <= 1)), occupancy, "occupancy", "in (0, 1]"),
        (~((b_iso >= 0) & (b_iso < math.inf)), b_iso, "b_iso", "0 or more"),
    ):
        sites = np.flatnonzero(bad)
        if len(sites):
            _refuse(int(owner[sites[0]]), values[sites[0]], name, allowed)


def _refuse(index: int, value: object, name: str, allowed: str) -> NoReturn:
    raise CrystalError(
        f"crystal {index}: {name} is {value}; allowed is {allowed}", index=index
    )


def _kernel_tables(tables: SymmetryTables) -> KernelTables:
    """The columns that the kernel reads."""
    return (
        tables.position_offset,
        tables.laue_class,
        tables.centring,
        tables.n_centring,
        tables.is_centrosymmetric,
        tables.reduced_offset,
        tables.reduced_rotation,
        tables.reduced_translation,
        tables.reduced_weight,
        tables.first_rotation,
        tables.first_translation,
        tables.orbit_offset,
        tables.orbit_rotation,
    )


@lru_cache(maxsize=8)
def _coefficients(
    table: ScatteringTable, real: type[np.floating]
) -> Float[np.ndarray, "species 12"]:
    """All columns of a scattering table side by side."""
    return np.column_stack(astuple(table)).astype(real)


def _interleave(lines: list[_Peaks], weights: list[float]) -> _Peaks:
    """Put the peaks of several spectral lines into one ascending list a crystal."""
    batch = len(lines[0].peak_offset) - 1
    owner = np.concatenate(
        [np.repeat(np.arange(batch), np.diff(line.peak_offset)) for line in lines]
    )
    angle = np.concatenate([line.two_theta for line in lines])
    order = np.lexsort((angle, owner))
    intensity = [
        line.intensity * weight for line, weight in zip(lines, weights, strict=True)
    ]
    return _Peaks(
        two_theta=angle[order],
        intensity=np.concatenate(intensity)[order],
        hkl=(
            np.concatenate([line.hkl for line in lines])[order]
            if len(lines[0].hkl)
            else lines[0].hkl
        ),
        peak_offset=np.sum([line.peak_offset for line in lines], axis=0),
    )
