"""What a claim may ask that is no ratio of blocks: bytes, energy, money, physics, a load."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import fmean

from scipy import stats as distributions

from harness.attribute import PerImage, least_direct, per_image, windows_of
from harness.findings import Finding, unmeasured
from harness.load import HALF, loads
from harness.ratio import measured_ratio
from harness.records import Claim, Evidence, Outcome, Part
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
    tariff = evidence.settings.get("tariff") or {}
    price = tariff.get("price_per_kwh")
    return price / J_PER_KWH if price and tariff.get("currency") == "USD" else None


def _floor(evidence: Evidence) -> float | None:
    """Of work that was counted: more that is told would lower the figure in the teller's favour."""
    found = next((t for t in traffic(evidence) if t.system == evidence.candidate), None)
    own = evidence.candidate in (evidence.settings.get("own_systems") or ())
    counted = found is not None and (own or found.source.startswith("counted"))
    return 1 / found.floor_j if found and counted and found.floor_j else None


_SCALES = {
    "kwh_per_1000": _Scale(
        name="kilowatt-hours for 1,000 images",
        unit="kWh",
        each=lambda _: IMAGES / J_PER_KWH,
        lacking="",
    ),
    "price": _Scale(
        name="electricity of an image",
        unit="USD",
        each=_price,
        lacking="No price of a kilowatt-hour above 0 is stated in USD.",
    ),
    "above_landauer": _Scale(
        name="energy over the least for its bit operations (k T ln 2)",
        unit="times",
        each=_floor,
        lacking="The work of an image was not counted, so its least energy is unknown.",
    ),
}


def absolute(evidence: Evidence, claim: Claim) -> Finding:
    """What an image of the candidate takes at the node, in the claim's unit, over pairs of blocks.

    What a ratio of the same joules may not decide, this may not either.
    """
    assert claim.threshold is not None  # the loader refuses one without
    scale, limit = _SCALES[claim.quantity], claim.threshold
    each = scale.each(evidence)
    node = next((b for b in evidence.boundaries if b.name == "node"), None)
    if each is None or node is None:
        return Finding(part=unmeasured(scale.name, limit, scale.lacking))
    ratio = measured_ratio(evidence, node)
    if ratio.ratio is None:
        outcome: Outcome = "inconclusive" if ratio.too_few else "not_measured"
        part = unmeasured(scale.name, limit, ratio.reason)
        return Finding(part=replace(part, outcome=outcome, n=ratio.pairs))
    by_pair: dict[int, list[PerImage]] = {}
    for rows in windows_of(evidence, evidence.candidate, "block").values():
        by_pair.setdefault(rows[0]["pair"], []).append(per_image(rows, node))
    found = [one for pair in by_pair.values() for one in pair]
    values = [fmean((one.value or 0.0) * each for one in pair) for pair in by_pair.values()]
    interval, n = cluster_interval(values), len(values)
    accuracy = max((one.accuracy for one in found if one.accuracy is not None), default=0.0)
    error = float(distributions.tstd(values)) / math.sqrt(n)

    def half(alpha: float) -> float:
        meter = float(distributions.norm.ppf(1 - alpha)) * accuracy * interval.estimate
        return math.hypot(
            float(distributions.t.ppf(1 - alpha, n - 1)) * error, meter / math.sqrt(3)
        )

    low, high = interval.estimate - half(ALPHA), interval.estimate + half(ALPHA)
    told = f"{interval.estimate:.3g} (95% interval {low:.3g} to {high:.3g}, {n} pairs of blocks)"
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
    if not ratio.admissible:
        return Finding(part=replace(part, reason=f"{ratio.reason} {part.reason}"))
    if n < (need := max(claim.min_pairs, ratio.planned)):
        reason = f"{part.reason} No verdict before {need} pairs; {n} are complete."
        return Finding(part=replace(part, outcome="inconclusive", reason=reason))
    at_least = claim.direction == "at_least"
    beyond = limit - interval.estimate if at_least else interval.estimate - limit
    return Finding(
        part=replace(part, outcome="inconclusive"),
        supports=low >= limit if at_least else high <= limit,
        p_refuted=one_sided_p(beyond, half),
    )


def smaller(evidence: Evidence, claim: Claim) -> Finding:
    """Bytes of the denoiser's parameters, baseline over candidate, as their cards have them.

    A system is believed against its interest; for it only where it is this repository's own.
    """
    assert claim.threshold is not None
    name, limit = "times smaller in bytes of the denoiser's parameters", claim.threshold
    ours, theirs = (
        (evidence.cards.get(system, {}).get("notes") or {}).get("denoiser_bytes")
        for system in (evidence.candidate, evidence.baseline)
    )
    if not ours or not theirs:
        reason = "A card does not state the bytes of its denoiser's parameters (denoiser_bytes)."
        return Finding(part=unmeasured(name, limit, reason))
    found, own = theirs / ours, set(evidence.settings.get("own_systems") or ())
    reason = f"{ours:,} bytes of the denoiser against {theirs:,}: {found:.3g} times smaller, asked "
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
    told = f"{part.reason} A derived figure has no interval: it is shown, and never decides."
    return Finding(part=replace(part, outcome="inconclusive", reason=told))
