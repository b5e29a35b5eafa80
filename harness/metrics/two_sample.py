"""Whether two systems' pictures can be told apart: a classifier two-sample test.

Source: Lopez-Paz and Oquab (2017), Revisiting Classifier Two-Sample Tests.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

from harness.metrics.summary import Table
from harness.stats import Interval, cluster_interval

__all__ = ["told_apart"]

FOLDS = 5
SHRUNK = 0.1  # of the covariance towards its mean variance (Friedman 1989)


def told_apart(table: Table, ours: str, theirs: str) -> Interval | str:
    """Share of pictures that a linear discriminant on the judge's features gives to their system.

    Chance is 0.5. Pictures of a prompt are in one fold, so none is told by its caption; the
    interval is over prompts. A text says why there is none.
    """
    sides = []
    for system in (ours, theirs):
        rows, features = table.pooled(system), table.features(system)
        if features is None or len(features) != len(rows):
            return f"no features of {system}"
        sides.append((features.astype(np.float64), [row.prompt for row in rows]))
    prompts = sorted(set(sides[0][1]) & set(sides[1][1]))
    if len(prompts) < 2 * FOLDS:
        return f"{len(prompts)} prompts in common"
    fold = {prompt: i % FOLDS for i, prompt in enumerate(prompts)}
    x = np.concatenate([side[0] for side in sides])
    names = np.array([p for side in sides for p in side[1]])
    y = np.repeat([1.0, -1.0], [len(side[0]) for side in sides])
    at = np.array([fold.get(name, -1) for name in names])
    right: dict[str, list[float]] = {}
    for held in range(FOLDS):
        seen, asked = (at >= 0) & (at != held), at == held
        a, b = (x[seen & (y == side)] for side in (1.0, -1.0))
        spread = (np.cov(a.T) + np.cov(b.T)) / 2
        level = np.trace(spread) / len(spread)
        if not level > 0:
            return "the features of each system are all the same"
        spread = (1 - SHRUNK) * spread + SHRUNK * level * np.eye(len(spread))
        way = linalg.solve(spread, a.mean(0) - b.mean(0), assume_a="pos")
        side = np.sign((x[asked] - (a.mean(0) + b.mean(0)) / 2) @ way)
        for name, found in zip(names[asked], (1 + side * y[asked]) / 2, strict=True):
            right.setdefault(name, []).append(float(found))  # a tie is half right
    return cluster_interval([float(np.mean(found)) for found in right.values()])
