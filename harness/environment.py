"""The machine an audit ran on and its software.

Everything is read from /proc and /sys; what cannot be seen there is None. `MUST_MATCH` names the
fields that must be equal before two bundles are compared.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from harness.state import PROC, SYS, text_of

__all__ = ["MUST_MATCH", "MUST_STAY", "describe", "unlike"]

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


def describe(*, proc: Path = PROC, sys: Path = SYS) -> dict[str, Any]:
    """The machine and its software as plain JSON types; None for what cannot be seen."""
    cpu = _cpu_info(proc)
    return {
        "cpu_model": cpu.get("model name") or platform.processor() or None,
        "cpu_logical": os.cpu_count(),
        "cpu_physical": _physical_cores(proc),
        "cpu_governor": text_of(sys / "devices/system/cpu/cpu0/cpufreq/scaling_governor"),
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
    for line in (text_of(proc / "cpuinfo") or "").splitlines():
        key, colon, value = line.partition(":")
        if not colon and fields:
            break
        fields[key.strip()] = value.strip()
    return fields


def _physical_cores(proc: Path) -> int | None:
    text = text_of(proc / "cpuinfo") or ""
    packages = re.findall(r"^physical id\s*: (\d+)", text, re.MULTILINE)
    cores = re.findall(r"^core id\s*: (\d+)", text, re.MULTILINE)
    return len(set(zip(packages, cores, strict=False))) or None


def _turbo(sys: Path) -> bool | None:
    """Whether the processor may raise its clock above the nominal one."""
    no_turbo = text_of(sys / "devices/system/cpu/intel_pstate/no_turbo")
    if no_turbo is not None:
        return no_turbo == "0"
    boost = text_of(sys / "devices/system/cpu/cpufreq/boost")
    return None if boost is None else boost == "1"


def _memory_gib(proc: Path) -> int | None:
    """Rounded: a kernel reserves a slightly different share at each start."""
    match = re.search(r"^MemTotal:\s+(\d+) kB", text_of(proc / "meminfo") or "", re.MULTILINE)
    return round(int(match[1]) / 2**20) if match else None


def _accelerators(proc: Path) -> list[str]:
    """Names of NVIDIA boards as their kernel driver lists them; the meter's card says more."""
    cards = sorted((proc / "driver/nvidia/gpus").glob("*/information"))
    texts = [text_of(card) or "" for card in cards]
    return [match[1] for text in texts if (match := re.search(r"^Model:\s+(.+)$", text, re.M))]


def _driver(proc: Path) -> str | None:
    match = re.search(r"\b(\d+\.\d+(?:\.\d+)?)\b", text_of(proc / "driver/nvidia/version") or "")
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
