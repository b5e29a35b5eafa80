"""Scores the images of a run: `python -m harness.scoring RUN`, a process of its own.

Runs after the last block, on images from metered windows only. Writes items.parquet, features/,
the control systems' rows of requests.parquet, and adds to settings.json the facts of the judge that
verdicts use. The controls are renders of the core's own specs: unharmed (the noise floor), and each
with one defect that a sound measure must see.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from harness import assets, bundle
from harness.child import build
from harness.errors import InputError, Un0BenchError
from harness.metrics.clip import Judge
from harness.metrics.reference import load_reference
from harness.records import Prompt, Request
from suites.proc.render import SIZE, render
from suites.proc.sets import request_seed

__all__ = ["controls", "main", "score"]

BATCH = 64
BLUR_SIGMA_PX = 1.5
JPEG_QUALITY = 30
PUBLISHED = ("extractor_sha256", "features_sha256", "matched_clip", "shuffled_clip")


def main(arguments: Sequence[str]) -> int:
    """Scores the run named on the command line; an error of the input is one JSON line."""
    try:
        score(Path(arguments[0]))
    except Un0BenchError as error:
        print(json.dumps({"class": type(error).__name__, "message": str(error)}), flush=True)
        return error.exit_code
    return 0


def score(run: Path) -> None:
    """Writes everything that is computed from pixels; the same run gives the same bytes."""
    suite = bundle.read_yaml(run / "config.yaml")["suite"]
    prompts = bundle.read_prompts(run)
    measured = [row for row in bundle.read_table(run, "requests") if row["window"] != "control"]
    extractors = [build(config) for config in suite["extractors"].values()]
    judge = Judge(assets.resolve(suite["judge"])) if suite.get("judge") else None
    settings = bundle.read_json(run / "settings.json")
    if suite.get("reference"):
        path = assets.resolve(suite["reference"])
        reference = load_reference(path, judge.path if judge else None)
        known = reference.statistics
        settings["reference"] = {key: known[key] for key in PUBLISHED if key in known}
        bundle.write_features(run, "reference", reference.features)
    core = _core(measured, prompts)
    control_rows: list[dict[str, Any]] = []
    items: list[dict[str, Any]] = []
    for system in dict.fromkeys(row["system"] for row in measured):
        rows = [row for row in measured if row["system"] == system]
        kept = [_kept(run, row) for row in rows]
        items += _score_system(run, system, rows, kept, prompts, extractors, judge)
        _say(system)
    if suite.get("controls", True) and core and all(prompt.spec for prompt, _ in core):
        for name, images in controls(core):
            rows = _control_rows(f"control:{name}", core, images)
            control_rows += rows
            args = (run, f"control:{name}", rows, images, prompts, extractors, judge)
            items += _score_system(*args)
            _say(f"control:{name}")
    bundle.write_table(run, "requests", measured + control_rows)
    bundle.write_table(run, "items", items)
    bundle.write_json(run / "settings.json", settings)


def controls(
    core: Sequence[tuple[Prompt, int]],
) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Renders of the core's specs with fresh seeds, unharmed and with one defect each."""
    renders = {name: [_render(*pair, name) for pair in core] for name in ("reference", "defects")}
    yield "reference", renders["reference"]
    clean = renders["defects"]
    yield "blur", [_blurred(image) for image in clean]
    yield "jpeg30", [_jpeg(image) for image in clean]
    yield "shuffled", _shuffled(core, clean)
    yield "dropped-modes", _dropped(core, clean)


def _render(prompt: Prompt, index: int, purpose: str) -> np.ndarray:
    seed = request_seed(f"{prompt.id}|{purpose}", index)
    return render(dict(prompt.spec or {}), np.random.default_rng(seed))


