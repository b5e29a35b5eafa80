"""Reads a caption back into the spec it was written from: the exact inverse of `scene.caption`."""

import re
from typing import Any

from suites.proc.words import (
    ADJECTIVES,
    COLOURS,
    COUNTS,
    DIRECTIONS,
    GROUNDS,
    HORIZONS,
    INKS,
    LANDS,
    NOUNS,
    PLURALS,
    POSES,
    RELATIONS,
    SCALES,
    SIDES,
    SIZES,
    SKIES,
)

__all__ = ["parse"]

_SINGULAR = {word: shape for shape, plural in PLURALS.items() for word in (shape, plural)}
_RELATION = {words: name for name, words in RELATIONS.items()}
_SIDE = {words: name for name, words in SIDES.items()}


def _any(words) -> str:
    return "(" + "|".join(sorted(words, key=len, reverse=True)) + ")"


_COLOUR, _SHAPE, _GROUND = _any(COLOURS), _any(PLURALS), _any(GROUNDS)
_OBJECT = f"a {_COLOUR} {_SHAPE}"
_SIZED = f"a {_any(SIZES)} {_COLOUR} {_SHAPE}"
_PATTERNS = {
    "single": f"{_OBJECT} on {_GROUND}",
    "counting": f"{_any(COUNTS)} {_COLOUR} {_any(_SINGULAR)}",
    "position": f"{_OBJECT} {_any(_RELATION)} {_OBJECT}",
    "binding": f"{_OBJECT} and {_OBJECT}",
    "size": f"{_SIZED} and {_SIZED}",
    "text": f"the letters? ([a-z](?: [a-z]){{0,3}}) in {_any(INKS)}",
    "anatomy": f"a {_COLOUR} person with left arm {_any(POSES)} "
    f"and right arm {_any(POSES)} on {_GROUND}",
    "landscape": f"a {_any(LANDS)} field with a {_any(HORIZONS)} horizon at {_any(SKIES)} "
    f"and (?:no|the) (?:sun|moon)(?: {_any(_SIDE)})?",
    "texture": f"{_any(SCALES)} {_any(DIRECTIONS)} stripes in {_COLOUR} and {_COLOUR}",
    "emblem": f"the {_any(ADJECTIVES)} {_any(NOUNS)} emblem",
}
_COMPILED = {name: re.compile(pattern) for name, pattern in _PATTERNS.items()}


def parse(caption: str) -> dict[str, Any]:
    """Returns the spec of a caption; raises ValueError for a text the suite never writes."""
    for category, pattern in _COMPILED.items():
        if found := pattern.fullmatch(caption):
            return {"category": category, **_spec(category, found.groups())}
    raise ValueError(f"no caption of the suite proc: {caption[:80]!r}")


def _objects(words: tuple[str, ...]) -> list[dict[str, str]]:
    keys = ("size", "colour", "shape")[-len(words) // 2 :]
    half = len(words) // 2
    return [dict(zip(keys, part, strict=True)) for part in (words[:half], words[half:])]


def _spec(category: str, words: tuple[str, ...]) -> dict[str, Any]:
    match category:
        case "single":
            return dict(zip(("colour", "shape", "ground"), words, strict=True))
        case "counting":
            count, colour, shape = words
            return {"count": COUNTS.index(count) + 1, "colour": colour, "shape": _SINGULAR[shape]}
        case "position":
            return {"objects": _objects(words[:2] + words[3:]), "relation": _RELATION[words[2]]}
        case "binding" | "size":
            return {"objects": _objects(words)}
        case "text":
            return {"letters": words[0].split(), "colour": words[1]}
        case "anatomy":
            return dict(zip(("colour", "left", "right", "ground"), words, strict=True))
        case "landscape":
            land, horizon, time, side = words
            sun = _SIDE[side] if side else "none"
            return {"land": land, "horizon": horizon, "time": time, "sun": sun}
        case "texture":
            return {"scale": words[0], "direction": words[1], "colours": list(words[2:])}
        case _:
            return dict(zip(("adjective", "noun"), words, strict=True))
