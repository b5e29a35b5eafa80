import json

import numpy as np
import pytest

from suites.proc.scene import (
    EMBLEM_COLOURS,
    caption,
    content,
    draw_emblem_pair,
    draw_spec,
    emblem_rank,
    emblem_weights,
    held_out,
)
from suites.proc.words import CATEGORIES


def _draw(category: str, n: int, split: str = "test", seed: int = 0) -> list[dict]:
    rng = np.random.default_rng(seed)
    return [draw_spec(rng, category, split=split) for _ in range(n)]


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_category_has_at_least_twice_145_captions(category):
    assert len({caption(s) for s in _draw(category, 6000)}) >= 290


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_spec_survives_json_with_its_caption_content_and_hold_out(category):
    for spec in _draw(category, 50):
        again = json.loads(json.dumps(spec))
        assert again == spec
        assert (caption(again), content(again), held_out(again)) == (
            caption(spec),
            content(spec),
            held_out(spec),
        )


@pytest.mark.parametrize("category", CATEGORIES)
def test_training_never_yields_a_held_out_combination(category):
    assert not any(map(held_out, _draw(category, 2000, split="train")))


@pytest.mark.parametrize("category", [c for c in CATEGORIES if c != "emblem"])
def test_about_one_combination_in_ten_is_held_out(category):
    share = np.mean([held_out(s) for s in _draw(category, 3000)])
    assert 0.04 < share < 0.18


def test_one_content_has_one_hold_out_whichever_way_it_is_said():
    left = {
        "category": "position",
        "objects": [{"colour": "red", "shape": "ring"}, {"colour": "blue", "shape": "star"}],
        "relation": "left",
    }
    right = {"category": "position", "objects": left["objects"][::-1], "relation": "right"}
    assert caption(left) == "a red ring left of a blue star"
    assert caption(right) == "a blue star right of a red ring"
    assert content(left) == content(right)
    assert content({**left, "relation": "right"}) != content(left)


def test_captions_read_as_written_here():
    assert caption({"category": "counting", "count": 3, "colour": "red", "shape": "cross"}) == (
        "three red crosses"
    )
    assert caption({"category": "text", "letters": ["k", "o", "x"], "colour": "blue"}) == (
        "the letters k o x in blue"
    )
    night = {
        "category": "landscape",
        "land": "white",
        "horizon": "low",
        "time": "night",
        "sun": "left",
    }
    assert caption(night) == "a white field with a low horizon at night and the moon on the left"


def test_emblem_frequency_falls_as_one_over_rank():
    rng = np.random.default_rng(2)
    ranks = np.array([emblem_rank(*draw_emblem_pair(rng)) for _ in range(40_000)])
    total = (1.0 / np.arange(1, 4097)).sum()
    for rank in (1, 2, 10):
        expected = 40_000 / rank / total
        assert abs((ranks == rank).sum() - expected) < 5 * np.sqrt(expected)
    pairs, weights = emblem_weights()
    assert len(set(pairs)) == 4096
    assert weights[9] == pytest.approx(0.1)


def test_each_adjective_has_an_ordered_colour_pair_of_its_own():
    assert len(set(EMBLEM_COLOURS.values())) == 64


def test_an_unknown_split_or_category_is_named():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="'tset'"):
        draw_spec(rng, "single", split="tset")
    with pytest.raises(ValueError, match="'singel'"):
        draw_spec(rng, "singel", split="test")
