"""Specs: what a picture must show, as plain data, and the caption that asks for it.

A spec is a JSON-able dict with the key "category" and the attributes the caption states,
nothing else. Draws use `rng.integers` and `rng.random` only, whose streams NumPy keeps
stable for PCG64; every fixed choice comes from SHA-256.
"""

import hashlib
from collections.abc import Callable, Iterable
from itertools import permutations
from typing import Any

import numpy as np

from suites.proc.words import (
    ADJECTIVES,
    COLOURS,
    COUNTS,
    DIRECTIONS,
    GROUNDS,
    HORIZONS,
    INKS,
    LANDS,
    LETTERS,
    NOUNS,
    PLURALS,
    POSES,
    RELATIONS,
    SCALES,
    SHAPES,
    SIDES,
    SIZES,
    SKIES,
)

__all__ = [
    "EMBLEM_COLOURS",
    "SPLITS",
    "Spec",
    "caption",
    "content",
    "digest",
    "draw_emblem_pair",
    "draw_spec",
    "emblem_rank",
    "emblem_weights",
    "held_out",
]

Spec = dict[str, Any]
SPLITS = ("train", "val", "test", "sealed")
_OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
_ALL_COLOURS = {**COLOURS, "white": GROUNDS["white"]}
_MIN_STRIPE_CONTRAST = 130  # distance in RGB


