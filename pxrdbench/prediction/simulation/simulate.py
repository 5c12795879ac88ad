"""The pattern of a crystal: profile and reflections."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from pxrdbench.crystal.cif_reader.read import MAX_BYTES, read_blocks
from pxrdbench.crystal.cif_reader.text import decode_text
from pxrdbench.crystal.elements import ELEMENT_SYMBOLS
from pxrdbench.crystal.structure import Crystal, CrystalBatch
from pxrdbench.crystal.symmetry.letters import WYCKOFF_LETTERS
from pxrdbench.crystal.symmetry.tables import load_symmetry_tables, space_group_symbol
from pxrdbench.diffraction.measurement.effect import Samples
from pxrdbench.diffraction.measurement.measurement import load_measurement
from pxrdbench.diffraction.measurement.sample_effects import ImpurityPhases
from pxrdbench.diffraction.measurement.scan_effects import ImpurityPattern
from pxrdbench.diffraction.pattern import PeakBatch, TwoThetaGrid
from pxrdbench.diffraction.peaks import simulate_peaks
from pxrdbench.diffraction.profile import Broadening, render
from pxrdbench.diffraction.radiation import Radiation
from pxrdbench.diffraction.scattering import (
    Scattering,
    find_species,
    load_scattering_table,
)
from pxrdbench.errors import CrystalError, OptionError, SourceError
from pxrdbench.files import write_atomically
from pxrdbench.frozen import freeze_arrays
from pxrdbench.prediction.simulation.instrument import Instrument

# Peaks weaker than this part of the strongest are absent, or as good as; so are
# families that fall on a peak and add nothing to it.
_FAINT = {"default": 1e-7, "paper": 1e-5}
_NOTHING = 1e-10
_SAME = 1e-5
_STEP = 0.01
_MOST_POINTS = 1_000_000

Points = Float64[np.ndarray, " points"]


@dataclass(frozen=True, eq=False)
class Reflections:
    """Families of symmetry-equivalent reflections, ascending in 2θ.

    Attributes:
        hkl: One of each family, which a person would name.
        d: Spacing [Å].
        two_theta: Angle of the first spectral line [degrees].
        f_squared: |F|² of the conventional cell [electrons²], the mean over Friedel's
            pair.
        multiplicity: Reflections in the family, both of a pair counted.
        intensity: m · Lp · |F|²; that of families of the same angle together is 100 at
            most.
    """

    hkl: Int64[np.ndarray, "families 3"]
    d: Float64[np.ndarray, " families"]
    two_theta: Float64[np.ndarray, " families"]
    f_squared: Float64[np.ndarray, " families"]
    multiplicity: Int64[np.ndarray, " families"]
    intensity: Float64[np.ndarray, " families"]

    def __post_init__(self) -> None:
        freeze_arrays(self)

    def __len__(self) -> int:
        return len(self.d)

    def to_text(self) -> str:
        """Columns of text with a heading."""
        rows = [
            "#   h   k   l         d   two_theta            F2  multiplicity"
            "   intensity"
        ]
        for i in range(len(self)):
            h, k, l = self.hkl[i]  # noqa: E741 - Miller indices
            rows.append(
                f"{h:5d} {k:3d} {l:3d} {self.d[i]:9.5f} {self.two_theta[i]:11.5f} "
                f"{self.f_squared[i]:13.4f} {self.multiplicity[i]:13d} "
                f"{self.intensity[i]:11.5f}"
            )
        return "\n".join(rows) + "\n"


@dataclass(frozen=True, eq=False)
class SimulatedPattern:
    """What `simulate` makes of one crystal.

    Attributes:
        name: Of the crystal.
        crystal: In the standard setting.
        radiation: Of the pattern.
        two_theta: Even steps [degrees].
        intensity: Profile, the strongest point 100.
        reflections: The list behind it, without the instrument's shifts.
        peaks: The same as `simulate_peaks` gives it, for all spectral lines.
    """

    name: str
    crystal: Crystal
    radiation: Radiation
    two_theta: Points
    intensity: Points
    reflections: Reflections
    peaks: PeakBatch

    def __post_init__(self) -> None:
        freeze_arrays(self)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data."""
        one = self.reflections
        return {
            "name": self.name,
            "space_group": self.crystal.space_group,
            "symbol": space_group_symbol(self.crystal.space_group),
            "lattice": [round(float(v), 6) for v in self.crystal.lattice],
            "radiation": {
                "name": self.radiation.name,
                "lines": [list(line) for line in self.radiation.lines],
            },
            "two_theta": self.two_theta.round(6).tolist(),
            "intensity": self.intensity.round(5).tolist(),
            "reflections": {
                "hkl": one.hkl.tolist(),
                "d": one.d.round(6).tolist(),
                "two_theta": one.two_theta.round(6).tolist(),
                "f_squared": one.f_squared.round(5).tolist(),
                "multiplicity": one.multiplicity.tolist(),
                "intensity": one.intensity.round(6).tolist(),
            },
        }

    def write(self, path: str | Path) -> None:
        """Write a file by its suffix: .xy, .json, .hkl (reflections), or a picture.

        Raises:
            OptionError: If the suffix is another.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix == ".json":
            write_atomically(path, json.dumps(self.to_dict(), ensure_ascii=False))
        elif suffix == ".xy":
            rows = [f"# {self.name}, radiation {self.radiation.name}"]
            rows += [
                f"{x:.5f} {y:.6f}"
                for x, y in zip(self.two_theta, self.intensity, strict=True)
            ]
            write_atomically(path, "\n".join(rows) + "\n")
        elif suffix == ".hkl":
            write_atomically(path, self.reflections.to_text())
        elif suffix in {".png", ".svg", ".pdf"}:
            from pxrdbench.prediction.simulation.picture import save_patterns

            save_patterns([self], path)
        else:
            raise OptionError(
                f"{path}: a pattern is written as .xy, .json, .hkl (its reflections), "
                ".png, .svg or .pdf"
            )


def simulate(
    crystal: Crystal | str | Path,
    radiation: str | float | Radiation = "CuKa",
    two_theta: tuple[float, float] = (5.0, 90.0),
    step: float = _STEP,
    *,
    scattering: Scattering = "default",
    fwhm: float | None = None,
    crystallite_size_nm: float | None = None,
    instrument: Instrument | str | Path | None = None,
    measurement: str | None = None,
    seed: int = 0,
    name: str | None = None,
) -> SimulatedPattern:
    """Simulate the powder pattern of one crystal.

    Args:
        crystal: A crystal, or the CIF of one.
        radiation: What it is measured with; an instrument has its own.
        two_theta: First and last angle [degrees].
        step: Of the pattern [degrees].
        scattering: "default" (International Tables, dispersion) or "paper" (as
            pymatgen).
        fwhm: Constant width of all lines [degrees].
        crystallite_size_nm: Size that broadens lines; 60 if no width is given at all.
        instrument: Widths, zero, displacement, and radiation.
        measurement: "laboratory" or "rruff-paper": background, noise and all else that
            a measurement adds but impurities, drawn by ``seed``.
        seed: Of the measurement.
        name: Of the pattern; the file's, if left away.

    Raises:
        CrystalError: If there is no crystal, or not one.
        PatternError: If an option is no possible one.
        OptionError: If two options contradict each other.
    """
    if not isinstance(crystal, Crystal):
        found = read_crystals(crystal)
        if len(found) > 1:
            raise CrystalError(
                f"{crystal} holds {len(found)} crystals "
                f"({', '.join(n for n, _ in found[:5])}); read_crystals gives them"
            )
        label, crystal = found[0]
        name = name or label
    if isinstance(instrument, str | Path):
        instrument = Instrument.read(instrument)
    if fwhm is not None and (instrument is not None or not fwhm > 0.0):
        raise OptionError(
            "fwhm is one width of all lines above zero, instead of an instrument's"
        )
    widths = [fwhm, crystallite_size_nm, instrument]
    if measurement is not None and any(one is not None for one in widths):
        raise OptionError("a measurement draws its own widths: leave others away")
    source = instrument.radiation if instrument else Radiation.parse(radiation)
    low, high = float(two_theta[0]), float(two_theta[1])
    if not step > 0.0 or (high - low) / step > _MOST_POINTS:
        raise OptionError(f"a step of {step} degrees from {low} to {high} is none")
    count = round((high - low) / step) + 1
    grid = TwoThetaGrid(low, low + step * (count - 1), max(count, 2))
    batch = CrystalBatch.from_crystals([crystal])
    # Lines beyond the ends reach in.
    reach = (max(0.5, low - 2.0), min(179.0, high + 2.0))
    if measurement is not None:
        drawn = load_measurement(measurement)
        # Impurities need other crystals; a pattern of one is of one phase.
        effects = replace(
            drawn,
            effects=tuple(
                one
                for one in drawn.effects
                if not isinstance(one, ImpurityPhases | ImpurityPattern)
            ),
        )
        samples = Samples(seed, 0, 1)
        first = source.lines[0][0]
        peaks = effects.simulate(batch, samples, first, reach, scattering)
        profile = effects.render(peaks, grid, samples).intensity[0]
    else:
        peaks = simulate_peaks(batch, source, reach, scattering, precision="double")
        seen = peaks if instrument is None else _shift(peaks, instrument)
        broadening = None if instrument is None else instrument.broadening()
        if fwhm is not None:
            broadening = Broadening(w=fwhm**2, lorentz_share=0.5)
        profile = render(seen, grid, crystallite_size_nm, broadening=broadening)[0]
    return SimulatedPattern(
        name=name or "crystal",
        crystal=crystal,
        radiation=source,
        two_theta=grid.angles(),
        intensity=100.0 * profile.astype(np.float64),
        reflections=list_reflections(crystal, source, (low, high), scattering),
        peaks=peaks,
    )


def read_crystals(path: str | Path) -> list[tuple[str, Crystal]]:
    """All crystals of a CIF with their names; blocks without atoms are passed over.

    Raises:
        CrystalError: If there is none, or one cannot be read.
        SourceError: If there is no such file.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror or error}") from None
    if len(data) > MAX_BYTES:
        raise CrystalError(f"{path.name} is larger than {MAX_BYTES // 10**6} MB")
    read = read_blocks(decode_text(data))
    if not read:
        raise CrystalError(f"{path.name}: no data block with atoms")
    whole = [(name, block.crystal) for name, block in read if block.crystal is not None]
    if not whole:
        raise CrystalError(f"{path.name}: {read[0][1].failure}")
    if len(whole) == 1:
        return [(path.stem, whole[0][1])]
    return [(f"{path.stem}: {name}", crystal) for name, crystal in whole]


