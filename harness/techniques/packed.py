"""A denoiser's weights stored small, and read back.

name          int8, shape of the weight; or where `name.mask` is, its values that are not zero [n]
name.scale    float32 [out]: what one step of int8 is worth, by output channel
name.mask     uint8, numpy.packbits of which values are not zero, row by row
name.shape    int64, shape of the weight, where there is a mask
name.fives    uint8: what is to be added to another denoiser's weight, -2 to 2 steps of
              `name.scale`, three values a byte; then there is no `name`

Everything else is float16. Symmetric quantisation, rounded to nearest (Jacob et al. 2018).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from diffusers import ModelMixin
from safetensors.torch import save_file
from torch import Tensor

__all__ = ["FILE", "pack", "save", "unpack"]

FILE = "diffusion_pytorch_model.safetensors"  # the name that diffusers gives a part's weights
LEVELS = 127
FIVES = np.array([1, 5, 25])  # three digits of five in a byte
CLIPPED = (1.0, 0.85, 0.7, 0.55, 0.4)  # shares of the largest difference that two steps may reach


def save(denoiser: ModelMixin, folder: Path, base: ModelMixin | None = None) -> None:
    """Writes a denoiser's config.json and its packed weights; to a base's, as a difference."""
    denoiser.save_config(folder)
    packed = pack(denoiser.state_dict(), base.state_dict() if base else None)
    save_file(packed, folder / FILE, metadata={"format": "pt"})


def pack(
    tensors: Mapping[str, Tensor], base: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Weights [out, ...] in int8, with a mask where that takes fewer bytes; the rest in float16.

    A value comes back within half a step of its channel, and zero as zero. Of weights that stayed
    near those of a `base`, the difference is kept in five levels, which is no such promise.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            found[name] = tensor
        elif tensor.ndim < 2 or not name.endswith("weight"):
            found[name] = tensor.half()
        elif base and _near(tensor, base.get(name)):
            found |= _difference(name, tensor.float().cpu() - base[name].float().cpu())
        else:
            found |= _packed(name, tensor.float())
    return {name: tensor.cpu().contiguous() for name, tensor in found.items()}


def unpack(
    tensors: Mapping[str, Tensor], base: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """What `pack` was given, in float32; tensors that are not packed as they are.

    Raises ValueError where parts of a weight, or the base, are missing or do not fit each other.
    """
    packed = [name for name, tensor in tensors.items() if tensor.dtype == torch.int8]
    packed += [name.removesuffix(".fives") for name in tensors if name.endswith(".fives")]
    parts = {f"{name}.{part}" for name in packed for part in ("scale", "mask", "shape", "fives")}
    found = {name: tensor for name, tensor in tensors.items() if name not in parts}
    for name in packed:
        try:
            if f"{name}.fives" in tensors:
                found[name] = (base or {})[name].float().cpu() + _added(tensors, name)
            else:
                found[name] = _unpacked(tensors, name)
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"packed weight {name}: {error}") from error
    return found


def _packed(name: str, weight: Tensor) -> dict[str, Tensor]:
    scale = weight.flatten(1).abs().amax(1) / LEVELS
    scale[scale == 0] = 1
    steps = (weight / _by_row(scale, weight.shape)).round().to(torch.int8)
    kept = steps != 0
    found = {name: steps, f"{name}.scale": scale}
    if 8 * int(kept.sum()) < 7 * kept.numel():  # a bit a value is less than what it leaves out
        mask = torch.from_numpy(np.packbits(kept.flatten().numpy(force=True)))
        shape = torch.tensor(weight.shape)
        found |= {name: steps[kept], f"{name}.mask": mask, f"{name}.shape": shape}
    return found


def _unpacked(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    steps, scale = tensors[name].float(), tensors[f"{name}.scale"].float()
    if f"{name}.mask" in tensors:
        whole = torch.zeros(tensors[f"{name}.shape"].tolist())
        bits = np.unpackbits(tensors[f"{name}.mask"].numpy(), count=whole.numel())
        kept = torch.from_numpy(bits).bool().view(whole.shape)
        whole[kept] = steps
        steps = whole
    return steps * _by_row(scale, steps.shape)


def _near(weight: Tensor, base: Tensor | None) -> bool:
    if base is None or base.shape != weight.shape:
        return False
    return bool((weight.float().cpu() - base.float().cpu()).norm() < 0.9 * weight.float().norm())


def _difference(name: str, difference: Tensor) -> dict[str, Tensor]:
    """In steps of its row, as wide as leaves the least squared error."""
    rows = difference.flatten(1)
    largest = rows.abs().amax(1, keepdim=True).clamp_min(1e-12)
    tried = [largest * share / 2 for share in CLIPPED]
    errors = [((_steps(rows, s) * s - rows) ** 2).sum(1, keepdim=True) for s in tried]
    best = torch.stack(errors).argmin(0, keepdim=True)
    scale = torch.stack(tried).gather(0, best)[0]
    digits = (_steps(rows, scale) + 2).flatten().numpy().astype(np.uint8)
    digits = np.pad(digits, (0, -len(digits) % 3)).reshape(-1, 3)
    return {
        f"{name}.fives": torch.from_numpy((digits @ FIVES).astype(np.uint8)),
        f"{name}.scale": scale[:, 0],
        f"{name}.shape": torch.tensor(difference.shape),
    }


def _steps(rows: Tensor, scale: Tensor) -> Tensor:
    return (rows / scale).round().clamp(-2, 2)


def _added(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    shape = torch.Size(tensors[f"{name}.shape"].tolist())
    digits = tensors[f"{name}.fives"].numpy()[:, None] // FIVES % 5
    steps = torch.from_numpy(digits.flatten()[: shape.numel()]).float().view(shape) - 2
    return steps * _by_row(tensors[f"{name}.scale"].float(), shape)


def _by_row(scale: Tensor, shape: torch.Size) -> Tensor:
    return scale.view(-1, *[1] * (len(shape) - 1))
