"""The report as one self-contained HTML file; the same bytes for the same bundle."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from reports import figures, numbers
from reports.gallery import EMBEDDED, Picture
from reports.roofline import rooflines
from reports.view import SCOPE, View, read_view, tables

__all__ = ["data_uri", "environment", "render"]

THUMBNAIL = 256  # px; larger images are shown smaller, the bundle keeps them whole


def data_uri(picture: Picture) -> str:
    assert picture.path is not None
    data = picture.path.read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        if max(image.size) > THUMBNAIL:
            small = image.convert("RGB")
            small.thumbnail((THUMBNAIL, THUMBNAIL))
            sink = io.BytesIO()
            small.save(sink, "JPEG", quality=85)
            return "data:image/jpeg;base64," + base64.b64encode(sink.getvalue()).decode()
    return "data:image/png;base64," + base64.b64encode(data).decode()


def _plots(view: View) -> dict[str, object]:
    return {
        "factors": figures.factor_plot(view.factors, view.goal),
        "apart": figures.waterfall(view.apart),
        "quality": figures.quality_plot(view.categories, view.scored),
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
    return templates.get_template("report.html.j2").render(
        view=view, plots=_plots(view), scope=SCOPE, tables=tables(view.others), embedded=EMBEDDED
    )
