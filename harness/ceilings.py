"""What this machine can do at best, measured: multiply-adds and bytes a second.

    python -m harness.ceilings

A process of its own, because the parent has no torch. All processors work; the least of several
turns counts. A GPU that torch sees is measured too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

__all__ = ["ceilings"]

SIDE = {"cpu": 2048, "cuda": 8192}  # of the square matrices that are multiplied
COPIED = {"cpu": 128 * 2**20, "cuda": 1024 * 2**20}  # bytes, beyond every cache
FORMATS = ("float32", "bfloat16", "int8")
TURNS = 5


def ceilings() -> Mapping[str, Any]:
    """By device: `multiply_adds_per_s` by number format, and `bytes_per_s`; {} where none came."""
    command = [sys.executable, "-m", "harness.ceilings"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    return dict(json.loads(ended.stdout)) if ended.returncode == 0 else {}


def _measured(device: str) -> dict[str, Any]:
    import torch

    side, found = SIDE[device], {}
    for name in FORMATS:
        kind = getattr(torch, name)
        a, b = (torch.randn(side, side, device=device).to(kind) for _ in range(2))
        multiply = torch._int_mm if name == "int8" else torch.mm
        try:
            found[name] = side**3 / _least_s(partial(multiply, a, b), device)
        except RuntimeError:
            continue  # this device has no product of that format
    source = torch.ones(COPIED[device] // 4, device=device)
    target = torch.empty_like(source)
    moved = 2 * source.nbytes  # read, and written
    return {
        "multiply_adds_per_s": found,
        "bytes_per_s": moved / _least_s(partial(target.copy_, source), device),
    }


def _least_s(call: Callable[[], Any], device: str) -> float:
    import torch

    times = []
    for _ in range(TURNS + 1):  # the first fills caches and wakes clocks
        start = time.perf_counter()
        call()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    import torch

    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    with torch.inference_mode():
        sys.stdout.write(json.dumps({device: _measured(device) for device in devices}))


if __name__ == "__main__":
    main()
