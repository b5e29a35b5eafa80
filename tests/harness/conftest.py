"""Puts the toy systems where workers, which inherit the path, can import them; finished bundles."""

import shutil
from pathlib import Path

import pytest
from fake_machine import fake_machine  # noqa: E402
from toy_audits import PAIR, SMALL  # noqa: E402

from harness import cli  # noqa: E402


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished bundle: the constant image against the rasteriser."""
    out = tmp_path_factory.mktemp("runs")
    assert cli.main(["audit", *SMALL, *PAIR, f"out={out}", "name=done"]) == 0
    return out / "done"


@pytest.fixture
def copy(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "done"))


@pytest.fixture
def machine(tmp_path):
    """Folders of a fake /proc and /sys, by the name of the argument they are given for."""
    return fake_machine(tmp_path)
