"""The latent dictionary: digits, words, and the table that must equal the convolution."""

import torch

from un0_model.dictionary import LEVELS, TOKENS, WORDS, DecodeTable, Dictionary, code_of, digits_of


def test_every_word_has_its_own_digits():
    words = torch.arange(WORDS)
    digits = digits_of(words)
    assert (digits < torch.tensor(LEVELS)).all()
    assert torch.equal(code_of(digits), words)


def test_the_table_equals_the_convolution_it_replaces():
    torch.manual_seed(0)
    dictionary = Dictionary().eval()
    words = torch.randint(0, WORDS, (3, TOKENS))
    by_table = DecodeTable(dictionary)(words)
    assert torch.allclose(by_table, dictionary.decode(words), atol=1e-5)


def test_rounding_lets_the_gradient_through():
    torch.manual_seed(0)
    dictionary = Dictionary()
    dictionary(torch.rand(2, 3, 64, 64)).square().mean().backward()
    assert dictionary.encoder[1].weight.grad.abs().sum() > 0
