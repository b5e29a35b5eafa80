"""Layers of 8-bit integers: what is shipped, and the reference that the fused kernels must equal.

A weight is int8 with one step an output; an input is rounded to whole steps of its own row (of
a convolution: its own picture), in [-127, 127] or, after a ReLU, in [0, 255]. Sums are exact.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["LEAST", "Integer", "attend", "eight_bits", "rounded"]

LEAST = 1e-8  # the largest input of a row is taken to be at least this


def eight_bits(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weights [out, ...] as int8, and the step of each output [out]."""
    weight = weight.detach()
    step = weight.abs().flatten(1).amax(1).clamp(min=LEAST) / 127
    return (weight / step.view(-1, *[1] * (weight.ndim - 1))).round().to(torch.int8), step


class Integer(nn.Module):
    """A linear layer or a convolution (stride 1, same padding) with 8-bit weights and inputs.

    weight int8 [out, in] or [out, in, k, k]; step and bias float32 [out]. `whole` inputs are
    integers already and are not rounded.
    """

    def __init__(self, weight: Tensor, bias: Tensor, *, signed: bool, whole: bool = False) -> None:
        super().__init__()
        self.signed, self.whole = signed, whole
        rows, step = eight_bits(weight)
        self.register_buffer("weight", rows)
        self.register_buffer("step", step)
        self.register_buffer("bias", bias.detach().clone())

    exact = torch.float64  # what sums are taken in

    def narrow(self) -> None:
        """Sums in float32 from now on. Raises ValueError where they could pass 2^24, and round."""
        most = int(self.weight.abs().flatten(1).sum(1, dtype=torch.int64).max()) * 255
        if most >= 2**24:
            raise ValueError(f"sums of up to {most} are not exact in float32")
        self.exact = torch.float32

    def forward(self, x: Tensor) -> Tensor:
        last, limit = self.weight.ndim - 1, 127.0 if self.signed else 255.0
        if not self.whole:
            top = x.abs().amax(tuple(range(-last, 0)), keepdim=True).clamp(min=LEAST)
            x = (x * (limit / top)).round()
        if self.weight.ndim == 2:
            sums, step, bias = (
                F.linear(x.to(self.exact), self.weight.to(self.exact)),
                self.step,
                self.bias,
            )
        else:
            sums = F.conv2d(x.to(self.exact), self.weight.to(self.exact), padding="same")
            step, bias = self.step[:, None, None], self.bias[:, None, None]
        found = sums.float() * (step if self.whole else step * (top / limit))
        return found + bias

    def thawed(self) -> nn.Linear:
        """The linear layer in floats again, to be trained on."""
        layer = nn.Linear(self.weight.shape[1], len(self.weight))
        layer.weight = nn.Parameter(self.weight.float() * self.step[:, None])
        layer.bias = nn.Parameter(self.bias.detach().clone())
        return layer


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention [B, A, T, S] of 8-bit rows: queries, keys, values, and a row's weights as bytes."""

    def eight(x: Tensor) -> tuple[Tensor, Tensor]:
        top = x.abs().amax(-1, keepdim=True).clamp(min=LEAST)
        return (x * (127 / top)).round().double(), top / 127

    (q, q_step), (k, k_step), (v, v_step) = eight(query), eight(key), eight(value)
    score = (q @ k.mT).float() * (q_step * query.shape[-1] ** -0.5) * k_step.mT
    if mask is not None:
        score = score.masked_fill(~mask, float("-inf"))
    share = (score - score.amax(-1, keepdim=True)).exp()
    weight = share * v_step.mT
    top = weight.amax(-1, keepdim=True)
    sums = (weight * (255 / top)).round().double() @ v
    return sums.float() * (top / 255 / share.sum(-1, keepdim=True))


def rounded(layer: nn.Linear | nn.Conv2d, *, signed: bool) -> Integer:
    """The 8-bit form of a trained layer."""
    bias = torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias
    return Integer(layer.weight, bias, signed=signed)
