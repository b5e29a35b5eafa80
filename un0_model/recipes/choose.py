"""Chooses on `val`: guidance of dense, temperature of un0; batch, threads, precision by speed.

    python -m un0_model.recipes.choose un0 [prompts]

The verifier judges, over as many settings and prompts for one system as for the other; of the
speeds the least processor time an image wins, which is what `time-1000x` counts. Writes
un0_model/weights/training/choice-<system>.json; what is chosen goes into conf/system by hand.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from harness.protocols import System
from harness.records import Prompt, Request
from harness.systems.diffusers_pipeline import DiffusersSystem
from harness.systems.un0 import Un0System
from suites.proc.sets import load_set, request_seed, select
from suites.proc.verify import verify

__all__ = ["main"]

FOLDER = Path(str(resources.files("un0_model"))) / "weights"
DENSE: dict[str, Any] = {
    "model": str(FOLDER / "dense"),
    "height": 64,
    "width": 64,
    "dtype": "auto",
    "call": {"clean_caption": False, "use_resolution_binning": False, "max_sequence_length": 20},
}
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "un0": [{"temperature": t} for t in (0.4, 0.6, 0.8, 1.0)],
    "dense": [{"guidance": g} for g in (1.5, 2.5, 4.0, 6.0)],
}
SPEEDS: dict[str, list[dict[str, Any]]] = {
    "un0": [{"threads": t} for t in (1, 2)],
    "dense": [{"threads": t, "dtype": d} for t in (1, 2) for d in ("float32", "bfloat16")],
}
BATCHES = (1, 4, 8, 16)


def main(arguments: Sequence[str]) -> int:
    """Prints and writes verified content by setting, then seconds an image by batch and threads."""
    name, count = arguments[0], int(arguments[1]) if len(arguments) > 1 else 100
    prompts = select(load_set("val").prompts, "mini")[:count]
    found: dict[str, Any] = {"prompts": len(prompts), "quality": [], "speed": []}
    for setting in SETTINGS[name]:
        shares = _verified(_build(name, {"threads": 2, **setting}), prompts)
        found["quality"].append({**setting, **shares})
        print(found["quality"][-1], flush=True)
    for setting in SPEEDS[name]:
        system = _build(name, {**SETTINGS[name][-1], **setting})
        found["speed"] += [{**setting, **_speed(system, prompts, batch)} for batch in BATCHES]
        print(*found["speed"][-len(BATCHES) :], sep="\n", flush=True)
    path = FOLDER / "training" / f"choice-{name}.json"
    path.write_text(json.dumps(found, indent=1))
    return 0


def _build(name: str, setting: Mapping[str, Any]) -> System:
    system: System = (
        Un0System(model=str(FOLDER / "un0"), **setting)
        if name == "un0"
        else DiffusersSystem(**{**DENSE, **setting})
    )
    system.load()
    return system


def _requests(prompts: Sequence[Prompt]) -> list[Request]:
    return [Request(id=i, prompt=p, seed=request_seed(p.id, 0)) for i, p in enumerate(prompts)]


def _verified(system: System, prompts: Sequence[Prompt]) -> dict[str, float]:
    """Share of verified images, pooled without emblem, and by category."""
    requests = _requests(prompts)
    right: dict[str, list[bool]] = {}
    for first in range(0, len(requests), 16):
        some = requests[first : first + 16]
        for request, image in zip(some, system.generate(some), strict=True):
            known = isinstance(image, np.ndarray)
            found = known and verify(dict(request.prompt.spec or {}), np.asarray(image))
            right.setdefault(request.prompt.category, []).append(found)
    pooled = [r for c, rows in right.items() if c != "emblem" for r in rows]
    by = {category: round(float(np.mean(rows)), 3) for category, rows in right.items()}
    return {"verified": round(float(np.mean(pooled)), 4), **by}


def _speed(system: System, prompts: Sequence[Prompt], batch: int) -> dict[str, float]:
    """Wall and processor seconds an image: the least of three runs of one batch."""
    requests, runs = _requests(prompts[:batch]), []
    for _ in range(3):
        wall, cpu = time.perf_counter(), time.process_time()
        system.generate(requests)
        runs.append((time.perf_counter() - wall, time.process_time() - cpu))
    wall_s, cpu_s = (min(column) / batch for column in zip(*runs, strict=True))
    return {"batch": batch, "wall_s": wall_s, "cpu_s": cpu_s}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
