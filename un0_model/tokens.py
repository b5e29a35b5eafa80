"""The token model: writes the 64 dictionary words of a picture, one after the other, in one pass.

Before them it may write a sketch: the words of the same picture made smaller.
Letters: B batch, W caption words, T tokens (sketch and picture), D width, A heads, L layers,
N pool neurons and K kept neurons a layer, Q = 5 digits of a dictionary word.
Each block is attention over caption and earlier tokens, a thin dense trunk, and K gated neurons
chosen once per image out of N: x += (relu(LN(x) U^T) * gain) V.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from un0_model.dictionary import LEVELS, TOKENS, code_of, digits_of
from un0_model.gate import GATES, Route
from un0_model.integer import attend, eight_bits, rounded

__all__ = ["PLAIN", "Sampling", "Shape", "TokenModel", "uniforms"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes of a token model; `as_dict` is what config.json holds."""

    vocabulary: int
    caption: int = 20
    width: int = 128
    heads: int = 4
    layers: int = 4
    trunk: int = 256
    neurons: int = 8192
    keep: int = 8
    proposals: int = 4
    gate: str = "hash-learned"
    sketch: int = 0

    @property
    def written(self) -> int:
        """Tokens of an image: its sketch and its 64 words."""
        return self.sketch + TOKENS

    def as_dict(self) -> dict[str, int | str]:
        return asdict(self)


class Sampling(NamedTuple):
    """How the value of a digit is drawn from its odds; numbers, or tensors of one.

    Where the likeliest value has more than `sure` of the odds they count as they are, but that
    values less likely than `rare` times the likeliest are left out: what is seldom there is where a
    thing begins (ADR 0027). Elsewhere `temperature` sharpens them, and those are left out that are
    less likely than `min_p` times the likeliest (Nguyen et al. 2024).
    """

    temperature: Any = 1.0
    min_p: Any = 0.0
    sure: Any = 1.0
    rare: Any = 0.0


PLAIN = Sampling()  # the odds as they are


