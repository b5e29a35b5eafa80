"""One metered window: batches in, images hashed on arrival, rows out after it has closed."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.draw import Draws
from harness.journal import REQUESTS_PER_WINDOW
from harness.records import Failure, Prompt, Request
from harness.worker import Answer, Worker

__all__ = [
    "Asked",
    "Batch",
    "Served",
    "asked",
    "batch_rows",
    "core_rows",
    "draw_fillers",
    "left_behind",
    "rows",
    "serve",
]

SETTLE_S = 0.25  # after the last answer, until threads of a library have gone to sleep
LEFT_SHARE, LEFT_S = 0.01, 0.05  # of the window's processor time; and five clock ticks at least
KEEP_BYTES = 1 << 30  # filler images kept for the draw; beyond it, a random half goes


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Requests that go out in one message: all filler, or core with `pad` fillers at its end."""

    requests: tuple[Request, ...]
    core: bool
    pad: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The batches of a window in order, without end, and how many of them hold the core."""

    batches: Iterator[Batch]
    core_batches: int


@dataclass(slots=True, kw_only=True)
class Served:
    """What a window left: every batch with its hash, and the images the draw may want."""

    start_ns: int = 0
    end_ns: int = 0
    cpu_s: float | None = None
    requests: int = 0
    failures: int = 0
    core: list[tuple[Batch, Answer]] = field(default_factory=list)
    fillers: list[tuple[Batch, Answer | None, str]] = field(default_factory=list)
    kept_bytes: int = 0

    @property
    def duration_s(self) -> float:
        return (self.end_ns - self.start_ns) / 1e9

    def keep(self, batch: Batch, answer: Answer, digest: str) -> None:
        """Keeps a filler's hash, and its images for the draw while there is room for them."""
        self.fillers.append((batch, answer, digest))
        self.kept_bytes += len(answer.payload)
        if self.kept_bytes > KEEP_BYTES:
            self.kept_bytes = _thin(self)


