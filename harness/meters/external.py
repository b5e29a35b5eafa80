"""A wall meter's log, read after the run: CSV, or the power log of an MLPerf measurement.

The logger's clock is not this machine's. So at both ends of the run every processor works and
rests in a pattern of known times (a beacon), and the offset is the one under which two levels of
power explain the log best. It is stated with its doubt, which widens the meter's accuracy; a log
that does not show the beacon gives no joules.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from harness.boundaries import REMOTE, WALL
from harness.errors import ConfigError, InputError, MeterUnavailable
from harness.meters.power_log import read_power_log
from harness.meters.sampling import Rules, readings_from
from harness.records import DomainCard, EnergyReading, MeterCard, Span, TraceRow

__all__ = ["External", "Offset", "beacon", "clock_offset"]

PATTERN = (2, 3, 4, 2, 3, 4, 2)  # units of work, rest, work ... no shift of it looks like another
UNIT_S = 1.0  # at least; and one and a half samples of the log
GRID_S = 0.02  # the finest shift that is told apart
EXPLAINED = 0.5  # of the variance of power, or the log does not show the beacon
WORK = """
import sys, time
edges = [int(text) for text in sys.argv[1:]]
for begin, end in zip(edges[::2], edges[1::2]):
    time.sleep(max(0, begin - time.perf_counter_ns()) / 1e9)
    while time.perf_counter_ns() < end:
        pass
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offset:
    """Seconds to add to a log's times, how far that may be wrong, and the variance explained."""

    seconds: float
    doubt_s: float
    explained: float = 1.0

    @property
    def told(self) -> str:
        return (
            f"times of its log moved by {self.seconds:+.2f} s, within {self.doubt_s:.2f} s; "
            f"{self.explained:.0%} of the variance of power explained"
        )


@dataclass(slots=True, kw_only=True)
class _Run:
    """What a run that goes on needs: since when the clock counts, edges of beacons, the end."""

    boot: str
    zero_ns: int
    beacons: list[list[list[int]]] = field(default_factory=list)
    end_ns: int = 0


