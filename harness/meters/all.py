"""Every meter this machine has, as one: counters first, models where no counter reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.errors import MeterUnavailable
from harness.meters.codecarbon import CodeCarbon
from harness.meters.nvml import Nvml
from harness.meters.rapl import Rapl
from harness.protocols import Meter
from harness.records import DomainCard, EnergyReading, MeterCard, Span, TraceRow

__all__ = ["All"]

# A domain that is counted stands in the place of one that is modelled.
COUNTED_BY = {"cpu": ("package:", "psys:"), "ram": ("dram:", "psys:")}


class All:
    """Combines `meters` (nvml, rapl, codecarbon unless given), in order of preference.

    `cpu` and `ram` give way where `package:N`, `dram:N` or `psys:N` of another meter can be read,
    and those counters leave the readings where only the model can be read. `describe()` keeps
    every domain with its reason. Nothing readable is no error here: readings are then empty.
    The card's notes hold each meter's own, and `meter_of`: domain -> name of the meter whose
    readings are given.
    """

    name = "all"

    def __init__(self, *, meters: Sequence[Meter] | None = None) -> None:
        self.meters: tuple[Meter, ...] = (
            (Nvml(), Rapl(), CodeCarbon()) if meters is None else tuple(meters)
        )
        self._running: list[Meter] = []
        self._card: MeterCard | None = None

    def describe(self) -> MeterCard:
        if self._card is None:
            self._card = _combined(self.name, [meter.describe() for meter in self.meters])
        return self._card

    def start(self) -> None:
        used = self._used()
        for meter in self.meters:
            name = meter.describe().name
            if name not in used.values() or meter in self._running:
                continue
            try:
                meter.start()
            except MeterUnavailable:
                continue  # its domains and reasons stand in describe()
            self._running.append(meter)

    def mark(self) -> None:
        for meter in self._running:
            meter.mark()

    def readings(self, spans: Sequence[Span]) -> list[EnergyReading]:
        shown = self.describe().notes["meter_of"]
        return [
            reading
            for meter in self.meters
            for reading in meter.readings(spans)
            if shown.get(reading.domain) == meter.describe().name
        ]

    def traces(self) -> list[TraceRow]:
        used = self._used()
        rows = [
            row
            for meter in self.meters
            for row in meter.traces()
            if used.get(row.domain) == meter.describe().name
        ]
        return sorted(rows, key=lambda row: row.t_ns)

    def spent_s(self) -> float:
        return sum(meter.spent_s() for meter in self.meters)

    def stop(self) -> None:
        for meter in self._running:
            meter.stop()
        self._running = []

    def _used(self) -> dict[str, str]:
        """Domain -> meter, of the domains that can be read and are not displaced."""
        card = self.describe()
        readable = {domain.domain for domain in card.domains if domain.method is not None}
        meter_of: dict[str, str] = card.notes["meter_of"]
        return {domain: name for domain, name in meter_of.items() if domain in readable}


def _combined(name: str, cards: Sequence[MeterCard]) -> MeterCard:
    """One card; a displaced domain has no method, and the reason says what stands in its place.

    `meter_of` leaves displaced domains out, and unreadable counters that a model stands in for.
    """
    readable = {d.domain: card.name for card in cards for d in card.domains if d.method is not None}
    domains: dict[str, DomainCard] = {}
    meter_of: dict[str, str] = {}
    for card in cards:
        for domain in card.domains:
            counted = _counted_by(domain.domain, readable)
            if domain.domain in domains:
                continue  # an earlier meter has it
            if counted:
                reason = f"not used: {', '.join(counted)} of {readable[counted[0]]} is counted"
                domains[domain.domain] = replace(domain, method=None, reason=reason)
                continue
            domains[domain.domain] = domain
            exists = domain.method is not None or ":" in domain.domain
            if exists and not _stood_in_for(domain, readable):
                meter_of[domain.domain] = card.name
    return MeterCard(
        name=name,
        domains=tuple(domains.values()),
        notes={
            "meter_of": meter_of,
            "meters": {card.name: dict(card.notes) for card in cards},
        },
    )


def _counted_by(domain: str, readable: dict[str, str]) -> list[str]:
    return [other for other in readable if other.startswith(COUNTED_BY.get(domain, ("\0",)))]


def _stood_in_for(domain: DomainCard, readable: dict[str, str]) -> bool:
    """Whether an unreadable counter has a model in its place, and no sibling that is read."""
    if domain.method is not None:
        return False
    return any(
        domain.domain.startswith(counters)
        and model in readable
        and not _counted_by(model, readable)
        for model, counters in COUNTED_BY.items()
    )
