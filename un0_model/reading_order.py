"""Two things that a caption joins by `and`: named in the order in which the picture shows them.

Which of them a picture begins with no caption says, and a model that writes a picture from top to
bottom has to find it out and remember it (ADR 0024). It is told instead: captions it learns from
are turned to what their pictures show, captions it draws from by a coin.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from suites.proc.words import COLOURS

__all__ = ["in_reading_order", "turned", "turned_by_coin"]

JOINT = " and a "
CELL = 8  # px: a word of the picture
NEAR, PIXELS = 12, 2  # to a thing's colour, in sRGB steps; so near, and a word shows the thing


def turned_by_coin(texts: Sequence[str], seeds: Sequence[int]) -> list[str]:
    """Captions `a X and a Y`, every other one of them as `a Y and a X`, by the seed of each."""
    return [turned(t) if _coin(seed) else t for t, seed in zip(texts, seeds, strict=True)]


def turned(text: str) -> str:
    """`a X and a Y` as `a Y and a X`, and any other caption as it is."""
    first, joint, second = text.partition(JOINT)
    return f"a {second} and {first}" if joint and first.startswith("a ") else text


def _coin(seed: int) -> bool:
    return bool(hashlib.blake2b(seed.to_bytes(8, "little"), digest_size=1).digest()[0] & 1)


def in_reading_order(spec: Mapping[str, Any], image: np.ndarray) -> dict[str, Any]:
    """The spec of a picture [64, 64, 3], its two things in the order in which they begin there.

    Any other spec, one with a relation among them, is returned as it is.
    """
    if "objects" not in spec or "relation" in spec:
        return dict(spec)
    return {**spec, "objects": sorted(spec["objects"], key=lambda o: _begins(o["colour"], image))}


def _begins(colour: str, image: np.ndarray) -> int:
    """The first word of the picture, row after row, that shows a colour."""
    apart = np.abs(image.astype(np.int16) - np.array(COLOURS[colour])).max(-1)
    cells = (apart <= NEAR).reshape(len(image) // CELL, CELL, -1, CELL).sum((1, 3)).ravel()
    return int(np.argmax(cells >= PIXELS))
