"""Intervals and tests behind every verdict; numpy and scipy only.

Every interval is two-sided at 1 - 2 alpha, so each end is a one-sided bound at alpha (0.025).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize, stats

__all__ = [
    "ALPHA",
    "FEWEST_PAIRS",
    "PILOT_PAIRS",
    "Interval",
    "Jackknife",
    "NonInferiority",
    "Pairs",
    "Ratio",
    "clopper_pearson",
    "cluster_interval",
    "cluster_means",
    "delete_group_jackknife",
    "fewest_trials_for_quantile",
    "holm",
    "non_inferiority",
    "one_sided_p",
    "pairs_needed",
    "pairs_to_decide",
    "quantile_interval",
    "ratio_interval",
    "welch",
    "wilson",
]

ALPHA = 0.025
PILOT_PAIRS, FEWEST_PAIRS = 6, 3
PRECISION = math.log(1.05)  # half-width wanted of a log ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate and its two bounds; `high` or `low` is None where the sample cannot give one."""

    estimate: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """A per-image quantity of both systems in each AB+BA pair of blocks, four arrays [pairs].

    `ab` is the block in which the candidate ran first.
    """

    candidate_ab: np.ndarray
    candidate_ba: np.ndarray
    baseline_ab: np.ndarray
    baseline_ba: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """Baseline over candidate, from pairs of blocks.

    `s` is the pilot's standard deviation of the log ratio, `wanted` the pairs it asks for,
    `carry_over` the factor between the two orders, `total` the ratio of sums over all blocks.
    """

    estimate: float
    low: float
    high: float
    pairs: int
    wanted: int
    s: float
    half: Callable[[float], float]
    carry_over: Interval | None
    total: float

    @property
    def total_differs(self) -> bool:
        """True: drift or a few odd blocks move the estimate by over 1%. False: says nothing."""
        return abs(self.total / self.estimate - 1) > 0.01

    def p_below(self, threshold: float) -> float:
        """One-sided p of "at least `threshold`". Small: the ratio is below. Large: says nothing."""
        return one_sided_p(math.log(threshold) - math.log(self.estimate), self.half)

    def p_above(self, threshold: float) -> float:
        """One-sided p of "at most `threshold`". Small: the ratio is above. Large: says nothing."""
        return one_sided_p(math.log(self.estimate) - math.log(threshold), self.half)


@dataclass(frozen=True, slots=True, kw_only=True)
class NonInferiority:
    """A paired difference against -margin, clusters as units.

    `p_inferior` tests "difference >= -margin" (small: inferior by more than the margin);
    `clusters_to_decide` is None where the estimate lies on the margin itself.
    """

    estimate: float
    low: float
    high: float
    n: int
    p_inferior: float
    clusters_to_decide: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Jackknife:
    """A statistic with the spread of its delete-one-group replicates; t with `groups` - 1 df."""

    estimate: float
    low: float
    high: float
    error: float
    groups: int

    def p_above(self, threshold: float) -> float:
        """One-sided p of "at most `threshold`". Small: it is above. Large: says nothing."""
        return _t_tail(self.estimate - threshold, self.error, self.groups - 1)

    def p_below(self, threshold: float) -> float:
        """One-sided p of "at least `threshold`". Small: it is below. Large: says nothing."""
        return _t_tail(threshold - self.estimate, self.error, self.groups - 1)


def pairs_needed(s: float, pilot: int = PILOT_PAIRS, h: float = PRECISION) -> int:
    """Second-stage number of pairs, max(pilot, ceil((t s / h)^2)), t at pilot - 1 df.

    Source: Stein (1945), Annals of Mathematical Statistics 16, 243-258. The interval that
    follows has half-width h or less and exact coverage, whatever the true deviation.
    """
    t = float(stats.t.ppf(1 - ALPHA, pilot - 1))
    return max(pilot, math.ceil((t * s / h) ** 2))


def pairs_to_decide(ratio: Ratio, threshold: float) -> int | None:
    """Pairs with which a ratio at its present estimate would clear `threshold`; None: never.

    None where the estimate lies on the threshold, or the meters' stated accuracy alone covers it.
    """
    distance = abs(math.log(ratio.estimate) - math.log(threshold))
    t = float(stats.t.ppf(1 - ALPHA, min(ratio.pairs, PILOT_PAIRS) - 1))
    sampling_now = t * ratio.s / math.sqrt(ratio.pairs)
    meter_square = ratio.half(ALPHA) ** 2 - sampling_now**2
    room = distance**2 - meter_square
    if room <= 0:
        return None
    return max(PILOT_PAIRS, math.ceil((t * ratio.s) ** 2 / room))


