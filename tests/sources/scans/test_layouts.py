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
        (["# E = 12.0 keV"], 1.0332017),
        (["# λ = 0.4133 Å"], 0.4133),
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


# Kinds of public reports; a pattern of 41 points, 10 to 12 degrees, counts 10 to 400.
TEN = np.round(np.linspace(10.0, 12.0, 41), 4)
ROUGH = np.round(10.0 + 390.0 * np.exp(-(((TEN - 11.0) / 0.1) ** 2)))
Q_NM = 40.0 * np.pi * np.sin(np.radians(TEN / 2.0)) / WAVELENGTH


def columns(*values, by=","):
    rows = zip(*values, strict=True)
    return "\n".join(
        by.join(v if isinstance(v, str) else f"{v:.6f}" for v in row) for row in rows
    )


WITH_BLANKS = [f"{int(c) + 1000:,}".replace(",", " ") for c in ROUGH]
SPEC = "#S 1 ascan {axis} 10 12 40 1\n#N 4\n#L {axis}  Epoch  Monitor  {last}\n"
SPEC_ROWS = columns(TEN, TEN * 7, TEN * 0 + 1e5, ROUGH, by=" ")
WITH_HEADER = f"# wavelength: {WAVELENGTH}\n"
REPORTED = {
    "log(I)": ("2theta,ln(I)\n" + columns(TEN, np.log(ROUGH)), "2theta"),
    "lg": ("2theta;lg(I)\n" + columns(TEN, np.log10(ROUGH), by=";"), "2theta"),
    "root": ("2θ (°),√I\n" + columns(TEN, np.sqrt(ROUGH)), "2theta"),
    "power": ("2theta,I^0.5\n" + columns(TEN, np.sqrt(ROUGH)), "2theta"),
    "units below": (
        WITH_HEADER + "q,intensity\nnm^-1,counts\n" + columns(Q_NM, ROUGH), "Q"
    ),
    "radians below": (
        "2theta,intensity\nrad,counts\n" + columns(np.radians(TEN), ROUGH), "2theta"
    ),
    "a line of the unit": (
        WITH_HEADER + "# unit q_A^-1\n# columns: q_A^-1 I\n"
        + columns(Q_NM / 10.0, ROUGH, by=" "), "Q"
    ),
    "SPEC": (SPEC.format(axis="tth", last="Detector") + SPEC_ROWS, "2theta"),
    "SPEC, a counter of any name": (
        SPEC.format(axis="tth", last="cyber8c") + SPEC_ROWS, "2theta"
    ),
    "observed last": (
        "2theta,Icalc,Iobs\n" + columns(TEN, ROUGH + 3.0, ROUGH), "2theta"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REPORTED)
def test_kinds_of_reports_are_read_rightly(case):
    text, quantity = REPORTED[case]
    (scan,) = read_scan_bytes(text.encode(), "a.dat")
    assert scan.quantity == quantity
    assert scan.two_theta == pytest.approx(TEN, abs=1e-3)
    assert scan.intensity == pytest.approx(ROUGH, rel=1e-3)


def test_thousands_behind_a_blank_are_one_number():
    text = "2theta;counts\n" + columns(TEN, WITH_BLANKS, by=";")
    for blank in (" ", "\u202f", "'"):
        (scan,) = read_scan_bytes(text.replace(" ", blank).encode(), "a.csv")
        assert scan.intensity == pytest.approx(ROUGH + 1000.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2theta,log(I)\n" + columns(TEN, np.log10(ROUGH)), "unknown base"),
        (SPEC.format(axis="th", last="Detector") + SPEC_ROWS, "a rocking curve"),
        ("2theta,sampleA,sampleB\n" + columns(TEN, ROUGH, ROUGH),
         "any of the columns sampleA, sampleB"),
        ("2theta_A,I_A,2theta_B,I_B\n" + columns(TEN, ROUGH, TEN + 1, ROUGH),
         "two columns of angles"),
    ],
)  # fmt: skip
def test_kinds_of_reports_are_refused(text, message):
    with pytest.raises(SourceError, match=message):
        read_scan_bytes(text.encode(), "a.csv")


def test_a_wavelength_above_the_first_bank_of_gsas():
    text = "# Calibrated wavelength = 0.4592\n" + LAYOUTS["a.gsas"]
    (scan,) = read_scan_bytes(text.encode(), "a.fxye")
    assert scan.radiation.wavelength == 0.4592
    assert "0.4592" in scan.stated["radiation"]


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


