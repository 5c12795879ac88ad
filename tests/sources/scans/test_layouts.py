"""A random pattern in each text layout: read back, or refused where the text is silent.

python tests/sources/scans/test_layouts.py [COUNT]    the long form
"""

import io
import sys
import zipfile
from collections import Counter

import numpy as np
import pytest

from pxrdbench.errors import SourceError
from pxrdbench.sources.scans.quantity import Quantity, read_quantity
from pxrdbench.sources.scans.read import read_scan_bytes
from pxrdbench.sources.scans.stated_radiation import find_stated_radiation

WAVELENGTH = 0.6199
# Names of a first column, what they are, and whether they tell all that is needed.
AXES = {
    "2theta": ("2theta", 1.0), "2Theta (deg)": ("2theta", 1.0),
    "two_theta": ("2theta", 1.0), "2th_deg": ("2theta", 1.0), "Angle": ("2theta", 1.0),
    "2θ [°]": ("2theta", 1.0), "TTH": ("2theta", 1.0),
    "2th_rad": ("2theta", np.pi / 180), "2theta (radians)": ("2theta", np.pi / 180),
    "theta (deg)": ("theta", 1.0), "Theta": ("theta", 1.0),
    "q_A^-1": ("Q", 1.0), "Q (1/A)": ("Q", 1.0), "q_nm^-1": ("Q", 10.0),
    "Q [nm-1]": ("Q", 10.0), "scattering vector (1/nm)": ("Q", 10.0),
    "d (A)": ("d", 1.0), "d-spacing [nm]": ("d", 0.1), "1/d (1/A)": ("s", 1.0),
}  # fmt: skip
SILENT = ("q", "s", "channel", "time (s)", "r_mm", "energy (keV)", "unheard of", "TOF")
COUNTS = ("intensity", "counts", "I", "Intensity (a.u.)", "cps", "Zähler")
COMMENTS = ("", "# ", "! ", "; ", "// ", "% ")


def axis_values(kind, scale, angles):
    sine = np.sin(np.radians(angles / 2.0))
    return (
        scale
        * {
            "2theta": angles,
            "theta": angles / 2.0,
            "Q": 4.0 * np.pi * sine / WAVELENGTH,
            "s": 2.0 * sine / WAVELENGTH,
            "d": WAVELENGTH / (2.0 * sine),
        }[kind]
    )


def make(rng):
    """Bytes of a file, its truth (or None where the text is silent), what it is."""
    angles = np.arange(rng.uniform(4, 20), rng.uniform(40, 100), rng.uniform(0.02, 0.2))
    counts = np.round(10 ** rng.uniform(1, 3.5) * (1 + rng.random(len(angles))))
    is_told = rng.random() < 0.8
    name = str(rng.choice(list(AXES) if is_told else SILENT))
    kind, scale = AXES.get(name, ("2theta", 1.0))
    values = axis_values(kind, scale, angles)
    separator = str(rng.choice([" ", "\t", ",", ";", "   "]))
    has_commas = separator != "," and rng.random() < 0.4
    width = int(rng.choice([2, 2, 3]))
    number = rng.choice(["{:.6f}", "{:.8e}", "{:.7f}"])
    columns = [[number.format(v) for v in values], [f"{c:.1f}" for c in counts]]
    names = [name, str(rng.choice(COUNTS))]
    if width == 3:
        columns.append([f"{np.sqrt(c):.2f}" for c in counts])
        names.append("esd")
    if separator in (",", ";") and rng.random() < 0.2:
        columns.insert(0, [str(i) for i in range(len(angles))])
        names.insert(0, "")
    rows = [separator.join(cells) for cells in zip(*columns, strict=True)]
    if has_commas:
        rows = [row.replace(".", ",") for row in rows]
    is_plain = rng.random() < 0.3
    comment = "" if is_plain else str(rng.choice(COMMENTS))
    wide = "   " if separator.strip() == "" and separator != "\t" else separator
    if any(" " in n for n in names) and separator in (" ", "   "):
        wide = "  "
    head = [f"{comment}Quartz powder, run {rng.integers(99)}"]
    has_radiation = rng.random() < 0.7
    if has_radiation:
        head.append(comment + str(rng.choice([
            f"wavelength: {WAVELENGTH}", f"Wavelength = {WAVELENGTH} A",
            f"wavelength (nm): {WAVELENGTH / 10:.6f}",
            f"lambda = {WAVELENGTH / 10:.6f} nm",
            f"Wavelength: {WAVELENGTH * 1e-10:.6e} m",
        ])))  # fmt: skip
    head.append(comment + wide.join(names))
    text = "\n".join([*head, *rows, ""])
    if rng.random() < 0.3:
        text = text.replace("\n", "\r\n")
    if rng.random() < 0.1:
        text += "\x1a"
    encoding = str(rng.choice(["utf-8", "utf-8-sig", "utf-16", "cp1252"]))
    if encoding == "cp1252":
        text = text.replace("θ", "th")
    needs = kind in ("Q", "s", "d")
    truth = None if not is_told or (needs and not has_radiation) else (angles, counts)
    return (
        text.encode(encoding),
        truth,
        (name, separator, has_commas, comment, encoding),
    )


