"""Scans of laboratories: values noted by hand, errors of one sentence, no surprises."""

import bz2
import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from pxrdbench.diffraction.pattern import TwoThetaGrid
from pxrdbench.diffraction.radiation import Radiation
from pxrdbench.errors import SourceError
from pxrdbench.sources.scans.grid import rebin
from pxrdbench.sources.scans.read import (
    MAX_BYTES,
    MeasuredPattern,
    find_scans,
    make_pattern,
    read_scan,
    read_scan_bytes,
    resample,
)

CU_PANALYTICAL = ((1.540598, 2 / 3), (1.544426, 1 / 3))
CU_RIGAKU = ((1.540593, 2 / 3), (1.544414, 1 / 3))
CU_BRUKER = ((1.5406, 2 / 3), (1.54439, 1 / 3))

# Noted by hand from the files: points, first and last angle, lines, first and last
# intensity; one entry for each scan of a file.
CU_KA = ((1.540593, 2 / 3), (1.544427, 1 / 3))
BY_HAND = {
    "dara/GeO2-ZnO_700C_60min.xrdml": [
        (8301, 9.90343322, 100.09488522, CU_PANALYTICAL, 2488, 977)
    ],
    "pynxtools/XRD-918-16_10.xrdml": [
        (5027, 4.00656514, 69.99936587, CU_PANALYTICAL, 1305, 171)
    ],
    "xylib/empyrean.xrdml": [(196, 30.05, 41.75, CU_PANALYTICAL, 8, 6)],
    "xerus/Cr-Ni.ras": [(3001, 10.0, 70.0, CU_RIGAKU, 26, 20)],
    "xerus/HoB21.ras": [(3001, 10.0, 70.0, CU_RIGAKU, 17, 55)],
    "xylib/BT86_.UXD": [(2374, 3.0, 40.0, CU_BRUKER, 187, 269)],
    "xylib/BT86.raw": [(2374, 3.0, 40.0003, CU_BRUKER, 187, 269)],
    "xylib/Cu3Au-1.raw": [(3901, 22.0, 100.0, CU_BRUKER, 48, 11)],
    "xylib/Cu3Au-2.raw": [(3901, 22.0, 100.0, CU_BRUKER, 73, 19)],
    # Ranges of 101, 26 and 51 points, with 0.1, 0.2 and 0.1 s a step.
    "xylib/format1.raw": [(178, 10.0, 45.0, CU_BRUKER, 10, 7)],
    "powdR/D5000_1.RAW": [
        (3651, 2.0, 75.0, ((1.78897, 2 / 3), (1.79285, 1 / 3)), 2230, 89)
    ],
    "powdR/D5000_1.xy": [(3651, 2.0, 75.0, None, 2230, 89)],
    "easydiffraction/hrpt_lbco.xye": [(3098, 10.0, 164.85, None, 167, 109)],
    "xrayutilities/LaB6_d500_si_psd.xye.bz2": [
        (17381, 4.57208, 150.5783, None, 950.18403, 0)
    ],
    "xerus/MnF2+TiO2_parsed.csv": [(9001, 10.0, 100.0, None, 1756, 662)],
    "xylib/small.tsv": [(5, 10.0, 10.06, None, 49.5, 21)],
    "xylib/with_sigma.txt": [(3, 20.0, 20.04, None, 49, 31)],
    "xylib/xy_text.txt": [(4001, 20.0, 100.0, None, 49, 29)],
    # _diffrn_radiation_wavelength_wt 1.0 and 0.38.
    "xrdpattern/data.cif": [
        (3728, 8.0, 89.994, ((1.540598, 1 / 1.38), (1.54439, 0.38 / 1.38)), 1733, 202)
    ],
    "xylib/1517474.cif": [(3296, 1.5, 166.25, ((2.0785, 1.0),), 5540, 797)],
    "xrdpattern/data.dat": [(2600, 3.0, 54.98, None, 0, 0)] * 2,
    # Its title says "Cu Ka X-ray data".
    "gsas2/PBSO4.XRA": [(6001, 10.0, 160.0, CU_KA, 179, 368)],
}

