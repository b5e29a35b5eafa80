"""Recipes at the budget `smoke`: they write weights that load, and record their cost."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.errors import AssetError, ConfigError
from harness.systems.un0 import Un0System
from un0_model.arrangement import arranged_by_seed
from un0_model.pipeline import Un0
from un0_model.recipes import un0
from un0_model.recipes.choose import FOLDER
from un0_model.recipes.judge import word_merges
from un0_model.recipes.leg import Leg, start


def test_the_un0_recipe_writes_weights_that_draw(trained):
    model = Un0.from_pretrained(trained)
    images = model.generate(["a red circle on white", "two blue stars"], [1, 2])
    assert images.shape == (2, 64, 64, 3)
    assert images.dtype == np.uint8
    assert not np.array_equal(images[0], images[1])


def test_from_nothing_it_trains_the_shape_that_is_shipped():
    assert Un0.from_pretrained(FOLDER / "un0").tokens.shape == un0.token_model({}).shape


def test_the_file_holds_the_neurons_that_learned_and_others_write_nothing(trained, tmp_path):
    tensors, model = load_file(trained / "un0.safetensors"), Un0.from_pretrained(trained)
    learned = tensors["learned"]
    assert learned.any() and not learned.all()
    for block, rows, some in zip(
        model.tokens.blocks,
        (tensors[f"tokens.blocks.{i}.pool"] for i in range(4)),
        learned,
        strict=True,
    ):
        assert torch.equal(block.pool[some], rows)
        assert not block.pool[~some].any()
    # trained on, they can learn: what they read is drawn anew
    _, tokens = un0._begin(Leg(out=tmp_path, base=trained, seed=4))
    read, write = tokens.blocks[0].pool[~learned[0]].chunk(2, dim=1)
    assert read.any(1).all() and not write.any()


def test_a_file_whose_neurons_do_not_add_up_is_refused(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "un0")
    tensors = load_file(trained / "un0.safetensors")
    for wrong, says in (
        (~tensors["learned"], "cannot be read"),
        (tensors["learned"][:, 1:].contiguous(), "`learned` is no"),
    ):
        save_file({**tensors, "learned": wrong}, tmp_path / "un0/un0.safetensors")
        with pytest.raises(AssetError, match=says):
            Un0.from_pretrained(tmp_path / "un0")


def test_the_seed_says_how_two_things_are_arranged(trained):
    model, circle, star = Un0.from_pretrained(trained), "a red circle", "a blue star"
    pair = f"{circle} and {star}"
    told = [
        model.words([f"{one} {relation} and {other}"])
        for one, other in ((circle, star), (star, circle))
        for relation in ("above", "left of")
    ]
    seeds = range(40)
    rows = [model.words([pair], [seed]) for seed in seeds]
    assert {next(i for i, w in enumerate(told) if row.equal(w)) for row in rows} == set(range(4))
    # what is drawn follows: the picture that the arranged caption gives
    for seed, row in zip(seeds, rows, strict=True):
        code = model.writer.generate(row, model.uniforms([seed]), model.sampling)
        assert np.array_equal(model.generate([pair], [seed]), model.decoder(code))
    # and so does what is counted of it
    assert model.profile([pair], [3]) == model.profile(arranged_by_seed([pair], [3]))
    assert model.profile([pair], [3]) != model.profile([pair])
    model.config["arranged"] = False
    assert all(model.words([pair], [seed]).equal(model.words([pair])) for seed in seeds)


def test_the_card_prints_every_definition_of_active(trained):
    card = Un0.from_pretrained(trained).card()
    assert card.active["gated_neurons_of_pool"] == pytest.approx(32 / 32768)
    assert 0 < card.active["parameter_bytes"] < 1
    # the byte definition counts gate, trunk and decoder: it can only be larger
    assert card.active["parameter_bytes"] > card.active["gated_neurons_of_pool"]
    assert card.active["neurons_with_trunk"] > card.active["gated_neurons_of_chosen"]


def test_the_model_card_holds_what_the_model_counts(trained):
    model, text = Un0.from_pretrained(trained), (trained / "README.md").read_text()
    card = model.card()
    for share in card.active.values():
        assert f"{share:.3%}" in text
    work = model.profile(model.config["card_captions"])
    assert f"{sum(work.multiply_adds.values()):,}" in text
    assert f"{sum(work.parameter_bytes.values()):,}" in text
    assert "| 1 | 32 |" in text  # four layers of eight neurons serve one image


def test_work_is_counted_as_the_shapes_say(trained):
    """Two words and 64 tokens through four layers of width 128 and a trunk of 256."""
    work = Un0.from_pretrained(trained).profile(["red circle"])
    layer = 128 * 384 + 128 * 128 + 2 * 128 * 256
    head = 128 * 128 + 128 * (8 + 8 + 8 + 5 + 5)
    attended = sum(-(-n // 32) * 32 + -(-n // 4) * 4 for n in (2, 2, *range(3, 67)))
    multiply = work.multiply_adds
    assert multiply["trunk"] == 66 * 4 * layer + 4 * 128 * attended + 64 * head
    assert multiply["sparse"] == 66 * 4 * 8 * 256
    assert multiply["gate"] == 4 * 4 * 3 * 16 + 16 * 128  # two words and a pair propose four each
    convolutions = 64 * (9 * 5 * 64 + 9 * 64 * 64 + 64 * 256)
    assert multiply["decode"] == convolutions + 256 * (9 * 64 * 64 + 64 * 128 + 128 * 48)
    read = work.parameter_bytes
    assert read["sparse"] == 4 * 8 * (256 + 4)
    assert read["words"] == 2 * 128 * 4
    assert read["trunk"] > 4 * layer  # a byte each, and steps, biases, norms, places, digits
    assert read["decode"] > 9 * 34 * 64 * 2 + 9 * 64 * 64 + 64 * 256


def test_a_pool_evaluated_whole_counts_as_such(trained):
    kept, whole = Un0.from_pretrained(trained), Un0.from_pretrained(trained)
    whole.evaluate_every_neuron()
    chosen = whole.config["chosen_in_20000"]
    assert 32 < chosen <= whole.served < chosen + 4 * 32  # a tile of each layer is filled up
    asked = ["red circle"]
    few, all_ = (model.profile(asked).multiply_adds for model in (kept, whole))
    assert all_["sparse"] == 66 * whole.served * 256
    assert all_["trunk"] == few["trunk"]
    assert whole.active(asked)["gated_neurons_of_chosen"] == 1
    assert whole.active(asked)["multiply_adds_of_capacity_matched"] == pytest.approx(1)
    assert whole.active(asked)["parameter_bytes"] > 4 * kept.active(asked)["parameter_bytes"]
    assert whole.generate(asked, [1]).shape == (1, 64, 64, 3)
    assert whole.card().notes["pool_neurons_evaluated"] == whole.served
    with pytest.raises(ConfigError, match="where all serve"):
        whole.replay(asked, [1], "whole")


@pytest.mark.parametrize(
    ("kind", "settings", "says"),
    (
        ("none", {"every_neuron": True}, "no neurons that were ever chosen"),
        (None, {"every_neuron": True, "cache": 3}, "goes with cache=0"),
    ),
)
def test_no_pool_and_a_memory_are_not_evaluated_whole(kind, settings, says, trained, tmp_path):
    folder = trained
    if kind:
        folder = tmp_path / "un0"
        assert un0.main("smoke", Leg(out=folder, shape={"gate": kind}))
    with pytest.raises(ConfigError, match=says):
        Un0System(model=str(folder), **settings).load()


@pytest.mark.parametrize("kind", ("hash", "tree"))
def test_another_gate_trains_and_draws(kind, tmp_path):
    assert un0.main("smoke", Leg(out=tmp_path / "un0", shape={"gate": kind, "neurons": 64}))
    model = Un0.from_pretrained(tmp_path / "un0")
    assert model.tokens.shape.gate == kind
    assert model.generate(["a red circle on white"], [1]).shape == (1, 64, 64, 3)


def test_guidance_pulls_the_odds_beyond_those_of_the_caption():
    """By hand: the caption makes the second of two values likelier; guidance more so."""
    told, untold = torch.tensor([[[0.0, 1.0]]]), torch.tensor([[[0.0, 0.0]]])
    best = torch.tensor([[[0.0, 1.0 + un0.GUIDANCE]]])
    losses = {
        name: un0.guided_loss([ours], [told], [untold]).item()
        for name, ours in {"best": best, "told": told, "untold": untold}.items()
    }
    assert losses["best"] < losses["told"] < losses["untold"]
    odds = best.softmax(-1)
    assert losses["best"] == pytest.approx(-(odds * odds.log()).sum().item())


@pytest.mark.parametrize(
    ("shape", "says"),
    (
        ({"gate": "oracle"}, "choose one of hash-learned"),
        ({"keep": 0}, "at least 1"),
        ({"gate": ["tree"]}, "is unknown"),
        ({"keep": 65, "neurons": 64}, "64 to keep of"),
        ({"keep": 200, "proposals": 4}, "156 to keep of"),
        ({"gate": "tree", "neurons": 100}, "power of two"),
        ({"width": 100}, "not for change"),
        ({"gate": "none", "keep": 8}, "has no pool"),
        ({"trunk": 300}, "multiples of 32"),
    ),
)
def test_a_shape_that_cannot_be_is_refused(shape, says):
    with pytest.raises(ConfigError, match=says):
        un0.token_model(shape)


def test_curve_cost_and_grid_are_left_beside_the_weights(trained):
    for stage, steps in (("dictionary", 4), ("tokens", 4), ("guided", 4)):
        rows = [
            json.loads(line) for line in (trained / stage / "curve.jsonl").read_text().splitlines()
        ]
        assert rows[-1]["step"] == steps
        cost = json.loads((trained / stage / "leg-0000000.json").read_text())
        assert cost["cpu_s"] > 0
        assert {e["domain"] for e in cost["energy"]} >= {"cpu"}
        assert list((trained / stage).glob("grid-*.png"))


def test_a_flipped_byte_in_the_weights_is_refused_with_the_remedy(trained, tmp_path):
    for name in ("config.json", "un0.safetensors"):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    broken = bytearray((tmp_path / "un0.safetensors").read_bytes())
    broken[3] ^= 0xFF  # the header's length
    (tmp_path / "un0.safetensors").write_bytes(broken)
    with pytest.raises(AssetError, match="train un0"):
        Un0.from_pretrained(tmp_path)


@pytest.mark.parametrize("wrong", [{"seed": "abc"}, {"threads": "two"}, {"limit_s": -1}])
def test_a_setting_of_a_training_out_of_range_is_named(wrong):
    config = {"budget": "cpu", "device": "cpu", "seed": 1, "threads": None, "limit_s": None}
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        start(un0.main, {"cpu": 0}, "un0", {**config, **wrong})


def test_an_unknown_budget_names_the_known_ones():
    with pytest.raises(ConfigError, match="cpu, gpu"):
        start(un0.main, {"cpu": 0, "gpu": 0}, "un0", {"budget": "tpu", "device": "cpu"})


def test_merges_make_every_word_one_token():
    words = ["red", "green", "greens", "a"]
    split = {w: [*w[:-1], w[-1] + "</w>"] for w in words}
    for a, b in word_merges(words):
        for parts in split.values():
            i = 0
            while i < len(parts) - 1:
                if (parts[i], parts[i + 1]) == (a, b):
                    parts[i : i + 2] = [a + b]
                i += 1
    assert split == {w: [w + "</w>"] for w in words}
