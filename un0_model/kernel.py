"""Un0 on a processor as two fused kernels: captions to words (this file), words to pictures.

The gate, the gathered neurons, the trunk and the draw of each word run in one compiled loop over
blocks of up to BLOCK images, one block a thread: a weight is read once for all images of a block,
a caption's padding is never computed, and an image's arithmetic does not depend on its batch.
The reference is `TokenModel.route` and `.generate` after `freeze`. Letters as in `tokens.py`.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor

from un0_model.compiled import compiled
from un0_model.dictionary import LEVELS, TOKENS
from un0_model.gate import HashLearned, Route
from un0_model.integer import LEAST, Integer
from un0_model.tokens import TokenModel
from un0_model.vnni import COLUMNS, multiply, pack, product

__all__ = [
    "FusedTokens",
    "Layers",
    "array",
    "finish",
    "in_blocks",
    "layers_of",
    "round_rows",
]

BLOCK = 8
WIDEST = max(LEVELS)


class Layers(NamedTuple):
    """One kind of integer layer, of all blocks: packed weights, 128 x their sums, step, bias."""

    tiles: np.ndarray
    shift: np.ndarray
    step: np.ndarray
    bias: np.ndarray


def layers_of(layers: list[Integer], weights: list[np.ndarray] | None = None) -> Layers:
    """Packs 8-bit layers of one shape; `weights` [K, N] replace those of convolutions."""
    own = [layer.weight.numpy().T for layer in layers] if weights is None else weights
    signed = 128 if layers[0].signed else 0
    return Layers(
        tiles=np.stack([pack(w) for w in own]),
        shift=np.stack([signed * w.sum(0, dtype=np.int32) for w in own]),
        step=np.stack([array(layer.step) for layer in layers]),
        bias=np.stack([array(layer.bias) for layer in layers]),
    )


@compiled
def round_rows(x, n, signed, out, step):
    """Rows x[:n] to bytes: whole steps, 128 added where they are signed."""
    limit, zero = (np.float32(127), 128) if signed else (np.float32(255), 0)
    for b in range(n):
        top = np.float32(LEAST)
        for j in range(x.shape[1]):
            top = max(top, abs(x[b, j]))
        step[b] = top / limit
        inverse = limit / top
        for j in range(x.shape[1]):
            out[b, j] = np.uint8(np.int32(np.rint(x[b, j] * inverse)) + zero)


@compiled
def finish(sums, n, step, layers, i, out):
    """Exact sums [n, N or more] to numbers, by the steps of rows and outputs: out [n, N]."""
    shift, weight_step, bias = layers.shift[i], layers.step[i], layers.bias[i]
    for b in range(n):
        for j in range(out.shape[1]):
            exact = np.float32(np.int32(sums[b, j] - shift[j]))
            out[b, j] = exact * (step[b] * weight_step[j]) + bias[j]


@compiled
def _linear(x, n, signed, layers, i, scratch, out):
    """out[:n] = layer i of x[:n]."""
    rows, sums, step = scratch
    round_rows(x, n, signed, rows, step)
    multiply(rows, n, layers.tiles[i], sums)
    finish(sums, n, step, layers, i, out)


@compiled
def _norm(x, n, gain, shift, out):
    """LayerNorm of n rows, epsilon 1e-5 as in torch."""
    width = gain.shape[0]
    for b in range(n):
        mean = np.float32(0.0)
        for j in range(width):
            mean += x[b, j]
        mean /= width
        spread = np.float32(0.0)
        for j in range(width):
            spread += (x[b, j] - mean) ** 2
        scale = np.float32(1.0) / np.sqrt(spread / width + np.float32(1e-5))
        for j in range(width):
            out[b, j] = (x[b, j] - mean) * scale * gain[j] + shift[j]


class _Cache(NamedTuple):
    """Keys and values of some images' places, as the packed weights that a query multiplies.

    Letters: n images, L layers, A heads, S head size, P places; a step a place and head.
    """

    keys: np.ndarray  # int8 [n, L, A, P / 32, S / 4, 2, 16, 4]: depth S, a column a place
    key_step: np.ndarray  # float32 [n, L, A, P]
    key_shift: np.ndarray  # 128 times a key's sum, exact in float32
    values: np.ndarray  # int8 [n, L, A, S / 32, P / 4, 2, 16, 4]: depth P, columns S
    value_step: np.ndarray


@compiled
def _top(split, r, part, h):
    """The largest size of row r's numbers in split [rows, 3, A, S]."""
    top = np.float32(LEAST)
    for j in range(split.shape[3]):
        top = max(top, abs(split[r, part, h, j]))
    return top


