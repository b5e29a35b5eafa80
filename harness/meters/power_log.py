"""Reads the log of a power meter: (Unix seconds, watts), in order of time."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

from harness.errors import InputError

__all__ = ["read_power_log"]

MLPERF_TIME = "%m-%d-%Y %H:%M:%S.%f"
REMEDY = (
    "A log is CSV with a header of time,watts (Unix seconds, or ISO 8601 with its zone), or lines "
    "of Time,<MM-DD-YYYY hh:mm:ss.fff>,Watts,<number> as MLPerf's power meters write them."
)


def read_power_log(path: Path, utc_offset_h: float = 0.0) -> list[tuple[float, float]]:
    """Samples of a log; [] where there is none yet. Raises InputError (file, line, remedy).

    `utc_offset_h` is the zone of an MLPerf log's times. A last line that is still being written is
    left out.
    """
    if not path.is_file():
        return []
    try:
        text = path.read_text("utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path} cannot be read ({error}). {REMEDY}") from None
    lines = text.splitlines()
    if lines and not text.endswith("\n"):
        lines.pop()
    zone = timezone(timedelta(hours=utc_offset_h))
    rows: list[tuple[float, float]] = []
    for number, (at, watts) in _cells(path, lines):
        where = f"{path}, line {number}"
        try:
            row = (_seconds(at, zone), float(watts))
        except ValueError:
            raise InputError(f"{where}: time {at!r}, watts {watts!r}. {REMEDY}") from None
        if not all(map(math.isfinite, row)) or row[1] < 0:
            raise InputError(f"{where}: {watts} watts at {at}. Leave out what was not read.")
        if rows and row[0] < rows[-1][0]:
            raise InputError(f"{where}: the time goes back. Give one log, sorted by time.")
        rows.append(row)
    return rows


def _cells(path: Path, lines: list[str]) -> Iterator[tuple[int, tuple[str, str]]]:
    """Line number, time and watts of every sample."""
    try:
        table = list(csv.reader(lines))
    except csv.Error as error:
        raise InputError(f"{path} is no CSV ({error}). {REMEDY}") from None
    if not table:
        return
    if table[0] and table[0][0].strip() == "Time":
        for number, cells in enumerate(table, start=1):
            if len(cells) < 4 or cells[0].strip() != "Time" or cells[2].strip() != "Watts":
                raise InputError(f"{path}, line {number}: no Time,...,Watts,... {REMEDY}")
            yield number, (cells[1], cells[3])
        return
    header = [name.strip() for name in table[0]]
    if not {"time", "watts"} <= set(header):
        raise InputError(f"{path}, line 1: no columns time and watts. {REMEDY}")
    at, watts = header.index("time"), header.index("watts")
    for number, cells in enumerate(table[1:], start=2):
        if len(cells) != len(header):
            raise InputError(f"{path}, line {number}: {len(cells)} columns, not {len(header)}.")
        yield number, (cells[at], cells[watts])


def _seconds(text: str, zone: timezone) -> float:
    """Unix seconds of a number, an ISO 8601 time with its zone, or an MLPerf time."""
    text = text.strip()
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.strptime(text, MLPERF_TIME).replace(tzinfo=zone).timestamp()
    except ValueError:
        pass
    told = datetime.fromisoformat(text)
    if told.tzinfo is None:
        raise ValueError("no zone")
    return told.timestamp()
