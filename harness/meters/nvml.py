"""NVIDIA boards through NVML: the total energy counter, and instant power integrated beside it.

Both cover the whole board. The counter is in millijoules since the driver was loaded and may be a
tick stale; where it and the integrated power differ beyond a band the window is void. Boards that
tell the power of their memory have it as a domain beside, `gpu-memory:N`: it is part of the board,
and of no boundary.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.meters.sampling import Rules, SampledMeter, measure_ticks
from harness.records import DomainCard, MeterCard, TraceRow

__all__ = ["Nvml"]

UNIT_J = 0.001  # nvmlDeviceGetTotalEnergyConsumption counts millijoules
PACKAGE = "nvidia-ml-py is not installed. Install it, or use meter=rapl or meter=codecarbon."
LIBRARY = (
    "NVML cannot start ({error}). Install the NVIDIA driver, give the container its GPU, "
    "or use meter=rapl or meter=codecarbon."
)
NO_DEVICE = "NVML shows no GPU. Give the container its GPU, or use meter=rapl or meter=codecarbon."
MIG = (
    "{name} is split into MIG slices: the board's energy covers every slice and cannot be divided. "
    "Turn MIG off for the audit, or leave this GPU out with devices=[...]."
)
BLIND = "{name} offers neither an energy counter ({counter}) nor a power reading ({power})."
STILL = "The energy counter of {name} does not advance, and it offers no power reading."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Board:
    """One GPU and the readings it supports; each answers in joules or watts."""

    domain: str
    counter_j: Callable[[], float] | None
    power_w: Callable[[], float] | None
    memory_w: Callable[[], float] | None = None

    @property
    def memory_domain(self) -> str:
        return self.domain.replace("gpu:", "gpu-memory:")

    def reads(self) -> list[tuple[str, str, Callable[[], float]]]:
        """(domain, quantity, reading) of all that it supports."""
        offered = (
            (self.domain, "counter_j", self.counter_j),
            (self.domain, "power_w", self.power_w),
            (self.memory_domain, "power_w", self.memory_w),
        )
        return [(domain, quantity, read) for domain, quantity, read in offered if read]


class Nvml(SampledMeter):
    """Reads `gpu:N` for every GPU, or for those in `devices` (NVML's indices).

    `accuracy`: NVIDIA states 5% for board power. `band` is the disagreement that voids a window,
    as a share of the counter. `tick_s` is measured at start unless given.
    """

    name = "nvml"

    def __init__(
        self,
        *,
        devices: Sequence[int] | None = None,
        hz: float = 10.0,
        accuracy: float = 0.05,
        band: float = 0.10,
        tick_s: float | None = None,
        min_ticks: int = 50,
    ) -> None:
        super().__init__(hz=hz, rules=Rules(min_ticks=min_ticks, band=band))
        self.devices = None if devices is None else tuple(devices)
        self.accuracy = accuracy
        self.tick_s = tick_s
        self._nvml: Any = None
        self._boards: list[_Board] = []

    def probe(self) -> MeterCard:
        try:
            import pynvml
        except ImportError:
            return self._absent(PACKAGE)
        try:
            pynvml.nvmlInit()
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError as error:
            return self._absent(LIBRARY.format(error=error))
        self._nvml = pynvml
        if count == 0:
            return self._absent(NO_DEVICE)
        wanted = range(count) if self.devices is None else self.devices
        self._boards = []
        missing: dict[str, DomainCard] = {}
        notes: dict[str, Any] = {}
        for index in wanted:
            domain = f"gpu:{index}"
            try:
                reason, notes[domain] = self._open(index, domain)
            except pynvml.NVMLError as error:
                reason = f"NVML cannot read GPU {index} of {count} ({error}). Check devices=[...]."
            if reason:
                missing[domain] = DomainCard(domain=domain, method=None, reason=reason)
        cards = self._cards(missing, notes)
        return MeterCard(
            name=self.name,
            domains=(
                *(cards[f"gpu:{index}"] for index in wanted),
                *(card for domain, card in cards.items() if domain.startswith("gpu-memory:")),
            ),
            notes={"driver": _text(pynvml.nvmlSystemGetDriverVersion()), "devices": notes},
        )

    def sample(self) -> list[TraceRow]:
        rows = []
        for board in self._boards:
            for domain, quantity, read in board.reads():
                try:
                    value = read()
                except self._nvml.NVMLError as error:
                    self._lost[domain] = str(error)
                    continue
                rows.append(
                    TraceRow(
                        t_ns=time.perf_counter_ns(),
                        domain=domain,
                        quantity=quantity,  # type: ignore[arg-type]
                        value=value,
                    )
                )
        return rows

    def _absent(self, reason: str) -> MeterCard:
        return MeterCard(
            name=self.name, domains=(DomainCard(domain="gpu", method=None, reason=reason),)
        )

    def _open(self, index: int, domain: str) -> tuple[str, dict[str, Any]]:
        """Finds what GPU `index` supports; returns a reason it cannot be read, and its notes."""
        nvml = self._nvml
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        name = _text(nvml.nvmlDeviceGetName(handle))
        note: dict[str, Any] = {"name": name}
        if _mig(nvml, handle):
            return MIG.format(name=name), note
        counter, no_counter = _first(nvml, lambda: _counter_j(nvml, handle))
        scope = nvml.NVML_FI_DEV_POWER_INSTANT
        instant, no_power = _first(nvml, lambda: _field_w(nvml, handle, scope))
        inner = (nvml.NVML_FI_DEV_POWER_AVERAGE, nvml.NVML_POWER_SCOPE_MEMORY)
        memory, no_memory = _first(nvml, lambda: _field_w(nvml, handle, inner))
        if memory is not None and memory() == 0:  # what boards without it answer
            memory, no_memory = None, "reads 0"
        average = None
        if instant is None:
            average, no_power = _first(nvml, lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1e3)
        note["counter"] = no_counter or "total energy"
        note["power"] = no_power or ("instant" if average is None else "average")
        note["memory power"] = no_memory or "average"
        power = instant or average
        if counter is None and power is None:
            return BLIND.format(name=name, counter=no_counter, power=no_power), note
        self._boards.append(
            _Board(domain=domain, counter_j=counter, power_w=power, memory_w=memory)
        )
        return "", note

    def _cards(
        self, missing: dict[str, DomainCard], notes: dict[str, Any]
    ) -> dict[str, DomainCard]:
        """Measures the ticks of all counters at once; a counter that stands still is left out."""
        ticks = self._ticks()
        cards = dict(missing)
        boards = []
        for board in self._boards:
            tick_s = ticks.get(board.domain)
            note = notes[board.domain]
            if tick_s is None and board.counter_j is not None:
                note["counter"] = "does not advance"
                board = replace(board, counter_j=None)
                if board.power_w is None:
                    reason = STILL.format(name=note["name"])
                    cards[board.domain] = DomainCard(
                        domain=board.domain, method=None, reason=reason
                    )
                    continue
            boards.append(board)
            cards[board.domain] = DomainCard(
                domain=board.domain,
                method="counter" if board.counter_j else "integrated",
                tick_s=tick_s if board.counter_j else 1 / self.hz,
                resolution_j=UNIT_J if board.counter_j else None,
                accuracy=self.accuracy,
                reason="" if board.counter_j else f"power {note['power']}, no counter",
            )
            if board.memory_w:
                cards[board.memory_domain] = DomainCard(
                    domain=board.memory_domain,
                    method="integrated",
                    tick_s=1 / self.hz,
                    reason="average power of the board's memory, part of the board's joules",
                )
        self._boards = boards
        return cards

    def _ticks(self) -> dict[str, float | None]:
        counters = {b.domain: b.counter_j for b in self._boards if b.counter_j is not None}
        if self.tick_s is not None or not counters:
            return dict.fromkeys(counters, self.tick_s)
        return measure_ticks(lambda: {domain: read() for domain, read in counters.items()})


def _first(nvml: Any, read: Callable[[], float]) -> tuple[Callable[[], float] | None, str]:
    """The reading if it answers now, else the reason, such as 'Not Supported'."""
    try:
        read()
    except nvml.NVMLError as error:
        return None, str(error)
    return read, ""


def _counter_j(nvml: Any, handle: Any) -> float:
    return nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3


def _field_w(nvml: Any, handle: Any, scope: Any) -> float:
    """A field in milliwatts, or (field, scope), of the board; raises NVMLError."""
    field = nvml.nvmlDeviceGetFieldValues(handle, [scope])[0]
    if field.nvmlReturn != nvml.NVML_SUCCESS:
        raise nvml.NVMLError(field.nvmlReturn)
    kinds = {
        nvml.NVML_VALUE_TYPE_DOUBLE: "dVal",
        nvml.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
        nvml.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
        nvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
        nvml.NVML_VALUE_TYPE_SIGNED_LONG_LONG: "sllVal",
        nvml.NVML_VALUE_TYPE_SIGNED_INT: "siVal",
    }
    return getattr(field.value, kinds[field.valueType]) / 1e3


def _mig(nvml: Any, handle: Any) -> bool:
    try:
        return nvml.nvmlDeviceGetMigMode(handle)[0] == 1
    except nvml.NVMLError:
        return False


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
