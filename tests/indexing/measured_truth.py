"""Lines of measured scans against the cell that their files state."""

import csv
import os
from pathlib import Path

import gemmi
import numpy as np
from numpy.typing import NDArray

WAVELENGTH = 1.540593
Rows = NDArray[np.float64]


def load_named(data: Path | None = None) -> list[tuple[dict[str, str], Rows]]:
    """Label and (points, 2) array of each scan of rruff_named."""
    folder = (data or Path(os.environ["PXRDBENCH_TEST_DATA"])) / "rruff"
    with (folder / "rruff_named_labels.csv").open() as file:
        labels = list(csv.DictReader(file))
    with np.load(folder / "rruff_named_patterns.npz") as arrays:
        return [(label, arrays[label["id"]].astype(np.float64)) for label in labels]


def stated_cell(label: dict[str, str]) -> tuple[float, ...]:
    return tuple(float(label[k]) for k in ("a", "b", "c", "alpha", "beta", "gamma"))


def space_group_of(label: dict[str, str]) -> gemmi.SpaceGroup:
    stated = label["space_group_stated"]
    found = None if stated.isdigit() else gemmi.find_spacegroup_by_name(stated)
    return found or gemmi.find_spacegroup_by_number(int(label["space_group"]))


def allowed_hkl(label: dict[str, str], two_theta: float) -> NDArray[np.int32]:
    """Reflections that the group allows up to an angle."""
    cell, group = gemmi.UnitCell(*stated_cell(label)), space_group_of(label)
    least_d = WAVELENGTH / 2 / np.sin(np.radians(two_theta / 2))
    hkl = gemmi.make_miller_array(cell, group, least_d, 0.0, True)
    absent = group.operations().systematic_absences(hkl)
    return hkl[~absent]


def _design(hkl: NDArray[np.int32], system: str) -> Rows:
    h, k, l = hkl.T.astype(float)
    one = {
        "cubic": [h * h + k * k + l * l],
        "tetragonal": [h * h + k * k, l * l],
        "hexagonal": [h * h + h * k + k * k, l * l],
        "trigonal": [h * h + h * k + k * k, l * l],
        "orthorhombic": [h * h, k * k, l * l],
        "monoclinic": [h * h, k * k, l * l, h * l],
        "triclinic": [h * h, k * k, l * l, k * l, h * l, h * k],
    }
    return np.column_stack(one[system])


def _angle(inverse_d2: Rows) -> Rows:
    sine = WAVELENGTH / 2 * np.sqrt(np.maximum(inverse_d2, 1e-9))
    angle: Rows = 2 * np.degrees(np.arcsin(np.clip(sine, 0, 1)))
    return angle


def fit_cell(
    label: dict[str, str], lines: Rows, hkl: NDArray[np.int32]
) -> tuple[Rows, float]:
    """Allowed positions [degrees] after a fit of zero shift and cell; the zero shift.

    A grid over zero shift and scale, then least squares under the symmetry of the
    system; lines beyond 0.12 degrees from any allowed reflection are left out.
    """
    reciprocal = gemmi.UnitCell(*stated_cell(label))
    q = np.asarray(reciprocal.calculate_1_d2_array(hkl))
    best, at = np.inf, (0.0, 1.0)
    for scale in np.arange(0.990, 1.0101, 0.001):
        t = np.sort(_angle(q * scale))
        for zero in np.arange(-0.3, 0.301, 0.02):
            d = np.abs(nearest(t, lines - zero) - (lines - zero))
            cost = np.minimum(d, 0.1).sum() + 0.02 * abs(zero) + abs(scale - 1.0)
            if cost < best:
                best, at = cost, (zero, scale)
    zero, q = at[0], q * at[1]
    gemmi_system = label["crystal_system"]
    design = _design(hkl, gemmi_system)
    if gemmi_system == "trigonal" and abs(float(label["gamma"]) - 120.0) > 1.0:
        return np.sort(_angle(q)), zero
    for limit in (0.12, 0.08, 0.06):
        t = _angle(q)
        order = np.argsort(t)
        place = np.clip(np.searchsorted(t[order], lines - zero), 1, len(t) - 1)
        left = order[place - 1]
        right = order[place]
        is_left = np.abs(t[left] - lines + zero) < np.abs(t[right] - lines + zero)
        mine = np.where(is_left, left, right)
        used = np.abs(t[mine] - lines + zero) < limit
        if used.sum() < design.shape[1] + 2:
            break
        # q = design · metric + zero · dq/d2θ
        x, m = lines[used], design[mine[used]]
        seen = (2 * np.sin(np.radians(x / 2)) / WAVELENGTH) ** 2
        slope = 2 * np.sin(np.radians(x)) / WAVELENGTH**2 * np.radians(1.0)
        a = np.column_stack([m, slope]) / slope[:, None]
        solution, *_ = np.linalg.lstsq(a, seen / slope, rcond=None)
        q, zero = design @ solution[:-1], float(solution[-1])
    return np.sort(_angle(q)), zero


def nearest(sorted_values: Rows, wanted: Rows) -> Rows:
    """Nearest of sorted values to each wanted one."""
    at = np.clip(np.searchsorted(sorted_values, wanted), 1, len(sorted_values) - 1)
    left, right = sorted_values[at - 1], sorted_values[at]
    result: Rows = np.where(wanted - left < right - wanted, left, right)
    return result
