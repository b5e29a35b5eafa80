"""What the recipes of both autoencoders share: their error, and sheets of pictures to look at."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

__all__ = ["as_bytes", "edges", "grid", "redrawn", "redrawing_error"]


def redrawing_error(drawn: Tensor, images: Tensor) -> Tensor:
    """How far pictures of a range of 1 are from what they should be, edges before areas."""
    error = drawn - images
    return (edges(images) * (error.square() * 10 + error.abs())).mean()


def edges(images: Tensor) -> Tensor:
    """Weights [B, 1, H, W] of pixels of images [B, 3, H, W] of a range of 1: 1, up to 5 at an edge.

    Thin strokes are a small share of a picture and all of what it says.
    """
    light = F.max_pool2d(images, 3, stride=1, padding=1)
    dark = -F.max_pool2d(-images, 3, stride=1, padding=1)
    return 1 + 4 * (light - dark).amax(1, keepdim=True)


def redrawn(path: Path, images: Tensor, again: Tensor, **facts: float) -> None:
    """A sheet of pictures in [0, 1], each beside what an autoencoder makes of it, and its PSNR."""
    psnr = -10 * (again.clamp(0, 1) - images).square().mean().log10().item()
    path.with_suffix(".json").write_text(json.dumps({"psnr_db": psnr, **facts}))
    grid(path, as_bytes(torch.stack([images, again], 1).flatten(0, 1)))


def as_bytes(images: Tensor) -> np.ndarray:
    """Pictures [B, 3, H, W] in [0, 1] as uint8 [B, H, W, 3] on the host."""
    return images.float().clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def grid(path: Path, images: np.ndarray, columns: int = 10) -> None:
    """Saves uint8 images [n, H, W, 3] as one sheet, doubled in size."""
    n, height, width, _ = images.shape
    rows = -(-n // columns)
    sheet = np.full((rows * (height + 4), columns * (width + 4), 3), 255, np.uint8)
    for i, image in enumerate(images):
        y, x = i // columns * (height + 4), i % columns * (width + 4)
        sheet[y : y + height, x : x + width] = image
    Image.fromarray(sheet).resize(
        (sheet.shape[1] * 2, sheet.shape[0] * 2), Image.Resampling.NEAREST
    ).save(path)