class External:
    """Gives the domain `wall`: the whole machine, as its plug sees it.

    With `of` "remote" it is the domain `remote`, the plug of the server of systems that are served
    elsewhere: no load of this machine shows there, so that `offset_s` has to be given.
    `path`: the log, which another machine may be writing while the audit runs. `interval_s`:
    between its samples. `accuracy`: as the meter's maker states it; without one its joules cannot
    decide. `offset_s`: what to add to the log's times; None: found by beacons, within `within_s`
    either way. `utc_offset_h`: of the times in an MLPerf log, which name no zone. `wait_s`: how
    long the log may take to reach the end of the run.
    """

    name = "external"

    def __init__(
        self,
        *,
        path: str | Path,
        interval_s: float = 1.0,
        accuracy: float | None = None,
        offset_s: float | None = None,
        within_s: float = 5.0,
        utc_offset_h: float = 0.0,
        wait_s: float = 30.0,
        of: str = "here",
    ) -> None:
        if of not in ("here", REMOTE) or (of == REMOTE and offset_s is None):
            raise ConfigError(
                f"meter external: of={of!r}, offset_s={offset_s}; it is here or remote, and of a "
                "remote server offset_s says how far its clock is off (0 where both keep time)."
            )
        self.domain = REMOTE if of == REMOTE else WALL
        if not 0 < interval_s <= 10:
            raise ConfigError(f"meter external: interval_s={interval_s:g} is outside (0, 10]")
        if accuracy is not None and not 0 <= accuracy < 1:
            raise ConfigError(f"meter external: accuracy={accuracy:g} is outside [0, 1)")
        if not -24 < utc_offset_h < 24:
            raise ConfigError(f"meter external: utc_offset_h={utc_offset_h:g} is no zone")
        self.path, self.interval_s, self.accuracy = Path(path), interval_s, accuracy
        self.offset_s, self.within_s, self.utc_offset_h = offset_s, within_s, utc_offset_h
        self.wait_s = wait_s
        self.rules = Rules(max_gap_s=3 * interval_s)
        self._run = _Run(boot=_boot(), zero_ns=time.time_ns() - time.perf_counter_ns())
        self._file: Path | None = None
        self._rows: list[TraceRow] = []  # on this machine's clock, once the offset is known
        self.offset: Offset | None = None  # once the run is over

    def attach(self, folder: Path) -> None:
        """Keeps the beacons in a folder, and goes on from those that are kept there."""
        self._file = folder / "clock.json"
        if not self._file.is_file():
            return
        kept = json.loads(self._file.read_text())
        if kept["boot"] != self._run.boot:
            raise InputError(
                "The machine was started anew since this run began, so its windows cannot be "
                f"placed in {self.path}. Start a new audit."
            )
        self._run = _Run(**kept)

    def describe(self) -> MeterCard:
        domain = DomainCard(
            domain=self.domain,
            method="wall",
            tick_s=self.interval_s,
            accuracy=self.accuracy,
            reason=self.offset.told if self.offset else "",
        )
        return MeterCard(name=self.name, domains=(domain,), notes={"path": str(self.path)})

    def start(self) -> None:
        if not self.path.parent.is_dir():
            raise MeterUnavailable(f"meter external: no folder {self.path.parent}; check path=.")
        if not self._run.end_ns:
            self._beacon()

    def mark(self) -> None:
        """Does nothing: the log has its own times."""

    def stop(self) -> None:
        """Does nothing: the logger is not ours."""

    def finish(self) -> None:
        """Ends with a beacon of its own, waits until the log has it, and finds the offset.

        Raises MeterUnavailable for a log that ends too early or does not show every beacon.
        """
        if not self._run.end_ns:
            self._beacon()
            self._run.end_ns = time.perf_counter_ns()
            self._keep()
        rows = self._reaching(self._run.end_ns)
        self.offset = self._found(rows)
        shift_ns = round(self.offset.seconds * 1e9)
        self._rows = [replace(row, t_ns=row.t_ns + shift_ns) for row in rows]

    def readings(self, spans: Sequence[Span]) -> list[EnergyReading]:
        """Joules of spans, once `finish` has found the offset; until then None with a reason."""
        if self.offset is None:
            reason = f"{self.path} is read when the run is over"
            return [
                EnergyReading(
                    span=span.id, domain=self.domain, energy_j=None, method="wall", reason=reason
                )
                for span in spans
            ]
        doubt_s = self.offset.doubt_s
        found = readings_from(self._rows, self.describe().domains, spans, self.rules)
        return [
            replace(one, accuracy=_wider(one.accuracy, 2 * doubt_s / span.duration_s))
            for one, span in zip(found, spans, strict=True)
        ]

    def traces(self) -> list[TraceRow]:
        """The log's samples at this machine's times; none before the run is over."""
        return list(self._rows)

    def spent_s(self) -> float:
        """Nothing: the logger is another machine's."""
        return 0.0

    def _beacon(self) -> None:
        if self.offset_s is None:
            on = beacon(max(UNIT_S, 1.5 * self.interval_s))
            self._run.beacons.append([[span.start_ns, span.end_ns] for span in on])
            self._keep()

    def _keep(self) -> None:
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            partly = self._file.with_suffix(".new")
            partly.write_text(json.dumps(asdict(self._run)))
            partly.replace(self._file)

    def _reaching(self, end_ns: int) -> list[TraceRow]:
        """The log, as soon as it reaches the end of the run."""
        until = time.monotonic() + self.wait_s
        margin_s = self.within_s if self.offset_s is None else -self.offset_s
        while not (rows := self._logged()) or rows[-1].t_ns < end_ns + margin_s * 1e9:
            if time.monotonic() > until:
                raise MeterUnavailable(
                    f"meter external: {self.path} does not reach the end of the run. "
                    "Let the logger write on, or copy the whole log there."
                )
            time.sleep(min(self.interval_s, 0.2))
        return rows

    def _found(self, rows: Sequence[TraceRow]) -> Offset:
        """As given, or the mean over beacons; how far they lie apart is drift, and doubt too."""
        if self.offset_s is not None:
            return Offset(seconds=self.offset_s, doubt_s=0.0)
        found = []
        for edges in self._run.beacons:
            on = [Span(id="beacon", start_ns=a, end_ns=b) for a, b in edges]
            found.append(clock_offset(rows, on, self.within_s))
        if unseen := sum(one.explained < EXPLAINED for one in found):
            raise MeterUnavailable(
                f"meter external: {self.path} does not show {unseen} of {len(found)} beacons "
                f"within {self.within_s:g} s. Set a larger within_s, or offset_s itself, under "
                "meter in the run's config.yaml."
            )
        seconds = [one.seconds for one in found]
        return Offset(
            seconds=sum(seconds) / len(seconds),
            doubt_s=max(one.doubt_s for one in found) + (max(seconds) - min(seconds)) / 2,
            explained=min(one.explained for one in found),
        )

    def _logged(self) -> list[TraceRow]:
        """The log's samples at its own times, on this machine's monotonic scale."""
        return [
            TraceRow(
                t_ns=round(t_s * 1e9) - self._run.zero_ns,
                domain=self.domain,
                quantity="power_w",
                value=watts,
            )
            for t_s, watts in read_power_log(self.path, self.utc_offset_h)
        ]


