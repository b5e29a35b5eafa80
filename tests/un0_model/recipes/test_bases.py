"""A recipe that goes on from trained weights: what stays, what grows, what cannot be."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from harness.errors import AssetError, ConfigError
from un0_model.pipeline import Un0
from un0_model.recipes import un0
from un0_model.recipes.leg import Leg, start, summary
from un0_model.recipes.training import fingerprint
from un0_model.tokens import uniforms


def going_on(base, out, **given):
    config = {"budget": "smoke", "seed": 4, "device": "cpu", "threads": None, "limit_s": None}
    config |= {"out": str(out), "shape": {}, "base": str(base), "only": None, "steps": None}
    config["anew"] = False
    config |= given
    return start(un0.main, un0.BUDGETS, "un0", config)


def test_a_base_is_trained_on_and_what_it_cost_is_counted_in(trained, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(trained, base)
    (base / "training.json").write_text(json.dumps(summary(trained)))
    assert going_on(base, tmp_path / "on") == 0
    before, after = load_file(base / "un0.safetensors"), load_file(tmp_path / "on/un0.safetensors")
    for name, tensor in before.items():  # the words stay; tokens and decoder are trained on
        if name.startswith("dictionary.encoder"):
            assert torch.equal(after[name], tensor), name
    assert not torch.equal(before["tokens.word.weight"], after["tokens.word.weight"])
    cost = json.loads((tmp_path / "on/training.json").read_text())
    own = sum(leg["cpu_s"] for stage in cost["stages"].values() for leg in stage["legs"])
    assert cost["cpu_s"] == pytest.approx(own + cost["base"]["cpu_s"], abs=0.1)
    assert set(cost["stages"]) == {"decoder", "tokens", "guided"}
    assert set(cost["base"]["stages"]) == {"dictionary", "tokens", "guided"}


@pytest.mark.parametrize(
    ("only", "other"),
    (("tokens", "dictionary"), ("decoder", "tokens"), ("guided", "dictionary")),
)
def test_one_stage_alone_leaves_the_other_as_it_was(trained, tmp_path, only, other):
    base = tmp_path / "base"
    shutil.copytree(trained, base)
    (base / "training.json").write_text(json.dumps(summary(trained)))
    assert going_on(base, tmp_path / "on", only=only, steps=40) == 0
    before, after = load_file(base / "un0.safetensors"), load_file(tmp_path / "on/un0.safetensors")
    same = {name for name, was in before.items() if torch.equal(after[name], was)}
    assert {name for name in before if name.startswith(other)} <= same < set(before)


def test_a_stage_that_no_base_goes_on_with_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="decoder, tokens"):
        going_on(tmp_path, tmp_path / "on", only="dictionary")


def test_tokens_may_begin_anew_beside_the_dictionary_of_a_base(trained, tmp_path):
    old = Un0.from_pretrained(trained)
    starts = [un0._begin(Leg(out=tmp_path, base=trained, seed=s, anew=True)) for s in (4, 4, 5)]
    for dictionary, _ in starts:
        assert fingerprint(dictionary) == fingerprint(starts[0][0])
    codes = [tokens.blocks[0].pool for _, tokens in starts]
    assert torch.equal(codes[0], codes[1]) and not torch.equal(codes[0], codes[2])
    image = old.generate(["a red circle on white"], [1])
    pixels = torch.from_numpy(image).permute(0, 3, 1, 2).float() / 127.5 - 1
    assert torch.equal(starts[0][0].encode(pixels), old.dictionary.encode(pixels))
    with pytest.raises(ConfigError, match="anew=true goes with only=tokens"):
        going_on(trained, tmp_path / "on", anew=True)


def test_a_base_without_its_cost_or_with_another_shape_is_refused(trained, tmp_path):
    with pytest.raises(ConfigError, match="no training.json there"):
        going_on(trained, tmp_path / "on")
    with pytest.raises(AssetError, match="No file or folder"):
        going_on(tmp_path / "none", tmp_path / "on")
    with pytest.raises(ConfigError, match="the base has 4; a base may grow"):
        un0.main("smoke", Leg(out=tmp_path / "on", base=trained, shape={"layers": 3}))


def test_a_base_may_widen_its_trunk_and_draws_as_before(trained):
    base = Un0.from_pretrained(trained).tokens
    base.thaw()
    wide = un0.reshaped(base, {"trunk": 288})
    words, code = torch.tensor([[3, 4, 5] + [0] * 17]), torch.randint(2560, (1, 64))
    assert torch.allclose(wide.loss(words, code), base.loss(words, code), atol=1e-5)
    assert wide.shape.trunk == 288 and wide.shape.gate == base.shape.gate
    with pytest.raises(ConfigError, match="the base has 256"):
        un0.reshaped(base, {"trunk": 128})


@pytest.mark.parametrize("given", [{"keep": 32, "proposals": 8}, {"gate": "tree"}])
def test_a_base_with_another_gate_has_a_new_pool_that_writes_nothing(trained, given):
    base = Un0.from_pretrained(trained).tokens
    base.thaw()
    other, none = un0.reshaped(base, given), un0.reshaped(base, {"gate": "none"})
    words, code = torch.tensor([[3, 4, 5] + [0] * 17]), torch.randint(2560, (1, 64))
    assert torch.allclose(other.loss(words, code), none.loss(words, code), atol=1e-5)
    assert {key: getattr(other.shape, key) for key in given} == given
    assert other.blocks[0].pool.shape == base.blocks[0].pool.shape
    assert not torch.equal(other.blocks[0].pool, base.blocks[0].pool)


def test_a_base_may_have_more_layers_and_draws_as_before(trained):
    base = Un0.from_pretrained(trained).tokens
    base.thaw()
    deep = un0.reshaped(base, {"layers": base.shape.layers + 2})
    words, code = torch.tensor([[3, 4, 5] + [0] * 17]), torch.randint(2560, (1, 64))
    assert torch.allclose(deep.loss(words, code), base.loss(words, code), atol=1e-5)
    deep.loss(words, code).backward()
    new = deep.blocks[-1]
    assert all(part.grad.abs().sum() > 0 for part in (new.out.weight, new.down.weight, new.pool))
    with pytest.raises(ConfigError, match="the base has 4"):
        un0.reshaped(base, {"layers": 1})


def test_a_base_learns_to_sketch_first(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "base")
    (tmp_path / "base/training.json").write_text(json.dumps(summary(trained)))
    given = {"sketch": 4}
    assert going_on(tmp_path / "base", tmp_path / "on", only="tokens", shape=given) == 0
    (sketches,) = (tmp_path / "on").glob("sketches-4-*.npy")
    assert np.load(sketches).shape == (200, 4)
    model = Un0.from_pretrained(tmp_path / "on")
    base = Un0.from_pretrained(trained)
    assert model.generate(["a red circle on white"], [1]).shape == (1, 64, 64, 3)
    assert "behind 4 of a smaller picture" in (tmp_path / "on/README.md").read_text()
    text = ["a red circle on white"]
    ours, theirs = (m.profile(text).multiply_adds for m in (model, base))
    places = 5 + 64
    assert ours["sparse"] / theirs["sparse"] == pytest.approx((places + 4) / places, rel=1e-3)
    with pytest.raises(ConfigError, match="4 or 16 words"):
        un0.token_model({"sketch": 5})


def test_a_base_goes_on_without_its_pool_and_begins_as_it_draws_without(trained, tmp_path):
    given = {"gate": "none", "trunk": 288}
    base = Un0.from_pretrained(trained).tokens
    base.thaw()
    _, thin = un0._begin(Leg(out=tmp_path, base=trained, shape=given))
    words, code = torch.tensor([[3, 4, 5] + [0] * 17]), torch.randint(2560, (1, 64))
    whole = base.loss(words, code)
    for block in base.blocks:
        block.pool.data.zero_()
    assert torch.allclose(thin.loss(words, code), base.loss(words, code), atol=1e-5)
    assert not torch.allclose(thin.loss(words, code), whole, atol=1e-5)
    shutil.copytree(trained, tmp_path / "base")
    (tmp_path / "base/training.json").write_text(json.dumps(summary(trained)))
    assert going_on(tmp_path / "base", tmp_path / "on", only="tokens", shape=given) == 0
    model = Un0.from_pretrained(tmp_path / "on")
    assert model.tokens.shape.trunk == 288 and model.tokens.shape.neurons == 0
    captions, numbers = model.words(["a red circle on white"] * 3), uniforms([1, 2, 3])
    fused = model.writer.generate(captions, numbers)
    assert (fused == model.tokens.generate(captions, numbers)).float().mean() > 0.9
    assert model.active(["a red circle on white"]) == {"parameter_bytes": 1.0}
    with pytest.raises(ConfigError, match="the base has 256"):
        un0._begin(Leg(out=tmp_path, base=trained, shape={"gate": "none", "trunk": 128}))
