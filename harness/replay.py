"""What the gate costs: the same requests served again with parts of its work left out.

The stages of `protocols.Replays` take turns, forwards and backwards, so that whatever drifts meets
all of them alike; a round is of one start of the system. Before each timed batch the system serves
another one in its usual way, so that its caches hold what they would hold in service. Processor
time is the worker process's own clock, read by the parent to the nanosecond; what its children
spend is not on it, and is refused.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from harness.errors import InputError, SystemFailed
from harness.journal import Journal, WindowRecord
from harness.records import GATE_STAGES, Failure, Window
from harness.windows import Batch, batch_rows
from harness.worker import Answer, Worker

__all__ = ["Replayed", "replay_gate", "replayed"]

TURNS = 2  # timed, of each stage on each batch
ELSEWHERE = 0.05  # of the processor time, spent outside the worker's own process
TICK_S = 0.02  # of the coarser clock that sees the whole process tree, at both ends


@dataclass(slots=True, kw_only=True)
class Replayed:
    """One stage of one round: timed requests, seconds of processor, and why it does not count."""

    start_ns: int = 0
    end_ns: int = 0
    requests: int = 0
    cpu_s: float = 0.0
    digests: list[tuple[Batch, str]] = field(default_factory=list)
    fault: str = ""

    def check(self, answer: Answer, served: str) -> None:
        """Notes a fault where a request failed, or images are not those served in the usual way."""
        if any(isinstance(image, Failure) for image in answer.images):
            self.fault = "a request of it failed"
        elif _digest(answer) != served:
            self.fault = "its images are not those that the system serves"


def replay_gate(
    worker: Worker, journal: Journal, pair: int, batch: int, stream: Iterator[Batch], seconds: float
) -> None:
    """Puts one round on disk, of `stream`, in batches of `batch`; `pair` had the same start.

    A replay that fails is kept as void: the rest of the audit stands without it.
    """
    numbers = [journal.open_window() for _ in GATE_STAGES]
    worker.cont()
    try:
        found = replayed(worker, stream, seconds)
    except (SystemFailed, InputError) as error:
        now = time.perf_counter_ns()
        found = {"whole": Replayed(start_ns=now, end_ns=now, fault=str(error))}
    worker.stop()
    for number, (stage, one) in zip(numbers, found.items(), strict=False):
        window = Window(
            id=f"w{number:04d}",
            kind="gate",
            system=worker.name,
            pair=pair,
            order=stage,
            batch=batch,
            requests=one.requests,
            start_ns=one.start_ns,
            end_ns=one.end_ns,
            cpu_s=one.cpu_s if one.requests else None,
            void=bool(one.fault),
            reason=one.fault or "stages of a round share its span; joules are not told apart",
        )
        journal.add(WindowRecord(window=window, batches=batch_rows(window.id, one.digests)))


def replayed(worker: Worker, stream: Iterator[Batch], seconds: float) -> dict[str, Replayed]:
    """One round: every stage of every other batch, once untimed and then in turns; at least one."""
    found = {stage: Replayed(start_ns=time.perf_counter_ns()) for stage in GATE_STAGES}
    tree_before, own_before = worker.cpu_s(), worker.clock_s()
    ends_s = time.monotonic() + seconds
    for batch in stream:
        served = _digest(worker.generate(batch.requests))
        for stage, one in found.items():  # `whole` notes what the others replay
            one.check(worker.generate(batch.requests, stage), served)
            one.digests.append((batch, served))
        for turn in range(TURNS):
            for stage in GATE_STAGES if turn % 2 else reversed(GATE_STAGES):
                worker.generate(next(stream).requests)
                before = worker.clock_s()
                answer = worker.generate(batch.requests, stage)
                found[stage].cpu_s += worker.clock_s() - before
                found[stage].requests += len(batch.requests)
                found[stage].check(answer, served)
        if time.monotonic() >= ends_s:
            break
    tree_after, own_after = worker.cpu_s(), worker.clock_s()
    if tree_before is None or tree_after is None:
        raise SystemFailed(f"System '{worker.name}' went away while its gate was replayed.")
    elsewhere = tree_after - tree_before - (own_after - own_before)
    for one in found.values():
        one.end_ns = time.perf_counter_ns()
        if elsewhere > ELSEWHERE * (own_after - own_before) + TICK_S:
            one.fault = "part of the work ran outside the worker's own process"
    return found


def _digest(answer: Answer) -> str:
    return hashlib.sha256(answer.payload).hexdigest()
