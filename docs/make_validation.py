"""Write docs/validation.md: ``python docs/make_validation.py``.

Needs ``pip install cctbx-base`` for cctbx's rows. With PXRDBENCH_TEST_DATA the frozen
corpus of generated crystals is compared too; docs/measure_real_crystals.py makes the
numbers of real crystals.
"""

# ruff: noqa: E402 - the tests are no package; their helpers are found by path

import importlib.util
import json
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

DOCS = Path(__file__).parent
TESTS = DOCS.parent / "tests"
sys.path[:0] = [str(DOCS), str(TESTS / "helpers" / "physics")]

from measured_minerals import measured_rows
from other_programs import (
    COMPOUNDS,
    assign,
    cctbx_lines,
    cromer_liberman,
    gemmi_lines,
    rp,
    sasaki,
)
from peak_clusters import compare_clusters
from random_crystals import assign_to_peaks, draw_crystal_on_all_positions
from references import (
    add_gaussians,
    make_gemmi_form_factor,
    paper_form_factor,
    simulate_reflections,
)

from pxrdbench.crystal.structure import Crystal, CrystalBatch, Site
from pxrdbench.diffraction.measurement.measurement import OWN_ROUGHNESS, TRACE_ROUGHNESS
from pxrdbench.diffraction.pattern import PeakBatch, TwoThetaGrid
from pxrdbench.diffraction.peaks import simulate_peaks
from pxrdbench.diffraction.profile import Broadening, render, render_roughly
from pxrdbench.speed.corpus import read_frozen_corpus

WAVELENGTH, TWO_THETA = 1.5406, (5.0, 90.0)
# Kα1 of copper on which NIST's certificates rest (Hölzer et al. 1997).
NIST_WAVELENGTH = 1.5405929
# Reproduces the silicon angles that are quoted from International Tables C, 5.2.10;
# chosen because it fits (the certificate's value leaves 0.002 degrees), not looked up.
ITC_WAVELENGTH = 1.5405981


def cubic(a: float) -> tuple[float, ...]:
    """A cubic cell."""
    return (a, a, a, 90.0, 90.0, 90.0)


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def closed_forms() -> str:
    """Things that a sheet of paper gives."""
    rows = []
    copper = Crystal(225, cubic(3.615), (Site("Cu", "a", (0, 0, 0)),))
    peaks = simulate_peaks(
        CrystalBatch.from_crystals([copper]), precision="double", hkl=True
    )
    hkl = np.asarray(peaks.hkl)
    theta = np.arcsin(WAVELENGTH * np.sqrt((hkl.astype(float) ** 2).sum(1)) / 2 / 3.615)
    rows.append(
        [
            "Bragg's law, copper",
            f"{np.abs(np.degrees(2 * theta) - peaks.two_theta).max():.0e} degrees",
        ]
    )
    f = make_gemmi_form_factor(WAVELENGTH)("Cu", 0, (np.sin(theta) / WAVELENGTH) ** 2)
    multiplicity = np.array([8, 6, 12, 24, 8])[: len(hkl)]
    lorentz = (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))
    exact = 16 * np.abs(f) ** 2 * multiplicity * lorentz
    rows.append(
        [
            "m Lp \\|4f\\|² of copper's lines 111, 200, 220, 311",
            f"{np.abs(peaks.intensity / exact - 1).max():.0e} relative",
        ]
    )
    silicon = Crystal(227, cubic(5.4312), (Site("Si", "a", (0.125, 0.125, 0.125)),))
    peaks = simulate_peaks(CrystalBatch.from_crystals([silicon]), hkl=True)
    seen = {tuple(h) for h in np.abs(np.asarray(peaks.hkl)).tolist()}
    forbidden = [h for h in seen if sum(h) % 4 == 2 or len({i % 2 for i in h}) > 1]
    rows.append(
        [
            "Diamond: h + k + l = 4n + 2 and mixed indices absent",
            "none listed" if not forbidden else f"listed: {forbidden}",
        ]
    )
    return table(["what", "deviation"], rows)


