"""What both kernels are made of: layers of 8-bit integers, norms, blocks of images on threads."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numba
import numpy as np
from torch import Tensor, nn

from un0_model import lanes
from un0_model.compiled import compiled
from un0_model.integer import LEAST, Integer
from un0_model.lanes import LANES
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
    "top_of",
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
def top_of(row, vectors):
    """The largest size of a row's numbers, at least LEAST."""
    return max(lanes.largest(row, vectors), np.float32(LEAST))


@compiled
def _round_rows(x, n, signed, out, step):
    """Rows x[:n] to bytes: whole steps, 128 added where they are signed."""
    limit = np.float32(127) if signed else np.float32(255)
    zero = np.int32(128) if signed else np.int32(0)
    row, vectors = x.ctypes.data, x.shape[1] // LANES
    for b in range(n):
        top = top_of(row, vectors)
        step[b] = top / limit
        lanes.to_bytes(row, vectors, limit / top, zero, out.ctypes.data + b * out.strides[0])
        row += x.strides[0]


@compiled
def finish(sums, n, step, layers, i, out):
    """Exact sums [n, N or more] to numbers, by the steps of rows and outputs: out [n, N]."""
    shift = layers.shift.ctypes.data + i * layers.shift.strides[0]
    weight_step = layers.step.ctypes.data + i * layers.step.strides[0]
    bias = layers.bias.ctypes.data + i * layers.bias.strides[0]
    row, to, vectors = sums.ctypes.data, out.ctypes.data, out.shape[1] // LANES
    for b in range(n):
        lanes.finish(row, shift, weight_step, bias, step[b], vectors, to)
        row += sums.strides[0]
        to += out.strides[0]


@compiled
def linear(x, n, signed, layers, i, scratch, out):
    """out[:n] = layer i of x[:n]."""
    rows, sums, step = scratch
    _round_rows(x, n, signed, rows, step)
    multiply(rows, n, layers.tiles[i], sums)
    finish(sums, n, step, layers, i, out)


@compiled
def add(row, more):
    """row[:] += more, contiguous rows."""
    vectors = row.shape[0] // LANES
    lanes.add(row.ctypes.data, np.float32(1), more.ctypes.data, vectors)


@compiled
def norm(x, n, gain, shift, out):
    """LayerNorm of n rows, epsilon 1e-5 as in torch."""
    row, to, vectors = x.ctypes.data, out.ctypes.data, gain.shape[0] // LANES
    for _ in range(n):
        lanes.norm(row, gain.ctypes.data, shift.ctypes.data, vectors, to)
        row += x.strides[0]
        to += out.strides[0]


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
