"""Geometry of the figures: scales, ticks and marks in percent of the width; markup is the page's.

Plain SVG with percentages rather than a plotting library's picture: text keeps its size on a phone,
colours follow the page's theme, and no library's version decides the bytes that `verify` compares.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports import numbers
from reports.apart import Step
from reports.costs import Cost, Factor
from reports.view import CategoryRow

__all__ = [
    "Axis",
    "Bar",
    "Lane",
    "Mark",
    "Plot",
    "cost_plot",
    "decades",
    "factor_plot",
    "idle_bars",
    "quality_plot",
    "rate_plot",
    "waterfall",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A scale from `low` to `high`, in powers of ten where `log`; ticks are (percent, label)."""

    low: float
    high: float
    log: bool
    ticks: tuple[tuple[float, str], ...]

    def place(self, value: float) -> float:
        """Return the position in percent of the width, kept inside the frame."""
        low, high = self.low, self.high
        if self.log:
            value, low, high = (math.log10(max(v, 1e-300)) for v in (value, low, high))
        return round(100 * min(max((value - low) / (high - low), 0.0), 1.0), 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A point with its interval, or one without (`low` and `high` None), in percent."""

    series: int
    x: float
    low: float | None
    high: float | None
    small: tuple[float, ...] = ()
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One row of a figure: its label, its marks, and the same in words at the end of the row."""

    label: str
    detail: str
    note: str
    marks: tuple[Mark, ...]
    text: str
    tag: str = ""
    strong: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A figure: lanes over one axis, with at most one line of reference."""

    title: str
    description: str
    axis: Axis
    lanes: tuple[Lane, ...]
    line: tuple[float, str] | None = None
    legend: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """Shares of one, in percent: idle and work."""

    label: str
    idle: float
    work: float
    text: str
    tag: str


def decades(values: Iterable[float], write: Callable[[float, int], str]) -> Axis:
    """A log axis of whole decades around the values."""
    known = [v for v in values if v > 0]
    first = math.floor(math.log10(min(known)) + 1e-9)
    last = math.ceil(math.log10(max(known)) - 1e-9)
    last = max(last, first + 1)
    step = max(1, math.ceil((last - first) / 5))
    ticks = []
    for power in range(first, last + 1, step):
        place = round(100 * (power - first) / (last - first), 3)
        ticks.append((place, write(10.0**power, 1)))
    return Axis(low=10.0**first, high=10.0**last, log=True, ticks=tuple(ticks))


def factor_plot(factors: Sequence[Factor], goal: float | None) -> Plot | None:
    """Factors on a log axis, with the claimed one as a line; None if none is known."""
    known = [f for f in factors if f.estimate is not None]
    if not known:
        return None
    values = [v for f in known for v in (f.estimate, f.low, f.high) if v is not None]
    axis = decades([*values, 1.0, 2 * (goal or 1.0)], numbers.ratio)
    lanes = []
    for factor in sorted(factors, key=lambda f: f.estimate is None):
        marks: tuple[Mark, ...] = ()
        text, note = "", factor.reason
        if factor.estimate is not None:
            text = numbers.ratio(factor.estimate)
            note = numbers.interval(factor.low, factor.high, "times")
            marks = (
                Mark(
                    series=0,
                    x=axis.place(factor.estimate),
                    low=None if factor.low is None else axis.place(factor.low),
                    high=None if factor.high is None else axis.place(factor.high),
                    title=f"{text} {note}",
                ),
            )
        lanes.append(
            Lane(
                label=factor.what,
                detail=factor.detail,
                note=note,
                marks=marks,
                text=text,
                tag=factor.method,
            )
        )
    line = None if goal is None else (axis.place(goal), f"claimed {numbers.ratio(goal)}")
    spoken = "; ".join(f"{x.label} {x.text or 'not measured'} {x.note} {x.tag}" for x in lanes)
    return Plot(
        title="How many times less the candidate spends per image",
        description=f"Log axis. {spoken}.",
        axis=axis,
        lanes=tuple(lanes),
        line=line,
    )


def rate_plot(rates: Sequence[Mapping[str, Any]]) -> Plot | None:
    """The factor at each request rate, on a log axis; None without any."""
    if not rates:
        return None
    axis = decades([1.0, *(row["times"] for row in rates)], numbers.ratio)
    lanes = tuple(
        Lane(
            label=row["what"] or row["rate"],
            detail=row["rate"] if row["what"] else "",
            note="",
            marks=(Mark(series=0, x=axis.place(row["times"]), low=None, high=None),),
            text=row["factor"],
        )
        for row in rates
    )
    spoken = "; ".join(f"{row['what']} {row['rate']} {row['factor']}" for row in rates)
    return Plot(
        title="The factor in joules against the load",
        description=f"Log axis. {spoken}.",
        axis=axis,
        lanes=lanes,
    )


def waterfall(steps: Sequence[Step]) -> Plot | None:
    """Each step from the product before it to its own, on a log axis; None without two."""
    if len(steps) < 2:
        return None
    axis = decades([1.0, *(step.product for step in steps)], numbers.ratio)
    lanes = []
    for step in steps:
        ends = (axis.place(step.product / step.times), axis.place(step.product))
        if step.total:
            ends = (axis.place(1.0), axis.place(step.product))
        series = 2 if step.total else 0 if step.times >= 1 else 1
        interval = numbers.interval(step.total.low, step.total.high, "times") if step.total else ""
        lanes.append(
            Lane(
                label=step.what,
                detail=step.source,
                note=interval if step.total else f"to {numbers.ratio(step.product)}",
                marks=(Mark(series=series, x=ends[1], low=min(ends), high=max(ends)),),
                text=numbers.ratio(step.product if step.total else step.times),
                tag=step.method,
                strong=step.total is not None,
            )
        )
    spoken = "; ".join(f"{lane.label} {lane.text} {lane.note}" for lane in lanes)
    return Plot(
        title="The factor taken apart",
        description=f"Log axis, every bar from the product before it. {spoken}.",
        axis=axis,
        lanes=tuple(lanes),
    )


def quality_plot(rows: Sequence[CategoryRow], systems: Sequence[str]) -> Plot | None:
    """Verified content by category from 0 to 100%, one mark a system; None if there is no score."""
    if not rows:
        return None
    ticks = tuple((float(p), f"{p}%") for p in (0, 25, 50, 75, 100))
    axis = Axis(low=0.0, high=1.0, log=False, ticks=ticks)
    lanes = []
    for row in rows:
        marks = []
        for series, cell in enumerate(row.cells):
            if cell is None or cell["value"] is None:
                continue
            bounds = [
                None if cell[end] is None else axis.place(cell[end]) for end in ("low", "high")
            ]
            words = numbers.interval(cell["low"], cell["high"], "share")
            marks.append(
                Mark(
                    series=series,
                    x=axis.place(cell["value"]),
                    low=bounds[0],
                    high=bounds[1],
                    title=f"{systems[series]} {numbers.percent(cell['value'])} {words}".strip(),
                )
            )
        lanes.append(
            Lane(
                label=row.label, detail="", note="", marks=tuple(marks), text="", strong=row.pooled
            )
        )
    return Plot(
        title="Images whose content was verified",
        description="Share of requests by category and system; the table below has every figure.",
        axis=axis,
        lanes=tuple(lanes),
        legend=tuple(systems),
    )


def cost_plot(costs: Sequence[Cost], what: str) -> Plot | None:
    """One quantity per image on a log axis: every window a tick, the mean a mark."""
    chosen = [c for c in costs if c.what == what]
    known = [c for c in chosen if c.mean]
    if not known:
        return None
    write = numbers.joules if known[0].unit == "J" else numbers.seconds
    axis = decades([v for c in known for v in c.values], write)
    lanes = []
    for series, cost in enumerate(chosen):
        marks: tuple[Mark, ...] = ()
        if cost.mean:
            marks = (
                Mark(
                    series=series,
                    x=axis.place(cost.mean),
                    low=None,
                    high=None,
                    small=tuple(axis.place(v) for v in cost.values),
                    title=f"{cost.system}: mean {write(cost.mean)}",
                ),
            )
        note = cost.reason or f"{len(cost.values)} windows"
        text = write(cost.mean) if cost.mean is not None else ""
        lanes.append(
            Lane(
                label=cost.system,
                detail="",
                note=note,
                marks=marks,
                text=text,
                tag=cost.method,
            )
        )
    title = "Processor time per image" if known[0].unit == "s" else f"Energy per image, {what}"
    spoken = "; ".join(f"{x.label} {x.text or 'not measured'}, {x.note}" for x in lanes)
    return Plot(title=title, description=f"Log axis. {spoken}.", axis=axis, lanes=tuple(lanes))


def idle_bars(costs: Sequence[Cost], what: str) -> tuple[Bar, ...]:
    """The share of joules per image that the machine would have drawn while idle."""
    bars = []
    for cost in costs:
        if cost.what != what or cost.idle is None or cost.mean is None:
            continue
        share = round(100 * min(max(cost.idle, 0.0), 1.0), 3)
        idle_j, work_j = cost.mean * cost.idle, cost.mean * (1 - cost.idle)
        text = f"{numbers.joules(idle_j)} idle, {numbers.joules(work_j)} work"
        bars.append(
            Bar(label=cost.system, idle=share, work=100 - share, text=text, tag=cost.method)
        )
    return tuple(bars)
