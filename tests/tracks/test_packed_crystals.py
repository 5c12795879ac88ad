"""Packed crystals come back to the last bit, of tracks and of anything else."""

from dataclasses import fields, replace

import numpy as np
import pytest

from pxrdbench.crystal.generator.draw import draw_crystals
from pxrdbench.crystal.prior.prior import find_equal_prior, fit_prior, load_prior
from pxrdbench.crystal.structure import CrystalBatch, take_crystals
from pxrdbench.errors import SplitError
from pxrdbench.tracks.crystals import read_part_crystals
from pxrdbench.tracks.load import (
    AFLOW_TRACK,
    CHRONOLOGICAL_TRACK,
    OPEN_TRACK,
    RANDOM_TRACK,
    available_tracks,
    load_frozen_peaks,
    load_record,
    load_table,
    load_track,
    split_digest,
)
from pxrdbench.tracks.packed_crystals import pack_crystals, unpack_crystals
from pxrdbench.tracks.store import freeze_peaks


def assert_same(first: CrystalBatch, second: CrystalBatch) -> None:
    for field in fields(CrystalBatch):
        one, two = getattr(first, field.name), getattr(second, field.name)
        assert one.dtype == two.dtype, field.name
        assert one.tobytes() == two.tobytes(), field.name


@pytest.fixture(scope="module")
def drawn():
    prior = load_prior("open-145").with_frequencies("uniform")
    return draw_crystals(prior, 3, 0, 400)


def test_crystals_come_back_whole(drawn):
    assert len(set(drawn.space_group.tolist())) > 100
    assert_same(unpack_crystals(pack_crystals(drawn)), drawn)


def test_crystals_that_do_not_fit_their_positions_come_back_too(drawn):
    rng = np.random.default_rng(1)
    moved = replace(
        drawn,
        fract=np.nextafter(drawn.fract, 2.0),
        lattice=np.nextafter(drawn.lattice, 1e9),
        occupancy=rng.uniform(0.1, 1.0, len(drawn.occupancy)),
        b_iso=rng.uniform(0.0, 2.0, len(drawn.b_iso)),
        charge=rng.integers(-2, 3, len(drawn.charge)).astype(np.int8),
    )
    streams = pack_crystals(moved)
    assert "whole_fract" in streams and "whole_cells" in streams
    packed = {name: np.asarray(stream) for name, stream in streams.items()}
    for name in ("fract", "occupancy", "b_iso", "charge"):
        again = getattr(unpack_unchecked(packed), name)
        assert again.tobytes() == getattr(moved, name).tobytes()


def unpack_unchecked(streams):
    """A cell a rounding off is for the check to refuse, not for the packing."""
    try:
        return unpack_crystals(streams)
    except SplitError as error:
        pytest.skip(str(error))


def test_damage_is_said(drawn):
    streams = pack_crystals(drawn)
    for name in streams:
        with pytest.raises(SplitError):
            unpack_crystals({k: v for k, v in streams.items() if k != name})
        damaged = streams[name].copy()
        damaged[len(damaged) // 2 :] = 0
        with pytest.raises(SplitError, match=r"damaged|differ|group"):
            unpack_crystals(streams | {name: damaged})


@pytest.mark.parametrize("track", available_tracks())
def test_every_part_of_every_track_has_its_crystals(track):
    for part in load_record(track)["parts"]:
        loaded = load_track(track, part)
        crystals = loaded.crystals
        assert isinstance(crystals, CrystalBatch)
        assert crystals.space_group.tolist() == loaded.space_group.tolist()
        assert len(loaded.peaks.peak_offset) == len(loaded) + 1


@pytest.mark.parametrize("track", [OPEN_TRACK, RANDOM_TRACK, AFLOW_TRACK])
def test_the_stored_peaks_come_back_as_the_same_integers(track):
    loaded = load_track(track, "test")
    rows = np.arange(0, len(loaded), max(len(loaded) // 150, 1), dtype=np.int64)
    made = freeze_peaks(take_crystals(loaded.crystals, rows))
    stored = load_frozen_peaks(track, "test").take(rows)
    # Another processor may round a position or a step the other way now and then.
    assert made.peak_count.tolist() == stored.peak_count.tolist()
    steps = np.abs(made.position.astype(np.int64) - stored.position)
    assert steps.max() <= 1 and np.mean(steps > 0) < 1e-3
    codes = np.abs(made.code.astype(np.int64) - stored.code)
    assert codes.max() <= 1 and np.mean(codes > 0) < 1e-3


def test_the_shipped_prior_is_fitted_again_without_any_file():
    read = read_part_crystals(OPEN_TRACK, "statistics")
    known = load_prior("open-v0")
    fitted, _ = fit_prior(
        read.crystals,
        name="open-v0",
        split_digest=split_digest(OPEN_TRACK),
        source=known.source,
        frequencies_icsd=known.icsd_crystals,
    )
    assert known.source.startswith(read.source)
    equal = find_equal_prior(fitted)
    assert equal is not None and equal.digest == known.digest
    moved = replace(fitted, n_crystals=fitted.n_crystals + 1)
    assert find_equal_prior(moved) is None
    moved = replace(fitted, volume_factor=fitted.volume_factor * np.float32(1.0001))
    assert find_equal_prior(moved) is None
    assert find_equal_prior(replace(fitted, name="mine")) is None


def test_labels_of_a_part_are_those_of_its_table():
    read = read_part_crystals(CHRONOLOGICAL_TRACK, "statistics")
    table = load_table(CHRONOLOGICAL_TRACK, "statistics")
    assert read.structure_type == tuple(table["structure_type"].to_pylist())
    assert read.formula == tuple(table["formula"].to_pylist())
