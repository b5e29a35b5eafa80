"""Differences over prompts."""

import numpy as np
import pytest

from harness.paired import paired


def shares(both, ours, theirs, neither):
    rows = [(1, 1)] * both + [(1, 0)] * ours + [(0, 1)] * theirs + [(0, 0)] * neither
    one, other = zip(*rows, strict=True)
    return paired([float(v) for v in one], [float(v) for v in other], shares=True)


@pytest.mark.parametrize(
    ("cells", "low", "high"),
    [  # Newcombe (1998), table III, method 10
        ((36, 12, 2, 0), 0.0569, 0.3404),
        ((20, 12, 2, 16), 0.0562, 0.3292),
        ((36, 14, 0, 0), 0.1528, 0.4167),
        ((0, 29, 1, 0), 0.6666, 0.9882),
        ((54, 0, 0, 0), -0.0664, 0.0664),
    ],
)
def test_intervals_of_paired_shares_are_those_of_the_source(cells, low, high):
    found = shares(*cells)
    assert (found.low, found.high) == pytest.approx((low, high), abs=2e-4)


def test_all_wrong_where_the_other_is_right_is_beyond_chance():
    found = shares(0, 0, 20, 0)
    assert found.estimate == -1 and found.p == pytest.approx(2 * 0.5**20)
    assert found.low == pytest.approx(-1) and found.high < -0.7
    assert shares(0, 0, 4, 1).p == pytest.approx(0.125)  # 2 / 2^4


def test_shares_of_several_pictures_are_tested_by_their_signs():
    few = paired([0.5, 1.0, 0.5], [0.0, 0.5, 0.25], shares=True)
    assert (few.low, few.p) == (None, pytest.approx(0.25))
    many = paired([0.5] * 20 + [0.75] * 20, [0.25] * 40, shares=True)
    assert many.low is not None and 0.25 < many.low < many.estimate < 0.5


def test_other_quantities_have_a_t_interval_where_they_spread():
    found = paired([1.0, 2.0, 3.0, 4.0], [0.0, 1.5, 2.0, 3.5], shares=False)
    assert found.estimate == 0.75 and found.low == pytest.approx(0.291, abs=1e-3)
    same = paired([1.0, 2.0], [1.0, 2.0], shares=False)
    assert (same.low, same.p) == (None, 1.0)


def test_the_interval_covers_what_it_says():
    rng, covered = np.random.default_rng(0), 0
    for _ in range(600):
        one = (rng.random(40) < 0.9).astype(float)
        other = np.where(rng.random(40) < 0.3, rng.random(40) < 0.5, one).astype(float)
        truth = 0.9 - (0.7 * 0.9 + 0.3 * 0.5)
        found = paired(list(one), list(other), shares=True)
        covered += found.low <= truth <= found.high
    assert 0.93 <= covered / 600 <= 0.99


def test_nothing_is_refused():
    with pytest.raises(ValueError, match="one at least"):
        paired([], [], shares=True)
