import math
import time

import pytest

from harness.errors import ConfigError, MeterUnavailable
from harness.meters.sampling import Rules, SampledMeter, measure_ticks, readings_from
from harness.records import DomainCard, MeterCard, Span, TraceRow

S = 1_000_000_000
COUNTER = DomainCard(domain="gpu:0", method="counter", tick_s=0.1, resolution_j=0.001)
POWER = DomainCard(domain="gpu:0", method="integrated")


def rows(quantity, pairs, domain="gpu:0"):
    """Trace rows from (seconds, value)."""
    return [
        TraceRow(t_ns=round(t_s * S), domain=domain, quantity=quantity, value=value)
        for t_s, value in pairs
    ]


def span(start_s, end_s):
    return Span(id="w", start_ns=round(start_s * S), end_ns=round(end_s * S))


def one(trace, card, window, rules=None):
    (reading,) = readings_from(trace, [card], [window], rules or Rules())
    return reading


def steady(watts, seconds, hz=10):
    """A power sampled at `hz` from 0 to `seconds`, both included."""
    return [(i / hz, watts) for i in range(seconds * hz + 1)]


def test_counter_is_the_difference_of_its_edge_samples():
    reading = one(rows("counter_j", [(0, 100.0), (3, 250.0), (6, 700.0)]), COUNTER, span(0, 6))
    assert reading.energy_j == 600.0
    assert reading.method == "counter"
    # 100 W for one tick of 0.1 s
    assert reading.resolution_j == pytest.approx(10.0)


def test_counter_is_interpolated_only_where_no_sample_meets_the_edge():
    # the sample 10 ms after the start stands for the start; the end lies half way from 100 to 200
    trace = rows("counter_j", [(0.01, 7.0), (9.5, 100.0), (10.5, 200.0)])
    assert one(trace, COUNTER, span(0, 10.0)).energy_j == pytest.approx(143.0)


def test_a_span_of_too_few_ticks_is_none_with_a_reason():
    trace = rows("counter_j", [(0, 0.0), (4.9, 490.0), (5.0, 500.0)])
    short = one(trace, COUNTER, span(0, 4.9))
    assert short.energy_j is None
    assert "49 steps" in short.reason and "at least 50" in short.reason
    # exactly 50 ticks are enough
    assert one(trace, COUNTER, span(0, 5.0)).energy_j == 500.0


def test_energy_of_few_counter_units_is_none_however_long_the_span():
    card = DomainCard(domain="gpu:0", method="counter", resolution_j=1.0)
    trace = rows("counter_j", [(0, 0.0), (100, 20.0)])
    assert one(trace, card, span(0, 100)).energy_j is None


def test_a_counter_that_stood_still_is_none_and_not_zero():
    reading = one(rows("counter_j", [(0, 5.0), (10, 5.0)]), COUNTER, span(0, 10))
    assert reading.energy_j is None
    assert "did not advance" in reading.reason


def test_power_is_integrated_by_trapezoids():
    # 0 to 100 W in a straight line over 10 s: half of 100 W x 10 s
    ramp = [(i / 10, float(i)) for i in range(101)]
    reading = one(rows("power_w", ramp), POWER, span(0, 10))
    assert reading.energy_j == pytest.approx(500.0)
    # from 2.5 s to 7.5 s: mean 50 W over 5 s
    assert one(rows("power_w", ramp), POWER, span(2.5, 7.5)).energy_j == pytest.approx(250.0)


def test_a_pause_in_the_samples_of_a_power_is_none():
    trace = [pair for pair in steady(100.0, 20) if not 5 < pair[0] < 8]
    reading = one(rows("power_w", trace), POWER, span(0, 20))
    assert reading.energy_j is None
    assert "paused for 3 s" in reading.reason


def test_a_power_with_few_samples_is_none():
    reading = one(rows("power_w", steady(100.0, 1)), POWER, span(0.1, 0.5))
    assert reading.energy_j is None
    assert "at least 10" in reading.reason


