import hashlib
import itertools

import numpy as np
import pytest

from harness.draw import Draws
from harness.records import Failure, Prompt
from harness.windows import Served, asked, core_rows, draw_fillers, left_behind, rows, serve
from harness.worker import Answer

PROMPTS = [Prompt(id=f"p{i}", text=f"text {i}", category="c") for i in range(50)]


class Scripted:
    """Stands for a worker: answers at once, and counts what it is asked."""

    def __init__(self):
        self.asked, self.cpu = [], itertools.count(5.0, 0.25)

    def generate(self, requests):
        self.asked.append(requests)
        images = [np.full((2, 2, 3), request.seed % 256, np.uint8) for request in requests]
        payload = b"".join(image.tobytes() for image in images)
        return Answer(images=images, payload=payload, sent_ns=10, received_ns=30)

    def cpu_s(self):
        return next(self.cpu)


def batches(expected, core=8, batch=4, seed=0):
    draws = Draws(PROMPTS, core=core, seed=0)
    return asked(
        draws,
        window=3,
        batch=batch,
        core=draws.core(0) if core else (),
        expected_batches=expected,
        rng=np.random.default_rng(seed),
    )


def test_core_batches_stand_at_random_places_among_whole_batches():
    places = []
    for seed in range(40):
        flags = [batch.core for batch in itertools.islice(batches(10, seed=seed).batches, 10)]
        assert sum(flags) == 2
        places += [at for at, flag in enumerate(flags) if flag]
    assert set(places) == set(range(10))


def test_a_core_that_ends_within_a_batch_is_not_told_by_its_size():
    asked_for = batches(6, core=6, batch=4)
    assert {len(batch.requests) for batch in itertools.islice(asked_for.batches, 9)} == {4}
    served = serve(Scripted(), batches(1, core=6, batch=4), min_s=0.0)
    draws = Draws(PROMPTS, core=6, seed=0)
    assert [(r.prompt, r.seed) for r, *_ in core_rows(served)] == draws.core(0)
    ((pad, answer, digest),) = served.fillers  # the two that filled the last batch up
    assert served.requests == 8 and len(pad.requests) == len(answer.images) == 2
    pixels = b"".join(np.full((2, 2, 3), r.seed % 256, np.uint8).tobytes() for r in pad.requests)
    assert digest == hashlib.sha256(pixels).hexdigest()


def test_request_numbers_run_on_whatever_is_core():
    numbers = [r.id for b in itertools.islice(batches(6).batches, 8) for r in b.requests]
    assert numbers == list(range(30_000_000, 30_000_032))


def test_a_slow_system_serves_its_core_and_nothing_else():
    worker = Scripted()
    served = serve(worker, batches(1), min_s=0.0)
    assert served.requests == 8
    assert served.fillers == []
    assert served.cpu_s == 0.25


def test_a_fast_system_goes_on_with_filler_until_the_window_is_long_enough():
    worker = Scripted()
    served = serve(worker, batches(3), min_s=0.05)
    assert served.duration_s >= 0.05
    assert len(served.core) == 2
    assert served.requests == 4 * len(worker.asked) > 8


def test_the_rest_of_the_core_is_served_after_the_time_is_over():
    class Slow(Scripted):
        def generate(self, requests):
            import time

            time.sleep(0.02)
            return super().generate(requests)

    served = serve(Slow(), batches(50, seed=1), min_s=0.05)
    assert len(served.core) == 2
    assert len(served.fillers) < 48


def test_a_limit_ends_a_window_that_wants_more_requests():
    served = serve(Scripted(), batches(1, core=0, batch=1), min_s=0, min_requests=10**9, max_s=0.05)
    assert 0.05 <= served.duration_s < 1


def test_a_nonce_draws_the_same_fillers_again_and_another_nonce_others():
    served = serve(Scripted(), batches(3), min_s=0.02)
    first = draw_fillers(served, 8, "0a")
    assert [r.id for r, *_ in first] == [r.id for r, *_ in draw_fillers(served, 8, "0a")]
    assert [r.id for r, *_ in first] != [r.id for r, *_ in draw_fillers(served, 8, "0b")]
    core = {request.id for request, *_ in core_rows(served)}
    assert len(first) == 8 and not core & {request.id for request, *_ in first}


def test_filler_hashes_are_over_the_bytes_as_they_arrived():
    served = serve(Scripted(), batches(3), min_s=0.01)
    batch, answer, digest = served.fillers[0]
    pixels = b"".join(np.full((2, 2, 3), r.seed % 256, np.uint8).tobytes() for r in batch.requests)
    assert digest == hashlib.sha256(pixels).hexdigest()


def test_a_failure_has_no_hash_and_keeps_its_reason():
    served = serve(Scripted(), batches(1), min_s=0.0)
    request, image, latency = core_rows(served)[0]
    good, bad = rows(
        [(request, image, latency), (request, Failure(reason="no"), latency)],
        window="w",
        system="s",
        core=True,
    )
    assert good["failure"] is None and len(good["image_sha256"]) == 64
    assert bad["failure"] == "no" and bad["image_sha256"] == ""
    assert good["latency_ns"] == 20


@pytest.mark.parametrize(
    ("read_s", "told"),
    (
        ([5.2, 5.2], ""),  # threads may spin before the first of the two
        ([5.0, 5.04], ""),  # four ticks of the clock
        ([5.0, 5.07], "0.07 s of processor time in 0.25 s"),
        ([None, 5.4], ""),
    ),
)
def test_work_that_goes_on_after_the_last_answer_voids(read_s, told, monkeypatch, settling):
    monkeypatch.setattr("harness.windows.time.sleep", lambda seconds: None)
    worker, served = Scripted(), Served(cpu_s=3.0)
    worker.cpu = iter(read_s)
    found = left_behind(worker, served)
    assert found.startswith(told) and bool(found) == bool(told)
    assert served.cpu_s == 3.0
    long = Served(cpu_s=10.0)
    worker.cpu = iter([5.0, 5.09])
    assert left_behind(worker, long) == ""  # under 1% of what the window took
