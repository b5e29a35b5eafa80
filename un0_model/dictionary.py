"""The latent dictionary: a 64 x 64 picture as 8 x 8 words of a finite scalar quantiser, and back.

Letters: B batch, C channels, H = W = 64 pixels, T = 64 tokens (8 x 8, raster order), Q = 5 digits.
Quantiser after Mentzer et al., Finite Scalar Quantization (2023): each digit is a bounded number
rounded to one of its levels; the word is the tuple of digits.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from un0_model.integer import Integer, rounded

__all__ = ["LEVELS", "TOKENS", "WORDS", "Dictionary", "code_of", "digits_of"]

LEVELS = (8, 8, 8, 5, 5)
WORDS = math.prod(LEVELS)
SIDE = 8
TOKENS = SIDE * SIDE


def code_of(digits: Tensor) -> Tensor:
    """Digits [..., 5] to word numbers [...], the first digit the most significant."""
    code = torch.zeros_like(digits[..., 0])
    for q, level in enumerate(LEVELS):
        code = code * level + digits[..., q]
    return code


def digits_of(code: Tensor) -> Tensor:
    """Word numbers [...] to digits [..., 5]."""
    digits = []
    for level in reversed(LEVELS):
        digits.append(code % level)
        code = code // level
    return torch.stack(digits[::-1], dim=-1)


class Residual(nn.Module):
    """x + two 3 x 3 convolutions of it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(channels, channels, 3, padding=1)
        self.b = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.b.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.b(F.relu(self.a(F.relu(x))))


class Decoder(nn.Module):
    """Digits' values [B, 5, 8, 8] to pictures [B, 3, 64, 64] in [0, 1]; 16M multiply-adds."""

    def __init__(self, width: int = 64, inner: int = 64, hidden: int = 128) -> None:
        super().__init__()
        self.first = nn.Conv2d(len(LEVELS), width, 3, padding=1)
        self.mix = nn.Conv2d(width, width, 3, padding=1)
        self.widen = nn.Conv2d(width, 4 * inner, 1)
        self.fine = nn.Conv2d(inner, inner, 3, padding=1)
        self.hidden = nn.Conv2d(inner, hidden, 1)
        self.patch = nn.Conv2d(hidden, 48, 1)
        nn.init.constant_(self.patch.bias, 0.5)

    def forward(self, values: Tensor) -> Tensor:
        return self.rest(self.first(values))

    def freeze(self) -> None:
        """Rounds every layer to 8-bit integers; the first then reads 2 digit - top, a whole number.

        Its weights take over the division by `top`, level - 1, which made of that a value.
        """
        top = torch.tensor([n - 1.0 for n in LEVELS]).view(1, -1, 1, 1)
        self.first = Integer(self.first.weight / top, self.first.bias, signed=True, whole=True)
        for name in ("mix", "widen", "fine", "hidden", "patch"):
            setattr(self, name, rounded(getattr(self, name), signed=False))

    def thaw(self) -> None:
        """Back to floats, to be trained on."""
        plain = Decoder(len(self.first.bias), len(self.fine.bias), len(self.hidden.bias))
        top = torch.tensor([n - 1.0 for n in LEVELS]).view(1, -1, 1, 1)
        for name, layer in plain.named_children():
            rounded_to: Integer = getattr(self, name)
            weight = rounded_to.weight.float() * rounded_to.step.view(-1, 1, 1, 1)
            layer.weight = nn.Parameter(weight * top if name == "first" else weight)
            layer.bias = nn.Parameter(rounded_to.bias.clone())
            setattr(self, name, layer)

    def rest(self, x: Tensor) -> Tensor:
        """All but the first convolution, whose output [B, width, 8, 8] a table can give."""
        x = F.relu(x)
        x = x + self.mix(x)
        x = F.relu(F.pixel_shuffle(self.widen(F.relu(x)), 2))
        x = x + self.fine(x)
        return F.pixel_shuffle(self.patch(F.relu(self.hidden(F.relu(x)))), 4)


class Dictionary(nn.Module):
    """Encodes pictures into words and decodes words into pictures."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(48, width, 3, padding=1),
            Residual(width),
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * width, 2 * width, 1),
            Residual(2 * width),
            nn.GroupNorm(1, 2 * width),
            nn.ReLU(),
            nn.Conv2d(2 * width, len(LEVELS), 1),
        )
        self.decoder = Decoder(width)
        self.register_buffer("top", torch.tensor([n - 1.0 for n in LEVELS]).view(1, -1, 1, 1))

    def digits(self, images: Tensor) -> Tensor:
        """Images [B, 3, 64, 64] in [0, 1] to unrounded digits [B, 5, 8, 8] in [0, level - 1]."""
        return torch.sigmoid(self.encoder(images * 2 - 1)) * self.top

    def values(self, digits: Tensor) -> Tensor:
        """Digits to the centred values in [-1, 1] that the decoder reads."""
        return digits / self.top * 2 - 1

    def forward(self, images: Tensor) -> Tensor:
        """Reconstructs images; gradients pass the rounding straight through."""
        soft = self.digits(images)
        hard = soft + (soft.round() - soft).detach()
        return self.decoder(self.values(hard))

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Images [B, 3, 64, 64] in [0, 1] to words int64 [B, 64]."""
        return code_of(self.digits(images).round().long().flatten(2).transpose(1, 2))

    @torch.no_grad()
    def decode(self, code_BT: Tensor) -> Tensor:
        """Words [B, 64] to images [B, 3, 64, 64]; the plain path that the kernel must equal."""
        return self.drawn(code_BT)

    def drawn(self, code_BT: Tensor) -> Tensor:
        """As `decode`, for the decoder's training."""
        digits = digits_of(code_BT).transpose(1, 2).reshape(-1, len(LEVELS), SIDE, SIDE)
        if isinstance(self.decoder.first, Integer):
            return self.decoder(2.0 * digits - self.top)
        return self.decoder(self.values(digits.float()))

    def pictures(self, code_BT: Tensor) -> np.ndarray:
        """Words [B, 64] to images uint8 [B, 64, 64, 3], sRGB, on the host."""
        images = self.decode(code_BT).clamp(0, 1).mul(255).round().byte()
        return images.permute(0, 2, 3, 1).cpu().numpy()
