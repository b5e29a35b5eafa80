"""What a reader is told of how systems were shut in, and how they conducted themselves."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from harness.metrics.conduct import pace, repeats
from harness.metrics.summary import Table
from harness.records import Evidence
from reports import numbers

__all__ = ["challenge", "repeated", "walls"]


def walls(manifest: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """What systems could reach while they were asked: (what, who); () of a bundle of before."""
    offline, hides = manifest.get("offline") or {}, manifest.get("hides") or {}
    online = [name for name, alone in offline.items() if not alone]
    writing = [
        f"{name} ({', '.join(places)})"
        for name, places in (manifest.get("writes") or {}).items()
        if places != ["scratch"]
    ]
    seeing = [name for name, hidden in hides.items() if not hidden]
    return (
        *([("Network", _open("none for any system", online))] if offline else []),
        *([("Files", _open("written in a folder of their own alone", writing))] if hides else []),
        *([("This audit's plan", _open("hidden from the systems", seeing))] if hides else []),
    )


def _open(shut: str, names: Sequence[str]) -> str:
    return f"open to {', '.join(names)}" if names else shut


def repeated(evidence: Evidence, systems: Sequence[str]) -> tuple[str, ...]:
    """How often each system's pictures of one prompt are the same, where it was asked again."""
    found = ((system, *repeats(evidence, system)) for system in systems)
    return tuple(f"{alike:,} of {pairs:,} for {name}" for name, alike, pairs in found if pairs)


def challenge(evidence: Evidence, systems: Sequence[str]) -> tuple[str, ...]:
    """Each system on published prompts and on those that the challenge drew; () without one."""
    if not evidence.settings.get("challenge"):
        return ()
    table, told = Table(evidence), []
    for system in systems:
        published, drawn = (
            table.by_prompt(system, "verified", part=part) for part in ("core", "filler")
        )
        if not published or not drawn:
            continue
        shares = [numbers.percent(statistics.fmean(by.values())) for by in (published, drawn)]
        text = f"{system} {shares[0]} and {shares[1]}"
        if time := pace(evidence, system):
            took = f"{numbers.ratio(time.estimate)} {numbers.interval(time.low, time.high, 'x')}"
            text += f", the published ones in {took} the time"
        told.append(text)
    return tuple(told)
