"""Experts on feed-forward layers of random weights, beside the dense layers they are made of."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers.models.attention import FeedForward
from torch import nn

from harness.errors import ConfigError
from harness.techniques.experts import Experts, Routed, balanced_groups
from un0_model.feedforward import noting, repeating


def denoiser(kind="gelu-approximate"):
    torch.manual_seed(0)
    layers = [FeedForward(16, mult=2, activation_fn=kind), nn.LayerNorm(16)]
    return nn.Sequential(*layers, FeedForward(16, mult=4, activation_fn=kind)).eval()


def split(net, x, **settings):
    pipeline = SimpleNamespace(transformer=net)
    return Experts(captions=1, **settings).apply(pipeline, lambda texts: net(x))


@pytest.fixture
def x():
    return torch.randn(3, 50, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", ["gelu", "geglu"])
@torch.no_grad()
def test_with_every_expert_it_is_the_dense_denoiser(kind, x):
    net = denoiser(kind)
    dense = net(x)
    told = split(net, x, experts=8, top=8)
    assert isinstance(net[0], Routed) and isinstance(net[2], Routed) and told["layers"] == 2
    assert torch.allclose(net(x), dense, atol=1e-5)


@pytest.mark.parametrize("kind", ["gelu", "geglu"])
@torch.no_grad()
def test_a_token_gets_what_masking_the_others_experts_gives(kind, x):
    net = denoiser(kind)
    dense = net[2]
    split(net, x, experts=4, top=2)
    routed = net[2]
    places, counts = routed.decide(x)
    assert sum(counts) == len(places) == 2 * 150
    columns = dense.net[2].weight.T[:, None]
    experts = [(columns == down).all(-1).any(1) for down in routed.down]  # by their columns
    assert [int(own.sum()) for own in experts] == [16] * 4
    mask = torch.zeros(150, 64)
    for own, some in zip(experts, places.split(counts), strict=True):
        mask[some] += own.float()
    assert set(mask.sum(1).tolist()) == {32.0}
    wanted = (dense.net[0](x).flatten(0, 1) * mask) @ dense.net[2].weight.T + dense.net[2].bias
    assert torch.allclose(routed(x).flatten(0, 1), wanted, atol=1e-5)
    assert len(mask.unique(dim=0)) > 2  # tokens choose differently


@torch.no_grad()
def test_neurons_that_work_together_are_an_expert_and_the_router_finds_it(x):
    """Neuron n works for tokens whose feature n % 4 is on; one is, of four."""
    net = nn.Sequential(FeedForward(16, mult=2, activation_fn="gelu")).eval()
    first = net[0].net[0].proj
    first.weight.zero_()
    first.bias.fill_(-4.0)
    first.weight[range(32), [n % 4 for n in range(32)]] = 8.0
    x[..., :4] = nn.functional.one_hot(torch.randint(4, (3, 50)), 4).float()
    dense = net(x)
    split(net, x, experts=4, top=1)
    assert torch.allclose(net(x), dense, atol=1e-2)  # gelu(-4) is nearly nothing


@torch.no_grad()
def test_what_was_noted_is_repeated_exactly(x):
    net = denoiser()
    split(net, x, experts=4, top=2)
    layers = [net[0], net[2]]
    with noting(layers) as notes:
        plain = net(x)
    for layer in layers:
        layer.decide = None  # would fail when called
    for gathered in (False, True):
        with repeating(layers, notes, gathered):
            assert torch.equal(net(x), plain)


def test_groups_are_of_equal_size_and_hold_what_is_near():
    rng = np.random.default_rng(0)
    centres = 10 * rng.normal(size=(4, 6))
    rows = (centres[np.arange(32) % 4] + rng.normal(size=(32, 6))).astype(np.float32)
    groups = balanced_groups(rows, 4)
    assert sorted(groups.flatten().tolist()) == list(range(32))
    assert sorted({tuple(set(group % 4)) for group in groups}) == [(0,), (1,), (2,), (3,)]
    same = balanced_groups(np.ones((32, 6), np.float32), 4)
    assert same.shape == (4, 8) and len(np.unique(same)) == 32


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"experts": 4, "top": 5}, "top=5"),
        ({"experts": 4, "top": 0}, "top=0"),
        ({"experts": 7, "top": 2}, "experts=7 do not divide the 32 neurons of 0;"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(settings, said, x):
    with pytest.raises(ConfigError, match=said):
        split(denoiser(), x, **settings)


def test_a_denoiser_without_such_layers_is_refused(x):
    with pytest.raises(ConfigError, match="Linear has no feed-forward layer"):
        split(nn.Linear(16, 16), x)
