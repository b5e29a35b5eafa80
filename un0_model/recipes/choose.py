"""Chooses on `val`: guidance of dense, sampling of un0; batch, threads, precision by speed.

    python -m un0_model.recipes.choose un0|dense [prompts|speed]
    python -m un0_model.recipes.choose dense-optimised|ceilings|cache|cosine

The verifier judges, over more settings for un0, which has four numbers, than for dense, which has
one; of the speeds the least processor time an image wins, which is what `time-1000x` counts. Writes
choice-<name>.json beside the shipped trainings; what it found is then written by hand into
conf/system/, and for un0 into the weights' config.json.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from diffusers import AutoencoderTiny

from harness.errors import ConfigError, in_one_line
from harness.protocols import System
from harness.records import Prompt, Request
from harness.stats import cluster_interval
from harness.systems.diffusers_pipeline import DiffusersSystem
from harness.systems.redrawn import CosineCode
from harness.systems.un0 import Un0System
from suites.proc.render import render
from suites.proc.sets import load_set, request_seed
from suites.proc.train import draw_batch
from suites.proc.verify import verify
from un0_model.dense import CALL
from un0_model.dictionary import WORDS
from un0_model.pipeline import Un0
from un0_model.tokens import Sampling

__all__ = ["CONF", "FOLDER", "drawn", "judged", "main", "requests_of", "shares"]

FOLDER = Path(str(resources.files("un0_model"))) / "weights"
CONF = Path(str(resources.files("conf"))) / "system"
DENSE: dict[str, Any] = {
    "model": str(FOLDER / "dense"),
    "height": 64,
    "width": 64,
    "dtype": "auto",
    "call": CALL,
}
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "un0": [  # all four numbers, or the weights' own would stand for what is missing
        Sampling(*numbers)._asdict()
        for numbers in (
            (0.8, 0.05, 1.0, 0.0),
            (1.0, 0.1, 1.0, 0.0),
            (1.0, 0.1, 0.7, 0.05),
            (0.8, 0.05, 0.7, 0.05),
            (0.7, 0.1, 0.7, 0.02),
            (0.7, 0.1, 0.8, 0.02),
            (0.6, 0.1, 0.5, 0.05),
            (0.6, 0.1, 0.7, 0.05),
            (0.6, 0.1, 0.7, 0.1),
            (0.6, 0.1, 0.85, 0.05),
            (0.5, 0.1, 0.7, 0.05),
            (0.5, 0.2, 0.7, 0.1),
            (0.4, 0.1, 0.7, 0.05),
        )
    ],
    "dense": [{"guidance": g} for g in (1.5, 2.0, 2.5, 3.0, 4.0, 6.0)],
}
SPEEDS: dict[str, list[dict[str, Any]]] = {
    "un0": [{"threads": t} for t in (1, 2)],
    "dense": [
        *({"threads": t, "dtype": d} for t in (1, 2) for d in ("float32", "bfloat16")),
        *({"threads": 1, "dtype": "bfloat16", "compile": c} for c in ("torch", "openvino")),
    ],
}
BATCHES = (1, 4, 8, 16)
STEPS, GUIDANCES = (4, 6, 8, 10, 12, 16, 20, 24, 32), (1.0, 1.5, 2.5)
MARGIN = 0.03  # of verified content: the claims' own


def main(arguments: Sequence[str]) -> int:
    """Prints what was found for a name, and writes it."""
    special = {"ceilings": _ceilings, "dense-optimised": _optimised}
    special |= {"cosine": _cosine}
    name, asked = arguments[0] if arguments else "", arguments[1] if len(arguments) > 1 else "100"
    if name not in {*special, *SETTINGS} or not (asked == "speed" or asked.isdecimal()):
        names = ", ".join(sorted({*special, *SETTINGS}))
        raise ConfigError(
            f"choose {name} {asked}: name one of {names}, then a number of prompts or `speed`."
        )
    path = FOLDER / "training" / f"choice-{name}.json"
    if name in special:
        found = special[name]()
    elif asked == "speed":
        found = json.loads(path.read_text()) | {"speed": _speeds(name)}
    else:
        found = _settings(name, int(asked)) | {"speed": _speeds(name)}
    path.write_text(json.dumps(found, indent=1))
    return 0


def _settings(name: str, count: int) -> dict[str, Any]:
    """Verified content by setting."""
    prompts = load_set("val").prompts[:count]  # categories take turns
    found: dict[str, Any] = {"prompts": len(prompts), "quality": []}
    for setting in SETTINGS[name]:
        right = _verified(_build(name, {"threads": 2, **setting}), prompts)
        found["quality"].append({**setting, **shares(prompts, right)})
        print(found["quality"][-1], flush=True)
    return found


def _speeds(name: str) -> list[dict[str, Any]]:
    """Seconds an image by threads, precision, compilation and batch."""
    prompts, rows = load_set("val").prompts, []
    for setting, batch in product(SPEEDS[name], BATCHES):
        system = _build(name, {**SETTINGS[name][-1], **setting})
        rows.append({**setting, **_speed(system, prompts, batch)})
        print(rows[-1], flush=True)
    return rows


def _optimised() -> dict[str, Any]:
    """The fewest evaluations with which dense is non-inferior to itself as conf/system has it.

    Settings are tried from cheap to dear on all of `val` but emblem, paired by prompt and seed,
    until the 95% interval of the loss stays within MARGIN.
    """
    prompts = [p for p in load_set("val").prompts if p.category != "emblem"]
    as_configured = yaml.safe_load((CONF / "dense.yaml").read_text())
    whole = {key: as_configured[key] for key in ("steps", "guidance")}
    right = _verified(_build("dense", {"threads": 1, **whole}), prompts)
    found: dict[str, Any] = {"prompts": len(prompts), "margin": MARGIN, "tried": []}
    found["dense"] = {**whole, **shares(prompts, right)}
    print(found["dense"], flush=True)
    for steps, guidance in sorted(product(STEPS, GUIDANCES), key=_evaluations):
        setting = {"steps": steps, "guidance": guidance}
        again = _verified(_build("dense", {"threads": 1, **setting}), prompts)
        loss = cluster_interval(np.subtract(again, right, dtype=float))
        row: dict[str, Any] = {**setting, "evaluations": _evaluations((steps, guidance))}
        row |= {"difference": [loss.low, loss.estimate, loss.high], **shares(prompts, again)}
        found["tried"].append(row)
        print(row, flush=True)
        if loss.low is not None and loss.low > -MARGIN:
            break
    return found


def _evaluations(setting: tuple[int, float]) -> int:
    """Passes of the denoiser an image: guidance above 1 doubles them."""
    steps, guidance = setting
    return steps * (2 if guidance > 1 else 1)


def _build(name: str, setting: Mapping[str, Any]) -> System:
    system: System = (
        Un0System(model=str(FOLDER / "un0"), **setting)
        if name == "un0"
        else DiffusersSystem(**{**DENSE, **setting})
    )
    system.load()
    return system


def requests_of(prompts: Sequence[Prompt]) -> list[Request]:
    return [Request(id=i, prompt=p, seed=request_seed(p.id, 0)) for i, p in enumerate(prompts)]


def _verified(system: System, prompts: Sequence[Prompt]) -> list[bool]:
    """Whether each prompt's image shows what was asked; a failure does not."""
    return judged(prompts, drawn(system, prompts))


