"""Joules of an image at request rates, and how far open-loop runs lie from them, written out."""

from __future__ import annotations

from typing import Any

from harness.load import Load, checks, loads
from harness.records import Evidence
from reports import numbers

__all__ = ["rates", "rates_checked"]


def rates(evidence: Evidence) -> tuple[dict[str, Any], ...]:
    """A row a rate: what both systems take for an image there, and the factor; () without any."""
    node = next((b for b in evidence.boundaries if b.name == "node"), None)
    if node is None:
        return ()
    return tuple(
        {
            "what": ours.what,
            "rate": f"{numbers.significant(ours.rate)}/s",
            "ours": _told(ours),
            "theirs": _told(theirs),
            "factor": numbers.ratio(theirs.joules / ours.joules),
            "times": theirs.joules / ours.joules,
        }
        for ours, theirs in loads(evidence, node)
    )


def rates_checked(evidence: Evidence) -> tuple[str, ...]:
    """A sentence for each open-loop run."""
    node = next((b for b in evidence.boundaries if b.name == "node"), None)
    if node is None:
        return ()
    return tuple(
        f"{one.system} at {numbers.significant(one.rate)} requests a second, {one.batch} at once: "
        f"{numbers.joules(one.measured_j)} an image in an open-loop run, "
        f"{numbers.joules(one.derived_j)} derived ({one.off:+.1%})."
        for one in checks(evidence, node)
    )


def _told(load: Load) -> str:
    nodes = f"{load.nodes:,} node{'s' if load.nodes > 1 else ''}"
    return f"{numbers.joules(load.joules)} on {nodes}, {load.batch} at once"
