"""A pool that is evaluated whole draws what the kept neurons alone would draw."""

import numpy as np
import pytest
import torch

from un0_model.every_neuron import counts, every_neuron, serve
from un0_model.gate import Route
from un0_model.kernel import FusedTokens
from un0_model.tokens import uniforms


@pytest.fixture
def captions() -> torch.Tensor:
    return torch.randint(1, 30, (11, 6), generator=torch.Generator().manual_seed(3))


@pytest.fixture
def everything(model) -> torch.Tensor:
    return torch.ones(model.shape.layers, model.shape.neurons, dtype=torch.bool)


def chosen_by(route: Route, like: torch.Tensor) -> torch.Tensor:
    chosen = torch.zeros_like(like)
    for layer in range(len(like)):
        chosen[layer, route.index[:, layer].flatten()] = True
    return chosen


@pytest.mark.parametrize("layer", (0, 1))
@pytest.mark.parametrize("image", (np.arange(11), np.full(11, 4)), ids=("tokens", "a caption"))
def test_one_pass_adds_what_the_kept_neurons_add(model, captions, everything, layer, image):
    """Within the rounding of what a neuron reads and of what it passes on, to 8 bits each."""
    fused = FusedTokens(model)
    net, route = fused.net, fused.route(captions)
    every = every_neuron(net.pool, net.scale, chosen_by(route, everything))
    (counted, rest), width = counts(every, route), model.shape.width
    assert not rest.any()
    z = np.random.default_rng(0).standard_normal((11, width), dtype=np.float32)
    room = (
        (np.empty((11, 64), np.uint8), np.empty((11, 64), np.int32), np.empty(11, np.float32)),
        np.empty((11, counted.shape[2]), np.float32),
        np.empty((11, width), np.float32),
    )
    whole, kept = np.zeros((2, 11, width), np.float32)
    rows = fused.gathered(route, 0, 11)
    serve(z, 11, image, layer, rows, rest, (every, counted), room, whole)
    serve(z, 11, image, layer, rows, route.gain.numpy(), None, room, kept)
    assert np.abs(kept).max() > 0.1
    assert np.abs(whole - kept).max() < 0.02 * np.abs(kept).max()


def test_pictures_begin_with_the_same_words(model, captions, everything):
    """One rounding that falls otherwise changes a draw, and all words after it."""
    same = 0
    for seed in range(6):
        noise = uniforms([1000 * seed + i for i in range(11)])
        kept, whole = FusedTokens(model), FusedTokens(model)
        whole.evaluate(everything)
        drawn = whole.generate(captions, noise), kept.generate(captions, noise)
        same += (drawn[0] == drawn[1])[:, :4].all(1).sum().item()
    assert same >= 50  # of 66


def test_what_was_never_chosen_makes_no_difference_but_time(model, captions, everything):
    fused, noise = FusedTokens(model), uniforms(range(11))
    fused.evaluate(chosen_by(fused.route(captions), everything))
    few, drawn = fused.served, fused.generate(captions, noise)
    fused.evaluate(everything)
    assert few < fused.served
    assert torch.equal(fused.generate(captions, noise), drawn)


def test_a_neuron_chosen_for_the_first_time_serves_as_ever(model, captions, everything):
    fused, noise = FusedTokens(model), uniforms(range(11))
    route, plain = fused.route(captions), fused.generate(captions, noise)
    fused.evaluate(everything & ~chosen_by(route, everything))
    assert torch.equal(fused.generate(captions, noise), plain)
    silent = Route(index=route.index, gain=torch.zeros_like(route.gain))
    assert not torch.equal(fused.generate(captions, noise, route=silent), plain)


def test_an_image_does_not_depend_on_its_batch(model, captions, everything):
    fused, noise = FusedTokens(model), uniforms(range(11))
    fused.evaluate(everything)
    whole = fused.generate(captions, noise)
    alone = [fused.generate(captions[i : i + 1], noise[i : i + 1]) for i in range(11)]
    assert torch.equal(whole, torch.cat(alone))


def test_what_all_neurons_draw_is_not_remembered(model, captions, everything):
    fused, noise = FusedTokens(model), uniforms(range(11))
    fused.remember(20)
    fused.evaluate(everything)
    for _ in range(2):
        fused.generate(captions, noise)
    assert fused.captions is not None
    assert fused.captions.hits == 0
