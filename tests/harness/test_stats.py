"""Intervals against worked and published values, and their coverage by simulation."""

import math

import numpy as np
import pytest
from scipy import stats as distributions

from harness.stats import (
    Pairs,
    clopper_pearson,
    cluster_interval,
    cluster_means,
    delete_group_jackknife,
    fewest_trials_for_quantile,
    holm,
    non_inferiority,
    pairs_needed,
    pairs_to_decide,
    quantile_interval,
    ratio_interval,
    welch,
    wilson,
)

T5 = 2.5705818  # t table, 0.975, 5 degrees of freedom


def pairs_of(log_ratios, order_effect=0.0):
    """Pairs whose log ratios are exactly those given, with the candidate at 1 J an image."""
    ratios = np.exp(np.asarray(log_ratios, float))
    one = np.ones_like(ratios)
    shift = order_effect / 2
    scale = 2 / (math.exp(shift) + math.exp(-shift))
    return Pairs(
        candidate_ab=one,
        candidate_ba=one,
        baseline_ab=ratios * math.exp(shift) * scale,
        baseline_ba=ratios * math.exp(-shift) * scale,
    )


def test_ratio_interval_is_the_t_interval_of_pair_log_ratios():
    logs = np.log(1000) + np.array([-0.05, -0.03, -0.01, 0.01, 0.03, 0.05])
    found = ratio_interval(pairs_of(logs))
    s = math.sqrt(2 * (0.05**2 + 0.03**2 + 0.01**2) / 5)  # by hand
    assert found.estimate == pytest.approx(1000)
    assert found.s == pytest.approx(s)
    assert math.log(found.high / found.estimate) == pytest.approx(T5 * s / math.sqrt(6), rel=1e-6)
    assert found.low * found.high == pytest.approx(1000**2)


def test_meter_accuracy_widens_the_interval_as_stated_in_the_method():
    logs = np.log(10) + np.array([-0.01, 0.01, -0.01, 0.01, -0.01, 0.01])
    plain, widened = ratio_interval(pairs_of(logs)), ratio_interval(pairs_of(logs), 0.05, 0.05)
    w = math.log(plain.high / plain.estimate)
    expected = math.sqrt(w**2 + 1.959964**2 * (0.05**2 + 0.05**2) / 3)
    assert math.log(widened.high / widened.estimate) == pytest.approx(expected, rel=1e-6)


def test_later_pairs_move_the_estimate_but_not_the_deviation():
    pilot = [0.0, 0.1, 0.0, 0.1, 0.0, 0.1]
    found = ratio_interval(pairs_of([*pilot, *[5.0] * 6]))
    assert found.s == pytest.approx(np.std(pilot, ddof=1))
    assert math.log(found.estimate) == pytest.approx((0.3 + 30) / 12)
    half = math.log(found.high / found.estimate)
    assert half == pytest.approx(T5 * found.s / math.sqrt(12), rel=1e-6)


def test_carry_over_is_the_factor_between_the_two_orders():
    found = ratio_interval(pairs_of([3.0, 3.1, 3.2, 3.0, 3.1, 3.2], order_effect=math.log(1.2)))
    assert found.carry_over is not None
    assert found.carry_over.estimate == pytest.approx(1.2)


def test_total_over_total_is_said_when_one_block_dominates():
    steady = ratio_interval(pairs_of([1.0] * 5 + [1.001]))
    odd = ratio_interval(pairs_of([1.0] * 5 + [2.0]))
    assert not steady.total_differs
    assert odd.total == pytest.approx((5 * math.e + math.e**2) / 6)
    assert odd.total_differs


def test_three_pairs_give_a_wide_interval_from_their_own_deviation():
    found = ratio_interval(pairs_of([1.0, 1.1, 1.2]))
    # 4.3027: t table, 2 df, 97.5%; the deviation of 1.0, 1.1 and 1.2 is 0.1
    assert math.log(found.high) == pytest.approx(1.1 + 4.3027 * 0.1 / math.sqrt(3), abs=1e-4)


def test_two_pairs_and_zero_joules_are_refused():
    with pytest.raises(ValueError, match="2 pairs"):
        ratio_interval(pairs_of([0.0] * 2))
    with pytest.raises(ValueError, match="zero or less"):
        ratio_interval(
            Pairs(
                candidate_ab=np.zeros(6),
                candidate_ba=np.ones(6),
                baseline_ab=np.ones(6),
                baseline_ba=np.ones(6),
            )
        )


