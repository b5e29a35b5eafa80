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
import itertools
import json
import math
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image
from scipy import ndimage

from harness import assets, bundle
from harness.child import build
from harness.errors import InputError, Un0BenchError
from harness.features import Keeper, write_moments
from harness.metrics.clip import Judge
from harness.metrics.reference import load_reference
from harness.protocols import Whole
from harness.records import Prompt, Request
from harness.state import processors
from suites.proc.render import SIZE, render
from suites.proc.sets import request_seed

__all__ = ["ahead", "batches", "controls", "main", "score"]

Row = dict[str, Any]
T = TypeVar("T")
U = TypeVar("U")
BATCH = 64  # pictures in memory at once
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
    built = [build(config) for config in suite["extractors"].values()]
    whole = [extractor for extractor in built if isinstance(extractor, Whole)]
    extractors = [extractor for extractor in built if not isinstance(extractor, Whole)]
    judge = Judge(assets.resolve(suite["judge"])) if suite.get("judge") else None
    settings = bundle.read_json(run / "settings.json")
    if judge is not None:
        settings["judge_sha256"] = judge.sha256
    for extractor in whole:
        write_moments(run, extractor)
        settings.setdefault("whole", {})[extractor.name] = dict(extractor.facts())
    if suite.get("reference"):
        path = assets.resolve(suite["reference"])
        reference = load_reference(path, judge.path if judge else None)
        known = reference.statistics
        settings["reference"] = {key: known[key] for key in PUBLISHED if key in known}
        bundle.write_features(run, "reference", reference.features)
    core = _core(measured, prompts)
    control_rows: list[Row] = []
    items: list[Row] = []
    for system in dict.fromkeys(row["system"] for row in measured):
        rows = [row for row in measured if row["system"] == system]
        images = ahead(partial(_kept, run), rows)
        pictures = zip(rows, images, strict=True)
        items += _score_system(run, system, pictures, prompts, extractors, judge, whole)
        _say(system)
    if suite.get("controls", True) and core and all(prompt.spec for prompt, _ in core):
        for name, drawn in controls(core).items():
            shown = _shown(f"control:{name}", core, drawn, control_rows)
            system = f"control:{name}"
            items += _score_system(run, system, shown, prompts, extractors, judge, whole)
            _say(f"control:{name}")
    bundle.write_table(run, "requests", measured + control_rows)
    bundle.write_table(run, "items", items)
    bundle.write_json(run / "settings.json", settings)


def controls(core: Sequence[tuple[Prompt, int]]) -> dict[str, Callable[[int], np.ndarray]]:
    """Renders of the core's specs with fresh seeds, unharmed and with one defect each.

    Each draws the picture of a place in the core when it is asked for, so that any number fits in
    memory.
    """
    turn, stand_ins = max(1, len(core) // 2), _stand_ins(core)

    def clean(at: int) -> np.ndarray:
        return _render(*core[at], "defects")

    return {
        "reference": lambda at: _render(*core[at], "reference"),
        "blur": lambda at: _blurred(clean(at)),
        "jpeg30": lambda at: _jpeg(clean(at)),
        "shuffled": lambda at: clean((at + turn) % len(core)),  # each prompt another one's
        "dropped-modes": lambda at: clean(stand_ins[at]),
    }


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


def _stand_ins(core: Sequence[tuple[Prompt, int]]) -> list[int]:
    """Places in the core: half of the categories are never drawn, but the other half twice."""
    kept = set(sorted({prompt.category for prompt, _ in core})[::2])
    pool = [at for at, (prompt, _) in enumerate(core) if prompt.category in kept]
    spare = itertools.cycle(pool)
    return [at if prompt.category in kept else next(spare) for at, (prompt, _) in enumerate(core)]


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


def _shown(
    system: str,
    core: Sequence[tuple[Prompt, int]],
    drawn: Callable[[int], np.ndarray],
    rows: list[Row],
) -> Iterator[tuple[Row, np.ndarray]]:
    """A control's pictures, each with its row, which is added to `rows`."""
    for number, (prompt, index) in enumerate(core):
        image = drawn(number)
        rows.append(
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
        )
        yield rows[-1], image


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
    pictures: Iterable[tuple[Mapping[str, Any], np.ndarray | None]],
    prompts: Mapping[str, Prompt],
    extractors: Sequence[Any],
    judge: Judge | None,
    whole: Sequence[Whole] = (),
) -> list[Row]:
    """Item rows of one system; writes its features. A failure has verified = 0 and no features."""
    keeper, core = Keeper(whole), dict[int, None]()
    failed: list[Row] = []
    items: list[Row] = []
    features: list[np.ndarray] = []

    def there() -> Iterator[tuple[Request, np.ndarray]]:
        for row, image in pictures:
            if row.get("core"):
                core[row["request"]] = None
            if row["failure"] is not None and prompts[row["prompt_id"]].spec is not None:
                failed.append(_item(row["request"], system, "verified", 0.0))
            if image is not None:
                yield _request(row, prompts), image

    for batch in batches(there()):
        asked, pixels = [request for request, _ in batch], [image for _, image in batch]
        keeper.add(pixels, asked, set(core))
        scored = {e.name: e.rows(_fit(pixels, asked), asked)[:, 0] for e in extractors}
        if judge is not None:
            embedded, scored["clip"] = judge.score(pixels, asked)
            known = zip(embedded, scored["clip"], strict=True)
            features += [row for row, value in known if not math.isnan(value)]
        items += [
            _item(request.id, system, metric, float(value))
            for metric, values in scored.items()
            for request, value in zip(asked, values, strict=True)
            if not math.isnan(value)
        ]
    bundle.write_features(run, system, np.stack(features) if features else None)
    keeper.write(run, system, list(core))
    return failed + items


def ahead(read: Callable[[T], U], of: Iterable[T]) -> Iterator[U]:
    """What `read` makes of each, in order; a batch at most is read ahead, by every processor."""
    with ThreadPoolExecutor(processors()) as readers:
        waiting: deque[Future[U]] = deque()
        for one in of:
            waiting.append(readers.submit(read, one))
            if len(waiting) == BATCH:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def batches(of: Iterator[T]) -> Iterator[list[T]]:
    while batch := list(itertools.islice(of, BATCH)):
        yield batch


def _item(request: int, system: str, metric: str, value: float) -> Row:
    return {"request": request, "system": system, "metric": metric, "value": value}


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
