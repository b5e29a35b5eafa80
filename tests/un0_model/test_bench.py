"""The kernels' benchmark: its rows are ratios of what ran, and its float model is the model."""

import math
from pathlib import Path

import pytest
import torch

from un0_model import bench
from un0_model.pipeline import Un0

WEIGHTS = Path(__file__).parents[2] / "un0_model" / "weights" / "un0"


def test_calls_are_timed_in_turns(monkeypatch):
    monkeypatch.setattr(bench, "TURN_S", 1e-4)
    order: list[str] = []
    found = bench.in_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")})
    assert all(0 < seconds < 1 for seconds in found.values())
    changes = sum(x != y for x, y in zip(order, order[1:], strict=False))
    assert changes >= 2 * bench.TURNS


def test_products_are_told_as_ratios_and_shares_of_the_rate(monkeypatch):
    monkeypatch.setattr(bench, "TURN_S", 1e-3)
    rows = list(bench._products(rate=1e9))
    assert len(rows) == 3
    for row in rows:
        assert math.isfinite(row.ratio)
        assert row.ratio > 0
        assert row.note.endswith("of the matrix rate")


def test_the_gate_is_told_as_shares_of_a_picture_from_few_neurons_to_many(monkeypatch):
    monkeypatch.setattr(bench, "TURN_S", 1e-3)
    monkeypatch.setattr(bench, "TURNS", 1)
    monkeypatch.setattr(bench, "KEEPS", (2, 32))
    few, many = bench.gate()
    assert "0.02% active" in few.kernel and "0.39% active" in many.kernel
    assert all(row.ratio > 0 and row.seconds > 0 for row in (few, many))
    assert "decides and" in few.note


def test_the_float_model_beside_is_the_shipped_one_before_rounding():
    model = Un0.from_pretrained(WEIGHTS)
    tokens, dictionary = bench._in_floats(model)
    words = model.words(["a red circle on white", "three blue stars"])
    route = tokens.route(words)
    assert torch.allclose(route.gain, model.tokens.route(words).gain, atol=1e-5)
    code = torch.arange(2 * 64).view(2, 64) * 97
    difference = dictionary.pictures(code).astype(int) - model.dictionary.pictures(code)
    assert abs(difference).mean() < 2


@pytest.mark.parametrize("tokens", (1, 3))
def test_the_gated_layers_that_are_compared_compute_the_same(tokens):
    torch.manual_seed(0)
    pool = torch.randint(-127, 128, (512, 2, 32), dtype=torch.int8)
    scale, gain = torch.full((512,), 0.01), torch.ones(8)
    x, index = torch.randn(tokens, 32), torch.randperm(512)[:8]
    up, down = pool[:, 0] * 0.01, pool[:, 1] * 0.01
    fused = bench._fused(x, pool.numpy(), scale.numpy(), iter([index]), gain.numpy())
    portable = bench._portable(x, up, down, iter([index]))
    everything = torch.zeros(512)
    everything[index] = 1
    dense = (torch.relu(x @ up.T) * everything) @ down
    assert torch.allclose(torch.from_numpy(fused), portable, atol=1e-4)
    assert torch.allclose(portable, dense, atol=1e-4)
