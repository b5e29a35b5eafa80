"""Frechet distance between feature rows, at n and extrapolated to infinite n; numpy, float64.

Rows are split once into deterministic chunks, and moments kept by group and chunk, so that
every subsample and every delete-group replicate is a sum of what was added up once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from harness.records import Score
from harness.stats import Jackknife, delete_group_jackknife

__all__ = [
    "CHUNKS",
    "GROUPS",
    "Frechet",
    "FrechetInf",
    "Gaussian",
    "Moments",
    "fewest_rows_for_infinity",
    "frechet_at_infinity",
    "frechet_distance",
    "frechet_excess",
    "frechet_interval",
    "from_moments",
    "gaussian",
    "moments",
    "without_rounding",
]

CHUNKS = 12
GROUPS = 30  # of prompts, for the jackknife; at least 20
_PARTS = (1, 2, 3, 4, 6)  # subsamples are n, n/2, n/3, n/4 and n/6 rows
_NOISE = 1e-13  # eigenvalues under this share of the largest are rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaussian:
    """Mean [d] and covariance [d, d] of n rows, with the covariance's symmetric root."""

    mean: np.ndarray
    covariance: np.ndarray
    root: np.ndarray
    n: int

    @property
    def variance(self) -> float:
        """Total variance: the squared distance at which every row were the mean picture."""
        return float(np.trace(self.covariance))


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Counts [G, C], sums [G, C, d] and sums of products [G, C, d, d] by group and chunk."""

    counts: np.ndarray
    sums: np.ndarray
    products: np.ndarray

    @property
    def n(self) -> int:
        return int(self.counts.sum())

    @property
    def dimension(self) -> int:
        return int(self.sums.shape[-1])

    def chunks(self, without: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Moments by chunk [C, ...] over all groups, or all but one."""
        parts = (self.counts, self.sums, self.products)
        totals = [a.sum(axis=0) for a in parts]
        if without is not None:
            totals = [t - a[without] for t, a in zip(totals, parts, strict=True)]
        return totals[0], totals[1], totals[2]


def gaussian(rows: np.ndarray) -> Gaussian:
    """Fits rows [n, d]; the covariance divides by n - 1. Raises ValueError under two rows."""
    values = np.asarray(rows, np.float64)
    if values.ndim != 2 or len(values) < 2:
        raise ValueError(f"rows of shape {values.shape}; a covariance needs [n >= 2, d]")
    covariance = np.atleast_2d(np.cov(values, rowvar=False))
    return Gaussian(
        mean=values.mean(axis=0), covariance=covariance, root=_root(covariance), n=len(values)
    )


def from_moments(moments: np.ndarray) -> Gaussian:
    """Of a mean and, below it, a covariance [d + 1, d], taken as exact."""
    values = np.asarray(moments, np.float64)
    if values.ndim != 2 or len(values) != values.shape[1] + 1:
        raise ValueError(f"moments of shape {values.shape}; a mean over a covariance is [d + 1, d]")
    return Gaussian(mean=values[0], covariance=values[1:], root=_root(values[1:]), n=0)


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """Squared Frechet distance of two Gaussians (Dowson and Landau, 1982).

    |m_a - m_b|^2 + tr A + tr B - 2 tr (B^1/2 A B^1/2)^1/2, the last by a symmetric
    eigendecomposition. Biased upwards at finite n.
    """
    return float(_distances(a.mean[None], a.covariance[None], b)[0])


def fewest_rows_for_infinity(dimension: int) -> int:
    """Rows from which the extrapolation is attempted: two sizes, the smaller of 2 d rows."""
    return 4 * dimension


def moments(rows: np.ndarray, groups: np.ndarray | None = None, seed: int = 0) -> Moments:
    """Adds rows [n, d] up by group (int [n], 0 ... G - 1) and by a fixed seeded chunk."""
    values = np.asarray(rows, np.float64)
    labels = np.zeros(len(values), int) if groups is None else np.asarray(groups, int)
    count = int(labels.max()) + 1
    draw = np.random.default_rng(seed).random(len(values))
    order = np.lexsort((draw, labels))  # by group, shuffled inside it, then dealt in turn
    chunk = np.empty(len(values), int)
    chunk[order] = np.arange(len(values)) % CHUNKS
    d = values.shape[1]
    counts = np.zeros((count, CHUNKS))
    sums = np.zeros((count, CHUNKS, d))
    products = np.zeros((count, CHUNKS, d, d))
    for g in range(count):
        for c in range(CHUNKS):
            part = values[(labels == g) & (chunk == c)]
            counts[g, c] = len(part)
            sums[g, c] = part.sum(axis=0)
            products[g, c] = part.T @ part
    return Moments(counts=counts, sums=sums, products=products)


