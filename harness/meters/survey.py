"""What a machine's meters offer: each domain, what it draws at idle, and what reading costs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.errors import MeterUnavailable
from harness.protocols import Meter
from harness.records import DomainCard, Span

__all__ = ["Survey", "survey"]

IDLE_S, TICKS = 5.0, 55  # a span in which every counter can be resolved


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Domains, their watts at idle or why none are given, and the share of a processor it took."""

    domains: tuple[DomainCard, ...]
    idle_w: dict[str, float]
    no_idle: dict[str, str]
    cost_share: float | None

    def lines(self) -> Iterator[str]:
        """A line for each domain, as `un0bench meters` prints it."""
        for card in self.domains:
            if card.method is None:
                yield f"{card.domain:<12} not read    {card.reason}"
                continue
            told = [f"tick {card.tick_s:.3g} s" if card.tick_s else "tick unknown"]
            told += [f"step {card.resolution_j:.2g} J"] if card.resolution_j else []
            stated = "not stated" if card.accuracy is None else f"{card.accuracy:.0%}"
            told += [f"accuracy {stated}"]
            idle = self.idle_w.get(card.domain)
            unknown = self.no_idle.get(card.domain, "not read")
            told += [f"idle unknown: {unknown}" if idle is None else f"idle {idle:.3g} W"]
            yield f"{card.domain:<12} {card.method:<11} {', '.join(told)}"
        if self.cost_share is not None:
            yield f"reading      costs {self.cost_share:.2%} of one processor"


def survey(meter: Meter, *, seconds: float | None = None) -> Survey:
    """Describes a meter and watches the machine, which should be idle, for some seconds."""
    domains = meter.describe().domains
    ticks = [card.tick_s or 0.0 for card in domains if card.method is not None]
    try:
        meter.start()
    except MeterUnavailable:  # each domain says why
        ticks = []
    if not ticks:
        return Survey(domains=domains, idle_w={}, no_idle={}, cost_share=None)
    try:
        return _watched(
            meter, domains, max(IDLE_S, TICKS * max(ticks)) if seconds is None else seconds
        )
    finally:
        meter.stop()


def _watched(meter: Meter, domains: Sequence[DomainCard], seconds: float) -> Survey:
    meter.mark()
    before_s, start_ns = meter.spent_s(), time.perf_counter_ns()
    time.sleep(seconds)
    end_ns = time.perf_counter_ns()
    meter.mark()
    span = Span(id="idle", start_ns=start_ns, end_ns=end_ns)
    readings = meter.readings([span])
    return Survey(
        domains=tuple(domains),
        idle_w={r.domain: r.energy_j / span.duration_s for r in readings if r.energy_j is not None},
        no_idle={r.domain: r.reason for r in readings if r.energy_j is None},
        cost_share=(meter.spent_s() - before_s) / span.duration_s,
    )
