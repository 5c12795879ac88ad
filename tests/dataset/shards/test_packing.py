"""Peak lists survive packing within the error their format promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxrdbench.dataset.shards.packing import (
    INTENSITY_FLOOR,
    POSITION_UNIT,
    pack_peaks,
    unpack_peaks,
)
from pxrdbench.diffraction.pattern import PeakBatch
from pxrdbench.errors import PatternError, ShardError

# Half a step of the fourth root.
HALF_STEP = 0.5 / 65535


def make_peaks(counts, seed=0, decades=5.9):
    """Random peak lists; intensities spread evenly over the decades."""
    generator = np.random.default_rng(seed)
    two_theta = [np.sort(generator.uniform(3.0, 92.0, n)) for n in counts]
    intensity = [
        10 ** generator.uniform(-decades, 0.0, n) * generator.uniform(1.0, 1e6)
        for n in counts
    ]
    return PeakBatch(
        two_theta=np.concatenate([*two_theta, []]),
        intensity=np.concatenate([*intensity, []]),
        peak_offset=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
    )


def relative(peaks):
    """Intensities relative to the strongest of each crystal."""
    values = peaks.intensity.copy()
    for first, last in zip(peaks.peak_offset[:-1], peaks.peak_offset[1:], strict=True):
        values[first:last] /= values[first:last].max(initial=1e-300)
    return values


@given(
    counts=st.lists(st.integers(0, 40), max_size=12),
    seed=st.integers(0, 2**32 - 1),
)
def test_peaks_come_back_within_half_a_step(counts, seed):
    peaks = make_peaks(counts, seed, decades=5.0)
    back = unpack_peaks(pack_peaks(peaks))
    assert np.array_equal(back.peak_offset, peaks.peak_offset)
    assert np.all(np.abs(back.two_theta - peaks.two_theta) <= 0.501 * POSITION_UNIT)
    error = np.abs(back.intensity**0.25 - relative(peaks) ** 0.25)
    assert np.all(error <= HALF_STEP * (1 + 1e-9))
    assert back.wavelength == peaks.wavelength


def test_packing_twice_changes_nothing():
    once = pack_peaks(make_peaks([200, 0, 31]))
    twice = pack_peaks(unpack_peaks(once))
    for name, values in once.items():
        assert np.array_equal(values, twice[name]), name


def test_peaks_below_the_floor_are_dropped_and_the_floor_stays():
    peaks = PeakBatch(
        two_theta=np.array([10.0, 20.0, 30.0, 40.0]),
        intensity=7.0 * np.array([0.9 * INTENSITY_FLOOR, INTENSITY_FLOOR, 1.0, 0.0]),
        peak_offset=np.array([0, 4]),
    )
    packed = pack_peaks(peaks)
    assert packed["two_theta"].tolist() == [200_000_000, 300_000_000]
    # The fourth root of 1e-6 is 0.0316.
    assert packed["intensity"].tolist() == [2072, 65535]


def test_a_crystal_depends_on_its_own_peaks_only():
    peaks = make_peaks([50, 60])
    alone = PeakBatch(
        peaks.two_theta[50:].copy(),
        peaks.intensity[50:].copy(),
        np.array([0, 60]),
    )
    together, single = pack_peaks(peaks), pack_peaks(alone)
    for name in ("two_theta", "intensity"):
        assert np.array_equal(together[name][-len(single[name]) :], single[name])


@pytest.mark.parametrize("intensity", [np.nan, np.inf, -1.0])
def test_impossible_intensities_name_the_crystal(intensity):
    peaks = PeakBatch(
        np.array([10.0, 20.0]), np.array([1.0, intensity]), np.array([0, 1, 2])
    )
    with pytest.raises(PatternError, match="crystal 1") as caught:
        pack_peaks(peaks)
    assert caught.value.index == 1


def test_angle_out_of_range_is_refused():
    with pytest.raises(PatternError, match="0-180"):
        pack_peaks(PeakBatch(np.array([181.0]), np.array([1.0]), np.array([0, 1])))


def test_counts_that_do_not_add_up_are_refused():
    packed = pack_peaks(make_peaks([5, 6]))
    packed["peak_count"] = np.array([5, 5], np.uint32)
    with pytest.raises(ShardError, match="add up to 10"):
        unpack_peaks(packed)


def test_errors_are_those_of_the_description():
    intensity = 10.0 ** np.linspace(-6, 0, 5000)
    peaks = PeakBatch(np.linspace(5, 90, 5000), intensity, np.array([0, 5000]))
    error = np.abs(unpack_peaks(pack_peaks(peaks)).intensity - intensity)
    assert error.max() < 3.1e-5
    relative_error = error / intensity
    assert relative_error[intensity > 0.01].max() < 1e-4
    assert relative_error.max() < 1e-3