def test_counter_and_integrated_power_that_disagree_void_the_reading():
    counter = rows("counter_j", [(0, 0.0), (10, 1000.0)])
    agreeing = one(counter + rows("power_w", steady(109.0, 10)), COUNTER, span(0, 10))
    assert agreeing.energy_j == 1000.0
    reading = one(counter + rows("power_w", steady(111.0, 10)), COUNTER, span(0, 10))
    assert reading.energy_j is None
    assert "1000 J" in reading.reason and "1110 J" in reading.reason


def test_a_counter_whose_power_is_unresolved_stands_and_says_so():
    trace = rows("counter_j", [(0, 0.0), (10, 1000.0)]) + rows("power_w", [(0, 1.0), (10, 1.0)])
    reading = one(trace, COUNTER, span(0, 10))
    assert reading.energy_j == 1000.0
    assert "not checked" in reading.reason


def test_a_span_beyond_the_samples_is_none():
    trace = rows("counter_j", [(0, 0.0), (10, 1000.0)])
    assert "at the end" in one(trace, COUNTER, span(0, 20)).reason
    assert one(trace, COUNTER, span(0, 20)).energy_j is None


def test_a_pause_in_which_a_counter_may_have_wrapped_is_none():
    trace = rows("counter_j", [(0, 0.0), (10, 1000.0)])
    reading = one(trace, COUNTER, span(0, 10), Rules(wrap_gap_s=5.0))
    assert reading.energy_j is None
    assert "wrapped" in reading.reason


def test_an_unreadable_domain_gives_none_and_absent_hardware_gives_no_reading():
    cards = [
        DomainCard(domain="gpu:0", method=None, reason="split into slices"),
        DomainCard(domain="package", method=None, reason="not found"),
    ]
    (reading,) = readings_from([], cards, [span(0, 5)], Rules(), {"gpu:0": "gone"})
    assert reading.domain == "gpu:0"
    assert reading.energy_j is None
    assert reading.reason == "split into slices; last error: gone"


def test_ticks_are_measured_from_changes_and_a_still_counter_has_none():
    calls = iter(range(10**9))
    ticks = measure_ticks(
        lambda: {"live": next(calls), "still": 5.0}, changes=3, limit_s=0.1, pause_s=0.001
    )
    assert ticks["still"] is None
    assert ticks["live"] is not None and ticks["live"] > 0


class Steps(SampledMeter):
    """A counter that gains one joule each time it is read."""

    name = "steps"

    def __init__(self, hz=10.0, method="counter"):
        super().__init__(hz=hz, rules=Rules(min_ticks=1))
        self.method = method
        self.reads = 0

    def probe(self):
        card = DomainCard(domain="gpu:0", method=self.method, reason="no such thing.")
        return MeterCard(name=self.name, domains=(card,))

    def sample(self):
        self.reads += 1
        return rows("counter_j", [(self.reads, float(self.reads))])


def test_marks_take_samples_and_traces_stay_after_stop():
    meter = Steps()
    meter.mark()
    assert meter.traces() == []  # not started
    meter.start()
    meter.mark()
    meter.mark()
    meter.stop()
    meter.stop()
    taken = meter.traces()
    assert len(taken) == meter.reads >= 4  # start, two marks, stop
    last = taken[-1].t_ns
    (reading,) = meter.readings([Span(id="w", start_ns=1 * S, end_ns=last)])
    assert reading.energy_j == meter.reads - 1


def test_sampling_above_10_hz_is_refused():
    with pytest.raises(ConfigError, match="hz=20"):
        Steps(hz=20.0)
    with pytest.raises(ConfigError):
        Steps(hz=math.nan)


def test_a_meter_without_a_readable_domain_raises_at_start():
    with pytest.raises(MeterUnavailable, match="steps: no such thing"):
        Steps(method=None).start()


def test_what_reading_costs_is_its_processor_time_in_any_thread():
    class Busy(SampledMeter):
        name = "busy"

        def probe(self):
            return MeterCard(name="busy", domains=(POWER,))

        def sample(self):
            until = time.thread_time() + 0.02
            while time.thread_time() < until:
                pass
            time.sleep(0.02)  # waiting is no processor time
            return []

    meter = Busy(hz=10, rules=Rules())
    meter.start()
    meter.mark()
    meter.stop()
    assert meter.spent_s() >= 3 * 0.02  # at the start, when asked, at the end
