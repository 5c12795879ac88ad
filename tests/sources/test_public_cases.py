"""Inputs after public bug reports: each is read rightly, or refused.

What is right stands in the ``.md`` beside each file of ``public_cases``.
"""

import pytest

from pxrdbench.crystal.structure import Crystal
from pxrdbench.errors import CrystalError, SourceError
from pxrdbench.sources.cif.files import find_licensed
from pxrdbench.sources.scans.read import read_scan
from pxrdbench.sources.structures.entry import crystal_formula

# Formula, group, atoms in the conventional cell; None where it is to be refused.
CRYSTALS = {
    "P21m_alpha.cif": ("PbO", 11, 4),
    "P2m_gamma.cif": ("PbO2", 10, 3),
    "T_label_only.cif": None,
    "bom2.cif": ("NaCl", 225, 8),
    "cell_nm.cif": None,
    "diamond_o2_number.cif": ("C", 227, 8),
    "dup_labels_same_el.cif": ("TiO6", 221, 7),
    "label_HOH.cif": ("OF", 225, 8),
    "mixed_type_symbol2.cif": None,
    "modulated_noname.cif": None,
    "nacl_nocentring.cif": ("NaCl", 225, 8),
    "nacl_xyz_only.cif": ("NaCl", 225, 8),
    "near_special_0.005.cif": None,
    "oh_label_brucite.cif": ("MgO2", 164, 3),
    "oh_type_shared.cif": ("CaO2", 164, 3),
    "spinel_Fd3m_old.cif": ("MgAl2O4", 227, 56),
    "spinel_findsym_words.cif": ("MgAl2O4", 227, 56),
    "spinel_o2_Z.cif": ("MgAl2O4", 227, 56),
    "spinel_o2_nosuffix.cif": ("MgAl2O4", 227, 56),
    "sym_in_other_block.cif": None,
    "symop_0.333.cif": ("PbO3", 146, 12),
    "symop_typo_P61.cif": None,
    "type_OH.cif": ("OF", 225, 8),
    "type_dot.cif": ("FeF", 225, 8),
    "type_isotope.cif": ("FeF", 225, 8),
    "unbalanced_quote.cif": ("NaCl", 225, 8),
    "utf16b.cif": ("NaCl", 225, 8),
    "utf8_unquoted.cif": ("NaCl", 225, 8),
    "water_W.cif": ("Ca(SiO3)2", 16, 18),
}
CU_PANALYTICAL = ((1.540598, 2 / 3), (1.544426, 1 / 3))
CU_BRUKER = ((1.5406, 2 / 3), (1.54439, 1 / 3))
CU_PHILIPS = ((1.54056, 2 / 3), (1.54439, 1 / 3))
USUAL = (4001, 10.0, 90.0, 4049.0)
# Points, first and last angle, highest intensity, lines (None: not told).
SCANS = {
    "ctrlz.xy": (*USUAL, None),
    "eva_raw4.txt": (*USUAL, CU_BRUKER),
    "fit2d_2th.txt": (*USUAL, None),
    "fit2d_Q_A.chi": None,
    "fit2d_Q_nm.chi": None,
    "fit2d_radial_mm.chi": None,
    "fortran_D.xy": (*USUAL, None),
    "fullprof_ins0.dat": (*USUAL, None),
    "hdr_D.xy": (*USUAL, None),
    "hdr_quartz.xy": (*USUAL, None),
    "hdr_quartz_bare.txt": (*USUAL, None),
    "hdr_tthrad.csv": (*USUAL, None),
    "highscore_peaks.csv": None,
    "iq_pdfgetx.iq": (2450, 0.94205, 48.51693, 1175.65682, ((0.2066, 1.0),)),
    "log.csv": (*USUAL, None),
    "panalytical.csv": (*USUAL, CU_PANALYTICAL),
    "pandas_index.csv": (*USUAL, None),
    "pandas_index_short.csv": (101, 10.0, 90.0, 640.0, None),
    "philips.udf": (*USUAL, CU_PHILIPS),
    "pyfai_2th_0.2066.xy": (4334, 1.0, 13.999, 4157.0, ((0.2066, 1.0),)),
    "pyfai_2th_rad.xy": (5701, 1.5, 30.0, 4201.0, ((0.4592, 1.0),)),
    "pyfai_new.dat": (4334, 1.0, 13.999, 4157.0, ((0.2066, 1.0),)),
    "quoted_all.csv": (*USUAL, None),
    "s_named.csv": None,
    "scattering_vector.csv": None,
    "siet.cpi": (*USUAL, ((1.54056, 1.0),)),
    "sqrt.csv": (*USUAL, None),
    "theta.csv": (*USUAL, None),
    "thousands_comma.csv": None,
    "thousands_point_de.csv": (*USUAL, None),
    "wl_nm_label_first.xy": (*USUAL, ((1.5406, 1.0),)),
    "xy_mo_in_comment.xy": (*USUAL, None),
    "xy_monitor_wavelength_mode.xy": (*USUAL, None),
    "xy_wl_m_8048.xy": (*USUAL, ((1.0332, 1.0),)),
}


