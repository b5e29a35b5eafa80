"""What a claim may ask that is no ratio of blocks: bytes, energy, money, physics, a load."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from scipy import stats as distributions

from harness.attribute import least_direct, per_image, windows_of
from harness.findings import Finding, unmeasured
from harness.load import HALF, loads
from harness.records import Claim, Evidence, Part
from harness.stats import ALPHA, cluster_interval, one_sided_p
from harness.traffic import traffic

__all__ = ["absolute", "served", "smaller"]

IMAGES, J_PER_KWH = 1000, 3.6e6
MODELLED = "The energy is modelled, not metered, and cannot decide."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    """From joules of the node an image to what is asked; `each` is None where something lacks."""

    name: str
    unit: str
    each: Callable[[Evidence], float | None]
    lacking: str


def _price(evidence: Evidence) -> float | None:
    price = (evidence.settings.get("tariff") or {}).get("price_per_kwh")
    return None if price is None else price / J_PER_KWH


def _floor(evidence: Evidence) -> float | None:
    found = next((t for t in traffic(evidence) if t.system == evidence.candidate), None)
    return 1 / found.floor_j if found and found.floor_j else None


_SCALES = {
    "kwh_per_1000": _Scale(
        name="kilowatt-hours for 1,000 images",
        unit="kWh",
        each=lambda _: IMAGES / J_PER_KWH,
        lacking="",
    ),
    "price": _Scale(
        name="electricity of an image",
        unit="",
        each=_price,
        lacking="No price of a kilowatt-hour is stated.",
    ),
    "above_landauer": _Scale(
        name="energy over the least for its bit operations (k T ln 2)",
        unit="times",
        each=_floor,
        lacking="The work of an image was not counted (work=true), so its least energy is unknown.",
    ),
}


def absolute(evidence: Evidence, claim: Claim) -> Finding:
    """What an image of the candidate takes at the node, in the claim's unit, over block windows."""
    assert claim.threshold is not None  # the loader refuses one without
    scale, limit = _SCALES[claim.quantity], claim.threshold
    each = scale.each(evidence)
    if each is None:
        return Finding(part=unmeasured(scale.name, limit, scale.lacking))
    node = next((b for b in evidence.boundaries if b.name == "node"), None)
    windows = windows_of(evidence, evidence.candidate, "block").values()
    found = [per_image(rows, node) for rows in windows] if node else []
    values = [one.value * each for one in found if one.value is not None]
    if len(values) < 2 or len(values) < len(found):
        reason = next((one.reason for one in found if one.value is None), "too few windows")
        return Finding(part=unmeasured(scale.name, limit, f"The node was not read: {reason}."))
    interval, n = cluster_interval(values), len(values)
    stated = [one.accuracy for one in found]
    accuracy = max((a for a in stated if a is not None), default=0.0)
    error = float(distributions.tstd(values)) / math.sqrt(n)

    def half(alpha: float) -> float:
        meter = float(distributions.norm.ppf(1 - alpha)) * accuracy * interval.estimate
        return math.hypot(
            float(distributions.t.ppf(1 - alpha, n - 1)) * error, meter / math.sqrt(3)
        )

    low, high = interval.estimate - half(ALPHA), interval.estimate + half(ALPHA)
    told = f"{interval.estimate:.3g} (95% interval {low:.3g} to {high:.3g}, {n} windows)"
    part = Part(
        name=scale.name,
        outcome="not_measured",
        estimate=interval.estimate,
        low=low,
        high=high,
        threshold=limit,
        n=n,
        unit=scale.unit,
        reason=f"{evidence.candidate}, {scale.name}: {told}, asked {limit:.3g}.",
    )
    why = MODELLED if least_direct(one.method for one in found) == "modelled" else ""
    if None in stated:
        why = why or "A meter states no accuracy, so its reading cannot decide."
    if why:
        return Finding(part=replace(part, reason=f"{why} {part.reason}"))
    at_least = claim.direction == "at_least"
    beyond = limit - interval.estimate if at_least else interval.estimate - limit
    return Finding(
        part=replace(part, outcome="inconclusive"),
        supports=low >= limit if at_least else high <= limit,
        p_refuted=one_sided_p(beyond, half),
    )


def smaller(evidence: Evidence, claim: Claim) -> Finding:
    """Bytes of parameters, baseline over candidate, as their cards have them.

    A system is believed against its interest; for it only where it is this repository's own.
    """
    assert claim.threshold is not None
    name, limit = "times smaller in bytes of parameters", claim.threshold
    ours, theirs = (
        evidence.cards.get(system, {}).get("parameter_bytes")
        for system in (evidence.candidate, evidence.baseline)
    )
    if not ours or not theirs:
        reason = "A card does not state its bytes of parameters."
        return Finding(part=unmeasured(name, limit, reason))
    found, own = theirs / ours, set(evidence.settings.get("own_systems") or ())
    reason = f"{ours:,} bytes of parameters against {theirs:,}: {found:.3g} times smaller, asked "
    part = Part(
        name=name,
        outcome="not_measured",
        estimate=found,
        threshold=limit,
        unit="times",
        reason=f"{reason}{limit:.3g}.",
    )
    passes = found >= limit if claim.direction == "at_least" else found <= limit
    if not passes:
        return Finding(part=part, p_refuted=0.0)
    if {evidence.candidate, evidence.baseline} <= own:
        return Finding(part=part, supports=True)
    told = "A self-reported figure cannot support a claim; an independent count is needed."
    return Finding(part=replace(part, reason=f"{part.reason} {told}"))


def served(evidence: Evidence, claim: Claim) -> Finding:
    """Joules of an image served, baseline over candidate, at half of one baseline node's load."""
    assert claim.threshold is not None
    name, limit = "joules an image served, at half of one baseline node's load", claim.threshold
    node = next((b for b in evidence.boundaries if b.name == "node"), None)
    pairs = loads(evidence, node) if node else []
    rate = next((pair for pair in pairs if pair[1].what == "half a baseline node"), None)
    if rate is None:
        reason = "Joules at other rates were not measured; audit with load=true."
        return Finding(part=unmeasured(name, limit, reason))
    ours, theirs = rate
    method = least_direct(
        per_image(rows, node).method
        for system in (evidence.candidate, evidence.baseline)
        for rows in windows_of(evidence, system, "batch").values()
    )
    part = Part(
        name=name,
        outcome="not_measured",
        estimate=theirs.joules / ours.joules,
        threshold=limit,
        unit="times",
        reason=f"At {ours.rate:.3g} requests a second ({HALF:.0%} of one node of the baseline) an "
        f"image takes {theirs.joules:.3g} J and {ours.joules:.3g} J of the node, derived from "
        f"windows at several batches: {theirs.joules / ours.joules:.3g} times, asked {limit:g}.",
    )
    if method == "modelled":
        return Finding(part=replace(part, reason=f"{MODELLED} {part.reason}"))
    told = f"{part.reason} A derived figure has no interval and cannot decide."
    return Finding(part=replace(part, outcome="inconclusive", reason=told))
