"""Trains Un0: dictionary, then tokens with the gate; writes config.json and un0.safetensors.

    un0bench train un0 budget=cpu out=runs/train/un0

Stages resume. The dictionary is learned from pictures alone, the tokens by cross-entropy on its
words, one caption in ten dropped; the gate learns through the gains of the neurons it chose, with
noise on the choice that fades over the first half of the training. Last, the tokens learn to
draw without a second pass what guidance (Ho and Salimans 2022) would make of them.
From a `base` the decoder goes on, on the words as they are, and the tokens.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from harness.errors import ConfigError
from suites.proc.sets import load_set, request_seed, select
from suites.proc.train import draw_batch
from suites.proc.verify import verify
from suites.proc.words import VOCABULARY
from un0_model.arrangement import arranged_by_seed
from un0_model.card import model_card
from un0_model.dictionary import TOKENS, Dictionary
from un0_model.pipeline import CHOSEN, LEARNED, WEIGHTS, Un0
from un0_model.recipes.leg import Leg, summary
from un0_model.recipes.pictures import grid, redrawing_error, redrawn
from un0_model.recipes.scenes import Scenes, words_of
from un0_model.recipes.shapes import has_new_pool, reshaped, token_model
from un0_model.recipes.training import Stage, fingerprint, kept, save_weights
from un0_model.tokens import Sampling, TokenModel, uniforms

__all__ = ["BUDGETS", "main"]

BUDGETS: dict[str, dict[str, Any]] = {
    "cpu": {
        "scenes": 240_000,
        "dictionary": 22_000,
        "tokens": 17_000,
        "guided": 4_000,
        "again": {"decoder": 16_000, "tokens": 12_600, "guided": 4_000},
        "batch": 64,
    },
    "gpu": {
        "scenes": 200_000,
        "dictionary": 24_000,
        "tokens": 20_000,
        "guided": 5_000,
        "again": {"decoder": 20_000, "tokens": 20_000, "guided": 5_000},
        "batch": 256,
    },
    "smoke": {
        "scenes": 200,
        "dictionary": 4,
        "tokens": 4,
        "guided": 4,
        "again": {"decoder": 4, "tokens": 4, "guided": 4},
        "batch": 8,
    },
}
LATE = ("counting", "size", "text")  # what it draws worst, ADR 0015
ARRANGED = "pairs and numbers told"  # of the captions, for who resumes: ADR 0024
PICTURES = 16  # a batch of the dictionary: many small steps learn faster here than few large ones
DROPPED, EMPTY = 0.1, 1  # captions, and the one word that stands for none, as in `numbered`
GUIDANCE = 0.35  # how far beyond the captioned odds, in differences to those without a caption
SAMPLING = Sampling(temperature=0.5, min_p=0.1, sure=0.7, rare=0.05)  # ADR 0027
HIDDEN = (".qkv.", ".out.", ".up.", ".down.", ".head.")
RATES = {"pool": 2.0, "_key": 2.0, "gate.key": 2.0, "gate.node": 2.0, "gate.bias": 2.0}


def main(budget: str, leg: Leg) -> bool:
    """Runs what is left of the recipe; True when the weights are written."""
    size = BUDGETS[budget]
    if leg.only == "guided" and leg.shape:
        raise ConfigError(
            "only=guided teaches a model what it knows itself; train another shape by only=tokens."
        )
    dictionary, model = _begin(leg)  # tells what cannot be before anything takes long
    scenes = Scenes(leg.out.parent / "scenes", size["scenes"], leg.seed - 1, LATE, told=True)
    words = _dictionary_stage(dictionary, scenes, size, leg)
    if words is None:
        return False
    if (
        leg.base
        and leg.wants("decoder")
        and not _decoder_stage(dictionary, scenes, words, size, leg)
    ):
        return False
    if leg.only != "decoder":
        words = _sketched(words, model.shape.sketch, dictionary, scenes, leg)
    if leg.wants("tokens") and not _tokens_stage(model, dictionary, scenes, words, size, leg):
        return False
    if leg.wants("guided") and not _guided_stage(model, dictionary, scenes, words, size, leg):
        return False
    if leg.anew or not leg.base:
        _forget_untrained(model.cpu(), leg)
    ship(model.cpu(), dictionary.cpu(), leg.out)
    return True


def _begin(leg: Leg) -> tuple[Dictionary, TokenModel]:
    """Dictionary and token model as they are before the first step: new, or the base's."""
    if leg.base:
        base = Un0.from_pretrained(leg.base)
        base.tokens.thaw()
        base.dictionary.decoder.thaw()
        torch.manual_seed(leg.seed)
        if leg.anew:
            return base.dictionary, token_model(leg.shape)
        for block in base.tokens.blocks:
            block.ready()
        if not leg.shape:
            return base.dictionary, base.tokens
        return base.dictionary, reshaped(base.tokens, leg.shape)
    torch.manual_seed(leg.seed)
    dictionary = Dictionary()
    torch.manual_seed(leg.seed)
    return dictionary, token_model(leg.shape)


