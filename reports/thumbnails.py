"""Where the gallery's pictures are: the first in the page itself, the others in folders beside it.

A picture no larger than a thumbnail is shown from the bundle's own `images/`; of a larger one a
thumbnail is drawn into `report-images/`, as the reports are: from the bundle, outside the manifest.
"""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from PIL import Image

from harness import bundle
from harness.evidence import read_evidence
from reports.gallery import Exhibit, Picture, gallery
from reports.view import listed

__all__ = ["beside", "data_uri", "drawn", "held", "write"]

THUMBNAIL = 256  # px; larger images are shown smaller, the bundle keeps them whole
ROOM_BYTES = 5_000_000  # of pictures that a page holds itself, in base64
DRAWN_BYTES = 40_000  # what a thumbnail is taken to need; those seen need 5 to 35 kB


def data_uri(picture: Picture) -> str:
    """A picture as part of the page: itself, or its thumbnail."""
    assert picture.path is not None
    kind, data = "png", picture.path.read_bytes()
    if _large(picture.path):
        kind, data = "jpeg", _thumbnail(picture.path)
    return f"data:image/{kind};base64," + base64.b64encode(data).decode()


def held(exhibits: Sequence[Exhibit]) -> int:
    """How many of the first exhibits a page has room for."""
    taken = 0
    for count, exhibit in enumerate(exhibits):
        for path in (one.path for one in exhibit.pictures if one.path is not None):
            taken += 4 * (DRAWN_BYTES if _large(path) else path.stat().st_size) // 3
        if taken > ROOM_BYTES:
            return count
    return len(exhibits)


def beside(picture: Picture) -> str:
    """The file that a page shows of a picture it does not hold, relative to the bundle."""
    assert picture.path is not None
    if not _large(picture.path):
        return picture.relative
    return bundle.THUMBNAILS + picture.relative.removeprefix(bundle.IMAGES)[:-4] + ".jpg"


def drawn(run: Path) -> dict[str, Callable[[], bytes]]:
    """What draws each thumbnail of a bundle, by the name of its file."""
    evidence = read_evidence(run)
    exhibits = gallery(run, evidence, listed(evidence))
    return {
        beside(picture): partial(_thumbnail, picture.path)
        for exhibit in exhibits[held(exhibits) :]
        for picture in exhibit.pictures
        if picture.path is not None and _large(picture.path)
    }


def write(run: Path) -> int:
    """Draws all thumbnails anew; returns how many."""
    shutil.rmtree(run / bundle.THUMBNAILS, ignore_errors=True)
    found = drawn(run)
    for name, draw in found.items():
        bundle.write_bytes(run / name, draw())
    return len(found)


def _large(path: Path) -> bool:
    with Image.open(path) as image:
        return max(image.size) > THUMBNAIL


def _thumbnail(path: Path) -> bytes:
    """JPEG of at most THUMBNAIL pixels a side."""
    with Image.open(path) as image:
        small = image.convert("RGB")
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    sink = io.BytesIO()
    small.save(sink, "JPEG", quality=85)
    return sink.getvalue()
