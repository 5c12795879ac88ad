"""What known crystals teach: the distributions that synthetic ones are drawn from.

A prior holds counts and points, nothing that executes; it is fitted on one part of
a split and says on which. The statistics are those of Schopmans, Reiser &
Friederich (2023), Digital Discovery 2, 1414, section 2.1, but for the shape of the
cell, which is kept in coordinates that do not depend on the volume.
"""

import hashlib
import json
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64

from pxrdbench.crystal.prior_statistics import (
    GatheredCrystals,
    count_composition,
    count_positions,
    gather_shapes,
    gather_volumes,
)
from pxrdbench.crystal.structure import CrystalBatch
from pxrdbench.crystal.symmetry import load_symmetry_tables
from pxrdbench.errors import PriorError

# Raised when arrays change their meaning: an older file is then refused.
SCHEMA_VERSION = 1
FREQUENCIES = ("fitted", "icsd", "uniform")
# What numpy, zipfile and json raise for a damaged file.
_DAMAGES = (OSError, KeyError, TypeError, ValueError, EOFError, BadZipFile)
_PRIORS = Path(__file__).with_name("priors")


class SamplingTables(NamedTuple):
    """What the kernel of the generator reads; one row a represented group."""

    space_group: np.ndarray
    group: np.ndarray
    element: np.ndarray
    n_elements: np.ndarray
    repetitions: np.ndarray
    wyckoff: np.ndarray
    volume_offset: np.ndarray
    volume_atomic: np.ndarray
    volume_factor: np.ndarray
    bandwidth: np.ndarray
    shape_offset: np.ndarray
    shape: np.ndarray
    shape_kernel: np.ndarray
    scaled_kernel: np.ndarray