REFUSED = {
    "gsas2/INST_XRY.PRM": "no two columns of numbers",
    "xrdpattern/bruker.raw": "Bruker RAW 4, which is not read; DIFFRAC.EVA exports",
    "xrdpattern/stoe.raw": "Stoe RAW, which is not read; WinXPOW exports",
    # Two detectors whose ranges overlap.
    "xrdpattern/single.csv": "the angles do not ascend, 64.9822 degrees",
    "xylib/D1A5.dat": "columns where the first",
    "xylib/PSI_DMC.dat": "line 644 reads",
    "xylib/test1.csv": r"a wavelength \[nm\], none of them an angle",
    "xylib/test2.csv": "line 6 reads 'this is a random comment",
    "xylib/test3.csv": "none of them an angle",
    "xylib/test4.csv": "negative counts",
    "xylib/with_commas.txt": "has 5 columns where the first has 4",
}


@pytest.mark.data
@pytest.mark.parametrize("name", BY_HAND)
def test_values_noted_by_hand(test_data, name):
    scans = read_scan(test_data / "formats" / name)
    assert len(scans) == len(BY_HAND[name])
    for scan, values in zip(scans, BY_HAND[name], strict=True):
        points, first, last, lines, first_count, last_count = values
        assert len(scan) == points
        np.testing.assert_allclose(scan.two_theta[[0, -1]], [first, last], atol=5e-5)
        np.testing.assert_allclose(scan.intensity[[0, -1]], [first_count, last_count])
        if lines is None:
            assert scan.radiation is None
        else:
            np.testing.assert_allclose(scan.radiation.lines, lines, rtol=1e-9)
    assert (scans[0].sigma is not None) == (".xye" in name or "1517474" in name)


@pytest.mark.data
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_says_what_to_do(test_data, name):
    with pytest.raises(SourceError, match=REFUSED[name]) as caught:
        read_scan(test_data / "formats" / name)
    assert_one_sentence(caught)


@pytest.mark.data
def test_every_sample_file_is_accounted_for(test_data):
    folder = test_data / "formats"
    names = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert names == set(BY_HAND) | set(REFUSED)


@pytest.mark.data
def test_the_same_scan_in_two_formats_is_the_same(test_data):
    """Written by Bruker's XCH, by powdR, by the makers of XRED: other programs."""
    folder = test_data / "formats"
    for first, second in (
        ("xylib/BT86.raw", "xylib/BT86_.UXD"),
        ("powdR/D5000_1.RAW", "powdR/D5000_1.xy"),
    ):
        a, b = read_scan(folder / first)[0], read_scan(folder / second)[0]
        np.testing.assert_allclose(a.two_theta, b.two_theta, atol=6e-3)
        np.testing.assert_array_equal(a.intensity, b.intensity)


def assert_one_sentence(caught):
    text = str(caught.value)
    assert len(text) < 400
    assert "\n" not in text
    assert not text.rstrip(".").count(". "), text


def xy_text(angles, counts, template="{:.4f} {:.1f}"):
    return "\n".join(template.format(a, c) for a, c in zip(angles, counts, strict=True))


ANGLES = np.arange(10.0, 30.0, 0.02)
COUNTS = 100.0 + 50.0 * np.sin(ANGLES)


