"""(Claim, evidence) -> Verdict: pure, deterministic, the same for an audit and for its check.

Parts: the ratio, latency or active fraction at the claim's own boundary; every quality endpoint;
the controls and the baseline's bar. A part whose evidence is inadmissible is `not_measured`, one
with too little of it `inconclusive`; over parts, refuted > not_measured > inconclusive >
supported. Refutation is corrected by Holm over a verdict's admissible parts; support needs every
part, so needs no correction.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from scipy import stats as distributions

from harness.findings import Finding, decide, first, unmeasured
from harness.gating import gate_share
from harness.metrics.conduct import elsewhere_differs, hurried, seeds_ignored
from harness.metrics.summary import Table, scores
from harness.metrics.two_sample import told_apart
from harness.quality import quality, worst_category
from harness.quantities import absolute, served, smaller
from harness.ranges import ranges
from harness.ratio import measured_ratio
from harness.records import Claim, Evidence, Outcome, Part, Score, Verdict
from harness.stats import fewest_trials_for_quantile, quantile_interval

__all__ = ["derive", "request_seconds"]

CONDUCT = {
    "an answer to each seed": seeds_ignored,
    "one request like another": hurried,
    "the same system everywhere": elsewhere_differs,
}
ALONE = (
    "latency",
    "active_fraction",
    "gate_share",
    "kwh_per_1000",
    "price",
    "above_landauer",
    "score",
)
_ACTIVE = "parameter_bytes"  # the definition of "active" that decides


def derive(evidence: Evidence, claims: Sequence[Claim]) -> tuple[list[Score], list[Verdict]]:
    """Scores of every system and verdicts on every claim, from the rows of a bundle alone."""
    table = Table(evidence)
    verdicts: list[Verdict] = []
    for claim in claims:
        main = _verdict(table, claim)
        verdicts.append(main)
        if claim.quantity == "energy":
            verdicts += _other_scopes(table, claim, main)
    return scores(table), verdicts


def _verdict(table: Table, claim: Claim) -> Verdict:
    evidence = table.evidence
    findings: list[Finding] = []
    if claim.quantity == "told_apart":
        findings.append(_told_apart(table, claim))
    elif claim.quantity in DECIDING:
        findings.append(DECIDING[claim.quantity](evidence, claim))
    findings += ranges(table, claim)
    if claim.endpoints:
        findings += quality(table, claim)
    findings += [
        Finding(part=unmeasured(name, None, f"{text}."))
        for name, check in CONDUCT.items()
        for system in _asked_of(evidence, claim)
        if (text := check(table, system))
    ]
    parts = decide(findings, claim.alpha)
    outcome = first(part.outcome for part in parts)
    head = parts[0]
    reasons = [part.reason for part in parts if part.outcome == outcome and part.reason]
    reasons += [part.reason for part in parts if part.outcome != outcome and part.reason]
    if claim.endpoints:
        reasons += worst_category(table)
    if claim.quantity in ("energy", "processor_time") and head.estimate is not None:
        reasons += _unoptimised(evidence)
    return Verdict(
        claim=claim.id,
        scope=_scope(evidence, claim),
        outcome=outcome,
        estimate=head.estimate,
        low=head.low,
        high=head.high,
        threshold=claim.threshold if claim.quantity != "quality" else head.threshold,
        evidence=parts,
        reasons=tuple(reasons),
    )


def _asked_of(evidence: Evidence, claim: Claim) -> tuple[str, ...]:
    """Whose conduct matters; of a score the candidate's alone, which no baseline has a part in."""
    both = (evidence.candidate, evidence.baseline)
    return both[:1] if claim.quantity == "score" else both


def _unoptimised(evidence: Evidence) -> list[str]:
    """What the baseline's card tells of a cheaper variant of it, which any factor hides."""
    notes = evidence.cards.get(evidence.baseline, {}).get("notes") or {}
    cheaper = str(notes.get("cheaper", ""))
    return [f"The factor is against an unoptimised baseline: {cheaper}"] if cheaper else []


# The deciding quantity --------------------------------------------------------------------------


