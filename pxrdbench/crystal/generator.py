"""Draw synthetic crystals from a prior: sample i is a function of (seed, i).

The order of a draw is that of Schopmans, Reiser & Friederich (2023), Digital
Discovery 2, 1414, section 2.1: group, number of elements, elements with their
repetitions and Wyckoff positions, volume given the volume of the atoms, shape of
the cell, coordinates. The volume comes from the same conditional density, drawn
exactly; the cell has that volume to rounding; a crystal that would be more
symmetric than its group is drawn again within the group.
"""

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Int64

from pxrdbench.crystal.generator_kernel import N_REASONS, draw_block
from pxrdbench.crystal.higher_symmetry import kernel_symmetry, load_higher_symmetry
from pxrdbench.crystal.prior import Prior
from pxrdbench.crystal.rng import check_seed
from pxrdbench.crystal.structure import CrystalBatch
from pxrdbench.errors import PriorError

PRESETS = ("default", "paper")


@dataclass(frozen=True, eq=False)
class Rejections:
    """Draws that were thrown away, by space group (arrays indexed by its number).

    Attributes:
        accepted: Crystals returned.
        too_many_sites: The asymmetric unit grew above the prior's limit.
        atoms_too_large: The atoms fill more than any crystal of the group.
        volume_too_large: The cell is larger than the prior's limit.
        edge_too_short: A cell edge came out below 2 Å, which no crystal has.
        higher_symmetry: The crystal would have more symmetry than its group.
    """

    accepted: Int64[np.ndarray, " 231"]
    too_many_sites: Int64[np.ndarray, " 231"]
    atoms_too_large: Int64[np.ndarray, " 231"]
    volume_too_large: Int64[np.ndarray, " 231"]
    edge_too_short: Int64[np.ndarray, " 231"]
    higher_symmetry: Int64[np.ndarray, " 231"]

    def __add__(self, other: "Rejections") -> "Rejections":
        return Rejections(
            *(getattr(self, f.name) + getattr(other, f.name) for f in fields(self))
        )


def draw_crystals(
    prior: Prior, seed: int, start: int, count: int, *, preset: str = "default"
) -> CrystalBatch:
    """Draw the samples start to start + count - 1 of a seed.

    Args:
        prior: Distributions to draw from.
        seed: Key, 0 to 2^64 - 1.
        start: Index of the first sample.
        count: Number of samples.
        preset: "default", or "paper", which follows the reference implementation
            in two points: the last element of a crystal holds exactly one position,
            and cells miss the volume that was drawn by some percent.

    Returns:
        Crystals whose draws depend on the prior, seed, preset and index only, not on
        where the batch begins or ends.

    Raises:
        PriorError: If the preset is unknown, or a group yields no crystal.
    """
    return draw_crystals_with_report(prior, seed, start, count, preset=preset)[0]


def draw_crystals_with_report(
    prior: Prior, seed: int, start: int, count: int, *, preset: str = "default"
) -> tuple[CrystalBatch, Rejections]:
    """Draw crystals, and count what was thrown away (see ``draw_crystals``)."""
    check_seed(seed, start, count)
    if preset not in PRESETS:
        raise PriorError(f"unknown preset {preset!r}; known are {', '.join(PRESETS)}")
    lattice = np.empty((count, 6))
    space_group = np.empty(count, np.int16)
    site_offset = np.zeros(count + 1, np.int64)
    report = np.zeros((N_REASONS, 231), np.int64)
    # About nine sites a crystal; a block that is too small is followed by another.
    blocks: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    done = 0
    while done < count:
        capacity = 12 * (count - done) + prior.max_sites
        fract = np.empty((capacity, 3))
        number = np.empty(capacity, np.int16)
        wyckoff = np.empty(capacity, np.int16)
        first = done
        done = draw_block(
            prior.tables,
            kernel_symmetry(),
            load_higher_symmetry(),
            (np.uint64(seed), np.uint64(start)),
            (first, prior.max_sites, preset == "paper"),
            prior.max_volume,
            lattice,
            space_group,
            site_offset,
            (fract, number, wyckoff),
            report,
        )
        if done < 0:
            raise PriorError(
                f"prior {prior.name!r}: group {space_group[-1 - done]} yields no "
                f"crystal of at most {prior.max_volume:g} Å³ and {prior.max_sites} "
                "sites whose symmetry is its own"
            )
        used = int(site_offset[done] - site_offset[first])
        blocks.append((fract[:used], number[:used], wyckoff[:used]))
    n_sites = int(site_offset[-1])
    if not blocks:
        nothing = np.empty((0, 3)), np.empty(0, np.int16), np.empty(0, np.int16)
        blocks.append(nothing)
    fract, number, wyckoff = (
        np.concatenate(parts) for parts in zip(*blocks, strict=True)
    )
    crystals = CrystalBatch(
        lattice=lattice,
        space_group=space_group,
        site_offset=site_offset,
        fract=fract,
        atomic_number=number,
        wyckoff_index=wyckoff,
        occupancy=np.ones(n_sites),
        b_iso=np.zeros(n_sites),
        charge=np.zeros(n_sites, np.int8),
    )
    return crystals, Rejections(*report)
