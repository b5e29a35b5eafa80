import numpy as np
import pytest

from suites.proc.scene import caption, draw_spec
from suites.proc.words import ADJECTIVES, CATEGORIES, COLOURS, GROUNDS, NOUNS, VOCABULARY


def test_the_vocabulary_is_sorted_unique_and_about_two_hundred_words():
    assert list(VOCABULARY) == sorted(set(VOCABULARY))
    assert 180 <= len(VOCABULARY) <= 240
    assert all(word.isalpha() and word.islower() for word in VOCABULARY)


def test_there_are_sixty_four_adjectives_and_nouns_without_overlap():
    assert len(set(ADJECTIVES)) == len(set(NOUNS)) == 64
    assert not set(ADJECTIVES) & set(NOUNS)


@pytest.mark.parametrize("category", CATEGORIES)
def test_captions_use_vocabulary_words_only(category):
    rng = np.random.default_rng(0)
    words = {w for _ in range(2000) for w in caption(draw_spec(rng, category, split="val")).split()}
    assert words <= set(VOCABULARY)


def test_every_vocabulary_word_is_used_by_some_caption():
    rng = np.random.default_rng(1)
    used = {
        w
        for c in CATEGORIES
        for _ in range(3000)
        for w in caption(draw_spec(rng, c, split="val")).split()
    }
    assert set(VOCABULARY) - used <= set(ADJECTIVES) | set(NOUNS)  # Zipf's tail is long


def test_colours_stay_apart_from_each_other_and_from_the_grounds():
    named = list(COLOURS.values())
    pairs = [(a, b) for i, a in enumerate(named) for b in named[i + 1 :]]
    assert min(np.linalg.norm(np.subtract(a, b)) for a, b in pairs) >= 80
    assert min(np.linalg.norm(np.subtract(a, g)) for a in named for g in GROUNDS.values()) >= 100
