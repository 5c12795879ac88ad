"""Headers that tell of another axis than 2θ, or of several, in the ways people write.

Kinds after public bug reports and invented ones: each is read rightly or refused.
"""

import numpy as np
import pytest

from pxrdbench.errors import SourceError
from pxrdbench.sources.scans.quantity import read_quantity
from pxrdbench.sources.scans.read import read_scan_bytes
from pxrdbench.sources.scans.stated_radiation import find_stated_radiation

WAVELENGTH = 1.5406
ANGLES = np.round(np.arange(10.0, 20.001, 0.05), 4)
COUNTS = np.round(50.0 + 900.0 * np.exp(-(((ANGLES - 14.0) / 0.1) ** 2)))
COUNTS += np.arange(len(COUNTS)) % 3  # noise: no column of counts rises steadily
SINE = np.sin(np.radians(ANGLES / 2.0))
AXES = {
    "2theta": ANGLES, "Q": 4.0 * np.pi * SINE / WAVELENGTH,
    "nm": 40.0 * np.pi * SINE / WAVELENGTH, "d": WAVELENGTH / (2.0 * SINE),
    "d in nm": WAVELENGTH / (20.0 * SINE),
}  # fmt: skip


def columns(*values, by=" "):
    rows = zip(*values, strict=True)
    return "\n".join(by.join(f"{v:.7f}" for v in row) for row in rows) + "\n"


def read(text, name="a.xy"):
    (scan,) = read_scan_bytes(text.encode(), name)
    return scan


def is_the_scan(scan):
    return (
        len(scan) == len(ANGLES)
        and np.allclose(scan.two_theta, ANGLES, atol=1e-3)
        and np.allclose(scan.intensity, COUNTS, rtol=1e-4)
    )


@pytest.mark.parametrize(
    ("head", "axis"),
    [
        # Names with blanks, cut by blanks: the unit belongs to the name before it.
        ("Q (1/A) Intensity (counts)", "Q"), ("# Q (A^-1) I (a.u.)", "Q"),
        ("# Scattering vector Q in 1/Angstrom and intensity", "Q"),
        ("2 theta (deg.) Intensity (counts)", "2theta"),
        # Lines that speak of columns.
        ("# x: q_nm^-1", "nm"), ("# column 1: Q (1/A)\n# column 2: counts", "Q"),
        ("# axes: Q [A^-1], Intensity", "Q"), ("# 1. column: d [nm]", "d in nm"),
        ("# Column 1 = 2theta\n# Column 2 = I", "2theta"),
        ("# x, y, e", "2theta"), ("Th2Th Counts", "2theta"), ("Winkel Zahl", "2theta"),
        # What is set there is not what the columns are.
        ("# qmax (1/A): 12.0", "2theta"), ("# d-spacing limit = 0.8", "2theta"),
    ],
)  # fmt: skip
def test_a_header_says_what_the_first_column_is(head, axis):
    text = f"# wavelength: {WAVELENGTH}\n{head}\n"
    assert is_the_scan(read(text + columns(AXES[axis], COUNTS)))


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("Binding Energy (eV) CPS", "binding energy"),
        ("Raman shift (cm-1) Intensity (a.u.)", "raman"),
        ("Energy keV Counts", "energy"), ("Time of flight (us) Counts", "time of"),
        ("# col1: q, col2: I", "no unit"), ("# Data columns: Q, I, err", "no unit"),
        ("sin2theta I", "a function of"), ("sin^2(theta) counts", "a function of"),
        ("1/d^2 (1/A^2) I", "a function of"), ("Q^2 I", "a function of"),
        ("nm^-1 counts", "inverse length"), ("Angstrom counts", "a length"),
        ("ch cts", "are named ch, cts"),
        ("# measured over the scattering vector", "speaks of another quantity"),
        ("# bank 3 by time-of-flight", "speaks of another quantity"),
        ("# all angles in radians", "speaks of another quantity"),
    ],
)  # fmt: skip
def test_a_header_that_speaks_of_something_else_asks(head, message):
    with pytest.raises(SourceError, match=message):
        read(f"{head}\n" + columns(ANGLES, COUNTS))


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("Field;Moment", "are named Field, Moment"), ("foo;bar", "are named foo, bar"),
        ("x;y\nnm-1;a.u.", "inverse length"),
        ("2theta;I^2", "a power or a product"), ("2theta;LogI", "unknown base"),
        ("2theta;Intensity (dB)", "unknown base"),
        ("2theta;background", "that were measured"),
        ("2theta;difference", "that were measured"),
    ],
)  # fmt: skip
def test_names_in_cells_that_are_not_known_ask(head, message):
    with pytest.raises(SourceError, match=message):
        read(head + "\n" + columns(ANGLES, COUNTS, by=";"), "a.csv")
    assert is_the_scan(read("Probe 3; fein\n" + columns(ANGLES, COUNTS, by=";")))


def test_several_columns_of_intensities():
    other = COUNTS[::-1]
    for head, values in [
        ("2theta,Iobs,Icalc,bkg", (COUNTS, other, other)),
        ("2theta,Ycalc,Yobs", (other, COUNTS)),
        ("2theta,counts,cps", (COUNTS, COUNTS / 2.5)),
        ('"x","y_obs","weight","y_calc","y_bkg","Q"',
         (COUNTS, other, other, other, AXES["Q"])),
    ]:  # fmt: skip
        assert is_the_scan(read(f"{head}\n" + columns(ANGLES, *values, by=","))), head
    for head in ("2theta,I 300K,I 100K", "2theta,I(1),I(2)", "x,y1,y2"):
        with pytest.raises(SourceError, match="any of the columns"):
            read(f"{head}\n" + columns(ANGLES, COUNTS, other, by=","))


