"""Un0 on a processor as two fused kernels: captions to words (this file), words to pictures.

The gate, the gathered neurons, the trunk and the draw of each word run in compiled loops over
blocks of up to BLOCK images, one block a thread: a weight is read once for all images of a block,
a caption's padding is never computed, and an image's arithmetic does not depend on its batch.
The reference is `TokenModel.route` and `.generate` after `freeze`. Letters as in `tokens.py`.
"""

from __future__ import annotations

import copy
import threading
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from un0_model import lanes
from un0_model.caption_cache import CaptionCache
from un0_model.compiled import compiled
from un0_model.dictionary import LEVELS
from un0_model.every_neuron import EveryNeuron, counts, every_neuron, serve, widest
from un0_model.fused_attention import Cache, attend, copy_places, empty_cache, keep
from un0_model.fused_gate import choose, gather_layers
from un0_model.fused_layers import (
    BLOCK,
    Layers,
    add,
    array,
    in_blocks,
    layers_of,
    linear,
    norm,
    norm_of,
)
from un0_model.gate import HashLearned, Route
from un0_model.lanes import LANES
from un0_model.tokens import PLAIN, Sampling, TokenModel
from un0_model.vnni import COLUMNS

__all__ = ["FusedTokens"]

WIDEST = max(LEVELS)


@compiled
def _draw(u, logits, biases, digits, uniform, sampling, levels, room):
    """One dictionary word from the head's output u [D], its digits one after the other."""
    temperature, min_p, sure, rare = sampling
    width, code = u.shape[0], 0
    vectors = width // LANES
    positive, p, odds, ones = room
    positive_at, odds_at, ones_at = positive.ctypes.data, odds.ctypes.data, ones.ctypes.data
    for q in range(levels.shape[0]):
        n = levels[q]
        for j in range(width):
            positive[j] = u[j]
        lanes.clip(positive_at, vectors, np.float32(np.inf))
        for c in range(n, LANES):
            p[c] = np.float32(-1e30)
        row = logits.ctypes.data + q * logits.strides[0]
        top = np.float32(-1e30)
        for c in range(n):
            p[c] = biases[q, c] + lanes.dot(positive_at, row + c * logits.strides[1], vectors)
            top = max(top, p[c])
        for c in range(LANES):
            odds[c] = p[c]
        mass, most = lanes.weigh(odds_at, top, ones_at, 1)
        sharp, least = temperature, min_p
        if most > sure * mass:
            sharp, least = np.float32(1.0), rare
        for c in range(LANES):
            odds[c] = p[c] / sharp
        _, most = lanes.weigh(odds_at, top / sharp, ones_at, 1)
        mass = np.float32(0.0)
        for c in range(n):
            if odds[c] < least * most:
                odds[c] = np.float32(0.0)
            mass += odds[c]
        target, drawn, reached = uniform[q] * mass, 0, odds[0]
        while drawn < n - 1 and reached <= target:  # none that is left out
            drawn += 1
            reached += odds[drawn]
        code = code * n + drawn
        if q < digits.shape[0]:
            add(u, digits[q, drawn])
    return code


@compiled
def _ask(x, n, i, net, scratch, y, triple):
    """Queries, keys and values of n rows, for block i."""
    norm(x, n, net.norm_a[i, 0], net.norm_a[i, 1], y)
    linear(y, n, True, net.qkv, i, scratch, triple)


