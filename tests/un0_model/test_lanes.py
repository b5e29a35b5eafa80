"""Rows of numbers, sixteen at a time, against numpy."""

import numba
import numpy as np
import pytest

from un0_model import lanes

rng = np.random.default_rng(0)
SIZES = (16, 32, 96, 448)


def row(n, kind=np.float32):
    return np.ascontiguousarray((rng.standard_normal(n) * 50).astype(kind))


def run(call, *arrays):
    """Calls `call(addresses, n)` in compiled code; arrays change in place."""
    n = arrays[0].size // lanes.LANES
    return numba.njit(call)(tuple(a.ctypes.data for a in arrays), n)


@pytest.mark.parametrize("size", SIZES)
def test_rows_give_what_numpy_gives(size):
    x, y, out = row(size), row(size), np.zeros(size, np.float32)
    assert run(lambda a, n: lanes.largest(a[0], n), x) == np.abs(x).max()
    found = run(lambda a, n: lanes.dot(a[0], a[1], n), x, y)
    assert np.isclose(found, float(x.astype(np.float64) @ y), rtol=1e-4, atol=0.1)
    run(lambda a, n: lanes.norm(a[0], a[1], a[2], n, a[3]), x, y, y, out)
    exact = (x - x.mean()) / np.sqrt(x.var() + 1e-5) * y + y
    assert np.allclose(out, exact, rtol=1e-4, atol=1e-3)
    run(lambda a, n: lanes.add(a[0], np.float32(0.5), a[1], n), out, y)
    assert np.allclose(out, exact + 0.5 * y, rtol=1e-4, atol=1e-3)
    run(lambda a, n: lanes.clip(a[0], n, np.float32(20)), out)
    assert np.allclose(out, np.clip(exact + 0.5 * y, 0, 20), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("size", SIZES)
def test_bytes_are_rounded_half_to_even_and_summed(size):
    x, out = row(size) / 4, np.zeros(size, np.uint8)
    x[:4] = 0.5, 1.5, -0.5, -2.5
    inverse, zero = np.float32(1), np.int32(128)
    total = run(lambda a, n: lanes.to_bytes(a[0], n, inverse, zero, a[1]), x, out)
    assert np.array_equal(out, np.rint(x).astype(int) + 128)
    assert total == np.rint(x).sum()


def test_one_byte_of_four_is_replaced():
    x, words = np.full(32, -3, np.float32), np.full(32, 0x11223344, np.int32)
    inverse, shift = np.float32(2), np.int32(8)
    run(lambda a, n: lanes.blend_bytes(a[0], n, inverse, shift, a[1]), x, words)
    assert set(words) == {0x1122FA44}  # -6


def test_sums_become_numbers():
    sums, shift, step, bias = row(96, np.int32), row(96, np.int32), row(96), row(96)
    out, scale = np.zeros(96, np.float32), np.float32(0.25)
    run(
        lambda a, n: lanes.finish(a[0], a[1], a[2], a[3], scale, n, a[4]),
        sums,
        shift,
        step,
        bias,
        out,
    )
    assert np.allclose(out, (sums - shift) * (scale * step) + bias, rtol=1e-5, atol=1e-3)
    run(lambda a, n: lanes.scaled(a[0], scale, n, a[1]), sums, out)
    assert np.array_equal(out, sums * scale)


@pytest.mark.parametrize("known", (1, 33, 64))
def test_scores_and_their_weights_are_a_softmax_of_the_known_places(known):
    sums, shift, step = row(64, np.int32), row(64), np.abs(row(64)) / 50
    score, scale = np.zeros(64, np.float32), np.float32(0.01)
    best = run(
        lambda a, n: lanes.scores(a[0], a[1], a[2], scale, known, n, a[3]), sums, shift, step, score
    )
    exact = ((sums - shift) * scale * step)[:known]
    assert np.allclose(score[:known], exact, rtol=1e-5, atol=1e-6) and best == score[:known].max()
    assert (score[known:] == np.float32(-1e30)).all()
    total, most = run(lambda a, n: lanes.weigh(a[0], best, a[1], n), score, step)
    odds = np.exp(exact - exact.max())
    assert np.isclose(total, odds.sum(), rtol=1e-5)
    assert np.allclose(score[:known], odds * step[:known], rtol=1e-5) and most == score.max()
    assert (score[known:] < 1e-20).all()


def test_the_exponential_is_true_to_one_part_in_a_million():
    x = -np.abs(row(96))
    found = numba.njit(lambda x: lanes.exp(x))
    assert all(np.isclose(found(v), np.exp(np.float64(v)), rtol=1e-6) for v in x if v > -60)
    assert found(np.float32(-1e30)) == pytest.approx(2.0**-90, rel=1e-6)
