"""The gate: the hash is fixed for ever, a neuron is proposed once, the learned score decides."""

import torch

from un0_model.gate import Gate, propose


def words() -> torch.Tensor:
    return torch.tensor([[5, 7, 5, 9, 0, 0], [5, 7, 0, 0, 0, 0]])


def test_proposals_are_fixed_for_ever():
    got = propose(words(), layers=2, neurons=8192, proposals=2)
    assert got.shape == (2, 2, 22)
    assert got[1, 0, :6].tolist() == [5289, 4901, 4204, 2084, 1506, 1252]


def test_a_neuron_is_proposed_once_a_layer_though_its_word_stands_twice():
    ids = propose(words(), layers=2, neurons=64, proposals=4)
    for row in ids.view(-1, ids.shape[-1]):
        known = row[row >= 0]
        assert len(known) == len(known.unique())


def test_padding_proposes_nothing():
    short = propose(words()[1:, :2], layers=1, neurons=8192, proposals=2)
    padded = propose(words()[1:], layers=1, neurons=8192, proposals=2)
    assert sorted(short[short >= 0].tolist()) == sorted(padded[padded >= 0].tolist())


def test_the_learned_score_disposes():
    gate = Gate(layers=1, neurons=512, keep=2, proposals=4, width=8)
    favourite = propose(words()[1:], 1, 512, 4)[0, 0, 3]
    with torch.no_grad():
        gate.bias[0, favourite] = 50.0
    route = gate(words()[1:], torch.zeros(1, 8))
    assert route.index[0, 0, 0] == favourite
    assert route.gain[0, 0, 0] == 2.0  # 2 sigmoid(50) in float32


def test_fewer_candidates_than_places_leaves_places_without_gain():
    gate = Gate(layers=1, neurons=512, keep=8, proposals=1, width=8)
    route = gate(torch.tensor([[3, 4, 0, 0, 0, 0]]), torch.zeros(1, 8))
    assert (route.gain > 0).sum() == 3  # two words and one pair
