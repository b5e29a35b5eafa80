"""The main loop: warm up, idle, blocks of windows.

An AB+BA pair of blocks is the unit of pairing, and has both systems started anew: what one start
draws (where memory lies, which core it is) lasts as long as the process. In a block both systems
serve the same core, one after the other; the one that waits is stopped. Every finished window is on
disk before the next opens.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from harness.boundaries import on_processors
from harness.bundle import disk, image_path, read_json, resume_command, write_image, write_json
from harness.draw import Draws
from harness.errors import InputError
from harness.journal import BlockRecord, Journal, WindowRecord, window_row
from harness.open_loop import serve_open
from harness.plan import Plan, SystemPlan, wanted_pairs
from harness.protocols import Meter
from harness.records import Failure, MachineState, TraceRow, Window
from harness.replay import replay_gate
from harness.state import snapshot, state, unlike_states
from harness.steady import STEADY, lead_in, steady
from harness.windows import (
    Asked,
    Served,
    asked,
    batch_rows,
    core_rows,
    draw_fillers,
    left_behind,
    rows,
    serve,
)
from harness.worker import Worker

__all__ = ["Session", "measure"]

TICKS = {"counter": 50, "integrated": 12, "wall": 12}  # that a window must hold
STRETCH_S = 0.5
GPU_WINDOW_S = 10.0
BATCHES = (1, 4, 16)
OPEN = {1: 0.2, 16: 0.5}  # batch -> share of its capacity at which requests come
OPEN_S = 20.0
UNLIKE_STATES = "the machine was not the same for"
AGAIN = 3  # pairs that are run again for that

Step = Callable[[str, int, int], None]


def measure(session: Session) -> None:
    """Fills the journal with everything the plan asks for and the journal does not yet hold."""
    session.idle("bare")  # no system loaded: what the machine draws anyway
    session.null(0)
    while slots := session.next_pair():
        with session.workers() as (candidate, baseline):
            session.idle("loaded")  # both loaded, both stopped
            for worker in (candidate, baseline):
                session.warm_up(worker)
            for pair, order in slots:
                block = session.start_block(pair, order)
                core = session.draws.core(block.core)  # identical requests for both systems
                for worker in (candidate, baseline) if order == "AB" else (baseline, candidate):
                    session.window(worker, core, block)  # the other one is stopped meanwhile
            if session.comparable(slots[0][0]):
                session.gate(candidate, slots[0][0])
    with session.load(session.candidate) as candidate:
        session.warm_up(candidate)
        session.latency(candidate)
        session.rates(candidate)
    if session.rated:
        with session.load(session.baseline) as baseline:
            session.warm_up(baseline)
            session.rates(baseline)
    session.null(1)


@dataclass(slots=True, kw_only=True)
class Session:
    """One run of the main loop over one journal, with its meter and its systems."""

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

    # Windows -----------------------------------------------------------------------------------

    def idle(self, name: str) -> None:
        """Reads what the machine draws while nothing is asked of it."""
        if self.journal.windows("idle", name):
            return
        number = self._open("idle", name)
        self.meter.mark()
        before, start_ns = snapshot(), time.perf_counter_ns()
        time.sleep(max(self.plan.idle_s, self._ticks_s))
        end_ns = time.perf_counter_ns()
        self.meter.mark()
        window = Window(
            id=f"w{number:04d}",
            kind="idle",
            system=name,
            pair=None,
            order="",
            batch=0,
            requests=0,
            start_ns=start_ns,
            end_ns=end_ns,
            cpu_s=None,
            state=state(before, own_cpu_s=None),
        )
        self._record(window)

    def window(self, worker: Worker, core: Sequence[Any], block: BlockRecord) -> None:
        """One window of a block: core among filler, then as many fillers drawn as core."""
        self.step(f"pair {block.pair + 1} {block.order} {worker.name}", 0, 0)
        number = int(block.windows[_position(block, worker.name == self.candidate.name)][1:])
        asked_for = self._asked(worker, number, core)
        worker.cont()
        remark = ""
        if self._gpu:
            stream = self._asked(worker, self.journal.open_window(), ())
            remark = lead_in(worker, stream, self.meter)
        work = partial(serve, worker, asked_for, min_s=self._min_s)
        window, served = self._metered(worker, "block", number, work, block=block, remark=remark)
        nonce = secrets.token_hex(16)
        picked = {True: core_rows(served), False: draw_fillers(served, len(core), nonce)}
        with disk(self.run):
            for request, image, _ in picked[True] + picked[False]:
                if not isinstance(image, Failure):
                    write_image(image_path(self.run, worker.name, request.id), image)
        written = [
            row
            for is_core, part in picked.items()
            for row in rows(part, window=window.id, system=worker.name, core=is_core)
        ]
        self._record(window, served, written, {"block": block.number, "nonce": nonce})

    def warm_up(self, worker: Worker) -> None:
        """Runs until three half-second stretches agree within 10%, or the limit; says which."""
        number = self._open("warm-up", worker.name)
        stream = self._asked(worker, number, ())
        rates: list[float] = []
        parts: list[Served] = []
        worker.cont()
        start_ns = time.perf_counter_ns()
        while not steady(rates) and (time.perf_counter_ns() - start_ns) / 1e9 < self.plan.warmup_s:
            parts.append(serve(worker, stream, min_s=STRETCH_S))
            rates.append(parts[-1].duration_s / parts[-1].requests)
        worker.stop()
        batch = self._plan_of(worker).batch
        self._batch_s[worker.name] = rates[-1] * batch
        requests = sum(part.requests for part in parts)
        reason = (
            f"steady: three stretches within {STEADY:.0%} of each other, after {requests} requests"
            if steady(rates)
            else f"ended at its limit of {self.plan.warmup_s:g} s after {requests} requests; "
            "not shown to be steady"
        )
        window = self._window(worker.name, "warmup", number, batch, requests, start_ns, None)
        self._record(dataclasses.replace(window, reason=reason))

    def latency(self, worker: Worker) -> None:
        """Serves the candidate at batch 1: every request's own time."""
        if self.journal.windows("latency", worker.name):
            return
        number = self._open("latency", worker.name)
        asked_for = self._asked(worker, number, (), 1, self.plan.latency_requests)
        worker.cont()
        serve(worker, asked_for, min_s=0.0, min_requests=3)  # the first at this batch
        work = partial(
            serve,
            worker,
            asked_for,
            min_s=self.plan.latency_s,
            min_requests=self.plan.latency_requests,
            max_s=self.plan.latency_limit_s,
        )
        window, served = self._metered(worker, "latency", number, work, batch=1)
        picked = draw_fillers(served, served.requests, "0")
        written = rows(picked, window=window.id, system=worker.name, core=False)
        self._record(window, served, written)

    def rates(self, worker: Worker) -> None:
        """Windows at a few batches, and two that are open to requests at random times (load.py)."""
        if not self.rated:
            return
        done = {(r.window.kind, r.window.batch) for r in self.journal.windows("batch", worker.name)}
        done |= {(r.window.kind, r.window.batch) for r in self.journal.windows("open", worker.name)}
        rate = dict.fromkeys(BATCHES, 1.0)
        for batch in BATCHES:
            number = self._open(f"batch {batch}", worker.name)
            asked_for = self._asked(worker, number, (), batch)
            worker.cont()
            first = serve(worker, asked_for, min_s=STRETCH_S)  # also tells the rate
            rate[batch] = first.requests / first.duration_s
            if ("batch", batch) in done:
                continue
            work = partial(serve, worker, asked_for, min_s=self._min_s)
            window, served = self._metered(worker, "batch", number, work, batch=batch)
            self._record(window, served)
        for batch, share in OPEN.items():
            if ("open", batch) in done:
                continue
            number = self._open(f"open at {share:.0%}", worker.name)
            work = partial(
                serve_open,
                worker,
                self._asked(worker, number, (), batch),
                rate=share * rate[batch],
                min_s=max(OPEN_S, self._min_s),
                rng=self.draws.rng(number),
            )
            worker.cont()
            window, served = self._metered(worker, "open", number, work, batch=batch)
            self._record(window, served)
        worker.stop()

    def gate(self, worker: Worker, pair: int) -> None:
        """Replays the candidate without parts of its gate's work, where it can be (replay.py).

        A round is of its pair's own start: one that a kill cut off is not made up for by another.
        """
        system = self._plan_of(worker)
        if not (self.gated and worker.replays and on_processors(system.device, self.accelerated)):
            return
        stream = self._asked(worker, self._open("gate", worker.name), ()).batches
        replay_gate(worker, self.journal, pair, system.batch, stream, self.plan.gate_s)

    def null(self, nth: int) -> None:
        """Audits the constant image, alone, before the first and after the last block."""
        if self.null_system.name in (self.candidate.name, self.baseline.name):
            return
        if len(self.journal.windows("null")) > nth:
            return
        worker = self._worker(self.null_system)
        try:
            worker.load()
            self._keep_card(worker)
            number = self._open("null", worker.name)
            asked_for = self._asked(worker, number, ())
            serve(worker, asked_for, min_s=STRETCH_S)
            work = partial(serve, worker, asked_for, min_s=self._min_s)
            window, served = self._metered(worker, "null", number, work)
        finally:
            worker.close()
        self._record(window, served)

    # Blocks ------------------------------------------------------------------------------------

    def next_pair(self) -> list[tuple[int, str]]:
        """Both blocks of the first unfinished pair, as (pair, order); [] when all are there.

        A block that a kill left alone is void: the other would be of other starts.
        """
        counted = Counter(b.pair for b in self.journal.blocks if not b.void)
        for block in [b for b in self.journal.blocks if not b.void and counted[b.pair] == 1]:
            self.journal.void(block, "the audit was stopped within this block's pair")
        have = {b.pair for b in self.journal.blocks if not b.void}
        pairs = self.plan.pairs
        if len(have) >= pairs:
            pairs = self.pairs()[0]  # fixed from the pilot's spread alone; no later peek
        self.step("blocks", 2 * len(have), 2 * pairs)
        missing = next((pair for pair in range(pairs) if pair not in have), None)
        return [] if missing is None else [(missing, order) for order in ("AB", "BA")]

    def comparable(self, pair: int) -> bool:
        """Whether a pair's windows met like states of the machine; void if not, and run again.

        After a few such pairs one is kept as it is: then the ratio is what says so.
        """
        if sum(b.reason.startswith(UNLIKE_STATES) for b in self.journal.blocks) >= 2 * AGAIN:
            return True
        rows = [window_row(record.window) for record in self.journal.windows("block")]
        for row in [row for row in rows if row["pair"] == pair]:
            others = [r for r in rows if r["system"] == row["system"] and r["pair"] != pair]
            if told := unlike_states(row, others):
                reason = f"{UNLIKE_STATES} {row['system']}: {'; '.join(told)}"
                for block in [b for b in self.journal.blocks if b.pair == pair and not b.void]:
                    self.journal.void(block, reason)
                return False
        return True

    def pairs(self) -> tuple[int, int]:
        """Pairs planned, which a budget may cap, and pairs wanted."""
        names = (self.candidate.name, self.baseline.name)
        wanted = wanted_pairs(self.plan, self.journal.windows("block"), *names)
        return max(self.plan.pairs, min(wanted, self.plan.max_pairs)), wanted

    def start_block(self, pair: int, order: str) -> BlockRecord:
        """Notes a block before it begins, with a core that no earlier block had."""
        number = len(self.journal.blocks)
        first, second = self.journal.open_window(), self.journal.open_window()
        block = BlockRecord(
            number=number,
            pair=pair,
            order=order,
            core=number,
            windows=(f"w{first:04d}", f"w{second:04d}"),
        )
        self.journal.put_block(block)
        return block

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
        self._record(window, facts={"resident_bytes": worker.resident_bytes()})
        self._keep_card(worker)
        return worker

    # Private -----------------------------------------------------------------------------------

    def _keep_card(self, worker: Worker) -> None:
        """Writes the system's card; refuses other weights than the run began with."""
        path = self.run / "cards" / f"{worker.name}.json"
        if path.is_file():
            before, now = read_json(path)["weights_sha256"], worker.card["weights_sha256"]
            if before != now:
                worker.close()
                raise InputError(
                    f"The weights of {worker.name} are not those {self.run} began with "
                    f"({before} against {now}). Restore them, or start a new audit."
                )
        with disk(self.run):
            write_json(path, worker.card)

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


def _position(block: BlockRecord, is_candidate: bool) -> int:
    return 0 if (block.order == "AB") == is_candidate else 1
