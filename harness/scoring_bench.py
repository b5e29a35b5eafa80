"""Times what scoring takes a picture beside clean-fid's own loop over the same network and files.

    un0bench bench scoring

Each turn runs every side once, one after the other, so that what else the machine does meets all of
them; a ratio is of one turn, and its median counts.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cleanfid import fid
from cleanfid.resize import make_resizer

from harness import assets, bundle
from harness.metrics.clip import Judge
from harness.scoring import ahead, batches
from suites.proc.render import render
from suites.proc.sets import load_set
from un0_model.bench import Row, one_thread

__all__ = ["scoring", "sides"]

PICTURES, TURNS = 256, 7
JUDGE = "package:suites/proc/judge"
OURS = "scoring: PNGs read, rows of the judge"


def scoring() -> Iterator[Row]:
    """Our side, then how many times longer clean-fid takes, as it is called and at its best."""
    judge = Judge(assets.resolve(JUDGE))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for number, prompt in enumerate(load_set("val").prompts[:PICTURES]):
            image = render(dict(prompt.spec or {}), np.random.default_rng(number))
            bundle.write_image(folder / f"{number:04d}.png", image)
        calls = sides(folder, judge)
        for call in calls.values():
            call()  # loads the network, and fills the caches
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(TURNS):
            for name, call in calls.items():
                began = time.perf_counter_ns()
                call()
                seconds[name].append((time.perf_counter_ns() - began) / 1e9 / PICTURES)
    ours = seconds.pop(OURS)
    for name, theirs in seconds.items():
        ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
        yield Row(
            kernel=OURS,
            beside=name,
            ratio=statistics.median(ratios),
            seconds=statistics.median(ours),
            note=f"{min(ratios):.2f} to {max(ratios):.2f} over {TURNS} turns; "
            f"that one {statistics.median(theirs) * 1e6:.1f} us",
        )


def sides(folder: Path, judge: Judge) -> dict[str, Callable[[], np.ndarray]]:
    """What is timed: each gives features float32 [pictures, d] of a folder's PNGs, by name."""
    return {
        OURS: partial(_ours, folder, judge),
        "clean-fid as called, 12 workers": partial(_clean_fid, folder, judge, 12),
        "clean-fid without workers": partial(_clean_fid, folder, judge, 0),
        "clean-fid without workers, on one thread": partial(_on_one_thread, folder, judge),
    }


def _ours(folder: Path, judge: Judge) -> np.ndarray:
    images = ahead(bundle.read_image, sorted(folder.glob("*.png")))
    return np.concatenate([judge.features(batch) for batch in batches(images)])


def _clean_fid(folder: Path, judge: Judge, workers: int) -> np.ndarray:
    """clean-fid's folder loop with its dataset, loader and resizer, to the network's own size."""
    network, scale = judge.network()
    mean, std = (torch.tensor(scale[key]).view(1, 3, 1, 1) for key in ("mean", "std"))

    def rows(pixels: Any) -> Any:
        return network.encode_image((pixels / 255 - mean) / std, normalize=True)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # more workers than processors, and their fork
        return fid.get_folder_features(
            str(folder),
            model=rows,
            num_workers=workers,
            device=torch.device("cpu"),
            custom_fn_resize=make_resizer("PIL", False, "bicubic", scale["size"][::-1]),
            verbose=False,
        )


def _on_one_thread(folder: Path, judge: Judge) -> np.ndarray:
    with one_thread():
        return _clean_fid(folder, judge, 0)