@pytest.mark.data
def test_every_public_case_is_in_a_table(test_data):
    names = {path.name for path in (test_data / "public_cases").glob("*.*")}
    cases = {name for name in names if not name.endswith(".md")}
    assert cases - {"streams"} == CRYSTALS.keys() | SCANS.keys()
    assert len(CRYSTALS) + len(SCANS) == 63


@pytest.mark.data
@pytest.mark.parametrize("name", CRYSTALS)
def test_a_cif_is_read_rightly_or_refused(test_data, name):
    path = test_data / "public_cases" / name
    if CRYSTALS[name] is None:
        with pytest.raises(CrystalError) as caught:
            Crystal.from_cif(path)
        assert "\n" not in str(caught.value)
        return
    crystal = Crystal.from_cif(path)
    found = crystal_formula(crystal)[0], crystal.space_group
    assert (*found, len(crystal.to_pymatgen())) == CRYSTALS[name]


@pytest.mark.data
def test_rows_keep_their_own_displacements(test_data):
    crystal = Crystal.from_cif(test_data / "public_cases" / "dup_labels_same_el.cif")
    assert sorted((s.element, s.b_iso) for s in crystal.sites) == [
        ("O", 0.5), ("O", 3.0), ("Ti", 0.4),
    ]  # fmt: skip


@pytest.mark.data
@pytest.mark.parametrize(
    "name", ["unbalanced_quote.cif", "utf8_unquoted.cif", "utf16b.cif", "bom2.cif"]
)
def test_a_licence_mark_counts_whatever_is_broken(test_data, name):
    assert find_licensed(test_data / "public_cases" / name) == name[: -len(".cif")]


@pytest.mark.data
@pytest.mark.parametrize("name", SCANS)
def test_a_scan_is_read_rightly_or_refused(test_data, name):
    path = test_data / "public_cases" / name
    if SCANS[name] is None:
        with pytest.raises(SourceError) as caught:
            read_scan(path)
        assert "\n" not in str(caught.value)
        return
    (scan,) = read_scan(path)
    points, first, last, highest, lines = SCANS[name]
    assert len(scan) == points
    assert scan.two_theta[[0, -1]] == pytest.approx([first, last], abs=1e-4)
    assert scan.intensity.max() == pytest.approx(highest, rel=1e-4)
    if lines is None:
        assert scan.radiation is None
    else:
        for line, wanted in zip(scan.radiation.lines, lines, strict=True):
            assert line == pytest.approx(wanted)
    assert scan.stated["quantity"]
    assert (scan.stated["radiation"] == "not stated") == (scan.radiation is None)


@pytest.mark.data
def test_a_scan_over_q_is_converted_where_the_radiation_is_given(test_data):
    for name in ("fit2d_Q_A.chi", "fit2d_Q_nm.chi"):
        (scan,) = read_scan(test_data / "public_cases" / name, radiation=0.4592)
        assert (scan.quantity, scan.radiation) == ("Q", None)
        assert scan.two_theta[[0, -1]] == pytest.approx([1.5, 30.0], abs=1e-3)
