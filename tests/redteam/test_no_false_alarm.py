"""The checks for cheats are silent over audits that were honest: those kept in docs/measured.

More of them are looked at where UN0BENCH_HONEST names a folder of bundles.
"""

import os
from pathlib import Path

import pytest

from harness.evidence import read_evidence
from harness.metrics.conduct import elsewhere_differs, filler_differs, hurried, seeds_ignored
from harness.metrics.summary import Table
from harness.ratio import measured_ratio

MEASURED = Path(__file__).parents[2] / "docs" / "measured"
FOLDERS = [MEASURED, *map(Path, filter(None, [os.environ.get("UN0BENCH_HONEST")]))]
KEPT = sorted(path.parent for folder in FOLDERS for path in folder.rglob("manifest.json"))


@pytest.mark.parametrize("run", KEPT, ids=lambda run: run.name)
def test_no_check_for_a_cheat_fires_on_an_honest_audit(run):
    found = read_evidence(run)
    table = Table(found)
    for system in (found.candidate, found.baseline):
        for check in (seeds_ignored, filler_differs, elsewhere_differs, hurried):
            assert check(table, system) == ""
    assert measured_ratio(found, None).reason == ""


def test_there_are_audits_to_be_silent_on():
    assert len(KEPT) >= 5
