"""Lines of power."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness import bundle
from harness.evidence import read_evidence
from reports import power


def _points(trace: power.Trace) -> list[tuple[float, float]]:
    return [tuple(map(float, point.split(","))) for line in trace.lines for point in line.split()]


def test_counters_become_watts_between_readings_and_powers_stay(
    sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [("cpu", "counter_j", 0, 0.0), ("cpu", "counter_j", 2, 20.0)]
    rows += [("cpu", "counter_j", 3, 50.0), ("cpu", "counter_j", 4, 60.0)]
    rows += [("cpu", "counter_j", t, j) for t, j in ((6, 1.0), (7, 11.0), (8, 21.0))]
    rows += [("cpu", "power_w", 1, 999.0), ("cpu", "power_w", 2, 999.0)]  # counted already
    rows += [("gpu:0", "power_w", 1, 30.0), ("gpu:0", "power_w", 5, 40.0)]
    rows += [("gpu:0", "throttled", 1, 1.0)]
    made = [
        {"t_ns": int(t * 1e9), "meter": "m", "domain": d, "quantity": q, "value": v}
        for d, q, t, v in rows
    ]
    evidence = read_evidence(sample)
    monkeypatch.setattr(bundle, "read_table", lambda *_: made)
    found = power.power(sample, evidence)
    assert found is not None
    assert found.top_w == pytest.approx(44) and found.end_s == 6.5  # from second 1 to 7.5
    lines = {trace.domain: _points(trace) for trace in found.traces}
    assert lines == {
        "cpu": [(0.0, 34.0), (1.5, 14.0), (2.5, 34.0), (5.5, 34.0), (6.5, 34.0)],  # set back at 6
        "gpu:0": [(0.0, 14.0), (4.0, 4.0)],
    }
    assert [len(trace.lines) for trace in found.traces] == [2, 1]
    assert found.traces[0].method == "modelled"


def test_a_pause_or_another_clock_ends_a_line() -> None:
    points = [(float(t), 1.0) for t in (0, 1, 2, 500, 501, 3, 4)]
    assert [len(piece) for piece in power._pieces(points, counted=False)] == [3, 2, 2]


def test_a_long_line_is_thinned_and_keeps_its_joules() -> None:
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.exponential(1.0, 500))
    watts = np.where(np.diff(times, prepend=0) > 1, 100.0, 10.0)  # samples come sparse where dear
    thin = power._thinned(list(zip(times, watts, strict=True)), 10)
    assert len(thin) == 10
    whole = np.trapezoid(watts, times)
    assert sum(w for _, w in thin) * (times[-1] - times[0]) / 10 == pytest.approx(whole)


def test_windows_are_named_as_a_reader_would(sample: Path) -> None:
    found = power.power(sample, read_evidence(sample))
    assert found is not None
    words = [one for one, _, _ in found.windows]
    assert "un0, pair 1, AB" in words and "un0, one at a time" in words
    assert "the machine waits" in words and not [one for one in words if "void" in one]
    assert all(start < end for _, start, end in found.windows)


def test_a_bundle_without_traces_has_no_line(unmetered: Path) -> None:
    assert power.power(unmetered, read_evidence(unmetered)) is None
