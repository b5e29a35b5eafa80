"""The machine's state beside a window, and which states keep windows from being compared.

Everything is read from /proc and /sys; what cannot be seen there is None.
"""

from __future__ import annotations

import os
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.records import MachineState

__all__ = [
    "PROC",
    "SYS",
    "Snapshot",
    "busy_elsewhere",
    "uncharged",
    "process_cpu_s",
    "processors",
    "process_tree_cpu_s",
    "snapshot",
    "state",
    "text_of",
    "unlike_states",
]

PROC = Path("/proc")
SYS = Path("/sys")
TEMPERATURES = ("x86_pkg_temp", "coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal")
SENSOR_C = 1e-3  # hwmon and thermal zones give thousandths of a degree

STEAL_SHARE = 0.02  # of the machine's processor time, taken by the hypervisor
CLOCK_SHARE, TEMPERATURE_C = 0.1, 15.0  # that a system's windows may lie apart
FOREIGN = 0.1  # processors busy with what is not the audit's; 1% of them where that is more
APART: dict[str, Callable[[Any, Any], bool]] = {
    "throttled": lambda a, b: bool(a) != bool(b > 0.5),
    "cpu_mhz": lambda a, b: max(a, b) > (1 + CLOCK_SHARE) * min(a, b),
    "temperature_c": lambda a, b: abs(a - b) > TEMPERATURE_C,
}
SHORTEST_S = 4.95  # shorter windows decide nothing, and show steps of 10 ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What /proc and /sys say at one edge of a window; seconds since the machine started."""

    busy_s: float | None
    steal_s: float | None
    total_s: float | None
    cpu_mhz: float | None
    throttles: int | None


