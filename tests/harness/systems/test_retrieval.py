"""Lookup: the nearest caption's picture, the seed's pick, libraries and their mistakes."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from harness.child import build
from harness.errors import AssetError, ConfigError
from harness.protocols import System
from harness.records import Failure, Prompt, Request
from harness.systems.retrieval import RetrievalSystem, Words
from suites.proc.parse import parse
from suites.proc.verify import verify

GREYS = {"a red cat": 10, "a red dog": 20, "a cat on a blue dog": 30, "a dog on a blue cat": 40}


def requests(*texts, seed=0):
    return [
        Request(id=i, prompt=Prompt(id=str(i), text=text, category=""), seed=seed + i)
        for i, text in enumerate(texts)
    ]


def saved(path, grey, size=(6, 4)):
    Image.fromarray(np.full((size[1], size[0], 3), grey, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    for number, (text, grey) in enumerate(GREYS.items()):
        saved(tmp_path / f"{number}.png", grey)
        (tmp_path / f"{number}.txt").write_text(f"{text}\n")
    return tmp_path


def system(**config):
    made = RetrievalSystem(**config)
    made.load()
    return made


def greys(made, *texts, seed=0):
    return [int(one[0, 0, 0]) for one in made.generate(requests(*texts, seed=seed))]


def test_each_prompt_gets_the_picture_of_the_nearest_caption(folder):
    made = system(library=str(folder))
    assert isinstance(made, System)
    assert greys(made, *GREYS) == list(GREYS.values())
    near = ("A cat, red", "on a blue dog a cat sits", "on a blue cat a dog sits")
    assert greys(made, *near) == [10, 30, 40]
    (image,) = made.generate(requests("cat"))
    assert image.shape == (4, 6, 3) and image.dtype == np.uint8


def test_a_prompt_that_shares_no_word_with_the_library_is_a_failure(folder):
    answer, found = system(library=str(folder)).generate(requests("zebra", "dog"))
    assert isinstance(answer, Failure) and "'zebra'" in answer.reason
    assert not isinstance(found, Failure)


def test_the_seed_picks_among_equally_near_pictures_and_only_among_them(tmp_path):
    for number in range(4):
        saved(tmp_path / f"{number}.png", number)
        (tmp_path / f"{number}.txt").write_text("a cat" if number < 3 else "one dog")
    made = system(library=str(tmp_path))
    drawn = {seed: greys(made, "a cat", seed=seed)[0] for seed in range(30)}
    assert set(drawn.values()) == {0, 1, 2}
    assert all(greys(made, "a cat", seed=seed) == [grey] for seed, grey in drawn.items())
    assert {greys(made, "my dog", seed=seed)[0] for seed in range(9)} == {3}
    pairs = {greys(made, "a dog", seed=seed)[0] for seed in range(30)}
    assert pairs == {0, 1, 2, 3}  # each caption has one of the two words, of equal weight


def test_terms_weigh_their_count_by_how_few_captions_have_them():
    row = Words(["cat", "cat dog"]).captions(["dog cat cat"]).toarray()[0]
    # terms in order: "cat" of 2 captions, "cat dog" of 1, "dog" of 1; "dog cat" is of none
    rare = 1 + math.log(3 / 2)
    wanted = np.array([2.0, 0.0, rare]) / math.hypot(2.0, rare)
    assert row == pytest.approx(wanted)


def test_a_list_of_captions_is_read_and_what_it_leaves_out_is_not_in_the_library(folder):
    (folder / "captions.csv").write_text('file,text\n2.png,"two cats, red"\n')
    assert greys(system(library=str(folder)), "a red dog") == [30]
    rows = [{"file": "1.png", "text": "one"}, {"file": "3.png", "text": "two"}]
    (folder / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    made = system(library=str(folder))
    assert greys(made, "one", "two") == [20, 40]
    assert made.card().notes["pictures"] == 2


def test_pictures_of_several_sizes_are_brought_to_one_if_it_is_given(folder):
    saved(folder / "0.png", 10, size=(8, 8))
    with pytest.raises(AssetError, match=r"1.png is 4 x 6, those before it are 8 x 8"):
        system(library=str(folder))
    made = system(library=str(folder), height=5, width=7)
    assert made.generate(requests("a red cat"))[0].shape == (5, 7, 3)


def test_renders_of_the_training_split_are_a_library_and_its_size_is_told():
    made = system(render=300)
    card = made.card()
    table = card.notes["table_bytes"]
    assert card.parameter_bytes == 300 * 64 * 64 * 3 + table
    assert 0 < table < 300_000
    assert card.weights_sha256 == system(render=300).card().weights_sha256
    assert card.weights_sha256 != system(render=300, seed=1).card().weights_sha256
    answers = made.generate(requests("two red stars", "a photo of a cat"))
    assert all(image.shape == (64, 64, 3) for image in answers)


def test_a_caption_of_the_library_is_answered_with_what_it_asks_for(monkeypatch):
    spec = parse("two red stars")
    monkeypatch.setattr(
        "harness.systems.retrieval.draw_batch", lambda rng, n: ([spec] * n, ["two red stars"] * n)
    )
    one, other = system(render=8).generate(requests("two red stars", "two red stars"))
    assert verify(spec, one) and verify(spec, other)


def test_captions_are_embedded_by_the_model_that_a_yaml_names():
    config = yaml.safe_load(Path("conf/system/retrieval-clip.yaml").read_text())
    made = build({**{k: v for k, v in config.items() if k != "batch"}, "render": 40})
    made.load()
    (image,) = made.generate(requests("two red stars"))
    assert image.shape == (64, 64, 3)
    card = made.card()
    assert card.notes["embedding"] == "Judge" and set(card.weights_sha256) == {
        "library",
        "embedding",
    }
    assert card.notes["table_bytes"] == 4 * 64 * card.notes["captions"]  # 64 features a caption


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "Give either library"),
        ({"library": "a", "render": 3}, "Give either library"),
        ({"render": 0}, "from 1 on"),
        ({"render": 3, "embedding": "letters"}, "it is words, or an object"),
        ({"library": "a", "height": 3}, "give both or neither"),
    ],
)
def test_a_mistake_is_told_with_a_remedy(config, said):
    with pytest.raises(ConfigError, match=said):
        RetrievalSystem(**config)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("x.txt", "alone", "holds no captioned pictures"),
        ("captions.jsonl", "{", "not JSON"),
        ("captions.jsonl", '{"file": "a.png"}', "row 1: it has no file and text"),
        ("captions.jsonl", '{"file": "a.png", "text": "a"}', "a.png cannot be read as a picture"),
        ("captions.csv", "text,file\na,x.txt", "x.txt cannot be read"),
    ],
)
def test_a_library_that_cannot_be_read_is_told(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(AssetError, match=said):
        system(library=str(tmp_path))