def naive_sums() -> str:
    """All 230 groups against full sums."""
    rng = np.random.default_rng(2)
    crystals = [draw_crystal_on_all_positions(group, rng) for group in range(1, 231)]
    batch = CrystalBatch.from_crystals(crystals)
    rows = []
    for scattering, form_factor in (
        ("paper", paper_form_factor),
        ("default", make_gemmi_form_factor(WAVELENGTH)),
    ):
        double = simulate_peaks(batch, WAVELENGTH, (8, 55), scattering, "double")
        single = simulate_peaks(batch, WAVELENGTH, (8, 55), scattering, "single")
        worst, worst_single, count = 0.0, 0.0, 0
        for index, crystal in enumerate(crystals):
            lines = simulate_reflections(crystal, form_factor, WAVELENGTH, (8, 55))
            ours, total, _ = assign_to_peaks(double, index, *lines)
            worst = max(worst, np.abs(ours / total - 1).max())
            count += len(ours)
            ours, total, _ = assign_to_peaks(single, index, *lines)
            worst_single = max(worst_single, np.abs(ours - total).max() / total.max())
        rows.append(
            [f"`{scattering}`", str(count), f"{worst:.1e}", f"{worst_single:.1e}"]
        )
    return table(
        ["mode", "lines", "double: largest relative", "single: of the strongest line"],
        rows,
    )


def pymatgen_rows() -> tuple[str, str]:
    """Every line of pymatgen's calculator, and where its bins parted reflections."""
    from pymatgen.analysis.diffraction.xrd import XRDCalculator
    from pymatgen.core import Lattice, Structure

    calculator = XRDCalculator(wavelength=WAVELENGTH)
    sets = [("the 12 compounds below", list(COMPOUNDS.values()), None)]
    folder = os.environ.get("PXRDBENCH_TEST_DATA")
    if folder:
        corpus = read_frozen_corpus(Path(folder) / "corpus" / "frozen_400.parquet")
        sets.append(("`frozen_400`", list(corpus.crystals), corpus.cells))
    rows, places = [], []
    for name, crystals, cells in sets:
        batch = CrystalBatch.from_crystals(crystals)
        peaks = simulate_peaks(batch, WAVELENGTH, TWO_THETA, "paper", "double")
        worst, farthest, splits, count = 0.0, 0.0, 0, 0
        for index, crystal in enumerate(crystals):
            structure = crystal.to_pymatgen()
            if cells is not None:
                lattice, elements, fract = cells[index]
                structure = Structure(
                    Lattice.from_parameters(*lattice), elements, fract
                )
            pattern = calculator.get_pattern(
                structure, scaled=False, two_theta_range=TWO_THETA
            )
            own = slice(peaks.peak_offset[index], peaks.peak_offset[index + 1])
            deviation, distance, parted = compare_clusters(
                crystal,
                peaks.two_theta[own],
                peaks.intensity[own],
                np.asarray(pattern.x),
                np.asarray(pattern.y),
            )
            worst, farthest = max(worst, deviation), max(farthest, distance)
            places += [[name, str(index), f"{angle:.5f}"] for angle in parted]
            splits, count = splits + len(parted), count + len(pattern.x)
        rows.append(
            [name, str(len(crystals)), str(count), f"{worst:.1e}", f"{farthest:.0e}",
             str(splits)]
        )  # fmt: skip
    real = DOCS / "real_crystals.json"
    if real.is_file():
        r = json.loads(real.read_text("utf-8"))
        rows.append(
            [
                f"Materials Project, symprec {r['symprec']:g}",
                str(r["crystals"]),
                str(r["peaks"]),
                f"{r['largest_relative_deviation']:.1e}",
                f"{r['largest_distance_degrees']:.0e}",
                str(len(r["bin_edge_splits"])),
            ]
        )
        places += [
            ["Materials Project", key, f"{angle:.5f}"]
            for key, angle in r["bin_edge_splits"]
        ]
    header = [
        "crystals", "number", "lines", "largest relative", "largest [degrees]",
        "parted by bins",
    ]  # fmt: skip
    return table(header, rows), table(["crystals", "which", "2θ [degrees]"], places)


