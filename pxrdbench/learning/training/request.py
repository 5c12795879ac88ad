"""What a person asks a training for: only what was said, each of which must act.

A published run fills in what was not said; what was said wins over it. An option that
cannot act with the source, the preset or the model is refused, never ignored.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from pxrdbench.crystal.prior.prior import load_prior
from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.errors import OptionError
from pxrdbench.learning.training.config import SOURCE_KINDS, TrainConfig
from pxrdbench.learning.training.experiments import Experiment, find_experiment
from pxrdbench.tracks.load import find_track, load_record

# Physics of drawing and scattering together, see `Recipe`.
_PHYSICS = ("default", "paper")
# What a recipe is made of; nothing else draws crystals.
# What a published run fixes.
_OF_PROTOCOL = frozenset(
    {
        *("model", "patterns", "minutes", "cpu_minutes", "start_from", "batch_size"),
        *("learning_rate", "optimizer", "schedule", "precision", "accumulate"),
        *("average", "mixture", "grid", "frequencies", "radiation", "measurement"),
        *("max_volume", "coordinates", "structure_type"),
    }
)
_OF_RECIPES = (
    "prior",
    "frequencies",
    "radiation",
    "grid",
    "max_volume",
    "coordinates",
    "structure_type",
)


@dataclass(frozen=True)
class TrainRequest:
    """Options of a training as they are typed; None is what was not said.

    The options of `TrainConfig` have its names and its meaning; grids, mixtures and
    tasks may be text. What draws crystals is for ``online`` only.

    Attributes:
        model: Name in the registry; that of a published run if left away.
        online: Whether to draw patterns while training.
        preset: ``default`` or ``paper``: physics; or the name of a published run.
        prior: Name or place of the prior.
        frequencies: ``fitted``, ``icsd`` or ``uniform``.
        radiation: Name, or wavelength [Å].
        grid: Angles of the patterns; as text START:STOP:POINTS.
        max_volume: Largest conventional cell [Å³].
        coordinates: How atoms are placed.
        structure_type: The only structure type.
        track: Name or folder of the track: a published run on real crystals learns
            from its part ``statistics``; its ``dev``, if it has one, is looked at.
    """

    model: str | None = None
    out: Path = Path("runs/last")
    online: bool | None = None
    shards: str | Path | None = None
    consumer: str | None = None
    source: str | Path | None = None
    data: str | Path | None = None
    minutes: float | None = None
    patterns: int | None = None
    cpu_minutes: float | None = None
    resume: bool | None = None
    start_from: str | Path | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    optimizer: str | None = None
    schedule: str | None = None
    precision: str | None = None
    compile: bool | None = None
    accumulate: int | None = None
    average: float | None = None
    classes: str | None = None
    tasks: str | tuple[str, ...] | None = None
    mask: bool | None = None
    mixture: str | tuple[str, ...] | None = None
    grid: str | TwoThetaGrid | None = None
    keep: int | None = None
    evaluations: int | None = None
    tensorboard: bool | None = None
    device: str | None = None
    threads: int | None = None
    loader_workers: int | None = None
    seed: int | None = None
    prior: str | Path | None = None
    preset: str | None = None
    frequencies: str | None = None
    radiation: str | None = None
    measurement: str | None = None
    max_volume: float | None = None
    coordinates: str | None = None
    structure_type: str | None = None
    track: str | Path | None = None

    @cached_property
    def experiment(self) -> Experiment | None:
        """The published run that is asked for; None for none.

        Raises:
            OptionError: If the preset is unknown.
            ModelError: If the run is.
        """
        if self.preset is None or self.preset in _PHYSICS:
            return None
        if "/" not in self.preset:
            raise OptionError(
                f"unknown preset {self.preset!r}: default, paper, or a published run "
                "as schopmans2023/resnet-50"
            )
        return find_experiment(self.preset)

    @cached_property
    def kind(self) -> str:
        """Where patterns come from, see ``SOURCE_KINDS``.

        Raises:
            OptionError: If none or several are named, or not that of a published run.
        """
        named = {
            "recipe": bool(self.online),
            "shards": self.shards is not None,
            "source": self.source is not None,
        }
        kinds = [kind for kind, is_named in named.items() if is_named]
        run = self.experiment
        if not kinds and run is not None:
            if not run.is_real:
                return "recipe"
            if self.track is not None:
                return "source"
        if len(kinds) != 1:
            raise OptionError(
                "give either --shards FOLDER or --online, or --source of real crystals"
            )
        if run is not None and run.is_real and kinds != ["source"]:
            raise OptionError(
                f"{self.preset} learns from real crystals: give --track or --source, "
                "not "
                f"{_flag('online' if kinds == ['recipe'] else kinds[0])}"
            )
        return kinds[0]

    def to_config(self) -> TrainConfig:
        """Make the configuration of the run.

        Raises:
            OptionError: If an option cannot act; it says why.
            ModelError: If a choice is impossible or unknown.
        """
        if self.model is None and self.experiment is None:
            raise OptionError("give --model NAME, or --preset of a published run")
        self._refuse_idle()
        run = self.experiment
        options: dict[str, Any] = {} if run is None else dict(run.options())
        if self._has_length:
            options.pop("patterns", None)
        known = {field.name for field in fields(TrainConfig)}
        said = {name: value for name, value in self._said().items() if name in known}
        options |= {name: _parse(name, value) for name, value in said.items()}
        measurement = self.measurement
        if measurement is None and self.mixture is None and run is not None:
            measurement = run.measurement
        if self.kind == "recipe":
            options |= {"recipe": self._make_recipe(measurement), "measurement": None}
            options["prior_place"] = self.prior
        else:
            options["measurement"] = measurement
        if self.kind == "source":
            options |= self._choose_real(run, options)
        if self.track is not None:
            has_dev = "dev" in load_record(self.track)["frozen_parts"]
            options["track"] = find_track(self.track) if has_dev else None
        options["protocol"] = self._protocol()
        return TrainConfig(out=self.out, **options)

    def _choose_real(
        self, run: Experiment | None, options: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Which real crystals, with which physics, in which classes."""
        chosen: dict[str, Any] = {
            "physics": self.preset if run is None else run.physics
        }
        if self.source is None:
            chosen["source"] = f"track:{self.track}/statistics"
        if self.prior is not None:
            limits = load_prior(self.prior)
            chosen["limits"] = limits
            if "classes" not in options:
                chosen["classes"] = ",".join(map(str, limits.space_groups))
        return chosen

    def _protocol(self) -> str:
        """Name of the published run that is followed, with what was changed of it."""
        if self.experiment is None:
            return ""
        said = set(self._said()) & _OF_PROTOCOL
        changed = f" (changed: {', '.join(sorted(said))})" if said else ""
        return f"{self.preset}{changed}"

    @property
    def _has_length(self) -> bool:
        lengths = (self.minutes, self.patterns, self.cpu_minutes)
        return any(length is not None for length in lengths)

    def _said(self) -> Mapping[str, Any]:
        names = [field.name for field in fields(self) if field.name != "out"]
        return {n: getattr(self, n) for n in names if getattr(self, n) is not None}

    def _make_recipe(self, measurement: str | None) -> Recipe:
        run = self.experiment
        radiation: str | float = self.radiation or "CuKa1"
        with suppress(ValueError):  # a name is no number
            radiation = float(radiation)
        physics = self.preset or "default" if run is None else run.physics
        return Recipe(
            self.prior or (run.prior if run else "open-v0"),
            self.seed or 0,
            preset="paper" if physics == "paper" else "default",
            space_group_frequencies=self.frequencies or "fitted",
            radiation=radiation,
            grid=_parse_grid(self.grid),
            measurement=measurement,
            max_volume=self.max_volume,
            coordinates=self.coordinates,
            structure_type=self.structure_type,
        )

    def _refuse_idle(self) -> None:
        """Refuse what cannot act.

        Raises:
            OptionError: With the first such options and why.
        """
        source = SOURCE_KINDS[self.kind]
        if self.kind != "recipe":
            idle = list(_OF_RECIPES)
            if self.kind == "source" and self.experiment is not None:
                idle.remove("prior")  # its groups and bounds
            elif self.kind == "shards" and self.experiment is None:
                idle.append("preset")
            self._refuse(idle, f"on {source.what}")
        every = {name for kind in SOURCE_KINDS.values() for name in kind.options}
        # The measurement of drawn patterns is in their recipe.
        idle = sorted(every - source.options - {"measurement"})
        self._refuse(idle, f"on {source.what}")
        if self.mixture is not None:
            self._refuse(
                ["measurement"], "with --mixture, which names the measurements"
            )
        if self.structure_type is not None:
            self._refuse(
                ["frequencies"], "with --structure-type, which leaves one space group"
            )
        run = self.experiment
        if not self._has_length and run is None:
            self._refuse(
                ["evaluations"],
                "on a run without end, which looks once a minute: give --minutes, "
                "--patterns or --cpu-minutes",
            )

    def _refuse(self, names: Iterable[str], why: str) -> None:
        said = self._said()
        flags = [_flag(name) for name in names if name in said]
        if flags:
            raise OptionError(f"{', '.join(flags)} cannot act {why}")


def _flag(name: str) -> str:
    return "--" + ("from" if name == "start_from" else name.replace("_", "-"))


def _parse(name: str, value: Any) -> Any:
    if name in ("tasks", "mixture") and isinstance(value, str):
        return tuple(value.split(","))
    return value


def _parse_grid(grid: str | TwoThetaGrid | None) -> TwoThetaGrid | None:
    if grid is None or isinstance(grid, TwoThetaGrid):
        return grid
    parts = grid.split(":")
    try:
        start, stop, points = float(parts[0]), float(parts[1]), int(parts[2])
    except (ValueError, IndexError) as error:
        raise OptionError(
            f"--grid {grid!r} is no START:STOP:POINTS, as 5:90:4251"
        ) from error
    return TwoThetaGrid(start, stop, points)
