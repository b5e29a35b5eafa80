"""What a part of a verdict found, and how parts become outcomes: Holm, then precedence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from harness.records import Outcome, Part
from harness.stats import holm

__all__ = ["Finding", "decide", "first", "unmeasured"]

_PRECEDENCE: tuple[Outcome, ...] = ("refuted", "not_measured", "inconclusive", "supported")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A part before Holm: `supports` where it passes, `p_refuted` None where it cannot refute.

    `more` says what else would decide; it is told unless the part is refuted.
    """

    part: Part
    supports: bool = False
    p_refuted: float | None = None
    more: str = ""


def decide(findings: Sequence[Finding], alpha: float) -> tuple[Part, ...]:
    """Outcome of each part: refuted by Holm's adjusted p, supported where it passes."""
    testable = [i for i, f in enumerate(findings) if f.p_refuted is not None]
    adjusted = holm([findings[i].p_refuted or 0.0 for i in testable])
    refuted = {i for i, p in zip(testable, adjusted, strict=True) if p <= alpha}
    parts = []
    for i, finding in enumerate(findings):
        outcome, reason = finding.part.outcome, finding.part.reason
        if i in refuted:
            outcome = "refuted"
        elif finding.supports:
            outcome = "supported"
        if finding.more and outcome != "refuted":
            reason = f"{reason} {finding.more}"
        parts.append(replace(finding.part, outcome=outcome, reason=reason))
    return tuple(parts)


def first(outcomes: Iterable[Outcome]) -> Outcome:
    """The outcome of a whole: refuted before not_measured, inconclusive, supported."""
    found = set(outcomes)
    return next(o for o in _PRECEDENCE if o in found)


def unmeasured(name: str, threshold: float | None, reason: str) -> Part:
    """A part without admissible evidence, and why."""
    return Part(name=name, outcome="not_measured", threshold=threshold, reason=reason)
