"""What the docs name is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_test_that_the_docs_name_exists():
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    known = set(re.findall(r"^def (test_\w+)", sources, re.MULTILINE))
    for path in sorted((ROOT / "docs").glob("*.md")):
        named = set(re.findall(r"`(test_\w+)`", path.read_text()))
        assert named <= known, f"{path.name}: {named - known}"
    assert "test_every_test_that_the_docs_name_exists" in known
    assert len(re.findall(r"`test_", (ROOT / "docs/method.md").read_text())) > 30
