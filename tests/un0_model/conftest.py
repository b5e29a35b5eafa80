"""Small frozen token models with random weights."""

import dataclasses

import pytest
import torch

from un0_model.tokens import Shape, TokenModel

SHAPE = Shape(
    vocabulary=30, caption=6, width=64, heads=2, layers=2, trunk=32, neurons=64, keep=4, proposals=2
)


@pytest.fixture(scope="session")
def model() -> TokenModel:
    return frozen(SHAPE)


@pytest.fixture(scope="session")
def sketching() -> TokenModel:
    return frozen(dataclasses.replace(SHAPE, sketch=4))


def frozen(shape: Shape) -> TokenModel:
    torch.manual_seed(0)
    made = TokenModel(shape).eval()
    with torch.no_grad():
        for p in made.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    made.freeze()
    return made