def digest(*parts: object) -> int:
    """Return 64 bits of SHA-256 over the parts: the only source of fixed choices."""
    text = "|".join(map(str, ("proc-1", *parts)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _distance(a: str, b: str) -> float:
    return float(np.linalg.norm(np.subtract(_ALL_COLOURS[a], _ALL_COLOURS[b], dtype=float)))


# The 64 ordered (ink, ground) pairs of strongest contrast, dealt to the adjectives by hash.
_CONTRASTED = sorted(permutations(_ALL_COLOURS, 2), key=lambda p: (-_distance(*p), p))[:64]
EMBLEM_COLOURS: dict[str, tuple[str, str]] = dict(
    zip(ADJECTIVES, sorted(_CONTRASTED, key=lambda p: digest("emblem-colours", *p)), strict=True)
)
# The 4,096 pairs by rank of frequency, most frequent first.
_PAIRS = sorted(
    ((a, n) for a in ADJECTIVES for n in NOUNS), key=lambda p: digest("emblem-rank", *p)
)
_RANKS = {pair: rank for rank, pair in enumerate(_PAIRS, start=1)}
_WEIGHTS = 1.0 / np.arange(1, len(_PAIRS) + 1)
_CUMULATIVE = np.cumsum(_WEIGHTS)
_CUMULATIVE /= _CUMULATIVE[-1]

_STRIPE_PAIRS = tuple(
    (a, b)
    for i, a in enumerate(COLOURS)
    for b in tuple(COLOURS)[i + 1 :]
    if _distance(a, b) >= _MIN_STRIPE_CONTRAST
)


def emblem_rank(adjective: str, noun: str) -> int:
    """Return the frequency rank of a pair, 1 (most frequent) to 4,096."""
    return _RANKS[adjective, noun]


def emblem_weights() -> tuple[tuple[tuple[str, str], ...], np.ndarray]:
    """Return the 4,096 pairs by rank and their weights [4096], 1 / rank, not normalised."""
    return tuple(_PAIRS), _WEIGHTS.copy()


def draw_emblem_pair(rng: np.random.Generator) -> tuple[str, str]:
    """Draw (adjective, noun) by Zipf's law with exponent 1 over the 4,096 pairs."""
    return _PAIRS[min(int(np.searchsorted(_CUMULATIVE, rng.random(), side="right")), 4095)]


def _pick(rng: np.random.Generator, choices: Iterable[Any]) -> Any:
    choices = tuple(choices)
    return choices[int(rng.integers(len(choices)))]


def _pick_two(rng: np.random.Generator, choices: Iterable[Any]) -> tuple[Any, Any]:
    """Two different members, in random order."""
    choices = tuple(choices)
    i = int(rng.integers(len(choices)))
    j = int(rng.integers(len(choices) - 1))
    return choices[i], choices[j + (j >= i)]


def _single(rng: np.random.Generator) -> Spec:
    return {
        "colour": _pick(rng, COLOURS),
        "shape": _pick(rng, SHAPES),
        "ground": _pick(rng, GROUNDS),
    }


def _counting(rng: np.random.Generator) -> Spec:
    count = 1 + int(rng.integers(len(COUNTS)))
    return {"count": count, "colour": _pick(rng, COLOURS), "shape": _pick(rng, SHAPES)}


def _two_objects(rng: np.random.Generator) -> list[Spec]:
    colours = _pick_two(rng, COLOURS)
    return [{"colour": c, "shape": s} for c, s in zip(colours, _pick_two(rng, SHAPES), strict=True)]


def _position(rng: np.random.Generator) -> Spec:
    return {"objects": _two_objects(rng), "relation": _pick(rng, RELATIONS)}


def _binding(rng: np.random.Generator) -> Spec:
    return {"objects": _two_objects(rng)}


def _size(rng: np.random.Generator) -> Spec:
    sizes = _pick_two(rng, SIZES)
    return {"objects": [{"size": z, **o} for z, o in zip(sizes, _two_objects(rng), strict=True)]}


def _text(rng: np.random.Generator) -> Spec:
    length = 1 + int(rng.integers(4))
    return {"letters": [_pick(rng, LETTERS) for _ in range(length)], "colour": _pick(rng, INKS)}


def _anatomy(rng: np.random.Generator) -> Spec:
    return {
        "colour": _pick(rng, COLOURS),
        "left": _pick(rng, POSES),
        "right": _pick(rng, POSES),
        "ground": _pick(rng, GROUNDS),
    }


def _landscape(rng: np.random.Generator) -> Spec:
    return {
        "land": _pick(rng, LANDS),
        "horizon": _pick(rng, HORIZONS),
        "time": _pick(rng, SKIES),
        "sun": _pick(rng, ("none", *SIDES)),
    }


def _texture(rng: np.random.Generator) -> Spec:
    return {
        "scale": _pick(rng, SCALES),
        "direction": _pick(rng, DIRECTIONS),
        "colours": list(_pick(rng, _STRIPE_PAIRS)),
    }


def _emblem(rng: np.random.Generator) -> Spec:
    adjective, noun = draw_emblem_pair(rng)
    return {"adjective": adjective, "noun": noun}


_DRAW: dict[str, Callable[[np.random.Generator], Spec]] = {
    "single": _single,
    "counting": _counting,
    "position": _position,
    "binding": _binding,
    "size": _size,
    "text": _text,
    "anatomy": _anatomy,
    "landscape": _landscape,
    "texture": _texture,
    "emblem": _emblem,
}


def draw_spec(rng: np.random.Generator, category: str, *, split: str) -> Spec:
    """Draw a spec of a category; split "train" never yields a held-out combination."""
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; use one of {', '.join(SPLITS)}")
    if category not in _DRAW:
        raise ValueError(f"unknown category {category!r}; use one of {', '.join(_DRAW)}")
    while True:
        spec = {"category": category, **_DRAW[category](rng)}
        if split != "train" or not held_out(spec):
            return spec


def _object(o: Spec) -> str:
    words = ("a", *((o["size"],) if "size" in o else ()), o["colour"], o["shape"])
    return " ".join(words)


def caption(spec: Spec) -> str:
    """Return the one caption of a spec: lower case, no punctuation, always the article "a"."""
    match spec["category"]:
        case "single":
            return f"{_object(spec)} on {spec['ground']}"
        case "counting":
            noun = spec["shape"] if spec["count"] == 1 else PLURALS[spec["shape"]]
            return f"{COUNTS[spec['count'] - 1]} {spec['colour']} {noun}"
        case "position":
            first, second = spec["objects"]
            return f"{_object(first)} {RELATIONS[spec['relation']]} {_object(second)}"
        case "binding" | "size":
            first, second = spec["objects"]
            return f"{_object(first)} and {_object(second)}"
        case "text":
            noun = "letter" if len(spec["letters"]) == 1 else "letters"
            return f"the {noun} {' '.join(spec['letters'])} in {spec['colour']}"
        case "anatomy":
            arms = f"left arm {spec['left']} and right arm {spec['right']}"
            return f"a {spec['colour']} person with {arms} on {spec['ground']}"
        case "landscape":
            light = "moon" if spec["time"] == "night" else "sun"
            where = f"no {light}" if spec["sun"] == "none" else f"the {light} {SIDES[spec['sun']]}"
            field = f"a {spec['land']} field with a {spec['horizon']} horizon"
            return f"{field} at {spec['time']} and {where}"
        case "texture":
            first, second = spec["colours"]
            return f"{spec['scale']} {spec['direction']} stripes in {first} and {second}"
        case "emblem":
            return f"the {spec['adjective']} {spec['noun']} emblem"
    raise ValueError(
        f"unknown category {spec['category']!r} in a spec; see CATEGORIES in suites.proc.words"
    )


def content(spec: Spec) -> tuple[Any, ...]:
    """Return what the caption states, in one canonical form.

    Equal for two specs of which one picture satisfies both ("a left of b", "b right of a");
    two specs of a category with different content contradict each other.
    """
    values = {k: v for k, v in spec.items() if k != "category"}
    if "relation" in values and values["relation"] in ("right", "below"):
        values["relation"] = _OPPOSITE[values["relation"]]
        values["objects"] = values["objects"][::-1]
    if "objects" in values:
        objects = [tuple(o[k] for k in sorted(o)) for o in values["objects"]]
        values["objects"] = tuple(objects if "relation" in values else sorted(objects))
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return (spec["category"], *(values[k] for k in sorted(values)))


def _combination(spec: Spec) -> tuple[Any, ...]:
    """The attributes whose combination is held out or not; the rest of the spec is free."""
    match spec["category"]:
        case "single":
            return spec["colour"], spec["shape"]
        case "text":
            alone = len(spec["letters"]) == 1
            return (*spec["letters"], *((spec["colour"],) if alone else ()))
        case "anatomy":
            return spec["colour"], spec["left"], spec["right"]
        case "landscape":
            return spec["horizon"], spec["sun"], spec["time"]
        case _:
            return content(spec)[1:]


def held_out(spec: Spec) -> bool:
    """Say whether training leaves a combination out of its category: one in ten, by hash."""
    if spec["category"] == "emblem":
        return False
    return digest("held-out", spec["category"], _combination(spec)) % 10 == 0
