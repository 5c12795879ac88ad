import dataclasses
import json

import numpy as np
import pytest
from small_track import GRID, FixedClassifier, make_track

from pxrdbench.benchmark.evaluation import evaluate
from pxrdbench.benchmark.foreign.contract import InputContract, scale_patterns
from pxrdbench.benchmark.scoring.predict import predict_track, resample
from pxrdbench.benchmark.scoring.track_input import TrackInput, move_peaks, slice_peaks
from pxrdbench.crystal.generator.draw import draw_crystals
from pxrdbench.crystal.prior.prior import load_prior
from pxrdbench.diffraction.pattern import Radiation, TwoThetaGrid
from pxrdbench.diffraction.peaks import simulate_peaks
from pxrdbench.diffraction.profile import render
from pxrdbench.errors import EvaluationError, ModelError
from pxrdbench.tracks.load import MeasuredPart

COPPER = Radiation.parse("CuKa1")


@pytest.fixture(scope="module")
def track():
    return make_track(30)


def test_the_tracks_own_patterns_are_not_touched(track):
    for radiation in (None, COPPER, Radiation.parse(1.54056)):
        source = TrackInput.match(track, GRID, radiation)
        assert source.method == ""
        assert np.array_equal(source.batch(3, 4)[0], track.batch(3, 4).intensity)


def test_another_grid_is_rendered_not_interpolated(track):
    grid = TwoThetaGrid(10.0, 60.0, 5001)
    patterns, mask = TrackInput.match(track, grid, COPPER).batch(0, 5)
    assert mask is None
    wanted = render(slice_peaks(track, 0, 5), grid, track.crystallite_size_nm[:5])
    assert np.array_equal(patterns, wanted)


def test_a_grid_without_peaks_gives_an_empty_pattern(track):
    grid = TwoThetaGrid(70.0, 71.0, 101)
    patterns, _ = TrackInput.match(track, grid, COPPER).batch(0, 10)
    peaks = slice_peaks(track, 0, 10)
    filled = [
        ((p >= 70.0) & (p <= 71.0)).any()
        for p in np.split(peaks.two_theta, peaks.peak_offset[1:-1])
    ]
    assert 0 < sum(filled) < 10
    assert patterns.max(axis=1) == pytest.approx(np.array(filled, float))


def test_other_radiations_agree_with_a_simulation():
    """Against the simulator, which knows form factors at every wavelength."""
    crystals = draw_crystals(load_prior("open-v0"), seed=3, start=0, count=8)
    grid = TwoThetaGrid(5.0, 35.0, 3001)
    size = np.full(8, 50.0)
    # Without dispersion the two are the same physics.
    given = simulate_peaks(crystals, "CuKa1", (5.0, 90.0), "paper")
    for radiation in ("MoKa1", "MoKa"):
        wanted = simulate_peaks(crystals, radiation, (2.0, 38.0), "paper")
        moved = move_peaks(given, Radiation.parse(radiation))
        one, other = render(moved, grid, size), render(wanted, grid, size)
        assert np.abs(one - other).max() < 2e-3


def test_a_short_wavelength_covers_a_short_range(track):
    molybdenum = Radiation.parse("MoKa1")
    grid = TwoThetaGrid(5.0, 60.0, 5501)
    with pytest.raises(EvaluationError, match=r"tells of 2\.30-38\.0. degrees"):
        TrackInput.match(track, grid, molybdenum)
    source = TrackInput.match(track, grid, molybdenum, takes_mask=True)
    patterns, mask = source.batch(0, 4)
    angles = grid.angles()
    assert not mask[:, angles > 38.1].any()
    assert mask[:, angles < 38.0].all()
    assert not patterns[~mask].any()
    assert patterns.max(axis=1) == pytest.approx(np.ones(4))