def processors() -> int:
    """How many processors this process may use; all there are where that cannot be asked."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def snapshot(*, proc: Path = PROC, sys: Path = SYS) -> Snapshot:
    """Taken at the start of a window, for `state` at its end."""
    busy_s, steal_s, total_s = _cpu_seconds(proc)
    return Snapshot(
        busy_s=busy_s,
        steal_s=steal_s,
        total_s=total_s,
        cpu_mhz=_cpu_mhz(proc, sys),
        throttles=_throttles(sys),
    )


def state(
    since: Snapshot, *, own_cpu_s: float | None, proc: Path = PROC, sys: Path = SYS
) -> MachineState:
    """The state over the window that began at `since` and ends now.

    `own_cpu_s`: processor seconds of the audit's own processes in the window; what is busy beyond
    them is foreign. Clocks are the mean of both edges.
    """
    now = snapshot(proc=proc, sys=sys)
    steal_share = foreign_cpu_s = None
    total_s = _difference(now.total_s, since.total_s)
    steal_s = _difference(now.steal_s, since.steal_s)
    busy_s = _difference(now.busy_s, since.busy_s)
    if total_s and steal_s is not None:
        steal_share = steal_s / total_s
    if busy_s is not None and own_cpu_s is not None:
        foreign_cpu_s = max(busy_s - own_cpu_s, 0.0)
    clocks = [mhz for mhz in (since.cpu_mhz, now.cpu_mhz) if mhz is not None]
    throttles = _difference(now.throttles, since.throttles)
    return MachineState(
        cpu_mhz=sum(clocks) / len(clocks) if clocks else None,
        steal_share=steal_share,
        foreign_cpu_s=foreign_cpu_s,
        temperature_c=_temperature_c(sys),
        throttled=None if throttles is None else throttles > 0,
    )


def unlike_states(row: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> list[str]:
    """How a window's state differs from that of the same system's other windows, both values told.

    They are rows of windows.parquet. Clock, temperature and throttling follow what a system does,
    so systems are not compared with each other. What a machine does not show tells nothing apart.
    """
    if row["duration_s"] < SHORTEST_S:
        return []
    found = []
    if (row["steal_share"] or 0.0) > STEAL_SHARE:
        found.append(f"steal_share {row['steal_share']:.3g} against {STEAL_SHARE:g} at most")
    for name, apart in APART.items():
        seen = [other[name] for other in others if other[name] is not None]
        if row[name] is not None and seen and apart(row[name], usual := statistics.median(seen)):
            found.append(f"{name} {row[name]:.4g} against {usual:.4g} in its other windows")
    return found


def busy_elsewhere(rows: Sequence[Mapping[str, Any]], processors: int) -> str:
    """Whether others kept the machine busy over all of a system's windows; what to say, or "".

    A mean, because a moment's work of others is noise that intervals hold; a system that has its
    work done outside of its own processes does so in every window.
    """
    known = [row for row in rows if row["foreign_cpu_s"] is not None]
    total_s = sum(row["duration_s"] for row in known)
    if total_s < SHORTEST_S:
        return ""
    busy, limit = (
        sum(row["foreign_cpu_s"] for row in known) / total_s,
        max(FOREIGN, processors / 100),
    )
    return "" if busy <= limit else f"{busy:.2f} processors were busy elsewhere, {limit:g} at most"


def uncharged(rows: Sequence[Mapping[str, Any]]) -> str:
    """Whether others worked more than a tenth of what a system is charged; what to say, or "".

    Children that nobody waits for are charged to nobody: what little a system seems to need may be
    its own work, done by them.
    """
    known = [r for r in rows if None not in (r["foreign_cpu_s"], r["cpu_s"])]
    foreign_s, own_s = (sum(row[key] for row in known) for key in ("foreign_cpu_s", "cpu_s"))
    if sum(row["duration_s"] for row in known) < SHORTEST_S or foreign_s <= FOREIGN * own_s:
        return ""
    return (
        f"{foreign_s:.2f} s of processor time were nobody's, beside {own_s:.2f} s that it is "
        f"charged; a tenth at most"
    )


def process_tree_cpu_s(pid: int, *, proc: Path = PROC) -> float | None:
    """Processor seconds of a process, its live descendants, and the children each has reaped.

    Steps of a clock tick (10 ms). None where there is no such process, or no /proc. Children that
    nobody waits for are lost with their end; they show as foreign time.
    """
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for path in proc.glob("[0-9]*/stat"):
        text = text_of(path)
        if text is None:  # it ended while we looked
            continue
        fields = text[text.rindex(")") + 2 :].split()  # the name before may hold anything
        parents[int(path.parent.name)] = int(fields[1])
        ticks[int(path.parent.name)] = sum(int(field) for field in fields[11:15])
    if pid not in parents:
        return None
    children: dict[int, list[int]] = {}
    for child, parent in parents.items():
        children.setdefault(parent, []).append(child)
    tree, waiting = set(), [pid]
    while waiting:
        one = waiting.pop()
        tree.add(one)
        waiting.extend(child for child in children.get(one, ()) if child not in tree)
    return sum(ticks[one] for one in tree) / _ticks_per_s()


def process_cpu_s(pid: int) -> float:
    """Processor seconds of one process, of all its threads and none of its children.

    Linux numbers the processor clock of a process by its id (clock_getcpuclockid(3)). Raises
    OSError where there is no such process.
    """
    return time.clock_gettime(~pid << 3 | 2)


def _cpu_seconds(proc: Path) -> tuple[float | None, float | None, float | None]:
    """Busy, stolen and total processor seconds of the machine since it started."""
    match = re.match(r"cpu +(.+)", text_of(proc / "stat") or "")
    if match is None:
        return None, None, None
    # proc(5): user nice system idle iowait irq softirq steal; guest time is inside user
    fields = [int(field) for field in match[1].split()[:8]]
    user, nice, system, idle, iowait, irq, softirq, steal = fields + [0] * (8 - len(fields))
    busy = user + nice + system + irq + softirq
    per_s = _ticks_per_s()
    return busy / per_s, steal / per_s, (busy + idle + iowait + steal) / per_s


def _cpu_mhz(proc: Path, sys: Path) -> float | None:
    paths = (sys / "devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq")
    clocks = [int(text) / 1e3 for text in map(text_of, paths) if text and text.isdigit()]
    if not clocks:
        text = text_of(proc / "cpuinfo") or ""
        clocks = [float(mhz) for mhz in re.findall(r"^cpu MHz\s*: ([\d.]+)", text, re.MULTILINE)]
    return sum(clocks) / len(clocks) if clocks else None


def _throttles(sys: Path) -> int | None:
    paths = (sys / "devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/*_throttle_count")
    counts = [int(text) for text in map(text_of, paths) if text and text.isdigit()]
    return sum(counts) if counts else None


def _temperature_c(sys: Path) -> float | None:
    """The hottest sensor of the processor; None where no sensor is known to be the processor's."""
    readings = [
        text_of(zone / "temp")
        for zone in (sys / "class/thermal").glob("thermal_zone*")
        if text_of(zone / "type") in TEMPERATURES
    ]
    for chip in (sys / "class/hwmon").glob("hwmon*"):
        if text_of(chip / "name") in TEMPERATURES:
            readings.extend(text_of(sensor) for sensor in chip.glob("temp*_input"))
    degrees = [int(text) * SENSOR_C for text in readings if text and text.lstrip("-").isdigit()]
    return max(degrees) if degrees else None


def _difference(now: float | None, before: float | None) -> float | None:
    return None if now is None or before is None else now - before


def _ticks_per_s() -> int:
    return os.sysconf("SC_CLK_TCK")


def text_of(path: Path) -> str | None:
    """What a file of /proc or /sys says; None where it cannot be read."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
