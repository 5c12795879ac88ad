"""The symmetry tables against the databases of gemmi and spglib."""

import gemmi
import numpy as np
import pytest
import spglib
from pymatgen.core import Lattice, Structure

from pxrdbench.crystal.build.higher_symmetry import GENERIC_CELLS
from pxrdbench.crystal.lattice import lattice_matrix
from pxrdbench.crystal.structure import Crystal, CrystalBatch
from pxrdbench.crystal.symmetry.letters import WYCKOFF_LETTERS
from pxrdbench.crystal.symmetry.tables import load_symmetry_tables
from pxrdbench.diffraction.peaks import simulate_peaks

TABLES = load_symmetry_tables()
GROUPS = range(1, 231)
# Groups with two origins in the International Tables.
TWO_ORIGINS = (
    48, 50, 59, 68, 70, 85, 86, 88, 125, 126, 129, 130, 133, 134, 137, 138, 141, 142,
    201, 203, 222, 224, 227, 228,
)  # fmt: skip


def operators(group):
    rotations, translations = TABLES.operators(group)
    return rotations.astype(np.int64), translations / 24


def generic_cell(group):
    return np.array(GENERIC_CELLS[int(TABLES.lattice_type[group])])


@pytest.mark.parametrize("group", GROUPS)
def test_operators_are_gemmis(group):
    """One setting of gemmi's list has our operators: the one that we say we use."""
    rotations, translations = TABLES.operators(group)
    ours = {
        (tuple(r.ravel().tolist()), tuple((t % 24).tolist()))
        for r, t in zip(rotations, translations, strict=True)
    }
    same = []
    for setting in gemmi.spacegroup_table():
        if setting.number == group:
            theirs = {
                (
                    tuple(np.ravel(op.rot).astype(int).tolist() // np.int64(op.DEN)),
                    tuple(t % op.DEN for t in op.tran),
                )
                for op in setting.operations()
            }
            if theirs == ours:
                same.append(setting)
    (setting,) = same
    assert gemmi.Op.DEN == 24
    assert setting.ext == (
        "2"
        if group in TWO_ORIGINS
        else "H"
        if group in (146, 148, 155, 160, 161, 166, 167)
        else "\0"
    )
    assert setting.is_centrosymmetric() == TABLES.is_centrosymmetric[group]
    assert setting.centring_type() == "PACIFR"[int(TABLES.centring[group])]
    assert (
        setting.crystal_system_str()
        == (
            [
                "triclinic",
                "monoclinic",
                "orthorhombic",
                "tetragonal",
                "trigonal",
                "hexagonal",
                "cubic",
            ]
        )[int(TABLES.crystal_system[group])]
    )
    assert setting.point_group_hm() == TABLES.point_group[group]


def occupy_all(group):
    """Atoms of a crystal with another element on each position of a group."""
    rng = np.random.default_rng(group)
    points, kinds = [], []
    rows = list(TABLES.position_rows(group))
    # Polar groups need three general orbits before no inversion is left by chance.
    for kind, row in enumerate([*rows, rows[-1], rows[-1]]):
        point = TABLES.first_rotation[row] @ rng.random(3)
        point = point + TABLES.first_translation[row] / 24
        part = slice(TABLES.orbit_offset[row], TABLES.orbit_offset[row + 1])
        images = TABLES.orbit_rotation[part] @ point
        images = images + TABLES.orbit_translation[part] / 24
        points.append(images % 1.0)
        kinds += [kind + 1] * len(images)
    return np.concatenate(points), np.array(kinds), rows


def find_row(group, point):
    """Position of a point, found the long way: is an image on a first triplet?"""
    rotations, translations = operators(group)
    images = rotations @ point + translations
    for row in TABLES.position_rows(group):
        first = TABLES.first_rotation[row].astype(float)
        on_it = images @ first.T + TABLES.first_translation[row] / 24
        residual = on_it - images
        if (np.abs(residual - np.rint(residual)) < 1e-5).all(axis=1).any():
            return row
    raise AssertionError("the general position takes all points")


@pytest.mark.parametrize("group", GROUPS)
def test_wyckoff_positions_are_spglibs(group):
    """spglib assigns each occupied position its letter and site symmetry."""
    points, kinds, rows = occupy_all(group)
    matrix = lattice_matrix(generic_cell(group))
    hall = int(TABLES.hall_number[group])
    dataset = spglib.get_symmetry_dataset(
        (matrix, points, kinds), symprec=1e-4, hall_number=hall
    )
    assert dataset.number == group
    for kind, row in enumerate(rows):
        atoms = np.flatnonzero(kinds == kind + 1)
        assert len(atoms) == TABLES.multiplicity[row]
        assert len({dataset.wyckoffs[atom] for atom in atoms}) == 1
        # spglib may choose another, equivalent origin, where letters are exchanged.
        moved = dataset.transformation_matrix @ points[atoms[0]] + dataset.origin_shift
        there = find_row(group, moved)
        letter = WYCKOFF_LETTERS[there - TABLES.position_offset[group]]
        assert dataset.wyckoffs[atoms[0]] == letter
        assert TABLES.multiplicity[there] == TABLES.multiplicity[row]
        site_symmetry = dataset.site_symmetry_symbols[atoms[0]]
        assert site_symmetry == TABLES.site_symmetry[there]


@pytest.mark.parametrize("group", TWO_ORIGINS)
def test_groups_with_two_origins(group):
    """A crystal written with the first origin comes out with the second."""
    assert (-np.eye(3, dtype=int)).tolist() in TABLES.operators(group)[0].tolist()
    first = next(
        hall
        for hall in range(1, 531)
        if spglib.get_spacegroup_type(hall).number == group
        and spglib.get_spacegroup_type(hall).choice.startswith("1")
    )
    database = spglib.get_symmetry_from_database(first)
    rng = np.random.default_rng(group)
    points, species = [], []
    # The origin itself, which is no centre of inversion there, and two others.
    for point, element in (
        (np.zeros(3), "Cu"), (rng.random(3), "O"), (rng.random(3), "S"),
    ):  # fmt: skip
        images = database["rotations"] @ point + database["translations"]
        distinct = np.unique(np.round(images % 1.0, 9) % 1.0, axis=0)
        points.append(distinct)
        species += [element] * len(distinct)
    cell = 4.0 * np.array(generic_cell(group))
    cell[3:] = generic_cell(group)[3:]
    structure = Structure(
        Lattice.from_parameters(*cell), species, np.concatenate(points)
    )
    numbers = [site.specie.Z for site in structure]
    atoms = (structure.lattice.matrix, structure.frac_coords, numbers)
    # spglib itself would keep the first origin.
    assert spglib.get_symmetry_dataset(atoms, symprec=1e-4).hall_number == first
    crystal = Crystal.from_pymatgen(structure, symprec=1e-4)
    assert crystal.space_group == group
    assert crystal.lattice == pytest.approx(cell)
    (copper,) = (site for site in crystal.sites if site.element == "Cu")
    rotations, translations = operators(group)
    inversion = next(
        t
        for r, t in zip(rotations, translations, strict=True)
        if (r == -np.eye(3)).all()
    )
    assert not (inversion % 1.0).any()
    assert copper.fract != (0.0, 0.0, 0.0)
    expanded = crystal.to_pymatgen()
    assert expanded.composition == structure.composition
    # One and the same crystal scatters the same, whatever its origin.
    other = Crystal.from_pymatgen(expanded, symprec=1e-4)
    direct = peaks_of_all_atoms(structure)
    for found in (crystal, other):
        assert found.space_group == group
        peaks = simulate_peaks(CrystalBatch.from_crystals([found]), precision="double")
        strong = peaks.intensity > 1e-4 * peaks.intensity.max()
        np.testing.assert_allclose(
            peaks.intensity[strong] / peaks.intensity.max(),
            [nearest(direct, angle) for angle in peaks.two_theta[strong]],
            atol=1e-6,
        )


def peaks_of_all_atoms(structure):
    """Peaks of the same atoms in P1: no symmetry can go wrong there."""
    from pxrdbench.crystal.structure import Site

    sites = tuple(
        Site(site.specie.symbol, "a", tuple(site.frac_coords)) for site in structure
    )
    whole = Crystal(1, tuple(structure.lattice.parameters), sites)
    peaks = simulate_peaks(CrystalBatch.from_crystals([whole]), precision="double")
    return peaks.two_theta, peaks.intensity / peaks.intensity.max()


def nearest(peaks, angle):
    position = np.abs(peaks[0] - angle).argmin()
    assert abs(peaks[0][position] - angle) < 1e-6
    return peaks[1][position]
