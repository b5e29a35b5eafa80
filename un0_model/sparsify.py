"""Un0's gate in any denoiser of diffusers: per image it picks which neurons serve all its tokens.

Letters: B images, T tokens, D width, M neurons that the gate picks from, K of them picked, P rows
of the first matrix a neuron. The gate predicts what each neuron would add to an image from the mean
of its tokens; it is fitted in closed form to what was seen while the dense module worked, so
nothing is trained. Only the picked neurons' rows are read and multiplied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from diffusers.models.attention import FeedForward
from torch import Tensor, nn

from harness.errors import ConfigError
from un0_model.feedforward import (
    Deciding,
    Neurons,
    feed_forwards,
    noting,
    put,
    ridge,
    table,
    training_captions,
    watch,
)

__all__ = ["Gated", "Sparsified", "sparsify"]

CAPTIONS, COUNTED = 48, 4  # drawn to fit the gate; drawn again to count the neurons they take


class Gated(Deciding):
    """A feed-forward layer of which a dense trunk and `keep` neurons of an image's choice serve."""

    def __init__(self, trunk: nn.Module | None, gate: nn.Module, pool: Neurons, keep: int) -> None:
        super().__init__()
        self.trunk = trunk or _Nothing(pool.bias)
        self.gate, self.keep, self.neurons = gate, keep, len(pool.down)
        self.activation = pool.activation
        self.up = table(pool.up.flatten(0, 1))
        self.up_bias = table(pool.up_bias.flatten())
        self.down = table(pool.down)

    def decide(self, x_BTD: Tensor) -> Tensor:
        """The neurons that serve each image, int64 [B, K]."""
        return self.gate(x_BTD.mean(1)).topk(self.keep, dim=-1, sorted=False).indices

    def gather(self, x_BTD: Tensor, decision: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Their rows: up [B, P K, D] and its bias [B, 1, P K], down [B, K, D]."""
        batch, kinds = len(decision), len(self.up) // self.neurons
        rows = torch.cat([decision + kind * self.neurons for kind in range(kinds)], 1).flatten()
        up, down = self.up.index_select(0, rows), self.down.index_select(0, decision.flatten())
        bias = self.up_bias.index_select(0, rows)
        return up.unflatten(0, (batch, -1)), bias.view(batch, 1, -1), down.unflatten(0, (batch, -1))

    def serve(self, x_BTD: Tensor, gathered: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        up, up_bias, down = gathered
        return torch.baddbmm(
            self.trunk(x_BTD), self.activation(torch.baddbmm(up_bias, x_BTD, up.mT)), down
        )


class _Nothing(nn.Module):
    """A trunk without a neuron: the bias alone."""

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.bias = table(bias)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.bias.expand(*x_BTD.shape[:2], -1)


def sparsify(
    module: nn.Module,
    draw: Callable[[Sequence[str]], object],
    *,
    keep: float,
    always: float = 0,
    rank: int = 0,
    captions: int = CAPTIONS,
) -> dict[str, nn.Module]:
    """Replaces every FeedForward of a denoiser that works when `draw` draws captions with it.

    Of a layer's neurons the share `keep` serves an image: the share `always` those that add most in
    the mean, the rest picked by the gate, whose matrix has at most `rank` (0: any). Layers whose
    input is not [B, T, D] stay as they are. Returns what was put in, by name. Raises ConfigError
    for shares that are none, and where there is no such layer.
    """
    if not 0 <= always <= keep <= 1 or not keep:
        raise ConfigError(
            f"keep={keep}, always={always}; they are shares of the neurons, always at most keep."
        )
    if rank < 0 or captions < 1:
        raise ConfigError(f"rank={rank}, captions={captions}; rank is 0 or more, captions 1.")
    pooled: dict[str, list[Tensor]] = {}
    strength: dict[str, list[Tensor]] = {}

    def note(name: str, x_BTD: Tensor, activations_BTN: Tensor) -> None:
        if x_BTD.ndim == 3:
            pooled.setdefault(name, []).append(x_BTD.float().mean(1))
            strength.setdefault(name, []).append(activations_BTN.float().abs().mean(1))

    layers = feed_forwards(module)
    watch(layers, draw, captions, note)
    if not pooled:
        raise ConfigError(
            f"{type(module).__name__} has no feed-forward layer of diffusers that takes tokens; "
            "leave out Sparsified."
        )
    made = {}
    for name in pooled:
        seen = torch.cat(pooled[name]), torch.cat(strength[name])
        made[name] = _gated(layers[name], *seen, keep=keep, always=always, rank=rank)
        put(module, name, made[name])
    return made


@torch.no_grad()
def _gated(
    layer: FeedForward, pooled: Tensor, strength: Tensor, *, keep: float, always: float, rank: int
) -> nn.Module:
    """The layer with a gate fitted to inputs [R, D] and mean absolute activations [R, N]."""
    neurons = Neurons.of(layer)
    count = len(neurons.down)
    adds_RN = strength * neurons.down.float().norm(dim=1)
    order = adds_RN.mean(0).argsort(descending=True, stable=True)
    first = round(always * count)
    picked = max(round(keep * count), 1) - first
    trunk = _dense(neurons.some(order[:first])) if first else None
    if trunk is not None and picked < 1:
        return trunk
    weight, bias = ridge(pooled, adds_RN[:, order[first:]], rank=rank)
    return Gated(
        trunk, _gate(weight, bias, rank).to(neurons.up), neurons.some(order[first:]), picked
    )


def _gate(weight: Tensor, bias: Tensor, rank: int) -> nn.Module:
    """Linear, as two thin layers where that is fewer multiply-adds."""
    if not rank or rank * sum(weight.shape) >= weight.numel():
        return _linear(weight, bias)
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    return nn.Sequential(_linear(right[:rank], None), _linear(left[:, :rank] * values[:rank], bias))


def _dense(neurons: Neurons) -> nn.Module:
    return nn.Sequential(
        _linear(neurons.up.flatten(0, 1), neurons.up_bias.flatten()),
        neurons.activation,
        _linear(neurons.down.T, neurons.bias),
    )


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    made.weight, made.bias = table(weight), None if bias is None else table(bias)
    return made


class Sparsified:
    """Puts Un0's gate into the denoiser of a pipeline that is loaded; see `sparsify`."""

    def __init__(
        self, *, keep: float, always: float = 0, rank: int = 0, captions: int = CAPTIONS
    ) -> None:
        self.settings: dict[str, Any] = {"keep": keep, "always": always, "rank": rank}
        self.captions = captions

    def apply(self, pipeline: Any, draw: Callable[[Sequence[str]], object]) -> Mapping[str, Any]:
        """Raises ConfigError for a denoiser without such layers, and for wrong shares."""
        denoiser = pipeline.transformer if hasattr(pipeline, "transformer") else pipeline.unet
        dense, always = _bytes(feed_forwards(denoiser).values()), self.settings["always"]
        made = sparsify(denoiser, draw, **self.settings, captions=self.captions)
        gated = [layer for layer in made.values() if isinstance(layer, Gated)]
        return {
            **self.settings,
            "layers": len(made),
            "neurons_of_an_image": round(always + (1 - always) * _union(gated, draw), 4),
            "feedforward_bytes": dense,
            "gate_bytes": _bytes(layer.gate for layer in gated),
        }


def _union(layers: Sequence[Gated], draw: Callable[[Sequence[str]], object]) -> float:
    """The share of gated neurons that serve an image at some evaluation, mean over captions."""
    shares = []
    for caption in training_captions(COUNTED):
        with noting(layers) as notes:
            draw([caption])
        for layer, own in zip(layers, notes, strict=True):
            served = torch.cat([decision.flatten() for decision, _ in own]).unique()
            shares.append(len(served) / layer.neurons)
    return float(np.mean(shares)) if shares else 0.0


def _bytes(parts: Iterable[nn.Module]) -> int:
    return sum(p.numel() * p.element_size() for part in parts for p in part.parameters())
