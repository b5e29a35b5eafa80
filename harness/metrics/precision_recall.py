"""Precision, recall, density and coverage of feature rows by k nearest neighbours (k = 5).

Precision and recall: Kynkaanniemi et al., NeurIPS 2019. Density and coverage: Naeem et al., ICML
2020. All depend on the number of rows; compare only at equal n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.records import Score
from harness.stats import Jackknife, delete_group_jackknife

__all__ = [
    "K",
    "LIMIT",
    "Coverage",
    "Density",
    "Neighbours",
    "Precision",
    "Recall",
    "neighbours",
    "radii",
    "recall_difference",
    "same_size",
]

K = 5
LIMIT = 3000  # rows of either side; beyond it a fixed subsample
_DEPTH = 256  # neighbours kept, so that a radius is known after a group has left
_DECIMALS = 9  # of squared distances, so that ties are ties on every machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """Squared distances of one sample [n, d] to a reference [m, d], and within each.

    across [m, n]; near [n, depth] ascending and near_index [n, depth] within the sample;
    reference_radius [m]; present [n]: False where a request failed. A failure counts in n, lies
    far from everything and has no ball.
    """

    across: np.ndarray
    near: np.ndarray
    near_index: np.ndarray
    reference_radius: np.ndarray
    present: np.ndarray

    @property
    def n(self) -> int:
        return int(self.across.shape[1])

    def precision(self) -> float:
        """Share of the sample that lies in some reference row's ball."""
        return float((self.across <= self.reference_radius[:, None]).any(axis=0).mean())

    def density(self) -> float:
        """Mean number of reference balls around a row of the sample, over k; may exceed 1."""
        return float((self.across <= self.reference_radius[:, None]).sum() / (K * self.n))

    def coverage(self) -> float:
        """Share of reference balls that hold a row of the sample."""
        return float((self.across.min(axis=1) <= self.reference_radius).mean())

    def recall(self, keep: np.ndarray | None = None) -> float:
        """Share of the reference that lies in some ball of the sample (bool [n] keeps rows)."""
        kept = self.present if keep is None else keep & self.present
        ranks = kept[self.near_index].cumsum(axis=1)
        kept = kept & (ranks[:, -1] >= K)  # a row without k neighbours has no ball either
        radius = np.take_along_axis(self.near, (ranks >= K).argmax(axis=1)[:, None], axis=1)[:, 0]
        return float((self.across <= np.where(kept, radius, -1.0)).any(axis=1).mean())

    def recall_without(self, groups: np.ndarray) -> list[float]:
        """Recall of the sample without each group in turn (int [n], 0 ... G - 1)."""
        return [self.recall(groups != g) for g in range(int(groups.max()) + 1)]


def same_size(rows: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    """A fixed seeded subsample of n rows, in the order of the rows; all of them if n is larger."""
    if n >= len(rows):
        return rows
    draw = np.random.default_rng(seed).random(len(rows))
    return rows[np.sort(np.argsort(draw, kind="stable")[:n])]


def neighbours(
    rows: np.ndarray,
    reference: np.ndarray,
    reference_radius: np.ndarray | None = None,
    failed: np.ndarray | None = None,
) -> Neighbours:
    """Distances of rows [n, d] to the reference [m, d]; `failed` bool [n] have no features.

    Raises ValueError with k rows or fewer.
    """
    a, b = np.asarray(rows, np.float64), np.asarray(reference, np.float64)
    if min(len(a), len(b)) <= K:
        raise ValueError(f"{len(a)} and {len(b)} rows; neighbours need more than {K} of each")
    present = np.ones(len(a), bool) if failed is None else ~np.asarray(failed, bool)
    own, across = _squared(a, a), _squared(b, a)
    np.fill_diagonal(own, np.inf)
    own[:, ~present] = across[:, ~present] = np.inf
    depth = min(_DEPTH, len(a) - 1)
    index = np.argpartition(own, depth - 1, axis=1)[:, :depth]
    near = np.take_along_axis(own, index, axis=1)
    order = np.argsort(near, axis=1, kind="stable")
    return Neighbours(
        across=across,
        near=np.take_along_axis(near, order, axis=1),
        near_index=np.take_along_axis(index, order, axis=1),
        reference_radius=radii(b) if reference_radius is None else reference_radius,
        present=present,
    )


def radii(rows: np.ndarray) -> np.ndarray:
    """Squared distance [n] of each row [n, d] to its k-th neighbour among the others."""
    own = _squared(np.asarray(rows, np.float64), np.asarray(rows, np.float64))
    np.fill_diagonal(own, np.inf)
    return np.partition(own, K - 1, axis=1)[:, K - 1]


def recall_difference(
    candidate: float,
    baseline: float,
    candidate_without: Sequence[float],
    baseline_without: Sequence[float],
) -> Jackknife | None:
    """Recall(candidate) - recall(baseline), delete-group jackknife with the reference fixed.

    `_without` are the recalls without each group of prompts, which leaves both at once. Low
    end >= -margin: not worse by more than the margin. High end < -margin: worse by more. None under
    20 groups.
    """
    if len(candidate_without) < 20:
        return None
    replicates = [a - b for a, b in zip(candidate_without, baseline_without, strict=True)]
    return delete_group_jackknife(candidate - baseline, replicates)


class _OfNeighbours:
    name: str

    def value(self, found: Neighbours) -> float:
        raise TypeError("use Precision, Recall, Density or Coverage")

    def compute(
        self, rows_a: np.ndarray, rows_b: np.ndarray | None, reference: np.ndarray | None
    ) -> Score:
        other = reference if rows_b is None else rows_b
        if other is None:
            raise ValueError("a comparison needs rows_b or a reference")
        rows = same_size(rows_a, LIMIT)
        found = neighbours(rows, same_size(other, len(rows)))
        return Score(
            system="", metric=self.name, category="all", value=self.value(found), n=len(rows)
        )


class Precision(_OfNeighbours):
    """Share of images that could be reference pictures."""

    name = "precision"

    def value(self, found: Neighbours) -> float:
        return found.precision()


class Recall(_OfNeighbours):
    """Share of reference pictures that the system could have made."""

    name = "recall"

    def value(self, found: Neighbours) -> float:
        return found.recall()


class Density(_OfNeighbours):
    """Precision that counts every ball; robust to outliers of the reference."""

    name = "density"

    def value(self, found: Neighbours) -> float:
        return found.density()


class Coverage(_OfNeighbours):
    """Recall with the reference's own balls; robust to outliers of the system."""

    name = "coverage"

    def value(self, found: Neighbours) -> float:
        return found.coverage()


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    found = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * (a @ b.T)
    return np.round(np.maximum(found, 0.0), _DECIMALS)
