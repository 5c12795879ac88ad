"""What known crystals teach: the distributions that synthetic ones are drawn from.

A prior holds counts and points, nothing that executes; it is fitted on one part of
a split and says on which. The statistics are those of Schopmans, Reiser &
Friederich (2023), Digital Discovery 2, 1414, section 2.1, but for the shape of the
cell, which is kept in coordinates that do not depend on the volume.
"""

import hashlib
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Float32, Float64, Int, Int32, Int64

from pxrdbench.crystal.prior.checks import MOST_BYTES, check_prior
from pxrdbench.crystal.prior.statistics import Gatherer, cut_batches, select_groups
from pxrdbench.crystal.structure import CrystalBatch
from pxrdbench.errors import PriorError
from pxrdbench.files import write_atomically
from pxrdbench.frozen import freeze_arrays
from pxrdbench.outside import guard, parse_strict_json, read_arrays

# Raised when arrays change their meaning: an older file is then refused.
SCHEMA_VERSION = 1
# How far apart two processors may come, in roundings of one operation.
_ROUNDINGS = 64
FREQUENCIES = ("fitted", "icsd", "uniform")
_PRIORS = Path(__file__).with_name("priors")


@dataclass(frozen=True)
class Smoothing:
    """How a prior backs off from what its crystals show (see ``smoothing``).

    Attributes:
        enough_crystals: A group with fewer borrows what is missing to as many.
        unseen_crystals: As if so many borrowed crystals had been seen of each
            Wyckoff position that none holds, and of each group.
    """

    enough_crystals: int = 50
    unseen_crystals: float = 1.0


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
        wyckoff_element: Positions that an element occupies, by row of the symmetry
            tables and atomic number: then each element chooses its positions by
            these. None where all choose by ``wyckoff``.
        smoothing: How the prior was smoothed; None if it is as fitted. The weights
            element, n_elements, repetitions, wyckoff and wyckoff_element of a
            smoothed prior are in millionths of a crystal.
        binned: Fewest crystals that share a volume point, if volumes and shapes were
            binned (see ``bin_prior``); 0 if they are as fitted.
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
    element: Int[np.ndarray, "groups 99"]
    n_elements: Int[np.ndarray, "groups most_elements"]
    repetitions: Int[np.ndarray, "groups most_repetitions"]
    wyckoff: Int[np.ndarray, " 1731"]
    volume_offset: Int32[np.ndarray, " groups_and_one"]
    volume_atomic: Float32[np.ndarray, " points"]
    volume_factor: Float32[np.ndarray, " points"]
    bandwidth: Float64[np.ndarray, " 2"]
    shape_offset: Int32[np.ndarray, " 7"]
    shape: Float32[np.ndarray, "shapes 5"]
    shape_kernel: Float64[np.ndarray, "6 5 5"]
    scaled_kernel: Float64[np.ndarray, "6 6 6"]
    frequencies: str = "fitted"
    wyckoff_element: Int[np.ndarray, "1731 99"] | None = None
    smoothing: Smoothing | None = None
    binned: int = 0

    def __repr__(self) -> str:
        return (
            f"Prior({self.name!r}, {len(self.space_group)} space groups of "
            f"{int(self.n_crystals.sum()):,} crystals, frequencies "
            f"{self.frequencies}{', restricted' * self.restricted})"
        )

    def __post_init__(self) -> None:
        freeze_arrays(self)

    @property
    def space_groups(self) -> tuple[int, ...]:
        """Groups that can be drawn, ascending: the classes of a model."""
        return tuple(self.space_group.tolist())

    @property
    def space_group_probability(self) -> Float64[np.ndarray, " groups"]:
        """Probability of each group of ``space_groups``.

        A smoothed prior counts ``unseen_crystals`` more in each, fitted or ICSD.
        """
        weights = {
            "fitted": self.n_crystals,
            "icsd": self.icsd_crystals[self.space_group],
            "uniform": np.ones(len(self.space_group)),
        }[self.frequencies].astype(np.float64)
        if self.smoothing is not None:
            weights += self.smoothing.unseen_crystals
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

    def _arrays(self) -> dict[str, np.ndarray]:
        """All that a file holds, as arrays."""
        values = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name != "frequencies"
        }
        # Absent unless in use, so that older files keep their digest.
        if self.wyckoff_element is None:
            del values["wyckoff_element"]
        if self.smoothing is None:
            del values["smoothing"]
        else:
            values["smoothing"] = asdict(self.smoothing)
        if not self.binned:
            del values["binned"]
        header = {
            name: value
            for name, value in values.items()
            if not isinstance(value, np.ndarray)
        } | {"schema_version": SCHEMA_VERSION}
        text = json.dumps(header, sort_keys=True, ensure_ascii=False).encode()
        arrays = {n: v for n, v in values.items() if isinstance(v, np.ndarray)}
        return arrays | {"header": np.frombuffer(text, np.uint8)}

    def to_bytes(self) -> bytes:
        """The npz file of this prior; equal priors give equal bytes."""
        arrays = dict(sorted(self._arrays().items()))
        file = io.BytesIO()
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        return file.getvalue()

    def save(self, path: str | Path) -> None:
        """Write an npz file; equal priors give equal bytes."""
        write_atomically(path, self.to_bytes())

    @classmethod
    def load(cls, path: str | Path) -> "Prior":
        """Read a prior from an npz file.

        Raises:
            PriorError: If there is no such file, or it is no prior of this version.
        """
        try:
            with Path(path).open("rb") as file:
                return cls.read(file, str(path))
        except FileNotFoundError:
            raise PriorError(f"{path}: there is no such prior") from None
        except OSError as error:
            raise PriorError(f"{path} is no prior: {error}") from error

    @classmethod
    def read(cls, file: IO[bytes], place: str) -> "Prior":
        """Read a prior from an open npz file.

        Args:
            file: It can be sought in.
            place: Whose, for messages.

        Raises:
            PriorError: If it is no prior of this version.
        """
        with guard(PriorError, f"{place} is no prior"):
            arrays: dict[str, Any] = dict(read_arrays(file, MOST_BYTES))
            header = parse_strict_json(
                arrays.pop("header").tobytes(), f"the header of {place}", PriorError
            )
            version = header.pop("schema_version")
            if version != SCHEMA_VERSION:
                raise PriorError(
                    f"{place} has version {version}; this pxrdbench reads "
                    f"{SCHEMA_VERSION}: fit the prior again"
                )
            if "smoothing" in header:
                header["smoothing"] = Smoothing(**header["smoothing"])
            prior = cls(**header, **arrays)
            check_prior(prior)
            return prior


