"""The loop that every recipe shares: it resumes, both optimisers learn, arrays are kept whole."""

import json

import numpy as np
import pytest
import torch

from harness.errors import ConfigError
from un0_model.recipes.leg import Leg
from un0_model.recipes.training import Stage, kept


def line(leg, steps):
    """A stage that fits y = 2 x; its loss is known after each step."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(1, 1)

    def loss(rng, progress):
        x = torch.from_numpy(rng.standard_normal((8, 1), dtype=np.float32))
        return (layer(x) - 2 * x).square().mean()

    return layer, Stage(
        name="line", leg=leg, modules={"layer": layer}, loss=loss, steps=steps, lr=0.05
    )


def test_a_training_broken_off_ends_where_an_unbroken_one_ends(tmp_path):
    whole, stage = line(Leg(out=tmp_path / "whole"), 40)
    assert stage.run()
    first, stage = line(Leg(out=tmp_path / "parts", limit_s=0.0), 40)
    assert not stage.run()  # one step, then the leg is over
    second, stage = line(Leg(out=tmp_path / "parts"), 40)
    assert stage.run()
    assert torch.equal(whole.weight, second.weight)
    assert not torch.equal(first.weight, second.weight)


def convolution(leg, hidden):
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Conv2d(16, 32, 3), torch.nn.Conv2d(32, 16, 1))
    layers.to(memory_format=torch.channels_last)

    def loss(rng, progress):
        x = torch.from_numpy(rng.standard_normal((2, 16, 8, 8), dtype=np.float32))
        return (layers(x) - 1).square().mean()

    return layers, Stage(
        name="conv",
        leg=leg,
        modules={"layers": layers},
        loss=loss,
        steps=40,
        lr=0.05,
        hidden=hidden,
        ema=0.9,
    )


@pytest.mark.parametrize("hidden", ((), ("layers.",)), ids=("AdamW", "Muon"))
def test_moments_come_back_in_the_memory_format_of_their_weights(tmp_path, hidden):
    whole, stage = convolution(Leg(out=tmp_path / "whole"), hidden)
    assert stage.run()
    _, stage = convolution(Leg(out=tmp_path / "parts", limit_s=0.0), hidden)
    assert not stage.run()
    parts, stage = convolution(Leg(out=tmp_path / "parts"), hidden)
    assert stage.run()
    assert all(
        torch.equal(a, b) for a, b in zip(whole.parameters(), parts.parameters(), strict=True)
    )


def test_a_state_of_another_optimiser_is_refused(tmp_path):
    _, stage = convolution(Leg(out=tmp_path, limit_s=0.0), ())
    assert not stage.run()
    with pytest.raises(ConfigError, match="choose another out="):
        convolution(Leg(out=tmp_path), ("layers.",))[1].run()


def test_both_optimisers_learn(tmp_path):
    for name, hidden in (("adamw", ()), ("muon", ("layers.",))):
        _, stage = convolution(Leg(out=tmp_path / name), hidden)
        assert stage.run()
        row = json.loads((tmp_path / name / "conv" / "curve.jsonl").read_text().splitlines()[-1])
        layers, _ = convolution(Leg(out=tmp_path), hidden)
        x = torch.randn(8, 16, 8, 8)
        before = (layers(x) - 1).square().mean().item()
        assert row["loss"] < 0.9 * before


def test_another_run_in_the_same_folder_is_refused(tmp_path):
    assert line(Leg(out=tmp_path), 4)[1].run()
    for leg, steps in ((Leg(out=tmp_path, seed=2), 4), (Leg(out=tmp_path), 8)):
        with pytest.raises(ConfigError, match="choose another out="):
            line(leg, steps)[1].run()


def test_an_array_is_kept_whole_or_not_at_all(tmp_path):
    def broken():
        raise KeyboardInterrupt

    path = tmp_path / "words.npy"
    with pytest.raises(KeyboardInterrupt):
        kept(path, broken)
    assert not path.exists()
    assert kept(path, lambda: np.arange(3)).tolist() == [0, 1, 2]
    assert kept(path, broken).tolist() == [0, 1, 2]
