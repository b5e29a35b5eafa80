"""What was measured and is kept: every bundle of docs/measured verifies by the code at hand."""

from pathlib import Path

import pytest

from harness.rivals import differences
from harness.verify import verify

MEASURED = Path(__file__).parents[1] / "docs" / "measured"


@pytest.mark.parametrize("name", sorted(path.name for path in MEASURED.iterdir()))
def test_a_kept_bundle_verifies(name):
    run = MEASURED / name
    found = differences(run) if (run / "rivals.json").is_file() else verify(run)
    assert list(found) == []