def list_reflections(
    crystal: Crystal,
    radiation: Radiation,
    two_theta: tuple[float, float],
    scattering: Scattering = "default",
) -> Reflections:
    """List the families of reflections between two angles with |F|².

        F(h) = Σ_atoms occupancy · (f0 + f′ + i f″) exp(-B s²) exp(2πi h·x)

    Families that fall on one another stay apart; absent ones are left out.

    Args:
        crystal: In the standard setting.
        radiation: The first line gives angles and dispersion.
        two_theta: Lowest and highest angle [degrees].
        scattering: As of `simulate_peaks`.
    """
    import gemmi

    wavelength = radiation.lines[0][0]
    CrystalBatch.from_crystals([crystal])  # refuses what cannot be
    cell = gemmi.UnitCell(*crystal.lattice)
    group = gemmi.find_spacegroup_by_number(crystal.space_group)
    low, high = (2.0 * np.sin(np.radians(t / 2)) / wavelength for t in two_theta)
    hkl = gemmi.make_miller_array(cell, group, 1.0 / high * 0.999999, 0.0, True)
    inverse_d = np.sqrt(np.asarray(cell.calculate_1_d2_array(hkl)))
    kept = (inverse_d >= low) & (inverse_d <= high)
    order = np.argsort(inverse_d[kept], kind="stable")
    hkl, inverse_d = (
        np.asarray(hkl)[kept][order].astype(np.int64),
        inverse_d[kept][order],
    )
    f_squared = _squares(crystal, hkl, inverse_d, wavelength, scattering)
    operations = list(group.operations().sym_ops)
    families = [_family(operations, row) for row in hkl]
    multiplicity = np.array([len(one) for one in families], np.int64)
    sine = inverse_d * wavelength / 2.0
    theta = np.arcsin(np.minimum(sine, 1.0))
    lorentz = (1.0 + np.cos(2 * theta) ** 2) / (sine**2 * np.cos(theta))
    intensity = multiplicity * lorentz * f_squared
    # Families within 1e-5 degrees are one peak, as pymatgen has it.
    peak = np.cumsum(np.diff(2.0 * theta, prepend=-1.0) > np.radians(_SAME)) - 1
    totals = np.bincount(peak, intensity)[peak] if len(peak) else intensity
    top = float(totals.max(initial=0.0))
    present = (totals > _FAINT[scattering] * top) & (intensity > _NOTHING * top)
    names = np.array([max(one, key=_plain) for one in families], np.int64)
    return Reflections(
        hkl=names.reshape(-1, 3)[present],
        d=1.0 / inverse_d[present],
        two_theta=np.degrees(2.0 * theta)[present],
        f_squared=f_squared[present],
        multiplicity=multiplicity[present],
        intensity=100.0 * intensity[present] / max(top, 1e-300),
    )


