"""Verified content against what an image takes: who is cheaper and better than whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports import numbers
from reports.costs import Cost
from reports.figures import Axis, decades

__all__ = ["Dot", "Known", "Pareto", "of_audit", "pareto"]

Ends = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A system with its cost and its share of verified content, and 95% intervals where known.

    Without a `series`, by which other figures mark it, it is marked by whether it is beaten.
    """

    name: str
    label: str
    cost: float
    verified: float
    title: str
    series: int | None = None
    cost_ends: Ends | None = None
    verified_ends: Ends | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """A system in the plot, in percent; `first` where none is both cheaper and better.

    Labels stand above and below in turns, in order of cost.
    """

    name: str
    label: str
    x: float
    y: float
    first: bool
    series: int
    above: bool
    title: str
    across: Ends | None
    upward: Ends | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pareto:
    """The plot; `frontier` are the places of those that are first, cheapest first.

    It is empty of two systems, whom no line orders.
    """

    title: str
    across: Axis
    upward: Axis
    dots: tuple[Dot, ...]
    frontier: tuple[Ends, ...]


def pareto(
    title: str, systems: Sequence[Known], write: Callable[[float, int], str]
) -> Pareto | None:
    """Costs on a log axis whose ticks `write` writes; None of fewer than two systems."""
    if len(systems) < 2:
        return None
    costs = [one.cost for one in systems]
    across = decades([*costs, *(end for one in systems for end in one.cost_ends or ())], write)
    ticks = tuple((float(p), f"{p}%") for p in (0, 25, 50, 75, 100))
    upward = Axis(low=0.0, high=1.0, log=False, ticks=ticks)
    unbeaten = [one for one in systems if not any(_beats(other, one) for other in systems)]
    by_cost = sorted(systems, key=lambda one: one.cost)
    dots = tuple(
        Dot(
            name=one.name,
            label=one.label,
            above=by_cost.index(one) % 2 == 0,
            x=across.place(one.cost),
            y=round(100 - upward.place(one.verified), 3),
            first=one in unbeaten,
            series=one.series if one.series is not None else 0 if one in unbeaten else 2,
            title=one.title,
            across=one.cost_ends and _places(across, one.cost_ends),
            upward=one.verified_ends and _places(upward, one.verified_ends),
        )
        for one in systems
    )
    frontier = tuple(sorted((dot.x, dot.y) for dot in dots if dot.first))
    return Pareto(
        title=title,
        across=across,
        upward=upward,
        dots=dots,
        frontier=frontier if len(dots) > 2 else (),
    )


def _beats(one: Known, other: Known) -> bool:
    return (
        one.cost <= other.cost
        and one.verified >= other.verified
        and (one.cost < other.cost or one.verified > other.verified)
    )


def _places(axis: Axis, ends: Ends) -> Ends:
    return axis.place(ends[0]), axis.place(ends[1])


def of_audit(
    costs: Sequence[Cost], verified: Mapping[str, Mapping[str, Any] | None]
) -> Pareto | None:
    """The systems of one audit, by their rows of verified content.

    The cost is joules of the node where a meter read them, else processor time, else joules of a
    model; None where fewer than two systems have both figures.
    """
    joules = [one for one in costs if one.what == "node" and one.mean]
    seconds = [one for one in costs if one.what == "processor time" and one.mean]
    modelled = any(one.method == "modelled" for one in joules)
    chosen = seconds if (modelled and seconds) or not joules else joules
    known = []
    for series, cost in enumerate(chosen):
        row = verified.get(cost.system)
        if row is None or row["value"] is None or cost.mean is None:
            continue
        shares = (row["low"], row["high"]) if None not in (row["low"], row["high"]) else None
        words = numbers.interval(row["low"], row["high"], "share")
        taken = numbers.quantity(cost.mean, cost.unit)
        known.append(
            Known(
                name=cost.system,
                label=cost.system,
                series=series,
                cost=cost.mean,
                verified=row["value"],
                title=f"{cost.system}: {taken} {cost.method} an image, "
                f"{numbers.percent(row['value'])} {words} verified".replace("  ", " "),
                cost_ends=cost.ends,
                verified_ends=shares,
            )
        )
    if chosen is seconds:
        return pareto(
            "Verified content, against processor time of an image", known, numbers.seconds
        )
    method = f" ({joules[0].method})" if joules[0].method else ""
    return pareto(
        f"Verified content, against joules of the node an image{method}", known, numbers.joules
    )
