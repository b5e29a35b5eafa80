"""Which pages a bundle has: the report twice, what own prompts came to, a blind one if asked."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from harness import bundle
from reports import blind, html, markdown, stress

__all__ = ["rendered"]


def rendered(run: Path) -> dict[str, Callable[[Path], str]]:
    """What draws each page of a closed bundle, by the name of its file."""
    pages: dict[str, Callable[[Path], str]] = {
        "report.html": html.render,
        "report.md": markdown.render,
    }
    if bundle.read_yaml(run / "config.yaml")["suite"]["name"] == stress.SUITE:
        pages |= {name: partial(stress.render, name=name) for name in stress.PAGES}
    if (pairs := blind.pairs_on(run)) is not None:
        pages[blind.PAGE] = partial(blind.render, count=pairs)
    return pages
