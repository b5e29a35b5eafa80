"""For every test: toy systems can be imported, and small audits do not wait long after a window."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "harness" / "toys"))  # which workers inherit

from harness import windows


@pytest.fixture(scope="session", autouse=True)
def _windows_settle_sooner():
    """Toys leave no threads behind; a test of what is left behind takes `settling`."""
    usual, windows.SETTLE_S = windows.SETTLE_S, 0.02
    yield
    windows.SETTLE_S = usual


@pytest.fixture
def settling(monkeypatch):
    """The half second that an audit waits to see whether a system works on."""
    monkeypatch.setattr(windows, "SETTLE_S", 0.25)
