"""What an audit is going to measure, and how many pairs that takes."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import ConfigError
from harness.journal import WindowRecord
from harness.stats import PILOT_PAIRS, pairs_needed

__all__ = ["Plan", "SystemPlan", "log_ratios", "wanted_pairs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured, fixed before anything runs. Times in seconds, `core` in requests."""

    core: int
    pairs: int
    max_pairs: int
    min_window_s: float = 5.0
    idle_s: float = 5.0
    warmup_s: float = 8.0
    latency_requests: int = 100
    latency_s: float = 5.0
    latency_limit_s: float = 20.0
    gate_s: float = 8.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises ConfigError for a value that no audit could run with."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            kind, word = (int, "whole number") if field.type == "int" else (int | float, "number")
            least = "of at least 0" if field.name == "seed" else "above 0"
            fits = isinstance(value, kind) and not isinstance(value, bool) and value >= 0
            if not fits or (value == 0 and field.name != "seed"):
                raise ConfigError(f"{field.name} is {value!r}; it is a {word} {least}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemPlan:
    """One system: what its worker instantiates, its batch, and how long an answer may take.

    Without `network` the worker has none, and writes in a folder of its own alone, where this
    machine allows that.
    """

    name: str
    config: Mapping[str, Any]
    batch: int
    timeout_s: float = 600.0
    network: bool = False

    @property
    def device(self) -> str | None:
        """What the system works on, in its own words; None where it is silent.

        "cpu", "cuda:1", or "remote" where another machine does the work.
        """
        return self.config.get("device")


def wanted_pairs(plan: Plan, blocks: Sequence[WindowRecord], candidate: str, baseline: str) -> int:
    """Stein's second stage: pairs wanted from the spread of the first six, whatever came later.

    The largest over every quantity measured: processor time, and the joules of each domain.
    """
    logs = log_ratios(blocks, candidate, baseline).values()
    spreads = [statistics.stdev(row[:PILOT_PAIRS]) for row in logs if len(row) >= PILOT_PAIRS]
    return max((pairs_needed(s) for s in spreads), default=plan.pairs)


def log_ratios(
    blocks: Sequence[WindowRecord], candidate: str, baseline: str
) -> dict[str, list[float]]:
    """log(baseline / candidate) per image of each finished pair, in order, by quantity.

    Quantities are cpu_s and the domains that were read.
    """
    sums: dict[str, dict[tuple[int, str], list[float]]] = {}
    for record in blocks:
        window = record.window
        spent = {"cpu_s": window.cpu_s}
        spent |= {reading.domain: reading.energy_j for reading in record.readings}
        for quantity, value in spent.items():
            key = (window.pair or 0, window.system)
            images = window.requests - window.failures
            each = value / images if value and images else 0.0  # 0: no ratio below
            sums.setdefault(quantity, {}).setdefault(key, []).append(each)
    rows: dict[str, list[float]] = {}
    for quantity, cells in sums.items():
        row = rows.setdefault(quantity, [])
        for pair in sorted({pair for pair, _ in cells}):
            a, b = cells.get((pair, candidate), []), cells.get((pair, baseline), [])
            if len(a) == len(b) == 2 and all(a) and all(b):
                row.append(math.log(sum(b) / sum(a)))
    return rows
