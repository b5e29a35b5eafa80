"""Trains the conventional baseline and saves it in diffusers layout.

    un0bench train dense budget=cpu out=runs/train/dense

First the autoencoder on pictures alone, then the transformer and its text encoder together: flow
matching (Lipman et al. 2023) with logit-normal times (Esser et al. 2024) leaning to noise, one
caption in ten dropped for guidance (Ho and Salimans 2022), averaged weights. From a `base` the
decoder goes on, on the latents as they are, and the denoiser.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderTiny, PixArtAlphaPipeline
from torch import Tensor

from suites.proc.sets import load_set, request_seed, select
from suites.proc.verify import verify
from suites.proc.words import VOCABULARY
from un0_model import dense
from un0_model.recipes.leg import Leg
from un0_model.recipes.pictures import grid, redrawing_error, redrawn
from un0_model.recipes.scenes import Scenes
from un0_model.recipes.training import Stage, fingerprint, kept

__all__ = [
    "BUDGETS",
    "LATE",
    "answer",
    "denoising",
    "drawn",
    "encoded",
    "loaded",
    "main",
    "save",
    "tokenised",
]

BUDGETS: dict[str, dict[str, Any]] = {
    "cpu": {
        "scenes": 240_000,
        "autoencoder": 14_000,
        "denoiser": 7_000,
        "again": {"decoder": 9_000, "denoiser": 5_300},
        "batch": 64,
    },
    "gpu": {
        "scenes": 200_000,
        "autoencoder": 12_000,
        "denoiser": 24_000,
        "again": {"decoder": 12_000, "denoiser": 24_000},
        "batch": 256,
    },
    "smoke": {
        "scenes": 200,
        "autoencoder": 4,
        "denoiser": 4,
        "again": {"decoder": 4, "denoiser": 4},
        "batch": 8,
        "drawn": 4,
    },
}
WIDTH, LAYERS = 160, 6
LATE = ("counting", "text")  # what keeps it below what is asked of it, ADR 0015
DROPPED = 0.1
NOISE = 0.1  # on the latents, whose deviation is about 1: the decoder forgives the denoiser
PICTURES = 16  # a batch of the autoencoder: many small steps learn faster here than few large ones


def main(budget: str, leg: Leg) -> bool:
    """Runs what is left of the recipe; True when the pipeline is saved."""
    size = BUDGETS[budget]
    scenes = Scenes(leg.out.parent / "scenes", size["scenes"], leg.seed - 1, LATE)
    pipe = _begin(leg)
    latents = _autoencoder_stage(pipe.vae, scenes, size, leg)
    if latents is None:
        return False
    if (
        leg.base
        and leg.wants("decoder")
        and not _decoder_stage(pipe.vae, scenes, latents, size, leg)
    ):
        return False
    if leg.wants("denoiser") and not _denoiser_stage(pipe, scenes, latents, size, leg):
        return False
    save(pipe, leg.out)
    return True


def save(pipe: PixArtAlphaPipeline, out: Path) -> None:
    """Writes the pipeline in float16."""
    for part in (pipe.transformer, pipe.text_encoder, pipe.vae):
        part.cpu().half()
    pipe.save_pretrained(out / "pipeline", safe_serialization=True)


def loaded(folder: Path) -> PixArtAlphaPipeline:
    """A pipeline in float32, without a word of where it lay, which is no fact of the weights."""
    pipe = PixArtAlphaPipeline.from_pretrained(folder, dtype=torch.float32)
    for part in (pipe, pipe.transformer, pipe.vae):
        part.register_to_config(_name_or_path="")
    return pipe


def _begin(leg: Leg) -> PixArtAlphaPipeline:
    """The pipeline as it is before the first step: new, or the base's."""
    if leg.base:
        return loaded(leg.base)
    torch.manual_seed(leg.seed)
    vae = dense.autoencoder()
    torch.manual_seed(leg.seed)
    words = dense.tokenizer(VOCABULARY)
    encoder = dense.text_encoder(len(words), WIDTH)
    denoiser = dense.transformer(WIDTH, LAYERS, caption_width=WIDTH)
    return dense.pipeline(vae, denoiser, encoder, words)


