import numpy as np
import pytest
from minerals import MINERALS

import pxrdbench as px
from pxrdbench.benchmark.foreign.open import open_model
from pxrdbench.errors import ModelError, OptionError, PatternError


def patterns(names):
    grid = px.TwoThetaGrid()
    crystals = px.CrystalBatch.from_crystals([MINERALS[name] for name in names])
    peaks = px.simulate_peaks(crystals, radiation="CuKa1")
    return px.render(peaks, grid, crystallite_size_nm=np.full(len(names), 50.0))


def test_it_reads_minerals_that_no_class_list_of_ours_held():
    reader = open_model("crystallographer")
    logits = reader.predict(patterns(["rutile", "spinel", "pyrope"]))
    assert logits.shape == (3, 230)
    assert np.exp(logits).sum(1) == pytest.approx(1.0, abs=1e-3)
    first = [reader.space_groups[k] for k in logits.argmax(1)]
    assert first == [136, 227, 230]


def test_a_pattern_without_lines_gets_the_prior():
    reader = open_model("crystallographer")
    flat = np.ones((1, reader.grid.points), np.float32)
    shares = np.exp(reader.predict(flat)[0])
    assert np.corrcoef(shares, reader.prior[1:])[0, 1] > 0.999


def test_what_cannot_be_is_said(tmp_path):
    with pytest.raises(OptionError, match="it has none"):
        open_model("crystallographer", weights=tmp_path)
    assert open_model("crystallographer:open").prior_name == "open"
    with pytest.raises(PatternError, match="prior"):
        open_model("crystallographer:none")
    with pytest.raises(ModelError, match="points"):
        open_model("crystallographer").predict(np.ones((1, 99), np.float32))
