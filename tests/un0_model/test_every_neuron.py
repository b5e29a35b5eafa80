"""A pool that is evaluated whole draws what the kept neurons alone would draw."""

import numpy as np
import pytest
import torch

from un0_model.every_neuron import every_neuron, gains, serve
from un0_model.gate import Route
from un0_model.kernel import FusedTokens
from un0_model.tokens import uniforms


@pytest.fixture
def captions() -> torch.Tensor:
    return torch.randint(1, 30, (11, 6), generator=torch.Generator().manual_seed(3))


def all_of(model) -> torch.Tensor:
    return torch.ones(model.shape.layers, model.shape.neurons, dtype=torch.bool)


def test_one_pass_adds_what_the_kept_neurons_add(model, captions):
    """Within the rounding of what they read and of what they pass on to 8 bits each."""
    fused = FusedTokens(model)
    net, route = fused.net, fused.route(captions)
    every = every_neuron(net.pool, net.scale, all_of(model))
    counts, n, width = gains(every, route), 11, model.shape.width
    z = np.random.default_rng(0).standard_normal((n, width), dtype=np.float32)
    image, columns = np.arange(n), counts.shape[2]
    room = (
        (np.empty((n, columns), np.uint8), np.empty((n, columns), np.int32), np.empty(n, "f4")),
        np.empty((n, columns), np.float32),
        np.empty((n, width), np.float32),
    )
    whole, kept = np.zeros((n, width), np.float32), np.zeros((n, width), np.float32)
    rows = fused.gathered(route, 0, n)
    serve(z, n, image, 1, rows, counts, every, room, whole)
    serve(z, n, image, 1, rows, route.gain.numpy(), None, room, kept)
    assert np.abs(kept).max() > 0.1
    assert np.abs(whole - kept).max() < 0.02 * np.abs(kept).max()


def test_pictures_begin_with_the_same_words(model, captions):
    """One rounding that falls otherwise changes a draw, and all words after it."""
    same = 0
    for seed in range(6):
        noise = uniforms([1000 * seed + i for i in range(11)])
        kept, whole = FusedTokens(model), FusedTokens(model)
        whole.evaluate(all_of(model))
        drawn = whole.generate(captions, noise), kept.generate(captions, noise)
        same += (drawn[0] == drawn[1])[:, :4].all(1).sum().item()
    assert same >= 50  # of 66


def test_neurons_that_were_never_chosen_are_left_out(model, captions):
    fused, noise = FusedTokens(model), uniforms(range(11))
    route = fused.route(captions)
    silent = fused.generate(
        captions, noise, route=Route(index=route.index, gain=torch.zeros_like(route.gain))
    )
    chosen = all_of(model)
    for layer in range(model.shape.layers):
        chosen[layer, route.index[:, layer].flatten()] = False
    fused.evaluate(chosen)
    assert torch.equal(fused.generate(captions, noise), silent)


def test_an_image_does_not_depend_on_its_batch(model, captions):
    fused, noise = FusedTokens(model), uniforms(range(11))
    fused.evaluate(all_of(model))
    whole = fused.generate(captions, noise)
    alone = [fused.generate(captions[i : i + 1], noise[i : i + 1]) for i in range(11)]
    assert torch.equal(whole, torch.cat(alone))
