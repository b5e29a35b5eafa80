"""Un0's gate in denoisers of diffusers: small ones of random weights."""

import copy

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import nn
from torch.nn import functional as F

from harness.errors import ConfigError
from un0_model.dense import transformer
from un0_model.feedforward import feed_forwards, noting, repeating
from un0_model.sparsify import Gated, sparsify


def pixart():
    torch.manual_seed(0)
    net = transformer(width=32, layers=2, heads=2, caption_width=32).eval()
    for name, weight in net.named_parameters():  # which begin as zeros, and would pass nothing on
        if "scale_shift" in name or "proj_out" in name:
            nn.init.normal_(weight, std=0.5)
    hidden, captions = torch.randn(3, 8, 8, 8), torch.randn(3, 5, 32)

    def evaluate(net):
        steps = torch.tensor([900, 500, 100])
        return net(
            hidden,
            encoder_hidden_states=captions,
            timestep=steps,
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
        ).sample

    return net, evaluate


def unet():
    torch.manual_seed(0)
    net = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=4,
        norm_num_groups=8,
    ).eval()
    hidden, captions = torch.randn(3, 4, 8, 8), torch.randn(3, 5, 16)

    def evaluate(net):
        return net(hidden, torch.tensor([900, 500, 100]), encoder_hidden_states=captions).sample

    return net, evaluate


def sparse(net, evaluate, **shares):
    net = copy.deepcopy(net)
    with torch.no_grad():
        made = sparsify(net, lambda texts: evaluate(net), captions=1, **shares)
    return net, made


@pytest.mark.parametrize("denoiser", [pixart, unet])
@pytest.mark.parametrize("always", [0, 0.25])
@torch.no_grad()
def test_with_every_neuron_it_is_the_dense_denoiser(denoiser, always):
    net, evaluate = denoiser()
    layers = feed_forwards(net)
    found, made = sparse(net, evaluate, keep=1.0, always=always)
    assert set(made) == set(layers) and all(isinstance(part, Gated) for part in made.values())
    assert not feed_forwards(found)
    assert torch.allclose(evaluate(found), evaluate(net), atol=1e-5)


@pytest.mark.parametrize("denoiser", [pixart, unet])
@torch.no_grad()
def test_fewer_neurons_draw_something_else_and_the_more_the_nearer(denoiser):
    net, evaluate = denoiser()
    whole = evaluate(net)
    errors = [
        (evaluate(sparse(net, evaluate, keep=keep)[0]) - whole).square().mean()
        for keep in (0.1, 0.5, 0.9)
    ]
    assert errors[0] > errors[1] > errors[2] > 0


@pytest.mark.parametrize("denoiser", [pixart, unet])
@pytest.mark.parametrize("always", [0, 0.125])
@torch.no_grad()
def test_gathering_gives_what_masking_the_dense_layer_gives(denoiser, always):
    net, evaluate = denoiser()
    for name, gated in sparse(net, evaluate, keep=0.25, always=always)[1].items():
        dense = feed_forwards(net)[name]
        first, second = dense.net[0].proj, dense.net[2]
        count = second.in_features
        x = torch.randn(3, 7, first.in_features)
        (chosen,) = [c for c, _ in _noted(gated, x)]
        assert chosen.shape == (3, round(0.25 * count) - round(always * count))
        rows = gated.down[chosen], gated.trunk[2].weight.T if always else gated.down[:0]
        hidden = dense.net[0](x)
        for image in range(3):  # which neurons of the dense layer they are, by their columns
            kept = torch.cat([rows[0][image], rows[1]])
            mask = (second.weight.T[:, None] == kept).all(-1).any(1)
            assert mask.sum() == round(0.25 * count)
            wanted = F.linear(hidden[image] * mask, second.weight, second.bias)
            assert torch.allclose(gated(x)[image], wanted, atol=1e-5)


@torch.no_grad()
def test_an_images_neurons_do_not_hang_on_its_batch():
    net, evaluate = pixart()
    gated = sparse(net, evaluate, keep=0.25)[1]["transformer_blocks.0.ff"]
    x = torch.randn(3, 7, 32)
    together, alone = (set(gated.decide(part)[0].tolist()) for part in (x, x[:1]))
    assert together == alone != set(gated.decide(x)[1].tolist())


@torch.no_grad()
def test_the_gate_picks_what_adds_most():
    """Half of the neurons work for inputs with one sign of a feature, half for the other."""
    net = nn.ModuleDict({"ff": feed_forwards(pixart()[0])["transformer_blocks.0.ff"]})
    first = net["ff"].net[0].proj
    first.weight.zero_()
    first.bias.zero_()
    first.weight[:64, 0], first.weight[64:, 0] = 3.0, -3.0
    x = torch.randn(64, 7, 32)
    x[..., 0] = torch.where(torch.arange(64) % 2 == 0, 2.0, -2.0)[:, None]
    dense = net["ff"](x)
    made = sparsify(net, lambda texts: net["ff"](x), keep=0.5, captions=1)
    assert torch.allclose(made["ff"](x), dense, atol=1e-2)  # gelu(-6) is nearly nothing


@torch.no_grad()
def test_what_was_noted_is_repeated_exactly():
    net, evaluate = pixart()
    found, made = sparse(net, evaluate, keep=0.25, always=0.125)
    layers = list(made.values())
    with noting(layers) as notes:
        plain = evaluate(found)
    for layer in layers:
        layer.decide = None  # would fail when called
    for gathered in (False, True):
        with repeating(layers, notes, gathered):
            assert torch.equal(evaluate(found), plain)
    assert [len(own) for own in notes] == [1, 1]


@torch.no_grad()
def test_a_gate_of_low_rank_has_fewer_weights_and_a_trunk_alone_has_none():
    net, evaluate = pixart()
    whole, low = (
        sparse(net, evaluate, keep=0.25, rank=rank)[1]["transformer_blocks.0.ff"] for rank in (0, 4)
    )
    sizes = [sum(p.numel() for p in one.gate.parameters()) for one in (whole, low)]
    assert sizes == [32 * 128 + 128, 4 * (32 + 128) + 128]
    _, made = sparse(net, evaluate, keep=0.25, always=0.25)
    assert not any(isinstance(part, Gated) for part in made.values())


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ({"keep": 0.0}, "keep=0.0"),
        ({"keep": 0.25, "always": 0.5}, "always=0.5"),
        ({"keep": 1.5}, "keep=1.5"),
        ({"keep": 0.5, "rank": -1}, "rank=-1"),
    ],
)
def test_shares_that_are_none_are_refused(shares, said):
    net, evaluate = pixart()
    with pytest.raises(ConfigError, match=said):
        sparse(net, evaluate, **shares)


def test_a_denoiser_without_such_layers_is_refused():
    net = nn.Sequential(nn.Linear(4, 4))
    with pytest.raises(ConfigError, match="Sequential has no feed-forward layer"):
        sparsify(net, lambda texts: net(torch.randn(1, 2, 4)), keep=0.5)


def _noted(layer, x):
    with noting([layer]) as (own,):
        layer(x)
    return own
