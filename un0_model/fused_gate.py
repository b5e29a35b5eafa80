"""The gate hash-learned and the neurons it keeps; the reference is gate.HashLearned."""

from __future__ import annotations

import numpy as np

from un0_model import lanes
from un0_model.compiled import compiled
from un0_model.gate import mix
from un0_model.lanes import LANES

__all__ = ["choose", "gated", "gather", "gather_layers"]

_hash = compiled(mix)


@compiled
def _choose(words, count, embedding, gate, proposals, index, gain):
    """The gate for one caption: fills index and gain [L, K]; empty slots keep a gain of 0."""
    query, key, bias = gate
    layers, neurons, width_r = key.shape
    keep = index.shape[1]
    caption = np.zeros(embedding.shape[1], np.float32)
    for w in range(count):
        caption += embedding[words[w]]
    caption *= np.float32(8.0 / count)
    asked = np.zeros(width_r, np.float32)
    vectors = caption.shape[0] // LANES
    for r in range(width_r):
        row = query.ctypes.data + r * query.strides[0]
        asked[r] = lanes.dot(row, caption.ctypes.data, vectors)
    best = np.empty(keep, np.float32)
    for layer in range(layers):
        found = 0
        for f in range(2 * count - 1):
            feature = words[f] if f < count else words[f - count] * 4096 + words[f - count + 1]
            hashed = _hash(feature)
            for m in range(proposals):
                slot = layer * proposals + m + 1
                neuron = _hash(hashed + 0x9E3779 * slot) % neurons
                known = False
                for k in range(found):
                    known |= index[layer, k] == neuron
                row = key.ctypes.data + layer * key.strides[0] + neuron * key.strides[1]
                score = bias[layer, neuron] + lanes.dot(row, asked.ctypes.data, width_r // LANES)
                if known or (found == keep and score <= best[keep - 1]):
                    continue
                k = min(found, keep - 1)
                while k > 0 and best[k - 1] < score:
                    best[k], index[layer, k] = best[k - 1], index[layer, k - 1]
                    k -= 1
                best[k], index[layer, k] = score, neuron
                found = min(found + 1, keep)
        for k in range(found):
            odds = lanes.exp(-abs(best[k]))
            share = np.float32(1.0) if best[k] > 0 else odds
            gain[layer, k] = np.float32(2.0) * share / (np.float32(1.0) + odds)


@compiled
def choose(words, lengths, embedding, gate, proposals, index, gain):
    """Fills the route of every caption: index and gain [B, L, K]."""
    for b in range(words.shape[0]):
        _choose(words[b], lengths[b], embedding, gate, proposals, index[b], gain[b])


@compiled
def gather_layers(pool, scale, index, rows):
    """The chosen neurons of n images, float32 [n, L, K, 2, D], from pools int8 [L, N, 2, D]."""
    for b in range(index.shape[0]):
        for i in range(index.shape[1]):
            gather(pool[i], scale[i], index[b, i], rows[b, i])


@compiled
def gather(pool, scale, index, rows):
    """The chosen neurons as float32 [K, 2, D], from a pool int8 [N, 2, D] and its steps [N]."""
    for k in range(index.shape[0]):
        neuron = index[k]
        step = scale[neuron]
        for half in range(2):
            for j in range(pool.shape[2]):
                rows[k, half, j] = pool[neuron, half, j] * step


@compiled
def gated(y, rows, gain, x):
    """x += (relu(y U^T) * gain) V for one row of numbers; rows [K, 2, D] hold U and V."""
    read, vectors = rows.ctypes.data, y.shape[0] // LANES
    for k in range(rows.shape[0]):
        if gain[k] > 0:
            dot = lanes.dot(y.ctypes.data, read, vectors)
            if dot > 0:
                write = read + rows.strides[1]
                lanes.add(x.ctypes.data, dot * gain[k], write, vectors)
        read += rows.strides[0]
