"""A recipe as plain data: all of it but the arrays of its prior."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

from pxrdbench.crystal.rng import STREAM_CRYSTALLITE_SIZE, draw_uniforms
from pxrdbench.dataset.recipes.choices import (
    StructureType,
    check_sizes,
    find_measurement,
    has_own_widths,
)
from pxrdbench.diffraction.measurement.measurement import Measurement
from pxrdbench.diffraction.pattern import Radiation, TwoThetaGrid
from pxrdbench.errors import PatternError, RecipeError

# Raised whenever the same recipe would give other crystals, peaks or sizes.
SCHEMA_VERSION = 1

Preset = Literal["default", "paper"]

# Choices that came after the first sets, and how they are read: a card names them only
# when they are made, so that the digests of older sets stay what they are.
_ONLY_WHEN_SET: dict[str, Callable[[Any], Any]] = {
    "measurement": Measurement.from_dict,
    "max_volume": float,
    "coordinates": str,
    "structure_type": StructureType.from_dict,
}


@dataclass(frozen=True)
class RecipeCard:
    """What a recipe says about itself: all of it but the prior's arrays.

    Shards carry it, so that they can be read without the prior.

    Attributes:
        prior_name: Name of the prior, a label only.
        prior_digest: Checksum of the prior's contents.
        restricted: Whether the prior was fitted on licensed crystals.
        space_group_frequencies: ``fitted``, ``icsd`` or ``uniform``.
        space_groups: Space groups that may occur, ascending.
        seed: Key of all random numbers, 64 bits.
        preset: ``default`` or ``paper``: choices of drawing and scattering together.
        radiation: What the patterns are made with.
        grid: Angles of the patterns.
        crystallite_size_nm: Smallest and largest size, drawn uniformly [nm]; None
            where the measurement's profile has the whole width.
        schema_version: Version of the bytes that a recipe gives.
        measurement: What instrument and sample add; None for nothing.
        max_volume: Largest conventional cell [Å³]; None for that of the prior.
        coordinates: Name of the model that places atoms; None for the generator's
            own, uniform one.
        structure_type: The only structure type; None for any.
    """

    prior_name: str
    prior_digest: str
    restricted: bool
    space_group_frequencies: str
    space_groups: tuple[int, ...]
    seed: int
    preset: Preset
    radiation: Radiation
    grid: TwoThetaGrid
    crystallite_size_nm: tuple[float, float] | None
    schema_version: int = SCHEMA_VERSION
    measurement: Measurement | None = None
    max_volume: float | None = None
    coordinates: str | None = None
    structure_type: StructureType | None = None

    @cached_property
    def digest(self) -> str:
        """Name of the data set: SHA-256 of all that decides its bytes, in hex."""
        contents = self.to_dict()
        # Labels may change without any sample changing.
        del contents["prior_name"], contents["radiation"]["name"]
        if self.measurement is not None:
            del contents["measurement"]["name"]
        text = json.dumps(contents, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Write the card as plain data; choices not made are left out."""
        contents = asdict(self)
        for name in _ONLY_WHEN_SET:
            value = getattr(self, name)
            if value is None:
                del contents[name]
            elif isinstance(value, Measurement | StructureType):
                contents[name] = value.to_dict()
        return contents

    @classmethod
    def from_dict(cls, contents: object) -> "RecipeCard":
        """Read what `to_dict` wrote, also after a round trip through JSON.

        Raises:
            RecipeError: If it is no recipe, or one of another schema version.
        """
        # Read from a file, contents may be anything that JSON holds.
        if not isinstance(contents, Mapping):
            raise RecipeError(f"this is no recipe: {type(contents).__name__}")
        found = contents.get("schema_version")
        if found != SCHEMA_VERSION:
            raise RecipeError(
                f"the recipe has schema version {found}, this pxrdbench makes version "
                f"{SCHEMA_VERSION}: the same recipe would give other samples. Use the "
                "pxrdbench that wrote it, or generate the set anew"
            )
        unknown = set(contents) - {field.name for field in fields(cls)}
        if unknown:
            raise RecipeError(
                f"the recipe makes a choice that this pxrdbench does not know: "
                f"{', '.join(sorted(map(str, unknown)))}; use a newer one"
            )
        try:
            lines = contents["radiation"]["lines"]
            size = contents["crystallite_size_nm"]
            return cls(
                prior_name=str(contents["prior_name"]),
                prior_digest=str(contents["prior_digest"]),
                restricted=bool(contents["restricted"]),
                space_group_frequencies=str(contents["space_group_frequencies"]),
                space_groups=tuple(int(g) for g in contents["space_groups"]),
                seed=int(contents["seed"]),
                preset=contents["preset"],
                radiation=Radiation(
                    tuple((float(w), float(weight)) for w, weight in lines),
                    str(contents["radiation"]["name"]),
                ),
                grid=TwoThetaGrid(**contents["grid"]),
                crystallite_size_nm=(
                    None if size is None else (float(size[0]), float(size[1]))
                ),
                **{
                    name: read(contents[name])
                    for name, read in _ONLY_WHEN_SET.items()
                    if contents.get(name) is not None
                },
            )
        except PatternError as error:
            raise RecipeError(
                f"this version cannot read the recipe: {error}"
            ) from error
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise RecipeError(f"this is no recipe: {error!r}") from error

    def with_measurement(self, measurement: Measurement) -> "RecipeCard":
        """Say how the same stored peaks are rendered with other effects.

        Raises:
            RecipeError: If an effect acts when peaks are drawn, and these were drawn
                without it; or spectral lines do not go with the radiation.
        """
        find_measurement(measurement, self.radiation)
        drawn = () if self.measurement is None else self.measurement.drawn_effects
        missing = [e for e in measurement.drawn_effects if e not in drawn]
        if missing:
            names = ", ".join(type(effect).__name__ for effect in missing)
            raise RecipeError(
                f"measurement {measurement.name!r} holds effects that act when peaks "
                f"are drawn ({names}), but these peaks were drawn without: generate "
                "shards with this measurement, or draw patterns from a recipe"
            )
        size = self.crystallite_size_nm
        if measurement != self.measurement:
            size = check_sizes(
                None if has_own_widths(measurement) else size, measurement
            )
        return replace(self, measurement=measurement, crystallite_size_nm=size)

    def differences(self, other: "RecipeCard") -> list[str]:
        """Say in which of its choices another recipe differs."""
        mine, theirs = self.to_dict(), other.to_dict()
        differences = []
        for name in {**mine, **theirs}:
            one, two = mine.get(name), theirs.get(name)
            if isinstance(one, dict) and isinstance(two, dict) and "effects" in one:
                differences += _effect_differences(one, two)
            elif one != two:
                differences.append(f"{name} is {_shorten(one)}, not {_shorten(two)}")
        return differences

    def crystallite_sizes(
        self, start: int, count: int, epoch: int = 0
    ) -> Float64[np.ndarray, " batch"]:
        """Draw the crystallite size of each sample [nm].

        Args:
            start: First sample.
            count: Number of samples.
            epoch: Another draw for every pass over the same crystals; 0 is the one
                that shards store.

        Returns:
            Uniform between the bounds; whole float32 numbers, as shards store them.
            Infinite where the measurement's profile has the whole width.
        """
        if self.crystallite_size_nm is None:
            return np.full(count, np.inf)
        low, high = self.crystallite_size_nm
        uniform = draw_uniforms(
            self.seed, start, count, STREAM_CRYSTALLITE_SIZE, 1, block=epoch
        )[:, 0]
        sizes = (low + (high - low) * uniform).astype(np.float32)
        return sizes.astype(np.float64)


def _effect_differences(mine: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Say in which effects two measurements differ."""
    ours, others = (
        {effect["effect"]: effect for effect in measurement["effects"]}
        | {"subtract_minimum": measurement["subtract_minimum"]}
        for measurement in (mine, theirs)
    )
    return [
        f"measurement {name}: {_shorten(ours.get(name))}, "
        f"not {_shorten(others.get(name))}"
        for name in {**ours, **others}
        if ours.get(name) != others.get(name)
    ]


def _shorten(value: object) -> str:
    if isinstance(value, dict) and "effects" in value:
        value = value["name"] or [effect["effect"] for effect in value["effects"]]
    if isinstance(value, dict) and "effect" in value:
        value = {k: v for k, v in value.items() if k != "effect"}
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
