"""RAPL through Linux powercap: processor packages and memory of Intel and AMD machines.

Zones are known by their `name` files. A counter wraps at `max_energy_range_uj`; one of package or
psys is read (they overlap; core and uncore lie inside package), plus dram.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.errors import ConfigError
from harness.meters.sampling import Rules, SampledMeter, measure_ticks
from harness.records import DomainCard, MeterCard, TraceRow

__all__ = ["Rapl"]

UNIT_J = 2.0**-14  # the usual step of the register, 61 microjoules (Intel SDM vol. 3B, 15.10)
FASTEST_W = 1000.0  # no package draws more: a full range takes at least range / 1 kW
CHILD = re.compile(r"^(?P<parent>.+:\d+):\d+$")
PERMISSION = (
    "RAPL not readable at {root} (permission). Run as root, grant read access to the group, "
    "or use meter=nvml."
)
ABSENT = (
    "RAPL not found at {root}. A virtual machine or container hides it; on the machine itself "
    "load the module intel_rapl_msr, or use meter=codecarbon (modelled)."
)
STILL = "The counter {path} does not advance: a virtual machine that shows it but does not feed it."


@dataclass(slots=True, kw_only=True)
class _Zone:
    """One counter. `turns` counts how often it has wrapped."""

    domain: str
    kind: str
    name: str
    path: Path
    range_uj: int | None
    last_uj: int | None = None
    turns: int = 0

    def read_uj(self) -> int:
        return int((self.path / "energy_uj").read_text())

    def total_j(self) -> float:
        """Joules with every wrap added; raises OSError or ValueError where it cannot tell."""
        now_uj = self.read_uj()
        if self.last_uj is not None and now_uj < self.last_uj:
            if not self.range_uj:
                raise ValueError(f"{self.path} went backwards and has no max_energy_range_uj")
            self.turns += 1
        self.last_uj = now_uj
        return (now_uj + self.turns * (self.range_uj or 0)) / 1e6


class Rapl(SampledMeter):
    """Reads `package:N` and `dram:N`, or `psys:0` in their place with `prefer=psys`.

    `root` is where powercap lies. `accuracy` is a convention (5% unless calibrated here).
    `tick_s` is measured at start unless given.
    """

    name = "rapl"

    def __init__(
        self,
        *,
        root: str | Path = "/sys/class/powercap",
        prefer: Literal["package", "psys"] = "package",
        hz: float = 10.0,
        accuracy: float = 0.05,
        tick_s: float | None = None,
        min_ticks: int = 50,
    ) -> None:
        if prefer not in ("package", "psys"):
            raise ConfigError(f"meter rapl: prefer={prefer!r} is neither 'package' nor 'psys'")
        super().__init__(hz=hz, rules=Rules(min_ticks=min_ticks))
        self.root = Path(root)
        self.prefer = prefer
        self.accuracy = accuracy
        self.tick_s = tick_s
        self._zones: list[_Zone] = []

    def probe(self) -> MeterCard:
        found = _chosen(_zones(self.root), self.prefer)
        if not found:
            reason = ABSENT.format(root=self.root)
            return MeterCard(
                name=self.name,
                domains=(DomainCard(domain="package", method=None, reason=reason),),
            )
        cards: dict[str, DomainCard] = {}
        readable: list[_Zone] = []
        for zone in found:
            reason = _unreadable(zone, self.root)
            if reason:
                cards[zone.domain] = DomainCard(domain=zone.domain, method=None, reason=reason)
            else:
                readable.append(zone)
        mirrors = _mirrors(readable)
        readable = [zone for zone in readable if zone.domain not in mirrors]
        ticks = self._ticks(readable)
        self._zones = []
        for zone in readable:
            if ticks[zone.domain] is None:
                reason = STILL.format(path=zone.path)
                cards[zone.domain] = DomainCard(domain=zone.domain, method=None, reason=reason)
                continue
            self._zones.append(zone)
            cards[zone.domain] = DomainCard(
                domain=zone.domain,
                method="counter",
                tick_s=ticks[zone.domain],
                resolution_j=UNIT_J,
                accuracy=self.accuracy,
            )
        ranges = [zone.range_uj for zone in self._zones if zone.range_uj]
        if ranges:
            self.rules = Rules(
                min_ticks=self.rules.min_ticks, wrap_gap_s=min(ranges) / 1e6 / FASTEST_W
            )
        return MeterCard(
            name=self.name,
            domains=tuple(cards[zone.domain] for zone in found if zone.domain in cards),
            notes={
                "root": str(self.root),
                "zones": {zone.domain: zone.name for zone in found},
                "mirrors": mirrors,
            },
        )

    def sample(self) -> list[TraceRow]:
        rows = []
        for zone in self._zones:
            try:
                value = zone.total_j()
            except (OSError, ValueError) as error:
                self._lost[zone.domain] = str(error)
                continue
            rows.append(
                TraceRow(
                    t_ns=time.perf_counter_ns(),
                    domain=zone.domain,
                    quantity="counter_j",
                    value=value,
                )
            )
        return rows

    def _ticks(self, zones: list[_Zone]) -> dict[str, float | None]:
        if self.tick_s is not None:
            return {zone.domain: self.tick_s for zone in zones}
        return measure_ticks(lambda: {zone.domain: zone.read_uj() for zone in zones})


def _zones(root: Path) -> list[_Zone]:
    """Every package, dram and psys zone; the register interface before its memory-mapped twin."""
    try:
        folders = sorted(root.iterdir(), key=lambda path: ("mmio" in path.name, path.name))
    except OSError:
        return []
    names = {folder.name: _text(folder / "name") for folder in folders}
    zones: dict[str, _Zone] = {}
    for folder in folders:
        name = names[folder.name]
        if name is None:
            continue
        child = CHILD.match(folder.name)
        if name.startswith("package-"):
            kind, suffix = "package", name.removeprefix("package-")
        elif name == "dram":
            parent = names.get(child["parent"]) if child else None
            kind, suffix = "dram", (parent or folder.name).removeprefix("package-")
        elif name == "psys":
            kind, suffix = "psys", "0"
        else:
            continue
        range_text = _text(folder / "max_energy_range_uj")
        zones.setdefault(
            f"{kind}:{suffix}",
            _Zone(
                domain=f"{kind}:{suffix}",
                kind=kind,
                name=name,
                path=folder,
                range_uj=int(range_text) if range_text and range_text.isdigit() else None,
            ),
        )
    return list(zones.values())


def _chosen(zones: list[_Zone], prefer: str) -> list[_Zone]:
    """psys covers package and dram: one or the other."""
    psys = [zone for zone in zones if zone.kind == "psys"]
    rest = [zone for zone in zones if zone.kind != "psys"]
    packages = any(zone.kind == "package" for zone in rest)
    return psys if psys and (prefer == "psys" or not packages) else rest


def _unreadable(zone: _Zone, root: Path) -> str:
    try:
        zone.read_uj()
    except PermissionError:
        return PERMISSION.format(root=root)
    except (OSError, ValueError) as error:
        return f"RAPL not readable at {zone.path} ({error}). Use meter=nvml or meter=codecarbon."
    return ""


def _mirrors(zones: list[_Zone], times: int = 3) -> dict[str, str]:
    """Dies that show one counter several times: each such domain, and the one it repeats.

    A mirror read between two readings of its original lies between them, every time; a counter
    of its own does so by chance once in 10^8 readings.
    """
    mirrors: dict[str, str] = {}
    for i, zone in enumerate(zones):
        for other in zones[:i]:
            if other.kind != zone.kind or other.domain in mirrors:
                continue
            if all(_lies_between(zone, other) for _ in range(times)):
                mirrors[zone.domain] = other.domain
                break
    return mirrors


def _lies_between(zone: _Zone, other: _Zone) -> bool:
    before, value, after = other.read_uj(), zone.read_uj(), other.read_uj()
    return value > 0 and before <= value <= after


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
