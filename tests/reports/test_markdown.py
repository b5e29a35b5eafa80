"""The Markdown report says what the page says."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from harness import bundle
from reports import html, markdown


def test_same_bundle_gives_same_bytes_from_another_place(sample: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(sample, tmp_path / "moved")
    assert markdown.render(moved) == markdown.render(sample)


def test_prompt_with_markup_is_inert_in_a_table() -> None:
    assert markdown.escape("<b>a|b</b> **x**") == r"&lt;b&gt;a\|b&lt;/b&gt; \*\*x\*\*"
    assert "://" not in markdown.escape("see https://example.org")


def test_report_holds_no_raw_html(sample: Path) -> None:
    assert "<" not in markdown.render(sample)


def test_every_table_row_has_as_many_cells_as_its_head(sample: Path) -> None:
    tables = re.findall(r"(?:^\|.*\|\n)+", markdown.render(sample), flags=re.M)
    assert len(tables) > 15
    for table in tables:
        cells = [len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()]
        assert len(set(cells)) == 1, table.splitlines()[0]


def test_images_link_into_the_bundle(sample: Path) -> None:
    links = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", markdown.render(sample))
    assert len(links) == 79  # 40 requests of two systems, one of them failed
    assert all((sample / link).is_file() for link in links)


def test_both_reports_print_the_same_factors_and_digest(sample: Path) -> None:
    text, page = markdown.render(sample), html.render(sample)
    factors = re.findall(
        r"^\| (?:device|node|facility|processor time) \| .*? \| ([\d.,]+×) \|", text, re.M
    )
    assert len(factors) == 4
    assert all(f"<b>{factor}</b>" in page for factor in factors)
    assert bundle.manifest_digest(sample) in text


def test_modelled_follows_every_factor_of_energy(sample: Path) -> None:
    rows = re.findall(r"^\| (?:device|node|facility) \|.*$", markdown.render(sample), re.M)
    assert len(rows) == 3
    assert all(row.endswith("| modelled |") for row in rows)


def test_a_terminal_shows_texts_as_they_were():
    text = r"a\b [x] <b> & *c* https://www.x.y $ #1 | 5"
    assert markdown.escape(text) != text
    assert markdown.unescape(markdown.escape(text)) == text