# As DIFFRAC.MEASUREMENT and SmartLab Studio write them: columns are named by views; the
# fifth and sixth are no counts.
BRML = """<?xml version="1.0" encoding="utf-8"?>
<RawData xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<FixedInformation><Instrument><PrimaryTracks><TrackInfo><MountedOptics>
<InfoData xsi:type="MountedTubeInfoData"><Tube><TubeMaterial>Cu</TubeMaterial>
<WaveLengthAlpha1 Unit="A" Value="1.5406"/><WaveLengthAlpha2 Unit="A" Value="1.54439"/>
<WaveLengthBeta Unit="A" Value="1.39222"/><WaveLengthRatio Value="0.5"/></Tube>
</InfoData>
</MountedOptics></TrackInfo></PrimaryTracks></Instrument></FixedInformation>
<DataRoutes><DataRoute RouteFlag="Measured"><ScanInformation VisibleName="Coupled">
<ScanAxes><ScanAxisInfo AxisId="{axis}"/></ScanAxes></ScanInformation>{rows}<DataViews>
<RawDataView xsi:type="FixedRawDataView" Start="0" Length="1" LogicName="MeasuredTime"/>
<RawDataView xsi:type="FixedRawDataView" Start="1" Length="1"
 LogicName="AbsorptionFactor"/>
<RawDataView xsi:type="VaryingRawDataView" Start="2" Length="2"><Varying>
<FieldDefinitions FieldName="Theta" AxisId="Theta"/>
<FieldDefinitions FieldName="TwoTheta" AxisId="TwoTheta"/></Varying></RawDataView>
<RawDataView xsi:type="RecordedRawDataView" Start="4" Length="1">
<Recording LogicName="modeActualTemp"><Unit Base="Celsius"/></Recording></RawDataView>
<RawDataView xsi:type="RecordedRawDataView" Start="6" Length="{length}">
<Recording LogicName="ScanCounter"><Unit Prefix="None" Base="{unit}"/></Recording>
</RawDataView></DataViews></DataRoute>
<DataRoute RouteFlag="Processed"><Datum>1,1,1,2,3,4,9</Datum></DataRoute></DataRoutes>
</RawData>"""
RASX = """<?xml version="1.0"?><MeasurementConditions><HWConfigurations><XrayGenerator>
<TargetName>Cu</TargetName><WavelengthKalpha1>1.540593</WavelengthKalpha1>
<WavelengthKalpha2>1.544414</WavelengthKalpha2></XrayGenerator></HWConfigurations>
<ScanInformation><AxisName>{axis}</AxisName><IntensityUnit>{unit}</IntensityUnit>
<PositionUnit>deg</PositionUnit><Speed>{speed}</Speed><SpeedUnit>deg/min</SpeedUnit>
<Start>10</Start><Step>0.1</Step><Stop>11</Stop></ScanInformation>
</MeasurementConditions>"""


def brml(first=10.0, time=1.0, axis="TwoTheta", length=1, unit="Counts", still=False):
    rows = "".join(
        f"<Datum>{time},{8.3 if i == 3 else 1},{5 + 0.05 * i},"
        f"{first if still else first + 0.1 * i},25.{i},0.5,{time * c}</Datum>"
        for i, c in enumerate(COUNTS_ONLY)
    )
    return BRML.format(rows=rows, axis=axis, length=length, unit=unit)


def rasx(first=10.0, time=1.0, axis="TwoThetaTheta", unit="counts"):
    profile = "".join(
        f"{first + 0.1 * i:.4f}\t{time * c}\t1\n" for i, c in enumerate(COUNTS_ONLY)
    )
    return profile, RASX.format(axis=axis, unit=unit, speed=6.0 / time)


def pack_rasx(*parts):
    members = {"root.xml": "<Root/>"}
    for i, (profile, conditions) in enumerate(parts):
        members[f"Data{i}/Profile{i}.txt"] = "\ufeff" + profile
        members[f"Data{i}/MesurementConditions{i}.xml"] = conditions
    return pack(members)


def pack_brml(*parts):
    members = {"Experiment0/DataContainer.xml": "<DataContainer/>"}
    # In the order in which a program may write them, not in that of their numbers.
    for i in reversed(range(len(parts))):
        members[f"Experiment0/RawData{i}.xml"] = parts[i]
    return pack(members)


def test_brml_and_rasx_are_read_in_place():
    (scan,) = read_scan_bytes(pack_brml(brml()), "a.brml")
    assert scan.two_theta == pytest.approx(np.linspace(10.0, 11.0, 11))
    assert scan.intensity.tolist() == COUNTS_ONLY
    assert scan.radiation.wavelength == pytest.approx(1.5418633)
    assert scan.counting_time == 1.0
    (scan,) = read_scan_bytes(pack_rasx(rasx()), "a.rasx")
    assert scan.two_theta == pytest.approx(np.linspace(10.0, 11.0, 11))
    assert scan.intensity.tolist() == COUNTS_ONLY
    assert scan.radiation.name == "CuKa"
    assert scan.counting_time == pytest.approx(1.0)


def test_scans_of_the_same_angles_stay_scans_in_the_order_of_their_numbers():
    parts = [brml(time=t) for t in range(1, 13)]
    scans = read_scan_bytes(pack_brml(*parts), "a.brml")
    assert [scan.counting_time for scan in scans] == list(range(1, 13))
    assert scans[1].name == "a.brml (scan 2)"


