"""Samples in the background, and joules from samples: what every meter has in common.

A counter's energy is the difference of its samples at the two edges of a span; a power's is the
trapezoid over the samples inside. A span that cannot be resolved gives None and a reason, never 0.
"""

from __future__ import annotations

import math
import statistics
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.errors import ConfigError, MeterUnavailable
from harness.records import DomainCard, EnergyReading, MeterCard, Span, TraceRow

__all__ = ["MAX_HZ", "Rules", "SampledMeter", "measure_ticks", "readings_from"]

MAX_HZ = 10.0
EDGE_S = 0.02  # a sample this near to an edge stands for it, if that is within 1% of the span
SLACK = 1e-9  # 5.0 s of 0.1 s ticks are 50 ticks, whatever the last bit says


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a span needs before its joules are given.

    `min_ticks`: updates of a counter; `min_samples`: samples of a power inside the span;
    `max_gap_s`: the longest silence bridged between samples; `wrap_gap_s`: the longest silence in
    which a counter cannot have wrapped unseen; `band`: how far counter and integrated power may
    differ, as a share of the counter.
    """

    min_ticks: int = 50
    min_samples: int = 10
    max_gap_s: float = 1.0
    wrap_gap_s: float = math.inf
    band: float = 0.10


@dataclass(frozen=True, slots=True, kw_only=True)
class _Series:
    """Samples of one quantity of one domain, in order of time."""

    t_ns: np.ndarray
    value: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class _Joules:
    """Joules over a span and the least step that was resolved, or a reason."""

    energy_j: float | None
    resolution_j: float | None = None
    reason: str = ""


def measure_ticks(
    read: Callable[[], Mapping[str, float]],
    *,
    changes: int = 6,
    limit_s: float = 1.5,
    pause_s: float = 0.0005,
) -> dict[str, float | None]:
    """Polls counters until each has changed a few times; returns seconds between updates.

    None for a counter that stood still for `limit_s`. Faster counters than the polling get the
    polling interval, which is on the safe side.
    """
    last: dict[str, float] = dict(read())
    seen: dict[str, list[float]] = {key: [] for key in last}
    end_s = time.perf_counter() + limit_s
    while time.perf_counter() < end_s and any(len(times) <= changes for times in seen.values()):
        time.sleep(pause_s)
        now = read()
        t_s = time.perf_counter()
        for key, times in seen.items():
            if key in now and now[key] != last[key]:
                last[key] = now[key]
                times.append(t_s)
    return {
        key: statistics.median(b - a for a, b in zip(times, times[1:], strict=False))
        if len(times) > 1
        else None
        for key, times in seen.items()
    }


def readings_from(
    rows: Iterable[TraceRow],
    cards: Sequence[DomainCard],
    spans: Sequence[Span],
    rules: Rules,
    lost: Mapping[str, str] | None = None,
) -> list[EnergyReading]:
    """One reading for each span and domain.

    A domain that exists but cannot be read (`gpu:0`) is given as None with its reason; hardware
    that is not there has a card with a bare name (`gpu`) and no readings. `lost` holds the last
    error of a domain, and is added to the reason.
    """
    series = _series(rows)
    readings = []
    for span in spans:
        for card in cards:
            if card.method is None and ":" not in card.domain:
                continue
            joules = _joules(card, series, span, rules)
            reason = joules.reason
            if joules.energy_j is None and lost and card.domain in lost:
                reason = f"{reason}; last error: {lost[card.domain]}"
            readings.append(
                EnergyReading(
                    span=span.id,
                    domain=card.domain,
                    energy_j=joules.energy_j,
                    method=card.method,
                    resolution_j=joules.resolution_j,
                    accuracy=card.accuracy,
                    reason=reason,
                )
            )
    return readings


def _series(rows: Iterable[TraceRow]) -> dict[tuple[str, str], _Series]:
    grouped: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for row in rows:
        grouped.setdefault((row.domain, row.quantity), []).append((row.t_ns, row.value))
    return {
        key: _Series(
            t_ns=np.array([t for t, _ in pairs], dtype=np.int64),
            value=np.array([value for _, value in pairs], dtype=np.float64),
        )
        for key, pairs in grouped.items()
    }


def _joules(
    card: DomainCard, series: Mapping[tuple[str, str], _Series], span: Span, rules: Rules
) -> _Joules:
    """The counter where there is one, checked against the integrated power where there is one."""
    if card.method is None:
        return _Joules(energy_j=None, reason=card.reason)
    counter = series.get((card.domain, "counter_j"))
    power = series.get((card.domain, "power_w"))
    if counter is None and power is None:
        return _Joules(energy_j=None, reason=f"{card.domain} gave no samples")
    if counter is None:
        assert power is not None
        return _integrated(power, span, rules)
    first = _difference(card, counter, span, rules)
    if first.energy_j is None or power is None:
        return first
    second = _integrated(power, span, rules)
    if second.energy_j is None:
        return _Joules(
            energy_j=first.energy_j,
            resolution_j=first.resolution_j,
            reason=f"not checked against integrated power: {second.reason}",
        )
    if abs(first.energy_j - second.energy_j) > rules.band * first.energy_j:
        return _Joules(
            energy_j=None,
            resolution_j=first.resolution_j,
            reason=(
                f"the counter says {first.energy_j:.4g} J and integrated power "
                f"{second.energy_j:.4g} J: they differ by more than {rules.band:.0%}"
            ),
        )
    return first


def _difference(card: DomainCard, series: _Series, span: Span, rules: Rules) -> _Joules:
    """Joules of a counter over a span: at least `min_ticks` of it, or None."""
    edges = [_at(series, t_ns, span, rules) for t_ns in (span.start_ns, span.end_ns)]
    if edges[0] is None or edges[1] is None:
        where = "start" if edges[0] is None else "end"
        return _Joules(energy_j=None, reason=f"no sample at the {where} of the window")
    gap_s = _longest_gap_s(series, span)
    if gap_s > rules.wrap_gap_s:
        return _Joules(
            energy_j=None,
            reason=f"sampling paused for {gap_s:.3g} s, in which the counter may have wrapped",
        )
    energy_j = edges[1] - edges[0]
    if energy_j <= 0:
        return _Joules(energy_j=None, reason="the counter did not advance over the window")
    tick_s = card.tick_s or 0.0
    step_j = max(card.resolution_j or 0.0, energy_j / span.duration_s * tick_s)
    if energy_j < rules.min_ticks * step_j * (1 - SLACK):
        return _Joules(
            energy_j=None,
            resolution_j=step_j,
            reason=(
                f"{energy_j:.3g} J over {span.duration_s:.3g} s is {energy_j / step_j:.0f} steps "
                f"of the counter ({step_j:.3g} J each); at least {rules.min_ticks} are needed: "
                "lengthen the window"
            ),
        )
    return _Joules(energy_j=energy_j, resolution_j=step_j if step_j > 0 else None)


def _integrated(series: _Series, span: Span, rules: Rules) -> _Joules:
    """Joules of a power by the trapezoid rule: at least `min_samples` inside, or None."""
    inside = (series.t_ns > span.start_ns) & (series.t_ns < span.end_ns)
    count = int(inside.sum())
    if count < rules.min_samples:
        return _Joules(
            energy_j=None,
            reason=(
                f"{count} samples of power in {span.duration_s:.3g} s; "
                f"at least {rules.min_samples} are needed: lengthen the window"
            ),
        )
    gap_s = _longest_gap_s(series, span)
    if gap_s > rules.max_gap_s:
        return _Joules(energy_j=None, reason=f"sampling paused for {gap_s:.3g} s")
    edges = [_at(series, t_ns, span, rules) for t_ns in (span.start_ns, span.end_ns)]
    if edges[0] is None or edges[1] is None:
        where = "start" if edges[0] is None else "end"
        return _Joules(energy_j=None, reason=f"no sample at the {where} of the window")
    t_s = np.concatenate(([span.start_ns], series.t_ns[inside], [span.end_ns])) - span.start_ns
    power_w = np.concatenate(([edges[0]], series.value[inside], [edges[1]]))
    energy_j = float(np.sum(np.diff(t_s) / 1e9 * (power_w[1:] + power_w[:-1]) / 2))
    if energy_j <= 0:
        return _Joules(energy_j=None, reason="the power read 0 over the whole window")
    return _Joules(energy_j=energy_j, resolution_j=energy_j / (count + 1))


def _at(series: _Series, t_ns: int, span: Span, rules: Rules) -> float | None:
    """The sample at an edge; between two samples only where there is none at the edge."""
    after = int(np.searchsorted(series.t_ns, t_ns))
    near = [i for i in (after - 1, after) if 0 <= i < len(series.t_ns)]
    nearest = min(near, key=lambda i: abs(int(series.t_ns[i]) - t_ns))
    tolerance_ns = min(EDGE_S, 0.01 * span.duration_s) * 1e9
    if abs(int(series.t_ns[nearest]) - t_ns) <= tolerance_ns:
        return float(series.value[nearest])
    if len(near) < 2 or (series.t_ns[after] - series.t_ns[after - 1]) / 1e9 > rules.max_gap_s:
        return None
    return float(np.interp(t_ns, series.t_ns[near], series.value[near]))


def _longest_gap_s(series: _Series, span: Span) -> float:
    """The longest time between neighbouring samples that touch the span."""
    first = max(int(np.searchsorted(series.t_ns, span.start_ns, side="right")) - 1, 0)
    last = min(int(np.searchsorted(series.t_ns, span.end_ns)), len(series.t_ns) - 1)
    times = series.t_ns[first : last + 1]
    return float(np.max(np.diff(times)) / 1e9) if len(times) > 1 else 0.0


class SampledMeter(ABC):
    """A meter with a sampling thread; a subclass says what there is and reads it once.

    Raises ConfigError for a rate above 10 Hz, and MeterUnavailable at `start()` where no domain
    can be read.
    """

    name: str

    def __init__(self, *, hz: float, rules: Rules) -> None:
        if not 0 < hz <= MAX_HZ:
            raise ConfigError(f"meter {self.name}: hz={hz:g} is outside (0, {MAX_HZ:g}]")
        self.hz = hz
        self.rules = rules
        self._lost: dict[str, str] = {}
        self._card: MeterCard | None = None
        self._rows: list[TraceRow] = []
        self._spent_s = 0.0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @abstractmethod
    def probe(self) -> MeterCard:
        """Looks once for domains, and opens what `sample` will read."""

    @abstractmethod
    def sample(self) -> list[TraceRow]:
        """Reads every readable domain now; notes a failure in `_lost` and leaves the row out."""

    def describe(self) -> MeterCard:
        if self._card is None:
            self._card = self.probe()
        return self._card

    def start(self) -> None:
        card = self.describe()
        if all(domain.method is None for domain in card.domains):
            reasons = dict.fromkeys(domain.reason for domain in card.domains)
            raise MeterUnavailable(f"meter {self.name}: {' '.join(reasons)}")
        if self._thread is not None:
            return
        self._ended.clear()
        self._take()
        self._thread = threading.Thread(target=self._run, name=f"meter-{self.name}", daemon=True)
        self._thread.start()

    def mark(self) -> None:
        if self._thread is not None:
            self._take()

    def readings(self, spans: Sequence[Span]) -> list[EnergyReading]:
        return readings_from(self.traces(), self.describe().domains, spans, self.rules, self._lost)

    def traces(self) -> list[TraceRow]:
        with self._lock:
            return list(self._rows)

    def spent_s(self) -> float:
        """Processor seconds that reading has cost so far, in whichever thread it was done."""
        with self._lock:
            return self._spent_s

    def stop(self) -> None:
        if self._thread is None:
            return
        self._ended.set()
        self._thread.join()
        self._thread = None
        self._take()

    def _take(self) -> None:
        with self._lock:
            before_s = time.thread_time()
            self._rows.extend(self.sample())
            self._spent_s += time.thread_time() - before_s

    def _run(self) -> None:
        period_s = 1 / self.hz
        while not self._ended.wait(period_s):
            self._take()
