"""The fused kernel draws the same words as the model it replaces, whatever the batch."""

import pytest
import torch

from un0_model.kernel import FusedTokens
from un0_model.tokens import Shape, TokenModel, uniforms

SHAPE = Shape(
    vocabulary=30, caption=6, width=32, heads=2, layers=2, trunk=32, neurons=64, keep=4, proposals=2
)


@pytest.fixture(scope="module")
def model() -> TokenModel:
    torch.manual_seed(0)
    made = TokenModel(SHAPE).eval()
    with torch.no_grad():
        for p in made.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    return made


@pytest.fixture(scope="module")
def captions() -> torch.Tensor:
    words = torch.randint(1, 30, (11, 6), generator=torch.Generator().manual_seed(1))
    for i in range(11):
        words[i, 1 + i % 6 :] = 0
    return words


@pytest.mark.parametrize("seed", range(3))
def test_words_equal_the_reference_on_random_weights_and_captions(model, captions, seed):
    """Float sums run in another order, so a draw on the edge may differ: 0.1% of words at most."""
    noise = uniforms([1000 * seed + i for i in range(11)])
    by_kernel = FusedTokens(model).generate(captions, noise, 0.9)
    reference = model.generate(captions, noise, 0.9)
    same = by_kernel == reference
    # after the first word that differs, the rest of that image follows another path
    edges = (~same).any(1).sum().item()
    assert edges <= 0.001 * same.numel()


def test_an_image_does_not_depend_on_its_batch(model, captions):
    fused, noise = FusedTokens(model), uniforms(range(11))
    whole = fused.generate(captions, noise)
    alone = [fused.generate(captions[i : i + 1], noise[i : i + 1]) for i in range(11)]
    assert torch.equal(whole, torch.cat(alone))


def test_a_gain_of_zero_switches_a_neuron_off(model, captions):
    fused, noise = FusedTokens(model), uniforms(range(11))
    route = model.route(captions)
    silent = type(route)(index=route.index, gain=torch.zeros_like(route.gain))
    assert torch.equal(
        fused.generate(captions, noise, route=silent), model.generate(captions, noise, route=silent)
    )
    assert not torch.equal(
        fused.generate(captions, noise, route=silent), fused.generate(captions, noise)
    )
