"""One machine of a cluster, as it measures its part of an audit.

It has a run of its own in a folder for the time being: same loop, same meter, same journal as an
audit on one machine. What it wrote is handed over after each task.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.bundle import resume_command
from harness.errors import ConfigError, Un0BenchError
from harness.here import Here, Order
from harness.journal import BlockRecord, Journal, WindowRecord
from harness.measure import Session
from harness.protocols import LateMeter

__all__ = ["BESIDE", "THREADS", "Delivered", "Node"]

BESIDE = ("latency", "batch", "open")  # windows that one node takes for all
THREADS = "OMP_NUM_THREADS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What a task left: windows, its blocks, files by relative path, and the error that ended it.

    The node's clock is `clock_ns` behind that of the day.
    """

    records: tuple[WindowRecord, ...] = ()
    blocks: tuple[BlockRecord, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    clock_ns: int = 0
    error: Un0BenchError | None = None


class Node:
    """Measures whole pairs of blocks, and idle and null beside them, with its own meter."""

    def __init__(
        self, name: str, run: str, meter: Mapping[str, Any], threads: str | None = None
    ) -> None:
        """`run` is the audit's folder, and `threads` its THREADS, where it is led from."""
        if threads is None:
            os.environ.pop(THREADS, None)  # Ray sets it; systems choose as they do without
        else:
            os.environ[THREADS] = threads
        self.name, self._lead = name, Path(run)
        self._run = Path(tempfile.mkdtemp(prefix="un0bench-")) / self._lead.name
        self._here, self._open = Here(meter, self._run), contextlib.ExitStack()
        self._session: Session | None = None

    def machine(self) -> dict[str, Any] | Un0BenchError:
        """The machine with its meter started; the error, where it has none that can serve."""
        try:
            self._open.enter_context(self._here)
        except Un0BenchError as error:
            return error
        if isinstance(self._here.meter, LateMeter):
            return ConfigError(
                f"The meter {self._here.meter.describe().name} logs one machine from outside. "
                "Leave out executor=ray, or meter each node by itself."
            )
        return self._here.machine()

    def take(self, order: Order, salt: str, records: Iterable[WindowRecord]) -> None:
        """Takes the audit's order, and what was measured here, or for all, before it went on."""
        order = dataclasses.replace(order, salt=salt)
        journal = Journal(self._run, order.devices, node=self.name)
        journal.take_in(records)
        self._session = self._here.session(order, journal, lambda what, done, total: None)

    def begin(self, first: int) -> Delivered:
        """Idle and the harness alone. `first` is the first window number that is free for it."""
        return self._done(first, (), lambda s: (s.idle("bare"), s.null(0)))

    def pair(self, first: int, blocks: tuple[BlockRecord, ...]) -> Delivered:
        """Both blocks of a pair, of one start."""
        return self._done(first, blocks, lambda s: s.pair(blocks))

    def beside(self, first: int) -> Delivered:
        """Latency, and other batches and rates."""
        return self._done(first, (), lambda s: s.beside())

    def end(self, first: int) -> Delivered:
        """The harness alone, once more."""
        return self._done(first, (), lambda s: s.null(1))

    def metering_share(self) -> float:
        return self._here.metering_share()

    def ceilings(self) -> Mapping[str, Any]:
        return self._here.ceilings()

    def close(self) -> None:
        """Stops the meter and clears the folder."""
        self._open.close()
        shutil.rmtree(self._run.parent, ignore_errors=True)

    def _done(self, first: int, blocks: tuple[BlockRecord, ...], task: Any) -> Delivered:
        assert self._session is not None, "take() comes first"
        journal, error = self._session.journal, None
        journal.next_window = first
        before = {record.window.id for record in journal.records}
        for block in blocks:
            journal.put_block(block)
        try:
            task(self._session)
        except Un0BenchError as raised:
            error = type(raised)(self._as_led(str(raised)))
        numbers = {block.number for block in blocks}
        return Delivered(
            records=tuple(r for r in journal.records if r.window.id not in before),
            blocks=tuple(b for b in journal.blocks if b.number in numbers),
            files=self._files(),
            clock_ns=time.time_ns() - time.perf_counter_ns(),
            error=error,
        )

    def _as_led(self, text: str) -> str:
        """What an error says, with the paths where it will be read."""
        logs = self._lead / "logs" / self.name
        text = text.replace(resume_command(self._run), resume_command(self._lead))
        text = text.replace(str(self._run / "logs"), str(logs))
        return f"On {self.name}: {text.replace(str(self._run), str(self._lead))}"

    def _files(self) -> dict[str, bytes]:
        """Pictures, cards, counts of work and logs; pictures are not kept here."""
        found = {}
        for path in sorted(self._run.rglob("*")):
            name = path.relative_to(self._run)
            if not path.is_file() or name.parts[0] == "partial":
                continue
            if name.parts[0] == "logs":
                name = Path("logs", self.name, *name.parts[1:])
            found[name.as_posix()] = path.read_bytes()
            if path.suffix == ".png":
                path.unlink()
        return found