def test_scalings_do_what_they_say():
    patterns = np.random.Generator(np.random.PCG64(1)).random((3, 50), np.float32)
    patterns[2] = 0.0
    assert scale_patterns(patterns, "maximum") is patterns
    assert scale_patterns(patterns, "square root")[0] == pytest.approx(
        np.sqrt(patterns[0])
    )
    assert scale_patterns(patterns, "sum").sum(axis=1) == pytest.approx([1, 1, 0])
    standard = scale_patterns(patterns, "standard")
    assert standard.mean(axis=1) == pytest.approx(np.zeros(3), abs=1e-6)
    assert standard.std(axis=1) == pytest.approx([1, 1, 0], abs=1e-5)


def test_a_mask_becomes_a_second_channel():
    contract = InputContract((1, 2), TwoThetaGrid(5, 90, 50), COPPER, mask=True)
    patterns = np.ones((2, 50), np.float32)
    mask = np.arange(50)[None] < np.array([[10], [50]])
    both = contract.prepare(patterns, mask)
    assert both.shape == (2, 2, 50)
    assert np.array_equal(both[:, 1], mask)
    assert (contract.prepare(patterns)[:, 1] == 1).all()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"scaling": "log"}, "known are maximum, square root"),
        ({"mask": 1}, "true or false"),
        ({"radiation": "XyKa"}, "unknown radiation"),
        ({"radiation": None}, "lacks 'radiation'"),
        ({"grid": {"start": 5}}, "start, stop and points"),
    ],
)
def test_contracts_that_cannot_be_are_refused(change, match):
    record = {
        "space_groups": [1, 2],
        "grid": {"start": 5, "stop": 90, "points": 50},
        "radiation": "CuKa1",
    }
    with pytest.raises(ModelError, match=match):
        InputContract.parse(json.dumps(record | change), "here")


@pytest.fixture(scope="module")
def measured(track):
    """The track as if an instrument had written it."""
    return MeasuredPart(
        name="test/measured", part="test", version=1, digest="1" * 64,
        ids=track.ids, space_group=track.space_group,
        structure_type=track.structure_type,
        intensity=track.batch(0, len(track)).intensity,
        grid=track.grid, radiation=Radiation.parse("CuKa"),
    )  # fmt: skip


def test_measured_patterns_are_interpolated(measured, track):
    own, _ = TrackInput.match(measured, GRID, COPPER).batch(0, 4)
    assert np.array_equal(own, measured.intensity[:4])
    coarse = TwoThetaGrid(10.0, 60.0, 501)
    source = TrackInput.match(measured, coarse, COPPER)
    assert source.method.startswith("interpolated")
    rows, _ = source.batch(0, 4)
    wanted = resample(measured.intensity[:4], GRID, coarse)
    assert rows == pytest.approx(wanted, abs=1e-5)
    with pytest.raises(EvaluationError, match="degrees only"):
        TrackInput.match(measured, GRID, Radiation.parse("MoKa1"))


def test_spacings_of_a_measured_pattern_stay(measured):
    """Each peak of the interpolated pattern is at the angle of its spacing."""
    grid = TwoThetaGrid(5.0, 35.0, 12001)
    molybdenum = Radiation.parse("MoKa1")
    rows, _ = TrackInput.match(measured, grid, molybdenum).batch(0, 5)
    for row, own in zip(rows, measured.intensity, strict=False):
        angle = np.radians(grid.angles()[row.argmax()] / 2)
        sine = np.sin(angle) * measured.radiation.wavelength / molybdenum.wavelength
        back = np.degrees(2 * np.arcsin(sine))
        near = np.interp(back, GRID.angles(), own)
        assert near > 0.2  # a peak stands there; the factor may choose another


def test_measured_patterns_are_evaluated(measured, tmp_path):
    evaluation = evaluate(FixedClassifier(), measured, out=tmp_path)
    assert evaluation.interval["clusters"] == "minerals"
    assert evaluation.by_peaks == ()
    assert (tmp_path / "report.html").is_file()
    restricted = dataclasses.replace(measured, restricted=True)
    assert predict_track(FixedClassifier(), restricted).restricted
