"""The machine an audit ran on, and its state beside each window.

Everything is read from /proc and /sys; what cannot be seen there is None. `MUST_MATCH` names the
fields that must be equal before two bundles are compared.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from harness.records import MachineState

__all__ = [
    "MUST_MATCH",
    "MUST_STAY",
    "Snapshot",
    "describe",
    "process_tree_cpu_s",
    "snapshot",
    "state",
    "unlike",
]

PROC = Path("/proc")
SYS = Path("/sys")

# Fields of describe() that move energy or time by themselves.
MUST_MATCH = (
    "cpu_model",
    "cpu_logical",
    "memory_gib",
    "architecture",
    "virtualised",
    "cpu_governor",
    "cpu_turbo",
    "accelerators",
    "accelerator_driver",
    "os",
)
# And of the software, while one run goes on.
MUST_STAY = (*MUST_MATCH, "python", "packages", "git_commit", "git_changed")
TEMPERATURES = ("x86_pkg_temp", "coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal")
SENSOR_C = 1e-3  # hwmon and thermal zones give thousandths of a degree


# The machine -----------------------------------------------------------------------------------


def describe(*, proc: Path = PROC, sys: Path = SYS) -> dict[str, Any]:
    """The machine and its software as plain JSON types; None for what cannot be seen."""
    cpu = _cpu_info(proc)
    return {
        "cpu_model": cpu.get("model name") or platform.processor() or None,
        "cpu_logical": os.cpu_count(),
        "cpu_physical": _physical_cores(proc),
        "cpu_governor": _text(sys / "devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "cpu_turbo": _turbo(sys),
        "memory_gib": _memory_gib(proc),
        "architecture": platform.machine(),
        "virtualised": "hypervisor" in cpu["flags"].split() if "flags" in cpu else None,
        "accelerators": _accelerators(proc),
        "accelerator_driver": _driver(proc),
        "os": platform.system(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": _packages(),
        **_checkout(),
    }


def unlike(
    mine: Mapping[str, Any], theirs: Mapping[str, Any], fields: Iterable[str] = MUST_MATCH
) -> list[str]:
    """The fields that differ, each with both values; empty: comparable."""
    found: list[str] = []
    for field in fields:
        a, b = mine.get(field), theirs.get(field)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += unlike(a, b, sorted({*a, *b}))
        elif a != b:
            found.append(f"{field}: {a!r} against {b!r}")
    return found


def _cpu_info(proc: Path) -> dict[str, str]:
    """The first processor's fields of /proc/cpuinfo."""
    fields: dict[str, str] = {}
    for line in (_text(proc / "cpuinfo") or "").splitlines():
        key, colon, value = line.partition(":")
        if not colon and fields:
            break
        fields[key.strip()] = value.strip()
    return fields


def _physical_cores(proc: Path) -> int | None:
    text = _text(proc / "cpuinfo") or ""
    packages = re.findall(r"^physical id\s*: (\d+)", text, re.MULTILINE)
    cores = re.findall(r"^core id\s*: (\d+)", text, re.MULTILINE)
    return len(set(zip(packages, cores, strict=False))) or None


def _turbo(sys: Path) -> bool | None:
    """Whether the processor may raise its clock above the nominal one."""
    no_turbo = _text(sys / "devices/system/cpu/intel_pstate/no_turbo")
    if no_turbo is not None:
        return no_turbo == "0"
    boost = _text(sys / "devices/system/cpu/cpufreq/boost")
    return None if boost is None else boost == "1"


def _memory_gib(proc: Path) -> int | None:
    """Rounded: a kernel reserves a slightly different share at each start."""
    match = re.search(r"^MemTotal:\s+(\d+) kB", _text(proc / "meminfo") or "", re.MULTILINE)
    return round(int(match[1]) / 2**20) if match else None


def _accelerators(proc: Path) -> list[str]:
    """Names of NVIDIA boards as their kernel driver lists them; the meter's card says more."""
    cards = sorted((proc / "driver/nvidia/gpus").glob("*/information"))
    texts = [_text(card) or "" for card in cards]
    return [match[1] for text in texts if (match := re.search(r"^Model:\s+(.+)$", text, re.M))]


def _driver(proc: Path) -> str | None:
    match = re.search(r"\b(\d+\.\d+(?:\.\d+)?)\b", _text(proc / "driver/nvidia/version") or "")
    return match[1] if match else None


def _packages() -> dict[str, str]:
    """Versions by name; not of copies that setuptools brings along and adds to the path."""
    path = [folder for folder in sys.path if Path(folder).name != "_vendor"]
    found = ((dist.metadata["Name"], dist.version) for dist in metadata.distributions(path=path))
    return dict(sorted((name.lower(), version) for name, version in found if name))


def _git(*arguments: str) -> str | None:
    """An answer of git in the folder the harness lies in."""
    try:
        answer = subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def _checkout() -> dict[str, Any]:
    """Commit of the harness itself; None where it was installed, even inside another checkout."""
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return {"git_commit": None, "git_changed": None}
    status = _git("status", "--porcelain", "--untracked-files=no")
    return {"git_commit": _git("rev-parse", "HEAD"), "git_changed": bool(status)}


# Its state beside a window ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What /proc and /sys say at one edge of a window; seconds since the machine started."""

    busy_s: float | None
    steal_s: float | None
    total_s: float | None
    cpu_mhz: float | None
    throttles: int | None


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


def process_tree_cpu_s(pid: int, *, proc: Path = PROC) -> float | None:
    """Processor seconds of a process, its live descendants, and the children each has reaped.

    Steps of a clock tick (10 ms). None where there is no such process, or no /proc. A process
    that cut itself off from its parent is not seen here; it shows as foreign time.
    """
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for path in proc.glob("[0-9]*/stat"):
        text = _text(path)
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
    match = re.match(r"cpu +(.+)", _text(proc / "stat") or "")
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
    clocks = [int(text) / 1e3 for text in map(_text, paths) if text and text.isdigit()]
    if not clocks:
        text = _text(proc / "cpuinfo") or ""
        clocks = [float(mhz) for mhz in re.findall(r"^cpu MHz\s*: ([\d.]+)", text, re.MULTILINE)]
    return sum(clocks) / len(clocks) if clocks else None


def _throttles(sys: Path) -> int | None:
    paths = (sys / "devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/*_throttle_count")
    counts = [int(text) for text in map(_text, paths) if text and text.isdigit()]
    return sum(counts) if counts else None


def _temperature_c(sys: Path) -> float | None:
    """The hottest sensor of the processor; None where no sensor is known to be the processor's."""
    readings = [
        _text(zone / "temp")
        for zone in (sys / "class/thermal").glob("thermal_zone*")
        if _text(zone / "type") in TEMPERATURES
    ]
    for chip in (sys / "class/hwmon").glob("hwmon*"):
        if _text(chip / "name") in TEMPERATURES:
            readings.extend(_text(sensor) for sensor in chip.glob("temp*_input"))
    degrees = [int(text) * SENSOR_C for text in readings if text and text.lstrip("-").isdigit()]
    return max(degrees) if degrees else None


def _difference(now: float | None, before: float | None) -> float | None:
    return None if now is None or before is None else now - before


def _ticks_per_s() -> int:
    return os.sysconf("SC_CLK_TCK")


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