@pytest.mark.parametrize(
    ("template", "header"),
    [
        ("{:.4f} {:.1f}", ""),
        ("{:.4f}\t{:.1f}", "2theta\tIntensity\n"),
        ("{:.4f},{:.1f}", "angle,counts\n"),
        ("{:.4f}, {:.1f}", "# made by nobody\n# 2theta, intensity\n"),
        ("{:.4f};{:.1f}", "\"2Theta (deg)\";\"I (cps)\"\n"),
        ("{:.4f};{:.1f};", ""),
        ("  {:.4f}   {:.1f}  ", "title line of an xy file\n"),
        ("{:.4f} {:.1f} 7 8", "two_theta intensity k l\n"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("commas", [False, True])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_columns_of_every_kind(template, header, commas, line_end):
    text = xy_text(ANGLES, COUNTS, template)
    if commas:
        if "{:.4f}," in template:
            return  # commas cannot be both
        text = text.replace(".", ",")
    data = (header + text).replace("\n", line_end).encode("utf-8-sig")
    (scan,) = read_scan_bytes(data, "scan.csv")
    np.testing.assert_allclose(scan.two_theta, ANGLES, atol=1e-4)
    np.testing.assert_allclose(scan.intensity, COUNTS, atol=0.06)
    assert scan.radiation is None


def test_the_first_line_is_not_lost_where_its_numbers_are_whole():
    (scan,) = read_scan_bytes(b"10;5\n10,02;6\n10,04;7\n", "a.csv")
    assert scan.two_theta.tolist() == [10.0, 10.02, 10.04]
    (scan,) = read_scan_bytes(b"10 5\n10,02 6\n10,04 7\n", "a.xy")
    assert scan.two_theta.tolist() == [10.0, 10.02, 10.04]


def test_columns_are_found_by_name():
    rows = "\n".join(f"{i} {a:.3f} {c:.2f} 3" for i, (a, c) in enumerate(
        zip(ANGLES, COUNTS, strict=True)))  # fmt: skip
    (scan,) = read_scan_bytes(f"no 2theta counts esd\n{rows}".encode(), "a.dat")
    np.testing.assert_allclose(scan.two_theta, ANGLES, atol=1e-3)
    assert scan.sigma.tolist() == [3.0] * len(ANGLES)
    with pytest.raises(SourceError, match="none of them an angle 2θ"):
        read_scan_bytes(f"q counts\n{xy_text(ANGLES, COUNTS)}".encode(), "a.dat")


@pytest.mark.parametrize(
    ("header", "radiation"),
    [
        ("# Wavelength: 1.5406", "CuKa1"),
        ("# wavelength = 0.15406 nm", "CuKa1"),
        ("# lambda=1.54187 A", "CuKa"),
        ("##X-RAY WAVELENGTH=1.541838", "CuKa"),
        ("# radiation Mo Ka1", "MoKa1"),
        ("# Co-Kα radiation", "CoKa"),
        ("# lambda 0.41283", "0.41283 Å"),
        ("# sample Cu3Au, 40 kV", None),
        ("", None),
    ],
)
def test_a_pattern_knows_its_radiation_or_says_that_it_does_not(header, radiation):
    data = f"{header}\n{xy_text(ANGLES, COUNTS)}".encode()
    found = read_scan_bytes(data, "a.xy")[0].radiation
    assert (None if found is None else found.name) == radiation


@pytest.mark.parametrize(
    ("stated", "lines", "name"),
    [
        ("0.7093", ((0.7093, 1.0),), "MoKa1"),
        ("1.54056", ((1.54056, 1.0),), "CuKa1"),
        ("1.5406", ((1.5406, 1.0),), "CuKa1"),
        ("0.71073", Radiation.parse("MoKa").lines, "MoKa"),
        ("0.7094", ((0.7094, 1.0),), "0.7094 Å"),
    ],
)
def test_a_stated_wavelength_stays_as_it_is_stated(stated, lines, name):
    data = f"# Wavelength: {stated} A\n{xy_text(ANGLES, COUNTS)}".encode()
    found = read_scan_bytes(data, "a.xy")[0].radiation
    assert (found.lines, found.name) == (lines, name)


XRDML = """<?xml version="1.0" encoding="UTF-8"?>{doctype}
<xrdMeasurements xmlns="http://www.xrdml.com/XRDMeasurement/{version}"
status="Completed">
<sample type="To be analyzed"><id>x</id><name>LaB6</name></sample>
<xrdMeasurement measurementType="Scan" status="Completed" sampleMode="Reflection">
<usedWavelength intended="{intended}"><kAlpha1 unit="Angstrom">1.540598</kAlpha1>
<kAlpha2 unit="Angstrom">1.544426</kAlpha2><kBeta unit="Angstrom">1.39225</kBeta>
<ratioKAlpha2KAlpha1>0.5</ratioKAlpha2KAlpha1></usedWavelength>
<incidentBeamPath>{optics}<xRayTube><anodeMaterial>Cu</anodeMaterial></xRayTube>
</incidentBeamPath>
<scan scanAxis="Gonio" mode="Continuous" status="Completed"><dataPoints>
<positions axis="2Theta" unit="deg">{positions}</positions>
<positions axis="Omega" unit="deg"><commonPosition>4</commonPosition></positions>
{more}<{tag} unit="counts">10 20 30 40 50</{tag}></dataPoints></scan>
</xrdMeasurement></xrdMeasurements>"""
RANGE = "<startPosition>10</startPosition><endPosition>12</endPosition>"


def make_xrdml(**changes):
    parts = {
        "doctype": "", "version": "2.3", "intended": "K-Alpha 1", "optics": "",
        "positions": RANGE, "more": "", "tag": "counts",
    } | changes  # fmt: skip
    return XRDML.format(**parts).encode()


@pytest.mark.parametrize("version", ["1.0", "1.3", "1.5", "1.6", "2.0", "2.2", "2.3"])
def test_xrdml_of_all_versions(version):
    tag = "intensities" if version < "2" else "counts"
    (scan,) = read_scan_bytes(make_xrdml(version=version, tag=tag), "a.xrdml")
    assert scan.two_theta.tolist() == [10.0, 10.5, 11.0, 11.5, 12.0]
    assert scan.intensity.tolist() == [10.0, 20.0, 30.0, 40.0, 50.0]
    assert scan.metadata["schema"] == version
    assert scan.metadata["sample"] == "LaB6"
    assert scan.radiation.name == "CuKa"


def test_xrdml_with_listed_angles_attenuator_times_and_monochromator():
    listed = "<listPositions>10 11 12 13 20</listPositions>"
    (scan,) = read_scan_bytes(make_xrdml(positions=listed), "a.xrdml")
    assert scan.two_theta.tolist() == [10.0, 11.0, 12.0, 13.0, 20.0]
    factors = "<beamAttenuationFactors>1 1 100 1 1</beamAttenuationFactors>"
    (scan,) = read_scan_bytes(make_xrdml(more=factors), "a.xrdml")
    assert scan.intensity.tolist() == [10.0, 20.0, 3000.0, 40.0, 50.0]
    times = "<countingTimes unit='seconds'>1 1 1 1 6</countingTimes>"
    (scan,) = read_scan_bytes(make_xrdml(more=times), "a.xrdml")
    np.testing.assert_allclose(scan.intensity, [20.0, 40.0, 60.0, 80.0, 50.0 / 3])
    optics = "<monochromator><crystal>Ge</crystal></monochromator>"
    (scan,) = read_scan_bytes(make_xrdml(optics=optics), "a.xrdml")
    assert scan.radiation.lines == ((1.540598, 1.0),)
    (scan,) = read_scan_bytes(make_xrdml(intended="K-Beta"), "a.xrdml")
    assert scan.radiation.lines == ((1.39225, 1.0),)


BOMB = """<!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;&lol;&lol;">
<!ENTITY lol3 "&lol2;&lol2;&lol2;&lol2;">]>"""


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (make_xrdml(doctype=BOMB), "declares a document type"),
        (make_xrdml(doctype='<!DOCTYPE x SYSTEM "file:///etc/passwd">'), "document"),
        (make_xrdml(doctype=BOMB).decode().replace('encoding="UTF-8"', "")
         .encode("utf-16"), "document type"),
        (make_xrdml()[:700], "no valid XML"),
        (b"<?xml version='1.0'?>" + b"<a>" * 5000, "levels"),
        (b"<?xml version='1.0'?><svg/>", "XML of kind 'svg'"),
        (make_xrdml(positions="<commonPosition>3</commonPosition>"), "no scan over 2θ"),
        (make_xrdml().replace(b"30 40", b"30 x"), "letters"),
        (make_xrdml(tag="nothing"), "without counts"),
        (make_xrdml(more="<countingTimes>1 2</countingTimes>"), "2 countingTimes"),
    ],
)  # fmt: skip
def test_xml_can_do_no_harm(data, message):
    with pytest.raises(SourceError, match=message) as caught:
        read_scan_bytes(data, "a.xrdml")
    assert_one_sentence(caught)


def test_ras_with_attenuator_and_other_axes():
    text = (
        '*RAS_DATA_START\n*RAS_HEADER_START\n*HW_XG_TARGET_NAME "Mo"\n'
        '*HW_XG_WAVE_LENGTH_ALPHA1 "0.709300"\n*HW_XG_WAVE_LENGTH_ALPHA2 "0.713590"\n'
        '*MEAS_COND_XG_WAVE_TYPE "Ka1"\n*MEAS_SCAN_AXIS_X_INTERNAL "TwoTheta"\n'
        "*RAS_HEADER_END\n*RAS_INT_START\n10 5 1\n11 7 10\n12 6 1\n*RAS_INT_END\n"
    )
    (scan,) = read_scan_bytes(text.encode(), "a.ras")
    assert scan.intensity.tolist() == [5.0, 70.0, 6.0]
    assert scan.radiation.lines == ((0.7093, 1.0),)
    with pytest.raises(SourceError, match="over 'Omega'"):
        read_scan_bytes(text.replace("TwoTheta", "Omega").encode(), "a.ras")
    with pytest.raises(SourceError, match="ends within a scan"):
        read_scan_bytes(text.replace("*RAS_INT_END", "").encode(), "a.ras")


def test_uxd_of_two_ranges_and_without_angles():
    text = (
        "_FILEVERSION=2\n_WL_UNIT='A'\n_WL1=0.709300\n_ANODE='Mo'\n; (Range 1)\n"
        "_DRIVE='COUPLED'\n_STEPSIZE=0.5\n_START=10\n_COUNTS\n 1 2 3\n 4 5\n"
        "_DRIVE='THETA'\n_START=10\n_COUNTS\n1 2 3\n"
        "_DRIVE='COUPLED'\n_START=10\n_2THETACPS\n10 1.5\n11 2.5\n12 3.5\n"
    )
    first, second = read_scan_bytes(text.encode(), "a.uxd")
    assert first.two_theta.tolist() == [10.0, 10.5, 11.0, 11.5, 12.0]
    assert second.intensity.tolist() == [1.5, 2.5, 3.5]
    assert first.radiation.lines == ((0.7093, 1.0),)


def test_pdcif_leaves_out_what_was_not_measured():
    text = (
        "data_x\n_diffrn_radiation_type 'Cu K\\a'\n"
        "_symmetry_space_group_name_H-M 'P n m a'\nloop_\n_pd_proc_2theta_corrected\n"
        "_pd_proc_intensity_net\n_pd_calc_intensity_net\n"
        "10 5(2) 1\n11 ? 1\n12 7(3) 1\n13 8(3) 1\n"
    )
    (scan,) = read_scan_bytes(text.encode(), "a.cif")
    assert scan.two_theta.tolist() == [10.0, 12.0, 13.0]
    assert scan.radiation.name == "CuKa"
    assert scan.metadata["space_group_symbol"] == "P n m a"
    assert "1 points without a number" in scan.warnings[0]
    with pytest.raises(SourceError, match="no measured profile"):
        read_scan_bytes(b"data_x\n_cell_length_a 3\n", "a.cif")
    with pytest.raises(SourceError, match="neither an angle"):
        read_scan_bytes(b"data_x\nloop_\n_pd_meas_counts_total\n1\n2\n3\n4\n", "a.cif")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b" \n\n", "the file is empty"),
        (bytes(range(256)) * 20, "a binary file"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "a picture"),
        (b"PK\x03\x04" + b"\0" * 50, "zip archive"),
        (b"Dear Sir,\nplease find enclosed\nnothing.\n", "no two columns of numbers"),
        (b"10 5\n11 6\n12 abc\n13 5\n", "line 3 has 'abc'"),
        (b"10 5\n11 6\nabc 7\n13 5\n", "line 3 reads 'abc 7'"),
        (b"10 5\n11 6\n12\n13 5\n", "line 3 reads '12'"),
        (b"13 5\n12 6\n11 7\n", "do not ascend"),
        (b"10 5\n10 6\n11 7\n", "do not ascend"),
        (b"10 5\n11 nan\n12 7\n", "intensity at 11 degrees is nan"),
        (b"10 5\n11 inf\n12 7\n", "intensity at 11 degrees is inf"),
        (b"10 5\nnan 6\n12 7\n", "angle of point 2 is nan"),
        (b"10 5\n11 -500\n12 700\n", "negative counts, -500 at 11 degrees"),
        (b"10 0\n11 0\n12 0\n", "no intensity is above zero"),
        (b"10 5\n11 6\n", "2 points"),
        (b"RAW1.01\0" + b"\1" * 40, "ends too early"),
        (b"\x1f\x8b damaged", "packed file is damaged"),
    ],
)
def test_errors_are_one_sentence(data, message):
    with pytest.raises(SourceError, match=message) as caught:
        read_scan_bytes(data, "scan.xy")
    assert_one_sentence(caught)