def asked(
    draws: Draws,
    *,
    window: int,
    batch: int,
    core: Sequence[tuple[Prompt, int]],
    expected_batches: int,
    rng: np.random.Generator,
) -> Asked:
    """Puts the core's whole batches at random positions among the batches expected.

    Fillers bring the core's last batch to the size of all others, or it would be told by its size.
    Everything expected is drawn here, before the window opens; a system that is faster than
    expected makes the stream draw on.
    """
    number = itertools.count(window * REQUESTS_PER_WINDOW)
    filler = draws.filler(window)
    core_batches = -(-len(core) // batch)
    total = max(expected_batches, core_batches)
    places = set(rng.choice(total, size=core_batches, replace=False).tolist())
    parts = iter(core[at : at + batch] for at in range(0, len(core), batch))

    def filled(part: Sequence[tuple[Prompt, int]] = ()) -> Batch:
        pad = batch - len(part)
        pairs = (*part, *itertools.islice(filler, pad))
        requests = (Request(id=next(number), prompt=prompt, seed=seed) for prompt, seed in pairs)
        return Batch(requests=tuple(requests), core=bool(part), pad=pad if part else 0)

    ready = [filled(next(parts) if i in places else ()) for i in range(total)]
    endless = itertools.chain(ready, (filled() for _ in itertools.count()))
    return Asked(batches=endless, core_batches=core_batches)


def serve(
    worker: Worker,
    batches: Asked,
    *,
    min_s: float,
    min_requests: int = 0,
    max_s: float = float("inf"),
) -> Served:
    """Serves batches until core, `min_s` and `min_requests` are done; the clock starts here.

    Once long enough, only what is left of the core is served; past `max_s` nothing more.
    """
    served, left = Served(), batches.core_batches
    cpu_before = worker.cpu_s()
    served.start_ns = time.perf_counter_ns()
    for batch in batches.batches:
        elapsed_s = (time.perf_counter_ns() - served.start_ns) / 1e9
        enough = elapsed_s >= min_s and served.requests >= min_requests
        if (enough and not left) or (elapsed_s >= max_s and served.requests):
            break
        if enough and not batch.core:
            continue
        answer = worker.generate(batch.requests)
        served.requests += len(batch.requests)
        served.failures += sum(isinstance(image, Failure) for image in answer.images)
        digest = hashlib.sha256(answer.payload).hexdigest()  # of core too: a pause would tell it
        if batch.core:
            left -= 1
            core, (batch, answer) = _parted(batch, answer)
            served.core.append(core)
            if not batch.requests:
                continue
            digest = hashlib.sha256(answer.payload).hexdigest()
        served.keep(batch, answer, digest)
    served.end_ns = time.perf_counter_ns()
    cpu_after = worker.cpu_s()
    if cpu_before is not None and cpu_after is not None:
        served.cpu_s = cpu_after - cpu_before
    return served


def left_behind(worker: Worker, served: Served) -> str:
    """What voids a window: that its process tree works on when all answers were given; or "".

    Threads that wait for more may spin a moment, because nothing more was asked; whoever works on
    when they sleep has work left. Children that nobody waits for are not seen here: they show as
    foreign time.
    """
    time.sleep(SETTLE_S)
    settled_s = worker.cpu_s()
    time.sleep(SETTLE_S)
    after_s = worker.cpu_s()
    if settled_s is None or after_s is None or served.cpu_s is None:
        return ""
    left_s = after_s - settled_s
    if left_s <= max(LEFT_S, LEFT_SHARE * served.cpu_s):
        return ""
    return f"{left_s:.2f} s of processor time in {SETTLE_S:g} s, when all answers had been given"


def _parted(batch: Batch, answer: Answer) -> tuple[tuple[Batch, Answer], tuple[Batch, Answer]]:
    """The core of a batch and the fillers at its end, each with its own images and bytes."""
    at = len(batch.requests) - batch.pad
    halves = (answer.images[:at], answer.images[at:])
    bytes_of_core = sum(i.nbytes for i in halves[0] if not isinstance(i, Failure))
    payloads = (answer.payload[:bytes_of_core], answer.payload[bytes_of_core:])
    requests = (batch.requests[:at], batch.requests[at:])
    core, filler = (
        (Batch(requests=r, core=is_core), dataclasses.replace(answer, images=i, payload=p))
        for r, i, p, is_core in zip(requests, halves, payloads, (True, False), strict=True)
    )
    return core, filler


def _thin(served: Served) -> int:
    """Lets a random half of the kept filler images go; their hashes stay. Returns bytes kept."""
    kept = 0
    for at, (batch, answer, digest) in enumerate(served.fillers):
        if answer is not None and secrets.randbits(1):
            served.fillers[at] = (batch, None, digest)
        elif answer is not None:
            kept += len(answer.payload)
    return kept


def draw_fillers(served: Served, count: int, nonce: str) -> list[tuple[Request, Any, int]]:
    """Draws fillers for scoring by a nonce made after the window: (request, image, latency)."""
    pool = [
        (request, image, answer.received_ns - answer.sent_ns)
        for batch, answer, _ in served.fillers
        if answer is not None
        for request, image in zip(batch.requests, answer.images, strict=True)
    ]
    rng = np.random.default_rng(int(nonce, 16))
    if not pool:
        return []
    picked = rng.choice(len(pool), size=min(count, len(pool)), replace=False)
    return [pool[i] for i in sorted(picked.tolist())]


def core_rows(served: Served) -> list[tuple[Request, Any, int]]:
    """The core: (request, image or Failure, latency in ns of the batch it came in)."""
    return [
        (request, image, answer.received_ns - answer.sent_ns)
        for batch, answer in served.core
        for request, image in zip(batch.requests, answer.images, strict=True)
    ]


def rows(
    picked: Sequence[tuple[Request, Any, int]], *, window: str, system: str, core: bool
) -> list[dict[str, Any]]:
    """Rows of requests.parquet; the hash of an image is over its raw bytes, row by row."""
    return [
        {
            "request": request.id,
            "window": window,
            "system": system,
            "prompt_id": request.prompt.id,
            "seed": request.seed,
            "core": core,
            "latency_ns": latency_ns,
            "image_sha256": ""
            if isinstance(image, Failure)
            else hashlib.sha256(image.tobytes()).hexdigest(),
            "failure": image.reason if isinstance(image, Failure) else None,
        }
        for request, image, latency_ns in picked
    ]


def batch_rows(window: str, digests: Iterable[tuple[Batch, str]]) -> list[dict[str, Any]]:
    """Rows of batches.parquet: which requests a batch held, and the hash of its images' bytes."""
    return [
        {
            "window": window,
            "first_index": batch.requests[0].id,
            "count": len(batch.requests),
            "sha256": digest,
        }
        for batch, digest in digests
    ]