def _ratio(evidence: Evidence, claim: Claim) -> Finding:
    """The ratio baseline / candidate against the claim's threshold, over AB+BA pairs."""
    assert claim.threshold is not None  # the loader refuses a ratio claim without one
    if claim.quantity == "processor_time":
        name, what = "processor-time ratio", "processor time"
        found = measured_ratio(evidence, None, training_images=claim.training_images)
    else:
        boundary = next((b for b in evidence.boundaries if b.name == claim.boundary), None)
        name, what = f"energy ratio ({claim.boundary}, gross)", f"energy ({claim.boundary})"
        if boundary is None:
            reason = f"The boundary {claim.boundary} is not defined in this audit."
            return Finding(part=unmeasured(name, claim.threshold, reason))
        found = measured_ratio(evidence, boundary)
    if found.ratio is None:
        outcome: Outcome = "inconclusive" if found.too_few else "not_measured"
        part = unmeasured(name, claim.threshold, found.reason)
        return Finding(part=replace(part, outcome=outcome, n=found.pairs))
    ratio, threshold = found.ratio, claim.threshold
    at_least = claim.direction == "at_least"
    passes = ratio.low >= threshold if at_least else ratio.high <= threshold
    part = Part(
        name=name,
        outcome="inconclusive",
        estimate=ratio.estimate,
        low=ratio.low,
        high=ratio.high,
        threshold=threshold,
        n=ratio.pairs,
        unit="times",
        reason=found.sentence(what, threshold),
    )
    if not found.admissible:
        reason = f"{found.reason} {part.reason}"
        return Finding(part=replace(part, outcome="not_measured", reason=reason))
    if ratio.pairs < max(claim.min_pairs, found.planned):
        need = max(claim.min_pairs, found.planned)
        reason = f"{part.reason} No verdict before {need} pairs; {ratio.pairs} are complete."
        return Finding(part=replace(part, reason=reason))
    p = ratio.p_below(threshold) if at_least else ratio.p_above(threshold)
    if claim.training_images and passes and not _is_own(evidence, evidence.candidate):
        told = "What training took is the candidate's own word, which supports nothing."
        return Finding(part=replace(part, outcome="not_measured", reason=f"{part.reason} {told}"))
    return Finding(part=part, supports=passes, p_refuted=p)


def _is_own(evidence: Evidence, system: str) -> bool:
    return system in (evidence.settings.get("own_systems") or ())


def _latency(evidence: Evidence, claim: Claim) -> Finding:
    """The 95th percentile of seconds a request at batch 1; a failed request never finished."""
    assert claim.threshold is not None
    name, limit = "latency, 95th percentile at batch 1", claim.threshold
    seconds = request_seconds(evidence, evidence.candidate)
    if not seconds:
        reason = "No request of the candidate was timed alone, at batch 1."
        return Finding(part=unmeasured(name, limit, reason))
    need = max(claim.min_trials, fewest_trials_for_quantile(0.95))
    p95 = quantile_interval(seconds, 0.95)
    told = ", ".join(
        f"p{round(q * 100)} {_ms(quantile_interval(seconds, q).estimate)}"
        for q in (0.5, 0.95, 0.99)
    )
    bound = "no upper bound yet" if p95.high is None else f"p95 at most {_ms(p95.high)}"
    few = "" if len(seconds) >= need else f" At least {need} requests are needed to support it."
    above = sum(s > limit for s in seconds)
    part = Part(
        name=name,
        outcome="inconclusive",
        estimate=_finite(p95.estimate),
        low=_finite(p95.low),
        high=_finite(p95.high),
        threshold=limit,
        n=len(seconds),
        unit="s",
        reason=f"One image at a time takes {told} over {len(seconds)} requests ({bound}); "
        f"the limit is {_ms(limit)}.{few}",
    )
    at_most = claim.direction == "at_most"
    p = float(
        distributions.binom.sf(above - 1, len(seconds), 0.05)
        if at_most
        else distributions.binom.cdf(above, len(seconds), 0.05)
    )
    end = p95.high if at_most else p95.low
    passes = end is not None and (end <= limit if at_most else end >= limit)
    return Finding(part=part, supports=passes and len(seconds) >= need, p_refuted=p)


def request_seconds(evidence: Evidence, system: str) -> list[float]:
    """Seconds of every request that a system served alone; a failed one never finished."""
    alone = {
        row["window"]
        for row in evidence.windows
        if row["kind"] == "latency" and row["batch"] == 1 and not row["void"]
    }
    return [
        math.inf if row["failure"] or row["latency_ns"] is None else row["latency_ns"] / 1e9
        for row in evidence.requests
        if row["window"] in alone and row["system"] == system
    ]


def _active(evidence: Evidence, claim: Claim) -> Finding:
    """The candidate's own count: believed against its interest, never for it."""
    assert claim.threshold is not None
    name, limit = "active share of parameter bytes", claim.threshold
    active = dict(evidence.cards.get(evidence.candidate, {}).get("active") or {})
    value = active.pop(_ACTIVE, None)
    if value is None:
        reason = (
            f"The candidate's card does not state the definition that decides ({_ACTIVE}: bytes "
            "read per image at batch 1 over bytes ever used)."
        )
        return Finding(part=unmeasured(name, limit, reason))
    others = ", ".join(f"{key} {share:.3%}" for key, share in sorted(active.items()))
    told = f"The candidate says of itself that {value:.3%} of its parameter bytes are active"
    told += f" (other definitions: {others})." if others else "."
    part = Part(
        name=name,
        outcome="not_measured",
        estimate=float(value),
        threshold=limit,
        unit="share",
        reason=told,
    )
    beyond = value > limit if claim.direction == "at_most" else value < limit
    if beyond:
        reason = f"{told} That is beyond {limit:.3%}, and against its own interest."
        return Finding(part=replace(part, reason=reason), p_refuted=0.0)
    reason = (
        f"{told} A self-reported figure cannot support a claim; an independent count is needed."
    )
    return Finding(part=replace(part, reason=reason))


