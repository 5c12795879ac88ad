"""Atoms of a cell: rows of the atom table under the operations of a setting.

An image that comes back to within a little of its row is the row itself: the atom is on
a special position, and is put on it. How little depends on the decimals of the file.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from pxrdbench.crystal.cif_reader.rows import AtomRow
from pxrdbench.crystal.cif_reader.settings import Setting
from pxrdbench.crystal.conversion import Filling
from pxrdbench.crystal.lattice import lattice_matrix
from pxrdbench.errors import CrystalError

# Atoms of a cell; the search for symmetry takes minutes beyond.
MAX_ATOMS = 8000
# Rows closer than this share a position [Å].
_SAME_PLACE = 0.02
# Sums of rounded occupancies end a little above one.
_FULL = 1.05
# Bounds of the distance [Å] at which an image is its row.
_NEAREST, _FARTHEST = 0.01, 0.06


@dataclass(frozen=True, eq=False)
class BuiltCell:
    """All positions of a cell and what is on them.

    Attributes:
        matrix: a, b, c as rows [Å].
        fract: Of each position.
        fillings: Species on each: element, charge, occupancy, B.
        row: Which row of the atom table each position came from first.
        amounts: Atoms of each element in the cell.
        n_repeated: Rows that only repeat an image of another.
        n_images: Of each row of the atom table.
    """

    matrix: Float64[np.ndarray, "3 3"]
    fract: Float64[np.ndarray, "positions 3"]
    fillings: tuple[Filling, ...]
    row: Int64[np.ndarray, " positions"]
    amounts: dict[str, float]
    n_repeated: int
    n_images: tuple[int, ...] = ()

    @property
    def volume(self) -> float:
        """Of the cell [Å³]."""
        return abs(float(np.linalg.det(self.matrix)))


def build_cell(
    rows: tuple[AtomRow, ...], setting: Setting, cell: tuple[float, ...]
) -> BuiltCell:
    """Put all images of all rows into the cell.

    Raises:
        CrystalError: If a position is filled more than once, there are too many, or
            an image is too near to its row to be another atom.
    """
    matrix = lattice_matrix(np.array(cell, np.float64))
    points = np.empty((0, 3))
    held: list[dict[int, int]] = []
    n_images = []
    for number, atom in enumerate(rows):
        images = find_images(np.array(atom.fract), setting, matrix, atom)
        n_images.append(len(images))
        fresh = []
        for image in images:
            place = _find_place(points, image, matrix)
            if place < 0:
                fresh.append(image)
            else:
                held[place][number] = held[place].get(number, 0) + 1
        if fresh:
            points = np.concatenate([points, np.array(fresh)])
            held += [{number: 1} for _ in fresh]
        if len(points) > MAX_ATOMS:
            raise CrystalError(f"too many atoms: more than {MAX_ATOMS} in the cell")
    fillings, n_repeated = _fill_all(held, rows)
    amounts: Counter[str] = Counter()
    for filling in fillings:
        for element, _, occupancy, _ in filling:
            amounts[element] += occupancy  # type: ignore[assignment] # no whole numbers
    return BuiltCell(
        matrix=matrix,
        fract=points,
        fillings=tuple(fillings),
        row=np.array([min(at) for at in held], np.int64),
        amounts=dict(amounts),
        n_repeated=n_repeated,
        n_images=tuple(n_images),
    )


def find_images(
    point: Float64[np.ndarray, "3"],
    setting: Setting,
    matrix: Float64[np.ndarray, "3 3"],
    atom: AtomRow,
) -> Float64[np.ndarray, "images 3"]:
    """All images of a point, which is put on the special position that it is near to.

    Raises:
        CrystalError: If the operations that leave it in place are no divisor of all.
    """
    longest = float(np.linalg.norm(matrix, axis=1).max())
    rounding = longest * 10.0 ** -max(atom.decimals, 1)
    near = float(np.clip(2.0 * rounding, _NEAREST, _FARTHEST))
    rotation, shift = setting.rotation, setting.shift
    stays = np.zeros(len(setting), bool)
    for _ in range(4):
        images = rotation @ point + shift
        apart = images - point
        whole = np.rint(apart)
        distance = np.linalg.norm((apart - whole) @ matrix, axis=1)
        again = distance < near
        if np.array_equal(again, stays):
            break
        stays = again
        point = (images - whole)[stays].mean(axis=0)
    images = rotation @ point + shift
    images -= np.floor(images)
    count = len(setting) // max(int(stays.sum()), 1)
    kept = _distinct(images, matrix)
    if len(kept) != count:
        raise CrystalError(
            f"atoms too near to each other: images of {atom.label or atom.element} "
            f"({len(kept)} of {len(setting)} operations)"
        )
    return kept


def _distinct(images: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """One of each group of images within 0.005 Å of each other."""
    apart = images[:, None] - images[None]
    apart -= np.rint(apart)
    near = ((apart @ matrix) ** 2).sum(axis=2) < 0.005**2
    first = near.argmax(axis=1)
    kept: np.ndarray = images[np.unique(first)]
    return kept


def _find_place(points: np.ndarray, image: np.ndarray, matrix: np.ndarray) -> int:
    """Which of the points an image is on, -1 if on none."""
    if not len(points):
        return -1
    apart = points - image
    apart -= np.rint(apart)
    distance = ((apart @ matrix) ** 2).sum(axis=1)
    place = int(distance.argmin())
    return place if distance[place] < _SAME_PLACE**2 else -1


def _fill_all(
    held: list[dict[int, int]], rows: tuple[AtomRow, ...]
) -> tuple[list[Filling], int]:
    """What is on each position, each row as itself; how many rows repeat another."""
    cache: dict[tuple[tuple[int, int], ...], tuple[Filling, set[int]]] = {}
    fillings = []
    repeated: set[int] = set()
    for at in held:
        key = tuple(sorted(at.items()))
        if key not in cache:
            cache[key] = _fill(key, rows)
        fillings.append(cache[key][0])
        repeated |= cache[key][1]
    return fillings, len(repeated)


def _fill(
    at: tuple[tuple[int, int], ...], rows: tuple[AtomRow, ...]
) -> tuple[Filling, set[int]]:
    """Species on one position."""
    species: dict[tuple[str, int], list[int]] = {}
    for number, times in at:
        atom = rows[number]
        # More than one image of a row on one place: the atom is split around it.
        species.setdefault((atom.element, atom.charge), []).extend([number] * times)
    total = sum(rows[number].occupancy * times for number, times in at)
    repeated: set[int] = set()
    filled = {
        key: sum(rows[number].occupancy for number in numbers)
        for key, numbers in species.items()
    }
    if total > _FULL:
        # Some files list an atom and its images too: then it is there once.
        for key, numbers in species.items():
            filled[key] = max(rows[number].occupancy for number in numbers)
            repeated |= set(numbers[1:])
        total = sum(filled.values())
        if total > _FULL:
            labels = ", ".join(rows[number].label for number, _ in at[:4])
            raise CrystalError(
                f"occupancies above one: {total:g} on the position of {labels}"
            )
    return tuple(
        (element, charge, share / max(total, 1.0), rows[numbers[0]].b_iso)
        for ((element, charge), share), numbers in zip(
            filled.items(), species.values(), strict=True
        )
    ), repeated