def available_priors() -> tuple[str, ...]:
    """Names of the priors that ship with the package."""
    return tuple(sorted(path.stem for path in _PRIORS.glob("*.npz")))


def load_prior(name_or_path: str | Path | Prior) -> Prior:
    """Open a shipped prior by its name, or any other by its place.

    Args:
        name_or_path: A name; a file; a folder that holds one prior, as one of shards
            drawn from a prior of one's own does; or a prior, which is given back.

    Raises:
        PriorError: If there is no such prior, or the file is damaged.
    """
    if isinstance(name_or_path, Prior):
        return name_or_path
    if str(name_or_path) in available_priors():
        return Prior.load(_PRIORS / f"{name_or_path}.npz")
    path = Path(name_or_path)
    if path.is_dir():
        found = sorted(path.glob(kept_name("*")))
        if len(found) != 1:
            raise PriorError(
                f"{path} is a folder that holds {len(found)} priors "
                f"({kept_name('DIGEST')}); name the file of one"
            )
        return Prior.load(found[0])
    if not path.exists():
        raise PriorError(
            f"there is no prior {str(name_or_path)!r}; shipped are "
            f"{', '.join(available_priors())}, or give the path of an npz file"
        )
    return Prior.load(path)


def kept_name(digest: str) -> str:
    """Name of the file in which a prior travels with what was drawn from it."""
    return f"prior-{digest[:12]}.npz"


def find_shipped_prior(digest: str, name: str = "") -> Prior | None:
    """Find a shipped prior by its digest; a name only says where to look first.

    Names that stand in files are labels: they never choose a file.
    """
    for known in sorted(available_priors(), key=lambda other: other != name):
        prior = load_prior(known)
        if prior.digest == digest:
            return prior
    return None


