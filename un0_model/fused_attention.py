"""Attention of a row over cached places by products of bytes; the reference is integer.attend."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from un0_model import lanes
from un0_model.compiled import apart, compiled
from un0_model.fused_layers import top_of
from un0_model.integer import LEAST
from un0_model.lanes import LANES
from un0_model.tokens import Shape
from un0_model.vnni import COLUMNS, product

__all__ = ["Cache", "attend", "copy_places", "empty_cache", "keep"]


class Cache(NamedTuple):
    """Keys and values of some images' places, as the packed weights that a query multiplies.

    Letters: n images, L layers, A heads, S head size, P places; a step a place and head.
    """

    keys: np.ndarray  # int32 [n, L, A, P / 32, S / 4, 2, 16], four bytes: depth S, a column a place
    key_step: np.ndarray  # float32 [n, L, A, P]
    key_shift: np.ndarray  # 128 times a key's sum, exact in float32
    values: np.ndarray  # int32 [n, L, A, S / 32, P / 4, 2, 16], four bytes: depth P, columns S
    value_step: np.ndarray


def empty_cache(shape: Shape, images: int, places: int | None = None) -> Cache:
    """Room for so many images, no key or value in it; `places` None: for every place."""
    width = shape.width // shape.heads
    places = -(-(places or shape.caption + shape.written) // COLUMNS) * COLUMNS
    table = (images, shape.layers, shape.heads)
    return Cache(
        keys=np.zeros((*table, places // COLUMNS, width // 4, 2, 16), np.int32),
        key_step=np.zeros((*table, places), np.float32),
        key_shift=np.zeros((*table, places), np.float32),
        values=np.zeros((*table, width // COLUMNS, places // 4, 2, 16), np.int32),
        value_step=np.zeros((*table, places), np.float32),
    )


@compiled
def _head(array, b, i, h):
    """The address of one head's part."""
    return array.ctypes.data + b * array.strides[0] + i * array.strides[1] + h * array.strides[2]


@compiled
def keep(split, n, image, at, i, cache, scratch):
    """Caches the keys and values of n rows of split [rows, 3, A, S], layer i.

    Row r is place at[r] of image[r].
    """
    row = scratch[1]
    keys, key_step, key_shift, values, value_step = cache
    heads, width = split.shape[2:]
    split_at, row_at = split.ctypes.data, row.ctypes.data
    by_row, by_part, by_head = split.strides[:3]
    fours, vectors = row.view(np.int32), width // LANES
    for r in range(n):
        b, place = image[r], at[r]
        tile, four, half, lane = place >> 5, place >> 2, (place >> 4) & 1, place & 15
        for h in range(heads):
            key = split_at + r * by_row + by_part + h * by_head
            top = top_of(key, vectors)
            total = lanes.to_bytes(key, vectors, np.float32(127) / top, np.int32(0), row_at)
            for j in range(width // 4):
                keys[b, i, h, tile, j, half, lane] = fours[j]
            key_step[b, i, h, place] = top / np.float32(127)
            key_shift[b, i, h, place] = np.float32(128 * total)
            value = key + by_part
            top = top_of(value, vectors)
            value_step[b, i, h, place] = top / np.float32(127)
            head = _head(values, b, i, h)
            for part in range(width // COLUMNS):
                lanes.blend_bytes(
                    value + part * 4 * COLUMNS,
                    COLUMNS // LANES,
                    np.float32(127) / top,
                    np.int32(8 * (place & 3)),
                    head + part * values.strides[3] + four * values.strides[4],  # of 4 places
                )


@apart
def copy_places(source, a, target, b):
    """Image a's places of one cache into image b's of another, as many as both have."""
    tiles = min(source.keys.shape[3], target.keys.shape[3])
    places = tiles * COLUMNS
    for i in range(source.keys.shape[1]):
        for h in range(source.keys.shape[2]):
            tile = source.keys[a, i, h, 0].size
            _copy(source.keys[a, i, h].ravel(), target.keys[b, i, h].ravel(), tiles * tile)
            _copy(source.key_step[a, i, h], target.key_step[b, i, h], places)
            _copy(source.key_shift[a, i, h], target.key_shift[b, i, h], places)
            for part in range(source.values.shape[3]):
                these, those = source.values[a, i, h, part], target.values[b, i, h, part]
                _copy(these.ravel(), those.ravel(), places // 4 * these[0].size)
            _copy(source.value_step[a, i, h], target.value_step[b, i, h], places)


@apart
def _copy(source, target, count):
    for j in range(count):  # not a slice: that is slow to compile
        target[j] = source[j]


@compiled
def attend(split, n, image, count, i, cache, scratch, out):
    """Attention of n rows of split [rows, 3, A, S] in layer i; out [rows, A, S].

    Row r looks at the first count[r] places of image[r]. Whole tiles are computed: what is beyond
    the count gets no weight.
    """
    weight, row, sums = scratch
    keys, key_step, key_shift, values, value_step = cache
    heads, width = split.shape[2:]
    vectors = width // LANES
    weight_at, row_at, sums_at = weight.ctypes.data, row.ctypes.data, sums.ctypes.data
    split_at, out_at = split.ctypes.data, out.ctypes.data
    root = np.float32(1.0 / (127 * math.sqrt(width)))
    for r in range(n):
        b, known = image[r], count[r]
        tiles, fours = (known + COLUMNS - 1) // COLUMNS, (known + 3) // 4
        whole = tiles * (COLUMNS // LANES)
        for h in range(heads):
            query = split_at + r * split.strides[0] + h * split.strides[2]
            top = top_of(query, vectors)
            lanes.to_bytes(query, vectors, np.float32(127) / top, np.int32(128), row_at)
            head = _head(keys, b, i, h)
            product(row_at, 0, 1, head, keys.strides[3], tiles, width // 4, sums_at, 0, 0)
            shift, step = _head(key_shift, b, i, h), _head(key_step, b, i, h)
            best = lanes.scores(sums_at, shift, step, top * root, known, whole, weight_at)
            total, top = lanes.weigh(weight_at, best, _head(value_step, b, i, h), whole)
            top = max(top, np.float32(LEAST))
            lanes.to_bytes(weight_at, whole, np.float32(255) / top, np.int32(0), row_at)
            head, parts = _head(values, b, i, h), width // COLUMNS
            product(row_at, 0, 1, head, values.strides[3], parts, fours, sums_at, 0, 0)
            scale = top / (np.float32(255) * total)
            own = out_at + r * out.strides[0] + h * out.strides[1]
            lanes.scaled(sums_at, scale, vectors, own)
