"""A recipe as plain data: all of it but the arrays of its prior."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

from pxrdbench.crystal.rng import STREAM_CRYSTALLITE_SIZE, draw_uniforms
from pxrdbench.diffraction.pattern import Radiation, TwoThetaGrid
from pxrdbench.errors import RecipeError

# Raised whenever the same recipe would give other crystals, peaks or sizes.
SCHEMA_VERSION = 1

Preset = Literal["default", "paper"]


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
        crystallite_size_nm: Smallest and largest size, drawn uniformly [nm].
        schema_version: Version of the bytes that a recipe gives.
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
    crystallite_size_nm: tuple[float, float]
    schema_version: int = SCHEMA_VERSION

    @cached_property
    def digest(self) -> str:
        """Name of the data set: SHA-256 of all that decides its bytes, in hex."""
        contents = self.to_dict()
        # Labels may change without any sample changing.
        del contents["prior_name"], contents["radiation"]["name"]
        text = json.dumps(contents, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Write the card as plain data."""
        return asdict(self)

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
                crystallite_size_nm=(float(size[0]), float(size[1])),
            )
        except (KeyError, TypeError, IndexError) as error:
            raise RecipeError(f"this is no recipe: {error!r}") from error

    def differences(self, other: "RecipeCard") -> list[str]:
        """Say in which of its choices another recipe differs."""
        mine, theirs = self.to_dict(), other.to_dict()
        return [
            f"{name} is {_shorten(mine[name])}, not {_shorten(theirs[name])}"
            for name in mine
            if mine[name] != theirs[name]
        ]

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
        """
        low, high = self.crystallite_size_nm
        uniform = draw_uniforms(
            self.seed, start, count, STREAM_CRYSTALLITE_SIZE, 1, block=epoch
        )[:, 0]
        sizes = (low + (high - low) * uniform).astype(np.float32)
        return sizes.astype(np.float64)


def _shorten(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
