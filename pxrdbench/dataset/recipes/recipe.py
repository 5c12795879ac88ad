"""A data set as a recipe: everything that decides what sample i is.

    prior -> draw_crystals(seed, i) -> simulate_peaks -> render(size of (seed, i))

with the effects of a measurement, drawn from (seed, i) too, where they act.

Sample i depends on the recipe and on i alone. Any range, in any order, by any number
of workers gives the same crystals, peaks and patterns; on one processor type with one
set of versions they are the same bytes. A shard is a range of a recipe on disk.
"""

import json
from collections import Counter
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pxrdbench.crystal.generator.coordinate_model import find_coordinate_model
from pxrdbench.crystal.generator.draw import (
    PRESETS,
    Rejections,
    draw_crystals_of_type,
    draw_crystals_with_report,
)
from pxrdbench.crystal.prior.prior import (
    Prior,
    available_priors,
    find_shipped_prior,
    kept_name,
    load_prior,
)
from pxrdbench.crystal.structure import Crystal, CrystalBatch
from pxrdbench.dataset.batch import Batch
from pxrdbench.dataset.recipes.card import Preset, RecipeCard
from pxrdbench.dataset.recipes.choices import (
    StructureType,
    check_coordinates,
    check_sizes,
    check_volume,
    find_measurement,
    has_own_widths,
)
from pxrdbench.dataset.recipes.rendering import find_empty, render_samples, shift_reach
from pxrdbench.dataset.source import BatchSource
from pxrdbench.diffraction.measurement.effect import Samples
from pxrdbench.diffraction.measurement.measurement import Measurement
from pxrdbench.diffraction.measurement.sample_effects import (
    ImpurityPhases,
    PhasePool,
    mass_times_volume,
)
from pxrdbench.diffraction.pattern import PeakBatch, Radiation, TwoThetaGrid
from pxrdbench.diffraction.peaks import Precision
from pxrdbench.errors import PatternError, RecipeError
from pxrdbench.outside import parse_strict_json

# Peaks this far [degrees] outside the grid are simulated as well, because their tails
# reach in: at 20 nm and 90 degrees it is four widths. The reference work drops them,
# and so does the preset "paper".
_MARGIN = {"default": 2.0, "paper": 0.0}
_PRECISION: dict[str, Precision] = {"default": "single", "paper": "double"}

# A crystal without a peak on the grid is replaced by that of another index, far
# beyond any that a data set reaches.
_REDRAW_STRIDE = 1 << 56
_MAX_REDRAWS = 60

# Impurities are crystals of the same prior and seed, at indices that no set reaches.
_POOL_START = 1 << 50
_POOL_PHASES = 1024
_PLAIN = Measurement()


class DrawnPeaks(NamedTuple):
    """A range of samples before rendering.

    Attributes:
        crystals: One crystal a sample.
        peaks: Their reflections, with a margin beyond the grid.
        rejections: Draws that were thrown away, by reason.
    """

    crystals: CrystalBatch
    peaks: PeakBatch
    rejections: Counter[str]