def frechet_at_infinity(
    sample: Moments, reference: Gaussian, without: int | None = None
) -> float | None:
    """Distance extrapolated to infinitely many rows: the intercept of a line in 1/n.

    Source: Chong and Forsyth, CVPR 2020. Here every subsample of one size is disjoint and their
    distances are averaged, so that no draw is favoured. None under 4 d rows. The reference
    counts as exact. May be slightly negative: it is unbiased, not a distance.
    """
    counts, sums, products = sample.chunks(without)
    n = float(counts.sum())
    if n < fewest_rows_for_infinity(sample.dimension):
        return None
    parts = [p for p in _PARTS if n / p >= 2 * sample.dimension]
    means, covariances = [], []
    owner: list[int] = []
    inverse: list[float] = []
    for p in parts:
        shape = (p, CHUNKS // p)
        sizes = counts.reshape(shape).sum(axis=1)
        total = sums.reshape(*shape, -1).sum(axis=1)
        square = products.reshape(*shape, *products.shape[1:]).sum(axis=1)
        mean = total / sizes[:, None]
        centred = square - sizes[:, None, None] * mean[:, :, None] * mean[:, None, :]
        means.append(mean)
        covariances.append(centred / (sizes[:, None, None] - 1))
        owner += [len(inverse)] * p
        inverse.append(float((1 / sizes).mean()))
    distances = _distances(np.concatenate(means), np.concatenate(covariances), reference)
    averages = np.bincount(owner, weights=distances) / np.bincount(owner)
    x = np.array(inverse) - np.mean(inverse)
    slope = float((x @ averages) / (x @ x))
    return float(averages.mean() - slope * np.mean(inverse))


def frechet_excess(
    candidate: Moments, baseline: Moments, reference: Gaussian, margin: float
) -> Jackknife | None:
    """T = FDinf(candidate) - (1 + margin) FDinf(baseline), delete-group jackknife on T itself.

    Both hold the same groups of prompts; one group leaves both at once. High end <= 0: not worse
    by more than the margin. Low end > 0: worse by more. Otherwise it says nothing. None where
    either has too few rows, or there are under 20 groups.
    """
    groups = candidate.counts.shape[0]
    if groups != baseline.counts.shape[0]:
        raise ValueError("candidate and baseline hold different groups of prompts")

    def excess(without: int | None) -> float | None:
        ours = frechet_at_infinity(candidate, reference, without)
        theirs = frechet_at_infinity(baseline, reference, without)
        return None if ours is None or theirs is None else ours - (1 + margin) * theirs

    return _jackknifed(excess, groups)


def frechet_interval(sample: Moments, reference: Gaussian) -> Jackknife | None:
    """FDinf with its delete-group jackknife interval; None as for `frechet_excess`."""
    return _jackknifed(
        lambda without: frechet_at_infinity(sample, reference, without), sample.counts.shape[0]
    )


class Frechet:
    """Frechet distance of rows_a at their own n, to rows_b or else the reference."""

    name = "frechet"

    def compute(
        self, rows_a: np.ndarray, rows_b: np.ndarray | None, reference: np.ndarray | None
    ) -> Score:
        value = frechet_distance(gaussian(rows_a), gaussian(_other(rows_b, reference)))
        return Score(system="", metric=self.name, category="all", value=value, n=len(rows_a))


class FrechetInf:
    """Frechet distance at infinite n, each row a cluster of its own."""

    name = "frechet_inf"

    def compute(
        self, rows_a: np.ndarray, rows_b: np.ndarray | None, reference: np.ndarray | None
    ) -> Score:
        groups = np.arange(len(rows_a)) % GROUPS
        known = gaussian(_other(rows_b, reference))
        found = frechet_interval(moments(rows_a, groups), known)
        return Score(
            system="",
            metric=self.name,
            category="all",
            value=None if found is None else found.estimate,
            low=None if found is None else found.low,
            high=None if found is None else found.high,
            n=len(rows_a),
        )


def _jackknifed(statistic: Callable[[int | None], float | None], groups: int) -> Jackknife | None:
    estimate = statistic(None)
    if estimate is None or groups < 20:
        return None
    replicates = [r for g in range(groups) if (r := statistic(g)) is not None]
    if len(replicates) < groups:
        return None
    return delete_group_jackknife(estimate, replicates)


def _other(rows_b: np.ndarray | None, reference: np.ndarray | None) -> np.ndarray:
    if rows_b is not None:
        return rows_b
    if reference is None:
        raise ValueError("a distance needs rows_b or a reference")
    return reference


def _root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(without_rounding(values))) @ vectors.T


def _distances(means: np.ndarray, covariances: np.ndarray, b: Gaussian) -> np.ndarray:
    """Distances [m] of Gaussians with means [m, d] and covariances [m, d, d] to one other."""
    inner = b.root @ covariances @ b.root
    values = np.linalg.eigvalsh((inner + np.swapaxes(inner, -1, -2)) / 2)
    trace = np.sqrt(without_rounding(values)).sum(axis=-1)
    traces = np.trace(covariances, axis1=-2, axis2=-1) + b.variance
    return ((means - b.mean) ** 2).sum(axis=-1) + traces - 2 * trace


def without_rounding(values: np.ndarray) -> np.ndarray:
    """Sets eigenvalues [..., d] that are rounding to zero, so that roots agree across machines."""
    largest = np.maximum(values.max(axis=-1, keepdims=True), math.ulp(0.0))
    return np.where(values < _NOISE * largest, 0.0, values)
