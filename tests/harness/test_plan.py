import math

import pytest

from harness.errors import ConfigError
from harness.journal import WindowRecord
from harness.plan import Plan, log_ratios, wanted_pairs
from harness.records import EnergyReading, Window

PLAN = Plan(core=16, pairs=6, max_pairs=6)


@pytest.mark.parametrize("wrong", [{"core": 0}, {"pairs": 1.5}, {"warmup_s": 0}, {"seed": -1}])
def test_a_plan_that_cannot_be_run_is_refused(wrong):
    (name,) = wrong
    with pytest.raises(ConfigError, match=f"{name} is "):
        Plan(**{"core": 16, "pairs": 6, "max_pairs": 6, **wrong})


def block(pair, system, cpu_s, energy_j=None, requests=10):
    window = Window(
        id=f"w{pair}{system}",
        kind="block",
        system=system,
        pair=pair,
        order="AB",
        batch=1,
        requests=requests,
        start_ns=0,
        end_ns=1,
        cpu_s=cpu_s,
    )
    reading = EnergyReading(span="s", domain="cpu", energy_j=energy_j, method="counter")
    return WindowRecord(window=window, readings=[reading])


def pairs(ratios):
    """Two blocks a system and pair; the baseline spends `ratio` times the candidate's time."""
    return [
        block(pair, system, spent)
        for pair, ratio in enumerate(ratios)
        for system, spent in (("a", 1.0), ("a", 1.0), ("b", ratio), ("b", ratio))
    ]


def test_log_ratios_are_of_means_per_image_over_a_pair():
    rows = [block(0, "a", 1.0), block(0, "a", 3.0, requests=30)]
    rows += [block(0, "b", 8.0), block(0, "b", 12.0)]
    # a: 0.1 and 0.1 s an image; b: 0.8 and 1.2
    assert log_ratios(rows, "a", "b")["cpu_s"] == [pytest.approx(math.log(10))]


def test_a_missing_reading_leaves_its_pair_out():
    assert log_ratios(pairs([2.0, 2.0]), "a", "b")["cpu"] == []
    assert log_ratios(pairs([2.0])[:-1], "a", "b")["cpu_s"] == []


def test_an_even_pilot_wants_six_pairs():
    assert wanted_pairs(PLAN, pairs([2.0] * 6), "a", "b") == 6


def test_an_uneven_pilot_wants_more_as_stein_says():
    ratios = [math.exp(0.1 * sign) for sign in (1, -1, 1, -1, 1, -1)]
    # s = 0.1 sqrt(6 / 5); t(0.975, 5) = 2.5706; (2.5706 s / ln 1.05)^2 = 33.3
    assert wanted_pairs(PLAN, pairs(ratios), "a", "b") == 34


def test_pairs_after_the_pilot_change_nothing():
    ratios = [math.exp(0.1 * sign) for sign in (1, -1, 1, -1, 1, -1)]
    assert wanted_pairs(PLAN, pairs([*ratios, 9.0, 0.1]), "a", "b") == 34


def test_without_a_pilot_the_plan_stands():
    assert wanted_pairs(PLAN, pairs([1.0, 2.0]), "a", "b") == 6
