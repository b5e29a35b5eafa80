import os
import signal
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest

from harness.errors import AssetError, ConfigError, SystemFailed
from harness.isolation import Walls, walls
from harness.records import Failure, Prompt, Request
from harness.worker import Worker, plain, read_frame, write_frame

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
    """Starts a worker on a toy system and loads it; closes it afterwards."""
    opened = []

    def begin(name, load=True, timeout_s=20.0, network=True, **config):
        target = name if "." in name else f"toy_systems.{name}"
        worker = Worker(
            "toy",
            {"_target_": target, **config},
            log=tmp_path / "toy.log",
            timeout_s=timeout_s,
            remedy="Mend it and go on.",
            network=network,
            scratch=tmp_path / "run/scratch",
            hidden=tmp_path / "run",
        )
        opened.append(worker)
        if load:
            worker.load()
        return worker

    yield begin
    for worker in opened:
        worker.close()


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


def test_a_system_sees_number_text_and_seed_only(start):
    worker = start("Curious")
    worker.generate(REQUESTS)
    worker.load()  # asks for the card again
    assert worker.card["notes"]["seen"] == ["|None|()|70", "|None|()|71", "|None|()|72"]


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
        ("Forger", "wrote a broken frame"),
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
    worker = start("Hangs", timeout_s=3.0)
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


def test_a_stopped_worker_and_its_children_use_no_processor(start):
    worker = start("WithChild")
    time.sleep(0.3)
    worker.stop()
    before = worker.cpu_s()
    time.sleep(0.5)
    assert worker.cpu_s() - before <= 0.02  # two clock ticks
    worker.cont()
    time.sleep(0.5)
    assert worker.cpu_s() - before > 0.1
    child = psutil.Process(worker.process.pid).children()[0]
    worker.close()
    ended = time.monotonic() + 5  # a kill takes a moment to arrive
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < ended
        time.sleep(0.01)


def test_a_worker_without_network_reaches_no_machine(start):
    if not walls([]).alone:
        pytest.skip("this machine allows no namespaces")
    alone = start("Calls", network=False)
    assert alone.offline
    assert alone.card["notes"] == {"links": ["lo"], "reached": False}
    assert len(alone.generate(REQUESTS).images) == 3
    missing = start("MissingWeights", load=False, network=False)
    with pytest.raises(AssetError, match=r"\+systems.toy.network=true allows it"):
        missing.load()


def test_where_nothing_shuts_it_in_it_is_said(start, monkeypatch):
    monkeypatch.setattr("harness.worker.walls", lambda folders, hidden: Walls())
    worker = start("Calls", network=False)
    assert not worker.offline and not worker.hides
    assert worker.writes == ["anywhere"]


def test_a_worker_writes_under_its_scratch_folder_alone(start, tmp_path, monkeypatch):
    if not walls([]).confined:
        pytest.skip("this kernel has no Landlock")
    for name in ("NUMBA_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    asked = {"inside": "run/scratch/a", "outside": "toy.txt", "kept": "kept.txt"}
    (tmp_path / "kept.txt").write_text("kept")
    paths = {name: str(tmp_path / path) for name, path in asked.items()}
    alone = start("Writes", network=False, paths=paths)
    assert alone.writes == ["scratch"]
    assert alone.card["notes"] == {
        "inside": "written",
        "outside": "PermissionError",
        "kept": "PermissionError",
        "temporary": str(tmp_path / "run/scratch"),
        "shared memory": "written" if alone.offline else "PermissionError",
    }
    assert not os.path.exists("/dev/shm/un0bench-toy")
    assert (tmp_path / "kept.txt").read_text() == "kept"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    shared = start("Writes", network=False, paths={"cached": str(tmp_path / "cache/a")})
    assert shared.writes == ["scratch", "NUMBA_CACHE_DIR"]
    assert shared.card["notes"]["cached"] == "written"
    assert start("Writes", paths=paths).card["notes"]["outside"] == "written"


def test_a_worker_does_not_see_the_plan_of_its_audit(start, tmp_path):
    if walls([]) != replace(walls([]), alone=True, confined=True):
        pytest.skip("this machine allows no mounts of one's own")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/plan.json").write_text("the salt")
    (tmp_path / "run/scratch").mkdir()
    (tmp_path / "run/scratch/kept").write_text("of an earlier start")
    alone = start("Reads", network=False, folder=str(tmp_path / "run"))
    assert alone.hides
    assert alone.card["notes"]["seen"] == ["scratch", "scratch/kept"]
    assert alone.card["notes"]["unmounted"] is False
    assert (tmp_path / "run/plan.json").read_text() == "the salt"
    free = start("Reads", folder=str(tmp_path / "run"))
    assert not free.hides
    assert "plan.json" in free.card["notes"]["seen"]


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
