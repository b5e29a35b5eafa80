"""Toy systems and a toy meter for the tests of the worker, the main loop and whole audits."""

import os
import time

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


class GatedFails(Gated):
    """Answers a replay without an image, which costs next to nothing."""

    def replay(self, requests, stage):
        return [Failure(reason="no replay today") for _ in requests]


class GatedRaises(Gated):
    def replay(self, requests):  # the stage is missing
        return self.generate(requests)


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


class LateFlatMeter(FlatMeter):
    """One whose log would be there when the run is over."""

    def attach(self, folder):
        pass

    def finish(self):
        pass
