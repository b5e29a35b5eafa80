"""Toy systems and a toy meter for the tests of the worker, the main loop and whole audits."""

import ctypes
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from harness.errors import AssetError
from harness.records import (
    DomainCard,
    EnergyReading,
    Failure,
    MeterCard,
    SystemCard,
    TraceRow,
)
from harness.worker import write_frame


class Toy:
    """Answers with noise drawn from the seed; subclasses misbehave in one way each."""

    def __init__(self, *, seconds: float = 0.0, weights: str = "w1") -> None:
        self.seconds, self.weights = seconds, weights

    def load(self):
        pass

    def image(self, request):
        rng = np.random.default_rng(request.seed)
        return rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)

    def generate(self, requests):
        time.sleep(self.seconds * len(requests))
        return [self.image(request) for request in requests]

    def card(self):
        return SystemCard(name="toy", height=64, width=64, weights_sha256={"toy": self.weights})


class TellsNothing(Toy):
    def profile(self, requests):
        raise RuntimeError("no profile today")


class Gated(Toy):
    """Offers a replay of a gate that it does not have."""

    def replay(self, requests, stage):
        return self.generate(requests)


class GatedElsewhere(Gated):
    """Draws other pictures where nothing is decided."""

    def replay(self, requests, stage):
        images = self.generate(requests)
        return images if stage == "whole" else [255 - image for image in images]


class GatedFails(Gated):
    """Answers a replay without an image, which costs next to nothing."""

    def replay(self, requests, stage):
        return [Failure(reason="no replay today") for _ in requests]


class GatedRaises(Gated):
    def replay(self, requests):  # the stage is missing
        return self.generate(requests)


class GatedInChildren(Gated):
    """Has its work done by a child, which the worker's own clock does not see."""

    def replay(self, requests, stage):
        subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
        return self.generate(requests)


class Calls(Toy):
    """Asks another machine for its pictures; tells in its card whether one can be reached."""

    def card(self):
        found = sorted(name for _, name in socket.if_nameindex())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            try:
                asking.connect(("192.0.2.1", 9))  # of a documentation network; nothing is sent
                reached = True
            except OSError:
                reached = False
        return SystemCard(
            name="calls", height=64, width=64, notes={"links": found, "reached": reached}
        )


class Writes(Toy):
    """Tries to write to files; tells in its card what came of it."""

    def __init__(self, *, paths):
        super().__init__()
        self.paths = paths

    def card(self):
        found = {name: self.tried(path) for name, path in self.paths.items()}
        found["temporary"] = tempfile.gettempdir()
        found["shared memory"] = self.tried("/dev/shm/un0bench-toy")
        return SystemCard(name="writes", height=64, width=64, notes=found)

    @staticmethod
    def tried(path):
        try:
            with open(path, "r+" if os.path.exists(path) else "w"):
                return "written"
        except OSError as error:
            return type(error).__name__


class Reads(Toy):
    """Looks into the folder of the audit, and under what hides it; tells in its card."""

    def __init__(self, *, folder):
        super().__init__()
        self.folder = folder

    def card(self):
        unmounted = ctypes.CDLL(None).umount2(self.folder.encode(), 2) == 0  # MNT_DETACH
        found = sorted(str(p.relative_to(self.folder)) for p in Path(self.folder).rglob("*"))
        notes = {"seen": found, "unmounted": unmounted}
        return SystemCard(name="reads", height=64, width=64, notes=notes)


class Raises(Toy):
    def generate(self, requests):
        raise RuntimeError("\x1b[31mno more paint\x1b[0m")


class Hangs(Toy):
    def generate(self, requests):
        time.sleep(1000)


class Dies(Toy):
    def generate(self, requests):
        print("\x1b[1mlast words\x1b[0m", flush=True)
        os.kill(os.getpid(), 9)


class Exits(Toy):
    def generate(self, requests):
        os._exit(7)


class Floats(Toy):
    def image(self, request):
        return np.zeros((64, 64, 3), np.float32)


class Grey(Toy):
    def image(self, request):
        return np.zeros((64, 64), np.uint8)


class Growing(Toy):
    """Changes its size from one image to the next."""

    side = 31

    def image(self, request):
        self.side += 1
        return np.zeros((self.side, self.side, 3), np.uint8)


class TooFew(Toy):
    def generate(self, requests):
        return super().generate(requests)[1:]


class NotAList(Toy):
    def generate(self, requests):
        return "a picture"


class Strings(Toy):
    def image(self, request):
        return "a picture"


class Empty(Toy):
    def image(self, request):
        return np.zeros((0, 64, 3), np.uint8)


class Forger(Toy):
    """Writes an answer of its own onto the wire."""

    def generate(self, requests):
        write_frame(int(sys.argv[2]), {"images": [5] * len(requests)})
        return super().generate(requests)


class NotANumber(Toy):
    def image(self, request):
        return Failure(reason=float("nan"))


class SomeFail(Toy):
    def image(self, request):
        if "circle" in request.prompt.text:
            return Failure(reason="no circles today")
        return super().image(request)


class Chatty(Toy):
    """Writes to its own stdout, where no frame must be."""

    def image(self, request):
        print("x" * 1000)
        return super().image(request)


class MissingWeights(Toy):
    def load(self):
        raise AssetError("no weights at /nowhere. Name a folder that exists.")


class Curious(Toy):
    """Notes what it is told of a request in its card."""

    seen: list[str] = []

    def generate(self, requests):
        for r in requests:
            self.seen.append(f"{r.prompt.category}|{r.prompt.spec}|{r.prompt.tags}|{r.prompt.id}")
        return super().generate(requests)

    def card(self):
        return SystemCard(name="curious", height=64, width=64, notes={"seen": self.seen})


class WithChild(Toy):
    """Lets a child process burn processor time."""

    def load(self):
        self.child = subprocess.Popen([sys.executable, "-c", "while True: pass"])


class WorksOn(Toy):
    """Goes on working in a thread when it has answered."""

    def generate(self, requests):
        def work():
            until = time.monotonic() + 1.5
            while time.monotonic() < until:
                pass

        threading.Thread(target=work, daemon=True).start()
        return super().generate(requests)


class FlatMeter:
    """One modelled domain that draws exactly 10 W."""

    def __init__(self, *, path: str = "") -> None:
        self.rows = []

    def describe(self):
        domains = (DomainCard(domain="cpu", method="modelled", accuracy=0.05),)
        return MeterCard(name="flat", domains=domains)

    def start(self):
        self.mark()

    def mark(self):
        row = TraceRow(t_ns=time.perf_counter_ns(), domain="cpu", quantity="power_w", value=10.0)
        self.rows.append(row)

    def readings(self, spans):
        return [
            EnergyReading(
                span=span.id,
                domain="cpu",
                energy_j=10.0 * span.duration_s,
                method="modelled",
                accuracy=0.05,
            )
            for span in spans
        ]

    def traces(self):
        return list(self.rows)

    def spent_s(self):
        return 0.25

    def stop(self):
        pass
