"""What a caption costs before its first token, kept for when it is asked for again. Off by default.

An entry is what depends on a caption alone: the neurons its gate chose with their gains, and the
keys and values of its words. Pictures are drawn anew from their seeds, and are the same with or
without. The least recently asked for goes first; entries belong to one model's weights and live
and die with it.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from un0_model.fused_attention import Cache, empty_cache
from un0_model.tokens import Shape

__all__ = ["CaptionCache"]


class CaptionCache:
    """Room for `size` captions; `hits` and `misses` count what was asked."""

    def __init__(self, shape: Shape, size: int) -> None:
        if size < 1:
            raise ValueError(f"a cache of {size} captions; it holds at least 1")
        self.size, self.hits, self.misses = size, 0, 0
        self.read: Cache = empty_cache(shape, size, places=shape.caption)
        self.rows = np.zeros((size, shape.layers, shape.keep, 2, shape.width), np.float32)
        self.gain = np.zeros((size, shape.layers, shape.keep), np.float32)
        self._slots: OrderedDict[bytes, int] = OrderedDict()

    @property
    def nbytes(self) -> int:
        return sum(a.nbytes for a in (*self.read, self.rows, self.gain))

    def find(self, words_BW: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Each caption's slot int64 [B], and whether it is filled bool [B]; None: no room for all.

        A caption that is new takes the slot of the one asked for longest ago, and is to be filled.
        """
        keys = [row.tobytes() for row in words_BW]
        if len(set(keys)) > self.size:
            self.misses += len(keys)
            return None
        known = np.array([key in self._slots for key in keys])
        for key in keys:
            if key in self._slots:
                self._slots.move_to_end(key)
        for key in keys:
            if key not in self._slots:
                full = len(self._slots) == self.size
                self._slots[key] = self._slots.popitem(last=False)[1] if full else len(self._slots)
        self.hits += int(known.sum())
        self.misses += int((~known).sum())
        return np.array([self._slots[key] for key in keys]), known
