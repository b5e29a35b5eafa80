"""A remembered caption draws the pictures it drew before, and is forgotten in its turn."""

import pytest
import torch

from un0_model.caption_cache import CaptionCache
from un0_model.kernel import FusedTokens
from un0_model.tokens import Sampling, uniforms


@pytest.fixture
def writer(model) -> FusedTokens:
    return FusedTokens(model)


def captions(*numbers):
    words = torch.randint(1, 30, (40, 6), generator=torch.Generator().manual_seed(1))
    for i in range(40):
        words[i, 1 + i % 6 :] = 0
        words[i, 0] = 1 + i % 29
    return words[list(numbers)]


def test_pictures_are_the_same_cold_warm_mixed_and_without(writer):
    words, noise = captions(*range(11)), uniforms(range(11))
    plain = writer.generate(words, noise, Sampling(0.9))
    writer.remember(20)
    assert torch.equal(writer.generate(words, noise, Sampling(0.9)), plain)
    assert (writer.captions.hits, writer.captions.misses) == (0, 11)
    assert torch.equal(writer.generate(words, noise, Sampling(0.9)), plain)
    assert (writer.captions.hits, writer.captions.misses) == (11, 11)
    mixed, other = captions(3, 20, 3, 21, 0, 20), uniforms(range(50, 56))
    found = writer.generate(mixed, other, Sampling(0.9))
    writer.captions = None
    assert torch.equal(found, writer.generate(mixed, other, Sampling(0.9)))


def test_the_caption_asked_for_longest_ago_is_forgotten(model):
    cache = CaptionCache(model.shape, 3)
    for number in (0, 1, 2, 0, 3):  # 1 goes
        cache.find(captions(number).numpy())
    assert [bool(cache.find(captions(n).numpy())[1][0]) for n in (0, 2, 3)] == [True] * 3
    assert not cache.find(captions(1).numpy())[1][0]


def test_a_batch_that_does_not_fit_is_served_without(writer):
    words, noise = captions(*range(11)), uniforms(range(11))
    plain = writer.generate(words, noise, Sampling(0.9))
    writer.remember(4)
    assert torch.equal(writer.generate(words, noise, Sampling(0.9)), plain)
    assert writer.captions.misses == 11


def test_room_is_counted_in_bytes(model):
    small, large = CaptionCache(model.shape, 1), CaptionCache(model.shape, 10)
    assert large.nbytes == 10 * small.nbytes > 0
    with pytest.raises(ValueError, match="at least 1"):
        CaptionCache(model.shape, 0)
