"""Quality against cost: who is beaten, where marks stand, and which cost is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports import html, numbers
from reports.costs import Cost
from reports.pareto import Known, of_audit, pareto


def _known(name: str, cost: float, verified: float) -> Known:
    return Known(name=name, label=name, cost=cost, verified=verified, title=name)


def _cost(system: str, what: str, mean: float | None, method: str = "") -> Cost:
    unit = "s" if what == "processor time" else "J"
    return Cost(system=system, what=what, unit=unit, mean=mean, method=method)


SHARES = {
    "un0": {"value": 0.8, "low": 0.7, "high": 0.9},
    "dense": {"value": 0.9, "low": None, "high": None},
}


def test_who_is_dearer_and_worse_is_not_along_the_line() -> None:
    systems = [_known("a", 0.001, 0.5), _known("b", 0.1, 0.9), _known("c", 0.1, 0.8)]
    found = pareto("t", systems, numbers.seconds)
    assert found is not None
    assert {dot.name: dot.first for dot in found.dots} == {"a": True, "b": True, "c": False}
    # decades from 1 ms to 100 ms; half of the way up is 50% from the top
    assert found.frontier == ((0.0, 50.0), (100.0, 10.0))
    assert [dot.series for dot in found.dots] == [0, 0, 2]


def test_of_two_alike_neither_is_beaten() -> None:
    found = pareto("t", [_known("a", 1.0, 0.5), _known("b", 1.0, 0.5)], numbers.seconds)
    assert found is not None and all(dot.first for dot in found.dots)
    assert found.frontier == ()


def test_one_system_makes_no_plot() -> None:
    assert pareto("t", [_known("a", 1.0, 0.5)], numbers.seconds) is None


@pytest.mark.parametrize(
    ("method", "cpu", "title"),
    [
        ("counter", 1.0, "joules of the node an image (counter)"),
        ("modelled", 1.0, "processor time of an image"),
        ("modelled", None, "joules of the node an image (modelled)"),
    ],
)
def test_metered_joules_come_first_and_modelled_ones_last(
    method: str, cpu: float | None, title: str
) -> None:
    costs = [_cost(system, "node", 2.0, method) for system in SHARES]
    costs += [_cost(system, "processor time", cpu) for system in SHARES]
    found = of_audit(costs, SHARES)
    assert found is not None and found.title.endswith(title)
    assert [dot.upward for dot in found.dots] == [(70.0, 90.0), None]


def test_a_system_without_a_score_or_a_cost_is_left_out() -> None:
    costs = [_cost("un0", "processor time", 1.0), _cost("dense", "processor time", None)]
    assert of_audit(costs, SHARES) is None
    assert of_audit([_cost(s, "processor time", 1.0) for s in ("un0", "null")], SHARES) is None


def test_the_report_has_the_plot_with_intervals_over_pairs(sample: Path) -> None:
    page = html.render(sample)
    plot = page[page.index('<div class="roofline pareto few">') :]
    plot = plot[: plot.index("</figure>")]
    assert "<title>un0: 1.6" in plot and "<title>dense: 5" in plot and "null" not in plot
    assert plot.count('stroke-width="2.5"') == 4  # two systems, each with both intervals