class Block(nn.Module):
    """One layer; the pool's rows are U then V, interleaved: one contiguous read a neuron."""

    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.heads = s.heads
        self.norm_a, self.norm_b = nn.LayerNorm(s.width), nn.LayerNorm(s.width)
        self.qkv = nn.Linear(s.width, 3 * s.width)
        self.out = nn.Linear(s.width, s.width)
        self.up, self.down = nn.Linear(s.width, s.trunk), nn.Linear(s.trunk, s.width)
        self.pool = nn.Parameter(torch.randn(s.neurons, 2 * s.width) * s.width**-0.5)
        self.pool.data[:, s.width :].normal_(std=0.02)
        self.register_buffer("scale", None)

    @torch.no_grad()
    def silence(self) -> None:
        """Attention, trunk and pool write nothing from now on, until they are trained."""
        for part in (self.out.weight, self.out.bias, self.down.weight, self.down.bias):
            part.zero_()
        self.pool[:, self.pool.shape[1] // 2 :].zero_()

    @torch.no_grad()
    def ready(self) -> None:
        """Neurons that write nothing read something new at random, so that they can learn."""
        rows = ~self.learned
        read = self.pool[:, : self.pool.shape[1] // 2]
        read[rows] = torch.randn_like(read[rows]) * read.shape[1] ** -0.5

    @property
    def learned(self) -> Tensor:
        """Neurons that write anything: bool [N]."""
        return self.pool[:, self.pool.shape[1] // 2 :].any(1)

    def freeze(self) -> None:
        """Rounds trunk and pool to int8: what is shipped and what inference reads."""
        for name in ("qkv", "out", "up"):
            setattr(self, name, rounded(getattr(self, name), signed=True))
        self.down = rounded(self.down, signed=False)
        rows, step = eight_bits(self.pool)
        self.pool, self.scale = nn.Parameter(rows, requires_grad=False), step[:, None]

    def thaw(self) -> None:
        """Back to floats, to be trained on."""
        for name in ("qkv", "out", "up", "down"):
            setattr(self, name, getattr(self, name).thawed())
        self.pool, self.scale = nn.Parameter(self.pool.float() * self.scale), None

    def gather(self, index_BK: Tensor) -> Tensor:
        """The chosen rows [B, K, 2 D]: a small network that serves all tokens of an image."""
        rows = F.embedding(index_BK, self.pool)
        return rows if self.scale is None else rows.float() * F.embedding(index_BK, self.scale)

    def body(self, x: Tensor, rows_BKE: Tensor, gain_BK: Tensor) -> Tensor:
        """Trunk and gated neurons; x [B, T, D]."""
        y = self.norm_b(x)
        read, write = rows_BKE.chunk(2, dim=-1)
        active = F.relu(y @ read.transpose(1, 2)) * gain_BK[:, None, :]
        return x + self.down(F.relu(self.up(y))) + active @ write

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [B, A, T, D/A]."""
        shape = (x.shape[0], x.shape[1], 3, self.heads, -1)
        q, k, v = self.qkv(self.norm_a(x)).view(shape).permute(2, 0, 3, 1, 4)
        return q, k, v

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        """Attention's answer [B, A, T, D/A]; in 8 bits once the block is frozen."""
        if self.scale is not None:
            return attend(q, k, v, mask)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    def join(self, x: Tensor, heads: Tensor) -> Tensor:
        """Adds attention's answer [B, A, T, D/A] to x [B, T, D]."""
        return x + self.out(heads.transpose(1, 2).flatten(2))


class TokenModel(nn.Module):
    """p(word_t | caption, words before t), digit after digit."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        s = self.shape = shape
        self.word = nn.Embedding(s.vocabulary, s.width, padding_idx=0)
        self.code = nn.Embedding(sum(LEVELS) + 1, s.width)  # the last row starts a picture
        first = torch.tensor(LEVELS).cumsum(0) - torch.tensor(LEVELS)
        self.register_buffer("first", first, persistent=False)
        self.place = nn.Parameter(torch.randn(s.caption + s.written, s.width) * 0.02)
        self.gate = GATES[s.gate](
            layers=s.layers, neurons=s.neurons, keep=s.keep, proposals=s.proposals, width=s.width
        )
        self.blocks = nn.ModuleList(Block(s) for _ in range(s.layers))
        self.norm = nn.LayerNorm(s.width)
        self.head = nn.Linear(s.width, s.width)
        self.digit = nn.ModuleList(nn.Embedding(n, s.width) for n in LEVELS[:-1])
        self.logits = nn.ModuleList(nn.Linear(s.width, n) for n in LEVELS)
        for table in (self.word, self.code, *self.digit):
            nn.init.normal_(table.weight, std=0.02)

    def freeze(self) -> None:
        """Rounds the blocks and the head to 8-bit integers."""
        for block in self.blocks:
            block.freeze()
        self.head = rounded(self.head, signed=True)

    def thaw(self) -> None:
        """The rounded weights as floats again, to be trained on."""
        for block in self.blocks:
            block.thaw()
        self.head = self.head.thawed()

    def route(self, words_BW: Tensor, noise: float = 0.0) -> Route:
        """Gates once per image, from the mean of the caption's word vectors."""
        known = (words_BW > 0).float()
        caption = (self.word(words_BW) * known[..., None]).sum(1) / known.sum(1, keepdim=True)
        return self.gate(words_BW, caption * 8, noise)

    @property
    def start(self) -> Tensor:
        """What stands before the first token: [D]."""
        return self.code.weight[-1]

    def seen(self, digits: Tensor) -> Tensor:
        """Vectors [..., D] of dictionary words, the sum over their digits [..., Q]."""
        return self.code(digits + self.first).sum(-2)

    def loss(self, words_BW: Tensor, code_BT: Tensor, noise: float = 0.0) -> Tensor:
        """Mean cross-entropy in nats per token, teacher forced, all tokens in parallel."""
        digits = digits_of(code_BT)
        found = self.expected(words_BW, code_BT, noise)
        return torch.stack(
            [
                F.cross_entropy(logits.flatten(0, 1), digits[..., q].flatten())
                for q, logits in enumerate(found)
            ]
        ).sum()

    def expected(self, words_BW: Tensor, code_BT: Tensor, noise: float = 0.0) -> list[Tensor]:
        """Logits [B, T, level] of each digit, after the words and digits before it."""
        route = self.route(words_BW, noise)
        digits = digits_of(code_BT)
        before = torch.cat(
            [self.start.expand(len(code_BT), 1, -1), self.seen(digits[:, :-1])], dim=1
        )
        x = torch.cat([self.word(words_BW), before], dim=1) + self.place
        mask = self._mask(words_BW)
        for layer, block in enumerate(self.blocks):
            q, k, v = block.split(x)
            x = block.join(x, block.attend(q, k, v, mask))
            x = block.body(x, block.gather(route.index[:, layer]), route.gain[:, layer])
        u = self.head(self.norm(x[:, self.shape.caption :]))
        found = []
        for q, logits in enumerate(self.logits):
            found.append(logits(F.relu(u)).float())
            if q < len(self.digit):
                u = u + self.digit[q](digits[..., q])
        return found

    def _mask(self, words_BW: Tensor) -> Tensor:
        """True where a position may look: at known caption words and at tokens not after itself."""
        n = self.shape.caption + self.shape.written
        causal = torch.ones(n, n, dtype=torch.bool, device=words_BW.device).tril()
        causal[: self.shape.caption, : self.shape.caption] = True
        known = F.pad(words_BW > 0, (0, self.shape.written), value=True)
        return (causal & known[:, None, :])[:, None]

    @torch.inference_mode()
    def generate(
        self,
        words_BW: Tensor,
        uniform_BTQ: Tensor,
        sampling: Sampling = PLAIN,
        route: Route | None = None,
    ) -> Tensor:
        """Words [B, 64] drawn by inverse transform from uniform numbers in [0, 1): [B, T, 5].

        The caption is read once; then each token is computed once, with cached keys and values.
        `route` replays the gate's decision of an earlier pass.
        """
        route = self.route(words_BW) if route is None else route
        rows, cache = self.read(words_BW, route)
        code = words_BW.new_empty(len(words_BW), self.shape.written)
        before = self.start.expand(len(words_BW), -1)
        for t in range(self.shape.written):
            x = before + self.place[self.shape.caption + t]
            u, cache = self.step(x, words_BW, rows, route.gain, cache)
            digits = self.draw(u, uniform_BTQ[:, t], sampling)
            before, code[:, t] = self.seen(digits), code_of(digits)
        return code[:, self.shape.sketch :]

    def read(self, words_BW: Tensor, route: Route) -> tuple[list[Tensor], list[Tensor]]:
        """A layer each: neurons that serve [B, K, 2 D], and keys and values [2, B, A, W, D/A]."""
        rows = [b.gather(route.index[:, i]) for i, b in enumerate(self.blocks)]
        caption = self.shape.caption
        seen = self._mask(words_BW)[..., :caption, :caption]
        x, cache = self.word(words_BW) + self.place[:caption], []
        for i in range(self.shape.layers):
            x, kept = self._layer(i, x, rows[i], route.gain, None, seen)
            cache.append(kept)
        return rows, cache

    def step(
        self,
        x_BD: Tensor,
        words_BW: Tensor,
        rows: Sequence[Tensor],
        gain_BLK: Tensor,
        cache: Sequence[Tensor],
    ) -> tuple[Tensor, list[Tensor]]:
        """What the next word is drawn from [B, D], and keys and values with one place more."""
        written = cache[0].shape[3] - self.shape.caption + 1
        seen = F.pad(words_BW > 0, (0, written), value=True)[:, None, None]
        x, more = x_BD[:, None], []
        for i in range(self.shape.layers):
            x, kept = self._layer(i, x, rows[i], gain_BLK, cache[i], seen)
            more.append(kept)
        return self.head(self.norm(x[:, 0])), more

    def _layer(
        self,
        i: int,
        x: Tensor,
        rows_BKE: Tensor,
        gain_BLK: Tensor,
        before: Tensor | None,
        seen: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Block i at places x [B, T, D] after those `before`, and keys and values of all."""
        block = self.blocks[i]
        q, k, v = block.split(x)
        both = torch.stack([k, v])
        kept = both if before is None else torch.cat([before, both], dim=3)
        heads = block.attend(q, kept[0], kept[1], seen)
        return block.body(block.join(x, heads), rows_BKE, gain_BLK[:, i]), kept

    def draw(self, u_BD: Tensor, uniform_BQ: Tensor, sampling: Sampling) -> Tensor:
        """One dictionary word's digits [B, Q], one after the other."""
        u, digits = u_BD, []
        for q, logits in enumerate(self.logits):
            odds = logits(F.relu(u)).float()
            sure = odds.softmax(-1).amax(-1, keepdim=True) > sampling.sure
            p = (odds / torch.where(sure, 1.0, sampling.temperature)).softmax(-1)
            least = torch.where(sure, sampling.rare, sampling.min_p) * p.amax(-1, keepdim=True)
            p = p.masked_fill(p < least, 0.0).cumsum(-1)
            drawn = (p <= uniform_BQ[:, q : q + 1] * p[:, -1:]).sum(-1).clamp(max=LEVELS[q] - 1)
            digits.append(drawn)
            if q < len(self.digit):
                u = u + self.digit[q](drawn)
        return torch.stack(digits, dim=-1)


def uniforms(seeds: Sequence[int], tokens: int = TOKENS) -> Tensor:
    """Uniform numbers [B, T, 5] from each request's own seed: the same in any batch.

    SplitMix64 (Steele et al. 2014) counted from the seed: its top 24 bits, as a float32 in [0, 1).
    """
    count = np.arange(1, tokens * len(LEVELS) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x = np.array(seeds, dtype=np.uint64)[:, None] + count
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x = (x ^ (x >> np.uint64(31))) >> np.uint64(40)
    return torch.from_numpy((x * 2.0**-24).astype(np.float32).reshape(-1, tokens, len(LEVELS)))
