"""What an audit has done so far, as single files under `runs/<name>/partial/`.

`w0007.json` is a finished window with its readings, rows and traces; `b0003.json` a block that was
started; `s0007.json` a window number that is taken. Each is synced and renamed, so after a kill
every file is whole. A block whose two windows are not both there is void: its windows are kept,
said to be void, and another block takes its place.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.boundaries import readings_of, served_elsewhere
from harness.bundle import disk, image_path, read_json, write_json, write_table
from harness.protocols import LateMeter
from harness.records import EnergyReading, MachineState, TraceRow, Window

__all__ = ["BlockRecord", "Journal", "WindowRecord", "window_row"]

ASKING_SHARE = 0.25  # of a window, that asking a server and reading its pictures may take here
LATE_MARGIN = 0.1  # of a window, before and after it, whose samples a late meter leaves with it
REQUESTS_PER_WINDOW = 10_000_000  # request ids of window w start at w times this


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowRecord:
    """A finished window: the rows of every table that it contributes."""

    window: Window
    readings: Sequence[EnergyReading] = ()
    requests: Sequence[Mapping[str, Any]] = ()
    batches: Sequence[Mapping[str, Any]] = ()
    traces: Sequence[TraceRow] = ()
    meter_of: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRecord:
    """A block that was started: which pair, in which order, over which core, in which windows."""

    number: int
    pair: int
    order: str
    core: int
    windows: tuple[str, ...] = ()
    void: bool = False
    reason: str = ""


class Journal:
    """Reads and adds to the partial files of one run.

    `devices` are what systems state that they work on: what is metered of another machine is not
    written down as theirs. `node` is the machine of a cluster that this journal is kept on.
    """

    def __init__(
        self, run: Path, devices: Mapping[str, str | None] | None = None, *, node: str = ""
    ) -> None:
        self.run, self.folder, self.node = run, run / "partial", node
        self.devices = dict(devices or {})
        self.records: list[WindowRecord] = []
        self.blocks: list[BlockRecord] = []
        for path in sorted(self.folder.glob("w*.json")):
            self.records.append(_record(read_json(path)))
        for path in sorted(self.folder.glob("b*.json")):
            row = read_json(path)
            self.blocks.append(BlockRecord(**{**row, "windows": tuple(row["windows"])}))
        numbers = [int(re.sub(r"\D", "", path.stem)) for path in self.folder.glob("s*.json")]
        self.next_window = max(numbers, default=-1) + 1
        self._void_partial_blocks()

    def open_window(self) -> int:
        """Takes the next window number; it stays taken if the audit is killed within the window."""
        number = self.next_window
        self.next_window += 1
        with disk(self.run):
            write_json(self.folder / f"s{number:04d}.json", {"window": f"w{number:04d}"})
        return number

    def reserve(self, count: int) -> int:
        """Takes so many window numbers at once, for another machine; returns the first."""
        first = self.next_window
        self.next_window += count - 1
        self.open_window()
        return first

    def add(self, record: WindowRecord) -> None:
        window = dataclasses.replace(record.window, node=self.node)
        self.take_in([self._own(dataclasses.replace(record, window=window))])

    def take_in(self, records: Iterable[WindowRecord]) -> None:
        """Adds windows as they are, such as those of another machine's journal."""
        for record in records:
            self._write(record)
            self.records.append(record)

    def _write(self, record: WindowRecord) -> None:
        with disk(self.run):
            write_json(self.folder / f"{record.window.id}.json", dataclasses.asdict(record))

    def _own(self, record: WindowRecord) -> WindowRecord:
        """A window with the joules and processor time that are its system's own."""
        window, device = record.window, self.devices.get(record.window.system)
        if window.system not in self.devices:
            return record  # an idle machine
        if served_elsewhere(device):
            here_s, most_s = window.cpu_s or 0.0, ASKING_SHARE * window.span.duration_s
            if here_s > most_s and window.kind != "load" and not window.void:
                reason = f"served elsewhere, yet it took {here_s:.1f} s of processor time here"
                window = dataclasses.replace(window, void=True, reason=reason)
            window = dataclasses.replace(window, cpu_s=None)
        return dataclasses.replace(
            record, window=window, readings=readings_of(device, record.readings)
        )

    def put_block(self, block: BlockRecord) -> None:
        """Writes a block, or what became of it."""
        with disk(self.run):
            write_json(self.folder / f"b{block.number:04d}.json", dataclasses.asdict(block))
        self.blocks = [old for old in self.blocks if old.number != block.number] + [block]

    def windows(self, kind: str, system: str | None = None) -> list[WindowRecord]:
        """Finished windows of a kind that are not void."""
        return [
            record
            for record in self.records
            if record.window.kind == kind
            and not record.window.void
            and system in (None, record.window.system)
        ]

    def read_late(self, meter: LateMeter) -> None:
        """Gives every window the joules and samples of a meter whose log is whole by now."""
        card, traces = meter.describe(), meter.traces()
        of = {domain.domain: card.name for domain in card.domains}
        readings = meter.readings([record.window.span for record in self.records])
        for at, record in enumerate(self.records):
            span = record.window.span
            near_ns = round(LATE_MARGIN * span.duration_s * 1e9)
            first_ns, last_ns = span.start_ns - near_ns, span.end_ns + near_ns
            read = dataclasses.replace(
                record,
                readings=tuple(one for one in readings if one.span == span.id),
                traces=tuple(row for row in traces if first_ns <= row.t_ns <= last_ns),
                meter_of=of,
            )
            self.records[at] = self._own(read)
            self._write(self.records[at])

    def compact(self) -> None:
        """Writes windows, requests, batches and traces as tables; drops images without a row."""
        owned = {
            image_path(self.run, row["system"], row["request"])
            for record in self.records
            for row in record.requests
        }
        for path in (self.run / "images").rglob("*.png"):
            if path not in owned:  # of a window that was not finished
                path.unlink()
        windows, traces = [], []
        idle = {node: self._idle_w(node) for node in {r.window.node for r in self.records}}
        for record in self.records:
            node, meter_of = record.window.node, record.meter_of
            windows += _window_rows(record, idle[node])
            traces += [
                dict(dataclasses.asdict(row), meter=meter_of.get(row.domain, ""), node=node or None)
                for row in record.traces
            ]
        with disk(self.run):
            write_table(self.run, "windows", windows)
            write_table(self.run, "requests", [r for w in self.records for r in w.requests])
            write_table(self.run, "batches", [r for w in self.records for r in w.batches])
            write_table(self.run, "traces", traces)

    def _idle_w(self, node: str) -> dict[str, float]:
        """Watts of each domain at idle; with systems loaded where that was read, else bare."""
        watts: dict[str, float] = {}
        for state in ("bare", "loaded"):
            for record in self.windows("idle", state):
                for reading in record.readings:
                    if reading.energy_j is not None and record.window.node == node:
                        watts[reading.domain] = reading.energy_j / record.window.span.duration_s
        return watts

    def _void_partial_blocks(self) -> None:
        finished = {record.window.id for record in self.records}
        for block in list(self.blocks):
            if block.void:  # stopped, perhaps, before its windows were told
                self.void(block, block.reason)
            elif len(block.windows) != 2 or not finished.issuperset(block.windows):
                self.void(block, "the audit was stopped within this block")

    def void(self, block: BlockRecord, reason: str) -> None:
        """Keeps a block and its windows, and says why they do not count."""
        self.put_block(dataclasses.replace(block, void=True, reason=reason))
        for at, record in enumerate(self.records):
            if record.facts.get("block") == block.number and not record.window.void:
                window = dataclasses.replace(record.window, void=True, reason=reason)
                self.records[at] = dataclasses.replace(record, window=window)
                self._write(self.records[at])


