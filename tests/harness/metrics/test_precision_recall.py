"""Neighbour shares on layouts whose answer can be seen."""

import numpy as np
import pytest

from harness.metrics.precision_recall import (
    Coverage,
    Density,
    Precision,
    Recall,
    neighbours,
    recall_difference,
    same_size,
)
from harness.protocols import Statistic


def cluster(centre, seed, n=60, width=0.1):
    return np.asarray(centre, float) + width * np.random.default_rng(seed).normal(size=(n, 2))


TWO = np.concatenate([cluster((0, 0), 1), cluster((10, 0), 2)])


def test_one_of_two_modes_is_precise_and_recalls_half():
    found = neighbours(cluster((0, 0), 3, n=120), TWO)
    assert found.precision() > 0.9
    assert 0.4 < found.recall() <= 0.5
    assert 0.4 < found.coverage() <= 0.5


def test_far_away_pictures_have_none():
    found = neighbours(cluster((50, 50), 3), TWO)
    assert (found.precision(), found.recall(), found.density(), found.coverage()) == (0, 0, 0, 0)


def test_half_the_pictures_astray_halve_precision_not_recall():
    rows = np.concatenate([cluster((0, 0), 3), cluster((10, 0), 4), cluster((5, 40), 5, n=120)])
    found = neighbours(rows, TWO)
    assert 0.4 < found.precision() <= 0.5
    assert found.recall() > 0.85


def test_a_constant_picture_recalls_nothing():
    found = neighbours(np.tile(TWO[:1], (100, 1)) + 1e-3, TWO)
    assert found.recall() == 0.0


def test_density_and_coverage_match_naeem_definitions_on_a_line():
    # Reference 0 ... 9 on a line: the 5th neighbour is 5 away at 0 and 9, 4 at 1 and 8, else 3.
    reference = np.arange(10.0)[:, None] * [1.0, 0.0]
    sample = np.tile([[-4.5, 0.0]], (6, 1))
    found = neighbours(sample, reference)
    # Only the ball of 0 (radius 5) holds -4.5; the ball of 1 has radius 4.
    assert found.coverage() == pytest.approx(1 / 10)
    assert found.density() == pytest.approx(1 / 5)
    assert found.precision() == 1.0


def test_recall_without_a_group_is_recall_of_the_rest():
    rows, groups = cluster((0, 0), 6, n=200, width=1.0), np.arange(200) % 20
    found = neighbours(rows, cluster((0.5, 0), 7, n=200, width=1.0))
    for g in (0, 7):
        rest = neighbours(rows[groups != g], cluster((0.5, 0), 7, n=200, width=1.0))
        assert found.recall(groups != g) == rest.recall()


def test_a_dropped_mode_is_found_by_the_recall_difference():
    groups = np.arange(120) % 20
    full = neighbours(np.concatenate([cluster((0, 0), 3), cluster((10, 0), 4)]), TWO)
    half = neighbours(cluster((0, 0), 3, n=120), TWO)
    found = recall_difference(
        half.recall(), full.recall(), half.recall_without(groups), full.recall_without(groups)
    )
    assert found is not None and found.high < -0.05
    few = half.recall_without(groups % 19)
    assert recall_difference(half.recall(), full.recall(), few, few) is None


def test_subsample_is_fixed_and_keeps_order():
    rows = np.arange(50.0)[:, None]
    kept = same_size(rows, 20)
    assert len(kept) == 20 and (np.diff(kept[:, 0]) > 0).all()
    np.testing.assert_array_equal(kept, same_size(rows, 20))


def test_statistics_satisfy_the_seam():
    for statistic in (Precision(), Recall(), Density(), Coverage()):
        assert isinstance(statistic, Statistic)
        assert statistic.compute(TWO[:40], None, TWO).n == 40
    with pytest.raises(ValueError, match="more than 5"):
        neighbours(TWO[:5], TWO)


@pytest.mark.parametrize("failures", [1, 2, 5, 20])
def test_a_failed_request_covers_nothing(failures):
    collapsed = np.tile(TWO[:1], (100, 1)) + np.random.default_rng(0).normal(0, 1e-3, (100, 2))
    failed = np.arange(100) < failures
    rows = np.where(failed[:, None], 0.0, collapsed)
    found = neighbours(rows, TWO, failed=failed)
    whole = neighbours(collapsed, TWO)
    assert found.recall() <= whole.recall()
    assert found.precision() <= whole.precision() - failures / 100 + 1e-9
    assert max(found.recall_without(np.arange(100) % 20)) <= whole.recall() + 0.01


def test_a_sample_that_failed_whole_covers_nothing():
    found = neighbours(np.zeros((50, 2)), TWO, failed=np.ones(50, bool))
    assert (found.recall(), found.precision(), found.coverage()) == (0.0, 0.0, 0.0)
