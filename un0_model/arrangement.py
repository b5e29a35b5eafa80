"""How things stand of which a caption says only which, or how many: it is drawn, then told.

A model that writes a picture word after word would have to decide it at one word and to read it off
that word ever after (ADR 0024). So captions it draws from say what the seed says, and captions it
learns from what their pictures show (un0_model/recipes/scenes.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

__all__ = ["AND", "NUMBERS", "PLACES", "RELATIONS", "arranged_by_seed", "joined", "spread"]

AND = " and a "
RELATIONS = ("above", "left of")  # of the thing named first
NUMBERS = ("no", "one", "two", "three", "four", "five")
PLACES = 9  # three to each third of a picture: as equal things stand in the suite's


def joined(first: str, second: str, relation: str) -> str:
    """The caption of two things, arranged."""
    return f"{first} {relation} and {second}"


def spread(things: str, thirds: Sequence[int]) -> str:
    """The caption of equal things, so many of them in each third from the top."""
    return f"{f' {RELATIONS[0]} '.join(NUMBERS[n] for n in thirds)} {things}"


def arranged_by_seed(texts: Sequence[str], seeds: Sequence[int]) -> list[str]:
    """Captions as each seed arranges them; those of other kinds, or arranged before, as they are.

    `a X and a Y` is `a X above and a Y`, `a Y left of and a X` ...; `two X` is `no above two above
    no X`, `one above no above one X` ...
    """
    return [_arranged(text, seed) for text, seed in zip(texts, seeds, strict=True)]


def _arranged(text: str, seed: int) -> str:
    plain = " ".join(text.lower().split())
    first, joint, second = plain.partition(AND)
    if joint and first.startswith("a ") and not first.endswith(RELATIONS) and AND not in second:
        coins = _drawn(seed, 1)[0]
        pair = (first, f"a {second}")
        return joined(*(pair[::-1] if coins & 1 else pair), RELATIONS[0 if coins & 2 else 1])
    number, _, things = plain.partition(" ")
    alone = things and " and " not in things and not things.startswith(RELATIONS)
    if number in NUMBERS[1:] and alone:
        taken = np.argsort(np.frombuffer(_drawn(seed, 8 * PLACES), "<u8"))[: NUMBERS.index(number)]
        return spread(things, np.bincount(3 * taken // PLACES, minlength=3).tolist())
    return text


def _drawn(seed: int, size: int) -> bytes:
    """So many bytes that the seed alone decides."""
    return hashlib.shake_128(int(seed).to_bytes(8, "little")).digest(size)
