"""Lines of power."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import bundle
from harness.evidence import read_evidence
from reports import power


def _points(trace: power.Trace) -> list[tuple[float, float]]:
    return [tuple(map(float, point.split(","))) for point in trace.points.split()]


def test_counters_become_watts_between_readings_and_powers_stay(
    sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [("cpu", "counter_j", 0, 0.0), ("cpu", "counter_j", 2, 20.0)]
    rows += [("cpu", "counter_j", 3, 50.0), ("cpu", "counter_j", 4, 1.0)]  # set back
    rows += [("cpu", "counter_j", 6, 11.0)]
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
    assert found.top_w == pytest.approx(44) and found.end_s == 4  # from second 1 to 5
    lines = {trace.domain: _points(trace) for trace in found.traces}
    assert lines == {
        "cpu": [(0.0, 34.0), (1.5, 14.0), (4.0, 39.0)],
        "gpu:0": [(0.0, 14.0), (4.0, 4.0)],
    }


def test_a_long_line_is_thinned_and_keeps_its_joules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "MOST", 10)
    points = [(float(i), float(i % 7)) for i in range(100)]
    thin = power._thinned(points)
    assert len(thin) == 10
    assert sum(w for _, w in thin) / 10 == pytest.approx(sum(w for _, w in points) / 100)


def test_windows_are_named_as_a_reader_would(sample: Path) -> None:
    found = power.power(sample, read_evidence(sample))
    assert found is not None
    words = [one for one, _, _ in found.windows]
    assert "un0, pair 1, AB" in words and "un0, one at a time" in words
    assert "the machine waits" in words and not [one for one in words if "void" in one]
    assert all(start < end for _, start, end in found.windows)


def test_a_bundle_without_traces_has_no_line(unmetered: Path) -> None:
    assert power.power(unmetered, read_evidence(unmetered)) is None
