"""How figures are written."""

from __future__ import annotations

import pytest

from reports import numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (312.4, "312"),
        (999.7, "1,000"),
        (0.0099961, "0.0100"),
        (12345.0, "12,300"),
        (-0.0123, "\u22120.0123"),
        (0.0, "0"),
        (float("inf"), "not finite"),
    ],
)
def test_three_significant_digits(value: float, text: str) -> None:
    assert numbers.significant(value) == text


@pytest.mark.parametrize(
    ("joules", "text"),
    [(0.0364, "36.4 mJ"), (12.4, "12.4 J"), (4800.0, "4.80 kJ"), (0.9996, "1.00 J"), (0.0, "0 J")],
)
def test_joules_take_an_si_prefix(joules: float, text: str) -> None:
    assert numbers.joules(joules) == text


def test_missing_is_a_dash_and_never_zero() -> None:
    writers = (numbers.joules, numbers.seconds, numbers.ratio, numbers.percent, numbers.count)
    assert {write(None) for write in writers} == {"—"}


def test_interval_leaves_an_open_end_open() -> None:
    assert numbers.interval(295.0, 330.4, "times") == "[295, 330]"
    assert numbers.interval(0.0023, None, "s") == "[2.30 ms, ∞]"
    assert numbers.interval(-0.148, -0.091, "points") == "[\u221214.8, \u22129.1]"
    assert numbers.interval(None, None, "s") == ""


def test_small_shares_keep_two_digits() -> None:
    assert numbers.percent(0.00081) == "0.081%"
    assert numbers.percent(0.712) == "71.2%"


def test_what_never_ends_is_written_as_infinite() -> None:
    assert numbers.quantity(float("inf"), "J") == "∞ J"
    assert numbers.seconds(float("inf")) == "∞ s"
