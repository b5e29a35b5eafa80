"""Words to pictures on a processor: the dictionary's decoder as one fused kernel of integers.

The first convolution is linear in the digits, so it is read from a table of whole numbers, 45
rows added a position; the rest are products of bytes over 8 x 8 and 16 x 16 positions, channels
last. The reference is `Dictionary.decode` after `freeze`.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np
from torch import Tensor

from un0_model import lanes
from un0_model.compiled import compiled
from un0_model.dictionary import LEVELS, SIDE, TOKENS, Decoder
from un0_model.fused_layers import Layers, array, finish, in_blocks, layers_of, top_of
from un0_model.integer import Integer
from un0_model.lanes import LANES
from un0_model.vnni import DEPTH, multiply, product

__all__ = ["FusedDecoder"]

PATCH = 64  # outputs of the last layer: 4 x 4 pixels of three colours, and 16 that fill the tile


class _Net(NamedTuple):
    """What the decode kernel reads; table int16 [9, digits' levels, channels]."""

    table: np.ndarray
    step: np.ndarray
    bias: np.ndarray
    mix: Layers
    widen: Layers
    fine: Layers
    hidden: Layers
    patch: Layers


class _Room(NamedTuple):
    """What one thread works in, made once; a framed map has a border of zeros one position wide."""

    whole: np.ndarray  # int32 [64, C]
    coarse: np.ndarray  # float32 [64, C]
    coarse_change: np.ndarray  # float32 [64, C]
    wide: np.ndarray  # float32 [64, 4 C]
    fine: np.ndarray  # float32 [256, C]
    fine_change: np.ndarray  # float32 [256, C]
    inside: np.ndarray  # float32 [256, H]
    pixels: np.ndarray  # float32 [256, 64]
    framed: np.ndarray  # uint8 [100, C]
    plain: np.ndarray  # uint8 [64, C]
    fine_framed: np.ndarray  # uint8 [324, C]
    fine_plain: np.ndarray  # uint8 [256, C]
    inside_bytes: np.ndarray  # uint8 [256, H]
    shades: np.ndarray  # uint8 [256, 64]
    sums: np.ndarray  # int32 [256, 4 C]
    steps: np.ndarray  # float32 [256]


def _room(net: _Net) -> _Room:
    width, inner, hidden = len(net.step), net.fine.bias.shape[1], net.hidden.bias.shape[1]
    fine = 4 * TOKENS
    return _Room(
        whole=np.zeros((TOKENS, width), np.int32),
        coarse=np.zeros((TOKENS, width), np.float32),
        coarse_change=np.zeros((TOKENS, width), np.float32),
        wide=np.zeros((TOKENS, 4 * inner), np.float32),
        fine=np.zeros((fine, inner), np.float32),
        fine_change=np.zeros((fine, inner), np.float32),
        inside=np.zeros((fine, hidden), np.float32),
        pixels=np.zeros((fine, PATCH), np.float32),
        framed=np.zeros(((SIDE + 2) ** 2, width), np.uint8),
        plain=np.zeros((TOKENS, width), np.uint8),
        fine_framed=np.zeros(((2 * SIDE + 2) ** 2, inner), np.uint8),
        fine_plain=np.zeros((fine, inner), np.uint8),
        inside_bytes=np.zeros((fine, hidden), np.uint8),
        shades=np.zeros((fine, PATCH), np.uint8),
        sums=np.zeros((fine, max(4 * inner, hidden, PATCH)), np.int32),
        steps=np.zeros(fine, np.float32),
    )


@compiled
def _to_bytes(x, side, frame, out):
    """Numbers of at least 0, others made 0, to bytes in steps that the map shares; gives the step.

    x [side^2, C]; out [(side + 2 frame)^2, C].
    """
    rows, vectors = x.ctypes.data, x.shape[0] * x.shape[1] // LANES
    lanes.clip(rows, vectors, np.float32(np.inf))
    top = top_of(rows, vectors)
    inverse = np.float32(255) / top
    if frame == 0:
        lanes.to_bytes(rows, vectors, inverse, np.int32(0), out.ctypes.data)
    else:
        for row in range(side):
            at = out.ctypes.data + ((row + 1) * (side + 2) + 1) * out.strides[0]
            lanes.to_bytes(
                rows + row * side * x.strides[0], vectors // side, inverse, np.int32(0), at
            )
    return top / np.float32(255)


@compiled
def _around(framed, side, layers, step, room, out):
    """out [side^2, N] = the 3 x 3 convolution of a framed map of bytes whose steps are one.

    The three neighbours in a row of the map lie side by side: of one row of the map the
    positions are rows of a product that overlap.
    """
    tiles, sums = layers.tiles[0], room.sums
    depth = 3 * framed.shape[1] // DEPTH
    for row in range(side):
        for dy in range(3):
            product(
                framed.ctypes.data + (row + dy) * (side + 2) * framed.strides[0],
                framed.strides[0],
                side,
                tiles.ctypes.data + dy * depth * tiles.strides[1],
                tiles.strides[0],
                tiles.shape[0],
                depth,
                sums.ctypes.data + row * side * sums.strides[0],
                sums.strides[0],
                dy,
            )
    room.steps[: side * side] = step
    finish(sums, side * side, room.steps, layers, 0, out)


@compiled
def _each(rows, n, layers, step, room, out):
    """out [n, N] = a layer of each of n rows of bytes whose steps are one."""
    room.steps[:n] = step
    multiply(rows, n, layers.tiles[0], room.sums)
    finish(room.sums, n, room.steps, layers, 0, out)


@compiled
def _first(code, net, levels, whole):
    """The first convolution of an image's words, from the table: whole numbers [64, C]."""
    at = np.empty(5, np.int64)
    whole[:] = 0
    for t in range(TOKENS):
        left, row = code[t], net.table.shape[1]
        for q in range(4, -1, -1):
            row -= levels[q]
            at[q] = row + left % levels[q]
            left //= levels[q]
        a, b, c, d, e = at[0], at[1], at[2], at[3], at[4]
        for k in range(9):  # offset k of a neighbour's kernel is this word, seen from there
            near_row, near_col = t // SIDE + 1 - k // 3, t % SIDE + 1 - k % 3
            if 0 <= near_row < SIDE and 0 <= near_col < SIDE:
                near = near_row * SIDE + near_col
                for j in range(whole.shape[1]):
                    found = net.table[k, a, j] + net.table[k, b, j] + net.table[k, c, j]
                    whole[near, j] += np.int32(found + net.table[k, d, j] + net.table[k, e, j])


@compiled
def _decode(first, n, code, net, levels, room, images):
    """Fills images [first : first + n] of int32 [B, 64, 48], four bytes each."""
    fine_side, inner = 2 * SIDE, room.fine.shape[1]
    x, g, shades = room.coarse, room.fine, room.shades.view(np.int32)
    for image in range(first, first + n):
        _first(code[image], net, levels, room.whole)
        for t in range(TOKENS):
            for j in range(x.shape[1]):
                value = np.float32(room.whole[t, j]) * net.step[j] + net.bias[j]
                x[t, j] = max(value, np.float32(0))
        step = _to_bytes(x, SIDE, 1, room.framed)
        _around(room.framed, SIDE, net.mix, step, room, room.coarse_change)
        x += room.coarse_change
        step = _to_bytes(x, SIDE, 0, room.plain)
        _each(room.plain, TOKENS, net.widen, step, room, room.wide)
        # each position's outputs are its four finer positions, channel by channel
        for t in range(TOKENS):
            for part in range(4):
                near = (2 * (t // SIDE) + part // 2) * fine_side + 2 * (t % SIDE) + part % 2
                for j in range(inner):
                    g[near, j] = max(room.wide[t, part * inner + j], np.float32(0))
        step = _to_bytes(g, fine_side, 1, room.fine_framed)
        _around(room.fine_framed, fine_side, net.fine, step, room, room.fine_change)
        g += room.fine_change
        step = _to_bytes(g, fine_side, 0, room.fine_plain)
        _each(room.fine_plain, 4 * TOKENS, net.hidden, step, room, room.inside)
        step = _to_bytes(room.inside, fine_side, 0, room.inside_bytes)
        _each(room.inside_bytes, 4 * TOKENS, net.patch, step, room, room.pixels)
        pixels, vectors = room.pixels.ctypes.data, room.pixels.size // LANES
        lanes.clip(pixels, vectors, np.float32(1))
        lanes.to_bytes(pixels, vectors, np.float32(255), np.int32(0), room.shades.ctypes.data)
        for p in range(room.pixels.shape[0]):
            for dy in range(4):
                for j in range(3):  # four pixels of three colours
                    top, left = 4 * (p // fine_side) + dy, 3 * (p % fine_side) + j
                    images[image, top, left] = shades[p, 3 * dy + j]


class FusedDecoder:
    """A frozen decoder's weights, packed for the kernel."""

    def __init__(self, decoder: Decoder) -> None:
        first: Integer = decoder.first
        kernel = first.weight.numpy().astype(np.int16)  # [C, 5, 3, 3]
        table = [
            (2 * np.arange(n, dtype=np.int16) - (n - 1))[None, :, None]
            * kernel[:, q].reshape(len(kernel), 9).T[:, None, :]
            for q, n in enumerate(LEVELS)
        ]
        inner = len(decoder.fine.weight)
        # pixel_shuffle's order (channel, part) becomes (part, channel): runs of one position
        widen = decoder.widen.weight[:, :, 0, 0].view(inner, 4, -1).transpose(0, 1).flatten(0, 1)
        patch = decoder.patch.weight[:, :, 0, 0].view(3, 16, -1).transpose(0, 1).flatten(0, 1)
        self.net = _Net(
            table=np.concatenate(table, axis=1),
            step=array(first.step),
            bias=array(first.bias),
            mix=_convolution(decoder.mix),
            widen=_ordered(decoder.widen, widen, inner, 4),
            fine=_convolution(decoder.fine),
            hidden=layers_of([decoder.hidden], [decoder.hidden.weight[:, :, 0, 0].numpy().T]),
            patch=_ordered(decoder.patch, patch, 3, 16),
        )
        self.levels, self.own = np.array(LEVELS), threading.local()

    def _room(self) -> _Room:
        """This thread's room."""
        if not hasattr(self.own, "room"):
            self.own.room = _room(self.net)
        return self.own.room

    def __call__(self, code_BT: Tensor) -> np.ndarray:
        """Words [B, 64] to images uint8 [B, 64, 64, 3], sRGB."""
        images = np.empty((len(code_BT), 64, 48), np.int32)
        given = (code_BT.numpy(), self.net, self.levels)
        in_blocks(
            lambda first, n: _decode(first, n, *given, self._room(), images),
            len(images),
        )
        return images.view(np.uint8).reshape(-1, 64, 64, 3)


def _convolution(layer: Integer) -> Layers:
    """A 3 x 3 convolution as the product with a position's nine neighbours."""
    weight = layer.weight.permute(2, 3, 1, 0).flatten(0, 2)
    return layers_of([layer], [weight.numpy()])


def _ordered(layer: Integer, weight: Tensor, channels: int, parts: int) -> Layers:
    """A 1 x 1 convolution whose outputs go part by part, filled to whole tiles."""
    made = layers_of([layer], [np.pad(weight.numpy().T, ((0, 0), (0, -len(weight) % 32)))])
    step, bias = (
        np.pad(v.reshape(channels, parts).T.reshape(1, -1), ((0, 0), (0, -len(weight) % 32)))
        for v in (made.step, made.bias)
    )
    return made._replace(step=step, bias=bias)
