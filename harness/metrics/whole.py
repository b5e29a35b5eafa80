"""Frechet distance of features of many columns, at their own n, with an interval over prompts.

Moments by group and chunk, as frechet.py keeps them, would fill the memory at 2,048 columns. Here
each group is left out of the rows. At 5,000 rows of 2,048 columns the 31 decompositions take some
minutes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.metrics.frechet import GROUPS, Gaussian, without_rounding
from harness.stats import Jackknife, delete_group_jackknife

__all__ = ["Distance", "distance"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
    """Biased upwards by an amount that falls as 1 / n, so `n` belongs to it, and two differ by n.

    `spread` is the delete-group jackknife over prompts; None under 60 rows.
    """

    value: float
    n: int
    spread: Jackknife | None


def distance(rows: np.ndarray, groups: np.ndarray, reference: Gaussian) -> Distance | None:
    """Distance of rows [n, d], each of a prompt in one of the groups; None under two rows.

    With X the rows times the root of the reference's covariance B, the covariance of X is
    B^1/2 A B^1/2, whose root's trace the distance needs; of fewer rows than columns X X' has it.
    """
    values = np.asarray(rows, np.float64)
    if len(values) < 2:
        return None
    rooted = values @ reference.root

    def of(kept: np.ndarray) -> float:
        here, shift = values[kept], values[kept].mean(axis=0) - reference.mean
        centred = rooted[kept] - rooted[kept].mean(axis=0)
        n, d = centred.shape
        inner = (centred @ centred.T if n < d else centred.T @ centred) / (n - 1)
        trace = np.sqrt(without_rounding(np.linalg.eigvalsh(inner))).sum()
        variance = here.var(axis=0, ddof=1).sum()
        return float(shift @ shift + variance + reference.variance - 2 * trace)

    value, spread = of(np.ones(len(values), bool)), None
    if len(set(groups.tolist())) == GROUPS and len(values) >= 2 * GROUPS:
        replicates = [of(groups != group) for group in range(GROUPS)]
        spread = delete_group_jackknife(value, replicates)
    return Distance(value=value, n=len(values), spread=spread)