def _record(row: dict[str, Any]) -> WindowRecord:
    state = MachineState(**row["window"].pop("state"))
    return WindowRecord(
        window=Window(**row["window"], state=state),
        readings=tuple(EnergyReading(**reading) for reading in row["readings"]),
        requests=row["requests"],
        batches=row["batches"],
        traces=tuple(TraceRow(**trace) for trace in row["traces"]),
        meter_of=row["meter_of"],
        facts=row["facts"],
    )


def _window_rows(record: WindowRecord, idle: Mapping[str, float]) -> list[dict[str, Any]]:
    """A row per domain; one row with domain "" where nothing could be read."""
    window, common = record.window, window_row(record.window)
    if not record.readings:
        return [{**common, "domain": "", "reason": window.reason or "no meter reads here"}]
    return [
        {
            **common,
            "domain": reading.domain,
            "energy_j": reading.energy_j,
            "method": reading.method,
            "accuracy": reading.accuracy,
            "resolution_j": reading.resolution_j,
            "idle_w": idle.get(reading.domain),
            "reason": window.reason or reading.reason,
        }
        for reading in record.readings
    ]


def window_row(window: Window) -> dict[str, Any]:
    """What a row of windows.parquet says of its window, whatever the domain."""
    return {
        "window": window.id,
        "kind": window.kind,
        "system": window.system,
        "pair": window.pair,
        "order": window.order,
        "batch": window.batch,
        "requests": window.requests,
        "failures": window.failures,
        "duration_s": window.span.duration_s,
        "cpu_s": window.cpu_s,
        "start_ns": window.start_ns,
        "end_ns": window.end_ns,
        "void": window.void,
        "node": window.node or None,
        **dataclasses.asdict(window.state),
    }