def judge(rng):
    data, truth, what = make(rng)
    try:
        (scan,) = read_scan_bytes(data, "scan.txt")
    except SourceError as error:
        return ("right: refused" if truth is None else "refused"), what, str(error)
    if truth is None:
        return "other", what, f"read as {scan.quantity}"
    angles, counts = truth
    is_same = (
        len(scan) == len(angles)
        and np.allclose(scan.two_theta, angles, atol=2e-3)
        and np.allclose(scan.intensity, counts, atol=0.06)
        and (scan.radiation is None
             or abs(scan.radiation.wavelength / WAVELENGTH - 1.0) < 1e-4)
    )  # fmt: skip
    return ("same" if is_same else "other"), what, f"{len(scan)} points"


def test_a_pattern_in_any_layout_is_itself_or_refused():
    results = [judge(np.random.default_rng([7, i])) for i in range(250)]
    assert [r for r in results if r[0] == "other"] == []
    # An unnamed index behind "; " as a comment and ";" between cells is not told.
    lost = [r for r in results if r[0] == "refused"]
    assert [r for r in lost if r[1][1] != ";" or r[1][3] != "; "] == []
    found = Counter(verdict for verdict, _, _ in results)
    assert found["same"] > 120
    assert found["right: refused"] > 30


@pytest.mark.parametrize(
    ("name", "quantity"),
    [
        ("2-Theta Angle (Degrees)", Quantity("2theta", "degrees")),
        ("Pos. [°2Th.]", Quantity("2theta", "degrees")),
        ("q_nm^-1", Quantity("Q", "1/nm")),
        (r"Q(1/$\AA$)", Quantity("Q", "1/Å")),
        ("s = 2 sin(theta)/lambda (1/nm)", Quantity("s", "1/nm")),
        ("sin(theta)/lambda (1/A)", Quantity("sin(theta)/lambda", "1/Å")),
        ("Radial Distance (mm)", Quantity("radius", "mm")),
        ("log10(Intensity)", Quantity("intensity", "", "log10")),
        ("sqrt(counts)", Quantity("intensity", "", "sqrt")),
        ("d-spacing [Å]", Quantity("d", "Å")),
        ("Quartz", None), ("D-2", None), ("sample", None), ("Detector 2", None),
    ],
)  # fmt: skip
def test_names_of_columns(name, quantity):
    found = read_quantity(name)
    assert found == quantity or (name == "Detector 2" and found.kind == "intensity")


@pytest.mark.parametrize(
    ("lines", "wavelength"),
    [
        (["# Wavelength: 2.066e-11 m"], 0.2066),
        (["# wavelength = 2.066e-11"], 0.2066),
        (['# {"wavelength": 2.066e-11, "dist": 0.25}'], 0.2066),
        (["wavelength (nm): 0.154060"], 1.5406),
        (["Wavelength = 154.06 pm"], 1.5406),
        (["# energy = 12.0 keV"], 1.0332017),
        (["# Energy (eV): 12000"], 1.0332017),
        (["# Wavelength unit = 1.0 Angstrom", "# X-ray energy = 12.4 keV"], None),
        (["# sample: Co Ka doped, 10.5 wt%"], None),
        (["Anode=Cu", "Alpha1=1.5406", "Alpha2=1.54439", "AlphaRatio=0.5"], 1.5418633),
        (["# tube: Co Ka"], 1.790276),
        (["# CuKa1"], 1.5406),
        (["K-Alpha1 wavelength,1.5405980", "K-Alpha2 wavelength,1.5444260",
          "Ratio K-Alpha2/K-Alpha1,0.500"], 1.541874),
    ],
)  # fmt: skip
def test_one_parser_of_radiation(lines, wavelength):
    found, line = find_stated_radiation(lines)
    if wavelength is None:
        assert (found, line) == (None, "")
    else:
        assert found.wavelength == pytest.approx(wavelength, rel=1e-5)
        assert line


COUNTS_ONLY = [5, 7, 11, 50, 20, 8, 6, 5, 4, 4, 9]


def rows_of(values, width=8, end=""):
    texts = [f"{v:8d}{end}" for v in values]
    return "\n".join("".join(texts[i : i + width]) for i in range(0, len(texts), width))