def test_too_many_points_are_refused_before_they_cost(tmp_path):
    with pytest.raises(SourceError, match="10,000,000 points, more than"):
        make_pattern(np.arange(10_000_000) * 1e-5, np.ones(10_000_000))
    path = tmp_path / "long.xy"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(SourceError, match="scans have at most"):
        read_scan(path)
    with pytest.raises(SourceError, match="when unpacked"):
        read_scan_bytes(bz2.compress(b"1" * (MAX_BYTES + 1)), "bomb.xy.bz2")


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(SourceError, match="there is no such file"):
        read_scan(tmp_path / "none.xy")
    with pytest.raises(SourceError, match="this is a folder"):
        read_scan(tmp_path)
    with pytest.raises(SourceError, match="no such file or folder"):
        find_scans(tmp_path / "none")


def test_a_folder_is_searched_and_packed_files_are_opened(tmp_path):
    (tmp_path / "deep").mkdir()
    content = xy_text(ANGLES, COUNTS).encode()
    (tmp_path / "deep/a.xy.gz").write_bytes(gzip.compress(content))
    (tmp_path / "b.xy").write_bytes(content)
    (tmp_path / "notes.md").write_text("no scan")
    found = find_scans(tmp_path)
    assert [path.name for path in found] == ["b.xy", "a.xy.gz"]
    assert [len(read_scan(path)[0]) for path in found] == [len(ANGLES)] * 2


