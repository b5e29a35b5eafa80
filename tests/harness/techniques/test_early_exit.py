"""Images that leave the denoiser before its last block."""

import numpy as np
import pytest
import torch
from torch import nn

from harness.errors import ConfigError
from harness.protocols import Technique
from harness.techniques.early_exit import EarlyExit, _Exits, _Squares

LAYERS = 4  # of the small pipeline


def exiting(loaded, **parameters):
    return loaded(EarlyExit(captions=4, **parameters))


def told(system):
    return system.card().notes["techniques"][0]


def test_with_a_tolerance_of_nothing_it_draws_exactly_as_without(loaded, asked):
    for dtype in ("float32", "bfloat16"):
        system = loaded(EarlyExit(captions=4, tolerance=0), dtype=dtype)
        plain = loaded(dtype=dtype)
        assert np.array_equal(system.generate(asked(1, 2, 3)), plain.generate(asked(1, 2, 3)))
        assert told(system)["blocks_evaluated"] == 1
        assert told(system)["left_after"] == {"4": 4 * 4 * 2}  # captions, steps, with and without


def test_a_wide_tolerance_lets_all_leave_after_the_second_exit(loaded, asked):
    system = exiting(loaded, tolerance=1e9)
    assert isinstance(system.techniques[0], Technique)
    assert told(system)["left_after"] == {"2": 4 * 4 * 2}
    assert told(system)["blocks_evaluated"] == 2 / LAYERS
    third = system.pipeline.transformer.transformer_blocks[0].blocks[2]
    third.register_forward_hook(lambda *_: pytest.fail("nobody is left"))
    assert system.generate(asked(1))[0].shape == (64, 64, 3)


def test_heads_stand_from_the_first_to_the_last_that_was_asked_for(loaded):
    system = exiting(loaded, tolerance=1e9, first=2, last=3)
    assert [*system.pipeline.transformer.transformer_blocks[0].heads] == ["2", "3"]
    assert told(system)["left_after"] == {"3": 4 * 4 * 2}


def between(loaded, asked):
    """A system where some leave and some stay, with a tolerance that lies amid what it saw."""
    system, changes = exiting(loaded, tolerance=0), []
    exits = system.pipeline.transformer.transformer_blocks[0]
    guesses = {}

    def note(depth, guess):
        guesses[depth] = guess.flatten(1)
        if depth == 2:
            change = (guesses[2] - guesses[1]).norm(dim=1) / guesses[2].norm(dim=1)
            changes.extend(change.tolist())

    for depth in (1, 2):
        exits.heads[str(depth)].register_forward_hook(lambda *a, d=depth: note(d, a[-1]))
    system.generate(asked(1, 2, 3, 4))
    return exiting(loaded, tolerance=float(np.median(changes)))


def test_a_picture_does_not_depend_on_its_batch_when_others_leave_and_it_stays(loaded, asked):
    system = between(loaded, asked)
    left = told(system)["left_after"]
    assert 0 < left["2"] < sum(left.values())
    together = system.generate(asked(1, 2, 3, 4))
    for seed, image in zip((1, 2, 3, 4), together, strict=True):
        (alone,) = system.generate(asked(seed))
        assert np.abs(alone.astype(int) - image).max() <= 1  # rounding of another batch size


class Scaled(nn.Module):
    """A block that multiplies, notes how many images it saw, and adds what came beside."""

    def __init__(self, factor):
        super().__init__()
        self.factor, self.seen = factor, []

    def forward(self, state, beside=None):
        self.seen.append(len(state))
        return state * self.factor + beside[:, None, None]


def identity(width):
    head = nn.Linear(width, width)
    nn.init.eye_(head.weight)
    nn.init.zeros_(head.bias)
    return head


@torch.inference_mode()
def test_those_that_have_settled_leave_and_the_rest_goes_on_with_its_own_arguments():
    """Worked by hand: states 1 and 1; after each block twice what was, plus 0 or minus 1.

    0: 2, 4, 8, never within 0.1 of the one before; -1: 1, 1, settled after the second.
    """
    blocks = nn.ModuleList([Scaled(2.0) for _ in range(3)])
    exits = _Exits(blocks, {1: identity(2), 2: identity(2)}, tolerance=0.1)
    state, beside = torch.ones(2, 3, 2), torch.tensor([0.0, -1.0])
    final = exits(state, beside=beside)
    assert final[0].unique().tolist() == [8] and final[1].unique().tolist() == [1]
    assert [block.seen for block in blocks] == [[2], [2], [1]]
    assert exits.left == [0, 0, 1, 1]


def test_a_head_is_the_linear_map_where_there_is_one():
    torch.manual_seed(0)
    weight, bias = torch.randn(5, 5), torch.randn(5)
    squares = _Squares()
    for _ in range(3):
        state = torch.randn(4, 8, 5)
        squares.add(state, state @ weight.T + bias)
    head = squares.head(ridge=1e-9)
    assert torch.allclose(head.weight, weight, atol=1e-4)
    assert torch.allclose(head.bias, bias, atol=1e-4)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"tolerance": -1.0}, "it is 0 or more"),
        ({"tolerance": 0.1, "first": 0}, "first=0"),
        ({"tolerance": 0.1, "first": 3}, "from 1 to 3 can have heads"),
        ({"tolerance": 0.1, "first": 2, "last": 2}, "and two of them must"),
    ],
)
def test_what_cannot_be_is_said(loaded, parameters, said):
    with pytest.raises(ConfigError, match=said):
        exiting(loaded, **parameters)


def test_blocks_of_two_streams_are_refused(loaded):
    system = loaded()
    for block in system.pipeline.transformer.transformer_blocks:
        block.register_forward_hook(lambda *told: (told[-1], told[-1]))
    with pytest.raises(ConfigError, match="blocks that return one tensor"):
        EarlyExit(tolerance=0.1).apply(system.pipeline, system._draw)
