from collections import Counter

import numpy as np

from suites.proc.scene import caption, held_out
from suites.proc.train import draw_batch
from suites.proc.words import CATEGORIES


def test_categories_are_equally_likely_and_captions_match_their_specs():
    specs, captions = draw_batch(np.random.default_rng(0), 5000)
    counts = Counter(s["category"] for s in specs)
    assert set(counts) == set(CATEGORIES)
    assert all(abs(n - 500) < 110 for n in counts.values())  # five standard deviations
    assert captions == [caption(s) for s in specs]
    assert not any(map(held_out, specs))


def test_a_batch_can_be_kept_to_some_categories():
    specs, _ = draw_batch(np.random.default_rng(0), 50, categories=["emblem", "text"])
    assert {s["category"] for s in specs} == {"emblem", "text"}


def test_the_same_seed_draws_the_same_batch():
    assert draw_batch(np.random.default_rng(4), 64) == draw_batch(np.random.default_rng(4), 64)
