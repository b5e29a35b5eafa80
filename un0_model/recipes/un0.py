"""Trains Un0: dictionary, then tokens with the gate; writes config.json and un0.safetensors.

    un0bench train un0 budget=cpu out=runs/train/un0

Stages resume. The dictionary is learned from pictures alone, the tokens by cross-entropy on its
words; the gate learns through the gains of the neurons it chose, with noise on the choice that
fades over the first half of the training. From a `base` the decoder goes on, on the words as they
are, and the tokens.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.errors import ConfigError
from suites.proc.scene import caption
from suites.proc.sets import load_set, request_seed, select
from suites.proc.train import draw_batch
from suites.proc.verify import verify
from suites.proc.words import VOCABULARY
from un0_model.card import model_card
from un0_model.dictionary import Dictionary
from un0_model.gate import GATES
from un0_model.pipeline import WEIGHTS, Un0
from un0_model.recipes.leg import Leg, summary
from un0_model.recipes.pictures import grid, redrawing_error, redrawn
from un0_model.recipes.scenes import Scenes, words_of
from un0_model.recipes.training import Stage, fingerprint, kept, save_weights
from un0_model.tokens import Shape, TokenModel, uniforms

__all__ = ["BUDGETS", "main"]

BUDGETS: dict[str, dict[str, Any]] = {
    "cpu": {
        "scenes": 240_000,
        "dictionary": 22_000,
        "tokens": 17_000,
        "again": {"decoder": 16_000, "tokens": 12_600},
        "batch": 64,
    },
    "gpu": {
        "scenes": 200_000,
        "dictionary": 24_000,
        "tokens": 20_000,
        "again": {"decoder": 20_000, "tokens": 20_000},
        "batch": 256,
    },
    "smoke": {
        "scenes": 200,
        "dictionary": 4,
        "tokens": 4,
        "again": {"decoder": 4, "tokens": 4},
        "batch": 8,
    },
}
PICTURES = 16  # a batch of the dictionary: many small steps learn faster here than few large ones
SHAPE = Shape(vocabulary=len(VOCABULARY) + 1)
GIVEN = ("gate", "neurons", "keep", "proposals", "trunk")
MIN_P = 0.05  # of the likeliest value: a rare beginning of an object stays, noise goes
KINDS = ", ".join(GATES)


def main(budget: str, leg: Leg) -> bool:
    """Runs what is left of the recipe; True when the weights are written."""
    size = BUDGETS[budget]
    token_model(leg.shape)  # tells what cannot be before the first stage
    scenes = Scenes(leg.out.parent / "scenes", size["scenes"], seed=leg.seed - 1)
    dictionary, model = _begin(leg)
    words = _dictionary_stage(dictionary, scenes, size, leg)
    if words is None:
        return False
    if (
        leg.base
        and leg.wants("decoder")
        and not _decoder_stage(dictionary, scenes, words, size, leg)
    ):
        return False
    if leg.wants("tokens") and not _tokens_stage(model, dictionary, scenes, words, size, leg):
        return False
    ship(model.cpu(), dictionary.cpu(), leg.out)
    return True


def _begin(leg: Leg) -> tuple[Dictionary, TokenModel]:
    """Dictionary and token model as they are before the first step: new, or the base's."""
    if leg.base:
        base = Un0.from_pretrained(leg.base)
        base.tokens.thaw()
        base.dictionary.decoder.thaw()
        if not leg.shape:
            return base.dictionary, base.tokens
        torch.manual_seed(leg.seed)
        return base.dictionary, _thin(base.tokens, leg.shape)
    torch.manual_seed(leg.seed)
    dictionary = Dictionary()
    torch.manual_seed(leg.seed)
    return dictionary, token_model(leg.shape)


def _thin(base: TokenModel, given: Mapping[str, int | str]) -> TokenModel:
    """A base without its pool, its trunk the wider by neurons that as yet write nothing.

    Raises ConfigError where anything else is asked of a base than to lose its pool.
    """
    thin = token_model(given)
    if thin.shape.gate != "none" or thin.shape.trunk < base.shape.trunk:
        raise ConfigError(
            "shape with base=: a base keeps its shape, or loses its pool (shape.gate=none) and "
            f"has a trunk of {base.shape.trunk} or more (shape.trunk)."
        )
    own, old = thin.state_dict(), base.state_dict()
    for block in thin.blocks:
        nn.init.zeros_(block.down.weight)
    for name, value in own.items():
        if value.numel():
            value[tuple(slice(n) for n in old[name].shape)] = old[name]
    return thin


