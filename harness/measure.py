"""The main loop: warm up, idle, blocks of windows.

An AB+BA pair of blocks is the unit of pairing, and has both systems started anew: what one start
draws (where memory lies, which core it is) lasts as long as the process. In a block both systems
serve the same core, one after the other; the one that waits is stopped. Every finished window is on
disk before the next opens.
"""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from harness.boundaries import on_processors
from harness.bundle import disk, image_path, write_image, write_json
from harness.errors import InputError, SystemFailed
from harness.journal import BlockRecord
from harness.metering import Metering
from harness.open_loop import serve_open
from harness.records import Failure, Request, Window
from harness.replay import replay_gate
from harness.state import snapshot, state
from harness.steady import STEADY, lead_in, steady
from harness.windows import Served, core_rows, draw_fillers, rows, serve
from harness.worker import Worker

__all__ = ["Session", "measure"]

STRETCH_S = 0.5
SCORED_ELSEWHERE = 48  # pictures of a window beside the blocks: to see that it draws as in them
BATCHES = (1, 4, 16)
OPEN = {1: 0.2, 16: 0.5}  # batch -> share of its capacity at which requests come
OPEN_S = 20.0


def measure(session: Session) -> None:
    """Fills the journal with everything the plan asks for and the journal does not yet hold."""
    session.idle("bare")  # no system loaded: what the machine draws anyway
    session.null(0)
    schedule = session.schedule
    while slots := schedule.next_pair():
        session.step("blocks", *schedule.done())
        session.pair(schedule.start_block(*slot) for slot in slots)
    session.step("blocks", *schedule.done())
    session.beside()
    session.null(1)


@dataclass(slots=True, kw_only=True)
class Session(Metering):
    """The windows of one run of the main loop."""

    def pair(self, blocks: Iterable[BlockRecord]) -> None:
        """A pair of blocks, AB and BA, of one start of both systems."""
        with self.workers() as (candidate, baseline):
            self.idle("loaded")  # both loaded, both stopped
            for worker in (candidate, baseline):
                self.warm_up(worker)
            for block in blocks:
                core = self.draws.core(block.core)  # identical requests for both systems
                in_turn = (candidate, baseline) if block.order == "AB" else (baseline, candidate)
                for worker in in_turn:
                    self.window(worker, core, block)  # the other one is stopped meanwhile
            if self.schedule.comparable(block.pair):
                self.gate(candidate, block.pair)
            for worker in (candidate, baseline):
                self.count(worker)

    def beside(self) -> None:
        """What is measured beside the blocks: latency, and other batches and rates."""
        with self.load(self.candidate) as candidate:
            self.warm_up(candidate)
            self.latency(candidate)
            self.rates(candidate)
        if self.rated:
            with self.load(self.baseline) as baseline:
                self.warm_up(baseline)
                self.rates(baseline)

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
        self._keep_images(worker, picked[True] + picked[False])
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
        drawn = draw_fillers(served, SCORED_ELSEWHERE, secrets.token_hex(16))
        self._keep_images(worker, drawn)
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
            self._record_drawn(worker, window, served)
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
            self._record_drawn(worker, window, served)
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

    def count(self, worker: Worker) -> None:
        """Has one batch's multiply-adds and bytes counted, once, when the start's windows are over.

        Counting changes how a system works (nothing is compiled), so nothing of it is metered.
        """
        path = self.run / "work" / f"{worker.name}.json"
        if not self.counted or path.is_file():
            return
        stream = self._asked(worker, self._open("count", worker.name), ())
        worker.cont()
        try:
            work = worker.work(next(stream.batches).requests)
        except (SystemFailed, InputError):
            reason = f"it failed while its work was counted; see {worker.log.name}"
            work = {"batch": None, "counted": None, "told": None, "reason": reason}
        worker.stop()
        with disk(self.run):
            write_json(path, work)

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

    def _record_drawn(self, worker: Worker, window: Window, served: Served) -> None:
        """Records a window beside the blocks with a few of its pictures, drawn by a nonce."""
        picked = draw_fillers(served, SCORED_ELSEWHERE, secrets.token_hex(16))
        self._keep_images(worker, picked)
        written = rows(picked, window=window.id, system=worker.name, core=False)
        self._record(window, served, written)

    def _keep_images(self, worker: Worker, picked: Sequence[tuple[Request, Any, int]]) -> None:
        with disk(self.run):
            for request, image, _ in picked:
                if not isinstance(image, Failure):
                    write_image(image_path(self.run, worker.name, request.id), image)


def _position(block: BlockRecord, is_candidate: bool) -> int:
    return 0 if (block.order == "AB") == is_candidate else 1
