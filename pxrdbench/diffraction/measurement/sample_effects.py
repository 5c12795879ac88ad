"""Effects of the sample that act when peaks are drawn: cell, motion, texture, mixture.

They change what a list of peaks *is*; a stored list keeps them.
"""

from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float64

from pxrdbench.crystal.elements import ELEMENT_SYMBOLS
from pxrdbench.crystal.lattice import cell_volumes
from pxrdbench.crystal.structure import CrystalBatch
from pxrdbench.crystal.symmetry.tables import load_symmetry_tables
from pxrdbench.diffraction.kernels.texture import MarchDollase
from pxrdbench.diffraction.line_lists import gather_lists, merge_lists, scale_lists
from pxrdbench.diffraction.measurement.effect import Effect, Range, Samples, spread
from pxrdbench.diffraction.pattern import PeakBatch, Radiation
from pxrdbench.diffraction.peaks import simulate_peaks
from pxrdbench.diffraction.scattering import Scattering
from pxrdbench.errors import PatternError

# Planes that plates and needles grow along, in the order in which they are drawn.
_AXES = np.array(
    [[0, 0, 1], [1, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1]],
    np.int16,
)


@dataclass(frozen=True)
class LatticeStrain(Effect):
    """Cells that differ from their model: temperature, solid solution, misfit.

    Acts on crystals when peaks are drawn. Edges are multiplied by
    (1 + isotropic)(1 + anisotropic_i), free angles moved; what symmetry makes equal or
    right stays so. A cell that its angles would no longer close is left as it was.

    Attributes:
        isotropic: Relative change of all edges; 0.01 is what a solid solution or
            several hundred kelvins do.
        anisotropic: Relative change of each free edge by itself.
        angle: Change of each free angle [degrees].

    References:
        Szymanski et al. (2021), Chem. Mater. 33, 4204: strains up to 3 %.
    """

    acts_on: ClassVar[Literal["crystals"]] = "crystals"
    acts_when: ClassVar[Literal["drawn"]] = "drawn"
    rank: ClassVar[int] = 1

    isotropic: Range = (-0.01, 0.01)
    anisotropic: Range = (-0.003, 0.003)
    angle: Range = (-0.2, 0.2)

    def __post_init__(self) -> None:
        self._check("isotropic", -0.5, 0.5)
        self._check("anisotropic", -0.5, 0.5)
        self._check("angle", -10.0, 10.0)

    def apply(self, crystals: CrystalBatch, samples: Samples) -> CrystalBatch:
        """Strain each cell."""
        uniforms = self.uniforms(samples, 7)
        lattice_type = load_symmetry_tables().lattice_type[crystals.space_group]
        own = 1.0 + spread(self.anisotropic, uniforms[:, 1:4])
        tied = np.isin(lattice_type, (3, 4, 5))  # tetragonal, hexagonal, cubic: a = b
        own[:, 1] = np.where(tied, own[:, 0], own[:, 1])
        own[:, 2] = np.where(lattice_type == 5, own[:, 0], own[:, 2])
        lattice = crystals.lattice.copy()
        lattice[:, :3] *= own * (1.0 + spread(self.isotropic, uniforms[:, :1]))
        turned = spread(self.angle, uniforms[:, 4:7])
        is_free = np.zeros(turned.shape, bool)
        is_free[lattice_type == 0] = True  # triclinic
        is_free[lattice_type == 1, 1] = True  # monoclinic: beta
        lattice[:, 3:] += np.where(is_free, turned, 0.0)
        impossible = ~np.isfinite(cell_volumes(lattice))
        lattice[impossible] = crystals.lattice[impossible]
        return replace(crystals, lattice=lattice)


@dataclass(frozen=True)
class ThermalMotion(Effect):
    """Isotropic displacements B = 8π²⟨u²⟩, which weaken lines at high angles.

    Acts on crystals when peaks are drawn. All sites of an element share one B.

    Attributes:
        b_iso: B of the crystal [Å²]; 0.2 to 1.5 are common in inorganic solids at room
            temperature.
        element_factor: What each element's B is multiplied with.

    References:
        Trueblood et al. (1996), Acta Cryst. A52, 770 (B and U).
    """

    acts_on: ClassVar[Literal["crystals"]] = "crystals"
    acts_when: ClassVar[Literal["drawn"]] = "drawn"
    rank: ClassVar[int] = 2

    b_iso: Range = (0.2, 1.5)
    element_factor: Range = (0.7, 1.3)

    def __post_init__(self) -> None:
        self._check("b_iso", 0.0, 100.0)
        self._check("element_factor", 0.0, 10.0)

    def apply(self, crystals: CrystalBatch, samples: Samples) -> CrystalBatch:
        """Give every site its B; what it had is forgotten."""
        uniforms = self.uniforms(samples, len(ELEMENT_SYMBOLS))
        owner = np.repeat(np.arange(len(crystals)), np.diff(crystals.site_offset))
        overall = spread(self.b_iso, uniforms[:, 0])
        factor = spread(self.element_factor, uniforms[owner, crystals.atomic_number])
        return replace(crystals, b_iso=overall[owner] * factor)


