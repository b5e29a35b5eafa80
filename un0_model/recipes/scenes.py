"""Training pictures of the suite, drawn once and kept as a memory-mapped file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from suites.proc.render import render
from suites.proc.scene import Spec, caption, held_out
from suites.proc.train import draw_batch
from suites.proc.words import COLOURS, RELATIONS, VOCABULARY
from un0_model.arrangement import AND, joined, spread

__all__ = ["Scenes", "arranged", "words_of"]

_INDEX = {word: i + 1 for i, word in enumerate(VOCABULARY)}  # 0 pads
CHUNK = 1000
NEAR = 12  # to a thing's colour, in sRGB steps


def words_of(text: str, length: int) -> list[int]:
    """Word numbers of a caption, padded with 0 to `length`; an unknown word is left out."""
    known = [_INDEX[w] for w in text.split() if w in _INDEX][:length]
    return known + [0] * (length - len(known))


def arranged(spec: Spec, image: np.ndarray) -> str:
    """The caption of a picture [64, 64, 3], its two things or its equal ones arranged as there.

    Where that is a relation that training leaves out, two stay unarranged; all other captions are
    as they are.
    """
    plain = caption(spec)
    if "count" in spec:
        return spread(plain.partition(" ")[2], _thirds(spec, image))
    if AND not in plain or "objects" not in spec:
        return plain
    places = [np.argwhere(_shows(o["colour"], image)).mean(0) for o in spec["objects"]]
    apart = places[1] - places[0]
    relation, way = ("above", apart[0]) if abs(apart[0]) > abs(apart[1]) else ("left", apart[1])
    things = spec["objects"] if way > 0 else spec["objects"][::-1]
    alike = [{key: o[key] for key in ("colour", "shape")} for o in things]
    if held_out({"category": "position", "objects": alike, "relation": relation}):
        return plain
    first, _, second = caption({**spec, "objects": things}).partition(AND)
    return joined(first, f"a {second}", RELATIONS[relation])


def _shows(colour: str, image: np.ndarray) -> np.ndarray:
    """Where a picture shows a colour, [64, 64]."""
    apart: np.ndarray = np.abs(image.astype(np.int16) - np.array(COLOURS[colour])).max(-1)
    return apart <= NEAR


def _thirds(spec: Spec, image: np.ndarray) -> list[int]:
    """How many of a picture's equal things stand in each third of it, from the top, by area."""
    rows = _shows(spec["colour"], image).sum(1)
    areas = np.array([third.sum() for third in np.array_split(rows, 3)])
    return np.rint(spec["count"] * areas / areas.sum()).astype(int).tolist()


class Scenes:
    """`count` renders of the training split: images uint8 [n, 64, 64, 3], captions, word numbers.

    Kept under `folder` once it is whole; chunk i depends on (seed, i) alone. `late` names the
    categories that a model learns last; `told` has captions say how things are arranged.
    """

    def __init__(
        self,
        folder: Path,
        count: int,
        seed: int,
        late: Sequence[str],
        caption_words: int = 20,
        told: bool = False,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"scenes-{count}-{seed}.npy"
        self.captions: list[str] = []
        rows: list[int] = []
        done = path.exists()
        part = path.with_suffix(f".{os.getpid()}.npy")
        images = (
            np.load(path, mmap_mode="r")
            if done
            else np.lib.format.open_memmap(
                part, mode="w+", dtype=np.uint8, shape=(count, 64, 64, 3)
            )
        )
        for first in range(0, count, CHUNK):
            rng = np.random.default_rng([seed, first])
            specs, _ = draw_batch(rng, min(CHUNK, count - first))
            rows += [first + i for i, s in enumerate(specs) if s["category"] in late]
            if not done:
                for i, spec in enumerate(specs):
                    images[first + i] = render(spec, rng)
            self.captions += [
                arranged(spec, images[first + i]) if told else caption(spec)
                for i, spec in enumerate(specs)
            ]
        if not done:
            images.flush()
            part.rename(path)
            images = np.load(path, mmap_mode="r")
        self.images, self.late = images, np.array(rows)
        self.words = torch.tensor([words_of(c, caption_words) for c in self.captions])

    def __len__(self) -> int:
        return len(self.images)

    def draw(self, rng: np.random.Generator, count: int, lean: bool) -> np.ndarray:
        """Rows at random; where it leans, every other one of a category that is learned late."""
        index = rng.integers(len(self), size=count)
        if lean:
            index[::2] = rng.choice(self.late, size=len(index[::2]))
        return index

    def batch(self, index: np.ndarray, device: str = "cpu") -> Tensor:
        """Images [B, 3, 64, 64] in [0, 1] at the given rows."""
        picked = torch.from_numpy(self.images[index])
        return picked.to(device).permute(0, 3, 1, 2).float().div(255)
