"""Whatever part of the gate's work is left out, the pictures stay the same."""

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.errors import ConfigError
from un0_model.kernel import FusedTokens
from un0_model.pipeline import Un0
from un0_model.replay import Noted

WEIGHTS = Path(str(resources.files("un0_model"))) / "weights" / "un0"
TEXTS = [
    f"a {c} circle and a small {d} square" for c in ("red", "blue") for d in ("black", "green")
]


@pytest.fixture(scope="module")
def un0():
    return Un0.from_pretrained(WEIGHTS)


def test_every_stage_draws_what_generate_draws(un0):
    plain = un0.generate(TEXTS, range(4))
    for stage in ("whole", "decided", "gathered", "resident"):
        assert np.array_equal(un0.replay(TEXTS, range(4), stage), plain), stage


def test_a_stage_of_captions_that_were_not_noted_is_refused(un0):
    un0.replay(TEXTS, range(4), "whole")
    with pytest.raises(ConfigError, match="stage=decided"):
        un0.replay(TEXTS[::-1], range(4), "decided")


def test_the_model_of_a_routes_neurons_holds_no_others(un0):
    writer = un0.writer
    assert isinstance(writer, FusedTokens)
    noted = Noted(writer, un0.words(TEXTS))
    alone, route = writer.alone(noted.route)
    layers, kept = noted.route.index.shape[1:]
    assert alone.net.pool.shape[:2] == (layers, len(TEXTS) * kept)
    assert torch.equal(route.gain, noted.route.gain)
    assert np.array_equal(alone.gathered(route, 1, 2), writer.gathered(noted.route, 1, 2))
