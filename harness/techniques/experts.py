"""Mixture of experts in a dense denoiser: its feed-forward neurons in groups, a few groups a token.

As MoEfication does (Zhang et al. 2022): neurons that work together become an expert, and a router
picks for each token the experts that would add most. Here the router is linear and fitted in closed
form, so nothing is trained.

Letters: B images, T tokens, D width, N neurons, E experts, P rows of the first matrix a neuron, S
tokens that were seen, F what a neuron is described by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from diffusers.models.attention import FeedForward
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from harness.errors import ConfigError
from un0_model.feedforward import Deciding, Neurons, feed_forwards, put, ridge, table, watch

__all__ = ["Experts", "Routed", "balanced_groups"]

CAPTIONS, SEED = 48, 0
EVEN = 64  # an expert's tokens come to a multiple of it: each new number takes a new kernel
A_PASS, DESCRIBED_BY, ROUNDS = 128, 3000, 10  # tokens taken of a pass, and that tell neurons apart


class Routed(Deciding):
    """A feed-forward layer in which every token is served by `top` of its experts."""

    def __init__(self, neurons: Neurons, groups: Tensor, router: tuple[Tensor, Tensor], top: int):
        super().__init__()
        self.top, self.activation = top, neurons.activation
        up, up_bias = neurons.up[:, groups], neurons.up_bias[:, groups]  # [P, E, N / E, ...]
        self.up = table(up.transpose(0, 1).flatten(1, 2))
        self.up_bias = table(up_bias.transpose(0, 1).flatten(1, 2))
        self.down = table(neurons.down[groups])
        self.bias = table(neurons.bias)
        self.router, self.router_bias = (table(part.to(neurons.up)) for part in router)

    def decide(self, x_BTD: Tensor) -> tuple[Tensor, list[int]]:
        """The tokens that each expert serves, int64 [B T top], expert by expert, and how many."""
        scores = F.linear(x_BTD.flatten(0, -2), self.router, self.router_bias)
        chosen = torch.zeros_like(scores, dtype=torch.bool)
        chosen.scatter_(1, scores.topk(self.top, dim=1, sorted=False).indices, True)
        by_expert = chosen.T.contiguous()
        return by_expert.nonzero()[:, 1].contiguous(), by_expert.sum(1).tolist()

    def gather(
        self, x_BTD: Tensor, decision: tuple[Tensor, list[int]]
    ) -> tuple[Tensor, Tensor, list[int]]:
        """The tokens themselves [B T top, D], beside their places."""
        places, counts = decision
        return x_BTD.flatten(0, -2).index_select(0, places), places, counts

    def serve(self, x_BTD: Tensor, gathered: tuple[Tensor, Tensor, list[int]]) -> Tensor:
        tokens, places, counts = gathered
        added, first = [], 0
        for expert, count in enumerate(counts):
            rows = min(-(-count // EVEN) * EVEN, len(tokens))
            start = min(first, len(tokens) - rows)
            own = F.linear(tokens[start:][:rows], self.up[expert], self.up_bias[expert])
            added.append((self.activation(own) @ self.down[expert])[first - start :][:count])
            first += count
        out = self.bias.repeat(x_BTD.shape[:-1].numel(), 1)
        return out.index_add_(0, places, torch.cat(added)).unflatten(0, x_BTD.shape[:-1])


class Experts:
    """Splits each FeedForward of a denoiser into `experts`, of which `top` serve a token."""

    def __init__(self, *, experts: int = 8, top: int = 4, captions: int = CAPTIONS) -> None:
        if not 1 <= top <= experts:
            raise ConfigError(f"experts={experts}, top={top}; top is at least 1, at most experts.")
        if captions < 1:
            raise ConfigError(f"captions={captions}; it is at least 1.")
        self.experts, self.top, self.captions = experts, top, captions

    def apply(self, pipeline: Any, draw: Callable[[Sequence[str]], object]) -> Mapping[str, Any]:
        """Raises ConfigError for a denoiser whose layers cannot be split into so many."""
        denoiser = pipeline.transformer if hasattr(pipeline, "transformer") else pipeline.unet
        layers = feed_forwards(denoiser)
        for name, layer in layers.items():
            if layer.net[2].in_features % self.experts:
                raise ConfigError(
                    f"experts={self.experts} do not divide the {layer.net[2].in_features} neurons "
                    f"of {name}; choose a number that does."
                )
        taken: dict[str, list[Tensor]] = {}
        rng = torch.Generator().manual_seed(SEED)

        def note(name: str, x: Tensor, activations: Tensor) -> None:
            tokens = x.flatten(0, -2)
            some = torch.randperm(len(tokens), generator=rng)[:A_PASS].to(x.device)
            taken.setdefault(name, []).append(tokens[some])

        watch(layers, draw, self.captions, note)
        if not taken:
            raise ConfigError(
                f"{type(denoiser).__name__} has no feed-forward layer of diffusers; leave out the "
                "technique Experts."
            )
        fits, router_bytes = [], 0
        for name, tokens in taken.items():
            made, fit = self._routed(layers[name], torch.cat(tokens))
            put(denoiser, name, made)
            fits.append(round(fit, 3))
            router_bytes += made.router.nbytes + made.router_bias.nbytes
        told = {"experts": self.experts, "top": self.top, "layers": len(fits)}
        return told | {"router_bytes": router_bytes, "router_fit": fits}

    @torch.no_grad()
    def _routed(self, layer: FeedForward, x_SD: Tensor) -> tuple[Routed, float]:
        """The layer as experts, and the share of variance that the router's scores explain."""
        neurons = Neurons.of(layer)
        hidden_SN, down = layer.net[0](x_SD).float(), neurons.down.float()
        spread = max(len(x_SD) // DESCRIBED_BY, 1)
        strength_NS = (hidden_SN[::spread].abs() * down.norm(dim=1)).T
        groups = balanced_groups(F.normalize(strength_NS, dim=1).numpy(force=True), self.experts)
        index = torch.from_numpy(groups).to(x_SD.device)
        adds_SE = torch.stack([(hidden_SN[:, own] @ down[own]).norm(dim=1) for own in index], dim=1)
        weight, bias = ridge(x_SD, adds_SE)
        missed = (x_SD.double() @ weight.T + bias - adds_SE).square().sum()
        fit = 1 - float(missed / (adds_SE - adds_SE.mean(0)).square().sum())
        return Routed(neurons, index, (weight, bias), self.top), fit


def balanced_groups(rows_NF: np.ndarray, count: int) -> np.ndarray:
    """Indices of rows that are near each other, in groups of equal size: int64 [count, N / count].

    k-means in which each round's assignment is the cheapest of those that fill every group alike.
    """
    size = len(rows_NF) // count
    centres = rows_NF[np.random.default_rng(SEED).choice(len(rows_NF), count, replace=False)]
    group = np.full(len(rows_NF), -1)
    for _ in range(ROUNDS):
        distance = (centres**2).sum(1) - 2 * rows_NF @ centres.T  # but for what a row has of itself
        _, seat = linear_sum_assignment(np.repeat(distance, size, axis=1))
        if np.array_equal(seat // size, group):
            break
        group = seat // size
        centres = np.stack([rows_NF[group == one].mean(0) for one in range(count)])
    return np.argsort(group, kind="stable").reshape(count, size)