@pytest.mark.parametrize(
    ("data", "suffix"),
    [
        (pack_brml(brml(), brml(11.1, 4.0), brml(12.2, 10.0)), "brml"),
        (pack_rasx(rasx(), rasx(11.1, 4.0), rasx(12.2, 10.0)), "rasx"),
    ],
)
def test_ranges_are_joined_by_their_counting_times(data, suffix):
    (scan,) = read_scan_bytes(data, f"a.{suffix}")
    assert scan.two_theta == pytest.approx(np.linspace(10.0, 13.2, 33))
    assert scan.intensity == pytest.approx(np.tile(COUNTS_ONLY, 3))
    assert any("joined by their counting times" in w for w in scan.warnings)


def uxd(*ranges, kind="COUNTS"):
    parts = ["_FILEVERSION=2", "_WL1=1.5406", "_ANODE='Cu'"]
    for start, time, counts in ranges:
        parts += ["_DRIVE='COUPLED'", f"_START={start}", "_STEPSIZE=0.1"]
        parts += [f"_STEPTIME={time}"] if time else []
        parts += [f"_{kind}", " ".join(str(c) for c in counts)]
    return "\n".join([*parts, ""]).encode()


def test_ranges_of_text_formats_are_joined_or_refused():
    twice = [2 * c for c in COUNTS_ONLY]
    (scan,) = read_scan_bytes(uxd((10, 1, COUNTS_ONLY), (11, 2, twice)), "a.uxd")
    # The second begins where the first ends: that point is there once.
    assert scan.two_theta == pytest.approx(np.linspace(10.0, 12.0, 21))
    assert scan.intensity.tolist() == [*COUNTS_ONLY, *COUNTS_ONLY[1:]]
    rates = uxd((10, None, COUNTS_ONLY), (11.1, None, COUNTS_ONLY), kind="CPS")
    assert len(read_scan_bytes(rates, "a.uxd")) == 1
    with pytest.raises(SourceError, match="no counting time"):
        data = uxd((10, None, COUNTS_ONLY), (11.1, None, COUNTS_ONLY))
        read_scan_bytes(data, "a.uxd")
    with pytest.raises(SourceError, match="whether these are counts"):
        # Called counts, and yet on one scale as they are.
        data = uxd((10, 1, [50] * 20), (12.0, 10, [51] * 20))
        read_scan_bytes(data, "a.uxd")
    again = uxd((10, None, COUNTS_ONLY), (10, None, twice))
    assert len(read_scan_bytes(again, "a.uxd")) == 2
    bank = (
        LAYOUTS["a.gsas"]
        + "\n"
        + LAYOUTS["a.gsas"]
        .split("\n", 1)[1]
        .replace("BANK 1", "BANK 2")
        .replace("\n10", "\n12")
        .replace("\n1100", "\n1300")
    )
    with pytest.raises(SourceError, match="no counting time"):
        read_scan_bytes(bank.encode(), "a.gsas")


def test_what_is_no_scan_over_2theta_is_named():
    with pytest.raises(SourceError, match=r"scanned axes: Theta"):
        read_scan_bytes(pack_brml(brml(axis="Theta", still=True)), "a.brml")
    with pytest.raises(SourceError, match=r"scanned axes: Omega"):
        read_scan_bytes(pack_rasx(rasx(axis="Omega")), "a.rasx")
    with pytest.raises(SourceError, match="1280 channels of a detector"):
        read_scan_bytes(pack_brml(brml(length=1280)), "a.brml")


def test_an_archive_can_do_no_harm():
    bomb = '<!DOCTYPE x [<!ENTITY a "b">]>'
    with pytest.raises(SourceError, match="document type"):
        read_scan_bytes(pack({"Experiment0/RawData0.xml": bomb + brml()}), "a.brml")
    with pytest.raises(SourceError, match="a workbook"):
        read_scan_bytes(pack({"xl/workbook.xml": ""}), "a.xlsx")
    with pytest.raises(SourceError, match="neither Bruker"):
        read_scan_bytes(pack({"../../a.txt": "10 5"}), "a.zip")
    # Nothing is unpacked to a disk, so a path leads nowhere.
    (scan,) = read_scan_bytes(pack({"../../../etc/RawData0.xml": brml()}), "a.brml")
    assert len(scan) == 11
    for name, part in (("RawData0.xml", b"<"), ("Data0/Profile0.txt", b"1 ")):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, part * (70_000_000 // len(part)))
        assert len(stream.getvalue()) < 200_000
        with pytest.raises(SourceError, match="larger than 64 MB"):
            read_scan_bytes(stream.getvalue(), "bomb.brml")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, pytest.warns(UserWarning):
        archive.writestr("RawData0.xml", brml())
        archive.writestr("RawData0.xml", brml(20.0))
    with pytest.raises(SourceError, match="there twice"):
        read_scan_bytes(stream.getvalue(), "a.brml")
    data = bytearray(pack_brml(brml()))
    data[data.index(b"<TubeMaterial>") + 3] ^= 1
    with pytest.raises(SourceError, match="cannot be read"):
        read_scan_bytes(bytes(data), "a.brml")


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    found = Counter()
    for i in range(count):
        verdict, what, detail = judge(np.random.default_rng([11, i]))
        found[verdict] += 1
        if verdict in ("other", "refused"):
            print(verdict, what, detail)
    print(dict(found))
