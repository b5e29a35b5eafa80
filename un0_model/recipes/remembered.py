"""What remembering saves: captions, patterns of pictures, and whole pictures of near captions.

    python -m un0_model.recipes.remembered

Four streams of as many requests: the published prompts of `test`, each four times; the same drawn
by Zipf's law, as asked logs of search engines are; fresh draws of the training distribution; and
such draws without any that came before. Writes choice-cache.json beside the shipped trainings.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.errors import in_one_line
from harness.records import Prompt
from harness.systems.retrieval import Words
from harness.systems.un0 import Un0System
from suites.proc.sets import load_set
from suites.proc.train import draw_batch
from un0_model.caption_cache import CaptionCache
from un0_model.dictionary import SIDE
from un0_model.pipeline import Un0
from un0_model.recipes.choose import FOLDER, drawn, judged, requests_of

__all__ = ["main", "nearest", "streams"]

CACHES, RUNS = {"without": 0, "warm": 16, "cold": 16}, 200
SIZES = (100, 1000)  # captions or pictures that are kept
ALIKE = (1.0, 0.9, 0.8, 0.7)  # least cosine at which another caption's picture is shown
EXPONENT = 1.0  # of Zipf's law
LOGGED = 5000  # captions that tell how rare words are
REPEATED = 4


def main(path: Path = FOLDER / "training" / "choice-cache.json", count: int | None = None) -> int:
    """Prints what was found, and writes it; of the first `count` prompts, or of all."""
    published = load_set("test").prompts[:count]
    asked = streams(published)
    un0 = Un0.from_pretrained(FOLDER / "un0")
    found: dict[str, Any] = {
        "requests": len(published) * REPEATED,
        "hit_rate": {
            f"{name}, {size} captions": _hit_rate(un0, [p.text for p in stream], size)
            for name, stream in asked.items()
            for size in SIZES
        },
        "pictures": _pictures(asked),
        "patterns": _patterns(un0, [prompt.text for prompt in asked["diverse"]]),
        "bytes_a_caption": CaptionCache(un0.tokens.shape, 1).nbytes,
        "cpu_s": _seconds(),
    }
    print(json.dumps(found, indent=1))
    path.write_text(json.dumps(found, indent=1))
    return 0


def streams(published: Sequence[Prompt]) -> dict[str, list[Prompt]]:
    """Requests in the order they are asked, as many in each stream; each has an id of its own.

    So each has a seed of its own, and a picture shown again is another one than would be drawn.
    """
    rng, n = np.random.default_rng(0), len(published) * REPEATED
    order = rng.permutation(np.tile(np.arange(len(published)), REPEATED))
    ranks = 1 / np.arange(1, len(published) + 1) ** EXPONENT
    places = rng.permutation(len(published))
    popular = places[rng.choice(len(published), size=n, p=ranks / ranks.sum())]
    distinct: dict[str, Prompt] = {}
    while len(distinct) < n:
        distinct |= {prompt.text: prompt for prompt in _fresh(rng, n)}
    found = {
        "published": [published[i] for i in order],
        "zipf": [published[i] for i in popular],
        "diverse": _fresh(rng, n),
        "distinct": list(distinct.values())[:n],
    }
    return {
        name: [dataclasses.replace(p, id=f"{name}-{i}") for i, p in enumerate(stream)]
        for name, stream in found.items()
    }


def _fresh(rng: np.random.Generator, n: int) -> list[Prompt]:
    specs, texts = draw_batch(rng, n)
    return [
        Prompt(id="", text=text, category=str(spec["category"]), spec=spec)
        for spec, text in zip(specs, texts, strict=True)
    ]


def _hit_rate(un0: Un0, texts: Sequence[str], size: int) -> float:
    """Share of captions that a cache of `size` had, asked in batches of 16."""
    cache = CaptionCache(un0.tokens.shape, size)
    for first in range(0, len(texts), 16):
        some = texts[first : first + 16]
        cache.find(un0.words(some, range(first, first + len(some))).numpy())
    return round(cache.hits / (cache.hits + cache.misses), 4)


def _pictures(asked: dict[str, list[Prompt]]) -> dict[str, Any]:
    """Pictures of `un0`, shown again to whoever asks for something like it.

    `shown` is the share that were not drawn anew; `verified` of all answers. Both without emblems,
    each of which is one fixed picture.
    """
    rng, found = np.random.default_rng(1), dict[str, Any]()
    words = Words(list(dict.fromkeys(draw_batch(rng, LOGGED)[1])))
    system = Un0System(model=str(FOLDER / "un0"), threads=1)
    system.load()
    for name, stream in asked.items():
        pictures = drawn(system, stream)
        found[f"{name}, drawn"] = {"shown": 0.0, "verified": _share(stream, pictures)}
        pooled = np.array([prompt.category != "emblem" for prompt in stream])
        near = words.captions([prompt.text for prompt in stream])
        alike = (near @ near.T).toarray()
        for least in ALIKE:
            for size in SIZES:
                took = nearest(alike, least, size)
                found[f"{name}, cosine {least} of {size} pictures"] = {
                    "shown": round(float(np.mean((took != np.arange(len(took)))[pooled])), 4),
                    "verified": _share(stream, [pictures[i] for i in took]),
                }
    return {"bytes_a_picture": 3 * 64 * 64, **found}


def nearest(alike: np.ndarray, least: float, size: int) -> np.ndarray:
    """Whose picture each request of a stream gets: its own index, or that of an earlier one.

    `alike` [n, n] are cosines of captions. The nearest of `size` kept pictures is shown where its
    cosine is at least `least`, up to rounding; else a new one is drawn and kept in place of the one
    shown longest ago.
    """
    kept: OrderedDict[int, None] = OrderedDict()
    took = np.arange(len(alike))
    for i in range(len(alike)):
        there = list(kept)
        best = there[int(np.argmax(alike[i, there]))] if there else i
        if best != i and alike[i, best] >= least - 1e-6:
            took[i] = best
            kept.move_to_end(best)
            continue
        if len(kept) == size:
            kept.popitem(last=False)
        kept[i] = None
    return took


def _share(prompts: Sequence[Prompt], pictures: Sequence[Any]) -> float:
    """Of verified pictures, without emblems."""
    right = judged(prompts, pictures)
    pooled = [r for p, r in zip(prompts, right, strict=True) if p.category != "emblem"]
    return round(float(np.mean(pooled)), 4)


def _seconds() -> dict[str, float]:
    """Processor seconds a picture: the least of RUNS turns of one batch.

    Cold is a cache that forgets every caption before it returns.
    """
    one, other = (requests_of(load_set("val").prompts[i : i + 16]) for i in (0, 500))
    systems = {
        name: Un0System(model=str(FOLDER / "un0"), threads=1, cache=size)
        for name, size in CACHES.items()
    }
    for system in systems.values():
        system.load()
    spent: dict[str, list[float]] = {name: [] for name in CACHES}
    for _ in range(RUNS):
        for name, system in systems.items():
            if name == "cold":
                system.generate(other)
            began = time.process_time()
            system.generate(one)
            spent[name].append((time.process_time() - began) / len(one))
    return {name: min(runs) for name, runs in spent.items()}


def _patterns(un0: Un0, texts: Sequence[str]) -> dict[str, float]:
    """Of the last quarter of pictures the words that earlier ones had among the same neighbours.

    A decoder that looks 3 words to each side could take what it draws there from a table, where
    all 7 x 7 are as they were.
    """
    codes = []
    for first in range(0, len(texts), 16):
        some = texts[first : first + 16]
        seeds = range(first, first + len(some))
        noise = un0.uniforms(seeds)
        codes.append(un0.writer.generate(un0.words(some, seeds), noise, un0.sampling))
    code, found = torch.cat(codes).view(-1, SIDE, SIDE).numpy(), {}
    for reach in range(4):
        framed = np.pad(code, ((0, 0), (reach, reach), (reach, reach)), constant_values=-1)
        side = 2 * reach + 1
        known: set[bytes] = set()
        hits = []
        for picture in np.lib.stride_tricks.sliding_window_view(framed, (side, side), axis=(1, 2)):
            patterns = [window.tobytes() for row in picture for window in row]
            hits.append(np.mean([pattern in known for pattern in patterns]))
            known.update(patterns)
        found[f"{side} x {side} words"] = round(float(np.mean(hits[-len(hits) // 4 :])), 4)
    return found


if __name__ == "__main__":
    sys.exit(in_one_line(main))
