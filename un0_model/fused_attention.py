"""Attention of a row over cached places by products of bytes; the reference is integer.attend."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from un0_model.compiled import apart, compiled
from un0_model.fused_layers import number, size
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
def _top(split, r, part, h):
    """The largest size of row r's numbers in split [rows, 3, A, S]."""
    most = np.int32(0)
    for j in range(split.shape[3]):
        most = max(most, size(split[r, part, h, j]))
    return number(most)


@compiled
def keep(split, n, image, at, i, cache, scratch):
    """Caches the keys and values of n rows of split [rows, 3, A, S], layer i.

    Row r is place at[r] of image[r].
    """
    eight = scratch[2]
    keys, key_step, key_shift, values, value_step = cache
    heads, width = split.shape[2:]
    for r in range(n):
        b, place = image[r], at[r]
        tile, four, half, lane = place >> 5, place >> 2, (place >> 4) & 1, place & 15
        shift = np.int32(8 * (place & 3))
        others = ~(np.int32(255) << shift)  # the three places that share a word with this one
        for h in range(heads):
            top, value_top = _top(split, r, 1, h), _top(split, r, 2, h)
            inverse, value_inverse = np.float32(127) / top, np.float32(127) / value_top
            total = np.int32(0)
            for j in range(width):
                eight[j] = np.int32(np.rint(split[r, 1, h, j] * inverse))
                total += eight[j]
            for j in range(width // 4):
                low = (eight[4 * j] & 255) | (eight[4 * j + 1] & 255) << 8
                high = (eight[4 * j + 2] & 255) | eight[4 * j + 3] << 8
                keys[b, i, h, tile, j, half, lane] = low | high << 16
            for j in range(width):
                eight[j] = (np.int32(np.rint(split[r, 2, h, j] * value_inverse)) & 255) << shift
            for part in range(width // COLUMNS):
                for v in range(2):
                    for j in range(16):
                        before = values[b, i, h, part, four, v, j] & others
                        new = eight[part * COLUMNS + v * 16 + j]
                        values[b, i, h, part, four, v, j] = before | new
            key_step[b, i, h, place] = top / np.float32(127)
            key_shift[b, i, h, place] = np.float32(128 * total)
            value_step[b, i, h, place] = value_top / np.float32(127)


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
    row_at, sums_at = row.ctypes.data, sums.ctypes.data
    keys_at, values_at = keys.ctypes.data, values.ctypes.data
    by_image, by_layer, by_head = keys.strides[:3]
    of_image, of_layer, of_head = values.strides[:3]
    by_tile, of_tile = keys.strides[3], values.strides[3]
    root = np.float32(1.0 / (127 * math.sqrt(width)))
    for r in range(n):
        b, known = image[r], count[r]
        tiles, fours = (known + COLUMNS - 1) // COLUMNS, (known + 3) // 4
        whole = tiles * COLUMNS
        for h in range(heads):
            top = _top(split, r, 0, h)
            inverse = np.float32(127) / top
            for j in range(width):
                row[j] = np.uint8(np.int32(np.rint(split[r, 0, h, j] * inverse)) + np.int32(128))
            head = keys_at + b * by_image + i * by_layer + h * by_head
            product(row_at, 0, 1, head, by_tile, tiles, width // 4, sums_at, 0, 0)
            scale = top * root
            for p in range(whole):
                exact = np.float32(sums[p]) - key_shift[b, i, h, p]
                weight[p] = exact * (scale * key_step[b, i, h, p])
            for p in range(known, whole):
                weight[p] = np.float32(-1e30)
            most = np.int32(-(2**31))
            for p in range(whole):
                most = max(most, _order(weight[p]))
            best = _order_of(most)
            total, most = np.float32(0), np.int32(0)
            for p in range(whole):
                weight[p] = _exp(weight[p] - best)
            for p in range(whole):
                total += weight[p]
            for p in range(whole):
                weight[p] *= value_step[b, i, h, p]
            for p in range(whole):
                most = max(most, size(weight[p]))
            top = number(most)
            inverse = np.float32(255) / top
            for p in range(whole):
                row[p] = np.uint8(np.int32(np.rint(weight[p] * inverse)))
            head = values_at + b * of_image + i * of_layer + h * of_head
            product(row_at, 0, 1, head, of_tile, width // COLUMNS, fours, sums_at, 0, 0)
            scale = top / (np.float32(255) * total)
            for j in range(width):
                out[r, h, j] = np.float32(sums[j]) * scale


@compiled
def _order(number):
    """A float32 as an int32 of the same order; its own inverse."""
    bits = np.float32(number).view(np.int32)
    return np.int32(bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF)))


@compiled
def _order_of(order):
    """The float32 of an `_order`."""
    return np.int32(order ^ ((order >> 31) & np.int32(0x7FFFFFFF))).view(np.float32)


@compiled
def _exp(x):
    """e^x to one part in a million, |x| < 62: a power of two and a polynomial, both vectorised.

    Below, 2^-90: a product with it is no denormal number, which would be slow.
    """
    t = min(max(x * np.float32(1.4426950408889634), np.float32(-90.0)), np.float32(90.0))
    whole = np.floor(t)
    f = t - whole
    p = f * np.float32(0.0018775767) + np.float32(0.0089893397)
    p = f * p + np.float32(0.055826318)
    p = f * p + np.float32(0.24015361)
    p = f * p + np.float32(0.69315308)
    p = f * p + np.float32(0.99999994)
    return p * np.int32((np.int32(whole) + 127) << 23).view(np.float32)
