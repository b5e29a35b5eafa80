import os
import signal
import time

import numpy as np
import pytest
from toy_workers import workers

from harness.errors import AssetError, ConfigError, SystemFailed, plain
from harness.records import Failure, Prompt, Request
from harness.wire import read_frame, write_frame

REQUESTS = [
    Request(
        id=70 + i,
        prompt=Prompt(id=f"secret-{i}", text=f"a red {shape}", category="single", spec={"a": 1}),
        seed=i,
    )
    for i, shape in enumerate(("circle", "square", "star"))
]


@pytest.fixture
def start(tmp_path):
    with workers(
        tmp_path, "toy_systems", "toy", remedy="Mend it and go on.", timeout_s=20.0
    ) as one:
        yield one


def test_images_arrive_as_the_system_made_them(start):
    worker = start("Toy")
    answer = worker.generate(REQUESTS)
    expected = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert np.array_equal(answer.images[1], expected)
    assert answer.received_ns > answer.sent_ns
    assert worker.card["weights_sha256"] == {"toy": "w1"}


def test_a_large_batch_passes_through_the_pipe(start):
    requests = [
        Request(id=i, prompt=Prompt(id="p", text="x" * 500, category=""), seed=i)
        for i in range(400)
    ]
    answer = start("Toy").generate(requests)
    assert len(answer.images) == 400
    assert len(answer.payload) == 400 * 64 * 64 * 3


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("Raises", "RuntimeError: no more paint"),
        ("Dies", "died on SIGKILL"),
        ("Exits", "exited with code 7"),
        ("Floats", r"float32 \[64, 64, 3\]; expected uint8"),
        ("Grey", r"uint8 \[64, 64\]; expected uint8 \[H, W, 3\]"),
        ("Growing", r"shape \[33, 33, 3\], earlier ones \[32, 32, 3\]"),
        ("TooFew", "returned 2 images for 3 requests"),
        ("NotAList", "returned a str, not a list"),
        ("Strings", "image 0 of the batch is a str"),
        ("Empty", r"uint8 \[0, 64, 3\]; expected uint8"),
        ("NotANumber", "exited with code 1"),
    ],
)
def test_a_misbehaving_system_is_named_with_request_and_remedy(start, name, what):
    worker = start(name)
    with pytest.raises(SystemFailed, match=what) as caught:
        worker.generate(REQUESTS)
    text = str(caught.value)
    assert "System 'toy'" in text
    assert "request 70 to 72" in text
    assert "Mend it and go on." in text
    assert "\x1b" not in text


def test_what_a_dead_system_printed_last_is_shown_without_escapes(start):
    worker = start("Dies")
    with pytest.raises(SystemFailed, match="Last line of its log: last words"):
        worker.generate(REQUESTS)


def test_a_hanging_system_is_ended_at_its_deadline(start):
    worker = start("Hangs")
    worker.timeout_s = 3.0
    began = time.monotonic()
    with pytest.raises(SystemFailed, match="no answer in 3 s"):
        worker.generate(REQUESTS)
    assert time.monotonic() - began < 10
    assert worker.process.wait(timeout=5) == -signal.SIGKILL


def test_an_image_that_failed_is_kept_as_a_failure(start):
    answer = start("SomeFail").generate(REQUESTS)
    assert answer.images[0] == Failure(reason="no circles today")
    assert isinstance(answer.images[1], np.ndarray)


def test_what_a_system_prints_reaches_its_log_and_no_frame(start):
    worker = start("Chatty")
    assert len(worker.generate(REQUESTS).images) == 3
    assert worker.log.read_text().count("x" * 1000) == 3


def test_an_input_error_in_load_keeps_its_class(start):
    with pytest.raises(AssetError, match="no weights at /nowhere"):
        start("MissingWeights")


def test_an_unknown_argument_names_the_nearest_one(start):
    with pytest.raises(ConfigError, match="takes no 'secnods'; did you mean 'seconds'"):
        start("Toy", secnods=1)


def test_an_unknown_target_is_an_input_error(start):
    with pytest.raises(ConfigError, match="toy_systems.Nobody"):
        start("Nobody")


def test_frames_survive_a_round_trip():
    reader, writer = os.pipe()
    write_frame(writer, {"op": "x", "text": "ü"}, b"\x00\x01")
    assert read_frame(reader) == ({"op": "x", "text": "ü"}, b"\x00\x01")
    os.close(writer)
    with pytest.raises(EOFError):
        read_frame(reader)
    os.close(reader)


def test_escape_sequences_are_stripped():
    assert plain("\x1b[31mred\x1b[0m \x1b]0;title\x07ok\x00") == "red ok"