def programs() -> tuple[str, str]:
    """Gemmi and cctbx on twelve compounds; and f', f'' of the tables."""
    names, crystals = list(COMPOUNDS), list(COMPOUNDS.values())
    batch = CrystalBatch.from_crystals(crystals)
    default = simulate_peaks(batch, WAVELENGTH, TWO_THETA, precision="double")
    paper = simulate_peaks(batch, WAVELENGTH, TWO_THETA, "paper", "double")
    has_cctbx = importlib.util.find_spec("cctbx") is not None
    same = own = None
    if has_cctbx:
        same = cctbx_lines(crystals, WAVELENGTH, TWO_THETA, own_tables=False)
        own = cctbx_lines(crystals, WAVELENGTH, TWO_THETA, own_tables=True)
    rows = []
    for index, name in enumerate(names):
        ours, theirs = assign(
            default, index, *gemmi_lines(crystals[index], WAVELENGTH, TWO_THETA)
        )
        row = [name, f"{np.abs(ours - theirs).max() / theirs.max():.0e}"]
        if same is None or own is None:
            row += ["not run"] * 5
        else:
            ours, theirs = assign(default, index, *same[index])
            strong = theirs > 1e-6 * theirs.max()
            row.append(f"{np.abs(ours / theirs - 1)[strong].max():.0e}")
            with_it = rp(*assign(default, index, *own[index]))
            without = rp(*assign(paper, index, *own[index]))
            ours, theirs = assign(paper, index, *own[index])
            ours, theirs = ours / ours.max(), theirs / theirs.max()
            scaled = 100 * np.abs(ours - theirs).sum() / theirs.sum()
            row += [
                f"{with_it:.2f} %", f"{without:.2f} %", f"{without / with_it:.1f}",
                f"{scaled:.2f} %",
            ]  # fmt: skip
        rows.append(row)
    header = [
        "compound", "gemmi, same tables", "cctbx, same tables", "Rp default, cctbx own",
        "Rp without dispersion", "ratio", "the same, strongest line = 100",
    ]  # fmt: skip
    elements = sorted({site.element for c in crystals for site in c.sites})
    published = [
        [element, *(f"{value:.3f}" for value in cromer_liberman(element, WAVELENGTH))]
        for element in elements
    ]
    titles = ["element", "f′", "f″"]
    if has_cctbx:
        titles += ["f′ of Sasaki", "f″ of Sasaki"]
        for row, values in zip(published, sasaki(elements, WAVELENGTH), strict=True):
            row += [f"{value:.3f}" for value in values]
    return table(header, rows), table(titles, published)


def standards() -> tuple[str, str]:
    """Line positions from certified cells, and relative intensities of corundum."""
    rows = []
    materials = (
        (
            "SRM 640c Si, a = 5.4311946 Å",
            Crystal(227, cubic(5.4311946), (Site("Si", "a", (0.125, 0.125, 0.125)),)),
            # International Tables C, 5.2.10: angles of SRM 640c at this wavelength.
            [28.441, 47.300, 56.120, 69.126, 76.372, 88.025, 94.947, 106.701, 114.084,
             127.534, 136.880, 158.603],
            None,
        ),
        (
            "SRM 660c LaB6, a = 4.156826 Å",
            Crystal(
                221,
                cubic(4.156826),
                (Site("La", "a", (0, 0, 0)), Site("B", "f", (0.1997, 0.5, 0.5))),
            ),
            None,
            # d spacings of pyFAI's calibrant file for SRM 660c.
            [4.15682600, 2.93931985, 2.39994461, 2.07841300, 1.85898910, 1.69701711,
             1.46965993, 1.38560867, 1.31450380, 1.25333020, 1.19997231, 1.15289610,
             1.11095848],
        ),
        (
            "SRM 676a Al2O3, a = 4.759355, c = 12.99231 Å",
            COMPOUNDS["Al2O3"],
            None,
            # d spacings of pyFAI's calibrant file for SRM 676a (certificate of 2015).
            [3.48029442, 2.55113926, 2.37967750, 2.08556784, 1.96437974, 1.74014721,
             1.60157098, 1.51097803, 1.40465538, 1.37390745],
        ),
    )  # fmt: skip
    for name, crystal, angles, spacings in materials:
        wavelength = NIST_WAVELENGTH if angles is None else ITC_WAVELENGTH
        peaks = simulate_peaks(
            CrystalBatch.from_crystals([crystal]), wavelength, (5, 165)
        )
        if angles is None:
            sine = wavelength / 2 / np.array(spacings, float)
            wanted = 2 * np.degrees(np.arcsin(sine))
        else:
            wanted = np.array(angles)
        off = np.abs(peaks.two_theta[:, None] - wanted).min(axis=0)
        rows.append([name, str(len(wanted)), f"{off.max():.5f}"])
    corundum = simulate_peaks(
        CrystalBatch.from_crystals([COMPOUNDS["Al2O3"]]), "CuKa1", (20, 70), hkl=True
    )
    certified = {
        "012": (3.48029442, 57.06), "104": (2.55113926, 88.41),
        "110": (2.37967750, 37.75), "113": (2.08556784, 100.0),
        "024": (1.74014721, 47.33), "116": (1.60157098, 95.78),
        "214": (1.40465538, 37.74), "300": (1.37390745, 57.49),
    }  # fmt: skip
    values = []
    for d, _ in certified.values():
        angle = 2 * np.degrees(np.arcsin(WAVELENGTH / 2 / d))
        values.append(corundum.intensity[np.abs(corundum.two_theta - angle).argmin()])
    values = 100 * np.array(values) / values[3]
    compare = [
        [hkl, f"{listed:.2f}", f"{value:.2f}"]
        for (hkl, (_, listed)), value in zip(certified.items(), values, strict=True)
    ]
    return (
        table(["standard", "lines", "largest deviation [degrees 2θ]"], rows),
        table(["hkl", "pyFAI, SRM 676a", "here, B = 0"], compare),
    )