@compiled
def _keep(split, r, at, b, i, cache):
    """Caches row r's keys and values, of split [rows, 3, A, S], at a place of image b, layer i."""
    for h in range(split.shape[2]):
        top, value_top = _top(split, r, 1, h), _top(split, r, 2, h)
        inverse, value_inverse = np.float32(127) / top, np.float32(127) / value_top
        total = np.int32(0)
        for j in range(split.shape[3]):
            key = np.int8(np.rint(split[r, 1, h, j] * inverse))
            total += key
            cache.keys[b, i, h, at >> 5, j >> 2, (at >> 4) & 1, at & 15, j & 3] = key
            value = np.int8(np.rint(split[r, 2, h, j] * value_inverse))
            cache.values[b, i, h, j >> 5, at >> 2, (j >> 4) & 1, j & 15, at & 3] = value
        cache.key_step[b, i, h, at] = top / np.float32(127)
        cache.key_shift[b, i, h, at] = np.float32(128 * total)
        cache.value_step[b, i, h, at] = value_top / np.float32(127)


@compiled
def _attend(split, r, count, b, i, cache, scratch, out):
    """Row r's attention over `count` cached places of image b and layer i.

    split [rows, 3, A, S] holds its query; out [rows, A, S].
    """
    weight, row, sums = scratch
    heads, size = split.shape[2:]
    row_at, sums_at = row.ctypes.data, sums.ctypes.data
    tiles, fours = (count + COLUMNS - 1) // COLUMNS, (count + 3) // 4
    whole = (count + 15) // 16 * 16  # whole vectors: what is beyond `count` gets no weight
    keys = cache.keys.ctypes.data + b * cache.keys.strides[0] + i * cache.keys.strides[1]
    values = cache.values.ctypes.data + b * cache.values.strides[0] + i * cache.values.strides[1]
    for h in range(heads):
        top = _top(split, r, 0, h)
        inverse = np.float32(127) / top
        for j in range(size):
            row[j] = np.uint8(np.int32(np.rint(split[r, 0, h, j] * inverse)) + 128)
        head, step = keys + h * cache.keys.strides[2], cache.keys.strides[3]
        product(row_at, 0, 1, head, step, tiles, size // 4, sums_at, 0)
        scale = top / np.float32(127) * np.float32(1.0 / math.sqrt(size))
        for p in range(whole):
            exact = np.float32(sums[p]) - cache.key_shift[b, i, h, p]
            weight[p] = exact * (scale * cache.key_step[b, i, h, p])
        for p in range(count, whole):
            weight[p] = np.float32(-1e30)
        best = np.float32(-1e30)
        for p in range(whole):
            best = max(best, weight[p])
        total, top = np.float32(0), np.float32(0)
        for p in range(whole):
            weight[p] = _exp(weight[p] - best)
        for p in range(whole):
            total += weight[p]
        for p in range(whole):
            weight[p] *= cache.value_step[b, i, h, p]
        for p in range(whole):
            top = max(top, weight[p])
        inverse = np.float32(255) / top
        for p in range(whole):
            row[p] = np.uint8(np.rint(weight[p] * inverse))
        head, step = values + h * cache.values.strides[2], cache.values.strides[3]
        product(row_at, 0, 1, head, step, size // COLUMNS, fours, sums_at, 0)
        scale = top / np.float32(255) / total
        for j in range(size):
            out[r, h, j] = np.float32(sums[j]) * scale


@compiled
def _exp(x):
    """e^x to one part in a million, |x| < 87: a power of two and a polynomial, both vectorised."""
    t = min(max(x * np.float32(1.4426950408889634), np.float32(-126.0)), np.float32(126.0))
    whole = np.floor(t)
    f = t - whole
    p = f * np.float32(0.0018775767) + np.float32(0.0089893397)
    p = f * p + np.float32(0.055826318)
    p = f * p + np.float32(0.24015361)
    p = f * p + np.float32(0.69315308)
    p = f * p + np.float32(0.99999994)
    return p * np.int32((np.int32(whole) + 127) << 23).view(np.float32)


@compiled
def _mix(x):
    """The gate's hash, as in `gate.py`."""
    x = ((x ^ (x >> 16)) * 0x45D9F3B) & 0x7FFFFFFF
    x = ((x ^ (x >> 15)) * 0x2C1B3C6D) & 0x7FFFFFFF
    return x ^ (x >> 16)


@compiled
def _choose(words, count, embedding, gate, proposals, index, gain):
    """The gate for one caption: fills index and gain [L, K]; empty slots keep a gain of 0."""
    query, key, bias = gate
    layers, neurons, width_r = key.shape
    keep = index.shape[1]
    caption = np.zeros(embedding.shape[1], np.float32)
    for w in range(count):
        caption += embedding[words[w]]
    caption *= np.float32(8.0 / count)
    asked = np.zeros(width_r, np.float32)
    for r in range(width_r):
        for j in range(caption.shape[0]):
            asked[r] += query[r, j] * caption[j]
    best = np.empty(keep, np.float32)
    for layer in range(layers):
        found = 0
        for f in range(2 * count - 1):
            feature = words[f] if f < count else words[f - count] * 4096 + words[f - count + 1]
            hashed = _mix(feature)
            for m in range(proposals):
                slot = layer * proposals + m + 1
                neuron = _mix(hashed + 0x9E3779 * slot) % neurons
                known = False
                for k in range(found):
                    known |= index[layer, k] == neuron
                score = bias[layer, neuron]
                for r in range(width_r):
                    score += key[layer, neuron, r] * asked[r]
                if known or (found == keep and score <= best[keep - 1]):
                    continue
                k = min(found, keep - 1)
                while k > 0 and best[k - 1] < score:
                    best[k], index[layer, k] = best[k - 1], index[layer, k - 1]
                    k -= 1
                best[k], index[layer, k] = score, neuron
                found = min(found + 1, keep)
        for k in range(found):
            gain[layer, k] = np.float32(2.0) / (np.float32(1.0) + np.exp(-best[k]))


@compiled
def gather(pool, scale, index, rows):
    """The chosen neurons as float32 [K, 2, D], from a pool int8 [N, 2, D] and its steps [N]."""
    for k in range(index.shape[0]):
        neuron = index[k]
        step = scale[neuron]
        for half in range(2):
            for j in range(pool.shape[2]):
                rows[k, half, j] = pool[neuron, half, j] * step


@compiled
def gated(y, rows, gain, x):
    """x += (relu(y U^T) * gain) V for one row of numbers; rows [K, 2, D] hold U and V."""
    for k in range(rows.shape[0]):
        dot = np.float32(0.0)
        for j in range(y.shape[0]):
            dot += y[j] * rows[k, 0, j]
        if dot > 0 and gain[k] > 0:
            dot *= gain[k]
            for j in range(y.shape[0]):
                x[j] += dot * rows[k, 1, j]


@compiled
def _draw(u, logits, biases, digits, uniform, temperature, levels):
    """One dictionary word from the head's output u [D], its digits one after the other."""
    width, code = u.shape[0], 0
    p = np.empty(WIDEST, np.float32)
    for q in range(levels.shape[0]):
        n = levels[q]
        top = np.float32(-1e30)
        for c in range(n):
            total = biases[q, c]
            for j in range(width):
                total += max(u[j], np.float32(0.0)) * logits[q, c, j]
            p[c] = total / temperature
            top = max(top, p[c])
        mass = np.float32(0.0)
        for c in range(n):
            p[c] = np.exp(p[c] - top)
            mass += p[c]
        target, drawn, reached = uniform[q] * mass, 0, p[0]
        while drawn < n - 1 and reached < target:
            drawn += 1
            reached += p[drawn]
        code = code * n + drawn
        if q < digits.shape[0]:
            for j in range(width):
                u[j] += digits[q, drawn, j]
    return code


@compiled
def _layer(x, n, i, net, scratch, triple, z, y, hidden, part):
    """A block's two halves: part 0 fills queries, keys and values; part 1 is all after them."""
    if part == 0:
        _norm(x, n, net.norm_a[i, 0], net.norm_a[i, 1], y)
        _linear(y, n, True, net.qkv, i, scratch, triple)
        return
    _linear(z, n, True, net.out, i, scratch, y)
    x[:n] += y[:n]
    _norm(x, n, net.norm_b[i, 0], net.norm_b[i, 1], z)
    _linear(z, n, True, net.up, i, scratch, hidden)
    for b in range(n):
        for j in range(hidden.shape[1]):
            hidden[b, j] = max(hidden[b, j], np.float32(0.0))
    _linear(hidden, n, False, net.down, i, scratch, y)
    x[:n] += y[:n]


@compiled
def _route(words, lengths, net, proposals, index, gain):
    """Fills the route of every caption: index and gain [B, L, K]."""
    for b in range(words.shape[0]):
        _choose(words[b], lengths[b], net.word, net.gate, proposals, index[b], gain[b])


@compiled
def _write(first, n, words, lengths, index, gain, uniform, temperature, net, cache, levels, code):
    """Fills code [first : first + n] of [B, 64]; `net` holds the weights that FusedTokens packs."""
    layers, keep = index.shape[1:]
    width, wide_hidden = net.word.shape[1], net.up.bias.shape[1]
    caption = words.shape[1]
    wide = max(n, caption)
    rows = np.empty((n, layers, keep, 2, width), np.float32)
    x, y = np.empty((wide, width), np.float32), np.empty((wide, width), np.float32)
    z, triple = np.empty((wide, width), np.float32), np.empty((wide, 3 * width), np.float32)
    hidden = np.empty((wide, wide_hidden), np.float32)
    heads, places = cache.key_step.shape[2:]
    most = max(places, width)
    asked = (np.empty(places, np.float32), np.empty(most, np.uint8), np.empty(most, np.int32))
    split = triple.reshape(wide, 3, heads, width // heads)  # queries, keys, values by head
    seen_by = z.reshape(wide, heads, width // heads)
    scratch = (
        np.empty((wide, max(width, wide_hidden)), np.uint8),
        np.empty((wide, max(3 * width, wide_hidden)), np.int32),
        np.empty(wide, np.float32),
    )
    for b in range(n):  # captions: each reads its own words, all at once
        image, count = first + b, lengths[first + b]
        for i in range(layers):
            gather(net.pool[i], net.scale[i], index[image, i], rows[b, i])
        for p in range(count):
            x[p] = net.word[words[image, p]] + net.place[p]
        for i in range(layers):
            _layer(x, count, i, net, scratch, triple, z, y, hidden, 0)
            for p in range(count):
                _keep(split, p, p, b, i, cache)
            for p in range(count):
                _attend(split, p, count, b, i, cache, asked, seen_by)
            _layer(x, count, i, net, scratch, triple, z, y, hidden, 1)
            for p in range(count):
                gated(z[p], rows[b, i], gain[image, i], x[p])
    for t in range(TOKENS):  # tokens: the block's images side by side
        for b in range(n):
            x[b] = net.place[caption + t]
            row = net.seen.shape[0] - 1  # starts a picture
            if t == 0:
                x[b] += net.seen[row]
            else:
                left = code[first + b, t - 1]
                for q in range(levels.shape[0] - 1, -1, -1):
                    row -= levels[q]
                    x[b] += net.seen[row + left % levels[q]]
                    left //= levels[q]
        for i in range(layers):
            _layer(x, n, i, net, scratch, triple, z, y, hidden, 0)
            for b in range(n):
                at = lengths[first + b] + t
                _keep(split, b, at, b, i, cache)
                _attend(split, b, at + 1, b, i, cache, asked, seen_by)
            _layer(x, n, i, net, scratch, triple, z, y, hidden, 1)
            for b in range(n):
                gated(z[b], rows[b, i], gain[first + b, i], x[b])
        _norm(x, n, net.norm[0], net.norm[1], y)
        _linear(y, n, True, net.head, 0, scratch, z)
        for b in range(n):
            code[first + b, t] = _draw(
                z[b],
                net.logits,
                net.logits_bias,
                net.digits,
                uniform[first + b, t],
                temperature,
                levels,
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

    def __init__(self, model: TokenModel) -> None:
        self.shape, self.model, self.own = model.shape, model, threading.local()
        if (model.shape.width // model.shape.heads) % COLUMNS:
            raise ValueError(f"heads of {COLUMNS} numbers or a multiple are what the kernel reads")
        self.fused_gate = isinstance(model.gate, HashLearned)
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
            pool=np.stack([b.pool.view(len(b.pool), 2, -1).numpy() for b in blocks]),
            scale=np.stack([array(b.scale)[:, 0] for b in blocks]),
            norm_a=np.stack([_norm_of(b.norm_a) for b in blocks]),
            qkv=layers_of([b.qkv for b in blocks]),
            out=layers_of([b.out for b in blocks]),
            norm_b=np.stack([_norm_of(b.norm_b) for b in blocks]),
            up=layers_of([b.up for b in blocks]),
            down=layers_of([b.down for b in blocks]),
            norm=_norm_of(model.norm),
            head=layers_of([model.head]),
            logits=logits,
            logits_bias=biases,
            digits=digits,
        )
        self.levels = np.array(LEVELS)

    def route(self, words_BW: Tensor) -> Route:
        """As `TokenModel.route`, which serves the other kinds of gate; best neurons first."""
        self._check(words_BW)
        if not self.fused_gate:
            with torch.inference_mode():
                return self.model.route(words_BW)
        s = self.shape
        index = np.zeros((len(words_BW), s.layers, s.keep), np.int64)
        gain = np.zeros(index.shape, np.float32)
        lengths = (words_BW > 0).sum(1).numpy()
        _route(words_BW.numpy(), lengths, self.net, s.proposals, index, gain)
        return Route(index=torch.from_numpy(index), gain=torch.from_numpy(gain))

    def _check(self, words_BW: Tensor, uniform_BTQ: Tensor | None = None) -> None:
        s, batch = self.shape, len(words_BW)
        known = words_BW.shape == (batch, s.caption) and bool((words_BW[:, :1] > 0).all())
        if not known or (batch and int(words_BW.max()) >= s.vocabulary):
            raise ValueError(f"captions are [B, {s.caption}] of words 1 to {s.vocabulary - 1}")
        if uniform_BTQ is not None and uniform_BTQ.shape != (batch, TOKENS, len(LEVELS)):
            raise ValueError(f"random numbers are [{batch}, {TOKENS}, {len(LEVELS)}]")

    def _cache(self) -> _Cache:
        """This thread's keys and values, made once: what lies beyond an image's places is old."""
        if not hasattr(self.own, "cache"):
            s = self.shape
            size, places = s.width // s.heads, -(-(s.caption + TOKENS) // COLUMNS) * COLUMNS
            table = (BLOCK, s.layers, s.heads)
            self.own.cache = _Cache(
                keys=np.zeros((*table, places // COLUMNS, size // 4, 2, 16, 4), np.int8),
                key_step=np.zeros((*table, places), np.float32),
                key_shift=np.zeros((*table, places), np.float32),
                values=np.zeros((*table, size // COLUMNS, places // 4, 2, 16, 4), np.int8),
                value_step=np.zeros((*table, places), np.float32),
            )
        return self.own.cache

    def generate(
        self,
        words_BW: Tensor,
        uniform_BTQ: Tensor,
        temperature: float = 1.0,
        route: Route | None = None,
    ) -> Tensor:
        """As `TokenModel.generate`: words [B, 64]; padding must be at each caption's end.

        Raises ValueError on arrays of other shapes: the kernel reads what it is told is there.
        """
        self._check(words_BW, uniform_BTQ)
        route = self.route(words_BW) if route is None else route
        code = np.empty((len(words_BW), TOKENS), np.int64)
        given = (
            words_BW.numpy(),
            (words_BW > 0).sum(1).numpy(),
            route.index.numpy(),
            array(route.gain),
            array(uniform_BTQ),
            np.float32(temperature),
        )
        in_blocks(
            lambda first, n: _write(first, n, *given, self.net, self._cache(), self.levels, code),
            len(code),
        )
        return torch.from_numpy(code)


def in_blocks(work: Callable[[int, int], None], batch: int) -> None:
    """Calls work(first, n) for blocks of up to BLOCK images, on as many threads as numba has."""
    threads = numba.get_num_threads()
    size = min(BLOCK, max(1, -(-batch // threads)))
    blocks = [(first, min(size, batch - first)) for first in range(0, batch, size)]
    if threads == 1 or len(blocks) == 1:
        for block in blocks:
            work(*block)
        return
    list(_pool(threads).map(lambda block: work(*block), blocks))


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Kept, and with it what its threads keep."""
    return ThreadPoolExecutor(threads)


def _norm_of(norm: torch.nn.LayerNorm) -> np.ndarray:
    return np.stack([array(norm.weight), array(norm.bias)])


def array(tensor: Tensor) -> np.ndarray:
    """A tensor as contiguous float32."""
    return np.ascontiguousarray(tensor.detach().float().numpy())
