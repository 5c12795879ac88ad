"""The crystals on which rates and accuracies are quoted.

Rates are quoted on the frozen corpus of generated crystals; its volumes and numbers
of sites belong beside every rate.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from pxrdbench.crystal.generator.draw import draw_crystals
from pxrdbench.crystal.prior.prior import load_prior
from pxrdbench.crystal.rng import STREAM_CRYSTALLITE_SIZE, draw_uniforms
from pxrdbench.crystal.structure import Crystal, CrystalBatch, Site
from pxrdbench.crystal.symmetry.letters import WYCKOFF_LETTERS
from pxrdbench.crystal.symmetry.tables import load_symmetry_tables
from pxrdbench.errors import CrystalError

_ON_POSITION = 1e-9


@dataclass(frozen=True, eq=False)
class Corpus:
    """Crystals on which rates and accuracies are quoted.

    Attributes:
        name: What to print beside every rate.
        crystals: Asymmetric units.
        crystallite_size_nm: One for each crystal.
        cells: Lattice, elements and fractional coordinates of whole cells.
    """

    name: str
    crystals: CrystalBatch
    crystallite_size_nm: Float64[np.ndarray, " batch"]
    cells: tuple[tuple[list[float], list[str], Float64[np.ndarray, "atoms 3"]], ...]

    def volumes(self) -> Float64[np.ndarray, " batch"]:
        """Volumes of the conventional cells [Å³]."""
        edges = self.crystals.lattice[:, :3].prod(axis=1)
        cos = np.cos(np.radians(self.crystals.lattice[:, 3:]))
        square = 1.0 - (cos**2).sum(axis=1) + 2.0 * cos.prod(axis=1)
        volume: Float64[np.ndarray, " batch"] = edges * np.sqrt(square)
        return volume


def read_frozen_corpus(path: Path, n: int | None = None) -> Corpus:
    """Read the first n crystals of the corpus and find their Wyckoff positions.

    Args:
        path: Parquet file with asymmetric units in the standard setting.
        n: How many, from the start; all by default.
    """
    from pyarrow import parquet

    rows = parquet.read_table(path).slice(0, n).to_pylist()
    crystals = [_read_crystal(row) for row in rows]
    return Corpus(
        name=path.stem,
        crystals=CrystalBatch.from_crystals(crystals),
        crystallite_size_nm=np.array([row["crystallite_size_nm"] for row in rows]),
        cells=tuple(
            (row["cell"], row["elements"].split(), np.reshape(row["frac"], (-1, 3)))
            for row in rows
        ),
    )


def draw_corpus(n: int, seed: int = 0) -> Corpus:
    """Draw crystals from the embedded prior, where the frozen corpus is not at hand."""
    crystals = draw_crystals(load_prior("open-v0"), seed, 0, n)
    structures = [crystal.to_pymatgen() for crystal in crystals]
    uniforms = draw_uniforms(seed, 0, n, STREAM_CRYSTALLITE_SIZE, 1)[:, 0]
    return Corpus(
        name=f"open-v0, seed {seed}",
        crystals=crystals,
        crystallite_size_nm=20.0 + 80.0 * uniforms,
        cells=tuple(
            (
                list(structure.lattice.parameters),
                [site.specie.symbol for site in structure],
                structure.frac_coords,
            )
            for structure in structures
        ),
    )


def _read_crystal(row: dict[str, Any]) -> Crystal:
    group = row["space_group"]
    fract = np.reshape(row["asym_frac"], (-1, 3))
    sites = []
    for element, point, multiplicity in zip(
        row["asym_elements"].split(), fract, row["asym_multiplicity"], strict=True
    ):
        letter, image = find_wyckoff_position(group, point, multiplicity)
        sites.append(Site(element, letter, (image[0], image[1], image[2])))
    return Crystal(group, tuple(row["cell"]), tuple(sites))


def find_wyckoff_position(
    space_group: int, point: Float64[np.ndarray, " 3"], multiplicity: int
) -> tuple[str, Float64[np.ndarray, " 3"]]:
    """Find the position that a point lies on, and its image on the first triplet.

    Raises:
        CrystalError: If no position of this multiplicity holds the point.
    """
    tables = load_symmetry_tables()
    rotation, translation = tables.operators(space_group)
    images = rotation @ point + translation / 24.0
    images -= np.floor(images)
    shifts = np.array(list(itertools.product((0, -1, 1), repeat=3)))
    candidates = (images[:, None, :] + shifts).reshape(-1, 3)
    rows = tables.position_rows(space_group)
    for row in rows:
        if tables.multiplicity[row] != multiplicity:
            continue
        on_position = (
            candidates @ tables.first_rotation[row].T
            + tables.first_translation[row] / 24.0
        )
        distance = np.abs(on_position - candidates).max(axis=1)
        best = int(distance.argmin())
        if distance[best] < _ON_POSITION:
            return WYCKOFF_LETTERS[row - rows[0]], candidates[best]
    raise CrystalError(
        f"no position of multiplicity {multiplicity} in group {space_group} "
        f"holds the point {point.tolist()}"
    )