@dataclass(frozen=True)
class Texture(Effect):
    """Plates and needles that lie down: March-Dollase about a low-index axis.

    Acts on peaks when they are drawn: overlapping reflections, as 333 and 511 of a
    cubic crystal, are weighed one by one, which a merged list no longer allows.

    Attributes:
        r: Of March and Dollase; below 1 plates, above 1 needles, 1 none.

    References:
        Dollase (1986), J. Appl. Cryst. 19, 267.
    """

    acts_on: ClassVar[Literal["peaks"]] = "peaks"
    acts_when: ClassVar[Literal["drawn"]] = "drawn"
    rank: ClassVar[int] = 3

    r: Range = (0.6, 1.4)

    def __post_init__(self) -> None:
        self._check("r", 0.05, 20.0)

    def draw(self, samples: Samples) -> MarchDollase:
        """Axis and strength for each sample, to be handed to ``simulate_peaks``."""
        uniforms = self.uniforms(samples, 2)
        rows = (uniforms[:, 0] * len(_AXES)).astype(np.int64)
        return MarchDollase(_AXES[rows], spread(self.r, uniforms[:, 1]))


@dataclass(frozen=True, eq=False)
class PhasePool:
    """Crystals that may turn up as impurities.

    A pool belongs to a data set as its prior does: sample i picks from it by its own
    random numbers, so that a sample does not depend on its neighbours.

    Attributes:
        peaks: Reflections of each phase, ``hkl`` left out.
        mass_times_volume: Of the conventional cell [Da Å³].
    """

    peaks: PeakBatch
    mass_times_volume: Float64[np.ndarray, " phases"]

    def __len__(self) -> int:
        return len(self.peaks)

    @cached_property
    def strong_peaks(self) -> PeakBatch:
        """Peaks above 1e-3 of each phase's strongest: all that a trace shows."""
        peaks = self.peaks
        counts = np.diff(peaks.peak_offset)
        strongest = np.maximum.reduceat(peaks.intensity, peaks.peak_offset[:-1])
        keep = peaks.intensity > 1e-3 * np.repeat(strongest, counts)
        running = np.concatenate([[0], np.cumsum(keep)])
        return PeakBatch(
            two_theta=peaks.two_theta[keep],
            intensity=peaks.intensity[keep],
            peak_offset=running[peaks.peak_offset],
            wavelength=peaks.wavelength,
        )

    @classmethod
    def from_crystals(
        cls,
        crystals: CrystalBatch,
        radiation: str | float | Radiation = "CuKa1",
        two_theta: tuple[float, float] = (5.0, 90.0),
        scattering: Scattering = "default",
    ) -> "PhasePool":
        """Simulate the reflections of all phases, as those of the samples are."""
        if len(crystals) == 0:
            raise PatternError("a pool of phases needs at least one crystal")
        return cls(
            simulate_peaks(crystals, radiation, two_theta, scattering),
            mass_times_volume(crystals),
        )


@dataclass(frozen=True)
class ImpurityPhases(Effect):
    """Other crystalline phases in the powder, by weight.

    Acts on peaks when they are drawn, since stored peaks have lost their scale. A phase
    of weight fraction w adds

        I = w / (M V) · m Lp |F|²

    with mass M and volume V of the cell for which F is calculated.

    Attributes:
        count: Fewest and most phases.
        weight_fraction: Of each phase; the main phase has the rest.

    References:
        Hill & Howard (1987), J. Appl. Cryst. 20, 467.
    """

    acts_on: ClassVar[Literal["peaks"]] = "peaks"
    acts_when: ClassVar[Literal["drawn"]] = "drawn"
    rank: ClassVar[int] = 4

    count: tuple[int, int] = (0, 2)
    weight_fraction: Range = (0.0, 0.1)

    def __post_init__(self) -> None:
        self._check("count", 0.0, 8.0)
        self._check("weight_fraction", 0.0, 1.0)
        if self.count[1] * self.weight_fraction[1] >= 1.0:
            raise PatternError(
                f"{self.count[1]} impurities of weight fraction "
                f"{self.weight_fraction[1]} leave nothing of the main phase"
            )

    def apply(
        self,
        peaks: PeakBatch,
        samples: Samples,
        pool: PhasePool,
        own_mass_times_volume: Float64[np.ndarray, " batch"],
    ) -> PeakBatch:
        """Add the lines of the phases drawn to each list."""
        most = self.count[1]
        uniforms = self.uniforms(samples, 1 + 2 * most)
        n = self.count[0] + np.floor(uniforms[:, 0] * (most - self.count[0] + 1))
        weights = spread(self.weight_fraction, uniforms[:, 1 : 1 + most])
        weights = np.where(np.arange(most) < n[:, None], weights, 0.0)
        rows = (uniforms[:, 1 + most :] * len(pool)).astype(np.int64)
        result = scale_lists(peaks, (1.0 - weights.sum(axis=1)) / own_mass_times_volume)
        for phase in range(most):
            factor = weights[:, phase] / pool.mass_times_volume[rows[:, phase]]
            other = gather_lists(pool.peaks, rows[:, phase], factor)
            result = merge_lists(result, other)
        return result


def mass_times_volume(crystals: CrystalBatch) -> Float64[np.ndarray, " batch"]:
    """Mass times volume of each conventional cell [Da Å³]."""
    tables = load_symmetry_tables()
    owner = np.repeat(np.arange(len(crystals)), np.diff(crystals.site_offset))
    position = (
        tables.position_offset[crystals.space_group[owner]] + crystals.wyckoff_index
    )
    atoms = tables.multiplicity[position] * crystals.occupancy
    mass = np.bincount(
        owner, atoms * _atomic_masses()[crystals.atomic_number], len(crystals)
    )
    product: Float64[np.ndarray, " batch"] = mass * crystals.volume
    return product


@cache
def _atomic_masses() -> Float64[np.ndarray, " elements"]:
    """Standard atomic weights by atomic number [Da], as gemmi carries them."""
    import gemmi

    masses = [gemmi.Element(z).weight for z in range(1, len(ELEMENT_SYMBOLS))]
    return np.array([0.0, *masses])
