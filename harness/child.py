"""The program that a worker runs: it builds a system and serves the harness's frames."""

from __future__ import annotations

import ctypes
import dataclasses
import difflib
import inspect
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
import numpy as np
from hydra.errors import InstantiationException

from harness import errors
from harness.counter import work_of
from harness.errors import AssetError, ConfigError
from harness.protocols import Replays
from harness.records import Failure, Prompt, Request
from harness.wire import read_frame, write_frame

__all__ = ["build", "main"]


def main(arguments: Sequence[str]) -> int:
    """Serves frames until the parent closes its end."""
    inbound, outbound, parent = (int(text) for text in arguments)
    os.set_inheritable(inbound, False)
    os.set_inheritable(outbound, False)
    _end_with_parent(parent)
    system: Any = None
    reply: dict[str, Any]
    while True:
        try:
            header, _ = read_frame(inbound)
        except EOFError:
            return 0
        if header["op"] == "close":
            return 0
        try:
            if header["op"] == "load":
                system = build(header["system"])
                system.load()
                card = dataclasses.asdict(system.card())
                reply, payload = {"card": card, "replays": isinstance(system, Replays)}, b""
            elif header["op"] == "work":
                reply, payload = {"work": work_of(system, _requests(header["requests"]))}, b""
            elif header["stage"]:
                replayed = system.replay(_requests(header["requests"]), header["stage"])
                reply, payload = _encode(replayed)
            else:
                reply, payload = _encode(system.generate(_requests(header["requests"])))
        except Exception as error:  # a system may raise anything; the parent names it
            traceback.print_exc()
            reply, payload = {"error": _describe(error)}, b""
        sys.stdout.flush()
        write_frame(outbound, reply, payload)


def _end_with_parent(parent: int) -> None:
    """Asks Linux to end this process with its parent, even while it is stopped.

    Whatever it starts stays its own: a child that cuts itself off comes back to it as an orphan.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        libc.prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
        if os.getppid() != parent:
            sys.exit(0)


def build(config: Mapping[str, Any]) -> Any:
    """Instantiates what `_target_` names; ConfigError for an unknown target or argument."""
    target = str(config.get("_target_", ""))
    try:
        kind = hydra.utils.get_object(target)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"_target_ '{target}' cannot be imported: {error}") from error
    known = [name for name in inspect.signature(kind).parameters if name != "self"]
    for key in config:
        if not str(key).startswith("_") and key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ConfigError(f"{kind.__name__} takes no '{key}'{hint}")
    try:
        return hydra.utils.instantiate(dict(config))
    except InstantiationException as error:
        if isinstance(error.__cause__, errors.Un0BenchError):
            raise error.__cause__ from None
        raise ConfigError(" ".join(str(error).split())) from error


def _requests(wire: Sequence[Sequence[Any]]) -> list[Request]:
    return [
        Request(id=number, prompt=Prompt(id=str(number), text=text, category=""), seed=seed)
        for number, text, seed in wire
    ]


def _encode(images: Any) -> tuple[dict[str, Any], bytes]:
    if not isinstance(images, list | tuple | np.ndarray):
        return {"images": f"a {type(images).__name__}"}, b""
    heads: list[dict[str, Any]] = []
    chunks: list[bytes] = []
    for image in images:
        if isinstance(image, Failure):
            heads.append({"failure": image.reason})
        elif isinstance(image, np.ndarray):
            heads.append({"dtype": str(image.dtype), "shape": list(image.shape)})
            if image.dtype == np.uint8:
                chunks.append(image.tobytes())
        else:
            heads.append({"other": f"a {type(image).__name__}"})
    return {"images": heads}, b"".join(chunks)


def _describe(error: Exception) -> dict[str, str]:
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    where = f"{Path(last.filename).name}:{last.lineno} in {last.name}" if last else ""
    return {
        "class": type(error).__name__,
        "message": str(error)[:2000],
        "where": "" if isinstance(error, AssetError) else where,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