def _autoencoder_stage(
    vae: AutoencoderTiny,
    scenes: Scenes,
    size: dict[str, Any],
    leg: Leg,
) -> Tensor | None:
    """Trains the autoencoder, sets its scaling factor, returns latents float16 [n, 8, 8, 8]."""

    def loss(rng: np.random.Generator, progress: float) -> Tensor:
        images = scenes.batch(rng.integers(len(scenes), size=PICTURES), leg.device) * 2 - 1
        with torch.autocast(leg.device, torch.bfloat16):
            latents = vae.encoder(images)
            noisy = latents + NOISE * torch.randn_like(latents)
            drawn = vae.decoder(noisy)
        # the last term keeps latents near unit scale, where the decoder's own clamp is harmless
        return _error(drawn.float(), images) + 1e-3 * latents.square().mean()

    vae.to(memory_format=torch.channels_last)
    done = (
        leg.base
        or Stage(
            name="autoencoder",
            leg=leg,
            modules={"vae": vae},
            loss=loss,
            steps=size["autoencoder"],
            lr=1e-3,
            hidden=("vae.",),
            ema=0.999,
            sample=partial(_redrawn, vae, scenes, leg.device),
        ).run()
    )
    if not done:
        return None
    latents = encoded(vae, scenes, leg.out, leg.device)
    if not leg.base:
        # latents reach the denoiser at unit deviation, as every pipeline's scaling_factor promises
        vae.register_to_config(scaling_factor=round(1 / latents[:5000].float().std().item(), 4))
    return latents


def encoded(vae: AutoencoderTiny, scenes: Scenes, folder: Path, device: str) -> Tensor:
    """Latents float16 [n, 8, 8, 8] of all scenes; kept in the folder by the weights' name."""
    vae.to(device, memory_format=torch.contiguous_format)

    @torch.no_grad()
    def encode() -> np.ndarray:
        chunks = [
            vae.encode(
                scenes.batch(np.arange(i, min(i + 500, len(scenes))), device) * 2 - 1
            ).latents.cpu()
            for i in range(0, len(scenes), 500)
        ]
        return torch.cat(chunks).half().numpy()

    name = f"latents-{len(scenes)}-{fingerprint(vae)}.npy"
    return torch.from_numpy(kept(folder / name, encode))


def _decoder_stage(
    vae: AutoencoderTiny,
    scenes: Scenes,
    latents: Tensor,
    size: dict[str, Any],
    leg: Leg,
) -> bool:
    """Trains the decoder alone, so that latents and denoiser stay what they are to each other."""

    def loss(rng: np.random.Generator, progress: float) -> Tensor:
        index = rng.integers(len(scenes), size=PICTURES)
        images = scenes.batch(index, leg.device) * 2 - 1
        given = latents[torch.from_numpy(index)].float().to(leg.device)
        with torch.autocast(leg.device, torch.bfloat16):
            drawn = vae.decoder(given + NOISE * torch.randn_like(given))
        return _error(drawn.float(), images)

    vae.decoder.to(memory_format=torch.channels_last)
    done = Stage(
        name="decoder",
        leg=leg,
        modules={"decoder": vae.decoder},
        loss=loss,
        steps=leg.steps_of("decoder", size),
        lr=1e-3,
        hidden=("decoder.",),
        ema=0.999,
        decay=0.5,
        sample=partial(_redrawn, vae, scenes, leg.device),
    ).run()
    vae.decoder.to(memory_format=torch.contiguous_format)
    return done


def _error(drawn: Tensor, images: Tensor) -> Tensor:
    """The error of pictures in [-1, 1]."""
    return 2 * redrawing_error(drawn / 2, images / 2)


def _redrawn(vae: AutoencoderTiny, scenes: Scenes, device: str, path: Path) -> None:
    """A sheet of pictures, each beside what the autoencoder makes of it."""
    images = scenes.batch(np.arange(50), device)
    with torch.no_grad():
        again = vae.decode(vae.encode(images * 2 - 1).latents).sample / 2 + 0.5
    redrawn(path, images, again)