def ratio_interval(
    pairs: Pairs, candidate_accuracy: float = 0.0, baseline_accuracy: float = 0.0
) -> Ratio:
    """Ratio of mean per-image quantity, baseline over candidate, with its 95% interval.

    The unit is an AB+BA pair; its log ratio is that of the two systems' means over the pair,
    in which a linear drift cancels. The interval keeps the deviation and 5 df of the first six
    pairs (Stein), so any number of pairs that was fixed from that deviation alone, by a budget
    too, leaves it exact; of fewer than six, all are the pilot. Meter error of a stated relative
    accuracy is taken as uniform (variance a^2 / 3) and uncorrelated between the systems:
    half-width sqrt(w^2 + 1.96^2 (a^2 + b^2) / 3).

    An interval wholly above a threshold licenses "at least"; wholly below, "less than"; an
    interval that holds the threshold says nothing. Raises ValueError under three pairs.
    """
    arrays = (pairs.candidate_ab, pairs.candidate_ba, pairs.baseline_ab, pairs.baseline_ba)
    candidate_ab, candidate_ba, baseline_ab, baseline_ba = (np.asarray(a, float) for a in arrays)
    count = len(candidate_ab)
    if count < FEWEST_PAIRS:
        raise ValueError(f"{count} pairs; an interval needs at least {FEWEST_PAIRS}")
    if min(float(a.min()) for a in (candidate_ab, candidate_ba, baseline_ab, baseline_ba)) <= 0:
        raise ValueError("a per-image quantity is zero or less; a ratio needs positive ones")
    logs = np.log((baseline_ab + baseline_ba) / (candidate_ab + candidate_ba))
    pilot = logs[:PILOT_PAIRS]
    s = float(pilot.std(ddof=1))
    estimate = float(logs.mean())
    meter_variance = (candidate_accuracy**2 + baseline_accuracy**2) / 3

    def half(alpha: float) -> float:
        sampling = float(stats.t.ppf(1 - alpha, len(pilot) - 1)) * s / math.sqrt(count)
        return math.hypot(sampling, float(stats.norm.ppf(1 - alpha)) * math.sqrt(meter_variance))

    order = np.log(baseline_ab / candidate_ab) - np.log(baseline_ba / candidate_ba)
    carry = cluster_interval(order)
    return Ratio(
        estimate=math.exp(estimate),
        low=math.exp(estimate - half(ALPHA)),
        high=math.exp(estimate + half(ALPHA)),
        pairs=count,
        wanted=pairs_needed(s, len(pilot)),
        s=s,
        half=half,
        carry_over=_exponential(carry),
        total=float((baseline_ab.sum() + baseline_ba.sum()) / (candidate_ab + candidate_ba).sum()),
    )


def one_sided_p(distance: float, half: Callable[[float], float]) -> float:
    """Level at which a bound `half(level)` away from the estimate just reaches `distance`.

    Small: the true value is on the estimate's side. Above 0.5: the estimate is on the other.
    """
    if distance < 0:
        return 1 - one_sided_p(-distance, half)
    smallest = 1e-15
    if distance >= half(smallest):
        return 0.0 if distance > 0 else 0.5
    return float(optimize.brentq(lambda a: half(a) - distance, smallest, 0.5, xtol=1e-16))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given; rejecting those <= alpha keeps the chance of
    any false rejection at alpha. Source: Holm (1979), Scand. J. Statist. 6, 65-70.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def cluster_means(values: Sequence[float], clusters: Sequence[Any]) -> dict[Any, float]:
    """Mean of the values of each cluster, in sorted order of clusters."""
    sums: dict[Any, list[float]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        sums.setdefault(cluster, []).append(float(value))
    return {cluster: math.fsum(sums[cluster]) / len(sums[cluster]) for cluster in sorted(sums)}


def cluster_interval(means: Sequence[float] | np.ndarray, alpha: float = ALPHA) -> Interval:
    """t interval for the mean over clusters; both ends None under two clusters."""
    values = np.asarray(means, float)
    if len(values) < 2:
        return Interval(estimate=float(values.mean()), low=None, high=None, n=len(values))
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    half = float(stats.t.ppf(1 - alpha, len(values) - 1)) * error
    mean = float(values.mean())
    return Interval(estimate=mean, low=mean - half, high=mean + half, n=len(values))


def non_inferiority(
    differences: Sequence[float] | np.ndarray, margin: float, alpha: float = ALPHA
) -> NonInferiority:
    """Cluster means of candidate - baseline against -margin, by a t interval.

    Low end >= -margin: not worse by more than the margin. Small `p_inferior`: worse by more.
    Neither: says nothing, and `clusters_to_decide` gives the number with 90% power at the present
    estimate. Raises ValueError under two clusters.
    """
    values = np.asarray(differences, float)
    if len(values) < 2:
        raise ValueError("a paired difference needs at least two clusters")
    interval = cluster_interval(values, alpha)
    s = float(values.std(ddof=1))
    distance = interval.estimate + margin
    needed = None
    if distance != 0:
        z = float(stats.norm.ppf(1 - alpha) + stats.norm.ppf(0.9))
        needed = max(2, math.ceil((z * s / distance) ** 2))
    assert interval.low is not None and interval.high is not None  # two clusters or more
    return NonInferiority(
        estimate=interval.estimate,
        low=interval.low,
        high=interval.high,
        n=interval.n,
        p_inferior=_t_tail(-distance, s / math.sqrt(len(values)), len(values) - 1),
        clusters_to_decide=needed,
    )


def delete_group_jackknife(
    estimate: float, replicates: Sequence[float] | np.ndarray, alpha: float = ALPHA
) -> Jackknife:
    """t interval from replicates that each leave out one of G groups of about equal size.

    Variance (G - 1) / G times the sum of squares about the replicates' mean (Wolter, Introduction
    to Variance Estimation, 2007, ch. 4). High end <= 0 licenses "at most 0"; low end > 0, "above
    0"; otherwise it says nothing. Raises ValueError under 20 groups.
    """
    values = np.asarray(replicates, float)
    groups = len(values)
    if groups < 20:
        raise ValueError(f"{groups} groups; the jackknife needs at least 20")
    error = math.sqrt((groups - 1) / groups * float(((values - values.mean()) ** 2).sum()))
    half = float(stats.t.ppf(1 - alpha, groups - 1)) * error
    return Jackknife(
        estimate=estimate, low=estimate - half, high=estimate + half, error=error, groups=groups
    )


def welch(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Difference of two means and its two-sided p, variances unequal (Welch, 1947).

    Small p: the samples differ. Large: says nothing. Two values each without spread: p is 1 or 0.
    """
    first, second = np.asarray(a, float), np.asarray(b, float)
    difference = float(first.mean() - second.mean())
    spread = first.std(ddof=1), second.std(ddof=1)
    if spread == (0, 0):
        return difference, 1.0 if difference == 0 else 0.0
    # from means and deviations: from values SciPy warns where one sample hardly spreads
    found = stats.ttest_ind_from_stats(
        first.mean(), spread[0], len(first), second.mean(), spread[1], len(second), equal_var=False
    )
    return difference, float(found.pvalue)


def wilson(successes: int, trials: int, alpha: float = ALPHA) -> Interval:
    """Wilson's score interval for a share. Source: Wilson (1927), JASA 22, 209-212."""
    z = float(stats.norm.ppf(1 - alpha))
    share = successes / trials
    scale = 1 + z**2 / trials
    centre = (share + z**2 / (2 * trials)) / scale
    half = z * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2)) / scale
    return Interval(
        estimate=share, low=max(0.0, centre - half), high=min(1.0, centre + half), n=trials
    )


