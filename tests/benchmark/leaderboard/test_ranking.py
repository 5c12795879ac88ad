from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pxrdbench.benchmark.leaderboard.ranking import Contestant, rank_rows
from pxrdbench.benchmark.scoring.intervals import ClusterBootstrap, Estimate
from pxrdbench.benchmark.scoring.metrics import mean_score

CLUSTERS = [f"type {i // 2}" for i in range(200)]
BOOTSTRAP = ClusterBootstrap(CLUSTERS, replicates=300)


def contestant(name: str, correct: np.ndarray, with_crystals: bool = True):
    estimate = BOOTSTRAP.estimate(mean_score(correct))
    return Contestant(name, estimate, correct if with_crystals else None)


def flags(share: float, seed: int = 0) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(seed)).random(200) < share


def test_what_is_clear_is_ranked_and_what_is_not_ties():
    good, near, bad = flags(0.8), flags(0.8, seed=1), flags(0.2, seed=2)
    rows = [contestant("bad", bad), contestant("good", good), contestant("near", near)]
    standings = {s.name: s for s in rank_rows(rows, BOOTSTRAP)}
    assert (standings["good"].best, standings["good"].worst) == (1, 2)
    assert (standings["near"].best, standings["near"].worst) == (1, 2)
    assert (standings["bad"].best, standings["bad"].worst) == (3, 3)
    assert standings["good"].ties == ("near",)
    assert standings["bad"].ties == ()


def test_pairing_sees_what_overlapping_intervals_hide():
    base = flags(0.5)
    better = base | flags(0.15, seed=3)  # right wherever the base is
    upper, lower = contestant("upper", better), contestant("lower", base)
    assert upper.estimate.low < lower.estimate.high
    paired = rank_rows([upper, lower], BOOTSTRAP)
    assert [s.worst for s in paired] == [1, 2]
    assert all(s.is_paired for s in paired)
    blind = contestant("lower", base, with_crystals=False)
    by_interval = rank_rows([upper, blind], BOOTSTRAP)
    assert [(s.best, s.worst) for s in by_interval] == [(1, 2), (1, 2)]
    assert not any(s.is_paired for s in by_interval)


def test_equal_rows_tie_and_stand_by_name():
    same = flags(0.5)
    standings = rank_rows([contestant("b", same), contestant("a", same)], BOOTSTRAP)
    assert [(s.name, s.best, s.worst) for s in standings] == [("a", 1, 2), ("b", 1, 2)]


def test_a_thousand_rows_are_judged_as_pairs_were_one_by_one():
    rows = [contestant(f"r{i:02}", flags(0.3 + 0.02 * i, seed=i)) for i in range(20)]
    ordered = sorted(rows, key=lambda row: (-row.estimate.value, row.name))
    standings = rank_rows(rows, BOOTSTRAP)
    for i, upper in enumerate(ordered):
        for lower in ordered[i + 1 :]:
            gain = upper.correct.astype(float) - lower.correct
            found = BOOTSTRAP.estimate(mean_score(gain, lowest=-1.0))
            assert (found.low > 0.0) == (lower.name not in standings[i].ties)
    assert any(s.ties for s in standings)
    assert any(len(s.ties) < 19 for s in standings)


def test_a_row_is_resampled_once(monkeypatch):
    rows = [contestant(f"row {i}", flags(0.5, seed=i)) for i in range(12)]
    calls = []
    real = ClusterBootstrap.replicates_of
    monkeypatch.setattr(
        ClusterBootstrap,
        "replicates_of",
        lambda self, score: calls.append(1) or real(self, score),
    )
    rank_rows(rows, BOOTSTRAP)
    assert len(calls) == 12  # 66 pairs


def test_what_a_seed_may_change_makes_a_tie():
    good, bad = contestant("good", flags(0.9)), contestant("bad", flags(0.6, seed=1))
    assert not rank_rows([good, bad], BOOTSTRAP)[0].ties
    # A gap of 30 points: two seeds of 10 points each leave it, of 30 they do not.
    for width, ties in ((0.1, ()), (0.3, ("bad",))):
        wide = [replace(row, seed_half_width=width) for row in (good, bad)]
        assert rank_rows(wide, BOOTSTRAP)[0].ties == ties
        blind = [replace(row, correct=None) for row in wide]
        assert rank_rows(blind, None)[0].ties == ties


def test_no_rows_and_one_row():
    assert rank_rows([], None) == []
    only = rank_rows([Contestant("a", Estimate(0.5, 0.4, 0.6), None)], None)
    assert (only[0].best, only[0].worst, only[0].ties) == (1, 1, ())


@settings(max_examples=20)
@given(st.lists(st.floats(0.05, 0.95), min_size=1, max_size=6))
def test_ranks_hold_together(shares):
    rows = [
        contestant(f"row {i}", flags(share, seed=i)) for i, share in enumerate(shares)
    ]
    standings = rank_rows(rows, BOOTSTRAP)
    values = {row.name: row.estimate.value for row in rows}
    by_name = {s.name: s for s in standings}
    assert [values[s.name] for s in standings] == sorted(values.values(), reverse=True)
    for position, standing in enumerate(standings, start=1):
        # The place in the table is one of those that the data allow.
        assert 1 <= standing.best <= position <= standing.worst <= len(rows)
        assert standing.worst - standing.best == len(standing.ties)
        assert all(standing.name in by_name[other].ties for other in standing.ties)
    again = rank_rows(rows[::-1], BOOTSTRAP)
    assert again == standings


@pytest.mark.slow
def test_models_of_equal_worth_are_told_apart_as_rarely_as_stated():
    told_apart = 0
    for seed in range(200):
        generator = np.random.Generator(np.random.PCG64(seed))
        # Crystals of a cluster are right together.
        one, other = np.repeat(generator.random((2, 100)) < 0.5, 2, axis=1)
        rows = [contestant("one", one), contestant("other", other)]
        told_apart += not rank_rows(rows, BOOTSTRAP)[0].ties
    assert 0 < told_apart <= 20  # 5 % of 200 are 10
