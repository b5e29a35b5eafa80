"""codecarbon as a meter: its own models of processor and memory, labelled as what they are.

codecarbon falls back from counters to a model (a nominal wattage times a cube of the load) without
saying so in its results. Its hardware list does say so; that list decides the label and is kept.
Nothing is written and nothing is sent: the tracker is only asked which hardware it would follow.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.meters.sampling import Rules, SampledMeter
from harness.records import DomainCard, MeterCard, Method, TraceRow

__all__ = ["CodeCarbon"]

J_PER_KWH = 3.6e6
JIFFY_S = 0.01  # /proc/stat, which the load model reads, advances 100 times a second
COUNTERS = ("CPU(Intel Rapl)", "CPU(Windows Emi)")  # as codecarbon 3 describes them
MISSING = "codecarbon is not installed. Install it, or use meter=nvml or meter=rapl."
NOTHING = "codecarbon found no hardware to follow. Use meter=nvml or meter=rapl."


class CodeCarbon(SampledMeter):
    """Gives `cpu` and `ram` of the whole machine; GPUs are left to the meter `nvml`.

    `hz` is 1 by default, as in codecarbon: the load curve is a cube, so the rate of sampling moves
    the modelled figure. `accuracy` is stated for counters only; a model's is not known.
    """

    name = "codecarbon"

    def __init__(
        self,
        *,
        hz: float = 1.0,
        country_iso_code: str = "USA",
        accuracy: float = 0.05,
        min_ticks: int = 50,
    ) -> None:
        super().__init__(hz=hz, rules=Rules(min_ticks=min_ticks, max_gap_s=max(1.0, 2.5 / hz)))
        self.country_iso_code = country_iso_code
        self.accuracy = accuracy
        self._hardware: list[tuple[str, Any]] = []
        self._total_j: dict[str, float] = {}
        self._last_ns: dict[str, int] = {}

    def probe(self) -> MeterCard:
        try:
            with _heard() as warnings:
                import codecarbon

                tracker = _tracker(codecarbon.OfflineEmissionsTracker, self.country_iso_code)
                tracker.get_detected_hardware()
        except ImportError:
            return self._absent(MISSING)
        # The tracker swallows its own errors: without hardware it has an empty list, or none.
        hardware = list(getattr(tracker, "_hardware", None) or [])
        self._hardware = [(_domain(item), item) for item in hardware if _domain(item)]
        if not self._hardware:
            return self._absent(NOTHING)
        return MeterCard(
            name=self.name,
            domains=tuple(self._domain_card(domain, item) for domain, item in self._hardware),
            notes={
                "version": codecarbon.__version__,
                "hardware": [item.description() for item in hardware],
                "nominal_w": {
                    domain: getattr(item, "_tdp", None) for domain, item in self._hardware
                },
                "warnings": list(dict.fromkeys(warnings)),
            },
        )

    def sample(self) -> list[TraceRow]:
        """Adds the joules since the last sample; the first sample is the zero of each domain."""
        rows = []
        for domain, item in self._hardware:
            now_ns = time.perf_counter_ns()
            if domain not in self._last_ns:
                item.start()
                self._total_j[domain] = 0.0
            else:
                elapsed_s = (now_ns - self._last_ns[domain]) / 1e9
                _, energy = item.measure_power_and_energy(elapsed_s)
                self._total_j[domain] += energy.kWh * J_PER_KWH
            self._last_ns[domain] = now_ns
            rows.append(
                TraceRow(
                    t_ns=now_ns,
                    domain=domain,
                    quantity="counter_j",
                    value=self._total_j[domain],
                )
            )
        return rows

    def _absent(self, reason: str) -> MeterCard:
        return MeterCard(
            name=self.name,
            domains=tuple(
                DomainCard(domain=domain, method=None, reason=reason) for domain in ("cpu", "ram")
            ),
        )

    def _domain_card(self, domain: str, item: Any) -> DomainCard:
        method = _method(item)
        return DomainCard(
            domain=domain,
            method=method,
            tick_s=JIFFY_S if domain == "cpu" else None,
            accuracy=self.accuracy if method == "counter" else None,
            reason=f"codecarbon follows {item.description()}",
        )


def _tracker(tracker: Any, country_iso_code: str) -> Any:
    """A tracker with every option given, so that no file and no environment variable decides."""
    return tracker(
        country_iso_code=country_iso_code,
        output_methods=[],
        output_handlers=[],
        emissions_endpoint=None,
        electricitymaps_api_token=None,
        allow_multiple_runs=True,  # else it takes a lock file
        tracking_mode="machine",
        force_cpu_power=None,
        force_ram_power=None,
        force_mode_cpu_load=False,
        rapl_include_dram=False,
        rapl_prefer_psys=False,
        gpu_ids=None,
        pue=1.0,
        wue=0.0,
        measure_power_secs=15.0,
        log_level="warning",
    )


def _domain(item: Any) -> str:
    """`cpu`, `ram`, or "" for what this meter does not follow."""
    part = getattr(item, "chip_part", type(item).__name__)
    return {"CPU": "cpu", "RAM": "ram"}.get(part, "")


def _method(item: Any) -> Method:
    description = item.description()
    if description in COUNTERS:
        return "counter"
    if description.startswith("Raspberry"):  # the board's power chip, read as watts
        return "integrated"
    return "modelled"


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Keeps codecarbon's warnings for the card, in place of printing them."""
    heard: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            heard.append(" ".join(record.getMessage().split()))
        return False

    logger = logging.getLogger("codecarbon")
    logger.disabled = False  # Hydra's sweeps disable loggers that exist
    logger.setLevel(logging.WARNING)
    logger.addFilter(keep)
    try:
        yield heard
    finally:
        logger.removeFilter(keep)
        logger.setLevel(logging.CRITICAL)
