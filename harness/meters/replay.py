"""A recorded trace as a meter: for tests, and to read again what an audit recorded.

The file is CSV or Parquet with the columns t_ns, domain, quantity (counter_j or power_w) and
value; a `meter` column, as in a bundle's traces.parquet, may stand beside them.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from harness.errors import AssetError, ConfigError, InputError, MeterUnavailable
from harness.meters.sampling import Rules, readings_from
from harness.records import DomainCard, EnergyReading, MeterCard, Span, TraceRow

__all__ = ["Replay", "read_trace"]

COLUMNS = ("t_ns", "domain", "quantity", "value")
QUANTITIES = ("counter_j", "power_w")
METHODS = ("wall", "counter", "integrated", "modelled")
CARD_KEYS = ("method", "tick_s", "resolution_j", "accuracy")


class Replay:
    """Replays `path`.

    `domains`: domain -> {method, tick_s, resolution_j, accuracy}. A trace does not say whether it
    was counted or modelled: a domain without a method is missing. `align="start"` shifts the trace
    so that its first sample meets `start()`; `"none"` keeps the recorded times. `meter` picks one
    meter's rows.
    Raises AssetError for a missing file, InputError for a bad row (file, line, remedy).
    """

    def __init__(
        self,
        *,
        path: str | Path,
        domains: Mapping[str, Mapping[str, Any]],
        name: str = "replay",
        align: Literal["start", "none"] = "none",
        meter: str | None = None,
        min_ticks: int = 50,
        min_samples: int = 10,
        max_gap_s: float = 1.0,
        band: float = 0.10,
    ) -> None:
        if align not in ("start", "none"):
            raise ConfigError(f"meter replay: align={align!r} is neither 'start' nor 'none'")
        self.path = Path(path)
        self.name = name
        self.align = align
        self.rules = Rules(
            min_ticks=min_ticks, min_samples=min_samples, max_gap_s=max_gap_s, band=band
        )
        self._recorded = read_trace(self.path, meter)
        self._card = _card(name, self._recorded, domains, self.path)
        self._shift_ns = 0

    def describe(self) -> MeterCard:
        return self._card

    def start(self) -> None:
        if all(card.method is None for card in self._card.domains):
            reasons = [card.reason for card in self._card.domains]
            raise MeterUnavailable(f"meter {self.name}: {' '.join(reasons)}")
        if self.align == "start" and self._recorded:
            self._shift_ns = time.perf_counter_ns() - self._recorded[0].t_ns

    def mark(self) -> None:
        """Does nothing: the samples were taken when the trace was recorded."""

    def readings(self, spans: Sequence[Span]) -> list[EnergyReading]:
        return readings_from(self.traces(), self._card.domains, spans, self.rules)

    def traces(self) -> list[TraceRow]:
        if not self._shift_ns:
            return list(self._recorded)
        return [replace(row, t_ns=row.t_ns + self._shift_ns) for row in self._recorded]

    def spent_s(self) -> float:
        """Nothing: a recorded trace costs no reading."""
        return 0.0

    def stop(self) -> None:
        """Does nothing: no thread runs."""


def read_trace(path: Path, meter: str | None = None) -> list[TraceRow]:
    """Reads and checks a trace; rows in order of time."""
    if not path.is_file():
        raise AssetError(f"trace {path} does not exist. Check path= of the meter replay.")
    raw = _parquet_rows(path) if path.suffix == ".parquet" else _csv_rows(path)
    rows: list[TraceRow] = []
    last: dict[tuple[str, str], TraceRow] = {}
    nodes: set[str] = set()
    for where, record in raw:
        if meter is not None and record.get("meter") != meter:
            continue
        nodes.add(str(record.get("node") or ""))
        if len(nodes) > 1:
            raise InputError(f"{where}: it is of another node than the rows before. Keep one's.")
        row = _row(where, record)
        key = (row.domain, row.quantity)
        before = last.get(key)
        if before is not None and row.t_ns < before.t_ns:
            raise InputError(f"{where}: t_ns goes back within {row.domain}. Sort the rows by t_ns.")
        if before is not None and row.quantity == "counter_j" and row.value < before.value:
            raise InputError(
                f"{where}: the counter of {row.domain} falls from {before.value:g} to "
                f"{row.value:g} J. Add the range of each wrap to the later rows."
            )
        last[key] = row
        rows.append(row)
    return sorted(rows, key=lambda row: row.t_ns)


def _csv_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        try:
            _check_columns(path, reader.fieldnames or ())
            for record in reader:
                yield f"{path}, line {reader.line_num}", record
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(
                f"{path}, after line {reader.line_num}: not CSV in UTF-8 ({error}). "
                "Record it again, or name it .parquet if it is."
            ) from error


def _parquet_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise InputError(f"{path} is not a Parquet file ({error}). Record it again.") from error
    _check_columns(path, table.column_names)
    for number, record in enumerate(table.to_pylist(), start=1):
        yield f"{path}, row {number}", record


def _check_columns(path: Path, names: Sequence[str]) -> None:
    missing = [column for column in COLUMNS if column not in names]
    if missing:
        raise InputError(
            f"{path}, line 1: no column {', '.join(missing)}. "
            f"The header of a trace is {','.join(COLUMNS)}."
        )


def _row(where: str, record: Mapping[str, Any]) -> TraceRow:
    quantity = record["quantity"]
    if quantity not in QUANTITIES:
        raise InputError(f"{where}: quantity {quantity!r}. Use counter_j or power_w.")
    if not record["domain"]:
        raise InputError(f"{where}: no domain. Name one, such as gpu:0 or package:0.")
    try:
        t_ns, value = int(record["t_ns"]), float(record["value"])
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{where}: t_ns {record['t_ns']!r}, value {record['value']!r}. "
            "Give whole nanoseconds and a number of joules or watts."
        ) from error
    if not math.isfinite(value) or value < 0:
        raise InputError(
            f"{where}: value {value}. Leave the row out where nothing was read; "
            "joules and watts are not negative."
        )
    return TraceRow(t_ns=t_ns, domain=record["domain"], quantity=quantity, value=value)


def _card(
    name: str, rows: Sequence[TraceRow], domains: Mapping[str, Mapping[str, Any]], path: Path
) -> MeterCard:
    recorded = dict.fromkeys(row.domain for row in rows)
    cards = []
    for domain in dict.fromkeys((*recorded, *domains)):
        stated = dict(domains.get(domain, {}))
        unknown = [key for key in stated if key not in CARD_KEYS]
        if unknown:
            raise ConfigError(
                f"meter {name}: domain {domain} has the key {unknown[0]!r}. "
                f"Known keys: {', '.join(CARD_KEYS)}."
            )
        if stated.get("method", "counter") not in METHODS:
            raise ConfigError(
                f"meter {name}: domain {domain} has the method {stated['method']!r}. "
                f"Known methods: {', '.join(METHODS)}."
            )
        if domain not in recorded:
            reason = f"{domain} is not in {path}. Record it, or leave it out of domains."
            cards.append(DomainCard(domain=domain, method=None, reason=reason))
        elif "method" not in stated:
            reason = f"{path} does not say how {domain} was read. State domains.{domain}.method."
            cards.append(DomainCard(domain=domain, method=None, reason=reason))
        else:
            cards.append(DomainCard(domain=domain, **stated))
    return MeterCard(name=name, domains=tuple(cards), notes={"path": str(path)})