def _shift(peaks: PeakBatch, instrument: Instrument) -> PeakBatch:
    """Peaks where the instrument shows them."""
    angles = peaks.two_theta
    moved = (
        angles
        + instrument.zero
        + instrument.displacement * np.cos(np.radians(angles / 2))
    )
    return PeakBatch(
        moved, peaks.intensity, peaks.peak_offset, peaks.hkl, peaks.wavelength
    )


def _plain(hkl: tuple[int, int, int]) -> tuple[int, tuple[int, int, int]]:
    """What a person would name first: no bars, then the largest."""
    return sum(v >= 0 for v in hkl), hkl


def _family(
    operations: Sequence[Any], hkl: Int64[np.ndarray, " 3"]
) -> set[tuple[int, int, int]]:
    """All reflections that symmetry and Friedel make equal."""
    found: set[tuple[int, int, int]] = set()
    for operation in operations:
        h, k, l = operation.apply_to_hkl([int(v) for v in hkl])  # noqa: E741
        found |= {(h, k, l), (-h, -k, -l)}
    return found


def _squares(
    crystal: Crystal,
    hkl: Int64[np.ndarray, "families 3"],
    inverse_d: Points,
    wavelength: float,
    scattering: Scattering,
) -> Points:
    """|F|² of each reflection, the mean of Friedel's pair."""
    tables = load_symmetry_tables()
    stol2 = (inverse_d / 2.0) ** 2
    numbers = np.array([ELEMENT_SYMBOLS.index(s.element) for s in crystal.sites])
    species: Int64[np.ndarray, " sites"] = numbers.astype(np.int64)
    ions: tuple[tuple[int, int], ...] = ()
    if scattering != "paper":
        charges = np.array([s.charge for s in crystal.sites], np.int64)
        species, ions = find_species(species, charges)
    table = load_scattering_table(scattering, wavelength, ions)
    real = np.zeros(len(hkl), np.complex128)
    other = np.zeros(len(hkl), np.complex128)
    start = tables.position_offset[crystal.space_group]
    for site, kind in zip(crystal.sites, species, strict=True):
        row = int(start) + WYCKOFF_LETTERS.index(site.wyckoff_letter)
        # Put the representative exactly on its position, as `simulate_peaks` does.
        at = (
            tables.first_rotation[row].astype(float) @ np.array(site.fract)
            + tables.first_translation[row] / 24
        )
        orbit = slice(tables.orbit_offset[row], tables.orbit_offset[row + 1])
        images = (
            tables.orbit_rotation[orbit].astype(float) @ at
            + tables.orbit_translation[orbit] / 24
        )
        phase = np.exp(2j * np.pi * (hkl @ images.T)).sum(axis=1)
        damping = site.occupancy * np.exp(-site.b_iso * stol2)
        real += damping * table.form_factor(int(kind), stol2) * phase
        other += damping * table.imaginary[int(kind)] * phase
    # |A + iB|² and |A* + iB*|²: their mean has no cross term.
    squares: Points = np.abs(real) ** 2 + np.abs(other) ** 2
    return squares
