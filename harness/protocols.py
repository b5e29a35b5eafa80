"""The seams. A new system, meter or metric is one file that satisfies one of these, and a YAML."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from harness.records import (
    EnergyReading,
    Failure,
    MeterCard,
    Request,
    Score,
    Span,
    SystemCard,
    TraceRow,
)

__all__ = [
    "Extractor",
    "LateMeter",
    "Meter",
    "Prepared",
    "Replays",
    "Statistic",
    "System",
    "Technique",
    "Whole",
]


@runtime_checkable
class System(Protocol):
    """Turns requests into images; lives in a worker process."""

    def load(self) -> None:
        """Reads weights and builds what is needed; charged and reported apart."""

    def generate(self, requests: Sequence[Request]) -> list[np.ndarray | Failure]:
        """Generates one uint8 image [H, W, 3], sRGB, per request, in order, on the host."""

    def card(self) -> SystemCard:
        """Describes the loaded system."""


@runtime_checkable
class Replays(Protocol):
    """A gated system that can serve requests again with parts of its gate's work left out."""

    def replay(self, requests: Sequence[Request], stage: str) -> list[np.ndarray | Failure]:
        """Generates what `generate` does, the same images, at one of these stages:

        whole      as always; notes what the gate decided
        decided    with the noted neurons and gains: nothing is decided
        gathered   with those neurons fetched beforehand too: nothing is decided or fetched
        resident   decided, from a pool that holds these neurons alone
        """


@runtime_checkable
class Technique(Protocol):
    """Makes a loaded pipeline of diffusers cheaper; a system lists them under `techniques`."""

    def apply(self, pipeline: Any, draw: Callable[[Sequence[str]], object]) -> Mapping[str, Any]:
        """Changes the pipeline in place, on its device, and returns what the card is to say of it.

        `draw` has the pipeline draw captions as it will be asked to, for what learns by looking on.
        `parameter_bytes` among what is returned stands in the card for the whole pipeline's;
        `weights_sha256` is laid over that of the files the pipeline was read from.
        """


@runtime_checkable
class Meter(Protocol):
    """Reads energy; never guesses silently."""

    def describe(self) -> MeterCard:
        """Lists every domain, and for one that cannot be read the reason and the remedy."""

    def start(self) -> None:
        """Begins sampling in the background, at 10 Hz or less."""

    def mark(self) -> None:
        """Samples every domain now; called at both edges of a window."""

    def readings(self, spans: Sequence[Span]) -> list[EnergyReading]:
        """One reading for each span and domain; may be asked after the run."""

    def traces(self) -> list[TraceRow]:
        """Every sample taken, in order of time."""

    def spent_s(self) -> float:
        """Processor seconds that reading has cost the machine so far."""

    def stop(self) -> None:
        """Ends sampling; readings and traces stay available."""


@runtime_checkable
class LateMeter(Meter, Protocol):
    """A meter whose readings of a whole run are there when it is over, as of another's log."""

    def attach(self, folder: Path) -> None:
        """Called before `start`; what a run that is resumed needs may be kept there."""

    def finish(self) -> None:
        """Called after the last window; `readings` and `traces` are complete afterwards.

        Raises MeterUnavailable where they cannot be yet: the run then can be resumed.
        """


@runtime_checkable
class Extractor(Protocol):
    """Turns images into rows, a batch at a time; may use torch."""

    name: str

    def rows(self, images: Sequence[np.ndarray], requests: Sequence[Request]) -> np.ndarray:
        """Returns float array [len(images), columns]."""


@runtime_checkable
class Whole(Extractor, Protocol):
    """An extractor whose rows are features: kept whole, and judged by their Frechet distance."""

    def reference(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean [d] and covariance [d, d] of what the pictures are held against."""

    def facts(self) -> Mapping[str, Any]:
        """What stands beside the distance: resize mode, hash of the network, the reference."""


@runtime_checkable
class Prepared(Protocol):
    """What can tell, before anything is measured, whether it has all it needs."""

    def ready(self) -> None:
        """Raises AssetError where a file is missing."""


@runtime_checkable
class Statistic(Protocol):
    """Turns rows into a score; numpy only."""

    def compute(
        self, rows_a: np.ndarray, rows_b: np.ndarray | None, reference: np.ndarray | None
    ) -> Score:
        """Scores rows_a [n, d], against rows_b or the reference where the measure needs one."""
