import numpy as np

from pxrdbench.indexing.lines.gaussians import SHARPENING, find_sigma0, sharpen
from pxrdbench.indexing.lines.profile_fit import (
    evaluate_lines,
    fit_lines,
    second_place,
    smooth_width,
)

START, STEP, POINTS = 20.0, 0.02, 600
SHAPE = np.array([0.02, 0.01, 1e-4])
LORENTZ, SECOND, RATIO = 0.4, 0.5, 1.544427 / 1.540593


def slow_model(place, height, width):
    """The sum of doublets as the formula has it."""
    x = START + STEP * np.arange(POINTS)
    y = np.zeros(POINTS)
    for c, a, w in zip(place, height, width, strict=True):
        c2 = 2 * np.degrees(np.arcsin(RATIO * np.sin(np.radians(c / 2))))
        for centre, part in ((c, 1.0), (c2, SECOND)):
            t = (x - centre) / w
            y += a * part * (
                LORENTZ / (1 + 4 * t**2)
                + (1 - LORENTZ) * np.exp(-4 * np.log(2) * t**2)
            )  # fmt: skip
    return y


def test_profiles_and_slopes_against_the_formula():
    place, height = np.array([24.0, 24.3, 30.0]), np.array([5.0, 2.0, 1.0])
    width = smooth_width(24.0, SHAPE) * np.array([1.0, 1.2, 0.9])
    first, last, offset = np.empty(3, int), np.empty(3, int), np.empty(4, int)
    parts, model = np.zeros((4000, 3)), np.zeros(POINTS)
    noise = np.full(POINTS, 1e-3)
    assert evaluate_lines(
        START, STEP, noise, place, height, width, LORENTZ, SECOND, RATIO, first, last,
        offset, parts, model,
    )  # fmt: skip
    wanted = slow_model(place, height, width)
    near = np.zeros(POINTS, bool)
    for j in range(3):
        near[first[j] + 20 : last[j] - 20] = True
    np.testing.assert_allclose(model[near], wanted[near], atol=0.02)
    for j in range(3):
        for column, which in ((1, 0), (2, 2)):
            change = 1e-5
            up = [place.copy(), height.copy(), width.copy()]
            down = [place.copy(), height.copy(), width.copy()]
            if which == 2:
                up[2][j] *= np.exp(change)
                down[2][j] *= np.exp(-change)
            else:
                up[0][j] += change
                down[0][j] -= change
            slope = (slow_model(*up) - slow_model(*down)) / (2 * change)
            mine = parts[offset[j] : offset[j + 1], column]
            theirs = slope[first[j] : last[j]]
            # The second line is taken to move with the first.
            assert np.abs(mine - theirs).max() < 0.02 * np.abs(theirs).max()


def test_a_fit_finds_what_was_put_in():
    place, height = np.array([24.0, 24.25, 28.0]), np.array([900.0, 400.0, 100.0])
    width = np.array([smooth_width(c, SHAPE) for c in place])
    y = slow_model(place, height, width)
    noise = np.full(POINTS, 2.0)
    off = np.array([0.02, -0.02, 0.03])
    guess = [place + off, height * 0.8, width * 1.1]
    model, variance = np.zeros(POINTS), np.zeros((3, 3))
    chi2 = fit_lines(
        START, STEP, y, noise, *guess, SHAPE, LORENTZ, SECOND, RATIO, 0.3, 12, 0.03,
        model, variance,
    )  # fmt: skip
    assert 0.0 <= chi2 < 0.3 * POINTS
    np.testing.assert_allclose(guess[0], place, atol=2e-3)
    np.testing.assert_allclose(guess[1], height, rtol=0.03)
    assert (variance > 0.0).all()


def test_second_line_by_braggs_law():
    d = 1.540593 / 2 / np.sin(np.radians(30.0 / 2))
    wanted = 2 * np.degrees(np.arcsin(1.544427 / 2 / d))
    np.testing.assert_allclose(second_place(30.0, RATIO), wanted)


def test_sharpening_against_a_plain_sum():
    y = np.random.default_rng(0).normal(size=200)
    sigma, out = 4.0, np.empty(200)
    sharpen(y, 1, sigma, 5.0, 1e-9, SHARPENING, out)
    cos = np.cos(np.radians(2.5))
    z = np.arange(int(6 * sigma / cos) + 1) / (sigma / cos)
    taps = np.interp(z, np.arange(len(SHARPENING)) / 64, SHARPENING) / (sigma / cos)
    kernel = np.concatenate([taps[:0:-1], taps])
    np.testing.assert_allclose(out, np.convolve(y, kernel, "same"), atol=1e-9)


def test_sigma_from_the_sharpest_curvature():
    x = np.arange(3000.0)
    cos = np.cos(np.radians((5.0 + 0.01 * x) / 2))

    def gauss(c, sigma0):
        s = sigma0 / np.cos(np.radians((5.0 + 0.01 * c) / 2))
        return np.exp(-0.5 * ((x - c) / s) ** 2)

    y = gauss(700.3, 6.0) + 0.4 * gauss(710.0, 6.0) + 0.3 * gauss(2000.7, 6.0)
    assert cos.min() > 0.9
    np.testing.assert_allclose(find_sigma0(y, 5.0, 0.01, 0.01), 6.0, rtol=2e-4)
    assert find_sigma0(np.ones(100), 5.0, 0.01, 0.01) == 0.0
