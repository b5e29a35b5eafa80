"""Captions of two things, or of equal ones, say where they stand, as the picture or a seed says."""

import collections
import itertools
import math

import numpy as np

from suites.proc.render import render
from suites.proc.scene import caption, held_out
from suites.proc.train import draw_batch
from suites.proc.words import COLOURS, COUNTS
from suites.proc.words import RELATIONS as OF_THE_SUITE
from un0_model.arrangement import NUMBERS, PLACES, RELATIONS, arranged_by_seed
from un0_model.recipes.scenes import arranged

PAIR = "a small red circle and a large blue star"
CIRCLE, STAR = PAIR.split(" and ")
ALONE = (
    "a red person with left arm up and right arm down on white",
    "thin level stripes in red and blue",
    "a green field with a low horizon at night and no moon",
    "a red circle above a blue star",
    "two red circles and a blue star",
    "a red circle and a blue star and a green ring",
    "two",
    "a red circle above and a blue star",
    "a small blue star left of and a large red circle",
    "two above one above no red stars",
)


def test_a_seed_arranges_two_things_each_way_as_often():
    found = arranged_by_seed([PAIR] * 1000, range(1000))
    assert set(found) == {
        f"{one} {relation} and {other}"
        for one, other in ((CIRCLE, STAR), (STAR, CIRCLE))
        for relation in ("above", "left of")
    }
    assert all(200 < found.count(text) < 300 for text in set(found))
    assert arranged_by_seed([PAIR] * 1000, range(1000)) == found
    assert arranged_by_seed([PAIR], [2**64 - 1])[0] in found


def test_both_sides_use_the_suite_s_words():
    assert (OF_THE_SUITE["above"], OF_THE_SUITE["left"]) == RELATIONS
    assert ("no", *COUNTS) == NUMBERS


def test_no_other_caption_is_touched():
    for text in ALONE:
        assert set(arranged_by_seed([text] * 20, range(20))) == {text}


def test_a_picture_says_how_its_things_are_arranged():
    rng = np.random.default_rng(0)
    specs, plain = draw_batch(rng, 80, categories=("binding", "size"))[0], 0
    for spec in specs:
        image = render(spec, rng)
        text = arranged(spec, image)
        if text == caption(spec):
            plain += 1
            continue
        first, _, second = text.partition(" and ")
        things = [
            thing.removesuffix(" above").removesuffix(" left of") for thing in (first, second)
        ]
        assert sorted(things) == sorted(caption(spec).split(" and "))
        # seen in a mirror, or upside down, what was first is last
        mirrored = image[::-1] if "above" in text else image[:, ::-1]
        again = arranged(spec, mirrored)
        assert again in (caption(spec), f"{second}{first.removeprefix(things[0])} and {things[0]}")
    assert 0 < plain < 30  # arrangements that are held out, and no others


def test_what_training_leaves_out_is_not_told():
    """A held-out relation of two things: its pictures are in `binding`, its words nowhere."""
    rng, found = np.random.default_rng(2), 0
    for spec in draw_batch(rng, 300, categories=("binding",))[0]:
        text = arranged(spec, render(spec, rng))
        for name, words in (("above", " above and "), ("left", " left of and ")):
            if words in text:
                colours = [thing.split()[-2] for thing in text.split(words)]
                objects = sorted(spec["objects"], key=lambda o: o["colour"] != colours[0])
                assert not held_out({"category": "position", "objects": objects, "relation": name})
        found += text == caption(spec)
    assert found > 10


def test_a_relation_says_itself_where_things_are():
    rng = np.random.default_rng(1)
    for spec in draw_batch(rng, 20, categories=("position", "single", "texture"))[0]:
        assert arranged(spec, render(spec, rng)) == caption(spec)


def thirds(text):
    """What a caption of equal things says of each third of a picture, and the rest of it."""
    first, second, third = text.split(" above ")
    number, things = third.split(" ", 1)
    return tuple(map(NUMBERS.index, (first, second, number))), things


def test_a_seed_spreads_equal_things_as_pictures_have_them():
    for count, number in enumerate(COUNTS, start=1):
        found = [thirds(t) for t in arranged_by_seed([f"{number} red stars"] * 500, range(500))]
        assert {(sum(each), max(each) <= PLACES // 3, things) for each, things in found} == {
            (count, True, "red stars")
        }
        seen = collections.Counter(each for each, _ in found)
        for each in itertools.product(range(4), repeat=3):
            ways = math.prod(math.comb(3, n) for n in each) * (sum(each) == count)
            assert abs(seen[each] - 500 * ways / math.comb(PLACES, count)) < 60


def test_a_picture_says_how_its_equal_things_are_spread():
    rng = np.random.default_rng(3)
    for spec in draw_batch(rng, 200, categories=("counting",))[0]:
        image = render(spec, rng)
        text = arranged(spec, image)
        spread, things = thirds(text)
        assert sum(spread) == spec["count"] and things == caption(spec).split(" ", 1)[1]
        assert thirds(arranged(spec, image[::-1])) == (spread[::-1], things)


def test_equal_things_are_read_where_they_are():
    image = np.full((64, 64, 3), 248, np.uint8)
    for row, col in ((12, 10), (12, 50), (52, 30)):
        image[row - 6 : row + 6, col - 6 : col + 6] = COLOURS["red"]
    spec = {"category": "counting", "count": 3, "colour": "red", "shape": "square"}
    assert arranged(spec, image) == "two above no above one red squares"


def test_a_seed_and_a_caption_are_read_as_elsewhere():
    """Seeds of numpy, capitals and spaces: as `uniforms` and `numbered` take them."""
    (text,) = arranged_by_seed(["two red stars"], [7])
    assert arranged_by_seed(["Two  red stars"], [np.int64(7)]) == [text]
    assert arranged_by_seed([text], [8]) == [text]
