"""Streams of requests, and whose picture is shown again."""

import json

import numpy as np
import pytest

from suites.proc.sets import load_set
from un0_model.recipes import remembered


def test_streams_are_as_long_and_only_fresh_ones_hold_what_nobody_asked():
    published = load_set("test").prompts[:50]
    streams = remembered.streams(published)
    assert {name: len(stream) for name, stream in streams.items()} == dict.fromkeys(
        ("published", "zipf", "diverse", "distinct"), 200
    )
    ids = [prompt.id for stream in streams.values() for prompt in stream]
    assert len(set(ids)) == len(ids)  # so no two requests share a seed
    texts = {name: [p.text for p in stream] for name, stream in streams.items()}
    assert sorted(texts["published"]) == sorted([p.text for p in published] * 4)
    counts = sorted((texts["zipf"].count(t) for t in set(texts["zipf"])), reverse=True)
    assert counts[0] > 3 * 200 / 50 and len(counts) < 50  # a few are asked often, some never
    assert len(set(texts["distinct"])) == 200


@pytest.mark.parametrize(
    ("least", "size", "took"),
    [
        (1.0, 9, [0, 1, 0, 3, 1]),
        (0.8, 9, [0, 1, 0, 0, 1]),
        (1.0, 1, [0, 1, 2, 3, 4]),  # 0 had to make room before it was asked again
        (1.0, 2, [0, 1, 0, 3, 4]),  # 1 was shown longer ago than 0
    ],
)
def test_the_nearest_kept_picture_is_shown_again(least, size, took):
    of = np.array([0, 1, 0, 2, 1])  # captions; the third is near the first
    cosines = np.array([[1.0, 0.1, 0.85], [0.1, 1.0, 0.1], [0.85, 0.1, 1.0]])
    assert remembered.nearest(cosines[np.ix_(of, of)], least, size).tolist() == took


def test_what_was_found_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(remembered, "RUNS", 1)
    assert remembered.main(tmp_path / "cache.json", count=8) == 0
    found = json.loads((tmp_path / "cache.json").read_text())
    assert found["requests"] == 32 and set(found["cpu_s"]) == set(remembered.CACHES)
    drawn, shown = (
        found["pictures"][f"zipf, {what}"] for what in ("drawn", "cosine 1.0 of 100 pictures")
    )
    assert drawn["shown"] == 0 < shown["shown"] < 1
    assert 0 < drawn["verified"] <= 1 and 0 < shown["verified"] <= 1