def profiles() -> str:
    """Rendered patterns against full sums in double precision."""
    rng = np.random.default_rng(1)
    grid = TwoThetaGrid()
    worst = {"Gaussians of 20-100 nm": 0.0}
    for n in (1, 20, 200, 1500):
        x = np.sort(rng.uniform(5, 90, n))
        area = rng.exponential(1.0, n) ** 2
        peaks = PeakBatch(x, area, np.array([0, n]))
        for size in (20.0, 50.0, 100.0):
            exact = add_gaussians(x, area, grid.angles(), size)
            error = np.abs(render(peaks, grid, size)[0] - exact).max()
            worst["Gaussians of 20-100 nm"] = max(
                worst["Gaussians of 20-100 nm"], error
            )
        for name, roughness in (
            ("pseudo-Voigts, `render`", 1.0),
            ("pseudo-Voigts, a measurement's sample", OWN_ROUGHNESS),
            ("pseudo-Voigts, its impurity (of which at most 5 % are added)",
             TRACE_ROUGHNESS),
        ):  # fmt: skip
            for share in (0.0, 0.5, 1.0):
                for u, w in ((0.0, 1e-4), (0.02, 0.02), (0.04, 0.04)):
                    error = _pseudo_voigt_error(x, area, grid, u, w, share, roughness)
                    worst[name] = max(worst.get(name, 0.0), error)
    return table(
        ["profiles", "largest deviation"], [[k, f"{v:.1e}"] for k, v in worst.items()]
    )


def _pseudo_voigt_error(
    x: np.ndarray,
    area: np.ndarray,
    grid: TwoThetaGrid,
    u: float,
    w: float,
    share: float,
    roughness: float,
) -> float:
    """Deviation from the sum of all pseudo-Voigts of a fixed share."""
    peaks = PeakBatch(x, area, np.array([0, len(x)]))
    widths = Broadening(u=u, w=w, lorentz_share=share)
    ours = render_roughly(peaks, grid, None, widths, roughness)[0]
    fwhm = np.sqrt(u * np.tan(np.radians(x / 2)) ** 2 + w)
    exact = np.zeros(grid.points)
    for centre, width, part in zip(x, fwhm, area, strict=True):
        d = (grid.angles() - centre) / width
        exact += part / width * share * 2 / np.pi / (1 + 4 * d * d)
        exact += (
            part / width * (1 - share) * np.sqrt(4 * np.log(2) / np.pi)
            * np.exp(-4 * np.log(2) * d * d)
        )  # fmt: skip
    return float(np.abs(ours - exact / exact.max()).max())


def versions() -> str:
    """What was compared."""
    found = []
    for name in ("pxrdbench", "numpy", "numba", "gemmi", "pymatgen", "cctbx-base"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} not installed")
    return ", ".join(found)


