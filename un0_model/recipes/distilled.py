"""Distils the conventional baseline to one evaluation a picture, the least a dense rival needs.

    un0bench train distilled base=package:un0_model/weights/dense

The teacher draws latents from noise as `dense-optimised` does; a student that begins as its copy
learns to see them in the same noise at once (Luhman and Luhman 2021), text encoder included.
"""

from __future__ import annotations

from collections.abc import Sequence
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

__all__ = ["BUDGETS", "main"]

BUDGETS: dict[str, dict[str, Any]] = {
    "cpu": {"pairs": 24_000, "chunk": 1000, "again": {"student": 6_000}, "batch": 64},
    "gpu": {"pairs": 200_000, "chunk": 5000, "again": {"student": 24_000}, "batch": 256},
    "smoke": {"pairs": 8, "chunk": 4, "again": {"student": 4}, "batch": 4, "drawn": 4},
}
STEPS, GUIDANCE = 12, 1.5  # of the teacher: conf/system/dense-optimised.yaml
NOISIEST = 999.0  # the time at which the student is asked
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
    done = _student_stage(one_evaluation(pipe), texts, noise, answers, size, leg)
    if done:
        save(pipe, leg.out)
    return done


def one_evaluation(pipe: PixArtAlphaPipeline) -> PixArtAlphaPipeline:
    """The student before its first step: its answer is the picture itself, not the way to it."""
    with torch.no_grad():
        for part in pipe.transformer.proj_out.parameters():
            part.neg_()
    pipe.scheduler = DDIMScheduler(
        prediction_type="sample", timestep_spacing="trailing", clip_sample=False
    )
    return pipe


def _asked(size: dict[str, Any], leg: Leg) -> tuple[list[str], Tensor]:
    """Captions of the training split, and noise [n, 8, 8, 8]."""
    rng = np.random.default_rng(leg.seed)
    texts = draw_batch(rng, size["pairs"])[1]
    noise = rng.standard_normal((len(texts), dense.LATENTS, 8, 8), dtype=np.float32)
    return texts, torch.from_numpy(noise)


def _answers(
    pipe: PixArtAlphaPipeline, texts: Sequence[str], noise: Tensor, size: dict[str, Any], leg: Leg
) -> Tensor | None:
    """What the teacher makes of each noise, float16 [n, 8, 8, 8]; None if `limit_s` ended it."""
    pipe.to(leg.device).set_progress_bar_config(disable=True)
    teacher, chunk, found = _name(pipe), size["chunk"], []
    for first in range(0, len(texts), chunk):
        if leg.over:
            return None
        name = f"answers-{leg.seed}-{first}-{chunk}-{teacher}.npy"
        some = slice(first, first + chunk)
        made = partial(_answered, pipe, texts[some], noise[some], size["batch"], leg.device)
        found.append(torch.from_numpy(kept(leg.out / name, made)))
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
    texts: Sequence[str],
    noise: Tensor,
    answers: Tensor,
    size: dict[str, Any],
    leg: Leg,
) -> bool:
    encoded = tokenised(pipe, texts)

    def loss(rng: np.random.Generator, progress: float) -> Tensor:
        index = torch.from_numpy(rng.integers(len(noise), size=size["batch"]))
        time = torch.full((len(index),), NOISIEST, device=leg.device)
        seen = answer(pipe, noise[index].to(leg.device), time, encoded, index)
        return F.smooth_l1_loss(seen, answers[index].float().to(leg.device), beta=BEND)

    return Stage(
        name="student",
        leg=leg,
        modules={"transformer": pipe.transformer, "text_encoder": pipe.text_encoder},
        loss=loss,
        steps=leg.steps_of("student", size),
        lr=1e-3,
        hidden=("transformer_blocks.", "encoder.layers."),
        ema=0.999,
        decay=0.8,
        model=f"of {_name(pipe)}",
        sample=partial(drawn, pipe, size.get("drawn", 60), 1, 1.0),
    ).run()
