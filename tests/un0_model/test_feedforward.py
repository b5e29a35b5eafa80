"""The feed-forward layers of diffusers as neurons, on layers of random weights."""

import pytest
import torch
from diffusers.models.attention import FeedForward
from torch.nn import functional as F

from un0_model.feedforward import Neurons, feed_forwards, put, ridge, watch

KINDS = ("gelu", "gelu-approximate", "geglu", "geglu-approximate", "swiglu", "linear-silu")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_is_the_sum_of_its_neurons_whatever_its_activation(kind, bias):
    torch.manual_seed(0)
    layer = FeedForward(6, dim_out=5, mult=3, activation_fn=kind, bias=bias).eval()
    x, neurons = torch.randn(2, 4, 6), Neurons.of(layer)
    assert neurons.up.shape == (2 if kind in ("geglu", "swiglu") else 1, 18, 6)
    total = neurons.bias.expand(2, 4, 5)
    for n in range(18):
        one = neurons.some(torch.tensor([n]))
        rows = F.linear(x, one.up.flatten(0, 1), one.up_bias.flatten())
        total = total + one.activation(rows) @ one.down
    assert torch.allclose(total, layer(x), atol=1e-5)


def test_watching_tells_inputs_and_activations_and_leaves_nothing_behind():
    net = torch.nn.Sequential(FeedForward(6, activation_fn="gelu"), FeedForward(6)).eval()
    told = []
    layers = feed_forwards(net)
    x = torch.randn(2, 3, 6)
    watch(layers, lambda texts: net(x), 20, lambda *pass_: told.append(pass_))
    assert list(layers) == ["0", "1"]
    assert [name for name, *_ in told] == ["0", "1"] * 2  # 20 captions are two batches
    assert torch.equal(told[0][1], x) and torch.equal(told[1][1], net[0](x))
    assert torch.allclose(told[1][2], layers["1"].net[0](told[1][1]))
    net(x)
    assert len(told) == 4


def test_a_part_takes_the_place_of_a_named_one():
    net = torch.nn.ModuleDict({"a": torch.nn.Sequential(torch.nn.ReLU())})
    put(net, "a.0", torch.nn.SiLU())
    assert isinstance(net["a"][0], torch.nn.SiLU)


def test_ridge_finds_the_affine_map_and_the_nearest_of_a_rank():
    torch.manual_seed(0)
    x, weight = torch.randn(400, 5), torch.diag(torch.tensor([5.0, 4.0, 3.0, 0.2, 0.1]))
    wanted = x @ weight.T + 7
    found, bias = ridge(x, wanted, penalty=1e-9)
    assert torch.allclose(found.float(), weight, atol=1e-3) and torch.allclose(
        bias.float(), torch.full((5,), 7.0), atol=1e-3
    )
    low, bias = ridge(x, wanted, rank=3, penalty=1e-9)
    assert torch.linalg.matrix_rank(low, rtol=1e-6) == 3
    error = (x.double() @ low.T + bias - wanted).square().mean(0)
    assert error.sum() < 0.2**2 + 0.1**2 + 0.02  # what the two directions left out have
