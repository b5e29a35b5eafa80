"""The token loop of `TokenModel.generate` as one fused CPU kernel: gate's rows, body, draw.

Images go through in blocks of up to BLOCK, one block a thread: a weight row is read once for all
images of a block, and nothing leaves the cache between layers. A caption's padding is never
computed, and an image's arithmetic does not depend on the batch it came in. Letters as in
`tokens.py`; every array is float32 and contiguous. The reference is `TokenModel.generate`.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from un0_model.dictionary import LEVELS, TOKENS, WORDS
from un0_model.gate import Route
from un0_model.tokens import TokenModel

__all__ = ["FusedTokens"]

BLOCK = 8
WIDEST = max(LEVELS)
_FAST: dict[str, Any] = {"fastmath": True, "cache": True, "error_model": "numpy"}


@njit(**_FAST)
def _linear(x, n, weight, bias, out):
    """out[:n] = x[:n] @ weight + bias; weight [in, out], four of its rows a pass."""
    width, height = weight.shape
    for b in range(n):
        out[b, :height] = bias
    for i in range(0, width, 4):
        w0, w1, w2, w3 = weight[i], weight[i + 1], weight[i + 2], weight[i + 3]
        for b in range(n):
            s0, s1, s2, s3 = x[b, i], x[b, i + 1], x[b, i + 2], x[b, i + 3]
            row = out[b]
            for j in range(height):
                row[j] += s0 * w0[j] + s1 * w1[j] + s2 * w2[j] + s3 * w3[j]


@njit(**_FAST)
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


@njit(**_FAST)
def _attend(query, keys, values, count, heads, weight, out):
    """One row's attention over `count` cached rows; keys, values [places, D]."""
    size = query.shape[0] // heads
    root = np.float32(1.0 / math.sqrt(size))
    for h in range(heads):
        first = h * size
        top = np.float32(-1e30)
        for p in range(count):
            dot = np.float32(0.0)
            for j in range(first, first + size):
                dot += query[j] * keys[p, j]
            weight[p] = dot * root
            top = max(top, weight[p])
        total = np.float32(0.0)
        for p in range(count):
            weight[p] = np.exp(weight[p] - top)
            total += weight[p]
        for j in range(first, first + size):
            out[j] = np.float32(0.0)
        for p in range(count):
            share = weight[p] / total
            for j in range(first, first + size):
                out[j] += share * values[p, j]


@njit(**_FAST)
def _gated(y, rows, gain, x):
    """x += (relu(y U^T) * gain) V for one image's row; rows [K, 2 D] hold U then V."""
    width = y.shape[0]
    for k in range(rows.shape[0]):
        dot = np.float32(0.0)
        for j in range(width):
            dot += y[j] * rows[k, j]
        if dot > 0 and gain[k] > 0:
            dot *= gain[k]
            for j in range(width):
                x[j] += dot * rows[k, width + j]


@njit(**_FAST)
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


