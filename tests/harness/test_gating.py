"""The gate's share, from made-up replays."""

import dataclasses

import numpy as np
import pytest
from made_evidence import evidence, judged

from suites.claims import load_claims

GATE = load_claims(["gating-negligible"])[0]


def with_gate(share, spread, rounds=20, own=True, **changes):
    """Replays in which the gate takes a share of the processor time, with noise between rounds."""
    found, rng = evidence(n=0, controls=False), np.random.default_rng(3)
    for n in range(rounds):
        costs = {"whole": 1.0, "decided": 1 - 0.8 * share, "resident": 1 - 0.9 * share}
        costs["gathered"] = 1 - share - rng.normal(0, spread)
        for stage, cost in costs.items():
            row = {**found.windows[0], "kind": "gate", "pair": n, "order": stage, "cpu_s": cost}
            found.windows.append(row | changes)
    return dataclasses.replace(found, settings={"own_systems": ["un0"] if own else []})


def test_the_gates_share_is_decided_by_its_upper_end():
    outcomes = [
        judged(with_gate(share, spread), GATE)[0].outcome
        for share, spread in ((0.01, 0.005), (0.2, 0.005), (0.029, 0.005), (0.01, 0.1))
    ]
    assert outcomes == ["supported", "refuted", "inconclusive", "inconclusive"]
    assert judged(with_gate(0.3, 0.1), GATE)[0].outcome == "refuted"  # wide, and far beyond
    verdict = judged(with_gate(0.01, 0.001), GATE)[0]
    assert verdict.estimate == pytest.approx(0.01, abs=1e-3)
    assert "decision 0.80%" in verdict.reasons[0] and "dispatch 0.19%" in verdict.reasons[0]


def test_a_replay_counts_when_whole_and_supports_only_by_our_own_code():
    assert judged(with_gate(0.01, 0.005, rounds=4), GATE)[0].outcome == "not_measured"
    assert judged(with_gate(0.01, 0.005, void=True), GATE)[0].outcome == "not_measured"
    hiccup = with_gate(0.01, 0.005)
    hiccup.windows[-1] |= {"void": True, "reason": "a request of it failed"}
    verdict = judged(hiccup, GATE)[0]
    assert (verdict.outcome, verdict.evidence[0].n) == ("supported", 19)
    assert judged(with_gate(0.01, 0.005, own=False), GATE)[0].outcome == "not_measured"
    assert judged(with_gate(0.2, 0.005, own=False), GATE)[0].outcome == "refuted"
    assert judged(evidence(n=0, controls=False), GATE)[0].outcome == "not_measured"
