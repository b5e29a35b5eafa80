"""Verdicts in plain words: badge, figure with its unit and method, and the answer on top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.records import Claim
from reports import numbers
from reports.costs import Factor

__all__ = ["OUTCOMES", "VerdictCard", "answer", "goal", "verdict_cards"]

Row = dict[str, Any]
_COUNTED = ("prompts", "images")
_DIRECTIONS = {"at_least": "at least ", "at_most": "at most "}
_UNITS = {
    "energy": "times",
    "processor_time": "times",
    "latency": "s",
    "active_fraction": "share",
    "gate_share": "share",
    "size": "times",
    "served_energy": "times",
    "told_apart": "share",
    "kwh_per_1000": "kWh",
    "above_landauer": "times",
}

# outcome -> (badge, what it licenses)
OUTCOMES: Mapping[str, tuple[str, str]] = {
    "supported": ("Supported", "Every part of the claim passed."),
    "refuted": ("Refuted", "The evidence contradicts the claim."),
    "inconclusive": ("Inconclusive", "There is too little evidence to decide either way."),
    "not_measured": ("Not measured", "The evidence this claim asks for is not in the bundle."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictCard:
    """One claim and its answer; figures are written out, the unit and the method beside them."""

    claim: str
    statement: str
    scope: str
    outcome: str
    badge: str
    meaning: str
    estimate: str
    interval: str
    asked: str
    method: str
    reasons: tuple[str, ...]
    parts: tuple[Row, ...]
    others: tuple[VerdictCard, ...] = ()


def _value_unit(part: Row) -> str:
    """The unit of a part's figures; endpoints count their n in `unit` and differ by metric."""
    if part["unit"] not in _COUNTED:
        return part["unit"]
    return "signed" if "frechet" in part["name"] else "points"


def _method_of(claim: Claim | None, scope: str, found: Sequence[Factor]) -> str:
    if claim is None or claim.quantity != "energy":
        return ""
    boundary = next((f for f in found if f.what in scope.split()), None)
    return boundary.method if boundary else ""


def _card(verdict: Row, claim: Claim | None, found: Sequence[Factor]) -> VerdictCard:
    badge, meaning = OUTCOMES[verdict["outcome"]]
    head = verdict["evidence"][0] if verdict["evidence"] else None
    unit = _value_unit(head) if head else ""
    if not unit and claim is not None:
        unit = _UNITS.get(claim.quantity, "")
    words = _DIRECTIONS.get(claim.direction or "at_least", "") if claim else ""
    threshold, reasons = verdict["threshold"], tuple(verdict["reasons"])
    known = {part["reason"] for part in verdict["evidence"][1:]}
    return VerdictCard(
        claim=verdict["claim"],
        statement=_sentence(claim.statement if claim else verdict["claim"]),
        scope=verdict["scope"],
        outcome=verdict["outcome"],
        badge=badge,
        meaning=meaning,
        estimate="" if verdict["estimate"] is None else numbers.quantity(verdict["estimate"], unit),
        interval=numbers.interval(verdict["low"], verdict["high"], unit),
        asked="" if threshold is None else words + numbers.quantity(threshold, unit),
        method="" if verdict["estimate"] is None else _method_of(claim, verdict["scope"], found),
        reasons=tuple(r for i, r in enumerate(reasons) if i == 0 or r not in known),
        parts=tuple(_part(part) for part in verdict["evidence"]),
    )


def verdict_cards(
    verdicts: Sequence[Row], claims: Mapping[str, Claim], found: Sequence[Factor]
) -> tuple[VerdictCard, ...]:
    """One card a claim; the same claim in another scope goes into the card's `others`."""
    cards: dict[str, VerdictCard] = {}
    for verdict in verdicts:
        card = _card(verdict, claims.get(verdict["claim"]), found)
        main = cards.get(card.claim)
        cards[card.claim] = card if main is None else replace(main, others=(*main.others, card))
    return tuple(cards.values())


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _part(part: Row) -> Row:
    unit = _value_unit(part)
    counted = f" {part['unit']}" if part["unit"] in _COUNTED else ""
    estimate = numbers.quantity(part["estimate"], unit)
    interval = numbers.interval(part["low"], part["high"], unit)
    facts = [
        f"found {estimate} {interval}".rstrip() if part["estimate"] is not None else "",
        f"asked for {numbers.quantity(part['threshold'], unit)}"
        if part["threshold"] is not None
        else "",
        f"n = {numbers.count(part['n'])}{counted}" if part["n"] is not None else "",
    ]
    return {
        "facts": ", ".join(f for f in facts if f),
        "name": part["name"],
        "outcome": part["outcome"],
        "badge": OUTCOMES[part["outcome"]][0],
        "estimate": estimate,
        "interval": interval,
        "threshold": numbers.quantity(part["threshold"], unit),
        "n": numbers.MISSING if part["n"] is None else numbers.count(part["n"]) + counted,
        "reason": part["reason"],
    }


def goal(claims: Mapping[str, Claim]) -> float | None:
    """Return the factor that is claimed, of energy before processor time; None where none is."""
    for quantity in ("energy", "processor_time"):
        for claim in claims.values():
            if claim.quantity == quantity:
                return claim.threshold
    return None


def answer(
    cards: Sequence[VerdictCard], claims: Mapping[str, Claim], candidate: str, baseline: str
) -> tuple[tuple[str, str], ...]:
    """One sentence in pieces (text, outcome or ""): the energy claim, then processor time."""
    said: list[tuple[str, str]] = []
    for quantity, noun in (("energy", "energy"), ("processor_time", "processor time")):
        card = next(
            (c for c in cards if c.claim in claims and claims[c.claim].quantity == quantity), None
        )
        if card is None:
            continue
        claim = claims[card.claim]
        wanted = numbers.significant(claim.threshold or 1.0)
        need = f"{_DIRECTIONS[claim.direction or 'at_least']}{wanted} times less {noun}"
        equal = " with pictures as good" if claim.endpoints else ""
        if any(endpoint.kind == "superiority" for endpoint in claim.endpoints):
            equal = " with better pictures"
        lead = f"; that it needs {need}{equal} is "
        if not said:
            lead = f"The claim that {candidate} needs {need} per image than {baseline}{equal} is "
        said += [(lead, ""), (card.badge.lower(), card.outcome)]
        told = [" ".join(x for x in (card.estimate, card.interval) if x), card.method]
        told += _decided_elsewhere(card)
        if any(told):
            said.append((f" ({', '.join(x for x in told if x)})", ""))
    if not said:
        return (("No claim about energy or processor time was judged in this audit.", ""),)
    return (*said, (".", ""))


def _decided_elsewhere(card: VerdictCard) -> list[str]:
    """Which part decided, where it was not the figure that is shown."""
    deciding = [p["name"] for p in card.parts if p["outcome"] == card.outcome]
    shown = card.parts[0]["name"] if card.parts else ""
    return [f"decided by {name}" for name in deciding[:1] if name != shown]