def find_equal_prior(prior: Prior) -> Prior | None:
    """Find the shipped prior that a fitted one is, but for how a processor rounds.

    Sines, logarithms and sums differ between processors in the last bit: the digest
    of a prior fitted anew would tell the machine, not the crystals.

    Args:
        prior: As fitted; its name and source count too.
    """
    for name in available_priors():
        known = load_prior(name)
        if known.name == prior.name and _is_equal(known, prior):
            return known
    return None


def _is_equal(first: Prior, second: Prior) -> bool:
    """Whether all is the same to a rounding; points of one volume have no order."""
    one, two = first._arrays(), second._arrays()
    if one.keys() != two.keys():
        return False
    for values, prior in ((one, first), (two, second)):
        owner = np.repeat(
            np.arange(len(prior.space_group)), np.diff(prior.volume_offset)
        )
        order = np.lexsort([prior.volume_factor, prior.volume_atomic, owner])
        values["volume_factor"] = prior.volume_factor[order]
    for name, array in one.items():
        other = two[name]
        if array.shape != other.shape or array.dtype != other.dtype:
            return False
        if array.dtype.kind != "f":
            if not np.array_equal(array, other):
                return False
            continue
        step = _ROUNDINGS * np.finfo(array.dtype).eps
        if not np.allclose(array, other, rtol=step, atol=step):
            return False
    return True


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
    crystals: CrystalBatch | Iterable[CrystalBatch],
    *,
    name: str,
    min_crystals: int = 20,
    max_volume: float = 7000.0,
    max_sites: int = 100,
    split_digest: str = "",
    source: str = "",
    restricted: bool = False,
    frequencies_icsd: Int64[np.ndarray, " 231"] | None = None,
    wyckoff_per_element: bool = False,
    progress: Callable[[int], None] | None = None,
) -> tuple[Prior, FitReport]:
    """Count and gather what crystals teach, in one pass.

    A position with several species counts once for the choice of positions, and
    once for each of its elements for the repetitions.

    Args:
        crystals: In the standard setting; one batch, or batches one after the other,
            which need not be in memory together. Their limits change nothing.
        name: Of the prior.
        min_crystals: A group with fewer is not represented.
        max_volume: Larger conventional cells [Å³] are left out, and never drawn.
        max_sites: So are crystals with more sites in the asymmetric unit.
        split_digest: Of the split whose part is fitted.
        source: Where the crystals come from, with attribution.
        restricted: Whether they are licensed.
        frequencies_icsd: Entries of the ICSD in each group, indexed by its number.
        wyckoff_per_element: Whether each element chooses its positions by what was
            seen of itself in the group, not of all elements.
        progress: Is called with the number of crystals done.

    Raises:
        PriorError: If no group has enough crystals.
    """
    gatherer = Gatherer(max_volume, max_sites)
    done = 0
    for batch in cut_batches(crystals):
        gatherer.add(batch)
        done += len(batch)
        if progress:
            progress(done)
    fit = gatherer.finish()
    count = np.bincount(fit.space_group, minlength=231)
    represented = np.flatnonzero(count >= max(min_crystals, 1))
    if not len(represented):
        raise PriorError(
            f"no space group has {min_crystals} crystals; the most are {count.max()}"
        )
    prior = Prior(
        name=name,
        restricted=restricted,
        split_digest=split_digest,
        source=source,
        min_crystals=min_crystals,
        max_volume=float(max_volume),
        max_sites=max_sites,
        n_crystals=count[represented].astype(np.int64),
        icsd_crystals=(
            np.zeros(231, np.int64)
            if frequencies_icsd is None
            else np.array(frequencies_icsd, np.int64)
        ),
        **select_groups(fit, represented, wyckoff_per_element),
    )
    unrepresented = {int(g): int(count[g]) for g in np.flatnonzero(count)}
    for group in represented.tolist():
        del unrepresented[group]
    n_fitted = int(count[represented].sum())
    return prior, FitReport(fit.n_crystals, n_fitted, fit.left_out, unrepresented)
