"""Distils the conventional baseline to few evaluations, and to a smaller denoiser.

    un0bench train distilled base=package:un0_model/weights/dense [shape.width=48]

The teacher draws latents from noise as `dense-optimised` does, guidance included; a student learns
to see them in that very noise, at once (Luhman and Luhman 2021) and on the way to them (reflow: Liu
et al. 2022), so that it draws in one evaluation or in a few. One as large as its teacher begins as
its copy, another from nothing. Text encoder and autoencoder stay the teacher's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, PixArtAlphaPipeline
from torch import Tensor
from torch.nn import functional as F

from harness.errors import ConfigError
from suites.proc.train import draw_batch
from un0_model import dense
from un0_model.recipes.dense import answer, drawn, loaded, save, tokenised
from un0_model.recipes.leg import Leg
from un0_model.recipes.training import Stage, fingerprint, kept

__all__ = ["BUDGETS", "main", "student"]

BUDGETS: dict[str, dict[str, Any]] = {
    "cpu": {"pairs": 24_000, "chunk": 1000, "again": {"student": 6_000}, "batch": 64},
    "gpu": {"pairs": 200_000, "chunk": 5000, "again": {"student": 24_000}, "batch": 256},
    "smoke": {"pairs": 8, "chunk": 4, "again": {"student": 4}, "batch": 4, "drawn": 4},
}
STEPS, GUIDANCE = 12, 1.5  # of the teacher: conf/system/dense-optimised.yaml
AT_ONCE = 0.5  # of what it learns, the share that is asked of noise alone
BEND = 0.1  # below it an error counts squared, above it as it is


def main(budget: str, leg: Leg) -> bool:
    """Runs what is left of the recipe; True when the pipeline is saved."""
    size = BUDGETS[budget]
    if leg.base is None:
        raise ConfigError("train distilled needs a teacher: base=package:un0_model/weights/dense.")
    pipe = loaded(leg.base)
    texts, noise = _asked(size, leg)
    answers = _answers(pipe, texts, noise, size, leg)
    if answers is None:
        return False
    teacher = _name(pipe)
    done = _student_stage(student(pipe, leg.shape), teacher, texts, noise, answers, size, leg)
    if done:
        save(pipe, leg.out)
    return done


def student(pipe: PixArtAlphaPipeline, shape: Mapping[str, int | str]) -> PixArtAlphaPipeline:
    """The student before its first step: its answer is the picture itself, not the way to it.

    `shape` may have `width` and `layers`. Raises ConfigError on others, and on what cannot be.
    """
    config = pipe.transformer.config
    heads = config.num_attention_heads
    sizes = {"width": heads * config.attention_head_dim, "layers": config.num_layers}
    for key, value in shape.items():
        if key not in sizes:
            raise ConfigError(f"shape.{key} is none of a student; {' and '.join(sizes)} are.")
        step = heads if key == "width" else 1
        if not isinstance(value, int) or not 0 < value <= sizes[key] or value % step:
            raise ConfigError(
                f"shape.{key}={value!r}; it is a multiple of {step} up to {sizes[key]}."
            )
    wanted = {**sizes, **shape}
    if wanted != sizes:
        pipe.transformer = dense.transformer(
            **wanted, heads=heads, caption_width=config.caption_channels
        )
    else:
        with torch.no_grad():
            for part in pipe.transformer.proj_out.parameters():
                part.neg_()
    pipe.scheduler = DDIMScheduler(
        prediction_type="sample", timestep_spacing="trailing", clip_sample=False
    )
    return pipe


def _asked(size: dict[str, Any], leg: Leg) -> tuple[list[str], Tensor]:
    """Captions of the training split, and noise [n, 8, 8, 8]; each chunk of its own seed."""
    texts, noise = [], []
    for first in range(0, size["pairs"], size["chunk"]):
        rng = np.random.default_rng([leg.seed, first])
        texts += draw_batch(rng, size["chunk"])[1]
        some = rng.standard_normal((size["chunk"], dense.LATENTS, 8, 8), dtype=np.float32)
        noise.append(torch.from_numpy(some))
    return texts, torch.cat(noise)


def _answers(
    pipe: PixArtAlphaPipeline, texts: Sequence[str], noise: Tensor, size: dict[str, Any], leg: Leg
) -> Tensor | None:
    """What the teacher makes of each noise, float16 [n, 8, 8, 8]; None if `limit_s` ended it."""
    pipe.to(leg.device).set_progress_bar_config(disable=True)
    teacher, chunk, found = _name(pipe), size["chunk"], []
    for first in range(0, len(texts), chunk):
        if leg.over:
            return None
        name = f"{teacher}-{leg.seed}-{first}-{chunk}.npy"
        some = slice(first, first + chunk)
        made = partial(_answered, pipe, texts[some], noise[some], size["batch"], leg.device)
        found.append(torch.from_numpy(kept(leg.out.parent / "answers" / name, made)))
        print(f"answers {first + chunk}/{len(texts)}", flush=True)
    return torch.cat(found)


def _answered(
    pipe: PixArtAlphaPipeline, texts: Sequence[str], noise: Tensor, batch: int, device: str
) -> np.ndarray:
    found = []
    for first in range(0, len(texts), batch):
        some = slice(first, first + batch)
        with torch.autocast(device, torch.bfloat16):
            given = pipe(
                list(texts[some]),
                latents=noise[some].to(device),
                num_inference_steps=STEPS,
                guidance_scale=GUIDANCE,
                height=64,
                width=64,
                output_type="latent",
                **dense.CALL,
            )
        found.append(given.images.cpu().half())
    return torch.cat(found).numpy()


def _name(pipe: PixArtAlphaPipeline) -> str:
    return f"{fingerprint(pipe.transformer)}-{fingerprint(pipe.text_encoder)}"


def _student_stage(
    pipe: PixArtAlphaPipeline,
    teacher: str,
    texts: Sequence[str],
    noise: Tensor,
    answers: Tensor,
    size: dict[str, Any],
    leg: Leg,
) -> bool:
    encoded = tokenised(pipe, texts)
    pipe.text_encoder.to(leg.device).requires_grad_(False)

    kept_share = pipe.scheduler.alphas_cumprod.to(leg.device)  # of the picture's variance, by time
    last = len(kept_share) - 1

    def loss(rng: np.random.Generator, progress: float) -> Tensor:
        index = torch.from_numpy(rng.integers(len(noise), size=size["batch"]))
        picture, given = answers[index].float().to(leg.device), noise[index].to(leg.device)
        times = rng.integers(last, size=len(index))
        times[rng.random(len(index)) < AT_ONCE] = last
        t = torch.from_numpy(times).to(leg.device)
        share = kept_share[t, None, None, None]
        seen = answer(pipe, share.sqrt() * picture + (1 - share).sqrt() * given, t, encoded, index)
        return F.smooth_l1_loss(seen, picture, beta=BEND)

    return Stage(
        name="student",
        leg=leg,
        modules={"transformer": pipe.transformer},
        loss=loss,
        steps=leg.steps_of("student", size),
        lr=1e-3,
        hidden=("transformer_blocks.",),
        ema=0.999,
        decay=0.8,
        model=f"of {teacher} {dict(leg.shape)}",
        sample=partial(drawn, pipe, size.get("drawn", 60), 1, 1.0),
    ).run()
