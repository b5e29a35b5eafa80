"""Equal quality: every endpoint, the injected defects that must be rejected, the baseline's bar."""

from __future__ import annotations

from dataclasses import replace

from harness.findings import Finding, decide, first, unmeasured
from harness.metrics.conduct import filler_differs
from harness.metrics.endpoints import (
    Comparison,
    compare,
    frechet_share,
    noise_floor,
)
from harness.metrics.summary import Table, share_interval
from harness.records import Claim, Endpoint, Outcome, Part
from harness.stats import ALPHA, holm, non_inferiority

__all__ = ["DEFECTS", "quality", "worst_category"]

DEFECTS = ("control:blur", "control:jpeg30", "control:shuffled", "control:dropped-modes")
_BEYOND = 100  # times what was scored: a larger number that would decide is none
_VERIFIER = 0.98  # share of its own renders that a verifier must accept, by its upper bound


def quality(table: Table, claim: Claim) -> list[Finding]:
    """Every endpoint, the controls and the baseline's bar."""
    evidence = table.evidence
    controls = _controls(table, claim)
    bar = _bar(table, claim)
    broken = [f.part for f in (controls, bar) if f.part.outcome == "not_measured"]
    told_apart = [
        text for s in (evidence.candidate, evidence.baseline) if (text := filler_differs(table, s))
    ]
    endpoints = _endpoints(table, claim, evidence.candidate, evidence.baseline)
    if broken or told_apart:
        why = "; ".join([*(f"{part.name} failed" for part in broken), *told_apart])
        endpoints = [
            Finding(
                part=replace(
                    f.part,
                    outcome="not_measured",
                    reason=f"{f.part.reason} It is inadmissible: {why}.",
                )
            )
            for f in endpoints
        ]
    return [*endpoints, controls, bar]


def _endpoints(table: Table, claim: Claim, candidate: str, baseline: str) -> list[Finding]:
    found = []
    for endpoint in claim.endpoints:
        comparison = compare(table, endpoint, candidate, baseline, claim.min_prompts)
        aim = "better" if endpoint.kind == "superiority" else "equal"
        found.append(_endpoint(comparison, aim, candidate, baseline, noise_floor(table)))
    return found


def _endpoint(
    found: Comparison, aim: str, candidate: str, baseline: str, floor: float | None
) -> Finding:
    name = f"{aim} quality: {found.name}"
    if found.reason:
        return Finding(
            part=unmeasured(name, None, f"{found.name} was not compared: {found.reason}.")
        )
    if found.estimate is None:
        text = (
            f"{found.name} needs at least {found.needed} images to decide; {found.n} were scored."
        )
    elif found.name == "frechet":
        text = (
            f"Frechet distance at infinite n of {candidate}, less the share of {baseline}'s that "
            f"is allowed: {found.estimate:+.4f} (95% interval {found.low:+.4f} to "
            f"{found.high:+.4f}, n = {found.n} images); equal quality needs 0 or less."
        )
        if floor is not None:
            text += f" Fresh reference renders stand at {floor:.4f}."
    else:
        text = (
            f"{found.name} of {candidate} less that of {baseline}: {_points(found.estimate)} "
            f"points (95% interval {_points(found.low)} to {_points(found.high)}, "
            f"{found.n} {found.unit}); {aim} quality needs {_points(found.threshold)} or more."
        )
    supports = found.passes and found.enough
    needed, more = found.needed, ""
    if found.estimate is not None and not supports and needed is not None and found.n < needed:
        more = f"About {needed:,} {found.unit} would decide."
        if needed > _BEYOND * found.n:
            more = "At this estimate it lies at the margin, and no number would decide."
    part = Part(
        name=name,
        outcome="inconclusive",
        estimate=found.estimate,
        low=found.low,
        high=found.high,
        threshold=found.threshold,
        n=found.n,
        unit=found.unit,
        reason=text,
    )
    return Finding(part=part, supports=supports, p_refuted=found.p_worse, more=more)


