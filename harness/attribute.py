"""Where the joules went."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from harness.boundaries import REMOTE, WALL
from harness.records import Boundary, EnergyReading, Evidence, Method

__all__ = [
    "PerImage",
    "boundary_energy",
    "idle_j",
    "least_direct",
    "mean_per_image",
    "per_image",
    "windows_of",
]

_BEST_FIRST = ("wall", "counter", "integrated", "modelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class PerImage:
    """A quantity per image of one window, or None with a reason; joules have a method."""

    value: float | None
    accuracy: float | None = None
    method: Method | None = None
    reason: str = ""


def boundary_energy(rows: Sequence[Mapping[str, Any]], boundary: Boundary) -> EnergyReading:
    """Gross joules of one window at a boundary, from the window's rows, one a domain.

    Every pattern must be read; "a|b" takes the first alternative all of whose domains are read,
    measured before modelled. Accuracy is the energy-weighted sum, as if errors inside one
    system added up. One modelled domain, or a PUE, makes the whole figure modelled. Anything
    missing gives energy_j None with a reason.
    """
    window = str(rows[0]["window"]) if rows else ""
    chosen: list[Mapping[str, Any]] = []
    for pattern in boundary.patterns:
        found = _pick(rows, pattern)
        if isinstance(found, str):
            return EnergyReading(
                span=window, domain=boundary.name, energy_j=None, method=None, reason=found
            )
        chosen += [row for row in found if row not in chosen]
    if not chosen:
        reason = f"the boundary {boundary.name} names no domain"
        return EnergyReading(
            span=window, domain=boundary.name, energy_j=None, method=None, reason=reason
        )
    total = sum(float(row["energy_j"]) for row in chosen)
    accuracy = None
    if total > 0 and all(row["accuracy"] is not None for row in chosen):
        accuracy = sum(float(r["accuracy"]) * float(r["energy_j"]) for r in chosen) / total
    method = least_direct(row["method"] for row in chosen)
    return EnergyReading(
        span=window,
        domain=boundary.name,
        energy_j=total * boundary.pue,
        method="modelled" if boundary.pue != 1.0 else method,
        accuracy=accuracy,
    )


def per_image(rows: Sequence[Mapping[str, Any]], boundary: Boundary | None) -> PerImage:
    """Gross joules of one window at a boundary, or its processor seconds, per valid image.

    A failed request is paid for and is no image. What is missing gives value None with a reason.
    """
    window = rows[0]
    images = int(window["requests"]) - int(window["failures"])
    if images <= 0:
        return PerImage(value=None, reason="no request of the window gave an image")
    if boundary is None:
        if window["cpu_s"] is None:
            reason = "processor time is defined only where all the work runs on local CPUs"
            return PerImage(value=None, reason=reason)
        return PerImage(value=float(window["cpu_s"]) / images, accuracy=0.0)
    reading = boundary_energy(rows, boundary)
    value = None if reading.energy_j is None else reading.energy_j / images
    return PerImage(
        value=value, accuracy=reading.accuracy, method=reading.method, reason=reading.reason
    )


def idle_j(rows: Sequence[Mapping[str, Any]], boundary: Boundary) -> float | None:
    """Joules an image that the machine would have drawn in this window without any request."""
    waiting = [
        {**r, "energy_j": None if r["idle_w"] is None else r["idle_w"] * r["duration_s"]}
        for r in rows
    ]
    return per_image(waiting, boundary).value


def windows_of(evidence: Evidence, system: str, *kinds: str) -> dict[str, list[dict[str, Any]]]:
    """Rows by window of a system's windows of some kinds, in order; void ones are left out."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in evidence.windows:
        if row["system"] == system and row["kind"] in kinds and not row["void"]:
            found.setdefault(row["window"], []).append(row)
    return found


def mean_per_image(
    evidence: Evidence, system: str, boundary: Boundary | None
) -> tuple[float | None, Method | None]:
    """Mean per image over a system's block windows, and its method; None where one has no value."""
    windows = windows_of(evidence, system, "block").values()
    found = [per_image(rows, boundary) for rows in windows]
    values = [one.value for one in found if one.value is not None]
    whole = bool(values) and len(values) == len(found)
    return (fmean(values) if whole else None), least_direct(one.method for one in found)


def least_direct(methods: Iterable[Method | None]) -> Method | None:
    """The method of figures taken together: one modelled part makes the whole modelled."""
    return max((m for m in methods if m), key=_BEST_FIRST.index, default=None)


def _pick(rows: Sequence[Mapping[str, Any]], pattern: str) -> list[Mapping[str, Any]] | str:
    """The rows that read one pattern, or the reason why none do."""
    reasons: list[str] = []
    usable: list[list[Mapping[str, Any]]] = []
    for alternative in pattern.split("|"):
        domains: dict[str, Mapping[str, Any]] = {}
        for row in rows:
            if _matches(row["domain"], alternative):
                known = domains.get(row["domain"])
                if known is None or _rank(row) < _rank(known):
                    domains[row["domain"]] = row
        missing = [row for row in domains.values() if row["energy_j"] is None]
        if domains and not missing:
            usable.append([domains[name] for name in sorted(domains)])
        reasons += [f"{row['domain']}: {row['reason'] or 'not read'}" for row in missing]
    measured = [u for u in usable if all(row["method"] != "modelled" for row in u)]
    if usable:
        return (measured or usable)[0]
    told = "; ".join(reasons) or "no meter reads it"
    asked = " or ".join(one for one in pattern.split("|") if one not in (REMOTE, WALL))
    return f"{asked} was not read ({told})"


def _matches(domain: str, alternative: str) -> bool:
    name = alternative.rstrip(":")
    return domain == name or domain.startswith(name + ":")


def _rank(row: Mapping[str, Any]) -> int:
    if row["energy_j"] is None:
        return len(_BEST_FIRST)
    return _BEST_FIRST.index(row["method"])
