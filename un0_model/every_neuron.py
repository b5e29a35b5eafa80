"""The pool evaluated in full, as a dense layer is: what sparsity saves is measured against this.

Every neuron that was ever chosen is computed for every token, by the trunk's own kernels, and
counts by the gain that the gate gave it: 0 for all but the K that serve. Letters as in `tokens.py`;
C columns a layer, one for each neuron that was ever chosen and some that fill up a tile.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor

from un0_model.compiled import compiled
from un0_model.fused_gate import gated
from un0_model.fused_layers import Layers, linear
from un0_model.gate import Route
from un0_model.vnni import COLUMNS, pack

__all__ = ["EveryNeuron", "every_neuron", "gains", "serve"]


class EveryNeuron(NamedTuple):
    """All neurons as two integer layers a block, and the column of each, or -1: [L, N]."""

    read: Layers
    write: Layers
    column: np.ndarray


def every_neuron(pool: np.ndarray, scale: np.ndarray, chosen_LN: Tensor) -> EveryNeuron:
    """Packs the neurons that are true in `chosen_LN`; pool int8 [L, N, 2, D], scale [L, N]."""
    chosen = chosen_LN.numpy()
    layers, width = len(pool), pool.shape[-1]
    columns = -(-int(chosen.sum(1).max()) // COLUMNS) * COLUMNS
    column = np.where(chosen, chosen.cumsum(1) - 1, -1)
    rows = np.zeros((layers, columns, 2, width), np.int8)
    step = np.zeros((layers, columns), np.float32)
    for i, served in enumerate(chosen):
        rows[i, : served.sum()], step[i, : served.sum()] = pool[i, served], scale[i, served]
    read, write = rows[:, :, 0], rows[:, :, 1]
    return EveryNeuron(
        read=Layers(
            tiles=np.stack([pack(u.T) for u in read]),
            shift=128 * read.sum(2, dtype=np.int32),
            step=step,
            bias=np.zeros((layers, columns), np.float32),
        ),
        # a written row's step depends on its neuron: `gains` holds it
        write=Layers(
            tiles=np.stack([pack(v) for v in write]),
            shift=np.zeros((layers, width), np.int32),
            step=np.ones((layers, width), np.float32),
            bias=np.zeros((layers, width), np.float32),
        ),
        column=column,
    )


def gains(every: EveryNeuron, route: Route) -> np.ndarray:
    """What each column counts for each image, times its step: float32 [B, L, C], most of it 0.

    A neuron that was never chosen before has no column, and is left out.
    """
    index, gain = route.index.numpy(), route.gain.numpy()
    image, layer, _ = np.indices(index.shape)
    column = every.column[layer, index]
    known = (column >= 0) & (gain > 0)
    at = (image[known], layer[known], column[known])
    dense = np.zeros((*index.shape[:2], every.read.step.shape[1]), np.float32)
    dense[at] = gain[known] * every.read.step[at[1:]]
    return dense


@compiled
def serve(z, n, image, i, rows, gain, every, room, x):
    """Adds block i's neurons to n rows x, from what they read z; `image` is whose each row is.

    Without `every` those of rows [images, L, K, 2, D]; with it all, at gains [images, L, C].
    """
    if every is None:
        for b in range(n):
            gated(z[b], rows[image[b], i], gain[image[b], i], x[b])
    else:
        scratch, hidden, y = room
        linear(z, n, True, every.read, i, scratch, hidden)
        for b in range(n):
            for j in range(hidden.shape[1]):
                hidden[b, j] = max(hidden[b, j], np.float32(0.0)) * gain[image[b], i, j]
        linear(hidden, n, False, every.write, i, scratch, y)
        x[:n] += y[:n]
