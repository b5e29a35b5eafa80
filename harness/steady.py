"""When a system is steady: its rate after a warm-up, its boards' power before a window."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence

from harness.protocols import Meter
from harness.windows import Asked, serve
from harness.worker import Worker

__all__ = ["STEADY", "lead_in", "steady"]

STEADY = 0.10  # warm-up ends when three stretches in a row differ by less than this
DRIFT, PART_S, LIMIT_S = 0.01, 5.0, 40.0  # a lead-in compares one part's power with the next


def steady(rates: Sequence[float]) -> bool:
    """Whether the last three seconds per request lie within STEADY of each other."""
    last = rates[-3:]
    return len(last) == 3 and max(last) <= (1 + STEADY) * min(last)


def lead_in(worker: Worker, stream: Asked, meter: Meter) -> str:
    """Works until the boards' power drifts under 1% over 10 s, so that a window opens at heat.

    Returns a remark where that was not reached, else "".
    """
    end_s = time.monotonic() + LIMIT_S
    before = 0.0
    while True:
        from_ns = time.perf_counter_ns()
        serve(worker, stream, min_s=PART_S)
        now = _watts(meter, from_ns)
        drift = abs(now - before) / before if before else math.inf
        if drift <= DRIFT:
            return ""
        if time.monotonic() >= end_s:
            told = f"drifted by {drift:.1%}" if math.isfinite(drift) else "was not told by a board"
            return f"power still {told} at the end of a lead-in of {LIMIT_S:g} s"
        before = now


def _watts(meter: Meter, from_ns: int) -> float:
    """Mean power since a time, the sum over boards; 0 where none tells it."""
    boards: dict[str, list[float]] = {}
    for row in meter.traces():
        if row.t_ns >= from_ns and row.quantity == "power_w" and row.domain.startswith("gpu:"):
            boards.setdefault(row.domain, []).append(row.value)
    return sum(statistics.fmean(watts) for watts in boards.values())
