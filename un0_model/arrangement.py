"""Where two things stand that a caption joins by `and`: what it leaves open is drawn, then told.

A model that writes a picture word after word would have to decide it at one word and to read it off
that word ever after (ADR 0024). So captions it learns from say what their pictures show, and
captions it draws from what two coins say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from suites.proc.scene import Spec, caption, held_out
from suites.proc.words import COLOURS, RELATIONS

__all__ = ["arranged", "arranged_by_coins"]

AND = " and a "
ACROSS, DOWN = (RELATIONS[name] for name in ("left", "above"))
NEAR = 12  # to a thing's colour, in sRGB steps


def arranged_by_coins(texts: Sequence[str], seeds: Sequence[int]) -> list[str]:
    """Captions `a X and a Y` as `a X above and a Y`, `a Y left of and a X` ..., by each seed."""
    return [_arranged(text, seed) for text, seed in zip(texts, seeds, strict=True)]


def _arranged(text: str, seed: int) -> str:
    first, joint, second = text.partition(AND)
    if not joint or not first.startswith("a "):
        return text
    coins = hashlib.blake2b(seed.to_bytes(8, "little"), digest_size=1).digest()[0]
    things = (first, f"a {second}")
    return _told(*(things[::-1] if coins & 1 else things), DOWN if coins & 2 else ACROSS)


def _told(first: str, second: str, relation: str) -> str:
    return f"{first} {relation} and {second}"


def arranged(spec: Spec, image: np.ndarray) -> str:
    """The caption of a picture [64, 64, 3], its two things arranged as they stand there.

    Where that is a relation that training leaves out, they stay unarranged; all other captions are
    as they are.
    """
    plain = caption(spec)
    if AND not in plain or "objects" not in spec:
        return plain
    places = [_place(o["colour"], image) for o in spec["objects"]]
    apart = places[1] - places[0]
    relation, way = ("above", apart[0]) if abs(apart[0]) > abs(apart[1]) else ("left", apart[1])
    things = spec["objects"] if way > 0 else spec["objects"][::-1]
    alike = [{key: o[key] for key in ("colour", "shape")} for o in things]
    if held_out({"category": "position", "objects": alike, "relation": relation}):
        return plain
    first, _, second = caption({**spec, "objects": things}).partition(AND)
    return _told(first, f"a {second}", RELATIONS[relation])


def _place(colour: str, image: np.ndarray) -> np.ndarray:
    """Row and column of the middle of a colour."""
    apart = np.abs(image.astype(np.int16) - np.array(COLOURS[colour])).max(-1)
    return np.argwhere(apart <= NEAR).mean(0)
