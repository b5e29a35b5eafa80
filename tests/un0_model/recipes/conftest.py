"""Weights of the budget `smoke`: they load, and draw nothing."""

import pytest

from un0_model.recipes import un0
from un0_model.recipes.leg import Leg


@pytest.fixture(scope="package")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("train") / "un0"
    assert un0.main("smoke", Leg(out=out, seed=3, shape={"layers": 4, "trunk": 256}))
    return out