def drawn(system: System, prompts: Sequence[Prompt]) -> list[Any]:
    """A picture for each prompt, uint8 [64, 64, 3], or what the system gave instead."""
    requests = requests_of(prompts)
    images: list[Any] = []
    for first in range(0, len(requests), 16):
        images += system.generate(requests[first : first + 16])
    return images


def _ceilings() -> dict[str, Any]:
    """What renders of all of `val` are verified for once an autoencoder has drawn them again."""
    rng, prompts = np.random.default_rng(0), load_set("val").prompts
    images = np.stack([render(dict(p.spec or {}), rng) for p in prompts])
    vae = AutoencoderTiny.from_pretrained(FOLDER / "dense" / "vae").float().eval()
    dictionary = Un0.from_pretrained(FOLDER / "un0").dictionary
    twice: dict[str, list[np.ndarray]] = {"dense": [], "un0": []}
    for first in range(0, len(images), 50):
        x = torch.from_numpy(images[first : first + 50]).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            again = vae.decode(vae.encode(x * 2 - 1).latents).sample / 2 + 0.5
        twice["dense"] += [*(again.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()]
        twice["un0"] += [*dictionary.pictures(dictionary.encode(x))]
    found = {name: shares(prompts, judged(prompts, pictures)) for name, pictures in twice.items()}
    print(found)
    return {"prompts": len(prompts), **found}


def _cosine() -> dict[str, Any]:
    """Levels of five numbers of a block's cosines, no more words than the dictionary has: the best.

    Mean of the three colours, and luma's first row and column, each with an odd number of levels,
    so that one of them is 0, or left out.
    """
    prompts = [p for p in load_set("val").prompts if p.category != "emblem"]
    rng = np.random.default_rng(0)
    seen = np.stack([render(spec, rng) for spec in draw_batch(rng, 500)[0]])
    images = np.stack([render(dict(p.spec or {}), rng) for p in prompts])
    tried: list[dict[str, Any]] = []
    for row, column, chroma in product((1, 3, 5), (1, 3, 5), (5, 6, 8, 10, 12, 16)):
        levels = (WORDS // (row * column * chroma**2), row, column, chroma, chroma)
        places = ((0, 0, 0), (0, 1, 0), (1, 0, 0), (0, 0, 1), (0, 0, 2))
        if levels[0] < 2:
            continue
        numbers = [[*at, n] for at, n in zip(places, levels, strict=True) if n > 1]
        again = CosineCode(numbers, seen).redraw(images)
        tried.append({"numbers": numbers, **shares(prompts, judged(prompts, list(again)))})
    best = sorted(tried, key=lambda found: found["verified"], reverse=True)[:5]
    print(*best, sep="\n")
    return {"prompts": len(prompts), "tried": len(tried), "best": best}


def judged(prompts: Sequence[Prompt], images: Sequence[Any]) -> list[bool]:
    """Whether each image shows what its prompt asks for; a failure does not."""
    return [
        isinstance(image, np.ndarray) and verify(dict(prompt.spec or {}), image)
        for prompt, image in zip(prompts, images, strict=True)
    ]


def shares(prompts: Sequence[Prompt], right: Sequence[bool]) -> dict[str, float]:
    """Share of verified images, pooled without emblem and by category."""
    rows: dict[str, list[bool]] = {}
    for prompt, found in zip(prompts, right, strict=True):
        rows.setdefault(prompt.category, []).append(found)
    pooled = [found for category, some in rows.items() if category != "emblem" for found in some]
    by = {category: round(float(np.mean(some)), 3) for category, some in rows.items()}
    return {"verified": round(float(np.mean(pooled)), 4), **by}


def _speed(system: System, prompts: Sequence[Prompt], batch: int) -> dict[str, float]:
    """Wall and processor seconds an image: the least of three runs of one batch."""
    requests, runs = requests_of(prompts[:batch]), []
    for _ in range(3):
        wall, cpu = time.perf_counter(), time.process_time()
        system.generate(requests)
        runs.append((time.perf_counter() - wall, time.process_time() - cpu))
    wall_s, cpu_s = (min(column) / batch for column in zip(*runs, strict=True))
    return {"batch": batch, "wall_s": wall_s, "cpu_s": cpu_s}


if __name__ == "__main__":
    sys.exit(in_one_line(lambda: main(sys.argv[1:])))
