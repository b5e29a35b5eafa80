"""The latent dictionary: a 64 x 64 picture as 8 x 8 words of a finite scalar quantiser, and back.

Letters: B batch, C channels, H = W = 64 pixels, T = 64 tokens (8 x 8, raster order), Q = 4 digits.
Quantiser after Mentzer et al., Finite Scalar Quantization (2023): each digit is a bounded number
rounded to one of its levels; the word is the tuple of digits.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["LEVELS", "TOKENS", "WORDS", "DecodeTable", "Dictionary", "code_of", "digits_of"]

LEVELS = (8, 8, 8, 5)
WORDS = math.prod(LEVELS)
SIDE = 8
TOKENS = SIDE * SIDE


def code_of(digits: Tensor) -> Tensor:
    """Digits [..., 4] to word numbers [...], the first digit the most significant."""
    code = torch.zeros_like(digits[..., 0])
    for q, level in enumerate(LEVELS):
        code = code * level + digits[..., q]
    return code


def digits_of(code: Tensor) -> Tensor:
    """Word numbers [...] to digits [..., 4]."""
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
    """Digits' values [B, 4, 8, 8] to pictures [B, 3, 64, 64] in [0, 1]; 16M multiply-adds."""

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
        """Images [B, 3, 64, 64] in [0, 1] to unrounded digits [B, 4, 8, 8] in [0, level - 1]."""
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
        """Words [B, 64] to images [B, 3, 64, 64]; the plain path that the table must equal."""
        digits = digits_of(code_BT).transpose(1, 2).reshape(-1, len(LEVELS), SIDE, SIDE)
        return self.decoder(self.values(digits.float()))


class DecodeTable(nn.Module):
    """The decoder with its first convolution read from a table: nine rows are added.

    The convolution is linear in the one-hot word, so row (word, offset) holds what that word adds
    at that neighbour; a tenth kind of row, all zero, stands for the picture's border.
    """

    def __init__(self, dictionary: Dictionary) -> None:
        super().__init__()
        self.decoder = dictionary.decoder
        words = dictionary.values(digits_of(torch.arange(WORDS)).float()[:, :, None, None])
        kernel = dictionary.decoder.first.weight  # [width, 4, 3, 3]
        rows = torch.einsum("wq,cqyx->wyxc", words[:, :, 0, 0], kernel).reshape(9 * WORDS, -1)
        self.register_buffer("rows", torch.cat([rows, torch.zeros_like(rows[:1])]).detach())
        y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
        near = torch.full((TOKENS, 9), -1)
        for k in range(9):
            ny, nx = y + k // 3 - 1, x + k % 3 - 1
            inside = (ny >= 0) & (ny < SIDE) & (nx >= 0) & (nx < SIDE)
            near[:, k] = torch.where(inside, ny * SIDE + nx, -1).flatten()
        self.register_buffer("near", near)

    @torch.no_grad()
    def forward(self, code_BT: Tensor) -> Tensor:
        """Words [B, 64] to images [B, 3, 64, 64] in [0, 1]."""
        index = code_BT[:, self.near.clamp(min=0)] * 9 + torch.arange(9, device=code_BT.device)
        index = torch.where(self.near >= 0, index, 9 * WORDS)
        first = F.embedding_bag(index.view(-1, 9), self.rows, mode="sum") + self.decoder.first.bias
        batch = code_BT.shape[0]
        return self.decoder.rest(first.view(batch, SIDE, SIDE, -1).permute(0, 3, 1, 2))
