"""How two things stand that a caption joins by `and`: what it leaves open is drawn, then told.

A model that writes a picture word after word would have to decide it at one word and to read it off
that word ever after (ADR 0024). So captions it draws from say what two coins say, and captions it
learns from what their pictures show (un0_model/recipes/scenes.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

__all__ = ["AND", "RELATIONS", "arranged_by_coins", "told"]

AND = " and a "
RELATIONS = ("above", "left of")  # of the thing named first


def told(first: str, second: str, relation: str) -> str:
    """The caption of two things, arranged."""
    return f"{first} {relation} and {second}"


def arranged_by_coins(texts: Sequence[str], seeds: Sequence[int]) -> list[str]:
    """Captions `a X and a Y` as `a X above and a Y`, `a Y left of and a X` ..., by each seed."""
    return [_arranged(text, seed) for text, seed in zip(texts, seeds, strict=True)]


def _arranged(text: str, seed: int) -> str:
    first, joint, second = text.partition(AND)
    if not joint or not first.startswith("a "):
        return text
    coins = hashlib.blake2b(seed.to_bytes(8, "little"), digest_size=1).digest()[0]
    things = (first, f"a {second}")
    return told(*(things[::-1] if coins & 1 else things), RELATIONS[0 if coins & 2 else 1])
