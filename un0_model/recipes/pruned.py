"""Prunes the conventional baseline's denoiser and trains on what is left.

    un0bench train pruned base=package:un0_model/weights/dense shape.width=48
    un0bench train pruned base=package:un0_model/weights/dense shape.zeros=0.9

`width` takes whole channels away, those of least weight, so that the matrices are smaller (as Li
et al. 2017 do with filters); `zeros` sets single weights of least magnitude to zero, ever more of
them over the first half of the steps (Zhu and Gupta 2017). Text encoder and autoencoder stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from diffusers import PixArtAlphaPipeline, PixArtTransformer2DModel
from torch import Tensor, nn

from harness.errors import ConfigError
from un0_model import dense
from un0_model.recipes.dense import LATE, denoising, drawn, encoded, loaded, save
from un0_model.recipes.leg import Leg
from un0_model.recipes.scenes import Scenes
from un0_model.recipes.training import Stage

__all__ = ["BUDGETS", "Zeros", "main", "narrowed"]

BUDGETS: dict[str, dict[str, Any]] = {
    "cpu": {"scenes": 240_000, "again": {"pruned": 3_000}, "batch": 64},
    "gpu": {"scenes": 200_000, "again": {"pruned": 12_000}, "batch": 256},
    "smoke": {"scenes": 200, "again": {"pruned": 4}, "batch": 4, "drawn": 4},
}
STEPS, GUIDANCE = 20, 2.0  # of the sheet of pictures: conf/system/dense.yaml, in fewer steps


def main(budget: str, leg: Leg) -> bool:
    """Runs what is left of the recipe; True when the pipeline is saved."""
    size = BUDGETS[budget]
    if leg.base is None:
        raise ConfigError("train pruned needs weights: base=package:un0_model/weights/dense.")
    pipe = loaded(leg.base)
    if set(leg.shape) not in ({"width"}, {"zeros"}):
        raise ConfigError("train pruned needs shape.width=... or shape.zeros=..., one of them.")
    zeros = Zeros(pipe.transformer, leg.shape["zeros"]) if "zeros" in leg.shape else None
    if zeros is None:
        pipe.transformer = narrowed(pipe.transformer, leg.shape["width"])
    scenes = Scenes(leg.out.parent / "scenes", size["scenes"], leg.seed - 1, LATE)
    latents = encoded(pipe.vae, scenes, leg.out.parent, leg.device)
    done = _pruned_stage(pipe, zeros, scenes, latents, size, leg)
    if done:
        save(pipe, leg.out)
    return done


class Zeros:
    """Holds the smallest weights of a denoiser's matrices at zero, ever more up to a share."""

    GROWN = 0.5  # of the steps, after which the share stays

    def __init__(self, module: nn.Module, share: float) -> None:
        """Raises ConfigError for a share that is none."""
        if isinstance(share, bool) or not isinstance(share, float) or not 0 < share < 1:
            raise ConfigError(f"shape.zeros={share!r}; it is a share between 0 and 1, such as 0.9.")
        self.share = share
        self.matrices = [p for p in module.parameters() if p.ndim == 2 and min(p.shape) >= 16]

    @torch.no_grad()
    def hold(self, progress: float) -> None:
        """Sets to zero what is to be zero at this part of the steps; in each matrix as much."""
        left = max(0.0, 1 - progress / self.GROWN)
        share = self.share * (1 - left**3)
        for matrix in self.matrices:
            count = round(share * matrix.numel())
            if count:
                edge = matrix.abs().flatten().kthvalue(count).values
                matrix.masked_fill_(matrix.abs() <= edge, 0.0)


def narrowed(whole: PixArtTransformer2DModel, width: int) -> PixArtTransformer2DModel:
    """The same denoiser with fewer channels: of each kind those of the largest squared weights.

    Raises ConfigError for a width that it cannot have.
    """
    config = whole.config
    heads, each = config.num_attention_heads, config.attention_head_dim
    if not isinstance(width, int) or not 0 < width < heads * each or width % heads:
        raise ConfigError(
            f"shape.width={width!r}; it is a multiple of {heads} below {heads * each}."
        )
    small = dense.transformer(width, config.num_layers, heads, config.caption_channels)
    weights = dict(whole.state_dict())
    with torch.no_grad():
        for name, value in small.state_dict().items():
            rows, columns = _kept(name, weights, heads, width)
            value.copy_(_at(_at(weights[name], rows, 0), columns, -1))
    return small


def _at(weight: Tensor, index: Tensor | None, axis: int) -> Tensor:
    return weight if index is None else weight.index_select(axis, index)


