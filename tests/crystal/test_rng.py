import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxrdbench.crystal.rng import (
    STATE_SIZE,
    STREAM_CRYSTAL,
    STREAM_MEASUREMENT,
    STREAM_SHUFFLE,
    draw_uniforms,
    next_choice,
    next_normal,
    philox,
    seed_state,
)

# kat_vectors of the Random123 library, philox4x32 with 10 rounds.
KNOWN_ANSWERS = [
    ("00000000" * 4, "00000000" * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff" * 4, "ffffffff" * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        "243f6a8885a308d313198a2e03707344",
        "a4093822299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


def words(text):
    return [int(text[i : i + 8], 16) for i in range(0, len(text), 8)]


def philox_plain(counter, key):
    """The published rounds with Python's whole numbers."""
    c, k = list(counter), list(key)
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c[0], 2**32)
        high1, low1 = divmod(0xCD9E8D57 * c[2], 2**32)
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return tuple(c)


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_known_answers(counter, key, answer):
    expected = words(answer.replace(" ", ""))
    assert list(philox(*words(counter), *words(key))) == expected


@given(st.tuples(*[st.integers(0, 2**32 - 1)] * 6))
def test_equals_plain_rounds(values):
    assert philox(*values) == philox_plain(values[:4], values[4:])


@given(
    seed=st.integers(0, 2**64 - 1),
    start=st.integers(0, 2**62),
    count=st.integers(1, 5),
    n=st.integers(1, 5),
    block=st.integers(0, 1000),
)
def test_uniforms_are_the_words_of_their_counter(seed, start, count, n, block):
    drawn = draw_uniforms(seed, start, count, STREAM_MEASUREMENT, n, block)
    for row in range(count):
        index = start + row
        for column in range(n):
            counter = (
                block + column // 2,
                STREAM_MEASUREMENT,
                index % 2**32,
                index >> 32,
            )
            four = philox_plain(counter, (seed % 2**32, seed >> 32))
            high, low = four[2 * (column % 2) :][:2]
            assert drawn[row, column] == ((high << 32 | low) >> 11) * 2.0**-53


def test_rows_do_not_depend_on_the_batch():
    whole = draw_uniforms(5, 10, 20, STREAM_SHUFFLE, 3)
    parts = [draw_uniforms(5, 10 + i, 1, STREAM_SHUFFLE, 3) for i in range(20)]
    assert (whole == np.concatenate(parts)).all()


def test_streams_and_seeds_differ():
    base = draw_uniforms(5, 0, 50, STREAM_CRYSTAL, 2)
    assert not np.isin(base, draw_uniforms(5, 0, 50, STREAM_SHUFFLE, 2)).any()
    assert not np.isin(base, draw_uniforms(6, 0, 50, STREAM_CRYSTAL, 2)).any()


def test_uniforms_are_uniform():
    drawn = np.sort(draw_uniforms(1, 0, 20_000, STREAM_CRYSTAL, 2).ravel())
    distance = np.abs(drawn - (np.arange(len(drawn)) + 0.5) / len(drawn)).max()
    assert distance < 1.95 / np.sqrt(len(drawn))  # Kolmogorov, 0.1 %


@pytest.mark.parametrize(
    ("seed", "start", "count"), [(-1, 0, 1), (2**64, 0, 1), (0, -1, 1), (0, 0, -1)]
)
def test_what_does_not_fit_the_counter_is_refused(seed, start, count):
    with pytest.raises(ValueError, match=r"run from 0|0 <= seed"):
        draw_uniforms(seed, start, count, STREAM_CRYSTAL, 1)


def test_normal_and_choice_have_their_distributions():
    state = np.zeros(STATE_SIZE, np.uint64)
    seed_state(state, np.uint64(9), STREAM_CRYSTAL, np.uint64(0), 0)
    normal = np.array([next_normal(state) for _ in range(4000)])
    assert abs(normal.mean()) < 0.06
    assert abs(normal.std() - 1) < 0.05
    cumulative = np.cumsum([9.0, 1.0, 0.0, 3.0, 6.0, 0.0])
    # Rows 1 to 4 as a table of its own: 1, 0, 3, 6.
    own = cumulative.copy()
    own[1:5] = np.cumsum([1.0, 0.0, 3.0, 6.0])
    chosen = [next_choice(state, own, 1, 5) for _ in range(4000)]
    counts = np.bincount(chosen, minlength=4) / 4000
    assert counts[1] == 0
    assert np.abs(counts - [0.1, 0.0, 0.3, 0.6]).max() < 0.04
