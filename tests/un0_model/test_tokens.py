"""The token model: the cached, one-token-at-a-time path equals the parallel one."""

import torch

from un0_model.dictionary import TOKENS, WORDS
from un0_model.tokens import Sampling, Shape, TokenModel, uniforms

SHAPE = Shape(
    vocabulary=30, caption=6, width=32, heads=2, layers=2, trunk=32, neurons=64, keep=4, proposals=2
)


def model() -> TokenModel:
    torch.manual_seed(0)
    made = TokenModel(SHAPE).eval()
    with torch.no_grad():
        for p in made.parameters():
            p.add_(torch.randn_like(p) * 0.05)
    return made


def captions() -> torch.Tensor:
    return torch.tensor([[3, 4, 5, 6, 0, 0], [7, 8, 0, 0, 0, 0], [9, 10, 11, 12, 13, 14]])


def test_the_cached_path_draws_what_the_parallel_loss_finds_likeliest():
    """Near temperature 0 no other last word has a lower loss: the whole prefix was read alike."""
    net, words = model(), captions()
    drawn = net.generate(words, torch.full((3, TOKENS, 5), 0.5), Sampling(temperature=1e-4))
    assert drawn.shape == (3, TOKENS)
    assert drawn.max() < WORDS
    best = net.loss(words, drawn)
    for change in (1, 5, 40, 320, 1000):  # one step of each digit, and a far word
        other = drawn.clone()
        other[:, -1] = (other[:, -1] + change) % WORDS
        assert net.loss(words, other) > best


def test_an_image_does_not_depend_on_its_batch():
    net, words = model(), captions()
    noise = uniforms([1, 2, 3])
    whole = net.generate(words, noise)
    alone = torch.cat([net.generate(words[i : i + 1], noise[i : i + 1]) for i in range(3)])
    assert torch.equal(whole, alone)


def test_caption_and_seed_both_change_the_picture():
    net, words = model(), captions()
    first = net.generate(words[:1], uniforms([1]))
    assert not torch.equal(first, net.generate(words[:1], uniforms([2])))
    assert not torch.equal(first, net.generate(words[1:2], uniforms([1])))


def test_replaying_a_route_gives_the_same_words():
    net, words = model(), captions()
    noise = uniforms([1, 2, 3])
    assert torch.equal(
        net.generate(words, noise, route=net.route(words)), net.generate(words, noise)
    )


def test_rounding_the_pool_to_int8_moves_a_row_by_at_most_half_a_step():
    block = model().blocks[0]
    before = block.gather(torch.arange(64)[None])
    block.freeze()
    after = block.gather(torch.arange(64)[None])
    assert block.pool.dtype == torch.int8
    assert ((before - after).abs() <= block.scale[None] * 0.5001).all()
