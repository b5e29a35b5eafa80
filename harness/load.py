"""Joules of an image at a request rate: derived from windows at several batches, and checked.

A fleet is always on: ceil(rate / (0.7 capacity)) nodes, each drawing its idle power and, for every
image, what its batch adds to that. Of the batches that were metered the cheapest serves, but none
that would keep a request waiting for its fellows beyond a second. Both systems get the same rates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from harness.attribute import idle_j, per_image, windows_of
from harness.records import Boundary, Evidence

__all__ = ["Check", "Load", "Point", "checks", "loads", "points"]

UTILISED = 0.7  # of a node's capacity, at most
SLACK = 1e-9  # a thousand nodes' rate needs no 1,001st, whatever the last bit says
PATIENCE_S = 1.0  # for a batch to fill
HOUR_S = 3600.0
NODES = 1000  # a fleet of so many baseline nodes is the last rate
HALF = 0.5  # of one baseline node: the rate that is compared


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A batch of a system on one node: images a second, watts at idle, joules an image adds."""

    batch: int
    rate: float
    idle_w: float
    added_j: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What an image takes at a rate (requests a second), on how many nodes, at which batch."""

    system: str
    rate: float
    joules: float
    nodes: int
    batch: int
    what: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A real open-loop run beside what is derived for it: requests that came at random times."""

    system: str
    batch: int
    rate: float
    measured_j: float
    derived_j: float

    @property
    def off(self) -> float:
        """How far the derived figure lies from the measured one, as a share of the latter."""
        return self.derived_j / self.measured_j - 1


def points(evidence: Evidence, system: str, boundary: Boundary) -> list[Point]:
    """A point for each batch that was metered; none where joules or idle power are missing."""
    found: dict[int, list[Point]] = {}
    for rows in windows_of(evidence, system, "batch").values():
        window, waiting_j = rows[0], idle_j(rows, boundary)
        joules = per_image(rows, boundary).value
        if joules is None or waiting_j is None:
            continue
        images = window["requests"] - window["failures"]
        point = Point(
            batch=window["batch"],
            rate=images / window["duration_s"],
            idle_w=waiting_j * images / window["duration_s"],
            added_j=max(joules - waiting_j, 0.0),
        )
        found.setdefault(point.batch, []).append(point)
    return [
        Point(
            batch=batch,
            rate=fmean(p.rate for p in some),
            idle_w=fmean(p.idle_w for p in some),
            added_j=fmean(p.added_j for p in some),
        )
        for batch, some in sorted(found.items())
    ]


def at(system: str, known: Sequence[Point], rate: float, what: str = "") -> Load:
    """The cheapest way to serve a rate with the batches that were metered."""
    fit = [p for p in known if p.batch / rate <= PATIENCE_S] or [min(known, key=lambda p: p.batch)]
    ways = []
    for point in fit:
        nodes = max(1, math.ceil(rate / (UTILISED * point.rate) - SLACK))
        joules = nodes * point.idle_w / rate + point.added_j
        ways.append(
            Load(
                system=system,
                rate=rate,
                joules=joules,
                nodes=nodes,
                batch=point.batch,
                what=what,
            )
        )
    return min(ways, key=lambda way: way.joules)


def loads(evidence: Evidence, boundary: Boundary) -> list[tuple[Load, Load]]:
    """Candidate and baseline at the same rates, from one request an hour to a thousand nodes."""
    names = (evidence.candidate, evidence.baseline)
    known = [points(evidence, name, boundary) for name in names]
    if not all(known):
        return []
    node = UTILISED * max(point.rate for point in known[1])
    rates = {
        "one an hour": 1 / HOUR_S,
        "one a minute": 1 / 60,
        "one a second": 1.0,
        "half a baseline node": HALF * node / UTILISED,
        "a baseline node": node,
        f"{NODES:,} baseline nodes": NODES * node,
    }
    ordered = sorted(rates.items(), key=lambda item: item[1])
    return [
        (at(names[0], known[0], rate, what), at(names[1], known[1], rate, what))
        for what, rate in ordered
    ]


def checks(evidence: Evidence, boundary: Boundary) -> list[Check]:
    """Each open-loop run beside the joules derived for its batch and rate on one node."""
    found = []
    for system in (evidence.candidate, evidence.baseline):
        known = {point.batch: point for point in points(evidence, system, boundary)}
        for rows in windows_of(evidence, system, "open").values():
            window, joules = rows[0], per_image(rows, boundary).value
            point = known.get(window["batch"])
            if joules is None or point is None:
                continue
            rate = (window["requests"] - window["failures"]) / window["duration_s"]
            found.append(
                Check(
                    system=system,
                    batch=point.batch,
                    rate=rate,
                    measured_j=joules,
                    derived_j=point.idle_w / rate + point.added_j,
                )
            )
    return found
