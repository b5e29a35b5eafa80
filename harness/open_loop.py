"""Requests that come at random times, whether or not the last one was answered."""

from __future__ import annotations

import hashlib
import time

import numpy as np

from harness.records import Failure
from harness.windows import Asked, Served
from harness.worker import Worker

__all__ = ["serve_open"]


def serve_open(
    worker: Worker, batches: Asked, *, rate: float, min_s: float, rng: np.random.Generator
) -> Served:
    """Serves batches as soon as all their requests have come, for at least `min_s`.

    Requests come at `rate` a second, at times of a Poisson process; between batches the worker
    waits.
    """
    served, cpu_before = Served(), worker.cpu_s()
    served.start_ns = time.perf_counter_ns()
    due_ns = float(served.start_ns)
    for batch in batches.batches:
        due_ns += 1e9 * rng.exponential(1 / rate, len(batch.requests)).sum()
        if (due_ns - served.start_ns) / 1e9 > min_s and served.requests:
            break
        time.sleep(max(0.0, (due_ns - time.perf_counter_ns()) / 1e9))
        answer = worker.generate(batch.requests)
        served.requests += len(batch.requests)
        served.failures += sum(isinstance(image, Failure) for image in answer.images)
        served.keep(batch, answer, hashlib.sha256(answer.payload).hexdigest())
    time.sleep(max(0.0, served.start_ns / 1e9 + min_s - time.perf_counter_ns() / 1e9))
    served.end_ns = time.perf_counter_ns()
    cpu_after = worker.cpu_s()
    if cpu_before is not None and cpu_after is not None:
        served.cpu_s = cpu_after - cpu_before
    return served