@torch.no_grad()
def _forget_untrained(model: TokenModel, leg: Leg) -> None:
    """Neurons that no caption chose are as they were drawn; they write nothing from now on."""
    _, drawn = _begin(leg)
    for block, before in zip(model.blocks, drawn.blocks, strict=True):
        write = block.pool[:, block.pool.shape[1] // 2 :]
        write[(block.pool == before.pool).all(1)] = 0


def _dictionary_stage(
    dictionary: Dictionary,
    scenes: Scenes,
    size: dict[str, Any],
    leg: Leg,
) -> Tensor | None:
    """Trains the dictionary, then writes every scene in its words int16 [n, 64]."""

    def loss(rng: np.random.Generator, progress: float) -> Tensor:
        images = scenes.batch(rng.integers(len(scenes), size=PICTURES), leg.device)
        with torch.autocast(leg.device, torch.bfloat16):
            drawn = dictionary(images)
        return redrawing_error(drawn.float(), images)

    done = (
        leg.base
        or Stage(
            name="dictionary",
            leg=leg,
            modules={"dictionary": dictionary},
            loss=loss,
            steps=size["dictionary"],
            lr=2e-3,
            hidden=("dictionary.",),
            ema=0.999,
            sample=partial(_redrawn, dictionary, scenes, leg.device),
        ).run()
    )
    if not done:
        return None
    dictionary.to(leg.device)

    name = f"words-{len(scenes)}-{fingerprint(dictionary)}.npy"
    return torch.from_numpy(kept(leg.out / name, partial(_encoded, dictionary, scenes, leg))).long()


def _sketched(
    words: Tensor, sketch: int, dictionary: Dictionary, scenes: Scenes, leg: Leg
) -> Tensor:
    """Words int64 [n, T] of every scene, those of the scene made smaller first."""
    if not sketch:
        return words
    dictionary.to(leg.device)
    smaller = math.isqrt(TOKENS // sketch)
    name = f"sketches-{sketch}-{len(scenes)}-{fingerprint(dictionary)}.npy"
    first = kept(leg.out / name, partial(_encoded, dictionary, scenes, leg, smaller))
    return torch.cat([torch.from_numpy(first).long(), words], dim=1)


def _encoded(dictionary: Dictionary, scenes: Scenes, leg: Leg, smaller: int = 1) -> np.ndarray:
    """Every scene in words of the dictionary int16 [n, 64], or of the scene made smaller."""
    chunks = []
    for i in range(0, len(scenes), 500):
        images = scenes.batch(np.arange(i, min(i + 500, len(scenes))), leg.device)
        small = F.avg_pool2d(images, smaller) if smaller > 1 else images
        chunks.append(dictionary.encode(small).cpu())
    return torch.cat(chunks).to(torch.int16).numpy()


def _decoder_stage(
    dictionary: Dictionary,
    scenes: Scenes,
    words: Tensor,
    size: dict[str, Any],
    leg: Leg,
) -> bool:
    """Trains the decoder alone, so that words and token model stay what they are to each other."""

    def loss(rng: np.random.Generator, progress: float) -> Tensor:
        index = rng.integers(len(scenes), size=PICTURES)
        images = scenes.batch(index, leg.device)
        with torch.autocast(leg.device, torch.bfloat16):
            drawn = dictionary.drawn(words[torch.from_numpy(index)].to(leg.device))
        return redrawing_error(drawn.float(), images)

    return Stage(
        name="decoder",
        leg=leg,
        modules={"decoder": dictionary.decoder},
        loss=loss,
        steps=leg.steps_of("decoder", size),
        lr=1e-3,
        hidden=("decoder.",),
        ema=0.999,
        decay=0.5,
        sample=partial(_redrawn, dictionary, scenes, leg.device),
    ).run()


def _redrawn(dictionary: Dictionary, scenes: Scenes, device: str, path: Path) -> None:
    """A sheet of pictures, each beside what the dictionary makes of it."""
    images = scenes.batch(np.arange(50), device)
    again = dictionary.decode(dictionary.encode(images))
    some = scenes.batch(np.arange(min(2000, len(scenes))), device)
    redrawn(path, images, again, words_used=len(dictionary.encode(some).unique()))


def _tokens_stage(
    model: TokenModel,
    dictionary: Dictionary,
    scenes: Scenes,
    words: Tensor,
    size: dict[str, Any],
    leg: Leg,
) -> bool:
    def loss(rng: np.random.Generator, progress: float) -> Tensor:
        given, code = _batch(rng, scenes, words, size["batch"], leg)
        dropped = torch.from_numpy(rng.random(len(given)) < DROPPED).to(leg.device)
        given = torch.where(dropped[:, None], _no_caption(given), given)
        noise = max(0.0, 1 - 2 * progress) if new_gate else 0.0
        with torch.autocast(leg.device, torch.bfloat16):
            return model.loss(given, code, noise)

    new_gate = leg.anew or not leg.base or has_new_pool(leg.shape)
    told = f"{model.shape}, {DROPPED:g} of the captions dropped, {ARRANGED}"
    told += ", from nothing" if leg.anew else ""
    decay = 0.8 if leg.base and not leg.anew else 0.25
    return _token_stage(
        "tokens", model, dictionary, loss, size, leg, lr=2e-3, decay=decay, told=told
    )


def _guided_stage(
    model: TokenModel,
    dictionary: Dictionary,
    scenes: Scenes,
    words: Tensor,
    size: dict[str, Any],
    leg: Leg,
) -> bool:
    """Teaches the model the odds that guidance makes of its own with and without a caption."""
    teacher = copy.deepcopy(model).to(leg.device).eval().requires_grad_(False)

    def loss(rng: np.random.Generator, progress: float) -> Tensor:
        given, code = _batch(rng, scenes, words, size["batch"], leg)
        with torch.autocast(leg.device, torch.bfloat16):
            with torch.no_grad():
                asked = teacher.expected(given, code)
                free = teacher.expected(_no_caption(given), code)
            return guided_loss(model.expected(given, code), asked, free)

    told = f"{model.shape}, guidance {GUIDANCE:g} of {fingerprint(teacher)}, {ARRANGED}"
    return _token_stage("guided", model, dictionary, loss, size, leg, lr=1e-3, decay=1.0, told=told)


def _token_stage(
    name: str,
    model: TokenModel,
    dictionary: Dictionary,
    loss: Callable[[np.random.Generator, float], Tensor],
    size: dict[str, Any],
    leg: Leg,
    *,
    lr: float,
    decay: float,
    told: str,
) -> bool:
    """Trains the token model by a loss; `told` is what a run that goes on must share."""
    return Stage(
        name=name,
        leg=leg,
        modules={"tokens": model},
        loss=loss,
        steps=leg.steps_of(name, size),
        lr=lr,
        hidden=HIDDEN,
        rates=RATES,
        decay=decay,
        model=f"{told}, leaning to {', '.join(LATE)}" if leg.base else told,
        sample=partial(_drawn, model, dictionary, leg.device),
    ).run()


def guided_loss(ours: Sequence[Tensor], asked: Sequence[Tensor], free: Sequence[Tensor]) -> Tensor:
    """Cross-entropy with the odds that guidance makes of a teacher's, with a caption and without.

    Logits [B, T, level] of each digit; the sum over digits of means over tokens.
    """
    losses = []
    for mine, told, untold in zip(ours, asked, free, strict=True):
        guided = (told + GUIDANCE * (told - untold)).softmax(-1)
        losses.append(F.cross_entropy(mine.flatten(0, 1), guided.flatten(0, 1)))
    return torch.stack(losses).sum()


def _batch(
    rng: np.random.Generator, scenes: Scenes, words: Tensor, count: int, leg: Leg
) -> tuple[Tensor, Tensor]:
    """Captions [B, W] and their pictures' words [B, T], those of a sketch first."""
    index = torch.from_numpy(scenes.draw(rng, count, lean=leg.base is not None))
    return scenes.words[index].to(leg.device), words[index].to(leg.device)


def _no_caption(words_BW: Tensor) -> Tensor:
    empty = torch.zeros_like(words_BW)
    empty[:, 0] = EMPTY
    return empty


def _drawn(model: TokenModel, dictionary: Dictionary, device: str, path: Path) -> None:
    """A sheet of pictures for prompts of `val`, and the share that is verified."""
    prompts = select(load_set("val").prompts, "mini")[:100]
    seeds = [request_seed(p.id, 0) for p in prompts]
    texts = arranged_by_seed([p.text for p in prompts], seeds)
    batch = torch.tensor([words_of(t, model.shape.caption) for t in texts], device=device)
    noise = uniforms(seeds, model.shape.written).to(device)
    images = dictionary.pictures(model.generate(batch, noise, SAMPLING))
    right = [verify(dict(p.spec or {}), image) for p, image in zip(prompts, images, strict=True)]
    path.with_suffix(".json").write_text(json.dumps({"verified_val": float(np.mean(right))}))
    grid(path, images)


@torch.no_grad()
def ship(model: TokenModel, dictionary: Dictionary, out: Path) -> None:
    """Counts the neurons chosen in 20,000 requests, rounds to integers, writes the files."""
    s, rng = model.shape, np.random.default_rng(20_000)
    texts = arranged_by_seed(draw_batch(rng, 20_000)[1], range(20_000))
    chosen = torch.zeros(s.layers, s.neurons, dtype=torch.bool)
    layer = torch.arange(s.layers)[:, None].expand(-1, s.keep)
    for i in range(0, len(texts), 500):
        batch = torch.tensor([words_of(t, s.caption) for t in texts[i : i + 500]])
        route = model.route(batch)
        serves = route.gain > 0
        chosen[layer.expand_as(serves)[serves], route.index[serves]] = True
    model.freeze()
    dictionary.decoder.freeze()
    config = {
        "shape": s.as_dict(),
        "words": list(VOCABULARY),
        "sampling": SAMPLING._asdict(),
        "arranged": True,
        "chosen_in_20000": int(chosen.sum()),
        "card_captions": texts[:100],
        "training": {k: v for k, v in summary(out).items() if k not in ("stages", "base")},
    }
    tensors = {f"tokens.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"dictionary.{k}": v for k, v in dictionary.state_dict().items()}
    tensors[CHOSEN] = chosen
    tensors[LEARNED] = torch.stack([block.learned for block in model.blocks])
    for i, some in enumerate(tensors[LEARNED]):
        for name in (f"tokens.blocks.{i}.pool", f"tokens.blocks.{i}.scale"):
            tensors[name] = tensors[name][some]
    save_weights(
        out / WEIGHTS,
        {
            k: v.half() if v.is_floating_point() and not k.endswith(".step") else v
            for k, v in tensors.items()
        },
    )
    (out / "config.json").write_text(json.dumps(config, indent=1))
    (out / "README.md").write_text(model_card(Un0.from_pretrained(out)))
