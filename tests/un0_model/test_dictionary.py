"""The latent dictionary: digits, words, and the kernel that must equal the decoder."""

import copy

import numpy as np
import pytest
import torch

from un0_model.decode import FusedDecoder
from un0_model.dictionary import LEVELS, TOKENS, WORDS, Dictionary, code_of, digits_of


def test_every_word_has_its_own_digits():
    words = torch.arange(WORDS)
    digits = digits_of(words)
    assert (digits < torch.tensor(LEVELS)).all()
    assert torch.equal(code_of(digits), words)


@pytest.fixture(scope="module")
def trained() -> Dictionary:
    torch.manual_seed(0)
    made = Dictionary().eval()
    with torch.no_grad():
        for p in made.parameters():
            p.add_(torch.randn_like(p) * 0.02)
    return made


def frozen(dictionary: Dictionary) -> Dictionary:
    made = copy.deepcopy(dictionary)
    made.decoder.freeze()
    return made


def test_the_table_is_exact_to_the_integer(trained):
    """Words read from the table sum to what the first convolution of whole digits gives."""
    integer = frozen(trained).decoder.first
    table = FusedDecoder(frozen(trained).decoder).net.table.astype(int)  # [9, levels, C]
    words = torch.randint(0, WORDS, (2, TOKENS), generator=torch.Generator().manual_seed(1))
    digits = digits_of(words)
    whole = (2 * digits - (torch.tensor(LEVELS) - 1)).transpose(1, 2).view(2, -1, 8, 8).double()
    expected = torch.nn.functional.conv2d(whole, integer.weight.double(), padding=1)
    first = np.cumsum([0, *LEVELS[:-1]])
    padded = np.zeros((2, 10, 10, table.shape[2]), int)
    for k in range(9):
        rows = table[k, first + digits.numpy()].sum(2).reshape(2, 8, 8, -1)
        y, x = 2 - k // 3, 2 - k % 3
        padded[:, y : y + 8, x : x + 8] += rows
    assert np.array_equal(padded[:, 1:9, 1:9].transpose(0, 3, 1, 2), expected.numpy().astype(int))


@pytest.mark.parametrize("seed", range(3))
def test_the_kernel_draws_the_reference_s_picture(trained, seed):
    """A number that falls on the edge of two bytes may round either way: one shade, rarely."""
    dictionary = frozen(trained)
    words = torch.randint(0, WORDS, (5, TOKENS), generator=torch.Generator().manual_seed(seed))
    difference = FusedDecoder(dictionary.decoder)(words).astype(int) - dictionary.pictures(words)
    assert np.abs(difference).max() <= 1
    assert np.mean(difference != 0) < 0.001


def test_eight_bits_move_a_picture_by_less_than_a_shade_on_average(trained):
    words = torch.randint(0, WORDS, (5, TOKENS), generator=torch.Generator().manual_seed(7))
    before, after = trained.pictures(words).astype(int), frozen(trained).pictures(words)
    assert before.std() > 5
    assert np.abs(before - after).mean() < 1


def test_rounding_lets_the_gradient_through():
    torch.manual_seed(0)
    dictionary = Dictionary()
    dictionary(torch.rand(2, 3, 64, 64)).square().mean().backward()
    assert dictionary.encoder[1].weight.grad.abs().sum() > 0
