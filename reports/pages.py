"""Which pages a bundle has: the report twice, and of prompts of one's own what they came to."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from harness import bundle
from reports import html, markdown, stress

__all__ = ["rendered"]


def rendered(run: Path) -> dict[str, Callable[[Path], str]]:
    """What draws each page of a closed bundle, by the name of its file."""
    pages: dict[str, Callable[[Path], str]] = {
        "report.html": html.render,
        "report.md": markdown.render,
    }
    if bundle.read_yaml(run / "config.yaml")["suite"]["name"] == stress.SUITE:
        pages |= {name: partial(stress.render, name=name) for name in stress.PAGES}
    return pages
