"""Kernel distance (KID) between feature rows: squared MMD under a cubic kernel, unbiased.

(x.y / d + 1)^3 is a sum of powers of x.y, and a sum of powers over all pairs is an inner product of
two sums of outer products: all rows count, no subsets, in time linear in n.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.records import Score

__all__ = ["Kernel", "Sums", "kernel_distance", "kernel_sums"]

_BLOCK = 1024
_WIDEST = 160  # features; beyond it the third power is too large, and pairs are taken in blocks
_BINOMIAL = (1, 3, 3, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """What a sample gives to the distance; `powers` are the sums of x, xx and xxx, or empty."""

    rows: np.ndarray
    powers: tuple[np.ndarray, ...]

    @property
    def n(self) -> int:
        return len(self.rows)


class Kernel:
    """Kernel distance of rows_a to rows_b or else the reference; all rows, no subsets."""

    name = "kernel"

    def compute(
        self, rows_a: np.ndarray, rows_b: np.ndarray | None, reference: np.ndarray | None
    ) -> Score:
        other = reference if rows_b is None else rows_b
        if other is None:
            raise ValueError("a distance needs rows_b or a reference")
        value = kernel_distance(kernel_sums(rows_a), kernel_sums(other))
        return Score(system="", metric=self.name, category="all", value=value, n=len(rows_a))


def kernel_sums(rows: np.ndarray) -> Sums:
    """Adds up rows [n, d]. Raises ValueError under two rows."""
    values = np.asarray(rows, np.float64)
    n, d = values.shape
    if n < 2:
        raise ValueError("a kernel distance needs at least two rows of each sample")
    if d > _WIDEST:
        return Sums(rows=values, powers=())
    third = np.zeros((d * d, d))
    for i in range(0, n, _BLOCK):
        part = values[i : i + _BLOCK]
        third += (part[:, :, None] * part[:, None, :]).reshape(len(part), d * d).T @ part
    return Sums(rows=values, powers=(values.sum(axis=0), values.T @ values, third))


def kernel_distance(a: Sums, b: Sums) -> float:
    """Unbiased squared MMD of two samples (Binkowski et al., ICLR 2018).

    k(x, y) = (x.y / d + 1)^3; the U-statistic, so it may be below zero.
    """
    return _within(a) + _within(b) - 2 * _total(a, b) / (a.n * b.n)


def _within(a: Sums) -> float:
    """Mean kernel over ordered pairs of different rows."""
    own = ((a.rows**2).sum(axis=1) / a.rows.shape[1] + 1) ** 3
    return (_total(a, a) - float(own.sum())) / (a.n * (a.n - 1))


def _total(a: Sums, b: Sums) -> float:
    """Kernel summed over all pairs."""
    d = a.rows.shape[1]
    if a.powers and b.powers:
        total = float(a.n * b.n)
        for power, (x, y) in enumerate(zip(a.powers, b.powers, strict=True), start=1):
            total += _BINOMIAL[power] * float((x * y).sum()) / d**power
        return total
    total = 0.0
    for i in range(0, a.n, _BLOCK):
        base = a.rows[i : i + _BLOCK] @ b.rows.T / d + 1
        total += float((base * base * base).sum())
    return total
