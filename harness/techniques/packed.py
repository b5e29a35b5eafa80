"""A denoiser's weights stored small, and read back.

name          int8, shape of the weight; or where `name.mask` is, its values that are not zero [n]
name.scale    float32 [out]: what one step of int8 is worth, by output channel
name.mask     uint8, numpy.packbits of which values are not zero, row by row
name.shape    int64, shape of the weight, where there is a mask

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


def save(denoiser: ModelMixin, folder: Path) -> None:
    """Writes a denoiser's config.json and its packed weights."""
    denoiser.save_config(folder)
    save_file(pack(denoiser.state_dict()), folder / FILE, metadata={"format": "pt"})


def pack(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights [out, ...] in int8, with a mask where that takes fewer bytes; the rest in float16.

    A value comes back within half a step of its channel, and zero as zero.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            found[name] = tensor
        elif tensor.ndim < 2 or not name.endswith("weight"):
            found[name] = tensor.half()
        else:
            found |= _packed(name, tensor.float())
    return {name: tensor.cpu().contiguous() for name, tensor in found.items()}


def unpack(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `pack` was given, in float32; tensors that are not packed as they are.

    Raises ValueError where parts of a weight are missing or do not fit each other.
    """
    packed = [name for name, tensor in tensors.items() if tensor.dtype == torch.int8]
    parts = {f"{name}.{part}" for name in packed for part in ("scale", "mask", "shape")}
    found = {name: tensor for name, tensor in tensors.items() if name not in parts}
    for name in packed:
        try:
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


def _by_row(scale: Tensor, shape: torch.Size) -> Tensor:
    return scale.view(-1, *[1] * (len(shape) - 1))
