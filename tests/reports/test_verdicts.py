"""The sentence on top says which claim was judged, and what decided it."""

from harness.records import Claim, Endpoint
from reports.verdicts import answer, verdict_cards

EQUAL = (Endpoint(metric="verified", kind="difference", margin=0.03),)


def part(name, outcome, estimate=None, unit="times"):
    ends = {"low": estimate, "high": estimate, "threshold": 1000.0, "n": 6, "unit": unit}
    return {"name": name, "outcome": outcome, "estimate": estimate, **ends, "reason": ""}


def said(outcome, parts, **claim):
    fields = {"id": "c", "statement": "", "quantity": "energy", "direction": "at_least"}
    known = {"c": Claim(**{**fields, "threshold": 1000.0, "boundary": "node", **claim})}
    row = {"claim": "c", "scope": "s", "outcome": outcome, "evidence": parts, "reasons": []}
    row |= {key: parts[0][key] for key in ("estimate", "low", "high", "threshold")}
    return "".join(text for text, _ in answer(verdict_cards([row], known, []), known, "a", "b"))


def test_a_claim_refuted_by_its_quality_does_not_read_as_refuted_by_its_ratio():
    parts = [part("ratio", "supported", 1200.0), part("verified", "refuted", -0.2, "prompts")]
    text = said("refuted", parts, endpoints=EQUAL)
    assert "at least 1,000 times less energy per image than b with pictures as good" in text
    assert "decided by verified" in text
    assert "decided by" not in said("supported", [part("ratio", "supported", 1200.0)])


def test_the_direction_of_a_claim_is_told():
    text = said("supported", [part("ratio", "supported", 1.2)], direction="at_most", threshold=2.0)
    assert "needs at most 2.00 times less" in text
    assert "as good" not in text
