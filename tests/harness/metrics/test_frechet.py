"""The Frechet distance against two libraries, closed forms, and its own bias."""

import warnings

import numpy as np
import pytest

from harness.metrics.frechet import (
    GROUPS,
    Frechet,
    FrechetInf,
    fewest_rows_for_infinity,
    frechet_at_infinity,
    frechet_distance,
    frechet_excess,
    frechet_interval,
    gaussian,
    moments,
)
from harness.protocols import Statistic


def features(seed, n=900, d=64, shift=0.0, scale=1.0):
    """Correlated rows, L2-normalised like the judge's."""
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(1).normal(size=(d, d)) * np.linspace(0.2, 1, d)
    rows = scale * rng.normal(size=(n, d)) @ mix + shift + 2.0
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_agrees_with_torchmetrics_to_1e_6():
    torch = pytest.importorskip("torch")
    fid = pytest.importorskip("torchmetrics.image.fid")
    a, b = features(2), features(3, shift=1.0)
    theirs = fid._compute_fid(
        torch.tensor(a.mean(0)),
        torch.tensor(np.cov(a, rowvar=False)),
        torch.tensor(b.mean(0)),
        torch.tensor(np.cov(b, rowvar=False)),
    )
    ours = frechet_distance(gaussian(a), gaussian(b))
    assert ours == pytest.approx(float(theirs), rel=1e-6)


def test_agrees_with_clean_fid_to_1e_6():
    clean_fid = pytest.importorskip("cleanfid.fid")
    a, b = features(2), features(3, shift=1.0)
    with warnings.catch_warnings():
        # clean-fid 0.1.35 calls sqrtm(disp=False), deprecated in SciPy 1.17, gone in 1.18.
        warnings.filterwarnings("ignore", message=".*disp.*", category=DeprecationWarning)
        theirs = clean_fid.frechet_distance(
            a.mean(0), np.cov(a, rowvar=False), b.mean(0), np.cov(b, rowvar=False)
        )
    assert frechet_distance(gaussian(a), gaussian(b)) == pytest.approx(float(theirs), rel=1e-6)


def test_diagonal_gaussians_match_the_closed_form():
    # Dowson and Landau: |m|^2 + sum (sqrt a - sqrt b)^2. Rows with exact moments, by whitening.
    rng = np.random.default_rng(4)
    white = rng.normal(size=(50, 3))
    white -= white.mean(axis=0)
    white = np.linalg.svd(white, full_matrices=False)[0] * np.sqrt(49)
    a = white * [1.0, 2.0, 3.0]
    b = white * [2.0, 2.0, 5.0] + [1.0, 0.0, 2.0]
    assert frechet_distance(gaussian(a), gaussian(b)) == pytest.approx(5 + 1 + 0 + 4)


def test_constant_pictures_are_the_total_variance_from_the_mean():
    known = gaussian(features(5))
    constant = gaussian(np.tile(known.mean, (100, 1)))
    assert frechet_distance(constant, known) == pytest.approx(known.variance, rel=1e-9)


def test_finite_n_is_biased_upwards_and_extrapolation_removes_it():
    known = gaussian(features(6, n=20_000))
    plain, extrapolated = [], []
    for seed in range(8):
        rows = features(100 + seed, n=900)
        plain.append(frechet_distance(gaussian(rows), known))
        extrapolated.append(frechet_at_infinity(moments(rows), known))
    large = frechet_distance(gaussian(features(7, n=20_000)), known)
    assert np.mean(plain) > 5 * large
    assert abs(np.mean(extrapolated)) < 0.15 * np.mean(plain)


def test_moments_by_group_and_chunk_add_up_to_the_whole():
    rows = features(8, n=400, d=5)
    groups = np.arange(400) % GROUPS
    sample = moments(rows, groups)
    counts, sums, products = sample.chunks(without=3)
    kept = rows[groups != 3]
    assert counts.sum() == len(kept)
    np.testing.assert_allclose(sums.sum(axis=0), kept.sum(axis=0))
    np.testing.assert_allclose(products.sum(axis=0), kept.T @ kept)
    assert counts.max() - counts.min() <= 3


def test_too_few_rows_give_no_extrapolation():
    known = gaussian(features(6, n=5000))
    least = fewest_rows_for_infinity(64)
    assert frechet_at_infinity(moments(features(9, n=least - 1)), known) is None
    assert frechet_at_infinity(moments(features(9, n=least)), known) is not None


def test_excess_is_refused_within_the_margin_and_found_beyond_it():
    known = gaussian(features(6, n=20_000))
    groups = np.arange(1300) % GROUPS
    base = moments(features(10, n=1300, shift=0.5), groups)
    same = frechet_excess(moments(features(11, n=1300, shift=0.5), groups), base, known, 0.1)
    worse = frechet_excess(moments(features(11, n=1300, shift=1.0), groups), base, known, 0.1)
    assert same is not None and worse is not None
    assert same.p_above(0) > 0.025
    assert worse.low > 0 and worse.p_above(0) < 0.001


def test_the_jackknife_error_is_the_spread_over_fresh_samples():
    known = gaussian(features(6, n=20_000, d=8))
    groups = np.arange(600) % GROUPS
    found = [
        frechet_interval(moments(features(s, n=600, d=8, shift=0.5), groups), known)
        for s in range(200, 260)
    ]
    spread = np.std([f.estimate for f in found], ddof=1)
    # The deviation of 60 draws is known to 10%.
    assert np.mean([f.error for f in found]) == pytest.approx(spread, rel=0.3)


def test_fewer_than_20_groups_give_no_interval():
    known = gaussian(features(6, n=5000, d=8))
    assert frechet_interval(moments(features(9, d=8), np.arange(900) % 19), known) is None


def test_statistics_satisfy_the_seam_and_show_n():
    rows = features(12, n=300, d=8)
    for statistic in (Frechet(), FrechetInf()):
        assert isinstance(statistic, Statistic)
        score = statistic.compute(rows, None, features(13, n=2000, d=8))
        assert (score.metric, score.n) == (statistic.name, 300)
        assert score.value is not None
    with pytest.raises(ValueError, match="reference"):
        Frechet().compute(rows, None, None)