def test_second_stage_follows_stein():
    assert pairs_needed(0.0) == 6
    assert pairs_needed(0.1) == math.ceil((T5 * 0.1 / math.log(1.05)) ** 2) == 28


def test_p_value_reaches_alpha_where_the_bound_reaches_the_threshold():
    found = ratio_interval(pairs_of([1.0, 1.1, 0.9, 1.05, 0.95, 1.0]), 0.05, 0.02)
    assert found.p_below(found.high) == pytest.approx(0.025, rel=1e-6)
    assert found.p_above(found.low) == pytest.approx(0.025, rel=1e-6)
    assert found.p_below(found.estimate / 2) > 0.975


def test_pairs_to_decide_clears_the_threshold_and_one_pair_less_does_not():
    logs = math.log(1200) + 0.4 * np.array([-1, 1, -1, 1, -1, 1])
    found = ratio_interval(pairs_of(logs), 0.03, 0.03)
    needed = pairs_to_decide(found, 1000)
    meter = 1.959964**2 * 2 * 0.03**2 / 3
    distance = abs(math.log(found.estimate / 1000))

    def half(n):
        return math.sqrt((T5 * found.s) ** 2 / n + meter)

    assert needed is not None and half(needed) <= distance < half(needed - 1)
    assert pairs_to_decide(ratio_interval(pairs_of([math.log(1010)] * 6), 0.05, 0.05), 1000) is None


def simulate(rng, *, ratio, spread, meter=(0.0, 0.0), runs=20_000, cap=60):
    """Stein's two stages on AB+BA pairs with linear drift; estimates and half-widths [runs]."""
    count = cap
    base = rng.normal(0, spread, (runs, count))
    drift = 0.002 * np.arange(count)  # of each system's level a pair; within a pair it cancels
    candidate = np.exp(drift)[None] * np.ones((runs, 1))
    logs = np.log(ratio * np.exp(base) * np.exp(drift)) - np.log(candidate)
    pilot = logs[:, :6].std(axis=1, ddof=1)
    t = float(distributions.t.ppf(0.975, 5))
    n = np.minimum(cap, np.maximum(6, np.ceil((t * pilot / math.log(1.05)) ** 2))).astype(int)
    mean = np.cumsum(logs, axis=1)[np.arange(runs), n - 1] / n
    error = rng.normal(0, 1, (2, runs)) * np.array(meter)[:, None] / math.sqrt(3)
    half = np.sqrt((t * pilot) ** 2 / n + 1.959964**2 * (meter[0] ** 2 + meter[1] ** 2) / 3)
    # The harness's own function, on one run, gives the figures that the vectorised form gives.
    own = ratio_interval(pairs_of(logs[0, : n[0]]), *meter)
    assert math.log(own.estimate) == pytest.approx(mean[0])
    assert math.log(own.high / own.estimate) == pytest.approx(half[0], rel=1e-6)
    return mean + error[0] - error[1], half


@pytest.mark.parametrize("spread", [0.03, 0.1, 0.3])
def test_ratio_interval_covers_94_to_96_percent_under_drift(spread):
    estimate, half = simulate(np.random.default_rng(20), ratio=900, spread=spread)
    covered = float((abs(estimate - math.log(900)) <= half).mean())
    assert 0.94 <= covered <= 0.96


@pytest.mark.parametrize("spread", [0.03, 0.1, 0.3])
@pytest.mark.parametrize("meter", [(0.05, 0.05), (0.05, 0.01)])
def test_ratio_interval_with_meter_error_covers_no_less_and_little_more(spread, meter):
    # A t half-width and a normal one added in squares cover a little more than either: where both
    # are alike, up to 96.3%.
    estimate, half = simulate(np.random.default_rng(20), ratio=900, spread=spread, meter=meter)
    covered = float((abs(estimate - math.log(900)) <= half).mean())
    assert 0.945 <= covered <= 0.965


def test_false_support_of_1000_times_is_at_most_alpha_at_900_and_at_1000():
    for ratio in (900, 1000):
        estimate, half = simulate(
            np.random.default_rng(21), ratio=ratio, spread=0.1, meter=(0.05, 0.05)
        )
        supported = float((estimate - half >= math.log(1000)).mean())
        assert supported <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / 20_000)
        if ratio == 900:
            assert supported <= 0.025