@compiled
def _answer(x, n, i, net, scratch, z, y, hidden):
    """Adds block i's attention z and trunk to n rows; z then holds what gated neurons read."""
    linear(z, n, True, net.out, i, scratch, y)
    for b in range(n):
        add(x[b], y[b])
    norm(x, n, net.norm_b[i, 0], net.norm_b[i, 1], z)
    linear(z, n, True, net.up, i, scratch, hidden)
    lanes.clip(hidden.ctypes.data, n * hidden.shape[1] // LANES, np.float32(np.inf))
    linear(hidden, n, False, net.down, i, scratch, y)
    for b in range(n):
        add(x[b], y[b])


@compiled
def _write(first, n, words, lengths, serving, uniform, sampling, net, cache, levels, kept, code):
    """Fills code [first : first + n] of [B, T]; `net` holds the weights that FusedTokens packs.

    `serving` holds the neurons that serve each of these images, rows [n, L, K, 2, D], their gains
    [n, L, K], and where the whole pool is evaluated that, and what its neurons count. `kept`
    holds read captions, the slot there of each image (-1: none), and whether it is filled.
    """
    rows, gain, pool = serving
    most = widest(pool)
    read, slot, filled = kept
    layers = gain.shape[1]
    width, wide_hidden = net.word.shape[1], net.up.bias.shape[1]
    caption = words.shape[1]
    wide = max(n, caption)
    x, y = np.empty((wide, width), np.float32), np.empty((wide, width), np.float32)
    z, triple = np.empty((wide, width), np.float32), np.empty((wide, 3 * width), np.float32)
    hidden, active = np.empty((wide, wide_hidden), np.float32), np.empty((wide, most), np.float32)
    heads, places = cache.key_step.shape[2:]
    looked = max(places, width)
    asked = (np.empty(places, np.float32), np.empty(looked, np.uint8), np.empty(looked, np.int32))
    image, at, count = np.empty(wide, np.int64), np.empty(wide, np.int64), np.empty(wide, np.int64)
    split = triple.reshape(wide, 3, heads, width // heads)  # queries, keys, values by head
    seen_by = z.reshape(wide, heads, width // heads)
    scratch = (
        np.empty((wide, max(width, wide_hidden, most)), np.uint8),
        np.empty((wide, max(3 * width, wide_hidden, most)), np.int32),
        np.empty(wide, np.float32),
    )
    room = (scratch, active, y)
    odds = np.empty((2, LANES), np.float32)
    drawing = (np.empty(width, np.float32), odds[0], odds[1], np.ones(LANES, np.float32))
    for b in range(n):  # captions: each reads its own words, all at once
        known = lengths[first + b]
        if filled[first + b]:
            copy_places(read, slot[first + b], cache, b)
            continue
        for p in range(known):
            x[p] = net.place[p] + net.word[words[first + b, p]]
            image[p], at[p], count[p] = b, p, known
        for i in range(layers):
            _ask(x, known, i, net, scratch, y, triple)
            keep(split, known, image, at, i, cache, asked)
            attend(split, known, image, count, i, cache, asked, seen_by)
            _answer(x, known, i, net, scratch, z, y, hidden)
            serve(z, known, image, i, rows, gain, pool, room, x)
        if slot[first + b] >= 0:
            copy_places(cache, b, read, slot[first + b])
    for t in range(code.shape[1]):  # tokens: the block's images side by side
        for b in range(n):
            x[b] = net.place[caption + t]
            image[b], at[b], count[b] = b, lengths[first + b] + t, lengths[first + b] + t + 1
            row = net.seen.shape[0] - 1  # starts a picture
            if t == 0:
                add(x[b], net.seen[row])
            else:
                left = code[first + b, t - 1]
                for q in range(levels.shape[0] - 1, -1, -1):
                    row -= levels[q]
                    add(x[b], net.seen[row + left % levels[q]])
                    left //= levels[q]
        for i in range(layers):
            _ask(x, n, i, net, scratch, y, triple)
            keep(split, n, image, at, i, cache, asked)
            attend(split, n, image, count, i, cache, asked, seen_by)
            _answer(x, n, i, net, scratch, z, y, hidden)
            serve(z, n, image, i, rows, gain, pool, room, x)
        norm(x, n, net.norm[0], net.norm[1], y)
        linear(y, n, True, net.head, 0, scratch, z)
        for b in range(n):
            code[first + b, t] = _draw(
                z[b],
                net.logits,
                net.logits_bias,
                net.digits,
                uniform[first + b, t],
                sampling,
                levels,
                drawing,
            )


class _Net(NamedTuple):
    """What the token kernel reads."""

    word: np.ndarray
    seen: np.ndarray
    place: np.ndarray
    gate: tuple[np.ndarray, np.ndarray, np.ndarray]
    pool: np.ndarray
    scale: np.ndarray
    norm_a: np.ndarray
    qkv: Layers
    out: Layers
    norm_b: np.ndarray
    up: Layers
    down: Layers
    norm: np.ndarray
    head: Layers
    logits: np.ndarray
    logits_bias: np.ndarray
    digits: np.ndarray


class FusedTokens:
    """A frozen TokenModel's weights, packed for the kernel."""

    captions: CaptionCache | None = None
    every: EveryNeuron | None = None

    def __init__(self, model: TokenModel) -> None:
        self.shape, self.model, self.own = model.shape, model, threading.local()
        if (model.shape.width // model.shape.heads) % COLUMNS:
            raise ValueError(f"heads of {COLUMNS} numbers or a multiple are what the kernel reads")
        self.fused_gate = isinstance(model.gate, HashLearned)
        if self.fused_gate and len(model.gate.query.weight) % LANES:
            raise ValueError(f"gate scores of {LANES} numbers or a multiple are what it reads")
        query, key = np.zeros((1, 1), np.float32), np.zeros((1, 1, 1), np.float32)
        if self.fused_gate:
            query, key = array(model.gate.query.weight), array(model.gate.key)
        blocks: list[Any] = list(model.blocks)
        width = model.shape.width
        logits = np.zeros((len(LEVELS), WIDEST, width), np.float32)
        biases = np.zeros((len(LEVELS), WIDEST), np.float32)
        digits = np.zeros((len(LEVELS) - 1, WIDEST, width), np.float32)
        for q, layer in enumerate(model.logits):
            logits[q, : LEVELS[q]] = array(layer.weight)
            biases[q, : LEVELS[q]] = array(layer.bias)
        for q, table in enumerate(model.digit):
            digits[q, : LEVELS[q]] = array(table.weight)
        self.net = _Net(
            word=array(model.word.weight),
            seen=array(model.code.weight),
            place=array(model.place),
            gate=(query, key, array(model.gate.bias)),
            pool=np.stack([b.pool.view(len(b.pool), 2, width).numpy() for b in blocks]),
            scale=np.stack([array(b.scale)[:, 0] for b in blocks]),
            norm_a=np.stack([norm_of(b.norm_a) for b in blocks]),
            qkv=layers_of([b.qkv for b in blocks]),
            out=layers_of([b.out for b in blocks]),
            norm_b=np.stack([norm_of(b.norm_b) for b in blocks]),
            up=layers_of([b.up for b in blocks]),
            down=layers_of([b.down for b in blocks]),
            norm=norm_of(model.norm),
            head=layers_of([model.head]),
            logits=logits,
            logits_bias=biases,
            digits=digits,
        )
        self.levels = np.array(LEVELS)

    def route(self, words_BW: Tensor) -> Route:
        """As `TokenModel.route`, which serves the other kinds of gate; best neurons first."""
        self._check(words_BW)
        if not self.shape.keep:
            nothing = torch.zeros(len(words_BW), self.shape.layers, 0)
            return Route(index=nothing.long(), gain=nothing)
        if not self.fused_gate:
            with torch.inference_mode():
                return self.model.route(words_BW)
        s = self.shape
        index = np.zeros((len(words_BW), s.layers, s.keep), np.int64)
        gain = np.zeros(index.shape, np.float32)
        lengths = (words_BW > 0).sum(1).numpy()
        choose(words_BW.numpy(), lengths, self.net.word, self.net.gate, s.proposals, index, gain)
        return Route(index=torch.from_numpy(index), gain=torch.from_numpy(gain))

    def _check(self, words_BW: Tensor, uniform_BTQ: Tensor | None = None) -> None:
        s, batch = self.shape, len(words_BW)
        known = words_BW.shape == (batch, s.caption) and bool((words_BW[:, :1] > 0).all())
        if not known or (batch and int(words_BW.max()) >= s.vocabulary):
            raise ValueError(f"captions are [B, {s.caption}] of words 1 to {s.vocabulary - 1}")
        if uniform_BTQ is not None and uniform_BTQ.shape != (batch, s.written, len(LEVELS)):
            raise ValueError(f"random numbers are [{batch}, {s.written}, {len(LEVELS)}]")

    def _cache(self) -> Cache:
        """This thread's keys and values, made once: what lies beyond an image's places is old."""
        if not hasattr(self.own, "cache"):
            self.own.cache = empty_cache(self.shape, BLOCK)
        return self.own.cache

    def generate(
        self,
        words_BW: Tensor,
        uniform_BTQ: Tensor,
        sampling: Sampling = PLAIN,
        route: Route | None = None,
        rows: np.ndarray | None = None,
    ) -> Tensor:
        """As `TokenModel.generate`: words [B, 64]; padding must be at each caption's end.

        `rows` are the route's neurons where they were gathered beforehand. Raises ValueError on
        arrays of other shapes: the kernel reads what it is told is there.
        """
        self._check(words_BW, uniform_BTQ)
        found = None if route or self.every else self._remembered(words_BW)
        if found is None:
            known, nowhere = route or self.route(words_BW), np.full(len(words_BW), -1)
            gain, kept = array(known.gain), (self._cache(), nowhere, nowhere >= 0)
        else:
            gain, rows, kept = found
        code = np.empty((len(words_BW), self.shape.written), np.int64)
        given = (words_BW.numpy(), (words_BW > 0).sum(1).numpy())
        drawn_with = (array(uniform_BTQ), tuple(map(np.float32, sampling)), self.net)
        counted = None
        if self.every:
            counted, gain = counts(self.every, known)

        def write(first: int, n: int) -> None:
            some = slice(first, first + n)
            own = self._own(known, gain, first, n) if rows is None else rows[some]
            pool = None if counted is None else (self.every, counted[some])
            serving = (own, gain[some], pool)
            _write(first, n, *given, serving, *drawn_with, self._cache(), self.levels, kept, code)

        in_blocks(write, len(code))
        return torch.from_numpy(code[:, self.shape.sketch :])

    def evaluate(self, chosen_LN: Tensor) -> None:
        """From now on computes every neuron that is true in bool [L, N] (every_neuron.py)."""
        self.every = every_neuron(self.net.pool, self.net.scale, chosen_LN)

    @property
    def served(self) -> int:
        """Gated neurons computed a token, of all layers, with those that fill up tiles."""
        return sum(self.every.widths) if self.every else self.shape.layers * self.shape.keep

    def remember(self, captions: int) -> None:
        """Keeps what so many captions cost before their first token (caption_cache.py)."""
        self.captions = CaptionCache(self.shape, captions)

    def _remembered(self, words_BW: Tensor) -> tuple[np.ndarray, np.ndarray, Any] | None:
        """Gains and neurons of captions, and where they are read; None: no room for so many."""
        captions = self.captions
        place = captions.find(words_BW.numpy()) if captions else None
        if captions is None or place is None:
            return None
        slots, filled = place
        if not filled.all():
            new = self.route(words_BW[torch.from_numpy(~filled)])
            captions.gain[slots[~filled]] = new.gain.numpy()
            captions.rows[slots[~filled]] = self.gathered(new, 0, len(new.gain))
        return captions.gain[slots], captions.rows[slots], (captions.read, slots, filled)

    def _own(self, route: Route, gain: np.ndarray, first: int, n: int) -> np.ndarray:
        """What `gathered` gives, or no neurons where none of them counts."""
        if gain[first : first + n].any():
            return self.gathered(route, first, n)
        return np.empty((n, self.shape.layers, 0, 2, self.shape.width), np.float32)

    def gathered(self, route: Route, first: int, n: int) -> np.ndarray:
        """The neurons of n images from `first` on, float32 [n, L, K, 2, D]."""
        index = route.index.numpy()[first : first + n]
        rows = np.empty((*index.shape, 2, self.shape.width), np.float32)
        gather_layers(self.net.pool, self.net.scale, index, rows)
        return rows

    def alone(self, route: Route) -> tuple[FusedTokens, Route]:
        """This model with no other neurons in its pool than the route's, and the route in it."""
        batch, layers, kept = route.index.shape
        index = route.index.numpy().swapaxes(0, 1).reshape(layers, batch * kept)
        each = np.arange(layers)[:, None]
        model = copy.copy(self)
        model.every = None
        model.net = self.net._replace(
            pool=np.ascontiguousarray(self.net.pool[each, index]),
            scale=np.ascontiguousarray(self.net.scale[each, index]),
        )
        at = torch.arange(batch * kept).view(batch, 1, kept).expand(-1, layers, -1)
        return model, Route(index=at.contiguous(), gain=route.gain)
