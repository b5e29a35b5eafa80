"""Which requests are asked: cores that differ from block to block, and fillers never asked twice.

Both come from one distribution, but under a challenge, whose fillers are of prompts that nobody has
seen: cycles over the prompt set, categories interleaved, every prompt
once a cycle in a shuffled order. A cycle has its own seeds, so no request appears twice: cores use
seed indices from 0, fillers of window w those from (w + 1) x 1,000,000. Order and seeds hang on a
salt that stays secret until the audit is over, so a system cannot compute which request is core.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from harness.records import Prompt
from suites.proc.sets import request_seed

__all__ = ["Draws"]

FILLER_STRIDE = 1_000_000
Groups = dict[str, list[Prompt]]  # by category


class Draws:
    """Requests of one audit; the same prompts, seed and salt give the same draws."""

    def __init__(
        self,
        prompts: Sequence[Prompt],
        unpublished: Sequence[Prompt] = (),
        *,
        core: int,
        seed: int,
        salt: str = "",
    ) -> None:
        self.prompts, self.core_size = tuple(prompts), core
        self.seed, self.salt = seed, salt
        self._key = int.from_bytes(hashlib.sha256(f"{seed}|{salt}".encode()).digest()[:8])
        self._core = _by_category(prompts)
        self._filler = _by_category(unpublished) if unpublished else self._core

    def core(self, index: int) -> list[tuple[Prompt, int]]:
        """Prompts and seeds of core `index`; consecutive cores continue one stream."""
        start = index * self.core_size
        stream = self._stream(self._core, stream=0)
        return list(itertools.islice(stream, start, start + self.core_size))

    def rng(self, window: int) -> np.random.Generator:
        """What places the core among a window's batches."""
        return np.random.default_rng([self._key, window])

    def filler(self, window: int) -> Iterator[tuple[Prompt, int]]:
        """An endless stream of prompts and seeds that no other window shares."""
        return self._stream(self._filler, stream=window + 1)

    def _stream(self, groups: Groups, *, stream: int) -> Iterator[tuple[Prompt, int]]:
        for cycle in itertools.count():
            rng = np.random.default_rng([self._key, stream, cycle])
            index = stream * FILLER_STRIDE + cycle
            for prompt in _cycle(groups, rng):
                yield prompt, request_seed(f"{prompt.id}|{self.salt}", index)


def _by_category(prompts: Sequence[Prompt]) -> Groups:
    groups: Groups = {}
    for prompt in prompts:
        groups.setdefault(prompt.category, []).append(prompt)
    return groups


def _cycle(groups: Groups, rng: np.random.Generator) -> list[Prompt]:
    """Every prompt once: categories in turn, each in a shuffled order."""
    keyed: list[tuple[float, Prompt]] = []
    for group in groups.values():
        order = rng.permutation(len(group))
        places = (np.arange(len(group)) + rng.random()) / len(group)
        keyed += [(place, group[i]) for place, i in zip(places, order, strict=True)]
    return [prompt for _, prompt in sorted(keyed, key=lambda pair: pair[0])]
