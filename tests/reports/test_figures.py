"""Positions in a figure."""

from __future__ import annotations

import pytest

from reports.costs import Cost, Factor
from reports.figures import cost_plot, factor_plot, idle_bars, quality_plot
from reports.view import CategoryRow


def _factor(estimate: float | None, **more) -> Factor:
    return Factor(what="node", detail="processor", estimate=estimate, **more)


def test_factors_lie_on_a_log_axis_with_the_claim_as_a_line() -> None:
    plot = factor_plot([_factor(10.0, low=1.0, high=100.0)], 1000.0)
    assert plot is not None
    assert [label for _, label in plot.axis.ticks] == ["1×", "10×", "100×", "1,000×", "10,000×"]
    mark = plot.lanes[0].marks[0]
    assert (mark.low, mark.x, mark.high) == (0.0, 25.0, 50.0)  # 0, 1 and 2 of four decades
    assert plot.line == (75.0, "claimed 1,000×")


def test_factor_below_one_widens_the_axis() -> None:
    plot = factor_plot([_factor(0.05)], None)
    assert plot is not None
    assert plot.axis.ticks[0] == (0.0, "0.01×")
    assert plot.axis.place(1.0) > plot.axis.place(0.05)


def test_missing_factor_keeps_its_reason_and_has_no_mark() -> None:
    plot = factor_plot([_factor(2.0), _factor(None, reason="RAPL is not readable")], 1000.0)
    assert plot is not None
    assert plot.lanes[1].marks == () and plot.lanes[1].note == "RAPL is not readable"
    assert factor_plot([_factor(None, reason="no meter")], 1000.0) is None


def test_category_without_a_score_has_no_mark_and_series_keep_their_place() -> None:
    score = {"value": 0.25, "low": 0.1, "high": None, "n": 4}
    rows = [CategoryRow(label="text", cells=(None, score), pooled=False)]
    plot = quality_plot(rows, ["un0", "dense"])
    assert plot is not None
    (mark,) = plot.lanes[0].marks
    assert (mark.series, mark.x, mark.low, mark.high) == (1, 25.0, 10.0, None)


def test_every_window_is_a_line_and_idle_is_a_share() -> None:
    cost = Cost(
        system="un0",
        what="node",
        unit="J",
        mean=0.02,
        values=(0.01, 0.03),
        idle=0.25,
        method="counter",
    )
    plot = cost_plot([cost], "node")
    assert plot is not None
    assert plot.lanes[0].marks[0].small == (0.0, pytest.approx(47.712, abs=1e-3))  # log10(3)
    (bar,) = idle_bars([cost], "node")
    assert (bar.idle, bar.work, bar.text) == (25.0, 75.0, "5.00 mJ idle, 15.0 mJ work")