def test_columns_without_names_that_are_no_scan():
    with pytest.raises(SourceError, match="too little for 2θ in degrees"):
        read(columns(np.radians(ANGLES), COUNTS))
    with pytest.raises(SourceError, match="too little for 2θ in degrees"):
        read(columns(AXES["Q"], COUNTS))
    with pytest.raises(SourceError, match="rises or falls steadily"):
        read(columns(ANGLES / 2.0, ANGLES, COUNTS))
    for suffix in (".gr", ".iq", ".qye", ".tof"):
        with pytest.raises(SourceError, match=f"in a {suffix} file"):
            read(columns(ANGLES, COUNTS), f"a{suffix}")


def test_pairs_beside_each_other_are_put_one_below_the_other():
    whole = len(ANGLES) // 3 * 3
    pairs = np.column_stack([ANGLES, COUNTS])[:whole].reshape(-1, 6)
    scan = read("\n".join(" ".join(map(str, row)) for row in pairs))
    assert scan.two_theta == pytest.approx(ANGLES[:whole])
    assert scan.intensity == pytest.approx(COUNTS[:whole])


def test_separators_of_thousands():
    high = (COUNTS + 700.0).astype(int)  # 750 to 1652
    for blank in ("\u00a0", "\u202f"):
        rows = [f"{x:.4f} {y:,}".replace(",", blank)
                for x, y in zip(ANGLES, high, strict=True)]  # fmt: skip
        scan = read("\n".join(rows))
        assert scan.intensity == pytest.approx(high)
    rows = [f"{x:.4f}\t{y:,}".replace(",", ".")
            for x, y in zip(ANGLES, high, strict=True)]  # fmt: skip
    with pytest.raises(SourceError, match="separated into thousands"):
        read("\n".join(rows))
    rows = [f"{x:.4f} {y + 1000:,}".replace(",", " ")
            for x, y in zip(ANGLES, high, strict=True)]  # fmt: skip
    with pytest.raises(SourceError, match="separated into thousands"):
        read("\n".join(rows))
    # Numbers with three decimals that are no thousands.
    scan = read("\n".join(f"{x:.4f} {y / 1000.0:.3f}"
                          for x, y in zip(ANGLES, COUNTS, strict=True)))  # fmt: skip
    assert scan.intensity == pytest.approx(COUNTS / 1000.0)


def test_fullprofs_factors_are_applied():
    head = "XYDATA\nINTER 0.01 2.0 2\nTEMP 300\n"
    scan = read(head + columns(ANGLES * 100.0, COUNTS / 2.0), "a.dat")
    assert is_the_scan(scan)


@pytest.mark.parametrize(
    ("line", "lines"),
    [
        ("# Wavelength 1.540598 (Kα1) 1.544426 (Kα2)", (1.540598, 1.544426)),
        ("# wavelength 1.5406 1.5444 0.5", (1.5406, 1.5444)),
        ("# Lambda 1: 1.5406, Lambda 2: 1.5444", (1.5406, 1.5444)),
        ("# wavelength: 0.7093", (0.7093,)),
        ("# wavelength: 0.15406", None), ("# wavelength: 0.15418", None),
        ("# wavelength: 0.15406 nm", (1.5406,)),
        ("# Lambda 1: see below", None),
    ],
)  # fmt: skip
def test_wavelengths_of_one_line(line, lines):
    radiation, _ = find_stated_radiation([line])
    found = None if radiation is None else tuple(w for w, _ in radiation.lines)
    assert found == (None if lines is None else pytest.approx(lines))


def test_formats_that_state_another_axis_or_unit():
    asc = (
        "*TYPE = Raw\n*SCAN_AXIS = theta\n*START = 10\n*STOP = 12\n*STEP = 0.5\n"
        "*BEGIN\n5,6,7,6,5\n*END\n"
    )
    with pytest.raises(SourceError, match="a scan over 'theta'"):
        read(asc, "a.asc")
    assert len(read(asc.replace("= theta", "= theta/2theta"), "a.asc")) == 5
    ras = (
        '*RAS_DATA_START\n*RAS_HEADER_START\n*MEAS_SCAN_UNIT_X "rad"\n'
        "*RAS_HEADER_END\n*RAS_INT_START\n0.1 5 1\n0.2 6 1\n0.3 5 1\n*RAS_INT_END\n"
    )
    with pytest.raises(SourceError, match="only degrees"):
        read(ras, "a.ras")
    gsas = "title\nBANK 1 3 3 CONS 10.0 5.0 0 0 FXYE\n10 5 1\n15 6 1\n20 5 1\n"
    with pytest.raises(SourceError, match="hundredths of a degree"):
        read(gsas, "a.fxye")
    with pytest.raises(SourceError, match="Philips RD"):
        read_scan_bytes(b"V3RD\0\0", "a.rd")


def test_names_that_look_like_angles_and_are_none():
    for name in ("sin2theta", "cos theta", "Q^2", "1/d²", "d^-2"):
        assert read_quantity(name).kind.startswith("function")
