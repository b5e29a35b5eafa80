"""The gate: the hash is fixed for ever, a neuron is proposed once, the learned score decides."""

import pytest
import torch

from un0_model.gate import GATES, HashLearned, propose


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
    gate = HashLearned(layers=1, neurons=512, keep=2, proposals=4, width=8)
    favourite = propose(words()[1:], 1, 512, 4)[0, 0, 3]
    with torch.no_grad():
        gate.bias[0, favourite] = 50.0
    route = gate(words()[1:], torch.zeros(1, 8))
    assert route.index[0, 0, 0] == favourite
    assert route.gain[0, 0, 0] == 2.0  # 2 sigmoid(50) in float32


def test_fewer_candidates_than_places_leaves_places_without_gain():
    gate = HashLearned(layers=1, neurons=512, keep=8, proposals=1, width=8)
    route = gate(torch.tensor([[3, 4, 0, 0, 0, 0]]), torch.zeros(1, 8))
    assert (route.gain > 0).sum() == 3  # two words and one pair


SIZES = {"layers": 2, "neurons": 256, "keep": 4, "proposals": 2, "width": 8}


POOLED = [kind for kind in GATES if kind != "none"]


def made(kind: str):
    torch.manual_seed(0)
    gate = GATES[kind](**SIZES)
    with torch.no_grad():
        gate.bias.copy_(torch.randn_like(gate.bias))
    return gate, torch.randn(2, 8)


@pytest.mark.parametrize("kind", POOLED)
def test_every_kind_keeps_different_neurons_with_gains_that_learn(kind):
    gate, caption = made(kind)
    route = gate(words(), caption)
    assert route.index.shape == route.gain.shape == (2, 2, 4)
    assert ((route.index >= 0) & (route.index < 256)).all()
    for index, gain in zip(route.index.flatten(0, 1), route.gain.flatten(0, 1), strict=True):
        assert len(index[gain > 0].unique()) == (gain > 0).sum()
    route.gain.sum().backward()
    assert all(p.grad is not None for p in gate.parameters() if kind != "hash" or p is gate.bias)
    assert gate.bias.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", GATES)
def test_every_kind_routes_a_caption_alike_in_any_batch(kind):
    gate, caption = made(kind)
    whole, alone = gate(words(), caption), gate(words()[1:], caption[1:])
    assert torch.equal(whole.index[1:], alone.index)
    assert torch.allclose(whole.gain[1:], alone.gain)


@pytest.mark.parametrize("kind", [k for k in POOLED if k != "hash"])
def test_every_learned_kind_follows_the_caption_and_noise_moves_its_choice(kind):
    gate, _ = made(kind)
    same = words()[1:].expand(20, -1)
    captions = torch.randn(20, 8) * 5
    assert len(gate(same, captions).index.flatten(1).unique(dim=0)) > 1
    caption = captions[:1].expand(20, -1)
    assert len(gate(same, caption).index.flatten(1).unique(dim=0)) == 1
    assert len(gate(same, caption, noise=5.0).index.flatten(1).unique(dim=0)) > 1


def test_the_kinds_cost_what_they_touch():
    """Scoring every neuron costs most, the hash alone nothing."""
    cost = {k: GATES[k](**SIZES).touched(words()) for k in GATES}
    assert cost["learned"][0] == 2 * 256 * 16 + 16 * 8
    assert cost["product-keys"][0] == 2 * (16 + 16) * 16 + 16 * 8
    assert cost["tree"][0] == 2 * 4 * 6 * 16 + 16 * 8
    # 4 and 2 words propose with 3 and 1 pairs: 7 and 3 features, 2 proposals in each of 2 layers
    assert cost["hash-learned"][0] == (7 + 3) / 2 * 4 * 16 + 16 * 8
    assert cost["hash"] == (0.0, 8.0)
    assert cost["none"] == (0.0, 0.0)
    assert cost["learned"][0] == max(made for made, _ in cost.values())


@pytest.mark.parametrize("kind", ("product-keys", "tree"))
def test_sizes_that_make_no_grid_and_no_tree_are_refused(kind):
    with pytest.raises(ValueError, match="neurons are no"):
        GATES[kind](**{**SIZES, "neurons": 250})