@njit(parallel=True, **_FAST)
def _write(words, lengths, rows, gain, uniform, temperature, net, heads, levels, threads, code):
    """Fills code [B, 64]; `net` is the tuple of weights that FusedTokens packs."""
    (word, start, place, norm_a, qkv, qkv_b, out_w, out_b, norm_b, up, up_b, down, down_b) = net[0]
    norm, head, head_b, logits, logits_b, digits = net[1]
    batch, (layers, width) = words.shape[0], qkv.shape[:2]
    caption = words.shape[1]
    size = min(BLOCK, max(1, -(-batch // threads)))
    for block in prange(-(-batch // size)):
        first = block * size
        n = min(size, batch - first)
        keys = np.empty((n, layers, caption + TOKENS, width), np.float32)
        values = np.empty_like(keys)
        wide = max(n, caption)
        x, y = np.empty((wide, width), np.float32), np.empty((wide, width), np.float32)
        z = np.empty((wide, width), np.float32)
        triple = np.empty((wide, 3 * width), np.float32)
        hidden = np.empty((wide, up.shape[2]), np.float32)
        weight = np.empty(caption + TOKENS, np.float32)
        for b in range(n):  # captions: each reads its own words, all at once
            image, count = first + b, lengths[first + b]
            for p in range(count):
                x[p] = word[words[image, p]] + place[p]
            for i in range(layers):
                _norm(x, count, norm_a[i, 0], norm_a[i, 1], y)
                _linear(y, count, qkv[i], qkv_b[i], triple)
                for p in range(count):
                    keys[b, i, p] = triple[p, width : 2 * width]
                    values[b, i, p] = triple[p, 2 * width :]
                for p in range(count):
                    _attend(triple[p, :width], keys[b, i], values[b, i], count, heads, weight, z[p])
                _linear(z, count, out_w[i], out_b[i], y)
                x[:count] += y[:count]
                _norm(x, count, norm_b[i, 0], norm_b[i, 1], y)
                for p in range(count):
                    _gated(y[p], rows[image, i], gain[image, i], x[p])
                _linear(y, count, up[i], up_b[i], hidden)
                hidden[:count] = np.maximum(hidden[:count], np.float32(0.0))
                _linear(hidden, count, down[i], down_b[i], y)
                x[:count] += y[:count]
        for t in range(TOKENS):  # tokens: the block's images side by side
            for b in range(n):
                last = WORDS if t == 0 else code[first + b, t - 1]
                x[b] = start[last] + place[caption + t]
            for i in range(layers):
                _norm(x, n, norm_a[i, 0], norm_a[i, 1], y)
                _linear(y, n, qkv[i], qkv_b[i], triple)
                for b in range(n):
                    at = lengths[first + b] + t
                    keys[b, i, at] = triple[b, width : 2 * width]
                    values[b, i, at] = triple[b, 2 * width :]
                    _attend(
                        triple[b, :width], keys[b, i], values[b, i], at + 1, heads, weight, z[b]
                    )
                _linear(z, n, out_w[i], out_b[i], y)
                x[:n] += y[:n]
                _norm(x, n, norm_b[i, 0], norm_b[i, 1], y)
                for b in range(n):
                    _gated(y[b], rows[first + b, i], gain[first + b, i], x[b])
                _linear(y, n, up[i], up_b[i], hidden)
                hidden[:n] = np.maximum(hidden[:n], np.float32(0.0))
                _linear(hidden, n, down[i], down_b[i], y)
                x[:n] += y[:n]
            _norm(x, n, norm[0], norm[1], y)
            _linear(y, n, head, head_b, z)
            for b in range(n):
                code[first + b, t] = _draw(
                    z[b], logits, logits_b, digits, uniform[first + b, t], temperature, levels
                )


class FusedTokens:
    """A TokenModel's weights packed for the kernel; the model itself keeps the gate."""

    def __init__(self, model: TokenModel) -> None:
        self.model = model
        blocks = model.blocks

        def stack(*names: str) -> np.ndarray:
            return _array(torch.stack([_at(b, n) for b in blocks for n in names]))

        def linear(name: str) -> tuple[np.ndarray, np.ndarray]:
            weight = torch.stack([_at(b, f"{name}.weight").T for b in blocks])
            return _array(weight), stack(f"{name}.bias")

        def norm(name: str) -> np.ndarray:
            pairs = [
                torch.stack([_at(b, f"{name}.weight"), _at(b, f"{name}.bias")]) for b in blocks
            ]
            return _array(torch.stack(pairs))

        width = model.shape.width
        logits = np.zeros((len(LEVELS), WIDEST, width), np.float32)
        biases = np.zeros((len(LEVELS), WIDEST), np.float32)
        digits = np.zeros((len(LEVELS) - 1, WIDEST, width), np.float32)
        for q, layer in enumerate(model.logits):
            logits[q, : LEVELS[q]], biases[q, : LEVELS[q]] = (
                _array(layer.weight),
                _array(layer.bias),
            )
        for q, table in enumerate(model.digit):
            digits[q, : LEVELS[q]] = _array(table.weight)
        body = (
            *(_array(t) for t in (model.word.weight, model.code.weight, model.place)),
            norm("norm_a"),
            *linear("qkv"),
            *linear("out"),
            norm("norm_b"),
            *linear("up"),
            *linear("down"),
        )
        last = _array(torch.stack([model.norm.weight, model.norm.bias]))
        top = (last, _array(model.head.weight.T), _array(model.head.bias), logits, biases, digits)
        self.net = (body, top)
        self.levels = np.array(LEVELS)

    def generate(
        self,
        words_BW: Tensor,
        uniform_BTQ: Tensor,
        temperature: float = 1.0,
        route: Route | None = None,
    ) -> Tensor:
        """As `TokenModel.generate`: words [B, 64]; padding must be at each caption's end."""
        with torch.inference_mode():
            route = self.model.route(words_BW) if route is None else route
            rows = torch.stack(
                [b.gather(route.index[:, i]) for i, b in enumerate(self.model.blocks)], dim=1
            )
        code = np.empty((len(words_BW), TOKENS), np.int64)
        _write(
            words_BW.numpy(),
            (words_BW > 0).sum(1).numpy(),
            _array(rows),
            _array(route.gain),
            _array(uniform_BTQ),
            np.float32(temperature),
            self.net,
            self.model.shape.heads,
            self.levels,
            numba.get_num_threads(),
            code,
        )
        return torch.from_numpy(code)


def _at(module: torch.nn.Module, name: str) -> Tensor:
    return module.get_parameter(name).detach()


def _array(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().float().numpy())
