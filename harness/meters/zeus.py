"""AMD boards and Apple's processors through Zeus, a library of the ML.ENERGY initiative.

Zeus reads what each maker offers: AMD SMI's energy accumulator or instant power of a board, Apple's
IOReport counters of processor, memory and GPU. It reads NVIDIA boards too, through NVML, which
makes it a second opinion on `meter=nvml`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from harness.meters.sampling import Rules, SampledMeter, measure_ticks
from harness.records import DomainCard, MeterCard, TraceRow

__all__ = ["Zeus"]

UNIT_J = 0.001  # Zeus tells energy in millijoules and power in milliwatts
PACKAGE = "Zeus is not installed. Install it with `uv pip install zeus`, or use meter=all."
NOTHING = "Zeus sees no GPU and no Apple processor here ({told}). Use meter=all."
BLIND = "Zeus reads neither energy nor power of {name} ({error})."
STILL = "the energy counter of {name} does not advance"
APPLE = {  # what of Apple's processor belongs to which domain
    "package:0": ("cpu_total_mj", "ane_mj"),
    "dram:0": ("dram_mj",),
    "gpu:0": ("gpu_mj", "gpu_sram_mj"),
}

Read = Callable[[], Mapping[str, float]]  # joules or watts by domain
Reads = list[tuple[tuple[str, ...], Read]]  # with the domains that it reads


class Zeus(SampledMeter):
    """Reads `gpu:N` of every board Zeus sees, and `package:0`, `dram:0`, `gpu:0` of Apple's.

    No maker states how exact these are, so joules are shown and cannot decide unless `accuracy`
    (0.05 = 5%) is given. `tick_s` is measured at start unless given.
    """

    name = "zeus"

    def __init__(
        self,
        *,
        hz: float = 10.0,
        accuracy: float | None = None,
        tick_s: float | None = None,
        min_ticks: int = 50,
    ) -> None:
        super().__init__(hz=hz, rules=Rules(min_ticks=min_ticks))
        self.accuracy = accuracy
        self.tick_s = tick_s
        self._counters: Reads = []
        self._powers: Reads = []

    def probe(self) -> MeterCard:
        try:
            from zeus.device import get_gpus, get_soc
            from zeus.device.exception import ZeusBaseGPUError, ZeusBaseSoCError
        except ImportError:
            return self._absent(PACKAGE)
        self._errors = (ZeusBaseGPUError, ZeusBaseSoCError)
        told: list[str] = []
        missing: list[DomainCard] = []
        names: dict[str, str] = {}
        try:
            for board in get_gpus().gpus:
                domain = f"gpu:{board.gpu_index}"
                names[domain] = str(board.get_name())
                if reason := self._open(board, domain, names[domain]):
                    missing.append(DomainCard(domain=domain, method=None, reason=reason))
        except ZeusBaseGPUError as error:
            told.append(" ".join(str(error).split()))
        try:
            soc = get_soc()
            parts = tuple(_apple(soc))
            names |= dict.fromkeys(parts, "Apple silicon")
            self._counters.append((parts, lambda: _apple(soc)))
        except ZeusBaseSoCError as error:
            told.append(" ".join(str(error).split()))
        if not names:
            return self._absent(NOTHING.format(told="; ".join(told)))
        return MeterCard(
            name=self.name, domains=(*self._cards(names), *missing), notes={"devices": names}
        )

    def sample(self) -> list[TraceRow]:
        rows = []
        for quantity, reads in (("counter_j", self._counters), ("power_w", self._powers)):
            for domains, read in reads:
                try:
                    found = read()
                except self._errors as error:
                    self._lost |= dict.fromkeys(domains, str(error))
                    continue
                now_ns = time.perf_counter_ns()
                rows += [
                    TraceRow(t_ns=now_ns, domain=domain, quantity=quantity, value=value)  # type: ignore[arg-type]
                    for domain, value in found.items()
                ]
        return rows

    def _open(self, board: Any, domain: str, name: str) -> str:
        """Finds what a board supports; returns the reason where that is nothing."""

        def joules() -> dict[str, float]:
            return {domain: board.get_total_energy_consumption() * UNIT_J}

        def watts() -> dict[str, float]:
            return {domain: board.get_instant_power_usage() / 1e3}

        if board.supports_get_total_energy_consumption():
            with contextlib.suppress(*self._errors):
                joules()
                self._counters.append(((domain,), joules))
                return ""
        try:
            watts()
        except self._errors as error:
            return BLIND.format(name=name, error=error)
        self._powers.append(((domain,), watts))
        return ""

    def _cards(self, names: Mapping[str, str]) -> list[DomainCard]:
        """Ticks of all counters are measured at once; one that stands still is told as missing."""

        def read() -> dict[str, float]:
            return {domain: value for _, one in self._counters for domain, value in one().items()}

        counted = read()
        ticks = (
            dict.fromkeys(counted, self.tick_s)
            if self.tick_s is not None or not counted
            else measure_ticks(read)
        )
        cards = []
        for domain in sorted(counted):
            still = ticks[domain] is None
            cards.append(
                DomainCard(
                    domain=domain,
                    method=None if still else "counter",
                    tick_s=ticks[domain],
                    resolution_j=UNIT_J,
                    accuracy=self.accuracy,
                    reason=STILL.format(name=names[domain]) if still else "",
                )
            )
        cards += [
            DomainCard(
                domain=domain,
                method="integrated",
                tick_s=1 / self.hz,
                accuracy=self.accuracy,
                reason="instant power, no counter",
            )
            for domains, _ in self._powers
            for domain in domains
        ]
        return cards

    def _absent(self, reason: str) -> MeterCard:
        return MeterCard(
            name=self.name, domains=(DomainCard(domain="gpu", method=None, reason=reason),)
        )


def _apple(soc: Any) -> dict[str, float]:
    """Joules of Apple's domains since some start; a part this processor lacks is left out."""
    seen = soc.get_total_energy_consumption()
    found = {}
    for domain, fields in APPLE.items():
        told = [value for name in fields if (value := getattr(seen, name, None)) is not None]
        if told:
            found[domain] = sum(told) * UNIT_J
    return found
