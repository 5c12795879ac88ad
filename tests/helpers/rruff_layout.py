"""Archives in the true layout of RRUFF's downloads, with patterns made here."""

import zipfile
from pathlib import Path

import numpy as np

HEADER = [
    "##NAMES={name}",
    "##RRUFFID={base}",
    "##IDEAL CHEMISTRY={chemistry}",
    "##LOCALITY=a quarry, Süd-Norwegen",
    "##OWNER=somebody",
    "##SOURCE=somebody",
    "##DESCRIPTION=white crystals",
    "##STATUS={status}",
    "##URL=rruff.info/{base}",
]
CONFIRMED = "The identification of this mineral has been confirmed by X-ray diffraction"
UNCONFIRMED = "The identification of this mineral is not yet confirmed."


def make_intensity(angles: np.ndarray, seed: int = 0, background: float = 50.0):
    """Some peaks, a sloping background and counting noise."""
    rng = np.random.default_rng(seed)
    result = background * np.exp(-angles / 40.0)
    for centre, height in zip(
        rng.uniform(12, 85, 12), rng.uniform(50, 1000, 12), strict=True
    ):
        result += height * np.exp(-(((angles - centre) / 0.08) ** 2))
    return rng.poisson(result + 1.0).astype(float)


def write_xy(
    name: str,
    rruff_id: str,
    start: float = 5.0,
    step: float = 0.01,
    stop: float = 90.0,
    *,
    line_end: str = "\r\n",
    wavelength: bool = False,
    cell: bool = True,
    status: str = CONFIRMED,
    chemistry: str = "SiO_2_",
    seed: int = 0,
) -> bytes:
    """One file of XY_RAW or XY_Processed."""
    lines = [
        line.format(name=name, base=rruff_id[:7], chemistry=chemistry, status=status)
        for line in HEADER
    ]
    if wavelength:
        lines.append("##X-RAY WAVELENGTH=1.541838")
    if cell:
        lines.append("##CELL PARAMETERS=a: 4.9133(2)Å b: 4.9133(2)Å c: 5.4053(4)Å")
    angles = start + step * np.arange(round((stop - start) / step) + 1)
    for angle, count in zip(angles, make_intensity(angles, seed), strict=True):
        lines.append(f"{angle:.3f}, {count:.4f}")
    lines += ["##END=", "", ""]
    return line_end.join(lines).encode("latin-1")


def write_dif(name: str, symbol: str, rruff_id: str = "R040009") -> bytes:
    """One DIF file, rich-text remains included."""
    return f"""      {name}
Diffraction data computed using the structure from the paper listed below, \\par
along with the cell parameters refined from the powder pattern of {rruff_id}
      Somebody A B, Else C
      American Mineralogist 58 (1973) 594-618

      CELL PARAMETERS:   9.7481  8.9230  5.2508   90.000  105.886   90.000
      SPACE GROUP: {symbol}      \\par

           ATOM        X         Y         Z     OCCUPANCY  ISO(B)
            Wa     0.28620   0.09330   0.22930     1.000     0.230

            X-RAY WAVELENGTH:     1.541838
            BOUNDS ON TWO THETA:    5.0  90.0

               2-THETA      INTENSITY    D-SPACING   H   K   L
                19.90          3.12        4.4615    0   2   0
                29.88        100.00        2.9904   -2   2   1
{"=" * 80}
       XPOW Copyright 1993 Bob Downs, Ranjini Swaminathan and Kurt Bartelmehs
""".encode("latin-1")


def write_archives(folder: Path) -> None:
    """XY_RAW.zip, XY_Processed.zip and DIF.zip with every oddity that is known."""
    folder.mkdir(parents=True, exist_ok=True)
    scans = {
        "Quartz__R040031-1__Powder__Xray_Data_XY_{kind}__5234.txt": write_xy(
            "Quartz", "R040031-1", wavelength=True
        ),
        "Albite__R040068-1__Powder__Xray_Data_XY_{kind}"
        "__0123456789abcdef0123456789ab.txt": write_xy(
            "Albite", "R040068-1", step=0.02, line_end="\n", cell=False, seed=1
        ),
        "Diopside__R040009-2__Powder__Xray_Data_XY_{kind}__77.txt": write_xy(
            "Diopside", "R040009-2", start=3.0, stop=85.0, seed=2
        ),
        "Nolabel__R050000-1__Powder__Xray_Data_XY_{kind}__1.txt": write_xy(
            "Nolabel", "R050000-1"
        ),
        "Strange__R050001-1__Powder__Xray_Data_XY_{kind}__2.txt": write_xy(
            "Strange", "R050001-1"
        ),
        "Maybe__R050002-1__Powder__Xray_Data_XY_{kind}__3.txt": write_xy(
            "Maybe", "R050002-1", status=UNCONFIRMED
        ),
        "Short__R050003-1__Powder__Xray_Data_XY_{kind}__4.txt": write_xy(
            "Short", "R050003-1", start=25.0
        ),
        "Broken__R050004-1__Powder__Xray_Data_XY_{kind}__5.txt": write_xy(
            "Broken", "R050004-1"
        ).replace(b"40.000, ", b"40.000; none "),
        "readme.txt": b"not a pattern",
    }
    labels = {
        "Quartz__R040031-1__Powder__DIF_File__5234.txt": ("Quartz", "P3_221"),
        "Albite__R040068-1__Powder__DIF_File__99.txt": ("Albite", "C-1"),
        "Diopside__R040009-1__Powder__DIF_File__7.txt": ("Diopside", "C2/c"),
        "Strange__R050001-1__Powder__DIF_File__2.txt": ("Strange", "X7_9/q"),
        "Maybe__R050002-1__Powder__DIF_File__3.txt": ("Maybe", "Pbnm"),
        "Short__R050003-1__Powder__DIF_File__4.txt": ("Short", "Fd3m"),
        "Broken__R050004-1__Powder__DIF_File__5.txt": ("Broken", "I-42d"),
    }
    for kind in ("RAW", "Processed"):
        with zipfile.ZipFile(folder / f"XY_{kind}.zip", "w") as archive:
            for name, content in scans.items():
                archive.writestr(f"XY_{kind}/" + name.format(kind=kind), content)
    with zipfile.ZipFile(folder / "DIF.zip", "w") as archive:
        for name, (mineral, symbol) in labels.items():
            archive.writestr(name, write_dif(mineral, symbol))
