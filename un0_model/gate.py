"""The gate: once per image, which neurons serve. Kinds are chosen by name; hash-learned ships.

Letters: B batch, W caption words (0 = padding), F features (words and neighbouring word pairs),
M proposals a feature, L layers, C = F * M candidates, N neurons a layer, K kept, R score width.
Every kind learns through the gains of the neurons it chose: a gain is 2 sigmoid(score).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["GATES", "Gate", "HashLearned", "Route", "mix", "proposals_for", "propose"]


FEWEST, FEATURES = 4, 15  # proposals a feature; words and word pairs of a caption of 8 words


@dataclass(frozen=True, slots=True)
class Route:
    """Which neurons serve an image: index int64 [B, L, K], gain [B, L, K], 0 in empty slots."""

    index: Tensor
    gain: Tensor


def mix(x: Any) -> Any:
    """Scrambles non-negative int64, tensor or number: a xorshift-multiply hash, fixed for ever."""
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
    hashed = mix(mix(features_BF)[:, :, None] + 0x9E3779 * (slot + 1)) % neurons
    hashed = torch.where(features_BF[:, :, None] > 0, hashed, -1)
    batch = words_BW.shape[0]
    ids = hashed.view(batch, -1, layers, proposals).transpose(1, 2).reshape(batch, layers, -1)
    ids = ids.sort(dim=-1, descending=True).values
    again = torch.zeros_like(ids, dtype=torch.bool)
    again[..., 1:] = ids[..., 1:] == ids[..., :-1]
    return torch.where(again, -1, ids)


def proposals_for(keep: int) -> int:
    """Proposals a feature that give a caption of 8 words twice as many candidates as are kept."""
    return max(FEWEST, 2 * keep // FEATURES)


class Gate(nn.Module, ABC):
    """What all kinds share: sizes, and a bias a neuron."""

    def __init__(self, *, layers: int, neurons: int, keep: int, proposals: int, width: int) -> None:
        super().__init__()
        self.layers, self.neurons, self.keep, self.proposals = layers, neurons, keep, proposals
        self.width = width
        self.bias = nn.Parameter(torch.zeros(layers, neurons))

    @abstractmethod
    def forward(self, words_BW: Tensor, caption_BD: Tensor, noise: float = 0.0) -> Route:
        """Routes each caption; `noise` is the deviation that perturbs choices (not gains)."""

    @abstractmethod
    def touched(self, words_BW: Tensor) -> tuple[float, float]:
        """Multiply-adds of one image's decision, and parameters it reads, mean over captions."""

    def _of_layers(self, table_LN: Tensor, index_BLC: Tensor) -> Tensor:
        """Rows of a table [L, N, ...] at indices of each layer [B, L, C]."""
        layer = torch.arange(self.layers, device=index_BLC.device)[None, :, None]
        return F.embedding(index_BLC + layer * table_LN.shape[1], table_LN.flatten(0, 1))

    def _bias_of(self, index_BLC: Tensor) -> Tensor:
        return self._of_layers(self.bias[..., None], index_BLC)[..., 0]


class Hash(Gate):
    """The hash alone: of its candidates those serve that a second hash ranks first.

    Only the gain of a neuron is learned, by its bias.
    """

    def forward(self, words_BW: Tensor, caption_BD: Tensor, noise: float = 0.0) -> Route:
        index = propose(words_BW, self.layers, self.neurons, self.proposals)
        rank = torch.where(index < 0, -1, mix(index.clamp(min=0) + 0x51ED27))
        chosen = index.gather(-1, rank.topk(self.keep, dim=-1).indices)
        safe = chosen.clamp(min=0)
        gain = 2 * torch.sigmoid(self._bias_of(safe))
        return Route(index=safe, gain=gain.masked_fill(chosen < 0, 0.0))

    def touched(self, words_BW: Tensor) -> tuple[float, float]:
        return 0.0, float(self.layers * self.keep)


class Scored(Gate):
    """A gate that asks: keys are scored by a query of the caption, and the best K serve."""

    def __init__(self, *, score_width: int = 16, **sizes: int) -> None:
        super().__init__(**sizes)
        self.query = nn.Linear(self.width, score_width, bias=False)

    @abstractmethod
    def _scored(self, words_BW: Tensor) -> tuple[float, float]:
        """As `touched`, without the query."""

    def touched(self, words_BW: Tensor) -> tuple[float, float]:
        multiply_adds, read = self._scored(words_BW)
        return multiply_adds + self.query.weight.numel(), read + self.query.weight.numel()

    def _keys(self, *shape: int) -> nn.Parameter:
        """Random keys of R numbers, that many a layer."""
        r = self.query.out_features
        return nn.Parameter(torch.randn(self.layers, *shape, r) * r**-0.5)

    def _best(self, index_BLC: Tensor, score_BLC: Tensor, noise: float) -> Route:
        """The K candidates of the highest score; an index of -1 is none."""
        choice = _perturbed(score_BLC, noise).masked_fill(index_BLC < 0, float("-inf"))
        best = choice.topk(self.keep, dim=-1)
        gain = 2 * torch.sigmoid(score_BLC.gather(-1, best.indices))
        gain = gain.masked_fill(best.values == float("-inf"), 0.0)
        return Route(index=index_BLC.clamp(min=0).gather(-1, best.indices), gain=gain)


def _perturbed(score: Tensor, noise: float) -> Tensor:
    return score + noise * torch.randn_like(score) if noise else score


