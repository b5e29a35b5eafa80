"""Scoring holds few pictures at a time, and controls are what they are called."""

import weakref

import numpy as np
import pytest

from harness import scoring
from harness.records import Prompt
from harness.scoring import BATCH, _score_system, controls
from suites.proc.sets import load_set


class Counted:
    """An extractor that notes how many pictures are alive when it is asked."""

    name = "verified"

    def __init__(self):
        self.made = self.gone = self.most = 0

    def pictures(self, count):
        for i in range(count):
            image = np.full((64, 64, 3), i % 256, np.uint8)
            self.made += 1
            weakref.finalize(image, self._freed)
            row = {"request": i, "prompt_id": "p", "seed": i, "failure": None}
            yield row, image
            del image

    def _freed(self):
        self.gone += 1

    def rows(self, images, requests):
        self.most = max(self.most, self.made - self.gone)
        return np.array([[float(image[0, 0, 0] % 2)] for image in images])


def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path):
    counted, prompts = Counted(), {"p": Prompt(id="p", text="a", category="")}
    args = (tmp_path, "s", counted.pictures(20 * BATCH), prompts, [counted], None)
    items = _score_system(*args)
    assert [item["value"] for item in items] == [i % 2 for i in range(20 * BATCH)]
    assert counted.most <= 2 * BATCH + 1


def test_pictures_are_read_ahead_in_order_and_a_batch_at_most():
    begun = []
    ahead = scoring.ahead(lambda i: begun.append(i) or i, range(5 * BATCH))
    taken = [next(ahead) for _ in range(3)]
    assert len(begun) <= BATCH + 2
    assert taken + list(ahead) == list(range(5 * BATCH))


def test_a_failure_counts_as_wrong_and_stands_first(tmp_path):
    counted, prompt = Counted(), load_set("val").prompts[0]
    failed = {"request": 9, "prompt_id": "f", "seed": 9, "failure": "none"}
    shown = [*counted.pictures(3), (failed, None)]
    prompts = {"p": Prompt(id="p", text="a", category=""), "f": prompt}
    items = _score_system(tmp_path, "s", shown, prompts, [counted], None)
    assert [(item["request"], item["value"]) for item in items] == [(9, 0), (0, 0), (1, 1), (2, 0)]


@pytest.fixture(scope="module")
def core():
    chosen = {}
    for prompt in load_set("val").prompts:
        chosen.setdefault(prompt.category, prompt)
    return [(prompt, 0) for prompt in chosen.values()]


def test_controls_are_right_or_wrong_as_they_are_called(core):
    drawn = controls(core)
    assert list(drawn) == ["reference", "blur", "jpeg30", "shuffled", "dropped-modes"]
    at = range(len(core))
    shown = {name: [draw(i) for i in at] for name, draw in drawn.items()}
    assert all(
        np.array_equal(image, drawn["reference"](i))
        for i, image in zip(at, shown["reference"], strict=True)
    )
    half = len(core) // 2
    swapped = shown["shuffled"]
    kept = set(sorted(prompt.category for prompt, _ in core)[::2])
    clean = {core[(i + half) % len(core)][0].category: swapped[i] for i in at}
    for i, (prompt, _) in enumerate(core):
        same = np.array_equal(shown["dropped-modes"][i], clean[prompt.category])
        assert same == (prompt.category in kept)
        assert shown["blur"][i].std() < clean[prompt.category].std()
        assert not np.array_equal(shown["jpeg30"][i], clean[prompt.category])