def test_values_are_frozen():
    (scan,) = read_scan_bytes(xy_text(ANGLES, COUNTS).encode(), "a.xy")
    with pytest.raises(ValueError, match="read-only"):
        scan.intensity[0] = 1.0
    with pytest.raises(TypeError):
        scan.metadata["x"] = "y"


def rebin_unmoved(angles, values, grid):
    result, mask = rebin(angles, values, grid, np.zeros(1))
    return result[0], mask[0]


def gaussian(angles, step=0.0):
    """A line at 20.003 degrees: at angles, or the means over steps around them."""
    if not step:
        return np.exp(-0.5 * ((angles - 20.003) / 0.06) ** 2)
    left, right = (ndtr((angles + side * step / 2 - 20.003) / 0.06) for side in (-1, 1))
    return (right - left) * 0.06 * np.sqrt(2 * np.pi) / step


# One takes a point for the value at its angle, the other for the mean over its step.
@pytest.mark.parametrize("bring", [resample, rebin_unmoved])
def test_resampling_keeps_positions_and_areas(bring):
    """A Gaussian peak on finer and coarser steps comes back as itself."""
    grid = TwoThetaGrid(10.0, 30.0, 2001)
    truth = gaussian(grid.angles())
    for step in (0.001, 0.0037, 0.008, 0.01, 0.017, 0.03, 0.05):
        angles = np.arange(9.5, 30.5, step)
        values = gaussian(angles, step if bring is rebin_unmoved else 0.0)
        result, mask = bring(angles, values, grid)
        assert mask.all()
        assert abs(result - truth).max() < 0.02, step
        assert abs(result.sum() / truth.sum() - 1.0) < 2e-3
        assert result.min() > -1e-6