def main() -> None:
    """Write the report."""
    lines, dispersion = programs()
    positions, intensities = standards()
    against_pymatgen, places = pymatgen_rows()
    measured = measured_rows()
    minerals = "Not run: PXRDBENCH_TEST_DATA is not set."
    if measured:
        minerals = table(
            ["mineral", "RRUFF", "lines", "cell [Å]", "B [Å²]", "Rp", "correlation"],
            measured,
        )
    text = f"""# Validation

Written by `python docs/make_validation.py`; do not edit. Versions: {versions()}.
The tests under `tests/diffraction` hold these comparisons to bounds.

## Closed forms

{closed_forms()}

## Full sums in all 230 groups

One atom on each Wyckoff position of each group, mixed occupancies and B, against every
reflection and every atom of the whole cell in double precision
(`tests/helpers/physics/references.py`).

{naive_sums()}

## pymatgen

`paper` mode in double precision against `XRDCalculator`, line by line. pymatgen merges
what falls into one bin of 1e-5 degrees; the last column counts where a bin's edge
parted reflections that we merge. There the sums are compared. Angles are compared where
a line is one reflection. Both programs got the same cells: real crystals after our
conversion to the standard setting.

{against_pymatgen}

Each of the places where a bin's edge parted reflections:

<details><summary>{places.count(chr(10)) - 1} places</summary>

{places}

</details>

## gemmi and cctbx, dispersion included

Cu Kα1 (1.5406 Å), 5-90 degrees, B = 0. *Same tables*: f0 of International Tables C
(1992/2006) and f′, f″ of Cromer and Liberman on both sides; for gemmi the largest
difference as a part of the strongest line (it adds f0 up in single precision), for
cctbx the largest relative difference of lines above 1e-6 of the strongest. *Own tables*
of cctbx: f0 of Waasmaier and Kirfel (1995), f′ and f″ of Sasaki (1989); Rp is the sum
of absolute differences after scaling to equal sums. Without dispersion (`paper`) the
calculation is what pymatgen and its descendants give; the last column scales to the
strongest line instead.

{lines}

f′ and f″ at 1.5406 Å as used here (Cromer & Liberman 1981, by gemmi) and
in the tables of Sasaki that cctbx has; lead's decide the row of PbTiO3:

{dispersion}

## NIST standard reference materials

Line positions from certified cells. Silicon: the angles of International Tables C,
5.2.10, as a test file quotes them, at {ITC_WAVELENGTH} Å (chosen because it fits; the
certificate's {NIST_WAVELENGTH} Å leaves 0.002 degrees). LaB6: a = 0.4156826 nm
(certificate of SRM 660c), corundum: SRM 676a as revised in 2015, both with spacings as
pyFAI lists them, at {NIST_WAVELENGTH} Å.

{positions}

Relative intensities of corundum (113 = 100), with the values that pyFAI's calibrant
file gives for SRM 676a. We have not seen the certificate itself and do not know what
its values are corrected for; they are no bound of a test. The differences are not those
of programs: cctbx calculates what we do to 0.1 % (above).

{intensities}

## Measured minerals

Patterns of the RRUFF project (Lafuente et al. 2015), in the part and with the
background subtraction of XRED, 10-80 degrees, copper. Coordinates are textbook values
(`docs/measured_minerals.py`); no intensity is fitted. Fitted are the cell, a zero,
three widths, one B for all atoms, a scale and a straight line, so these rows test line
positions and relative intensities together with the sample: texture, impurities,
absorption and counting noise are not modelled, and what their scans hold beside the
mineral is not known to us. Rp is the sum of absolute differences over the sum of
counts; the correlation is that of measured and calculated profile. B may go from 0 to
4 Å²; where it stands at a bound it has taken up what is not modelled. Cells are those
of the samples, which need not be pure.

{minerals}

## Profiles

Single precision with cuts, against the sum of all profiles over their whole reach in
double precision (`tests/helpers/physics/references.py`), as parts of the maximum:

{profiles()}

## Not covered here

GSAS-II (no wheel), asymmetry by axial divergence (not modelled).
"""
    (DOCS / "validation.md").write_text(text, "utf-8")
    print(text)  # noqa: T201 - a script


if __name__ == "__main__":
    main()
