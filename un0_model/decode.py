"""Words to pictures on a processor: the dictionary's decoder as one fused kernel of integers.

The first convolution is linear in the digits, so it is read from a table of whole numbers, 45
rows added a position; the rest are products of bytes over 8 x 8 and 16 x 16 positions, channels
last. The reference is `Dictionary.decode` after `freeze`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor

from un0_model.compiled import compiled
from un0_model.dictionary import LEVELS, SIDE, TOKENS, Decoder
from un0_model.fused_layers import Layers, array, finish, in_blocks, layers_of
from un0_model.integer import LEAST, Integer
from un0_model.vnni import multiply

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


@compiled
def _to_bytes(x, out):
    """Numbers of at least 0 to bytes in steps that the whole map shares, which is returned."""
    top = np.float32(LEAST)
    for b in range(x.shape[0]):
        for j in range(x.shape[1]):
            top = max(top, x[b, j])
    inverse = np.float32(255) / top
    for b in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[b, j] = np.uint8(np.rint(max(x[b, j], np.float32(0)) * inverse))
    return top / np.float32(255)


@compiled
def _around(x, side, out):
    """The 3 x 3 neighbours of every position of a map: bytes [side^2, C] to [side^2, 9 C]."""
    channels = x.shape[1]
    for row in range(side):
        for col in range(side):
            for k in range(9):
                near_row, near_col = row + k // 3 - 1, col + k % 3 - 1
                target = out[row * side + col, k * channels : (k + 1) * channels]
                if 0 <= near_row < side and 0 <= near_col < side:
                    target[:] = x[near_row * side + near_col]
                else:
                    target[:] = 0


@compiled
def _product(rows, layers, step, steps, sums, out):
    """out = the layer of rows of bytes whose steps are one."""
    n = rows.shape[0]
    steps[:n] = step
    multiply(rows, n, layers.tiles[0], sums)
    finish(sums, n, steps, layers, 0, out)


@compiled
def _decode(first, n, code, net, levels, images):
    """Fills images [first : first + n] of uint8 [B, 64, 64, 3]."""
    width, inner = net.step.shape[0], net.fine.bias.shape[1]
    hidden = net.hidden.bias.shape[1]
    fine_side, fine = 2 * SIDE, 4 * TOKENS
    for image in range(first, first + n):
        x, y = np.empty((TOKENS, width), np.float32), np.empty((TOKENS, width), np.float32)
        wide = np.empty((TOKENS, 4 * inner), np.float32)
        whole = np.zeros((TOKENS, width), np.int32)
        steps = np.empty(fine, np.float32)
        for t in range(TOKENS):
            left, row = code[image, t], net.table.shape[1]
            for q in range(levels.shape[0] - 1, -1, -1):
                row -= levels[q]
                at = row + left % levels[q]
                left //= levels[q]
                for k in range(9):  # offset k of a neighbour's kernel is this word, seen from there
                    near_row, near_col = t // SIDE + 1 - k // 3, t % SIDE + 1 - k % 3
                    if 0 <= near_row < SIDE and 0 <= near_col < SIDE:
                        near = near_row * SIDE + near_col
                        for j in range(width):
                            whole[near, j] += net.table[k, at, j]
        for t in range(TOKENS):
            for j in range(width):
                x[t, j] = max(np.float32(whole[t, j]) * net.step[j] + net.bias[j], np.float32(0))
        small = np.empty((TOKENS, width), np.uint8)
        around = np.empty((TOKENS, 9 * width), np.uint8)
        sums = np.empty((TOKENS, 4 * inner), np.int32)
        step = _to_bytes(x, small)
        _around(small, SIDE, around)
        _product(around, net.mix, step, steps, sums, y)
        x += y
        step = _to_bytes(x, small)
        _product(small, net.widen, step, steps, sums, wide)
        # each position's outputs are its four finer positions, channel by channel
        g, h = np.empty((fine, inner), np.float32), np.empty((fine, inner), np.float32)
        for t in range(TOKENS):
            for part in range(4):
                near = (2 * (t // SIDE) + part // 2) * fine_side + 2 * (t % SIDE) + part % 2
                for j in range(inner):
                    g[near, j] = max(wide[t, part * inner + j], np.float32(0))
        big, rows = np.empty((fine, inner), np.uint8), np.empty((fine, 9 * inner), np.uint8)
        total = np.empty((fine, hidden), np.int32)
        step = _to_bytes(g, big)
        _around(big, fine_side, rows)
        _product(rows, net.fine, step, steps, total, h)
        g += h
        step = _to_bytes(g, big)
        inside, bytes_in = np.empty((fine, hidden), np.float32), np.empty((fine, hidden), np.uint8)
        _product(big, net.hidden, step, steps, total, inside)
        step = _to_bytes(inside, bytes_in)
        pixels = np.empty((fine, PATCH), np.float32)
        _product(bytes_in, net.patch, step, steps, total, pixels)
        for p in range(fine):
            top, left = 4 * (p // fine_side), 4 * (p % fine_side)
            for dy in range(4):
                for j in range(12):
                    value = min(max(pixels[p, 12 * dy + j], np.float32(0)), np.float32(1))
                    shade = np.uint8(np.rint(value * np.float32(255)))
                    images[image, top + dy, left + j // 3, j % 3] = shade


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
        self.levels = np.array(LEVELS)

    def __call__(self, code_BT: Tensor) -> np.ndarray:
        """Words [B, 64] to images uint8 [B, 64, 64, 3], sRGB."""
        images = np.empty((len(code_BT), 64, 64, 3), np.uint8)
        in_blocks(
            lambda first, n: _decode(first, n, code_BT.numpy(), self.net, self.levels, images),
            len(images),
        )
        return images


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