def _kept(
    name: str, weights: Mapping[str, Tensor], heads: int, width: int
) -> tuple[Tensor | None, Tensor | None]:
    """Which rows and columns of a tensor stay; None: all of them."""
    stream = _largest(_stream(weights), width)
    at, _, part = name.rpartition(".attn")
    if at:
        where = f"{at}.attn{part[0]}"
        queries = [weights[f"{where}.to_{k}.weight"].square().sum(1) for k in "qk"]
        values = weights[f"{where}.to_v.weight"].square().sum(1)
        read = values * weights[f"{where}.to_out.0.weight"].square().sum(0)
        asked = _largest(queries[0] * queries[1], width, heads)
        told = _largest(read, width, heads)
        reads = _caption(weights, width)[1] if part[0] == "2" and ".to_q" not in name else stream
        if ".to_out" in name:
            rows, columns = stream, told
        else:
            rows, columns = (told if ".to_v" in name else asked), reads
    elif ".ff." in name:
        where = name.partition(".ff.")[0] + ".ff.net"
        into = weights[f"{where}.0.proj.weight"].square().sum(1)
        inner = _largest(into * weights[f"{where}.2.weight"].square().sum(0), 4 * width)
        rows, columns = (inner, stream) if ".0.proj" in name else (stream, inner)
    elif name.startswith("caption_projection"):
        hidden, out = _caption(weights, width)
        rows, columns = (hidden, None) if ".linear_1" in name else (out, hidden)
    elif name.startswith("adaln_single"):
        inner = _largest(weights[f"{TIMES}.linear_1.weight"].square().sum(1), width)
        rows, columns = {
            "linear_1": (inner, None),
            "linear_2": (stream, inner),
            "linear": (torch.cat([stream + i * _width(weights) for i in range(6)]), stream),
        }[name.split(".")[-2]]
    elif name.endswith("scale_shift_table"):
        return None, stream
    elif name.startswith("pos_embed"):
        return stream, None
    else:  # proj_out
        rows, columns = None, stream
    return rows, columns if name.endswith("weight") else None


TIMES = "adaln_single.emb.timestep_embedder"


def _width(weights: Mapping[str, Tensor]) -> int:
    return weights["proj_out.weight"].shape[1]


def _stream(weights: Mapping[str, Tensor]) -> Tensor:
    """How much is written to each channel that the blocks share, and read from it."""
    wrote = [v for k, v in weights.items() if k.endswith(("to_out.0.weight", "net.2.weight"))]
    read = [v for k, v in weights.items() if k.endswith(("0.proj.weight", "1.to_q.weight"))]
    return sum(w.square().sum(1) for w in wrote) * sum(w.square().sum(0) for w in read)


def _caption(weights: Mapping[str, Tensor], width: int) -> tuple[Tensor, Tensor]:
    """Channels of the caption that stay, within its projection and behind it."""
    first, second = (weights[f"caption_projection.linear_{i}.weight"] for i in (1, 2))
    inner = first.square().sum(1) * second.square().sum(0)
    return _largest(inner, width), _largest(second.square().sum(1), width)


def _largest(scores: Tensor, count: int, groups: int = 1) -> Tensor:
    """Indices of the largest scores in order, as many of each group."""
    each = scores.reshape(groups, -1)
    best = each.topk(count // groups, dim=1).indices.sort(1).values
    return (best + torch.arange(groups)[:, None] * each.shape[1]).flatten()


def _pruned_stage(
    pipe: PixArtAlphaPipeline,
    zeros: Zeros | None,
    scenes: Scenes,
    latents: Tensor,
    size: dict[str, Any],
    leg: Leg,
) -> bool:
    pipe.text_encoder.to(leg.device).requires_grad_(False)
    error = denoising(pipe, scenes, latents, size["batch"], leg)

    def loss(rng: np.random.Generator, progress: float) -> Tensor:
        if zeros:
            zeros.hold(progress)
        return error(rng, progress)

    done = Stage(
        name="pruned",
        leg=leg,
        modules={"transformer": pipe.transformer},
        loss=loss,
        steps=leg.steps_of("pruned", size),
        lr=1e-3,
        hidden=("transformer_blocks.",),
        ema=0.999,
        decay=0.5,
        model=str(dict(leg.shape)),
        sample=partial(_sheet, pipe, zeros, size.get("drawn", 60)),
    ).run()
    if zeros:
        zeros.hold(1.0)
    return done


def _sheet(pipe: PixArtAlphaPipeline, zeros: Zeros | None, count: int, path: Any) -> None:
    if zeros:
        zeros.hold(1.0)
    drawn(pipe, count, STEPS, GUIDANCE, path)
