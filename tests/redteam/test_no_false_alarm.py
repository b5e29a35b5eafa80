"""The checks for cheats are silent over audits that were honest: those kept in docs/measured."""

from pathlib import Path

import pytest

from harness import bundle
from harness.metrics.conduct import elsewhere_differs, filler_differs, hurried, seeds_ignored
from harness.metrics.summary import Table
from harness.ratio import measured_ratio

MEASURED = Path(__file__).parents[2] / "docs" / "measured"
KEPT = sorted(path.parent.name for path in MEASURED.glob("*/manifest.json"))


@pytest.mark.parametrize("name", KEPT)
def test_no_check_for_a_cheat_fires_on_an_honest_audit(name):
    found = bundle.evidence(MEASURED / name)
    table = Table(found)
    for system in (found.candidate, found.baseline):
        for check in (seeds_ignored, filler_differs, elsewhere_differs, hurried):
            assert check(table, system) == ""
    assert measured_ratio(found, None).reason == ""


def test_there_are_audits_to_be_silent_on():
    assert len(KEPT) >= 5