def _denoiser_stage(
    pipe,
    scenes: Scenes,
    latents: Tensor,
    size: dict[str, Any],
    leg: Leg,
) -> bool:
    return Stage(
        name="denoiser",
        leg=leg,
        modules={"transformer": pipe.transformer, "text_encoder": pipe.text_encoder},
        loss=denoising(pipe, scenes, latents, size["batch"], leg),
        steps=leg.steps_of("denoiser", size),
        lr=1e-3,
        hidden=("transformer_blocks.", "encoder.layers."),
        ema=0.999,
        model=f"leaning to {', '.join(LATE)}" if leg.base else "",
        sample=partial(drawn, pipe, size.get("drawn", 60), 20, 3.0),
    ).run()


def denoising(
    pipe: PixArtAlphaPipeline, scenes: Scenes, latents: Tensor, batch: int, leg: Leg
) -> Callable[[np.random.Generator, float], Tensor]:
    """The error of the flow on some scenes of the suite; from a base it leans to late ones."""
    scale = pipe.vae.config.scaling_factor
    count = len(scenes)
    encoded = tokenised(pipe, [*scenes.captions, ""])

    def loss(rng: np.random.Generator, progress: float) -> Tensor:
        index = scenes.draw(rng, batch, lean=leg.base is not None)
        clean = (latents[torch.from_numpy(index)].float() * scale).to(leg.device)
        index[rng.random(len(index)) < DROPPED] = count
        text = torch.from_numpy(index)
        # times and noise from the step's own seed
        t = torch.from_numpy(_times(rng, len(index))).float().to(leg.device)
        noise = torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32)).to(leg.device)
        mixed = torch.lerp(clean, noise, t[:, None, None, None])
        flow = answer(pipe, mixed, t * 1000, encoded, text)
        return (flow - (noise - clean)).square().mean()

    return loss


def tokenised(pipe: PixArtAlphaPipeline, texts: Sequence[str]) -> Any:
    """Captions as the text encoder reads them: `input_ids` and `attention_mask` [n, 20]."""
    return pipe.tokenizer(
        list(texts),
        padding="max_length",
        max_length=dense.CAPTION_TOKENS,
        truncation=True,
        return_tensors="pt",
    )


def answer(
    pipe: PixArtAlphaPipeline, latents: Tensor, time: Tensor, encoded: Any, rows: Tensor
) -> Tensor:
    """What the denoiser says to latents [B, 8, 8, 8] at times [B] and captions of these rows."""
    device = latents.device
    mask = encoded.attention_mask[rows].to(device)
    with torch.autocast(device.type, torch.bfloat16):
        caption = pipe.text_encoder(encoded.input_ids[rows].to(device), attention_mask=mask)[0]
        found = pipe.transformer(
            latents,
            encoder_hidden_states=caption,
            encoder_attention_mask=mask,
            timestep=time,
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
        ).sample
    return found.float()


def drawn(pipe: PixArtAlphaPipeline, count: int, steps: int, guidance: float, path: Path) -> None:
    """A sheet of pictures for prompts of `val`, and the share that is verified."""
    pipe.set_progress_bar_config(disable=True)
    prompts = select(load_set("val").prompts, "mini")[:count]
    images = []
    for i in range(0, len(prompts), 20):
        some = prompts[i : i + 20]
        seeds = [torch.Generator().manual_seed(request_seed(p.id, 0)) for p in some]
        images.append(
            pipe(
                [p.text for p in some],
                num_inference_steps=steps,
                guidance_scale=guidance,
                generator=seeds,
                height=64,
                width=64,
                output_type="np",
                **dense.CALL,
            ).images
        )
    pixels = (np.concatenate(images) * 255).round().astype(np.uint8)
    right = [verify(dict(p.spec or {}), image) for p, image in zip(prompts, pixels, strict=True)]
    path.with_suffix(".json").write_text(json.dumps({"verified_val": float(np.mean(right))}))
    grid(path, pixels)


def _times(rng: np.random.Generator, count: int) -> np.ndarray:
    """Noise levels in (0, 1): four in five logit-normal around 0.73, the others anywhere.

    What is where in 8 x 8 latents is decided above 0.85, which a centred draw seldom visits.
    """
    high = 1 / (1 + np.exp(-rng.normal(1.0, 1.0, size=count)))
    return np.where(rng.random(count) < 0.8, high, rng.random(count))
