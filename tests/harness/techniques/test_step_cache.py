"""Work that is skipped between steps, and never carried from one picture to another."""

import numpy as np
import pytest
from torch import nn

from harness.child import build
from harness.errors import ConfigError
from harness.protocols import Technique
from harness.techniques.step_cache import StepCache

ALWAYS = [-1, 1001]  # timesteps lie between
BROADCAST = {
    "kind": "pyramid-attention",
    "spatial_attention_timestep_skip_range": ALWAYS,
    "cross_attention_timestep_skip_range": ALWAYS,
}
LITE = {"kind": "taylorseer", "use_lite_mode": True}
LAYERS = {"kind": "taylorseer", "cache_identifiers": [r"transformer_blocks\.\d\.(attn1|attn2|ff)"]}
FIRST = {"kind": "first-block"}
SKIPPING = [
    pytest.param({**FIRST, "threshold": 0.2}, id="first-block"),
    pytest.param({**BROADCAST, "spatial_attention_block_skip_range": 3}, id="pyramid-attention"),
    pytest.param({**LITE, "cache_interval": 4}, id="taylorseer"),
    pytest.param({**LAYERS, "cache_interval": 3}, id="taylorseer, by layer"),
]
STEPS = 10


def cached(loaded, parameters, **config):
    return loaded(StepCache(trial=4, **parameters), steps=STEPS, **config)


def told(system):
    return system.card().notes["techniques"][0]


@pytest.mark.parametrize("parameters", SKIPPING)
def test_a_picture_is_the_same_whatever_was_drawn_before_and_beside_it(loaded, asked, parameters):
    system = cached(loaded, parameters)
    assert isinstance(system.techniques[0], Technique)
    assert told(system)["skipped"] > 0.1
    (first,) = system.generate(asked(1))
    together = system.generate(asked(5, 1, 3, 7))
    (again,) = system.generate(asked(1))
    assert np.array_equal(first, again)
    assert np.abs(first.astype(int) - together[1]).max() <= 1  # rounding of another batch size


@pytest.mark.parametrize("parameters", SKIPPING)
def test_a_call_that_failed_leaves_nothing_to_the_next(loaded, asked, parameters):
    system = cached(loaded, parameters)
    before = system.generate(asked(1, 2))

    def fail(step, *_):
        if step == 4:
            raise RuntimeError("in the middle")

    call, system.call = system.call, {**system.call, "callback": fail}
    with pytest.raises(RuntimeError, match="in the middle"):
        system.generate(asked(3, 4))
    system.call = call
    assert np.array_equal(system.generate(asked(1, 2)), before)


@pytest.mark.parametrize(
    "parameters",
    [
        {**FIRST, "threshold": 0.0},
        {**BROADCAST, "spatial_attention_block_skip_range": 1},
        {**LITE, "cache_interval": 1},
    ],
)
def test_what_skips_nothing_draws_as_without(loaded, asked, parameters):
    system = cached(loaded, parameters)
    assert told(system)["skipped"] == 0
    plain = loaded(steps=STEPS)
    assert np.array_equal(system.generate(asked(1, 2)), plain.generate(asked(1, 2)))


def test_taylorseer_computes_three_steps_and_then_each_fourth(loaded, asked):
    """diffusers 0.42: step s where s < 3, or s - 3 - 1 is a multiple of the interval."""
    system = cached(loaded, {**LITE, "cache_interval": 4})
    assert told(system)["whole_steps"] == [0, 1, 2, 4, 8]
    assert told(system)["skipped"] == 0.5  # 5 of 10 steps, all of each block


def test_first_block_skips_all_blocks_but_the_first_at_steps_that_the_card_names(loaded, asked):
    system = cached(loaded, {**FIRST, "threshold": 0.2})
    whole = told(system)["whole_steps"]
    ran = {0: 0, 1: 0, 3: 0}
    for number in ran:
        block = system.pipeline.transformer.transformer_blocks[number]
        block.ff.register_forward_hook(lambda *_, n=number: ran.update({n: ran[n] + 1}))
    system.generate(asked(1, 2))
    assert ran == {0: STEPS, 1: len(whole), 3: len(whole)}
    assert 1 < len(whole) < STEPS
    # 1 of 4 blocks always runs, 3 of 4 at the named steps
    assert told(system)["skipped"] == pytest.approx(0.75 * (1 - len(whole) / STEPS), abs=1e-4)


def test_pyramid_attention_leaves_out_attention_alone_and_only_within_its_timesteps(loaded):
    everywhere = {**BROADCAST, "spatial_attention_block_skip_range": 2}
    late = {**everywhere, "spatial_attention_timestep_skip_range": [-1, 500]}
    shares = [told(cached(loaded, parameters))["skipped"] for parameters in (everywhere, late)]
    assert 0 < shares[1] < shares[0] < 0.5


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"kind": "magic"}, "one of first-block, pyramid-attention, taylorseer"),
        ({"kind": "first-block", "treshold": 0.1}, "did you mean 'threshold'"),
        ({"kind": "taylorseer"}, "finds nothing to cache in PixArtTransformer2DModel"),
        ({**LITE, "cache_interval": 0}, "cannot draw with .*cache_interval"),
    ],
)
def test_what_cannot_be_is_said(loaded, parameters, said):
    with pytest.raises(ConfigError, match=said):
        cached(loaded, parameters)


def test_a_pipeline_without_transformer_is_refused():
    with pytest.raises(ConfigError, match="needs a transformer"):
        StepCache(kind="first-block").apply(nn.Module(), lambda texts: None)


def test_it_is_built_from_a_systems_yaml(folder):
    target = "harness.techniques.step_cache.StepCache"
    config = {"_target_": "harness.systems.diffusers_pipeline.DiffusersSystem", "model": "none"}
    built = build({**config, "techniques": [{"_target_": target, **LITE, "cache_interval": 4}]})
    assert built.techniques[0].parameters == {"use_lite_mode": True, "cache_interval": 4}
