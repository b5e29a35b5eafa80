"""The gate: once per image, a hash proposes neurons and a learned score disposes.

Letters: B batch, W caption words (0 = padding), F features (words and neighbouring word pairs),
M proposals a feature, L layers, C = F * M candidates, N neurons a layer, K kept, R score width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["Gate", "Route", "propose"]


@dataclass(frozen=True, slots=True)
class Route:
    """Which neurons serve an image: index int64 [B, L, K], gain [B, L, K], 0 in empty slots."""

    index: Tensor
    gain: Tensor


def _mix(x: Tensor) -> Tensor:
    """Scrambles non-negative int64 (a xorshift-multiply hash of 31 bits, fixed for ever)."""
    x = (x ^ (x >> 16)) * 0x45D9F3B & 0x7FFFFFFF
    x = (x ^ (x >> 15)) * 0x2C1B3C6D & 0x7FFFFFFF
    return x ^ (x >> 16)


def propose(words_BW: Tensor, layers: int, neurons: int, proposals: int) -> Tensor:
    """Hashes caption words and neighbouring pairs to candidate neurons [B, L, C], -1 where none.

    A neuron proposed twice in a layer is kept once.
    """
    left, right = words_BW[:, :-1], words_BW[:, 1:]
    pairs = torch.where((left > 0) & (right > 0), left * 4096 + right, 0)
    features_BF = torch.cat([words_BW, pairs], dim=1)
    slot = torch.arange(layers * proposals, device=words_BW.device)
    hashed = _mix(_mix(features_BF)[:, :, None] + 0x9E3779 * (slot + 1)) % neurons
    hashed = torch.where(features_BF[:, :, None] > 0, hashed, -1)
    batch = words_BW.shape[0]
    ids = hashed.view(batch, -1, layers, proposals).transpose(1, 2).reshape(batch, layers, -1)
    ids = ids.sort(dim=-1, descending=True).values
    again = torch.zeros_like(ids, dtype=torch.bool)
    again[..., 1:] = ids[..., 1:] == ids[..., :-1]
    return torch.where(again, -1, ids)


class Gate(nn.Module):
    """score_i = key_i . W c + bias_i over candidates; the best K serve, gain 2 sigmoid(score)."""

    def __init__(
        self,
        *,
        layers: int,
        neurons: int,
        keep: int,
        proposals: int,
        width: int,
        score_width: int = 16,
    ) -> None:
        super().__init__()
        self.layers, self.neurons, self.keep, self.proposals = layers, neurons, keep, proposals
        self.query = nn.Linear(width, score_width, bias=False)
        self.key = nn.Parameter(torch.randn(layers, neurons, score_width) * score_width**-0.5)
        self.bias = nn.Parameter(torch.zeros(layers, neurons))

    def forward(self, words_BW: Tensor, caption_BD: Tensor, noise: Tensor | None = None) -> Route:
        """Routes each caption; `noise` [B, L, C] perturbs the choice (not the gain) in training."""
        candidates = propose(words_BW, self.layers, self.neurons, self.proposals)
        safe = candidates.clamp(min=0)
        layer = torch.arange(self.layers, device=safe.device)[None, :, None]
        flat = safe + layer * self.neurons
        keys = nn.functional.embedding(flat, self.key.flatten(0, 1))
        bias = nn.functional.embedding(flat, self.bias.view(-1, 1))[..., 0]
        score = torch.einsum("blcr,br->blc", keys, self.query(caption_BD)) + bias
        choice = score if noise is None else score + noise
        choice = choice.masked_fill(candidates < 0, float("-inf"))
        best = choice.topk(self.keep, dim=-1)
        gain = 2 * torch.sigmoid(score.gather(-1, best.indices))
        gain = gain.masked_fill(best.values == float("-inf"), 0.0)
        return Route(index=safe.gather(-1, best.indices), gain=gain)
