"""The process a system runs in, as the harness holds it.

It is `python -m harness.child`, exec'd in a session of its own. Frames go to it and come back on
two dedicated pipes (wire.py). A request on the wire is [opaque number, text, seed]: the system sees
neither category nor spec, and cannot tell what will be scored. What it prints goes to a log file.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from harness import errors
from harness.errors import AssetError, InputError, SystemFailed, plain
from harness.isolation import Walls, walls
from harness.records import Failure, Request
from harness.state import process_cpu_s, process_tree_cpu_s
from harness.wire import read_frame, write_frame

__all__ = ["Answer", "Worker"]

PIPE_BYTES = 1 << 20
SWEEPS = 50
CACHES = ("NUMBA_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")  # of compilers


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One batch as it arrived: images uint8 [H, W, 3] or `Failure`, their bytes, both stamps."""

    images: list[np.ndarray | Failure]
    payload: bytes
    sent_ns: int
    received_ns: int

    @property
    def duration_s(self) -> float:
        return (self.received_ns - self.sent_ns) / 1e9


class Worker:
    """Handle on one system's process: load, generate, stop while the other works, close.

    Whatever the system does wrong becomes `SystemFailed` (or the `InputError` that its `load`
    raised), naming the system, the request, what happened and the remedy. Without `network` it
    is shut in (isolation.py): alone, writing only under `scratch` and the compilers' caches that
    the environment names, and of the folder `hidden` it sees nothing else; `offline`, `writes` and
    `hides` say what this machine allowed.
    """

    def __init__(
        self,
        name: str,
        config: Mapping[str, Any],
        *,
        log: Path,
        timeout_s: float = 600.0,
        remedy: str = "",
        network: bool = True,
        scratch: Path | None = None,
        hidden: Path | None = None,
    ) -> None:
        self.name, self.config, self.log = name, dict(config), log
        self.timeout_s, self.remedy = timeout_s, remedy
        shared = [key for key in CACHES if os.environ.get(key)] if scratch else []
        own = _own_caches(scratch, shared) if scratch and not network else {}
        folders = [Path(path) for key, path in own.items() if key in ("TMPDIR", *shared)]
        shut_in = Walls() if network else walls(folders, hidden and hidden.absolute())
        self.offline = shut_in.alone
        self.hides = shut_in.alone and shut_in.confined and hidden is not None
        self.writes = ["scratch", *shared] if shut_in.confined else ["anywhere"]
        self.card: dict[str, Any] = {}
        self.replays = False
        self.shape: tuple[int, ...] | None = None
        self.stopped = False
        self._doing = "starting"
        log.parent.mkdir(parents=True, exist_ok=True)
        child_in, self._out = os.pipe()
        self._in, child_out = os.pipe()
        for fd in (self._out, self._in):
            with contextlib.suppress(OSError, AttributeError):  # only a larger buffer
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        with log.open("ab") as sink:
            self.process = subprocess.Popen(
                [*shut_in.prefix, sys.executable, "-m", "harness.child"]
                + [str(child_in), str(child_out), "1" if shut_in.alone else str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                pass_fds=(child_in, child_out),
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), **own},
            )
        os.set_blocking(self._out, False)
        self.pid = self.process.pid
        os.close(child_in)
        os.close(child_out)

    def load(self) -> float:
        """Instantiates and loads the system; returns seconds. Raises InputError for wrong input."""
        self._doing = "loading"
        start = time.perf_counter_ns()
        reply, _ = self._ask({"op": "load", "system": self.config})
        if self.offline:  # behind one that waits for it outside, and the first one inside
            self.pid = self._behind(self.process.pid, 2)
        self.card, self.replays = reply["card"], reply.get("replays") is True
        return (time.perf_counter_ns() - start) / 1e9

    def generate(self, requests: Sequence[Request], stage: str | None = None) -> Answer:
        """Sends one batch and checks what comes back: count, type and one shape for all.

        With a `stage`, the system replays it there (protocols.Replays).
        """
        first, last = requests[0], requests[-1]
        self._doing = f"generating request {first.id}" + (
            f" to {last.id}" if len(requests) > 1 else f' ("{plain(first.prompt.text)[:60]}")'
        )
        wire = [[request.id, request.prompt.text, request.seed] for request in requests]
        sent = time.perf_counter_ns()
        reply, payload = self._ask({"op": "generate", "requests": wire, "stage": stage})
        received = time.perf_counter_ns()
        try:
            images = self._images(reply.get("images"), payload, len(requests))
        except (ValueError, TypeError, AttributeError) as broken:
            raise self._failed(f"wrote a broken frame ({broken})") from None
        return Answer(images=images, payload=payload, sent_ns=sent, received_ns=received)

    def work(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Multiply-adds and bytes of one batch, counted and as the system tells them."""
        self._doing = "counting its work"
        wire = [[request.id, request.prompt.text, request.seed] for request in requests]
        return dict(self._ask({"op": "work", "requests": wire})[0]["work"])

    def stop(self) -> None:
        """Stops the whole process tree, so that it costs nothing while the other one works.

        Raises SystemFailed where processes come and go too fast to be stopped.
        """
        self.stopped = True
        for _ in range(SWEEPS):
            self._signal(signal.SIGSTOP)
            if all(map(_still, self._descendants())):
                return
            time.sleep(0.001)
        self._signal(signal.SIGKILL)
        raise self._failed("its processes do not stop; they were ended")

    def cont(self) -> None:
        self._signal(signal.SIGCONT)
        self.stopped = False

    def cpu_s(self) -> float | None:
        """Processor seconds of the whole process tree so far, read by the parent."""
        return process_tree_cpu_s(self.process.pid)

    def clock_s(self) -> float:
        """Processor seconds of the worker's own process so far, to the nanosecond; no children."""
        return process_cpu_s(self.pid)

    def resident_bytes(self) -> int | None:
        """What the process holds in memory, also while it is stopped."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return None

    def close(self) -> None:
        """Ends the process and everything it started; safe to call twice."""
        strays = self._descendants()
        if self.process.poll() is None:
            self._signal(signal.SIGCONT)
            with contextlib.suppress(OSError):
                write_frame(self._out, {"op": "close"})
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=2)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for stray in strays:
            with contextlib.suppress(psutil.Error):
                stray.kill()
        self.process.wait(timeout=10)
        for fd in (self._in, self._out):
            with contextlib.suppress(OSError):
                os.close(fd)
        self._in = self._out = -1

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # Private -----------------------------------------------------------------------------------

    def _signal(self, number: int) -> None:
        """Signals the process group, and descendants that left it."""
        strays = self._descendants()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
        for stray in strays:
            with contextlib.suppress(psutil.Error):
                stray.send_signal(number)

    def _descendants(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.Error:
            return []

    def _behind(self, pid: int, generations: int) -> int:
        for _ in range(generations):
            try:
                pid = psutil.Process(pid).children()[0].pid
            except (psutil.Error, IndexError):
                raise self._failed(self._death()) from None
        return pid

    def _ask(self, header: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        deadline = time.monotonic() + self.timeout_s
        try:
            write_frame(self._out, header, deadline=deadline)
            reply, payload = read_frame(self._in, deadline)
        except TimeoutError:
            self._signal(signal.SIGKILL)
            raise self._failed(
                f"no answer in {self.timeout_s:g} s; the process was ended"
            ) from None
        except (EOFError, OSError):
            raise self._failed(self._death()) from None
        except ValueError as broken:
            raise self._failed(f"wrote a broken frame ({broken})") from None
        if error := reply.get("error"):
            raise self._raised(error)
        return reply, payload

    def _images(self, heads: Any, payload: bytes, count: int) -> list[np.ndarray | Failure]:
        if not isinstance(heads, list):
            raise self._failed(f"returned {heads}, not a list of images")
        if len(heads) != count:
            raise self._failed(f"returned {len(heads)} images for {count} requests")
        images: list[np.ndarray | Failure] = []
        at = 0
        for position, head in enumerate(heads):
            if "failure" in head:
                images.append(Failure(reason=plain(str(head["failure"]))[:500]))
                continue
            shape = tuple(head.get("shape", ()))
            if head.get("dtype") != "uint8" or len(shape) != 3 or shape[2] != 3 or not all(shape):
                got = head.get("other") or f"{head.get('dtype')} {list(shape)}"
                raise self._failed(
                    f"image {position} of the batch is {got}; expected uint8 [H, W, 3]"
                )
            self.shape = self.shape or shape
            if shape != self.shape:
                raise self._failed(
                    f"image {position} of the batch has shape {list(shape)}, "
                    f"earlier ones {list(self.shape)}"
                )
            size = shape[0] * shape[1] * shape[2]
            pixels = np.frombuffer(payload, np.uint8, count=size, offset=at)
            images.append(pixels.reshape(shape))
            at += size
        if at != len(payload):
            raise self._failed(f"sent {len(payload)} bytes for images of {at}")
        return images

    def _raised(self, error: Mapping[str, Any]) -> Exception:
        kind = getattr(errors, str(error.get("class")), None)
        message = plain(str(error.get("message")))
        if isinstance(kind, type) and issubclass(kind, InputError):
            if self.offline and issubclass(kind, AssetError):
                message += (
                    f" It loads without network; +systems.{self.name}.network=true allows it."
                )
            return kind(f"System '{self.name}': {message}")
        where = f" ({error['where']})" if error.get("where") else ""
        return self._failed(f"{error.get('class')}: {message}{where}")

    def _death(self) -> str:
        try:
            code = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "the process closed its pipes"
        if code < 0:
            return f"the process died on {signal.Signals(-code).name}"
        return f"the process exited with code {code}"

    def _failed(self, what: str) -> SystemFailed:
        lines = [f"System '{self.name}' failed while {self._doing}: {what}."]
        if tail := self._tail():
            lines.append(f"Last line of its log: {tail}")
        lines.append(f"See {self.log}.")
        lines.append(self.remedy)
        return SystemFailed(" ".join(line for line in lines if line))

    def _tail(self) -> str:
        try:
            text = self.log.read_bytes()[-2000:].decode("utf-8", "replace")
        except OSError:
            return ""
        rows = [plain(row).strip() for row in text.splitlines()]
        return next((row[:300] for row in reversed(rows) if row), "")


def _still(process: psutil.Process) -> bool:
    try:
        return bool(process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE))
    except psutil.Error:  # it ended
        return True


def _own_caches(scratch: Path, shared: Sequence[str]) -> dict[str, str]:
    """Where a worker's temporary files and compiled code go: its scratch, or a cache it shares."""
    found = {key: str(Path(os.environ[key]).absolute()) for key in shared}
    found |= {key: str(scratch.absolute() / key.lower()) for key in CACHES if key not in shared}
    found["TMPDIR"] = str(scratch.absolute())
    for key in ("TMPDIR", *shared):
        Path(found[key]).mkdir(parents=True, exist_ok=True)
    return found