def _controls(table: Table, claim: Claim) -> Finding:
    """Each injected defect, judged as a candidate against clean renders, must be rejected."""
    name = "controls"
    missing = [c for c in ("control:reference", *DEFECTS) if not table.rows(c)]
    if missing:
        reason = f"The controls were not all run ({', '.join(missing)} missing), so equal quality "
        return Finding(part=unmeasured(name, None, f"{reason}cannot be shown."))
    if any(e.metric == "verified" for e in claim.endpoints):
        means = table.by_prompt("control:reference", "verified")
        clean = None if means is None else share_interval(means.values())
        if clean is None or (clean.high is not None and clean.high < _VERIFIER):
            value = "none" if clean is None else f"{clean.estimate:.1%}"
            reason = f"The verifier accepts {value} of clean reference renders; it needs 98%."
            return Finding(part=unmeasured(name, None, reason))
    outcomes: dict[str, Outcome] = {}
    equal = replace(claim, endpoints=tuple(_as_equal(e) for e in claim.endpoints))
    for control in DEFECTS:
        parts = decide(_endpoints(table, equal, control, "control:reference"), claim.alpha)
        outcomes[control] = first(part.outcome for part in parts)
    accepted = [c for c, outcome in outcomes.items() if outcome == "supported"]
    open_ = [c for c, outcome in outcomes.items() if outcome not in ("refuted", "supported")]
    if accepted:
        reason = f"Injected defects passed as equal quality ({', '.join(accepted)})."
        return Finding(part=unmeasured(name, None, reason))
    n = len(table.pooled(DEFECTS[0]))
    if open_:
        reason = (
            f"With {n} images the injected defects {', '.join(open_)} are not yet told from clean "
            "renders, so equal quality cannot be shown at this size."
        )
        return Finding(
            part=Part(name=name, outcome="inconclusive", n=n, unit="images", reason=reason)
        )
    reason = (
        "Every injected defect (blur, JPEG at 30, shuffled prompts, dropped modes) was rejected."
    )
    part = Part(name=name, outcome="inconclusive", n=n, unit="images", reason=reason)
    return Finding(part=part, supports=True)


def _as_equal(endpoint: Endpoint) -> Endpoint:
    """What a defect is held to: asked to be better, it would be rejected without a test."""
    return replace(endpoint, kind="difference") if endpoint.kind == "superiority" else endpoint


def _bar(table: Table, claim: Claim) -> Finding:
    """The baseline's own quality, so that equal quality means something."""
    baseline, name = table.evidence.baseline, "baseline's bar"
    texts: list[str] = []
    outcomes: list[Outcome] = ["supported"]
    for metric, limit in sorted(claim.baseline_bar.items()):
        if metric == "verified":
            means = table.by_prompt(baseline, "verified")
            share = None if means is None else share_interval(means.values())
            ends = None if share is None else (share.estimate, share.low, share.high)
            sign, kind = 1.0, "at least"
        else:
            found = frechet_share(table, baseline)
            ends = None if found is None else found[:3]
            sign, kind = -1.0, "at most"
        label = "verified content" if metric == "verified" else "Frechet share of total variance"
        if ends is None or ends[1] is None or ends[2] is None:
            outcomes.append("inconclusive")
            texts.append(
                f"{label} of {baseline} needs more images to be held to {kind} {limit:.0%}"
            )
            continue
        worst, best = (ends[1], ends[2]) if sign > 0 else (ends[2], ends[1])
        if sign * (best - limit) < 0:
            outcomes.append("not_measured")
        elif sign * (worst - limit) < 0:
            outcomes.append("inconclusive")
        texts.append(f"{label} of {baseline} is {ends[0]:.1%}, asked {kind} {limit:.0%}")
    outcome = first(outcomes)
    reason = ("; ".join(texts) or "No bar is set for the baseline") + "."
    part = Part(name=name, outcome=outcome, reason=reason)
    return Finding(part=part, supports=outcome == "supported")


def worst_category(table: Table) -> list[str]:
    """The category with the largest loss, and those that lose after Holm's correction."""
    ours, theirs = table.evidence.candidate, table.evidence.baseline
    found: list[tuple[float, float, str]] = []
    for category in sorted({row.category for row in table.rows(ours)}):
        a = table.by_prompt(ours, "verified", category)
        b = table.by_prompt(theirs, "verified", category)
        if a is None or b is None or sorted(a) != sorted(b) or len(a) < 2:
            continue
        result = non_inferiority([a[p] - b[p] for p in a], 0.0)
        found.append((result.estimate, result.p_inferior, category))
    if not found:
        return []
    adjusted = holm([p for _, p, _ in found])
    losing = [c for (_, _, c), p in zip(found, adjusted, strict=True) if p <= ALPHA]
    estimate, _, category = min(found)
    text = f"Worst category in verified content: {category}, {100 * estimate:+.1f} points."
    if losing:
        text += f" Worse than the baseline after Holm's correction: {', '.join(losing)}."
    return [text]


def _points(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:+.1f}"
