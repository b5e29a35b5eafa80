"""The training distribution: categories equally likely, held-out combinations never."""

from collections.abc import Sequence

import numpy as np

from suites.proc.scene import Spec, caption, draw_spec
from suites.proc.words import CATEGORIES

__all__ = ["draw_batch"]


def draw_batch(
    rng: np.random.Generator, n: int, *, categories: Sequence[str] | None = None
) -> tuple[list[Spec], list[str]]:
    """Draw n specs and their captions; render them with any rng of the recipe's own."""
    chosen = tuple(categories) if categories is not None else CATEGORIES
    picks = rng.integers(len(chosen), size=n).tolist()
    specs = [draw_spec(rng, chosen[i], split="train") for i in picks]
    return specs, [caption(spec) for spec in specs]