@dataclass(frozen=True, eq=False)
class Prior:
    """Distributions of the crystals that were fitted, for each space group.

    Attributes:
        name: What to print.
        restricted: Whether it was fitted on licensed crystals; publishing commands
            refuse what comes from it.
        split_digest: Of the split whose part was fitted; empty if there was none.
        source: Where the crystals came from, with the attribution they ask for.
        min_crystals: A group with fewer is not represented.
        max_volume: Largest conventional cell [Å³].
        max_sites: Most sites of an asymmetric unit.
        space_group: Represented groups, ascending.
        n_crystals: Crystals fitted in each of them.
        icsd_crystals: Entries of the ICSD in all 230 groups, or zeros: an aggregate
            of published counts, indexed by group.
        element: Crystals that contain an element, by group and atomic number.
        n_elements: Crystals with 1, 2, … elements.
        repetitions: How often an element occupies 1, 2, … positions.
        wyckoff: Occupied positions, by row of the symmetry tables.
        volume_offset: First volume point of each group, and the number of all.
        volume_atomic: Volume of the atoms of a conventional cell [Å³], ascending
            in each group: Σ 4/3 π r³, r the mean of covalent and van der Waals
            radius.
        volume_factor: Volume of the cell divided by that of its atoms.
        bandwidth: Standard deviations of the Gaussian kernels of volume_factor and
            volume_atomic [Å³].
        shape_offset: First shape of each lattice type, and the number of all.
        shape: ln b/a, ln c/a, alpha, beta, gamma [degrees], of cells of a type.
        shape_kernel: Cholesky factor of the covariance of a type's Gaussian kernel.
        scaled_kernel: The same for a, b, c over the cube root of the volume and the
            angles [degrees]; the paper preset smooths these.
        frequencies: Which space-group frequencies hold: "fitted", "icsd", "uniform".
    """

    name: str
    restricted: bool
    split_digest: str
    source: str
    min_crystals: int
    max_volume: float
    max_sites: int
    space_group: Int32[np.ndarray, " groups"]
    n_crystals: Int64[np.ndarray, " groups"]
    icsd_crystals: Int64[np.ndarray, " 231"]
    element: Int32[np.ndarray, "groups 99"]
    n_elements: Int32[np.ndarray, "groups most_elements"]
    repetitions: Int32[np.ndarray, "groups most_repetitions"]
    wyckoff: Int32[np.ndarray, " 1731"]
    volume_offset: Int32[np.ndarray, " groups_and_one"]
    volume_atomic: Float32[np.ndarray, " points"]
    volume_factor: Float32[np.ndarray, " points"]
    bandwidth: Float64[np.ndarray, " 2"]
    shape_offset: Int32[np.ndarray, " 7"]
    shape: Float32[np.ndarray, "shapes 5"]
    shape_kernel: Float64[np.ndarray, "6 5 5"]
    scaled_kernel: Float64[np.ndarray, "6 6 6"]
    frequencies: str = "fitted"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                value.flags.writeable = False

    @property
    def space_groups(self) -> tuple[int, ...]:
        """Groups that can be drawn, ascending: the classes of a model."""
        return tuple(self.space_group.tolist())

    @property
    def space_group_probability(self) -> Float64[np.ndarray, " groups"]:
        """Probability of each group of ``space_groups``."""
        weights = {
            "fitted": self.n_crystals,
            "icsd": self.icsd_crystals[self.space_group],
            "uniform": np.ones(len(self.space_group)),
        }[self.frequencies].astype(np.float64)
        probability: np.ndarray = weights / weights.sum()
        return probability

    def with_frequencies(self, frequencies: str) -> "Prior":
        """Choose how often each group is drawn; all else stays, the digest too.

        Args:
            frequencies: "fitted" (as in the crystals fitted), "icsd" (as in the
                filtered ICSD) or "uniform".

        Raises:
            PriorError: If the name is unknown, or the prior holds no ICSD counts.
        """
        if frequencies not in FREQUENCIES:
            raise PriorError(
                f"unknown frequencies {frequencies!r}; known are "
                f"{', '.join(FREQUENCIES)}"
            )
        if frequencies == "icsd" and not self.icsd_crystals[self.space_group].any():
            raise PriorError(
                f"prior {self.name!r} holds no ICSD counts; fit it with them"
            )
        return replace(self, frequencies=frequencies)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that the prior's file holds, hexadecimal."""
        hasher = hashlib.sha256()
        for name, array in sorted(self._arrays().items()):
            hasher.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            hasher.update(np.ascontiguousarray(array).tobytes())
        return hasher.hexdigest()

    @cached_property
    def tables(self) -> SamplingTables:
        """Running sums, for the generator."""
        wyckoff = self.wyckoff.astype(np.float64)
        offset = load_symmetry_tables().position_offset
        for group in range(1, 231):
            rows = slice(offset[group], offset[group + 1])
            wyckoff[rows] = np.cumsum(wyckoff[rows])
        return SamplingTables(
            space_group=self.space_group.astype(np.int64),
            group=np.cumsum(self.space_group_probability),
            element=np.cumsum(self.element, axis=1, dtype=np.float64),
            n_elements=np.cumsum(self.n_elements, axis=1, dtype=np.float64),
            repetitions=np.cumsum(self.repetitions, axis=1, dtype=np.float64),
            wyckoff=wyckoff,
            volume_offset=self.volume_offset.astype(np.int64),
            volume_atomic=self.volume_atomic.astype(np.float64),
            volume_factor=self.volume_factor.astype(np.float64),
            bandwidth=self.bandwidth,
            shape_offset=self.shape_offset.astype(np.int64),
            shape=self.shape.astype(np.float64),
            shape_kernel=self.shape_kernel,
            scaled_kernel=self.scaled_kernel,
        )

    def _arrays(self) -> dict[str, np.ndarray]:
        """All that a file holds, as arrays."""
        values = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name != "frequencies"
        }
        header = {
            name: value
            for name, value in values.items()
            if not isinstance(value, np.ndarray)
        } | {"schema_version": SCHEMA_VERSION}
        text = json.dumps(header, sort_keys=True, ensure_ascii=False).encode()
        arrays = {n: v for n, v in values.items() if isinstance(v, np.ndarray)}
        return arrays | {"header": np.frombuffer(text, np.uint8)}

    def save(self, path: str | Path) -> None:
        """Write an npz file; equal priors give equal bytes."""
        arrays = dict(sorted(self._arrays().items()))
        with Path(path).open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | Path) -> "Prior":
        """Read a prior from an npz file.

        Raises:
            PriorError: If there is no such file, or it is no prior of this version.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            header = json.loads(arrays.pop("header").tobytes())
            version = header.pop("schema_version")
            if version != SCHEMA_VERSION:
                raise PriorError(
                    f"{path} has version {version}; this pxrdbench reads "
                    f"{SCHEMA_VERSION}: fit the prior again"
                )
            return cls(**header, **arrays)
        except FileNotFoundError:
            raise PriorError(f"{path}: there is no such prior") from None
        except (
            OSError,
            KeyError,
            TypeError,
            ValueError,
            EOFError,
            BadZipFile,
        ) as error:
            if isinstance(error, PriorError):
                raise
            raise PriorError(f"{path} is no prior: {error}") from error


def available_priors() -> tuple[str, ...]:
    """Names of the priors that ship with the package."""
    return tuple(sorted(path.stem for path in _PRIORS.glob("*.npz")))


def load_prior(name_or_path: str | Path | Prior) -> Prior:
    """Open a shipped prior by its name, or any other by its path.

    Raises:
        PriorError: If there is no such prior, or the file is damaged.
    """
    if isinstance(name_or_path, Prior):
        return name_or_path
    if str(name_or_path) in available_priors():
        return Prior.load(_PRIORS / f"{name_or_path}.npz")
    if not Path(name_or_path).exists():
        raise PriorError(
            f"there is no prior {str(name_or_path)!r}; shipped are "
            f"{', '.join(available_priors())}, or give the path of an npz file"
        )
    return Prior.load(name_or_path)


@dataclass(frozen=True)
class FitReport:
    """What a fit took and what it left.

    Attributes:
        n_crystals: Crystals given.
        n_fitted: Crystals that taught something to a represented group.
        left_out: Crystals left out, by reason.
        unrepresented: Crystals of groups that have fewer than min_crystals.
    """

    n_crystals: int
    n_fitted: int
    left_out: dict[str, int]
    unrepresented: dict[int, int]


def fit_prior(
    crystals: CrystalBatch,
    *,
    name: str,
    min_crystals: int = 20,
    max_volume: float = 7000.0,
    max_sites: int = 100,
    split_digest: str = "",
    source: str = "",
    restricted: bool = False,
    frequencies_icsd: Int64[np.ndarray, " 231"] | None = None,
) -> tuple[Prior, FitReport]:
    """Count and gather what crystals teach.

    A position with several species counts once for the choice of positions, and
    once for each of its elements for the repetitions.

    Args:
        crystals: In the standard setting.
        name: Of the prior.
        min_crystals: A group with fewer is not represented.
        max_volume: Larger conventional cells [Å³] are left out, and never drawn.
        max_sites: So are crystals with more sites in the asymmetric unit.
        split_digest: Of the split whose part is fitted.
        source: Where the crystals come from, with attribution.
        restricted: Whether they are licensed.
        frequencies_icsd: Entries of the ICSD in each group, indexed by its number.

    Raises:
        PriorError: If no group has enough crystals.
    """
    fit = GatheredCrystals.from_crystals(crystals, max_volume, max_sites)
    kept = fit.is_kept
    count = np.bincount(crystals.space_group[kept], minlength=231)
    represented = np.flatnonzero(count >= max(min_crystals, 1))
    if not len(represented):
        raise PriorError(
            f"no space group has {min_crystals} crystals; the most are {count.max()}"
        )
    row_of_group = np.full(231, -1)
    row_of_group[represented] = np.arange(len(represented))
    in_row = np.where(kept, row_of_group[crystals.space_group], -1)
    statistics: dict[str, Any] = (
        count_composition(fit, in_row, len(represented))
        | gather_volumes(fit, in_row, len(represented))
        | gather_shapes(crystals, kept)
    )
    prior = Prior(
        name=name,
        restricted=restricted,
        split_digest=split_digest,
        source=source,
        min_crystals=min_crystals,
        max_volume=float(max_volume),
        max_sites=max_sites,
        space_group=represented.astype(np.int32),
        n_crystals=count[represented].astype(np.int64),
        icsd_crystals=(
            np.zeros(231, np.int64)
            if frequencies_icsd is None
            else np.array(frequencies_icsd, np.int64)
        ),
        wyckoff=count_positions(crystals, in_row),
        **statistics,
    )
    unrepresented = {int(g): int(count[g]) for g in np.flatnonzero(count)}
    for group in represented.tolist():
        del unrepresented[group]
    report = FitReport(
        len(crystals), int((in_row >= 0).sum()), fit.left_out, unrepresented
    )
    return prior, report
