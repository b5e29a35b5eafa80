"""The pool evaluated in full, as a dense layer is: what sparsity saves is measured against this.

Every neuron that was ever chosen is computed for every token, by the trunk's own kernels, and
counts by the gain that the gate gave it: 0 for all but the K that serve. Letters as in `tokens.py`;
C columns of the widest layer; a layer has one for each neuron ever chosen, and fills up its tiles.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor

from un0_model.compiled import compiled
from un0_model.fused_gate import gated
from un0_model.fused_layers import Layers, add, linear
from un0_model.gate import Route
from un0_model.vnni import COLUMNS, pack

__all__ = ["EveryNeuron", "counts", "every_neuron", "serve", "widest"]


class EveryNeuron(NamedTuple):
    """The neurons of each block as two integer layers; of each neuron [L, N] its column there, or
    -1, and its step.
    """

    read: tuple[Layers, ...]
    write: tuple[Layers, ...]
    column: np.ndarray
    step: np.ndarray

    @property
    def widths(self) -> list[int]:
        """How many each block computes."""
        return [layer.step.shape[1] for layer in self.read]


def every_neuron(pool: np.ndarray, scale: np.ndarray, chosen_LN: Tensor) -> EveryNeuron:
    """Packs the neurons that are true in `chosen_LN`; pool int8 [L, N, 2, D], scale [L, N]."""
    chosen, width = chosen_LN.numpy(), pool.shape[-1]
    read, write = [], []
    for i, some in enumerate(chosen):
        count = int(some.sum())
        filled = max(1, -(-count // COLUMNS)) * COLUMNS
        rows, step = np.zeros((filled, 2, width), np.int8), np.zeros(filled, np.float32)
        rows[:count], step[:count] = pool[i, some], scale[i, some]
        read.append(_layer(rows[:, 0].T, 128, step))
        # a row that is written has its neuron's step, which `counts` holds
        write.append(_layer(rows[:, 1], 0, np.ones(width, np.float32)))
    column = np.where(chosen, chosen.cumsum(1) - 1, -1)
    return EveryNeuron(read=tuple(read), write=tuple(write), column=column, step=scale)


def _layer(weight: np.ndarray, zero: int, step: np.ndarray) -> Layers:
    """Packs int8 [K, N] whose inputs stand `zero` too high, without a bias."""
    shift = zero * weight.sum(0, dtype=np.int32)
    return Layers(
        tiles=pack(weight)[None], shift=shift[None], step=step[None], bias=np.zeros_like(step)[None]
    )


def counts(every: EveryNeuron, route: Route) -> tuple[np.ndarray, np.ndarray]:
    """What each column counts for each image, times its step, float32 [B, L, C], most of it 0; and
    the gains [B, L, K] of what has no column, because no caption chose it before.
    """
    index, gain = route.index.numpy(), route.gain.numpy()
    image, layer, _ = np.indices(index.shape)
    column = every.column[layer, index]
    known = (column >= 0) & (gain > 0)
    dense = np.zeros((*index.shape[:2], max(every.widths)), np.float32)
    dense[image[known], layer[known], column[known]] = (gain * every.step[layer, index])[known]
    return dense, np.where(known, np.float32(0.0), gain)


@compiled
def widest(pool):
    """Of the widest layer; 1 where the pool is not evaluated."""
    if pool is None:
        return 1
    return pool[1].shape[2]


@compiled
def serve(z, n, image, i, rows, gain, pool, room, x):
    """Adds block i's neurons to n rows x, from what they read z; `image` is whose each row is.

    Those of rows [images, L, K, 2, D] at their gains; and all, where `pool` holds them and what
    each counts for each image [images, L, C].
    """
    for b in range(n):
        gated(z[b], rows[image[b], i], gain[image[b], i], x[b])
    if pool is not None:
        every, counted = pool
        scratch, active, y = room
        width = every.read[i].step.shape[1]
        hidden = active.ravel()[: n * width].reshape(n, width)
        linear(z, n, True, every.read[i], 0, scratch, hidden)
        for b in range(n):
            mine, own = counted[image[b], i], hidden[b]
            for j in range(width):
                own[j] = max(own[j], np.float32(0.0)) * mine[j]
        linear(hidden, n, False, every.write[i], 0, scratch, y)
        for b in range(n):
            add(x[b], y[b])