@pytest.mark.parametrize("bring", [resample, rebin_unmoved])
def test_resampling_marks_gaps_and_ends(bring):
    grid = TwoThetaGrid(5.0, 90.0, 8501)
    angles = np.concatenate((np.arange(20, 30, 0.02), np.arange(40, 60, 0.02)))
    result, mask = bring(angles, np.ones(len(angles)), grid)
    measured = grid.angles()[mask]
    assert 19.98 <= measured[0] <= 20.0
    assert 59.97 <= measured[-1] <= 60.0
    assert not ((measured > 30.02) & (measured < 39.97)).any()
    assert not result[~mask].any()
    np.testing.assert_allclose(result[mask], 1.0)


def test_rebinning_is_the_same_after_neighbours_are_added_up():
    """A point is the mean over its own step: whole steps hold what they held."""
    grid = TwoThetaGrid(10.0, 30.0, 1001)
    rng = np.random.default_rng(0)
    fine = np.arange(10.0 - 0.0075, 30.02, 0.005)
    counts = rng.poisson(200.0, len(fine)).astype(float)
    whole, _ = rebin_unmoved(fine, counts, grid)
    four = len(fine) // 4 * 4
    for added in (2, 4):
        angles = fine[:four].reshape(-1, added).mean(axis=1)
        values = counts[:four].reshape(-1, added).mean(axis=1)
        result, mask = rebin_unmoved(angles, values, grid)
        assert mask.all()
        np.testing.assert_allclose(result[:-1], whole[:-1], rtol=1e-9)


