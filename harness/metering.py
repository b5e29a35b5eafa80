"""What every window of an audit needs: workers, their requests, the meter, the journal."""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.boundaries import on_processors
from harness.bundle import disk, read_json, resume_command, write_json
from harness.draw import Draws
from harness.errors import InputError
from harness.journal import BlockRecord, Journal, WindowRecord
from harness.plan import Plan, SystemPlan
from harness.protocols import Meter
from harness.records import MachineState, TraceRow, Window
from harness.schedule import Schedule
from harness.state import snapshot, state
from harness.windows import Asked, Served, asked, batch_rows, left_behind
from harness.worker import Worker

__all__ = ["Metering", "Step", "keep_card"]

TICKS = {"counter": 50, "integrated": 12, "wall": 12}  # that a window must hold
GPU_WINDOW_S = 10.0

Step = Callable[[str, int, int], None]


@dataclass(slots=True, kw_only=True)
class Metering:
    """One run over one journal, with its meter and its systems."""

    run: Path
    plan: Plan
    candidate: SystemPlan
    baseline: SystemPlan
    null_system: SystemPlan
    meter: Meter
    journal: Journal
    draws: Draws
    accelerated: bool = False
    gated: bool = False  # a claim asks what the candidate's gate costs
    rated: bool = False  # joules at other batches and rates are asked for
    counted: bool = False  # multiply-adds and bytes are asked for
    step: Step = lambda what, done, total: None
    _batch_s: dict[str, float] = field(default_factory=dict)
    _min_s: float = 0.0
    _ticks_s: float = 0.0  # long enough for every meter to resolve
    _traced: Counter[tuple[str, str]] = field(default_factory=Counter)
    _meter_of: Mapping[str, str] = field(default_factory=dict)
    _shapes: dict[str, tuple[int, ...] | None] = field(default_factory=dict)
    _gpu: bool = False

    def __post_init__(self) -> None:
        card = self.meter.describe()
        ticks = [(TICKS.get(str(d.method), 0) * (d.tick_s or 0.0)) for d in card.domains]
        self._ticks_s = max(ticks, default=0.0)
        self._min_s = max(self.plan.min_window_s, self._ticks_s)
        self._gpu = any(d.domain.startswith("gpu:") and d.method for d in card.domains)
        if self._gpu:
            self._min_s = max(self._min_s, GPU_WINDOW_S)
        self._meter_of = card.notes.get("meter_of", {d.domain: card.name for d in card.domains})

    @property
    def schedule(self) -> Schedule:
        """The pairs of this run."""
        return Schedule(
            plan=self.plan,
            candidate=self.candidate.name,
            baseline=self.baseline.name,
            journal=self.journal,
        )

    # Workers -----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def workers(self) -> Iterator[tuple[Worker, Worker]]:
        """Candidate and baseline, loaded one after the other; both are closed at the end."""
        with contextlib.ExitStack() as opened:
            candidate = opened.enter_context(self.load(self.candidate))
            yield candidate, opened.enter_context(self.load(self.baseline))

    def _worker(self, system: SystemPlan) -> Worker:
        worker = Worker(
            system.name,
            system.config,
            log=self.run / "logs" / f"{system.name}.log",
            timeout_s=system.timeout_s,
            remedy=f"What was measured is kept; go on with: {resume_command(self.run)}",
            network=system.network,
            scratch=self.run / "partial" / "scratch" / system.name,
            hidden=self.run,  # what will be asked, and the salt
        )
        worker.shape = self._shapes.get(system.name)  # one for all starts
        return worker

    def load(self, system: SystemPlan) -> Worker:
        """Starts a worker and loads its system, in a window of its own; then stops it."""
        number = self._open("load", system.name)
        self.meter.mark()
        start_ns = time.perf_counter_ns()
        worker = self._worker(system)
        try:
            worker.load()
        except BaseException:
            worker.close()
            raise
        window = self._window(system.name, "load", number, 0, 0, start_ns, worker.cpu_s())
        self.meter.mark()
        worker.stop()
        facts = {
            "resident_bytes": worker.resident_bytes(),
            "offline": worker.offline,
            "writes": worker.writes,
            "hides": worker.hides,
        }
        self._record(window, facts=facts)
        self._keep_card(worker)
        return worker

    # Private -----------------------------------------------------------------------------------

    def _keep_card(self, worker: Worker) -> None:
        """Writes the system's card; refuses other weights than the run began with."""
        try:
            keep_card(self.run, worker.name, worker.card)
        except InputError:
            worker.close()
            raise

    def _open(self, what: str, name: str) -> int:
        self.step(f"{what} {name}", 0, 0)
        return self.journal.open_window()

    def _plan_of(self, worker: Worker) -> SystemPlan:
        plans = (self.candidate, self.baseline, self.null_system)
        return next(plan for plan in plans if plan.name == worker.name)

    def _asked(
        self,
        worker: Worker,
        number: int,
        core: Sequence[Any],
        batch: int | None = None,
        expected: int = 1,
    ) -> Asked:
        batch_s = self._batch_s.get(worker.name, 1.0)
        return asked(
            self.draws,
            window=number,
            batch=batch or self._plan_of(worker).batch,
            core=core,
            expected_batches=math.ceil(self._min_s / batch_s) if core else expected,
            rng=self.draws.rng(number),
        )

    def _metered(
        self,
        worker: Worker,
        kind: str,
        number: int,
        work: Callable[[], Served],
        *,
        batch: int | None = None,
        block: BlockRecord | None = None,
        remark: str = "",
    ) -> tuple[Window, Served]:
        """Meters one stretch of work, sees that none is left, and stops the worker."""
        system = self._plan_of(worker)
        self.meter.mark()
        before, parent_before_s = snapshot(), time.process_time()
        served = work()
        self.meter.mark()
        self._shapes[worker.name] = worker.shape
        own_s = time.process_time() - parent_before_s + (served.cpu_s or 0.0)
        seen = state(before, own_cpu_s=own_s)
        left = left_behind(worker, served)
        worker.stop()
        window = Window(
            id=f"w{number:04d}",
            kind=kind,
            system=worker.name,
            pair=block.pair if block else None,
            order=block.order if block else "",
            batch=batch or system.batch,
            requests=served.requests,
            failures=served.failures,
            start_ns=served.start_ns,
            end_ns=served.end_ns,
            cpu_s=served.cpu_s if on_processors(system.device, self.accelerated) else None,
            state=seen,
            void=bool(left),
            reason=left or remark,
        )
        return window, served

    def _window(
        self,
        system: str,
        kind: str,
        number: int,
        batch: int,
        requests: int,
        start_ns: int,
        cpu_s: float | None,
    ) -> Window:
        return Window(
            id=f"w{number:04d}",
            kind=kind,
            system=system,
            pair=None,
            order="",
            batch=batch,
            requests=requests,
            start_ns=start_ns,
            end_ns=time.perf_counter_ns(),
            cpu_s=cpu_s,
            state=MachineState(),
        )

    def _record(
        self,
        window: Window,
        served: Served | None = None,
        written: Sequence[Mapping[str, Any]] = (),
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Puts a finished window on disk, with its readings and the traces since the last one."""
        digests = [(batch, digest) for batch, _, digest in (served.fillers if served else ())]
        self.journal.add(
            WindowRecord(
                window=window,
                readings=self.meter.readings([window.span]),
                requests=written,
                batches=batch_rows(window.id, digests),
                traces=self._fresh_traces(),
                meter_of=self._meter_of,
                facts=dict(facts or {}),
            )
        )

    def _fresh_traces(self) -> list[TraceRow]:
        """Samples that no earlier window wrote down; each domain's come in order of time."""
        seen: Counter[tuple[str, str]] = Counter()
        fresh = []
        for row in self.meter.traces():
            key = (row.domain, row.quantity)
            seen[key] += 1
            if seen[key] > self._traced[key]:
                fresh.append(row)
        self._traced = seen
        return fresh


def keep_card(run: Path, name: str, card: Mapping[str, Any]) -> None:
    """Writes a system's card; raises InputError for other weights than the run began with."""
    path = run / "cards" / f"{name}.json"
    if path.is_file():
        before, now = read_json(path)["weights_sha256"], card["weights_sha256"]
        if before != now:
            raise InputError(
                f"The weights of {name} are not those {run} began with "
                f"({before} against {now}). Restore them, or start a new audit."
            )
    with disk(run):
        write_json(path, card)
