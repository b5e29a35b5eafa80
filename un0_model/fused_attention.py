"""Attention of a row over cached places by products of bytes; the reference is integer.attend."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from un0_model.compiled import compiled
from un0_model.dictionary import TOKENS
from un0_model.integer import LEAST
from un0_model.tokens import Shape
from un0_model.vnni import COLUMNS, product

__all__ = ["Cache", "attend", "empty_cache", "keep"]


class Cache(NamedTuple):
    """Keys and values of some images' places, as the packed weights that a query multiplies.

    Letters: n images, L layers, A heads, S head size, P places; a step a place and head.
    """

    keys: np.ndarray  # int8 [n, L, A, P / 32, S / 4, 2, 16, 4]: depth S, a column a place
    key_step: np.ndarray  # float32 [n, L, A, P]
    key_shift: np.ndarray  # 128 times a key's sum, exact in float32
    values: np.ndarray  # int8 [n, L, A, S / 32, P / 4, 2, 16, 4]: depth P, columns S
    value_step: np.ndarray


def empty_cache(shape: Shape, images: int) -> Cache:
    """Room for every place of so many images, no key or value in it."""
    size = shape.width // shape.heads
    places = -(-(shape.caption + TOKENS) // COLUMNS) * COLUMNS
    table = (images, shape.layers, shape.heads)
    return Cache(
        keys=np.zeros((*table, places // COLUMNS, size // 4, 2, 16, 4), np.int8),
        key_step=np.zeros((*table, places), np.float32),
        key_shift=np.zeros((*table, places), np.float32),
        values=np.zeros((*table, size // COLUMNS, places // 4, 2, 16, 4), np.int8),
        value_step=np.zeros((*table, places), np.float32),
    )


@compiled
def _top(split, r, part, h):
    """The largest size of row r's numbers in split [rows, 3, A, S]."""
    top = np.float32(LEAST)
    for j in range(split.shape[3]):
        top = max(top, abs(split[r, part, h, j]))
    return top


@compiled
def keep(split, r, at, b, i, cache):
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
def attend(split, r, count, b, i, cache, scratch, out):
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
