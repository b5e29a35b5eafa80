"""The report as one self-contained HTML file; the same bytes for the same bundle."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from reports import figures, numbers
from reports.gallery import Exhibit
from reports.pareto import of_audit
from reports.roofline import rooflines
from reports.thumbnails import beside, data_uri, held
from reports.view import SCOPE, View, read_view, tables

__all__ = ["environment", "render"]


def _row(exhibit: Exhibit) -> tuple[object, ...]:
    """An exhibit as report.js reads it: the picture's file is null where there is none."""
    return (
        exhibit.category,
        exhibit.shown_by,
        exhibit.prompt,
        [
            (one.system, beside(one) if one.path else None, one.verified, one.note)
            for one in exhibit.pictures
        ],
    )


def _plots(view: View) -> dict[str, object]:
    pooled = next((row.cells for row in view.categories if row.pooled), ())
    return {
        "factors": figures.factor_plot(view.factors, view.goal),
        "apart": figures.waterfall(view.apart),
        "quality": figures.quality_plot(view.categories, view.scored),
        "pareto": of_audit(view.costs, dict(zip(view.scored, pooled, strict=False))),
        "energy": figures.cost_plot(view.costs, "node"),
        "time": figures.cost_plot(view.costs, "processor time"),
        "rates": figures.rate_plot(view.rates),
        "rooflines": rooflines(view.traffic),
        "idle": figures.idle_bars(view.costs, "node"),
    }


def environment(*, html: bool) -> Environment:
    """Templates of this package; of Markdown every text goes through `escape` instead."""
    made = Environment(
        loader=PackageLoader("reports"),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.globals["numbers"] = numbers
    return made


def render(bundle_dir: Path) -> str:
    """Draw report.html of a bundle; no clock, no path and no random id enters it."""
    templates = environment(html=True)
    templates.globals["data_uri"] = data_uri
    view = read_view(Path(bundle_dir))
    first = held(view.gallery)
    return templates.get_template("report.html.j2").render(
        view=view,
        plots=_plots(view),
        scope=SCOPE,
        tables=tables(view.others),
        first=view.gallery[:first],
        beyond=[_row(exhibit) for exhibit in view.gallery[first:]],
    )
