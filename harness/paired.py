"""Two systems on the same prompts: how far apart, and whether that is chance.

Right or wrong, one picture a prompt: Newcombe's interval for paired shares, and McNemar's exact
test. Anything else: a t interval over prompts, and a t test; of shares the sign test, because a t
test of few shares that agree trusts them too much.
Sources: Newcombe (1998), Statistics in Medicine 17, 2635-2650, method 10; McNemar (1947),
Psychometrika 12, 153-157.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from harness.stats import cluster_interval, wilson

__all__ = ["FEWEST", "FEWEST_SHARES", "Paired", "paired"]

FEWEST = 5  # prompts, under which nothing is said of a difference
FEWEST_SHARES = 30  # prompts, under which a t interval of shares is not trusted


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Ours less theirs over prompts; `p` is two-sided, of no difference.

    `low` and `high` are None where so few prompts, or so much alike, give no interval.
    """

    estimate: float
    low: float | None
    high: float | None
    p: float
    n: int


def paired(ours: Sequence[float], theirs: Sequence[float], *, shares: bool) -> Paired:
    """Compares means by prompt, in the same order; `shares` lie between 0 and 1.

    Raises ValueError without prompts.
    """
    if not ours or len(ours) != len(theirs):
        raise ValueError("As many of ours as of theirs, and one at least.")
    apart = np.asarray(ours, float) - np.asarray(theirs, float)
    n, estimate = len(apart), math.fsum(apart) / len(apart)
    low: float | None = None
    high: float | None = None
    if shares and set(ours) | set(theirs) <= {0.0, 1.0}:
        low, high = _newcombe(ours, theirs)
    elif n > 1 and np.ptp(apart) > 0 and (not shares or n >= FEWEST_SHARES):
        interval = cluster_interval(apart)
        low, high = interval.low, interval.high
    if shares or n < 2 or not np.ptp(apart) > 0:
        p = _sign(int((apart > 0).sum()), int((apart < 0).sum()))
    else:
        p = float(stats.ttest_1samp(apart, 0.0).pvalue)
    return Paired(estimate=estimate, low=low, high=high, p=p, n=n)


def _sign(up: int, down: int) -> float:
    """Exact two-sided p of so many ups and downs, were they equally likely."""
    return float(stats.binomtest(up, up + down).pvalue) if up + down else 1.0


def _newcombe(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    n = len(ours)
    cells = [[0, 0], [0, 0]]  # [ours wrong, right][theirs wrong, right]
    for one, other in zip(ours, theirs, strict=True):
        cells[int(one)][int(other)] += 1
    neither, (only_ours, both) = cells[0][0], cells[1]
    only_theirs = cells[0][1]
    a, b = only_ours + both, only_theirs + both
    first, second = wilson(a, n), wilson(b, n)
    product = a * b * (n - a) * (n - b)
    cross = float(both * neither - only_ours * only_theirs)
    if cross > 0:
        cross = max(cross - n / 2, 0.0)
    phi = cross / math.sqrt(product) if product else 0.0
    assert first.low is not None and first.high is not None
    assert second.low is not None and second.high is not None

    def half(one: float, other: float) -> float:
        return math.sqrt(max(one * one - 2 * phi * one * other + other * other, 0.0))

    p, q = a / n, b / n
    return (
        p - q - half(p - first.low, second.high - q),
        p - q + half(first.high - p, q - second.low),
    )