def _blurred(image: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(image, sigma=(BLUR_SIGMA_PX, BLUR_SIGMA_PX, 0))


def _jpeg(image: np.ndarray) -> np.ndarray:
    sink = io.BytesIO()
    Image.fromarray(image).save(sink, format="JPEG", quality=JPEG_QUALITY)
    with Image.open(sink) as again:
        return np.asarray(again.convert("RGB"))


def _shuffled(core: Sequence[tuple[Prompt, int]], images: list[np.ndarray]) -> list[np.ndarray]:
    """Every prompt gets the render of another one: the order turned by half its length."""
    turn = max(1, len(core) // 2)
    return images[turn:] + images[:turn]


def _dropped(core: Sequence[tuple[Prompt, int]], images: list[np.ndarray]) -> list[np.ndarray]:
    """Half of the categories are never drawn: their prompts get renders of the other half."""
    names = sorted({prompt.category for prompt, _ in core})
    kept = set(names[::2])
    pairs = zip(core, images, strict=True)
    pool = [image for (prompt, _), image in pairs if prompt.category in kept]
    spare = iter(pool * (len(core) // len(pool) + 1))
    return [
        image if prompt.category in kept else next(spare)
        for (prompt, _), image in zip(core, images, strict=True)
    ]


# Rows ------------------------------------------------------------------------------------------


def _core(
    rows: Sequence[Mapping[str, Any]], prompts: Mapping[str, Prompt]
) -> list[tuple[Prompt, int]]:
    """The core's prompts, each with how often it came before (its index)."""
    first = next((row["system"] for row in rows if row["core"]), None)
    counts: dict[str, int] = {}
    core = []
    for row in rows:
        if row["core"] and row["system"] == first:
            index = counts.get(row["prompt_id"], 0)
            counts[row["prompt_id"]] = index + 1
            core.append((prompts[row["prompt_id"]], index))
    return core


def _control_rows(
    system: str, core: Sequence[tuple[Prompt, int]], images: Sequence[np.ndarray]
) -> list[dict[str, Any]]:
    return [
        {
            "request": number,
            "window": "control",
            "system": system,
            "prompt_id": prompt.id,
            "seed": index,
            "core": True,
            "latency_ns": None,
            "image_sha256": hashlib.sha256(image.tobytes()).hexdigest(),
            "failure": None,
        }
        for number, ((prompt, index), image) in enumerate(zip(core, images, strict=True))
    ]


def _kept(run: Path, row: Mapping[str, Any]) -> np.ndarray | None:
    """The image of a row; None for a failure, and for windows whose images are not kept."""
    path = bundle.image_path(run, row["system"], row["request"])
    if row["failure"] is not None or not path.is_file():
        return None
    image = bundle.read_image(path)
    if hashlib.sha256(image.tobytes()).hexdigest() != row["image_sha256"]:
        raise InputError(f"{path} is not the image that was generated (its hash differs).")
    return image


def _score_system(
    run: Path,
    system: str,
    rows: Sequence[Mapping[str, Any]],
    images: Sequence[np.ndarray | None],
    prompts: Mapping[str, Prompt],
    extractors: Sequence[Any],
    judge: Judge | None,
) -> list[dict[str, Any]]:
    """Item rows of one system; writes its features. A failure has verified = 0 and no features."""
    items = [
        {"request": row["request"], "system": system, "metric": "verified", "value": 0.0}
        for row in rows
        if row["failure"] is not None and prompts[row["prompt_id"]].spec is not None
    ]
    features: list[np.ndarray] = []
    there = [(at, image) for at, image in enumerate(images) if image is not None]
    for start in range(0, len(there), BATCH):
        part = [at for at, _ in there[start : start + BATCH]]
        pixels = [image for _, image in there[start : start + BATCH]]
        asked = [_request(rows[at], prompts) for at in part]
        scored = {e.name: e.rows(_fit(pixels, asked), asked)[:, 0] for e in extractors}
        if judge is not None:
            embedded, scored["clip"] = judge.score(pixels, asked)
            known = zip(embedded, scored["clip"], strict=True)
            features += [row for row, value in known if not math.isnan(value)]
        for metric, values in scored.items():
            items += [
                {
                    "request": request.id,
                    "system": system,
                    "metric": metric,
                    "value": float(value),
                }
                for request, value in zip(asked, values, strict=True)
                if not math.isnan(value)
            ]
    bundle.write_features(run, system, np.stack(features) if features else None)
    return items


def _request(row: Mapping[str, Any], prompts: Mapping[str, Prompt]) -> Request:
    return Request(id=row["request"], prompt=prompts[row["prompt_id"]], seed=row["seed"])


def _fit(images: Sequence[Any], requests: Sequence[Request]) -> list[np.ndarray]:
    """Pictures of another size are brought to the verifier's by the mean over boxes of pixels."""
    return [
        np.asarray(Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BOX))
        if request.prompt.spec is not None and image.shape[:2] != (SIZE, SIZE)
        else image
        for image, request in zip(images, requests, strict=True)
    ]


def _say(system: str) -> None:
    """One line of progress for the parent."""
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps({"scored": system}), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