LAYOUTS = {
    "steps.dat": "10.0 0.1 11.0 my sample\n" + rows_of(COUNTS_ONLY, 10),
    "dbws.dat": " 10.0 0.1 11.0\n" + rows_of(COUNTS_ONLY, 8),
    "a.mdi": "quartz 01/01/20\n 10.0 0.1 1.0 CU 1.5406 11.0 11\n"
    + rows_of(COUNTS_ONLY),
    "a.udf": "SampleIdent,x ,/\nAnode,Cu,/\nLabdaAlpha1, 1.54056,/\n"
    "LabdaAlpha2, 1.54439,/\nRatioAlpha21, 0.5,/\nDataAngleRange, 10.0, 11.0,/\n"
    "ScanStepSize, 0.1,/\nRawScan\n" + rows_of(COUNTS_ONLY, 8, ",").rstrip(",") + "/\n",
    "a.cpi": "SIETRONICS XRD SCAN\n10\n11\n0.1\nCu\n1.54056\n1-1-20\n1\nx\nSCANDATA\n"
    + "\n".join(map(str, COUNTS_ONLY)),
    "a.asc": "*TYPE = Raw\n*TARGET = Cu\n*WAVE_LENGTH1 = 1.54056\n*BEGIN\n*START = 10\n"
    "*STOP = 11\n*STEP = 0.1\n*COUNT = 11\n"
    + rows_of(COUNTS_ONLY, 4, ",")
    + "\n*END\n",
    "a.gsas": "title\nBANK 1 11 11 CONST 1000 10 0 0 FXY\n"
    + "\n".join(f"{1000 + 10 * i} {c}" for i, c in enumerate(COUNTS_ONLY)),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_counts_below_start_step_and_stop(name):
    (scan,) = read_scan_bytes(LAYOUTS[name].encode(), name)
    assert scan.two_theta == pytest.approx(np.linspace(10.0, 11.0, 11))
    assert scan.intensity.tolist() == COUNTS_ONLY
    assert (scan.radiation is None) == (name in ("steps.dat", "dbws.dat", "a.gsas"))


def test_a_count_that_does_not_fit_is_told():
    text = LAYOUTS["a.cpi"].rsplit("\n", 3)[0]
    with pytest.raises(SourceError, match="8 intensities, but 10 to 11 degrees"):
        read_scan_bytes(text.encode(), "a.cpi")


def pack(members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return stream.getvalue()


BRML = """<?xml version="1.0"?><RawData><FixedInformation><Instrument>
<WaveLengthAlpha1 Value="1.5406"/><WaveLengthAlpha2 Value="1.54439"/>
<WaveLengthRatio Value="0.5"/><TubeMaterial>Cu</TubeMaterial></Instrument>
</FixedInformation><DataRoutes><DataRoute>{rows}</DataRoute></DataRoutes></RawData>"""
RASX = """<?xml version="1.0"?><M><HardwareConfigurations><XrayGenerator>
<TargetName>Cu</TargetName><WavelengthKalpha1>1.540593</WavelengthKalpha1>
<WavelengthKalpha2>1.544414</WavelengthKalpha2></XrayGenerator></HardwareConfigurations>
<ScanInformation AxisName="TwoThetaTheta"/></M>"""


def test_brml_and_rasx_are_read_in_place():
    rows = "".join(
        f"<Datum>1,1,{10 + 0.1 * i},{5 + 0.05 * i},{c}</Datum>"
        for i, c in enumerate(COUNTS_ONLY)
    )
    data = pack({"Experiment0/RawData0.xml": BRML.format(rows=rows)})
    (scan,) = read_scan_bytes(data, "a.brml")
    assert scan.two_theta == pytest.approx(np.linspace(10.0, 11.0, 11))
    assert scan.intensity.tolist() == COUNTS_ONLY
    assert scan.radiation.wavelength == pytest.approx(1.5418633)
    profile = "".join(f"{10 + 0.1 * i}\t{c}\t1\n" for i, c in enumerate(COUNTS_ONLY))
    data = pack({"Data0/Profile0.txt": profile,
                 "Data0/MesurementConditions0.xml": RASX})  # fmt: skip
    (scan,) = read_scan_bytes(data, "a.rasx")
    assert scan.intensity.tolist() == COUNTS_ONLY
    assert scan.radiation.name == "CuKa"


def test_an_archive_can_do_no_harm():
    bomb = '<!DOCTYPE x [<!ENTITY a "b">]>'
    data = pack({"Experiment0/RawData0.xml": bomb + BRML.format(rows="")})
    with pytest.raises(SourceError, match="document type"):
        read_scan_bytes(data, "a.brml")
    with pytest.raises(SourceError, match="a workbook"):
        read_scan_bytes(pack({"xl/workbook.xml": ""}), "a.xlsx")
    with pytest.raises(SourceError, match="neither Bruker"):
        read_scan_bytes(pack({"../../a.txt": "10 5"}), "a.zip")


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    found = Counter()
    for i in range(count):
        verdict, what, detail = judge(np.random.default_rng([11, i]))
        found[verdict] += 1
        if verdict in ("other", "refused"):
            print(verdict, what, detail)
    print(dict(found))
