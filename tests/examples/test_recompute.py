"""The factor by pandas alone is the one that the report tells."""

import sys
from pathlib import Path

import pytest

from harness import bundle

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "examples"))

from recompute import factor  # noqa: E402


def test_pandas_finds_what_the_verdict_says():
    run = ROOT / "docs" / "measured" / "first"
    verdicts = {v["claim"]: v for v in bundle.read_json(run / "verdicts.json")}
    part = verdicts["time-1000x"]["evidence"][0]
    told = [part["estimate"], part["low"], part["high"]]
    assert list(factor(run)) == pytest.approx(told, rel=1e-9)