def beacon(unit_s: float, processes: int | None = None) -> list[Span]:
    """Has every processor work and rest in the pattern; returns when it worked, and after it."""
    begin_ns = time.perf_counter_ns() + round(1e9 * max(0.5, 2 * unit_s))  # rested before
    edges = begin_ns + np.cumsum((0, *PATTERN)) * round(1e9 * unit_s)
    on = [
        Span(id=f"b{i}", start_ns=int(a), end_ns=int(b)) for i, (a, b) in enumerate(_pairs(edges))
    ]
    times = [str(t) for span in on for t in (span.start_ns, span.end_ns)]
    command = [sys.executable, "-S", "-c", WORK, *times]
    running = [subprocess.Popen(command) for _ in range(processes or os.cpu_count() or 1)]
    for process in running:
        process.wait()
    time.sleep(2 * unit_s)
    return on


def clock_offset(rows: Sequence[TraceRow], on: Sequence[Span], within_s: float) -> Offset:
    """The shift of a log under which power has one level in the spans `on`, and another between.

    The doubt is half of the range of shifts that explain the log nearly as well: whose error is
    within four times the best one's variance, 95% of the time by the likelihood of a normal error.
    """
    t_s = np.array([row.t_ns for row in rows]) / 1e9
    watts = np.array([row.value for row in rows])
    first_s, last_s = on[0].start_ns / 1e9, on[-1].end_ns / 1e9
    unit_s = (last_s - first_s) / sum(PATTERN)
    shifts = np.arange(-within_s, within_s + GRID_S / 2, GRID_S)
    errors = []
    for shift in shifts:
        moved = t_s + shift
        near = (moved > first_s - 2 * unit_s) & (moved < last_s + 2 * unit_s)
        errors.append(_unexplained(moved[near], watts[near], on))
    share = np.array([error for error, _ in errors])
    best = int(np.argmin(share))
    n = errors[best][1]
    like = shifts[share <= share[best] * (1 + 4 / max(n - 3, 1))]
    middle = (like[0] + like[-1]) / 2
    return Offset(
        seconds=float(middle),
        doubt_s=float((like[-1] - like[0]) / 2 + GRID_S),
        explained=float(1 - share[best]),
    )


def _unexplained(t_s: np.ndarray, watts: np.ndarray, on: Sequence[Span]) -> tuple[float, int]:
    """Share of the variance of power that working or not leaves, and the number of samples."""
    if len(t_s) < 2 * len(PATTERN):
        return 1.0, len(t_s)
    working = np.any([(t_s >= s.start_ns / 1e9) & (t_s < s.end_ns / 1e9) for s in on], axis=0)
    total = float(((watts - watts.mean()) ** 2).sum())
    if total == 0 or working.all() or not working.any():
        return 1.0, len(t_s)
    if watts[working].mean() < watts[~working].mean():
        return 1.0, len(t_s)
    levels = np.where(working, watts[working].mean(), watts[~working].mean())
    return float(((watts - levels) ** 2).sum()) / total, len(t_s)


def _pairs(edges: np.ndarray) -> list[tuple[int, int]]:
    """Beginning and end of every other stretch: those of work."""
    return [(edges[i], edges[i + 1]) for i in range(0, len(edges) - 1, 2)]


def _boot() -> str:
    """What tells one start of this machine from another; empty where nothing does."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.is_file() else ""


def _wider(accuracy: float | None, by: float) -> float | None:
    return None if accuracy is None else accuracy + by
