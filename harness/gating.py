"""The gate's share of the processor time of an image, from the replays of a bundle.

decision   what is saved where the neurons are known beforehand
dispatch   what is saved further where they are fetched beforehand
residency  what is saved where no other neuron is in memory; told, and not part of the share
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from harness.findings import Finding, unmeasured
from harness.records import GATE_STAGES, Claim, Evidence, Part
from harness.stats import ALPHA, cluster_interval, non_inferiority

__all__ = ["gate_share"]

NAME = "the gate's share of processor time"
MIN_ROUNDS = 5  # each of a start of its own
WIDEST = 0.01  # half an interval; a wider one cannot support


def gate_share(evidence: Evidence, claim: Claim) -> Finding:
    """Decision and dispatch over the whole, a share a round; the upper end against the limit.

    The replay is the system's own code: of a system that is not one of this repository's it is
    believed against the system's interest only.
    """
    assert claim.threshold is not None  # the loader refuses the claim without one
    rounds: dict[int, dict[str, float]] = {}
    faults: dict[int, str] = {}
    for row in evidence.windows:
        if row["kind"] != "gate" or row["system"] != evidence.candidate:
            continue
        if row["void"]:
            faults[row["pair"]] = f"{row['order']}: {row['reason']}"
        else:
            rounds.setdefault(row["pair"], {})[row["order"]] = row["cpu_s"] / row["requests"]
    whole_rounds = [r for n, r in rounds.items() if n not in faults and len(r) == len(GATE_STAGES)]
    cost = {stage: np.array([one[stage] for one in whole_rounds]) for stage in GATE_STAGES}
    whole = cost["whole"]
    if len(whole) < MIN_ROUNDS:
        reason = (
            f"{len(whole)} rounds of replay count; {MIN_ROUNDS} would decide."
            if rounds or faults
            else "The candidate's gate was not replayed: the system offers no replay, or does not "
            "work on local processors alone."
        )
        reason += "".join(
            f" A round does not count ({fault})." for fault in list(faults.values())[:1]
        )
        return Finding(part=unmeasured(NAME, claim.threshold, reason))
    shares = (whole - cost["gathered"]) / whole
    found = cluster_interval(shares)
    assert found.low is not None and found.high is not None  # MIN_ROUNDS or more
    decision, dispatch, residency = (
        float(np.mean(part / whole))
        for part in (
            whole - cost["decided"],
            cost["decided"] - cost["gathered"],
            cost["decided"] - cost["resident"],
        )
    )
    reason = (
        f"Replays with equal images, {len(whole)} rounds: the gate takes {found.estimate:.2%} of "
        f"{whole.mean() * 1e6:,.0f} us a picture (decision {decision:.2%}, dispatch "
        f"{dispatch:.2%}), 95% interval {found.low:.2%} to {found.high:.2%}; holding the whole "
        f"pool in memory {residency:.2%} besides."
    )
    part = Part(
        name=NAME,
        outcome="inconclusive",
        estimate=found.estimate,
        low=found.low,
        high=found.high,
        threshold=claim.threshold,
        n=len(whole),
        unit="share",
        reason=reason,
    )
    p_above = non_inferiority(-shares, claim.threshold, ALPHA).p_inferior
    if evidence.candidate not in evidence.settings.get("own_systems", ()):
        told = f"{reason} The replay is the system's own code, and cannot support a claim of it."
        return Finding(part=replace(part, outcome="not_measured", reason=told), p_refuted=p_above)
    if found.high - found.low > 2 * WIDEST:
        told = f"{reason} The interval is wider than {WIDEST:.0%} either way: too wide to support."
        return Finding(part=replace(part, reason=told), p_refuted=p_above)
    return Finding(part=part, supports=found.high <= claim.threshold, p_refuted=p_above)