def clopper_pearson(successes: int, trials: int, alpha: float = ALPHA) -> Interval:
    """Exact interval for a share; covers at least 1 - 2 alpha. Clopper and Pearson (1934)."""
    low = stats.beta.ppf(alpha, successes, trials - successes + 1) if successes else 0.0
    high = stats.beta.ppf(1 - alpha, successes + 1, trials - successes)
    return Interval(
        estimate=successes / trials,
        low=float(low),
        high=float(high) if successes < trials else 1.0,
        n=trials,
    )


def fewest_trials_for_quantile(q: float, alpha: float = ALPHA) -> int:
    """Trials from which a quantile has an upper bound: q^n <= alpha (72 for p95 at 0.025)."""
    return math.ceil(math.log(alpha) / math.log(q))


def quantile_interval(values: Sequence[float], q: float = 0.95, alpha: float = ALPHA) -> Interval:
    """Distribution-free interval for a quantile, from binomial ranks of the sorted sample.

    Source: David and Nagaraja, Order Statistics (2003), 7.1. An end is None where the sample is
    too small for it (the upper end of p95 under 72). High <= limit licenses "at most"; low >
    limit, "more than"; otherwise it says nothing. The estimate is the smallest value with at
    least a share q at or below it.
    """
    ordered = sorted(float(v) for v in values)
    n = len(ordered)
    # X_(r) <= quantile unless fewer than r values lie below it: P(Bin(n, q) < r) <= alpha.
    low_rank = int(stats.binom.ppf(alpha, n, q))
    # X_(r) >= quantile unless r or more values lie below it: P(Bin(n, q) >= r) <= alpha.
    high_rank = int(stats.binom.ppf(1 - alpha, n, q)) + 1
    return Interval(
        estimate=ordered[max(0, math.ceil(q * n - 1e-9) - 1)],
        low=ordered[low_rank - 1] if low_rank >= 1 else None,
        high=ordered[high_rank - 1] if high_rank <= n else None,
        n=n,
    )


def _t_tail(distance: float, error: float, df: int) -> float:
    """P(T >= distance / error); 0 or 1 where there is no spread at all."""
    if error == 0:
        return 0.0 if distance > 0 else 1.0
    return float(stats.t.sf(distance / error, df))


def _exponential(interval: Interval) -> Interval:
    assert interval.low is not None and interval.high is not None  # six pairs or more
    return Interval(
        estimate=math.exp(interval.estimate),
        low=math.exp(interval.low),
        high=math.exp(interval.high),
        n=interval.n,
    )
