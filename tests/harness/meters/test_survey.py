from dataclasses import replace

import pytest
from toy_systems import FlatMeter

from harness.errors import MeterUnavailable
from harness.meters.survey import survey
from harness.records import DomainCard, MeterCard


def test_a_domain_is_told_with_what_it_draws_at_idle_and_what_reading_costs():
    found = survey(FlatMeter(), seconds=0.05)
    assert found.idle_w["cpu"] == pytest.approx(10.0) and found.cost_share == 0.0
    (line, cost) = found.lines()
    assert line == "cpu          modelled    tick unknown, accuracy 5%, idle 10 W"
    assert cost.endswith("0.00% of one processor")


def test_a_reading_that_is_missing_keeps_its_reason():
    class Still(FlatMeter):
        def readings(self, spans):
            reason = "the counter did not advance"
            return [replace(r, energy_j=None, reason=reason) for r in super().readings(spans)]

    (line, _) = survey(Still(), seconds=0.05).lines()
    assert line.endswith("idle unknown: the counter did not advance")


def test_a_machine_without_meters_is_told_why():
    class Nothing(FlatMeter):
        def describe(self):
            card = DomainCard(domain="gpu", method=None, reason="No driver. Install it.")
            return MeterCard(name="nothing", domains=(card,))

        def start(self):
            raise MeterUnavailable("nothing here")

    assert list(survey(Nothing()).lines()) == ["gpu          not read    No driver. Install it."]