def test_quality_interval_covers_a_known_difference():
    rng = np.random.default_rng(22)
    half = 4000
    # Paired differences of shares over 300 prompts with two seeds: -1, -0.5, 0, 0.5 or 1.
    ours = rng.random((half, 300, 2)) < 0.80
    theirs = rng.random((half, 300, 2)) < 0.83
    differences = ours.mean(axis=2) - theirs.mean(axis=2)
    found = [non_inferiority(d, 0.03) for d in differences]
    covered = np.mean([f.low <= -0.03 <= f.high for f in found])
    assert 0.94 <= covered <= 0.96
    assert np.mean([f.low >= -0.03 for f in found]) <= 0.025 + 3 * math.sqrt(0.025 / half)


def test_holm_multiplies_by_the_number_left_and_keeps_order():
    # Holm (1979) by hand: 0.01 x 3; max(0.03, 0.03 x 2); max(0.06, 0.04 x 1).
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_seeds_are_averaged_within_prompts():
    assert cluster_means([1, 0, 1, 1], ["b", "b", "a", "a"]) == {"a": 1.0, "b": 0.5}


def test_cluster_interval_matches_a_t_table():
    found = cluster_interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert found.high == pytest.approx(3.5 + T5 * math.sqrt(3.5 / 6))
    assert cluster_interval([1.0]).low is None


def test_non_inferiority_asks_for_the_prompts_of_the_method():
    # Paired deviation 0.33 at no difference: ((1.96 + 1.2816) 0.33 / 0.03)^2 = 1,272.
    values = np.tile([0.33, -0.33], 5000)
    found = non_inferiority(values, 0.03)
    assert found.clusters_to_decide == pytest.approx(1272, abs=2)
    assert found.low >= -0.03 and found.p_inferior > 0.999


def test_inferiority_has_a_small_p_only_beyond_the_margin():
    rng = np.random.default_rng(5)
    worse = rng.normal(-0.1, 0.3, 2000)
    assert non_inferiority(worse, 0.03).p_inferior < 1e-6
    assert non_inferiority(worse + 0.1, 0.03).p_inferior > 0.9
    assert non_inferiority(np.full(40, -1.0), 0.03).p_inferior == 0.0


def test_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(7).normal(size=(25, 8))
    means = values.mean(axis=1)
    replicates = [np.delete(means, g).mean() for g in range(25)]
    found = delete_group_jackknife(float(values.mean()), replicates)
    assert found.error == pytest.approx(means.std(ddof=1) / 5)
    assert found.p_above(found.low) == pytest.approx(0.025)
    assert found.p_below(found.high) == pytest.approx(0.025)
    with pytest.raises(ValueError, match="at least 20"):
        delete_group_jackknife(0.0, replicates[:19])


def test_shares_match_published_intervals():
    # Newcombe (1998), Statistics in Medicine 17, table I: 81 of 263, and 0 of 20.
    assert wilson(81, 263).low == pytest.approx(0.2553, abs=5e-5)
    assert wilson(81, 263).high == pytest.approx(0.3662, abs=5e-5)
    assert clopper_pearson(81, 263).low == pytest.approx(0.2527, abs=5e-5)
    assert clopper_pearson(81, 263).high == pytest.approx(0.3676, abs=5e-5)
    assert clopper_pearson(0, 20).high == pytest.approx(0.1684, abs=5e-5)
    assert (clopper_pearson(20, 20).high, clopper_pearson(0, 20).low) == (1.0, 0.0)


def test_p95_has_no_upper_bound_under_72_requests():
    assert fewest_trials_for_quantile(0.95) == 72  # 0.95^72 = 0.0249
    assert quantile_interval(range(71)).high is None
    assert quantile_interval(range(72)).high == 71


def test_quantile_bounds_hold_the_p95_in_at_least_95_percent_of_samples():
    rng = np.random.default_rng(9)
    found = [quantile_interval(row) for row in rng.random((3000, 120))]
    assert np.mean([f.low > 0.95 for f in found]) <= 0.025 + 3 * math.sqrt(0.025 / 3000)
    assert np.mean([f.high < 0.95 for f in found]) <= 0.025 + 3 * math.sqrt(0.025 / 3000)
    assert quantile_interval(range(1, 101)).estimate == 95


def test_welch_tells_different_means_apart_and_equal_ones_not():
    # Worked: means 2 and 5, variances 1 and 1, n 3 and 3: t = -3 / sqrt(2/3) = -3.674, 4 df.
    difference, p = welch([1, 2, 3], [4, 5, 6])
    assert difference == -3
    assert p == pytest.approx(2 * float(distributions.t.sf(3 / math.sqrt(2 / 3), 4)))
    assert welch([1, 1], [1, 1]) == (0.0, 1.0)