class HashLearned(Scored):
    """A hash proposes, a learned score disposes: score_i = key_i . W c + bias_i."""

    def __init__(self, **sizes: int) -> None:
        super().__init__(**sizes)
        self.key = self._keys(self.neurons)

    def forward(self, words_BW: Tensor, caption_BD: Tensor, noise: float = 0.0) -> Route:
        index = propose(words_BW, self.layers, self.neurons, self.proposals)
        safe = index.clamp(min=0)
        keys = self._of_layers(self.key, safe)
        score = torch.einsum("blcr,br->blc", keys, self.query(caption_BD))
        return self._best(index, score + self._bias_of(safe), noise)

    def _scored(self, words_BW: Tensor) -> tuple[float, float]:
        """Every proposal is scored, also of a neuron that is proposed twice."""
        r = self.query.out_features
        features = float((2 * (words_BW > 0).sum(1) - 1).float().mean())
        named = propose(words_BW, self.layers, self.neurons, self.proposals) >= 0
        return (
            features * self.layers * self.proposals * r,
            float(named.sum((1, 2)).float().mean()) * (r + 1),
        )


class Learned(Scored):
    """Every neuron is scored, and the best serve: the most a gate can know, and cost."""

    def __init__(self, **sizes: int) -> None:
        super().__init__(**sizes)
        self.key = self._keys(self.neurons)

    def forward(self, words_BW: Tensor, caption_BD: Tensor, noise: float = 0.0) -> Route:
        score = torch.einsum("lnr,br->bln", self.key, self.query(caption_BD)) + self.bias
        index = torch.arange(self.neurons, device=score.device).expand_as(score)
        return self._best(index, score, noise)

    def _scored(self, words_BW: Tensor) -> tuple[float, float]:
        keys = float(self.key.numel())
        return keys, keys + self.bias.numel()


class ProductKeys(Scored):
    """Two short lists of half keys, whose best K each span K x K candidates (Lample et al. 2019).

    Neuron i * columns + j has the score of row key i plus that of column key j plus its bias.
    """

    def __init__(self, **sizes: int) -> None:
        super().__init__(**sizes)
        self.rows = 2 ** (int(math.log2(self.neurons)) // 2)
        if self.neurons % self.rows:
            raise ValueError(f"{self.neurons} neurons are no product of {self.rows} rows")
        self.row_key, self.column_key = self._keys(self.rows), self._keys(self.columns)

    @property
    def columns(self) -> int:
        return self.neurons // self.rows

    def forward(self, words_BW: Tensor, caption_BD: Tensor, noise: float = 0.0) -> Route:
        query = self.query(caption_BD)
        halves = []
        for key in (self.row_key, self.column_key):
            score = torch.einsum("lnr,br->bln", key, query)
            choice = _perturbed(score, noise)
            index = choice.topk(min(self.keep, key.shape[1]), dim=-1).indices
            halves.append((index, score.gather(-1, index)))
        (row, of_row), (column, of_column) = halves
        index = (row[..., :, None] * self.columns + column[..., None, :]).flatten(2)
        score = (of_row[..., :, None] + of_column[..., None, :]).flatten(2)
        return self._best(index, score + self._bias_of(index), 0.0)

    def _scored(self, words_BW: Tensor) -> tuple[float, float]:
        keys = float(self.row_key.numel() + self.column_key.numel())
        return keys, keys + self.layers * min(self.keep, self.rows) * min(self.keep, self.columns)


class Tree(Scored):
    """K binary trees a layer: the sign of a node's score leads left or right, to one leaf a tree.

    The score of a leaf is the least sure decision on its way plus its bias (compare Belcak and
    Wattenhofer 2023): what was nearly decided otherwise counts little, and so is learned.
    """

    def __init__(self, **sizes: int) -> None:
        super().__init__(**sizes)
        self.depth = int(math.log2(self.neurons // self.keep))
        if self.keep * 2**self.depth != self.neurons:
            raise ValueError(f"{self.neurons} neurons are no {self.keep} trees of a power of two")
        self.node = self._keys(self.neurons)  # a tree's node 0 is unused, its root is node 1

    def forward(self, words_BW: Tensor, caption_BD: Tensor, noise: float = 0.0) -> Route:
        query, leaves = self.query(caption_BD), 2**self.depth
        shape = (len(words_BW), self.layers, self.keep)
        tree = torch.arange(self.keep, device=query.device) * leaves
        at = torch.ones(shape, dtype=torch.long, device=query.device)
        least = torch.full(shape, float("inf"), device=query.device)
        for _ in range(self.depth):
            score = torch.einsum("blkr,br->blk", self._of_layers(self.node, tree + at), query)
            choice = _perturbed(score, noise)
            least = torch.minimum(least, torch.where(choice > 0, score, -score))
            at = 2 * at + (choice > 0)
        index = tree + at - leaves
        score = least + self._bias_of(index)
        return Route(index=index, gain=2 * torch.sigmoid(score))

    def _scored(self, words_BW: Tensor) -> tuple[float, float]:
        nodes = float(self.layers * self.keep * self.depth * self.query.out_features)
        return nodes, nodes + self.layers * self.keep


class NoGate(Gate):
    """No pool to choose from: what a thin dense model of the same trunk has."""

    def forward(self, words_BW: Tensor, caption_BD: Tensor, noise: float = 0.0) -> Route:
        shape = (len(words_BW), self.layers, 0)
        return Route(index=words_BW.new_empty(shape), gain=caption_BD.new_empty(shape))

    def touched(self, words_BW: Tensor) -> tuple[float, float]:
        return 0.0, 0.0


GATES: dict[str, type[Gate]] = {
    "hash-learned": HashLearned,
    "hash": Hash,
    "learned": Learned,
    "product-keys": ProductKeys,
    "tree": Tree,
    "none": NoGate,
}
