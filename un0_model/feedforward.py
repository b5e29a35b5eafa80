"""The feed-forward layers of a diffusers module, as neurons that may serve or not.

Letters: B images, T tokens, D width, N neurons, P rows of the first matrix a neuron (2 where one
gates the other, else 1), R rows of what was seen.
A neuron adds to a token its activation times its row of `down`, a column of the second matrix.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from diffusers.models.attention import FeedForward
from torch import Tensor, nn

from suites.proc.train import draw_batch

__all__ = [
    "Deciding",
    "Neurons",
    "feed_forwards",
    "noting",
    "put",
    "repeating",
    "ridge",
    "table",
    "training_captions",
    "watch",
]

BATCH, SEED = 16, 0  # of the captions that are drawn for looking on


@dataclass(frozen=True, slots=True, kw_only=True)
class Neurons:
    """A layer's tables: up [P, N, D] and its bias [P, N], down [N, D] and its bias [D].

    `activation` makes activations [..., N] of projections [..., P N], rows of a kind together.
    """

    up: Tensor
    up_bias: Tensor
    down: Tensor
    bias: Tensor
    activation: nn.Module

    @classmethod
    def of(cls, layer: FeedForward) -> Neurons:
        """The layer's own weights, whatever its activation; a bias that it has not is zero."""
        first, second = layer.net[0].proj, layer.net[2]
        activation = copy.deepcopy(layer.net[0])
        activation.proj = nn.Identity()
        up, down = first.weight.detach(), second.weight.detach().T
        up = up.view(-1, len(down), up.shape[1])
        zeros = up.new_zeros
        return cls(
            up=up,
            up_bias=zeros(up.shape[:2])
            if first.bias is None
            else first.bias.detach().view(len(up), -1),
            down=down,
            bias=zeros(down.shape[1]) if second.bias is None else second.bias.detach(),
            activation=activation,
        )

    def some(self, index: Tensor) -> Neurons:
        """Those of an index [N'], in its order."""
        up, up_bias, down = self.up[:, index], self.up_bias[:, index], self.down[index]
        return replace(self, up=up, up_bias=up_bias, down=down)


class Deciding(nn.Module, ABC):
    """A layer that at every pass decides what serves, gathers it, and lets it serve.

    A pass appends what it decided and gathered to `notes` where that is a list. Where `decided` or
    `gathered` is given it takes from there what an earlier pass noted, and leaves out that work.
    """

    notes: list[tuple[Any, Any]] | None = None
    decided: Iterator[Any] | None = None
    gathered: Iterator[Any] | None = None

    def forward(self, x_BTD: Tensor) -> Tensor:
        if self.gathered is not None:
            return self.serve(x_BTD, next(self.gathered))
        decision = self.decide(x_BTD) if self.decided is None else next(self.decided)
        gathered = self.gather(x_BTD, decision)
        if self.notes is not None:
            self.notes.append((decision, gathered))
        return self.serve(x_BTD, gathered)

    @abstractmethod
    def decide(self, x_BTD: Tensor) -> Any:
        """What is to serve these tokens."""

    @abstractmethod
    def gather(self, x_BTD: Tensor, decision: Any) -> Any:
        """Fetches what the work needs, from where the decision says."""

    @abstractmethod
    def serve(self, x_BTD: Tensor, gathered: Any) -> Tensor:
        """What the chosen neurons make of the tokens, [B, T, D]."""


@contextmanager
def noting(layers: Sequence[Deciding]) -> Iterator[list[list[tuple[Any, Any]]]]:
    """While it lasts every pass of the layers is noted, in order; a list a layer."""
    notes: list[list[tuple[Any, Any]]] = [[] for _ in layers]
    for layer, own in zip(layers, notes, strict=True):
        layer.notes = own
    try:
        yield notes
    finally:
        for layer in layers:
            layer.notes = None


@contextmanager
def repeating(
    layers: Sequence[Deciding], notes: Sequence[Sequence[tuple[Any, Any]]], gathered: bool
) -> Iterator[None]:
    """While it lasts the layers decide nothing, and with `gathered` they gather nothing either."""
    for layer, own in zip(layers, notes, strict=True):
        layer.decided = (decision for decision, _ in own)
        layer.gathered = (fetched for _, fetched in own) if gathered else None
    try:
        yield
    finally:
        for layer in layers:
            layer.decided = layer.gathered = None


def feed_forwards(module: nn.Module) -> dict[str, FeedForward]:
    """The feed-forward layers of a module, by name."""
    return {name: part for name, part in module.named_modules() if isinstance(part, FeedForward)}


def table(values: Tensor) -> nn.Parameter:
    """Weights that are read and not trained."""
    return nn.Parameter(values.contiguous(), requires_grad=False)


def put(module: nn.Module, name: str, part: nn.Module) -> None:
    """Puts a part in the place of the one that has the name."""
    parent, _, own = name.rpartition(".")
    setattr(module.get_submodule(parent), own, part)


def training_captions(count: int) -> list[str]:
    """Captions of the training distribution; the same ones for the same count."""
    return draw_batch(np.random.default_rng(SEED), count)[1]


def watch(
    layers: dict[str, FeedForward],
    draw: Callable[[Sequence[str]], object],
    captions: int,
    note: Callable[[str, Tensor, Tensor], None],
) -> None:
    """Has captions of the training distribution drawn, and looks on.

    `note` is told of every pass: the layer's name, its input [..., D] and activations [..., N].
    """
    inputs: dict[str, Tensor] = {}
    hooks = []
    for name, layer in layers.items():

        def entered(part: nn.Module, given: tuple[Tensor, ...], name: str = name) -> None:
            inputs[name] = given[0]

        def activated(part: nn.Module, given: tuple[Tensor, ...], name: str = name) -> None:
            note(name, inputs.pop(name), given[0])

        hooks.append(layer.register_forward_pre_hook(entered))
        hooks.append(layer.net[2].register_forward_pre_hook(activated))
    texts = training_captions(captions)
    try:
        with torch.no_grad():
            for first in range(0, len(texts), BATCH):
                draw(texts[first : first + BATCH])
    finally:
        for hook in hooks:
            hook.remove()


def ridge(
    given_RD: Tensor, wanted_RN: Tensor, *, rank: int = 0, penalty: float = 1e-3
) -> tuple[Tensor, Tensor]:
    """Weight [N, D] and bias [N] of the affine map with the least squared error, float64.

    `penalty` is a share of the inputs' mean square. A `rank` above 0 bounds the weight's: what it
    predicts keeps its first principal directions (reduced rank regression, Izenman 1975).
    """
    x, y = given_RD.double(), wanted_RN.double()
    x_mean, y_mean = x.mean(0), y.mean(0)
    x, y = x - x_mean, y - y_mean
    gram = x.T @ x
    gram.diagonal().add_(penalty * gram.diagonal().mean())
    weight = torch.linalg.solve(gram, x.T @ y).T
    if rank:
        directions = torch.linalg.eigh(weight @ gram @ weight.T).eigenvectors[:, -rank:]
        weight = directions @ (directions.T @ weight)
    return weight, y_mean - weight @ x_mean
