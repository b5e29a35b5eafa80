"""Active fraction of the pool against quality, processor time and the gate's share of it.

    un0bench train -m un0 base=... only=tokens shape.keep=3,8 'out=runs/sweep/keep-${shape.keep}'
    python -m un0_model.recipes.sweep runs/sweep/keep-*

Quality is verified content on all of `val`, drawn as conf/system/un0.yaml says, whatever stages the
models had; `active` is the share of the pool that served there, less than was asked for where a
short caption proposes too few. Seconds are of one batch of captions of 8 words or more, on one
thread, all models and stages taking turns. Writes sweep.json beside the shipped trainings, and
sweep.svg of it into docs/images where that is here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch

from harness.errors import ConfigError, in_one_line
from harness.records import Prompt
from harness.systems.un0 import Un0System
from suites.proc.sets import load_set, request_seed
from un0_model.bench import BATCH, STAGES, gate_stages, in_turns, long_captions, one_thread
from un0_model.pipeline import WEIGHTS, Un0
from un0_model.recipes.choose import FOLDER, drawn, judged, shares

__all__ = ["main", "plot"]

IMAGES = Path("docs/images")


def main(arguments: Sequence[str], path: Path = FOLDER / "training" / "sweep.json") -> int:
    """Prints a row a model, by active fraction, and writes them."""
    if not arguments:
        raise ConfigError("no model to sweep over: name folders of `un0bench train un0`.")
    models = sorted(map(Un0.from_pretrained, arguments), key=lambda model: model.tokens.shape.keep)
    if without := [str(model.folder) for model in models if not model.tokens.shape.keep]:
        raise ConfigError(f"{', '.join(without)} has no pool of which a share could serve.")
    prompts = load_set("val").prompts
    with one_thread():
        calls: dict[str, Callable[[], object]] = {}
        for model in models:
            words, noise = long_captions(model), model.uniforms(range(BATCH))
            stages = gate_stages(model.writer, model.decoder, words, noise)
            calls |= {f"{model.folder} {stage}": call for stage, call in stages.items()}
        seconds, rows = in_turns(calls), []
        for model in models:
            shape = model.tokens.shape
            whole, decided, gathered = (seconds[f"{model.folder} {stage}"] for stage in STAGES)
            system = Un0System(model=str(model.folder), threads=1)
            system.load()
            rows.append(
                {
                    "kept": shape.keep,
                    "active": _served(model, prompts) / shape.neurons,
                    "seconds": whole / BATCH,
                    "decides": (whole - decided) / whole,
                    "fetches": (decided - gathered) / whole,
                    "weights_sha256": {WEIGHTS: model.sha256},
                    **shares(prompts, judged(prompts, drawn(system, prompts))),
                }
            )
            print(rows[-1], flush=True)
    path.write_text(json.dumps({"prompts": len(prompts), "models": rows}, indent=1) + "\n")
    if IMAGES.is_dir():
        plot(rows, IMAGES / "sweep.svg")
    return 0


def _served(model: Un0, prompts: Sequence[Prompt]) -> float:
    """Neurons of a layer that serve an image, mean over prompts and layers."""
    gains = []
    for i in range(0, len(prompts), 100):
        some = prompts[i : i + 100]
        words = model.words([p.text for p in some], [request_seed(p.id, 0) for p in some])
        gains.append(model.writer.route(words).gain)
    return float((torch.cat(gains) > 0).sum(-1).float().mean())


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draws quality and time over the active fraction as an SVG."""
    plt.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "un0bench", "font.size": 10}
    figure, (quality, time) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    active = [100 * row["active"] for row in rows]
    for key, name in (("verified", "pooled, without emblem"), ("emblem", "emblem")):
        quality.plot(active, [100 * row[key] for row in rows], marker="o", label=name)
    quality.set(ylabel="verified content, %", ylim=(0, 100))
    whole = [1000 * row["seconds"] for row in rows]
    gate = [ms * (row["decides"] + row["fetches"]) for ms, row in zip(whole, rows, strict=True)]
    time.plot(active, whole, marker="o", label="a picture")
    time.plot(active, gate, marker="o", label="its gate: decision and fetching")
    time.set(ylabel="processor time, ms", yscale="log")
    for axes in (quality, time):
        axes.set(xlabel="neurons of the pool that serve, %", xscale="log")
        axes.axvline(0.1, color="grey", linewidth=0.8, linestyle=":")
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(in_one_line(lambda: main(sys.argv[1:])))