@dataclass(frozen=True, eq=False, init=False)
class Recipe(BatchSource):
    """A data set without end: prior, seed and physics; sample i on demand.

    Attributes:
        prior: What crystals are drawn from, with the frequencies chosen.
        card: All choices as plain data; its digest names the data set.

    Example:
        >>> recipe = Recipe("open-v0", seed=1)
        >>> batch = recipe.batch(1000, 2)
        >>> batch.intensity.shape, batch.index.tolist()
        ((2, 8501), [1000, 1001])
    """

    prior: Prior
    card: RecipeCard

    length = None  # a recipe has no end

    def __repr__(self) -> str:
        card = self.card
        grid = card.grid
        return (
            f"Recipe({self.prior.name!r}, seed={card.seed}, preset={card.preset!r}, "
            f"radiation={card.radiation.name!r}, {grid.start:g} to {grid.stop:g} "
            f"degrees in {grid.points} points, digest {self.digest[:12]}…)"
        )

    def __init__(
        self,
        prior: str | Path | Prior = "open-v0",
        seed: int = 0,
        *,
        preset: Preset = "default",
        radiation: str | float | Radiation = "CuKa1",
        grid: TwoThetaGrid | None = None,
        crystallite_size_nm: tuple[float, float] | None = None,
        space_group_frequencies: str | None = None,
        measurement: Measurement | str | None = None,
        max_volume: float | None = None,
        coordinates: str | None = None,
        structure_type: StructureType | str | None = None,
    ) -> None:
        """Choose what to draw and how to measure it.

        Args:
            prior: Name of an embedded prior, path of a fitted one, or a prior.
            seed: Key of all random numbers, 0 to 2**64 - 1.
            preset: ``default``, or ``paper`` for the choices of the reference work
                (Schopmans et al. 2023): its form factors, no dispersion, no peaks
                beyond the grid.
            radiation: Name, wavelength [Å] or `Radiation`.
            grid: Angles of the patterns; 5 to 90 degrees in 8501 points if not given.
            crystallite_size_nm: Bounds of the uniform distribution of sizes [nm]; 20 to
                100 if not given, and no size at all with a measurement whose profile
                has a fixed Lorentzian share, as ``rruff-paper``: it is the whole width.
            space_group_frequencies: ``fitted``, ``icsd`` or ``uniform``; those of the
                prior if not given.
            measurement: What instrument and sample add, or the name of a preset:
                ``rruff-paper``, ``rruff-paper-pure``, ``laboratory``.
            max_volume: Largest conventional cell [Å³]; that of the prior if not given.
            coordinates: Name of the model that places atoms; ``uniform`` if not given.
            structure_type: Draw crystals of this type only, as ``221 0:a 1:b O:c``.

        Raises:
            RecipeError: If a choice is out of its bounds; it names them.
            PatternError: If the measurement is unknown.
            PriorError: If the prior knows nothing of the structure type's group.
        """
        if not 0 <= seed < 1 << 64:
            raise RecipeError(f"seed {seed} is not within 0 and 2**64 - 1")
        if preset not in PRESETS:
            raise RecipeError(
                f"unknown preset {preset!r}; known are {', '.join(PRESETS)}"
            )
        prior = load_prior(prior)
        if space_group_frequencies is not None:
            prior = prior.with_frequencies(space_group_frequencies)
        radiation = Radiation.parse(radiation)
        measurement = find_measurement(measurement, radiation)
        if structure_type is not None:
            structure_type = StructureType.parse(structure_type)
        groups = prior.space_groups
        card = RecipeCard(
            prior_name=prior.name,
            prior_digest=prior.digest,
            restricted=prior.restricted,
            space_group_frequencies=prior.frequencies,
            space_groups=(structure_type.space_group,) if structure_type else groups,
            seed=int(seed),
            preset=preset,
            radiation=radiation,
            grid=grid or TwoThetaGrid(),
            crystallite_size_nm=check_sizes(crystallite_size_nm, measurement),
            measurement=measurement,
            max_volume=check_volume(max_volume),
            coordinates=check_coordinates(coordinates),
            structure_type=structure_type,
        )
        object.__setattr__(self, "prior", prior)
        object.__setattr__(self, "card", card)
        for name in ("grid", "radiation", "space_groups"):
            object.__setattr__(self, name, getattr(card, name))
        if structure_type is not None:
            self._draw_crystals(0, 1)  # refuses what the prior does not know

    @property
    def digest(self) -> str:
        """Name of the data set."""
        return self.card.digest

    def identity(self) -> dict[str, str | int]:
        """What tells this recipe from another."""
        return {"source": "Recipe", "recipe": self.digest}

    def to_json(self) -> str:
        """Write the recipe down; the prior's arrays stay in the prior's file."""
        return json.dumps(self.card.to_dict(), indent=1)

    @classmethod
    def from_json(cls, text: str, prior: str | Path | Prior | None = None) -> "Recipe":
        """Make the recipe that `to_json` wrote down.

        Args:
            text: The recipe.
            prior: Where its prior is, if it is no embedded one.

        Raises:
            RecipeError: If the prior has changed or this version would make other
                samples.
        """
        contents = parse_strict_json(text, "this is no recipe: it", RecipeError)
        return cls.from_card(RecipeCard.from_dict(contents), prior)

    @classmethod
    def from_card(
        cls, card: RecipeCard, prior: str | Path | Prior | None = None
    ) -> "Recipe":
        """Find the prior that a card names, and make the recipe again.

        Args:
            card: All choices, and the digest of the prior.
            prior: Where it is; a shipped one is found by its digest.

        Raises:
            RecipeError: If the prior is not here, or the one that is given is not the
                one that the card was made with; it asks for it by its digest.
        """
        if prior is None:
            found = find_shipped_prior(card.prior_digest, card.prior_name)
            if found is None:
                raise RecipeError(_ask_for_prior(card))
        else:
            found = load_prior(prior)
            if found.digest != card.prior_digest:
                raise RecipeError(
                    f"the recipe was made with the prior {card.prior_name!r} of digest "
                    f"{card.prior_digest[:12]}, the one here has "
                    f"{found.digest[:12]}: the same seed would give other "
                    "crystals. Pass the file of the old prior, or start a new set"
                )
        # The card holds every other argument under the argument's name.
        names = cls.__init__.__kwdefaults__ or ()
        choices = {name: getattr(card, name) for name in names}
        recipe = cls(found, card.seed, **choices)
        if recipe.digest != card.digest:
            raise RecipeError(
                "the recipe cannot be made again: "
                + "; ".join(card.differences(recipe.card))
            )
        return recipe

    def replace(self, **choices: Any) -> "Recipe":
        """Make the same choices but some.

        Args:
            choices: Arguments of `Recipe` by name. Crystallite sizes stay, unless
                another measurement draws the whole width.

        Example:
            >>> recipe = Recipe("open-v0", crystallite_size_nm=(30.0, 40.0))
            >>> recipe.replace(seed=7).card.crystallite_size_nm
            (30.0, 40.0)
        """
        names = Recipe.__init__.__kwdefaults__ or ()
        kept = {name: getattr(self.card, name) for name in names}
        if "measurement" in choices:
            radiation = Radiation.parse(choices.get("radiation", self.radiation))
            measurement = find_measurement(choices["measurement"], radiation)
            if has_own_widths(measurement):
                kept["crystallite_size_nm"] = None
        choices = {"prior": self.prior, "seed": self.card.seed, **kept, **choices}
        return Recipe(**choices)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to a worker as card and prior, without what the prior has cached."""
        return Recipe.from_card, (self.card, replace(self.prior))

    def crystals(self, start: int, count: int) -> CrystalBatch:
        """Draw the crystals of samples start to start + count."""
        return self.draw(start, count).crystals

    def peaks(self, start: int, count: int) -> PeakBatch:
        """Simulate the reflections of samples start to start + count.

        The preset ``default`` adds those within 2 degrees outside the grid.
        """
        return self.draw(start, count).peaks

    def batch(self, start: int, count: int) -> Batch:
        """Make the patterns of samples start to start + count."""
        drawn = self.draw(start, count)
        sizes = self.card.crystallite_sizes(start, count)
        measurement = self.card.measurement
        scans = render_samples(
            drawn.peaks,
            self.grid,
            Samples(self.card.seed, start, count),
            sizes,
            measurement,
            self.pool if measurement and measurement.needs_pool else None,
        )
        return Batch(
            intensity=scans.intensity,
            space_group=drawn.crystals.space_group,
            crystallite_size_nm=sizes,
            index=np.arange(start, start + count),
            crystals=drawn.crystals,
            mask=scans.is_measured,
        )

    @cached_property
    def pool(self) -> PhasePool:
        """Crystals that turn up as impurities: others of the same prior and seed."""
        names = ("preset", "radiation", "grid", "max_volume", "coordinates")
        choices = {name: getattr(self.card, name) for name in names}
        plain = Recipe(self.prior, self.card.seed, **choices)
        drawn = plain.draw(_POOL_START, _POOL_PHASES)
        return PhasePool(drawn.peaks, mass_times_volume(drawn.crystals))

    def draw(self, start: int, count: int) -> DrawnPeaks:
        """Draw crystals and simulate their reflections.

        A crystal that has no reflection on the grid would make an empty pattern. It
        gives way to one that is drawn from far beyond the end of the index range, so
        that a sample still depends on its own number only.

        Raises:
            RecipeError: If the range is impossible, or so few crystals reflect onto
                the grid that no replacement is found.
        """
        if start < 0 or count < 1 or start + count > _REDRAW_STRIDE:
            raise RecipeError(
                f"samples {start} to {start + count - 1}: a recipe has samples 0 to "
                f"2**56 - 1, and gives at least one"
            )
        crystals, report = self._draw_crystals(start, count)
        rejections = _count_rejections(report)
        try:
            peaks = self._simulate(crystals, start)
        except PatternError as error:
            if error.index is None:
                raise
            empty = [
                row
                for row in range(count)
                if self._is_empty(crystals[row], start + row)
            ]
        else:
            empty = self._find_empty(peaks)
            if not empty:
                return DrawnPeaks(crystals, peaks, rejections)
        replaced = list(crystals)
        for row in empty:
            replaced[row] = self._redraw(start + row)
        crystals = CrystalBatch.from_crystals(replaced)
        rejections["no_peak_on_grid"] = len(empty)
        return DrawnPeaks(crystals, self._simulate(crystals, start), rejections)

    def _draw_crystals(self, start: int, count: int) -> tuple[CrystalBatch, Rejections]:
        card = self.card
        model = card.coordinates and find_coordinate_model(card.coordinates)
        options: dict[str, Any] = {
            "preset": card.preset,
            "max_volume": card.max_volume,
            "coordinates": model,
        }
        if (kind := card.structure_type) is None:
            return draw_crystals_with_report(
                self.prior, card.seed, start, count, **options
            )
        return draw_crystals_of_type(
            self.prior, kind.space_group, kind.sites, card.seed, start, count, **options
        )

    def _simulate(self, crystals: CrystalBatch, start: int) -> PeakBatch:
        """Reflections of samples from ``start`` on, with what acts on them."""
        margin = _MARGIN[self.card.preset]
        # Half the way to 0 and 180 degrees at most, where the Lorentz factor diverges.
        low = max(self.grid.start - margin, self.grid.start / 2)
        high = min(self.grid.stop + margin, (self.grid.stop + 180.0) / 2)
        measurement = self.card.measurement or _PLAIN
        is_mixed = measurement.get(ImpurityPhases) is not None
        return measurement.simulate(
            crystals,
            Samples(self.card.seed, start, len(crystals)),
            self.radiation,
            (low, high),
            self.card.preset,
            _PRECISION[self.card.preset],
            pool=self.pool if is_mixed else None,
        )

    def _is_empty(self, crystal: Crystal, index: int) -> bool:
        try:
            peaks = self._simulate(CrystalBatch.from_crystals([crystal]), index)
        except PatternError:
            return True
        return len(self._find_empty(peaks)) > 0

    def _find_empty(self, peaks: PeakBatch) -> list[int]:
        """Crystals without a peak that stays on the grid when lines are shifted."""
        inside = shift_reach(self.card.measurement, self.grid)
        empty: list[int] = find_empty(peaks, self.grid, inside).tolist()
        return empty

    def _redraw(self, index: int) -> Crystal:
        for attempt in range(1, _MAX_REDRAWS + 1):
            crystal = self._draw_crystals(index + attempt * _REDRAW_STRIDE, 1)[0][0]
            if not self._is_empty(crystal, index):
                return crystal
        raise RecipeError(
            f"sample {index}: {_MAX_REDRAWS} crystals in a row have no reflection "
            f"between {self.grid.start} and {self.grid.stop} degrees; widen the grid "
            "or shorten the wavelength"
        )


def _ask_for_prior(card: RecipeCard) -> str:
    """Ask for a prior that is not here, in one sentence."""
    why = "it is none of those that ship"
    if card.prior_name in available_priors():
        why = "the one of that name here would give other crystals"
    return (
        f"these samples were drawn from the prior {card.prior_name!r} of digest "
        f"{card.prior_digest[:12]}, which is not here ({why}): give its file "
        f"(--prior, prior=), or put it beside the shards as "
        f"{kept_name(card.prior_digest)}"
    )


def _count_rejections(report: Rejections) -> Counter[str]:
    """Add up over space groups; reasons that did not occur are left out."""
    totals = {
        field.name: int(getattr(report, field.name).sum()) for field in fields(report)
    }
    return Counter({name: n for name, n in totals.items() if n and name != "accepted"})
