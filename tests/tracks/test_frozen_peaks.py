"""Frozen peaks: rounding is small, and the file gives back every whole number."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pxrdbench.crystal.structure import Crystal, CrystalBatch
from pxrdbench.diffraction.pattern import PeakBatch, TwoThetaGrid
from pxrdbench.diffraction.peaks import simulate_peaks
from pxrdbench.diffraction.profile import render
from pxrdbench.errors import PatternError, SplitError
from pxrdbench.sources.databases.aflow import read_prototypes
from pxrdbench.tracks.frozen_peaks import INTENSITY_FLOOR, FrozenPeaks


@st.composite
def peak_lists(draw):
    """Some crystals with some peaks each, strong and weak ones."""
    angle = st.floats(3.0, 179.0)
    peak = st.tuples(angle, st.floats(1e-9, 1e9))
    crystals = draw(
        st.lists(st.lists(peak, min_size=1, max_size=8), min_size=1, max_size=6)
    )
    peaks = [peak for crystal in crystals for peak in sorted(crystal)]
    return PeakBatch(
        two_theta=np.array([two_theta for two_theta, _ in peaks]),
        intensity=np.array([intensity for _, intensity in peaks]),
        peak_offset=np.cumsum([0, *map(len, crystals)]).astype(np.int64),
        wavelength=1.5406,
    )


@given(peak_lists())
def test_rounding_is_half_a_step_and_weak_peaks_are_dropped(peaks):
    frozen = FrozenPeaks.from_peaks(peaks).to_peaks()
    assert len(frozen) == len(peaks)
    for row in range(len(peaks)):
        mine = slice(*peaks.peak_offset[row : row + 2])
        kept = slice(*frozen.peak_offset[row : row + 2])
        relative = peaks.intensity[mine] / peaks.intensity[mine].max()
        stays = relative >= INTENSITY_FLOOR
        shift = frozen.two_theta[kept] - peaks.two_theta[mine][stays]
        assert np.abs(shift).max() < 0.51e-5
        change = np.sqrt(frozen.intensity[kept]) - np.sqrt(relative[stays])
        assert np.abs(change).max() < 1.01e-4
        assert frozen.intensity[kept].max() == 1.0


@settings(max_examples=20)
@given(peak_lists())
def test_a_file_gives_back_every_whole_number(peaks):
    frozen = FrozenPeaks.from_peaks(peaks)
    again = FrozenPeaks.from_streams(frozen.to_streams())
    assert np.array_equal(again.position, frozen.position)
    assert np.array_equal(again.code, frozen.code)
    assert np.array_equal(again.peak_count, frozen.peak_count)
    assert again.wavelength == frozen.wavelength
    assert again.to_bytes() == frozen.to_bytes()


@given(peak_lists())
def test_freezing_what_is_frozen_changes_nothing(peaks):
    frozen = FrozenPeaks.from_peaks(peaks)
    assert FrozenPeaks.from_peaks(frozen.to_peaks()).to_bytes() == frozen.to_bytes()


def test_rounding_hardly_changes_a_pattern():
    structures = [prototype.structure for prototype in read_prototypes()[::12]]
    crystals = CrystalBatch.from_crystals(
        [Crystal.from_pymatgen(structure) for structure in structures]
    )
    exact = simulate_peaks(crystals, two_theta=(3.0, 92.0), precision="double")
    frozen = FrozenPeaks.from_peaks(exact).to_peaks()
    # The narrowest profiles of a track.
    difference = render(frozen, TwoThetaGrid(), 100.0) - render(
        exact, TwoThetaGrid(), 100.0
    )
    assert np.abs(difference).max() < 3e-4


def test_a_crystal_without_peaks_is_named():
    peaks = PeakBatch(np.array([20.0]), np.array([1.0]), np.array([0, 1, 1]))
    with pytest.raises(PatternError, match="crystal 1 has no peak") as caught:
        FrozenPeaks.from_peaks(peaks)
    assert caught.value.index == 1


def test_damage_is_told():
    peaks = PeakBatch(np.array([20.0, 30.0]), np.array([1.0, 0.5]), np.array([0, 2]))
    streams = FrozenPeaks.from_peaks(peaks).to_streams()
    with pytest.raises(SplitError, match="is damaged"):
        FrozenPeaks.from_streams({**streams, "code": streams["code"][:-9]})
    with pytest.raises(SplitError, match="do not make peak lists"):
        other = FrozenPeaks.from_peaks(
            PeakBatch(np.array([20.0]), np.array([1.0]), np.array([0, 1]))
        ).to_streams()
        FrozenPeaks.from_streams({**streams, "code": other["code"]})
