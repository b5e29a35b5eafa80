"""Leaving the denoiser before its last block, image by image.

After a block an exit head predicts the state after the last one, by a linear map fitted in closed
form (after Belrose et al. 2023); an image whose prediction has settled leaves with it (the measure
of Schuster et al. 2022), and the remaining blocks are evaluated for the others alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.errors import ConfigError
from suites.proc.train import draw_batch

__all__ = ["EarlyExit"]

BATCH = 16  # captions drawn at once


class EarlyExit:
    """For a transformer whose `transformer_blocks` each return the state [B, tokens, width].

    An image leaves after a block, the second that has a head at the earliest, where its prediction
    has changed by less than `tolerance`, relative to its norm, since the head before. Heads stand
    behind the blocks from `first` to `last`, counted from 1; `last` is the last but one unless it
    is given. With guidance an image with its caption and without is two. Each decides for itself,
    so a picture depends on its batch by rounding alone.
    Heads are fitted on what `captions` captions of the training split pass through, `ridge` being
    relative to the mean square of a channel; as many others are drawn to tell what is left out.
    """

    def __init__(
        self,
        *,
        tolerance: float,
        first: int = 1,
        last: int | None = None,
        captions: int = 32,
        ridge: float = 1e-4,
    ) -> None:
        if not tolerance >= 0:
            raise ConfigError(f"EarlyExit tolerance={tolerance}; it is 0 or more.")
        self.tolerance, self.first, self.last = tolerance, first, last
        self.captions, self.ridge = captions, ridge

    def apply(self, pipeline: Any, draw: Callable[[Sequence[str]], object]) -> Mapping[str, Any]:
        """Raises ConfigError: a denoiser without such blocks, or not two heads before its last.

        `blocks_evaluated` is a share of all; `left_after` counts images by the block they left
        after, the last among them.
        """
        denoiser: Any = getattr(pipeline, "transformer", None)
        blocks = getattr(denoiser, "transformer_blocks", ())
        last = max(len(blocks) - 1, 0) if self.last is None else self.last
        if not 0 < self.first < last < len(blocks):
            raise ConfigError(
                f"EarlyExit first={self.first} last={last}: from 1 to {len(blocks) - 1} can have "
                f"heads in {type(pipeline).__name__}, and two of them must."
            )
        texts = draw_batch(np.random.default_rng(0), 2 * self.captions)[1]
        heads = self._fitted(blocks, last, lambda: _draw(draw, texts[: self.captions]))
        exits = _Exits(blocks, heads, self.tolerance)
        denoiser.transformer_blocks = nn.ModuleList([exits])
        _draw(draw, texts[self.captions :])
        left, depths = exits.left, range(1, len(blocks) + 1)
        evaluated = sum(depth * left[depth] for depth in depths) / (len(blocks) * sum(left))
        return {
            "tolerance": self.tolerance,
            "first": self.first,
            "last": last,
            "captions": self.captions,
            "ridge": self.ridge,
            "blocks_evaluated": round(evaluated, 4),
            "left_after": {str(depth): left[depth] for depth in depths if left[depth]},
        }

    def _fitted(
        self, blocks: nn.ModuleList, last: int, draw: Callable[[], object]
    ) -> dict[int, nn.Linear]:
        """A head for each exit, by the number of blocks before it."""
        seen = {depth: _Squares() for depth in range(self.first, last + 1)}
        states: dict[int, Tensor] = {}

        def keep(depth: int, state: Any) -> None:
            if not isinstance(state, Tensor):
                raise ConfigError("EarlyExit is for blocks that return one tensor.")
            states[depth] = state
            if depth == len(blocks):
                for exit, squares in seen.items():
                    squares.add(states[exit], state)

        handles = [
            block.register_forward_hook(lambda *told, depth=depth: keep(depth, told[-1]))
            for depth, block in enumerate(blocks, 1)
            if depth >= self.first
        ]
        try:
            draw()
        finally:
            for handle in handles:
                handle.remove()
        return {depth: squares.head(self.ridge) for depth, squares in seen.items()}


class _Squares:
    """Sums of products of tokens [n, width], from which their linear map follows."""

    def __init__(self) -> None:
        self.given = self.asked = torch.zeros(())

    def add(self, state: Tensor, last: Tensor) -> None:
        """Takes the tokens after a block and after the last one."""
        self.like = last
        x = F.pad(state.flatten(0, -2).double(), (0, 1), value=1.0)
        self.given = self.given + x.T @ x
        self.asked = self.asked + x.T @ last.flatten(0, -2).double()

    def head(self, ridge: float) -> nn.Linear:
        """The linear map that errs least in the mean square, plus `ridge` times its own."""
        mean = self.given.diagonal()[:-1].mean()
        penalty = ridge * mean * torch.eye(len(self.given)).to(self.given)
        found = torch.linalg.solve(self.given + penalty, self.asked).to(self.like)
        head = nn.Linear(len(found) - 1, found.shape[1]).to(self.like)
        head.requires_grad_(False)
        head.weight.copy_(found[:-1].T)
        head.bias.copy_(found[-1])
        return head


class _Exits(nn.Module):
    """All blocks as one that images leave early; counts where they left."""

    def __init__(
        self, blocks: nn.ModuleList, heads: Mapping[int, nn.Linear], tolerance: float
    ) -> None:
        super().__init__()
        self.blocks, self.tolerance = blocks, tolerance
        self.heads = nn.ModuleDict({str(depth): head for depth, head in heads.items()})
        self.left = [0] * (len(blocks) + 1)

    def forward(self, hidden_states: Tensor, *arguments: Any, **keywords: Any) -> Tensor:
        state, before = hidden_states, None
        final = torch.empty_like(state)
        rows = torch.arange(len(state), device=state.device)
        for depth, block in enumerate(self.blocks, 1):
            state = block(state, *arguments, **keywords)
            if str(depth) not in self.heads:
                continue
            guess = self.heads[str(depth)](state)
            if before is not None:
                change = (guess - before).flatten(1).float().norm(dim=1)
                stays = change >= self.tolerance * guess.flatten(1).float().norm(dim=1)
                left = ~stays
                if left.any():
                    final[rows[left]] = guess[left]
                    self.left[depth] += int(left.sum())
                    arguments = tuple(_rows(value, stays) for value in arguments)
                    keywords = {key: _rows(value, stays) for key, value in keywords.items()}
                    rows, state, guess = rows[stays], state[stays], guess[stays]
                    if not len(rows):
                        return final
            before = guess
        final[rows] = state
        self.left[-1] += len(rows)
        return final


def _rows(value: Any, stays: Tensor) -> Any:
    """What an argument is for the images that stay, where it has a row for each."""
    batched = isinstance(value, Tensor) and value.ndim > 0 and len(value) == len(stays)
    return value[stays] if batched else value


def _draw(draw: Callable[[Sequence[str]], object], texts: Sequence[str]) -> None:
    for first in range(0, len(texts), BATCH):
        draw(texts[first : first + BATCH])
