"""Where the joules went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.records import Boundary, EnergyReading

__all__ = ["NO_IMAGE", "boundary_energy", "energy_j_per_image", "valid_images"]

NO_IMAGE = "no request of the window gave an image"

_BEST_FIRST = ("wall", "counter", "integrated", "modelled")


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
    method = max((row["method"] for row in chosen), key=_BEST_FIRST.index)
    return EnergyReading(
        span=window,
        domain=boundary.name,
        energy_j=total * boundary.pue,
        method="modelled" if boundary.pue != 1.0 else method,
        accuracy=accuracy,
    )


def energy_j_per_image(rows: Sequence[Mapping[str, Any]], boundary: Boundary) -> EnergyReading:
    """Gross joules per valid image of one window at a boundary; a failed request gives none.

    A window without an image has energy_j None with a reason.
    """
    reading = boundary_energy(rows, boundary)
    if reading.energy_j is None:
        return reading
    images = valid_images(rows[0])
    if images <= 0:
        return replace(reading, energy_j=None, reason=NO_IMAGE)
    return replace(reading, energy_j=reading.energy_j / images)


def valid_images(window: Mapping[str, Any]) -> int:
    """Requests of a window that gave an image."""
    return int(window["requests"]) - int(window["failures"])


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
    return f"{pattern.replace('|', ' or ')} was not read ({told})"


def _matches(domain: str, alternative: str) -> bool:
    name = alternative.rstrip(":")
    return domain == name or domain.startswith(name + ":")


def _rank(row: Mapping[str, Any]) -> int:
    if row["energy_j"] is None:
        return len(_BEST_FIRST)
    return _BEST_FIRST.index(row["method"])