def _told_apart(table: Table, claim: Claim) -> Finding:
    """How often a classifier knows whose picture it sees, by the judge's features."""
    assert claim.threshold is not None
    name, limit = "pictures told apart by a classifier", claim.threshold
    ours, theirs = table.evidence.candidate, table.evidence.baseline
    found = told_apart(table, ours, theirs)
    if isinstance(found, str):
        return Finding(part=unmeasured(name, limit, f"No classifier was tried: {found}."))
    blurred = told_apart(table, "control:blur", "control:reference")
    if isinstance(blurred, str) or blurred.low is None or blurred.low <= limit:
        reason = "Blurred renders are not told from clean ones here, so nothing else would be."
        return Finding(part=unmeasured(name, limit, reason))
    low, high = found.low, found.high
    assert low is not None and high is not None  # of ten prompts or more
    part = Part(
        name=name,
        outcome="inconclusive",
        estimate=found.estimate,
        low=low,
        high=high,
        threshold=limit,
        n=found.n,
        unit="share",
        reason=f"A linear discriminant gives {found.estimate:.1%} of held-out pictures to the "
        f"system that drew them (95% interval {low:.1%} to {high:.1%}, {found.n} prompts); chance "
        f"is 50%, asked at most {limit:.0%}, and as near to chance from below.",
    )
    error = (high - low) / 2 / distributions.t.ppf(1 - claim.alpha, found.n - 1)
    beyond = found.estimate - limit
    p = float(distributions.t.sf(beyond / error, found.n - 1)) if error else float(beyond <= 0)
    return Finding(part=part, supports=low >= 1 - limit and high <= limit, p_refuted=p)


DECIDING: Mapping[str, Callable[[Evidence, Claim], Finding]] = {
    "energy": _ratio,
    "processor_time": _ratio,
    "latency": _latency,
    "active_fraction": _active,
    "gate_share": gate_share,
    "size": smaller,
    "served_energy": served,
    "kwh_per_1000": absolute,
    "price": absolute,
    "above_landauer": absolute,
}


# Scopes -----------------------------------------------------------------------------------------


def _other_scopes(table: Table, claim: Claim, main: Verdict) -> list[Verdict]:
    """The device alone where the node was not read, and the press, which no audit here reaches."""
    found = []
    if claim.boundary != "device" and main.evidence[0].outcome == "not_measured":
        device = _verdict(table, replace(claim, boundary="device"))
        if device.evidence[0].outcome != "not_measured":
            found.append(device)
    reason = (
        "What is decided on this suite is decided there only. As stated in the press, the claim "
        "stays not measured until the claimant's own system is audited on natural pictures."
    )
    part = unmeasured("the claimant's own system", claim.threshold, reason)
    found.append(
        Verdict(
            claim=claim.id,
            scope="press",
            outcome="not_measured",
            estimate=None,
            low=None,
            high=None,
            threshold=claim.threshold,
            evidence=(part,),
            reasons=(reason,),
        )
    )
    return found


def _scope(evidence: Evidence, claim: Claim) -> str:
    """Suite, boundary, machine, and both systems with the first eight digits of their hash."""
    settings = evidence.settings
    suite = f"{settings.get('suite', 'suite')}:{settings.get('size', 'custom')}"
    where = [suite, *([claim.boundary] if claim.boundary else [])]
    where += [str(settings["machine"])] if settings.get("machine") else []
    pair = [_tagged(evidence, evidence.candidate)]
    if claim.quantity not in ALONE:
        pair += ["against", _tagged(evidence, evidence.baseline)]
    return " ".join([*where, *pair])


def _tagged(evidence: Evidence, system: str) -> str:
    card = evidence.cards.get(system, {})
    hashed = card.get("weights_sha256") or {"card": json.dumps(dict(card), sort_keys=True)}
    text = json.dumps(dict(hashed), sort_keys=True)
    return f"{system}@{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _finite(value: float | None) -> float | None:
    return None if value is None or value == math.inf else value


def _ms(seconds: float) -> str:
    return "never (failed)" if seconds == math.inf else f"{seconds * 1000:.1f} ms"