def test_rebinning_moves_a_scan_by_what_is_asked():
    grid = TwoThetaGrid(10.0, 30.0, 1001)
    angles = np.arange(12.0, 28.0, 0.013)
    values = 5.0 + gaussian(angles)
    shifts = np.array([-0.04, -0.005, 0.0, 0.03])
    moved, masks = rebin(angles, values, grid, shifts)
    for row, mask, shift in zip(moved, masks, shifts, strict=True):
        alone, its_mask = rebin_unmoved(angles + shift, values, grid)
        np.testing.assert_allclose(row, alone, atol=1e-9)
        assert (mask == its_mask).all()
        top = (row - 5.0).clip(0.0) * mask
        centre = (top * grid.angles()).sum() / top.sum()
        assert centre == pytest.approx(20.003 + shift, abs=1e-3)


NUMBERS = st.floats(allow_nan=True, allow_infinity=True)


@given(st.binary(max_size=400), st.sampled_from(["a.xy", "a.uxd", "a.cif", "a.ras"]))
def test_fuzz_any_bytes(data, name):
    read_or_refuse(data, name)


@given(
    st.sampled_from([
        b"<?xml version='1.0'?><xrdMeasurements>", b"*RAS_DATA_START\n*RAS_INT_START\n",
        b"_FILEVERSION=2\n_START=1\n_STEPSIZE=0.1\n_COUNTS\n",
        b"\nBANK 1 4 1 CONST 100 2 ",
        b"data_x\nloop_\n_pd_meas_counts_total\n", b"RAW1.01\0", b"##NAMES=x\n",
        b"2theta;I\n", b"BZh9", b"\x1f\x8b\x08", b"\xff\xfe",
    ]),
    st.binary(max_size=300)
    | st.text("0123456789.,;-+eE \n\t#|_=<>/", max_size=300).map(str.encode),
)  # fmt: skip
@settings(max_examples=300)
def test_fuzz_beginnings_of_every_format(start, rest):
    read_or_refuse(start + rest, "a.dat")


@pytest.mark.parametrize("count", [b"!6", b"inf", b"nan", b"-6", b"1e400"])
def test_gsas_bank_without_numbers(count):
    text = b"title\nBANK 1 " + count + b" 1 CONST 1000 2.5 0 0 STD\n       1\n"
    with pytest.raises(SourceError):
        read_scan_bytes(text, "a.gsas")


@given(st.data())
@settings(max_examples=60)
def test_fuzz_damaged_files(data):
    """True files with bytes changed, cut or doubled."""
    good = data.draw(st.sampled_from(GOOD))
    position = data.draw(st.integers(0, len(good)))
    length = data.draw(st.integers(0, 40))
    insert = data.draw(st.binary(max_size=20))
    read_or_refuse(good[:position] + insert + good[position + length :], "a.xy")


GOOD = [
    make_xrdml(),
    xy_text(ANGLES[:40], COUNTS[:40]).encode(),
    xy_text(ANGLES[:40], COUNTS[:40], "{:.4f};{:.1f}").replace(".", ",").encode(),
    b"*RAS_DATA_START\n*RAS_HEADER_END\n*RAS_INT_START\n1 2 1\n2 3 1\n3 4 1\n"
    b"*RAS_INT_END\n",
    b"_FILEVERSION=1\n_START=10\n_STEPSIZE=0.1\n_COUNTS\n1 2 3 4 5 6\n",
    b"title\nBANK 1 6 1 CONST 1000 2.5 0 0 STD\n       1       2       3\n"
    b"       4       5       6\n",
    b"data_a\nloop_\n_pd_meas_2theta_scan\n_pd_meas_counts_total\n1 2\n2 3\n3 4\n",
]


@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=30))
def test_fuzz_numbers(pairs):
    text = "\n".join(f"{a!r} {b!r}" for a, b in pairs)
    read_or_refuse(text.encode(), "a.xy")


def read_or_refuse(data, name):
    """Never anything but sound patterns or a SourceError."""
    try:
        scans = read_scan_bytes(data, name)
    except SourceError as error:
        assert "\n" not in str(error)
        return
    assert scans
    for scan in scans:
        assert isinstance(scan, MeasuredPattern)
        assert len(scan.two_theta) == len(scan.intensity) >= 3
        assert (np.diff(scan.two_theta) > 0).all()
        assert np.isfinite(scan.intensity).all()
        assert scan.radiation is None or isinstance(scan.radiation, Radiation)