def token_model(shape: Mapping[str, int | str]) -> TokenModel:
    """The shipped shape but for what is given. Raises ConfigError on what cannot be."""
    for key, value in shape.items():
        if key not in GIVEN:
            raise ConfigError(f"shape.{key} is not for change; {', '.join(GIVEN)} are.")
        if key == "gate":
            if not isinstance(value, str) or value not in GATES:
                raise ConfigError(f"shape.gate={value} is unknown; choose one of {KINDS}.")
        elif not isinstance(value, int) or value < 1:
            raise ConfigError(f"shape.{key}={value!r}; it is a whole number of at least 1.")
    pool = {"neurons": 0, "keep": 0} if shape.get("gate") == "none" else {}
    if pool.keys() & shape.keys():
        raise ConfigError("shape.gate=none has no pool; leave out shape.neurons and shape.keep.")
    wanted: Shape = dataclasses.replace(SHAPE, **{**shape, **pool})  # type: ignore[arg-type]
    most = wanted.neurons
    if wanted.gate in ("hash-learned", "hash"):
        most = min(most, (2 * wanted.caption - 1) * wanted.proposals)
    if wanted.keep > most:
        raise ConfigError(f"shape.keep={wanted.keep}, and the gate has {most} to keep of.")
    try:
        return TokenModel(wanted)
    except ValueError as error:
        raise ConfigError(f"shape.gate={wanted.gate}: {error}; choose another size.") from None


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

    def encode() -> np.ndarray:
        chunks = [
            dictionary.encode(
                scenes.batch(np.arange(i, min(i + 500, len(scenes))), leg.device)
            ).cpu()
            for i in range(0, len(scenes), 500)
        ]
        return torch.cat(chunks).to(torch.int16).numpy()

    name = f"words-{len(scenes)}-{fingerprint(dictionary)}.npy"
    return torch.from_numpy(kept(leg.out / name, encode)).long()


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
        index = torch.from_numpy(scenes.draw(rng, size["batch"], lean=leg.base is not None))
        with torch.autocast(leg.device, torch.bfloat16):
            return model.loss(
                scenes.words[index].to(leg.device),
                words[index].to(leg.device),
                noise=0.0 if leg.base else max(0.0, 1 - 2 * progress),
            )

    def sample(path: Path) -> None:
        prompts = select(load_set("val").prompts, "mini")[:100]
        batch = torch.tensor(
            [words_of(p.text, model.shape.caption) for p in prompts], device=leg.device
        )
        seeds = uniforms([request_seed(p.id, 0) for p in prompts]).to(leg.device)
        images = dictionary.pictures(model.generate(batch, seeds, min_p=MIN_P))
        right = [
            verify(dict(p.spec or {}), image) for p, image in zip(prompts, images, strict=True)
        ]
        path.with_suffix(".json").write_text(json.dumps({"verified_val": float(np.mean(right))}))
        grid(path, images)

    return Stage(
        name="tokens",
        leg=leg,
        modules={"tokens": model},
        loss=loss,
        steps=leg.steps_of("tokens", size),
        lr=2e-3,
        hidden=(".qkv.", ".out.", ".up.", ".down.", ".head."),
        rates={"pool": 2.0, "_key": 2.0, "gate.key": 2.0, "gate.node": 2.0, "gate.bias": 2.0},
        decay=0.8 if leg.base else 0.25,
        model=str(model.shape),
        sample=sample,
    ).run()


@torch.no_grad()
def ship(model: TokenModel, dictionary: Dictionary, out: Path) -> None:
    """Counts the neurons chosen in 20,000 requests, rounds to integers, writes the files."""
    s, rng = model.shape, np.random.default_rng(20_000)
    texts = [caption(s) for s in draw_batch(rng, 20_000)[0]]
    chosen = torch.zeros(s.layers * s.neurons, dtype=torch.bool)
    layer = torch.arange(s.layers)[:, None] * s.neurons
    for i in range(0, len(texts), 500):
        batch = torch.tensor([words_of(t, s.caption) for t in texts[i : i + 500]])
        route = model.route(batch)
        chosen[(route.index + layer)[route.gain > 0]] = True
    model.freeze()
    dictionary.decoder.freeze()
    config = {
        "shape": s.as_dict(),
        "words": list(VOCABULARY),
        "temperature": 1.0,
        "min_p": MIN_P,
        "chosen_in_20000": int(chosen.sum()),
        "card_captions": texts[:100],
        "training": {k: v for k, v in summary(out).items() if k not in ("stages", "base")},
    }
    tensors = {f"tokens.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"dictionary.{k}": v for k, v in dictionary.state_dict().items()}
    save_weights(
        out / WEIGHTS,
        {
            k: v.half() if v.is_floating_point() and not k.endswith(".step") else v
            for k, v in tensors.items()
        },
    )
    (out / "config.json").write_text(json.dumps(config, indent=1))
    (out / "README.md").write_text(model_card(Un0.from_pretrained(out)))
