"""Captions of two things name them in the order in which the picture shows them."""

import numpy as np

from suites.proc.render import render
from suites.proc.scene import caption, content
from suites.proc.train import draw_batch
from suites.proc.words import COLOURS
from un0_model.reading_order import in_reading_order, turned, turned_by_coin

PAIR, OTHER = "a small red circle and a large blue star", "a large blue star and a small red circle"
ALONE = (
    "a red person with left arm up and right arm down on white",
    "thin level stripes in red and blue",
    "a green field with a low horizon at night and no moon",
    "a red circle above a blue star",
    "two red circles and a blue star",
)


def test_two_things_are_turned_and_nothing_else():
    assert (turned(PAIR), turned(OTHER)) == (OTHER, PAIR)
    assert all(turned(text) == text for text in ALONE)


def test_a_seed_says_which_thing_is_first_and_half_of_them_either():
    found = turned_by_coin([PAIR] * 1000, range(1000))
    assert set(found) == {PAIR, OTHER}
    assert 450 < found.count(PAIR) < 550
    assert turned_by_coin([PAIR] * 1000, range(1000)) == found
    assert turned_by_coin([PAIR], [2**64 - 1])[0] in (PAIR, OTHER)


def test_a_picture_says_which_thing_its_caption_names_first():
    rng = np.random.default_rng(0)
    specs, _ = draw_batch(rng, 60, categories=("binding", "size"))
    kept = 0
    for spec in specs:
        image = render(spec, rng)
        ordered = in_reading_order(spec, image)
        assert content(ordered) == content(spec)
        assert caption(ordered) in (caption(spec), turned(caption(spec)))
        kept += ordered == spec
        # upside down what was last is first, unless both stand side by side
        upside_down = in_reading_order(spec, image[::-1])
        rows = [_rows(image, o["colour"]) for o in ordered["objects"]]
        if rows[0].max() + 8 < rows[1].min():
            assert upside_down["objects"] == ordered["objects"][::-1]
    assert 15 < kept < 45


def test_a_relation_says_itself_where_things_are():
    rng = np.random.default_rng(1)
    for spec in draw_batch(rng, 20, categories=("position", "single"))[0]:
        assert in_reading_order(spec, render(spec, rng)) == spec


def _rows(image, colour):
    near = np.abs(image.astype(int) - np.array(COLOURS[colour])).max(-1) <= 12
    return np.nonzero(near.any(1))[0]
