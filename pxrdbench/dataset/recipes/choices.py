"""Choices of a recipe beside prior and seed: what may be chosen, and how."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pxrdbench.crystal.generator.coordinate_model import find_coordinate_model
from pxrdbench.diffraction.measurement.line_effects import (
    InstrumentProfile,
    SpectralLines,
)
from pxrdbench.diffraction.measurement.measurement import Measurement, load_measurement
from pxrdbench.diffraction.pattern import Radiation
from pxrdbench.errors import RecipeError

# Sizes of crystallites in the reference work (Schopmans et al. 2023) [nm].
DEFAULT_SIZE_RANGE_NM = (20.0, 100.0)


@dataclass(frozen=True)
class StructureType:
    """One structure type, of which all crystals of a recipe are.

    Attributes:
        space_group: Number in the International Tables, 1-230.
        sites: Slot and Wyckoff letter of each site, as `draw_crystals_of_type` takes
            them: a slot is an element, or a number for one to be drawn.

    Example:
        >>> StructureType.parse("221 0:a 1:b O:c").sites
        ((0, 'a'), (1, 'b'), ('O', 'c'))
    """

    space_group: int
    sites: tuple[tuple[int | str, str], ...]

    @classmethod
    def parse(cls, structure_type: "StructureType | str") -> "StructureType":
        """Read a structure type as a person writes it: ``221 0:a 1:b O:c``.

        Raises:
            RecipeError: If it cannot be read.
        """
        if isinstance(structure_type, StructureType):
            return structure_type
        group, *sites = structure_type.split()[:100] or [""]
        pairs = [site.partition(":") for site in sites]
        if (
            not (group.isdecimal() and pairs)
            or not 1 <= int(group) <= 230
            or not all(slot and len(letter) == 1 for slot, _, letter in pairs)
        ):
            raise RecipeError(
                f"{structure_type!r} is no structure type; write space group, then "
                "slot:letter for each site, where a slot is an element or a number "
                "for one to be drawn, as in '221 0:a 1:b O:c'"
            )
        return cls(
            int(group),
            tuple((int(s) if s.isdecimal() else s, letter) for s, _, letter in pairs),
        )

    def to_dict(self) -> dict[str, Any]:
        """Write the type as plain data, as JSON gives it back."""
        return {
            "space_group": self.space_group,
            "sites": [list(site) for site in self.sites],
        }

    @classmethod
    def from_dict(cls, contents: Mapping[str, Any]) -> "StructureType":
        """Read what `to_dict` wrote."""
        return cls(
            int(contents["space_group"]),
            tuple(
                (slot if isinstance(slot, str) else int(slot), str(letter))
                for slot, letter in contents["sites"]
            ),
        )


def find_measurement(
    measurement: Measurement | str | None, radiation: Radiation
) -> Measurement | None:
    """Find a measurement by its name, and check that it goes with a radiation.

    Raises:
        PatternError: If the name is unknown.
        RecipeError: If the measurement makes spectral lines that do not go with the
            radiation.
    """
    if isinstance(measurement, str):
        measurement = load_measurement(measurement)
    spectrum = None if measurement is None else measurement.get(SpectralLines)
    if measurement is None or spectrum is None:
        return measurement
    if len(radiation.lines) > 1:
        raise RecipeError(
            f"measurement {measurement.name!r} splits one line into "
            f"{len(spectrum.lines)}, but the radiation {radiation.name} has "
            f"{len(radiation.lines)} already: choose one line, as CuKa1"
        )
    for wavelength, _ in spectrum.lines:
        if not 0.95 < wavelength / radiation.wavelength < 1.05:  # as the effect asks
            raise RecipeError(
                f"measurement {measurement.name!r} has a line at {wavelength:g} "
                f"angstrom, the radiation is {radiation.wavelength:g}: they must be "
                "within 5 %; choose the radiation of the measurement's anode"
            )
    return measurement


def has_own_widths(measurement: Measurement | None) -> bool:
    """Whether a measurement draws whole widths, which leave no room for a size.

    A profile with a fixed Lorentzian share is one of the reference work's: its widths
    hold everything, crystallites included.
    """
    profile = None if measurement is None else measurement.get(InstrumentProfile)
    return profile is not None and profile.lorentz_share is not None


def check_sizes(
    size_nm: tuple[float, float] | None, measurement: Measurement | None
) -> tuple[float, float] | None:
    """Bounds of crystallite sizes [nm]; None where widths are the measurement's."""
    if size_nm is None and has_own_widths(measurement):
        return None
    low, high = DEFAULT_SIZE_RANGE_NM if size_nm is None else size_nm
    if not 1.0 <= low <= high <= 1e5:
        raise RecipeError(
            f"crystallite sizes run from {low} to {high} nm; it must hold that "
            "1 <= smallest <= largest <= 100000"
        )
    return float(low), float(high)


def check_volume(max_volume: float | None) -> float | None:
    """Refuse limits that no crystal keeps; the generator knows the prior's own."""
    if max_volume is not None and not 0.0 < max_volume < math.inf:
        raise RecipeError(f"max_volume is {max_volume} Å³; it must be above 0")
    return None if max_volume is None else float(max_volume)


def check_coordinates(coordinates: str | None) -> str | None:
    """Find a model of coordinates by name; the generator's own needs no mention."""
    if coordinates is None or coordinates == "uniform":
        return None
    return find_coordinate_model(coordinates).name
