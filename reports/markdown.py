"""The report as Markdown, for a pull request or a terminal; the same bytes for the same bundle."""

from __future__ import annotations

import html
import re
from pathlib import Path

from reports.html import environment
from reports.view import SCOPE, read_view, tables

__all__ = ["escape", "unescape", "render"]

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!$&])")
_LINK = re.compile(r"(?i)\b(https?|ftp)://|\bwww\.")


def escape(text: object) -> str:
    """Make text inert in Markdown and in HTML inside it, on one line."""
    one_line = re.sub(r"\s+", " ", str(text))
    escaped = _SPECIAL.sub(r"\\\1", one_line).replace(r"\<", "&lt;").replace(r"\>", "&gt;")
    return _LINK.sub(lambda m: m.group().replace(":", "&#58;").replace(".", "&#46;"), escaped)


def unescape(text: str) -> str:
    """Markdown for a terminal: what `escape` put in is taken out again."""
    return html.unescape(re.sub(rf"\\{_SPECIAL.pattern}", r"\1", text))


def render(bundle_dir: Path) -> str:
    """Draw report.md of a bundle; images are linked by their place in the bundle."""
    templates = environment(html=False)
    templates.filters["md"] = escape
    view = read_view(Path(bundle_dir))
    text = templates.get_template("report.md.j2").render(
        view=view, scope=SCOPE, tables=tables(view.others)
    )
    return re.sub(r"\n{3,}", "\n\n", text)
