"""A crystal in each of the 530 settings, written in many ways: the same, or refused.

python tests/crystal/cif_reader/test_settings.py [ROUNDS]    all settings, all ways
"""

import sys
from collections import Counter

import gemmi
import numpy as np
import pytest
import spglib

from pxrdbench.crystal.cif_reader.read import read_block, read_blocks
from pxrdbench.crystal.conversion import crystal_from_atoms
from pxrdbench.crystal.lattice import lattice_matrix
from pxrdbench.errors import CrystalError

# What the writer states: operators, symbol (full, without its suffix), Hall, number,
# formula and Z; and whether all is given that a careful program writes.
WAYS = {
    "all": "ops full hall number formula",
    "ops": "ops",
    "ops and bare symbol": "ops bare number",
    "ops, symbol, rounded": "ops full number rounded",
    "full symbol": "full",
    "full symbol and formula": "full formula",
    "bare symbol": "bare",
    "bare symbol and formula": "bare formula",
    "hall": "hall",
    "number": "number",
    "number and formula": "number formula",
    "no centring": "uncentred full formula",
    "split": "full split formula",
}
COMPLETE = ("all", "ops and bare symbol", "ops, symbol, rounded")


def symbols(hall):
    """Full and bare Hermann-Mauguin symbol of a setting, and its Hall symbol."""
    data = spglib.get_symmetry_from_database(hall)
    operations = {
        (tuple(r.ravel().tolist()), tuple(np.rint(t * 24).astype(int) % 24))
        for r, t in zip(data["rotations"], data["translations"], strict=True)
    }
    kind = spglib.get_spacegroup_type(hall)
    for group in gemmi.spacegroup_table():
        if group.number == kind.number:
            theirs = {
                (tuple(np.array(op.rot).ravel() // 24), tuple(np.array(op.tran) % 24))
                for op in group.operations()
            }
            if theirs == operations:
                return group.xhm(), group.hm, group.hall
    full = kind.international_full.replace("_", "")
    choice = kind.choice if kind.choice in ("1", "2", "H", "R") else ""
    return f"{full}:{choice}" if choice else full, full, kind.hall_symbol


def make_cell(rng, rotations):
    """A cell whose metric the rotations leave as it is."""
    lengths = rng.uniform(4.0, 9.0, 3)
    cosines = np.cos(np.radians(rng.uniform(65.0, 115.0, 3)))
    metric = np.outer(lengths, lengths)
    for (i, j), c in zip(((1, 2), (0, 2), (0, 1)), cosines, strict=True):
        metric[i, j] = metric[j, i] = metric[i, j] * c
    metric = np.mean([r.T @ metric @ r for r in rotations.astype(float)], axis=0)
    a, b, c = np.sqrt(np.diag(metric))
    angles = [metric[1, 2] / b / c, metric[0, 2] / a / c, metric[0, 1] / a / b]
    return np.array([a, b, c, *np.degrees(np.arccos(angles))])


def make_atoms(rng, rotations, shifts, cell):
    """Rows (element, point) and all positions; None if atoms come too near."""
    rows, points, kinds = [], [], []
    matrix = lattice_matrix(cell)
    for element in rng.permutation(["Fe", "O", "Si", "Ca"])[: rng.integers(2, 5)]:
        point = rng.uniform(0.0, 1.0, 3)
        if rng.random() < 0.5:
            point = _onto_special(rng, point, rotations, shifts)
        images = rotations @ point + shifts
        apart = images - point
        apart -= np.rint(apart)
        near = np.linalg.norm(apart @ matrix, axis=1)
        if ((near > 1e-6) & (near < 1.2)).any():
            return None
        distinct = []
        for image in images:
            if all(np.abs((image - o) - np.rint(image - o)).max() > 1e-6
                   for o in distinct):  # fmt: skip
                distinct.append(image)
        for other in points:
            apart = np.array(distinct) - other
            apart -= np.rint(apart)
            if np.linalg.norm(apart @ matrix, axis=1).min() < 1.2:
                return None
        rows.append((str(element), point % 1.0))
        points += distinct
        kinds += [str(element)] * len(distinct)
    return rows, np.array(points), kinds


def _onto_special(rng, point, rotations, shifts):
    """The mean of a point and its images under an operation with fixed points."""
    for _ in range(8):
        place = rng.integers(len(rotations))
        rotation, shift = rotations[place], shifts[place]
        shift = shift + rng.integers(-1, 2, 3)
        images, image = [], point
        for _ in range(6):
            images.append(image)
            image = rotation @ image + shift
            if np.allclose(image, point, atol=1e-9):
                return np.mean(images, axis=0)
    return point


def make_case(rng, hall):
    """A crystal in a setting: cell, rows, all atoms, operations."""
    data = spglib.get_symmetry_from_database(hall)
    rotations, shifts = data["rotations"], data["translations"]
    for trial in range(60):
        cell = make_cell(rng, rotations)
        # Room for the atoms of a large group.
        wanted = 14.0 * (2 + trial / 6) * len(rotations)
        volume = abs(np.linalg.det(lattice_matrix(cell)))
        cell[:3] *= max((wanted / volume) ** (1 / 3), 1.0)
        made = make_atoms(rng, rotations, shifts, cell)
        if made is not None:
            return cell, *made, rotations, shifts
    return None


def write(rng, way, hall, case):
    """The text of a CIF."""
    cell, rows, _, kinds, rotations, shifts = case
    words = WAYS[way].split()
    full, bare, hall_symbol = symbols(hall)
    number = spglib.get_spacegroup_type(hall).number
    lines = [f"_cell_length_{n} {v:.6f}" for n, v in zip("abc", cell[:3], strict=True)]
    lines += [
        f"_cell_angle_{n} {v:.6f}"
        for n, v in zip(("alpha", "beta", "gamma"), cell[3:], strict=True)
    ]
    if "full" in words or "bare" in words:
        tag = rng.choice(
            ["_symmetry_space_group_name_H-M", "_space_group_name_H-M_alt"]
        )
        lines.append(f"{tag} '{full if 'full' in words else bare}'")
    if "hall" in words:
        quote = '"' if "'" in hall_symbol else "'"
        lines.append(f"_space_group_name_Hall {quote}{hall_symbol}{quote}"
                     if '"' not in hall_symbol else
                     f"_space_group_name_Hall\n;{hall_symbol}\n;")  # fmt: skip
    if "number" in words:
        tag = rng.choice(["_symmetry_Int_Tables_number", "_space_group_IT_number"])
        lines.append(f"{tag} {number}")
    if "formula" in words:
        counts = Counter(kinds)
        z = int(np.gcd.reduce(list(counts.values())))
        text = " ".join(f"{e}{n // z}" for e, n in sorted(counts.items()))
        lines += [f"_chemical_formula_sum '{text}'", f"_cell_formula_units_Z {z}"]
    if "ops" in words or "uncentred" in words:
        pairs = list(zip(rotations, shifts, strict=True))
        if "uncentred" in words:
            seen = {}
            for r, t in pairs:
                seen.setdefault(tuple(r.ravel().tolist()), (r, t))
            pairs = list(seen.values())
        pairs = [pairs[i] for i in rng.permutation(len(pairs))]
        lines += ["loop_", "_symmetry_equiv_pos_as_xyz"]
        lines += [f"'{triplet(r, t, 'rounded' in words)}'" for r, t in pairs]
    head = []
    if "split" in words:
        named = [x for x in lines if "H-M" in x]
        head = ["data_general", *named]
        lines = [x for x in lines if x not in named]
    lines += ["loop_", "_atom_site_label", "_atom_site_type_symbol",
              *(f"_atom_site_fract_{x}" for x in "xyz")]  # fmt: skip
    lines += [
        f"{e}{i} {e} {p[0]:.5f} {p[1]:.5f} {p[2]:.5f}"
        for i, (e, p) in enumerate(rows[j] for j in rng.permutation(len(rows)))
    ]
    return "\n".join([*head, "data_x", *lines, ""])


def triplet(rotation, shift, is_rounded):
    parts = []
    for row, move in zip(rotation, shift, strict=True):
        text = "".join(
            f"{'+' if v > 0 else '-'}{x}" for v, x in zip(row, "xyz", strict=True) if v
        )
        part = round(float(move) * 24) % 24
        if part:
            text += f"+{part / 24:.3f}" if is_rounded else f"+{part}/24"
        parts.append(text.lstrip("+"))
    return ",".join(parts)


def fingerprint(crystal):
    """Distances of each kind of pair, which tell structures apart; atoms a volume."""
    structure = crystal.to_pymatgen()
    found = {}
    count = Counter(site.specie.symbol for site in structure)
    centres, others, _, distances = structure.get_neighbor_list(4.0)
    for i, j, d in zip(centres, others, distances, strict=True):
        pair = (structure[int(i)].specie.symbol, structure[int(j)].specie.symbol)
        found.setdefault(pair, []).append(d)
    share = {e: n / structure.volume for e, n in count.items()}
    # Weights that end at 4 Å without a step: there a pair may come or go by rounding.
    return share, {
        pair: np.array([sum((4.0 - np.array(d)) ** n) for n in (2, 3)])
        / structure.volume
        for pair, d in found.items()
    }


def is_same(one, two):
    a, b = fingerprint(one), fingerprint(two)
    if a[0].keys() != b[0].keys():
        return False
    if any(abs(a[0][e] / b[0][e] - 1.0) > 2e-3 for e in a[0]):
        return False
    nothing = np.zeros(2)
    return all(
        np.allclose(
            a[1].get(pair, nothing), b[1].get(pair, nothing), rtol=5e-3, atol=1e-4
        )
        for pair in a[1].keys() | b[1].keys()
    )


def judge(rng, hall, way):
    """ "same", "refused" (with its reason) or "other"."""
    case = make_case(rng, hall)
    if case is None:
        return "no case", ""
    cell, _, points, kinds, _, _ = case
    try:
        truth = crystal_from_atoms(
            lattice_matrix(cell), points, [((e, 0, 1.0, 0.0),) for e in kinds], 0.01
        )
    except CrystalError:
        return "no case", ""
    text = write(rng, way, hall, case)
    read = (
        read_blocks(text)[0][1] if text.startswith("data_general") else read_block(text)
    )
    if read.crystal is None:
        return "refused", read.failure
    return ("same" if is_same(truth, read.crystal) else "other"), text


def run(halls, ways, seed):
    results = {way: Counter() for way in ways}
    wrong, reasons = [], Counter()
    for hall in halls:
        for number, way in enumerate(ways):
            rng = np.random.default_rng([seed, hall, number])
            verdict, detail = judge(rng, hall, way)
            results[way][verdict] += 1
            if verdict == "other":
                wrong.append((hall, way, detail))
            if verdict == "refused":
                reasons[way, detail.split(":")[0]] += 1
    return results, wrong, reasons


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_crystal_in_any_setting_is_itself_or_refused():
    """Every 29th setting with all ways; the long form is a program."""
    results, wrong, reasons = run(range(2, 531, 29), WAYS, seed=1)
    assert [(hall, way) for hall, way, _ in wrong] == []
    for way in COMPLETE:
        counts = results[way]
        assert counts["refused"] <= 0.02 * counts["same"], (way, counts, reasons)


if __name__ == "__main__":
    totals = {way: Counter() for way in WAYS}
    for seed in range(int(sys.argv[1]) if len(sys.argv) > 1 else 1):
        results, wrong, reasons = run(range(1, 531), WAYS, seed)
        for way in WAYS:
            totals[way] += results[way]
        for hall, way, text in wrong:
            kind = spglib.get_spacegroup_type(hall)
            print("OTHER", hall, kind.international, kind.choice, way)
            if "-v" in sys.argv:
                print(text)
        print(dict(reasons))
    for way, counts in totals.items():
        print(f"{way:28s}", dict(counts))
