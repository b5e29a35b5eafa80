"""What both kernels are made of: layers of 8-bit integers, norms, blocks of images on threads."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numba
import numpy as np
from torch import Tensor, nn

from un0_model.compiled import compiled
from un0_model.integer import LEAST, Integer
from un0_model.vnni import multiply, pack

__all__ = [
    "BLOCK",
    "Layers",
    "add",
    "array",
    "finish",
    "in_blocks",
    "layers_of",
    "linear",
    "norm",
    "norm_of",
    "number",
    "size",
]

BLOCK = 8  # images that share a weight's read


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
def size(number):
    """|number| of a float32 as an int32 of the same order: a maximum of these is vectorised."""
    return np.int32(np.float32(number).view(np.int32) & np.int32(0x7FFFFFFF))


@compiled
def number(size):
    """The float32 of a `size`, at least LEAST."""
    return max(np.int32(size).view(np.float32), np.float32(LEAST))


@compiled
def _round_rows(x, n, signed, out, step):
    """Rows x[:n] to bytes: whole steps, 128 added where they are signed."""
    limit = np.float32(127) if signed else np.float32(255)
    zero = np.int32(128) if signed else np.int32(0)
    for b in range(n):
        most = np.int32(0)
        for j in range(x.shape[1]):
            most = max(most, size(x[b, j]))
        top = number(most)
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
def linear(x, n, signed, layers, i, scratch, out):
    """out[:n] = layer i of x[:n]."""
    rows, sums, step = scratch
    _round_rows(x, n, signed, rows, step)
    multiply(rows, n, layers.tiles[i], sums)
    finish(sums, n, step, layers, i, out)


@compiled
def add(row, more):
    """row[:] += more; a loop, because numba compiles slices slowly."""
    for j in range(row.shape[0]):
        row[j] += more[j]


@compiled
def norm(x, n, gain, shift, out):
    """LayerNorm of n rows, epsilon 1e-5 as in torch."""
    width = gain.shape[0]
    share = np.float32(1.0 / width)
    for b in range(n):
        total = np.float32(0.0)
        for j in range(width):
            total += x[b, j]
        mean = total * share
        spread = np.float32(0.0)
        for j in range(width):
            off = x[b, j] - mean
            spread += off * off
        scale = np.float32(1.0) / np.sqrt(spread * share + np.float32(1e-5))
        for j in range(width):
            out[b, j] = (x[b, j] - mean) * scale * gain[j] + shift[j]


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


def norm_of(layer: nn.LayerNorm) -> np.ndarray:
    """Its gain and shift [2, D]."""
    return np.stack([array(layer.weight), array(layer.bias)])


def array(tensor: Tensor) -> np.ndarray:
    """A tensor as contiguous float32."""
    return np.ascontiguousarray(tensor.detach().float().numpy())
