"""A wall meter's log: two formats, bad lines, and a clock that is not this machine's."""

import time

import numpy as np
import pytest
from toy_audits import toys

from harness import bundle, cli
from harness.errors import ConfigError, InputError, MeterUnavailable
from harness.meters import external
from harness.meters.external import External, beacon, clock_offset
from harness.meters.power_log import read_power_log
from harness.records import Span, TraceRow
from harness.verify import verify

PATTERN = np.cumsum((0, *external.PATTERN))


def spans(unit_s=1.5, begin_s=100.0):
    edges = begin_s + PATTERN * unit_s
    ns = [round(edge * 1e9) for edge in edges]
    return [Span(id="b", start_ns=a, end_ns=b) for a, b in zip(ns[::2], ns[1::2], strict=False)]


def logged(on, shift_s, *, hz=1.0, noise=1.0, idle=40.0, work=20.0, seed=0):
    """What a meter whose clock is `shift_s` behind samples around a beacon."""
    rng = np.random.default_rng(seed)
    first, last = on[0].start_ns / 1e9 - 15, on[-1].end_ns / 1e9 + 15
    true_s = np.arange(first, last, 1 / hz) + rng.uniform(0, 1 / hz)
    busy = np.any([(true_s >= s.start_ns / 1e9) & (true_s < s.end_ns / 1e9) for s in on], axis=0)
    watts = idle + work * busy + rng.normal(0, noise, len(true_s))
    return [
        TraceRow(t_ns=round((t - shift_s) * 1e9), domain="wall", quantity="power_w", value=w)
        for t, w in zip(true_s, watts, strict=True)
    ]


@pytest.mark.parametrize("hz", (1.0, 10.0))
@pytest.mark.parametrize("shift_s", (-4.3, 0.0, 2.71))
def test_the_offset_is_found_within_its_own_doubt(shift_s, hz):
    for seed in range(10):
        found = clock_offset(logged(spans(), shift_s, hz=hz, seed=seed), spans(), 5.0)
        assert abs(found.seconds - shift_s) <= found.doubt_s < 0.7 / hz
        assert found.explained > 0.9


def test_a_log_that_does_not_show_the_load_has_no_offset():
    flat = logged(spans(), 0.0, work=0.0)
    assert clock_offset(flat, spans(), 5.0).explained < external.EXPLAINED
    less = logged(spans(), 0.0, work=-20.0)  # what falls when the machine works is not its power
    assert clock_offset(less, spans(), 5.0).explained < external.EXPLAINED
    assert clock_offset(flat[:3], spans(), 5.0).explained == 0


def test_a_beacon_works_on_every_processor_in_the_pattern_and_leaves_nothing():
    before = time.perf_counter_ns()
    on = beacon(0.02, processes=2)
    assert before < on[0].start_ns and on[-1].end_ns < time.perf_counter_ns()
    lengths = [s.duration_s / 0.02 for s in on]
    assert lengths == pytest.approx(external.PATTERN[::2])
    gaps = [(b.start_ns - a.end_ns) / 2e7 for a, b in zip(on, on[1:], strict=False)]
    assert gaps == pytest.approx(external.PATTERN[1::2])


# The log -----------------------------------------------------------------------------------------


def test_three_ways_to_write_a_time_are_one(tmp_path):
    texts = {
        "unix.csv": "time,watts\n1700000000.25,41.5\n",
        "iso.csv": "watts,time,note\n41.5,2023-11-14T23:13:20.250+01:00,x\n",
        "spl.txt": "Time,11-14-2023 22:13:20.250,Watts,41.5,Volts,228.5,Mark,run_1\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        assert read_power_log(tmp_path / name) == [(1700000000.25, 41.5)]
    assert read_power_log(tmp_path / "spl.txt", 1.0) == [(1700000000.25 - 3600, 41.5)]
    assert read_power_log(tmp_path / "none.csv") == []


def test_a_line_that_is_still_being_written_is_left_out(tmp_path):
    (tmp_path / "log.csv").write_text("time,watts\n1,40\n2,4")
    assert read_power_log(tmp_path / "log.csv") == [(1.0, 40.0)]


@pytest.mark.parametrize(
    ("text", "says"),
    (
        ("when,watts\n1,2\n", "line 1: no columns time and watts"),
        ("time,watts\n1,many\n", "line 2: time '1', watts 'many'"),
        ("time,watts\n2023-11-14T23:13:20,4\n", "line 2"),
        ("time,watts\n2,4\n1,4\n", "line 3: the time goes back"),
        ("time,watts\n1,-4\n", "line 2: -4 watts"),
        ("time,watts\n1,nan\n", "line 2: nan watts"),
        ("time,watts\n1,2,3\n", "line 2: 3 columns, not 2"),
        ("Time,11-14-2023 22:13:20.250,Volts,228\n", "line 1: no Time,...,Watts"),
    ),
)
def test_a_bad_line_is_named(text, says, tmp_path):
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(InputError, match=says):
        read_power_log(tmp_path / "log.csv")


def test_bytes_that_are_no_text_are_named(tmp_path):
    (tmp_path / "log.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        read_power_log(tmp_path / "log.csv")


# The meter ---------------------------------------------------------------------------------------


def meter(tmp_path, monkeypatch, *, shift_s=1.0, watts=lambda t: 50.0, shown=(0, 1), **given):
    """A meter whose beacons are told, not waited for, and a log that shows them."""
    begin_s = time.perf_counter()
    both = [spans(begin_s=begin_s + 20), spans(begin_s=begin_s + 120)]
    waiting = iter(both)
    monkeypatch.setattr(external, "beacon", lambda unit_s: next(waiting))
    made = External(path=tmp_path / "plug.csv", interval_s=0.1, wait_s=0.0, **given)
    zero_s = time.time() - time.perf_counter()
    rng = np.random.default_rng(3)
    working = [s for i in shown for s in both[i]]
    with made.path.open("w") as file:
        file.write("time,watts\n")
        for t in np.arange(begin_s, begin_s + 200, 0.1):
            on = any(s.start_ns <= t * 1e9 < s.end_ns for s in working)
            value = watts(t - begin_s) + 30 * on + rng.normal(0, 0.1)
            file.write(f"{t + zero_s - shift_s:.6f},{value:.6f}\n")
    made.attach(tmp_path / "partial")
    made.start()
    return made, begin_s


def window(begin_s, start_s, end_s):
    return Span(
        id="w", start_ns=round((begin_s + start_s) * 1e9), end_ns=round((begin_s + end_s) * 1e9)
    )


def test_joules_are_those_of_the_window_on_this_machines_clock(tmp_path, monkeypatch):
    made, begin_s = meter(
        tmp_path, monkeypatch, watts=lambda t: 250.0 if 80 <= t < 90 else 50.0, accuracy=0.01
    )
    asked = [window(begin_s, 80, 90)]
    assert "when the run is over" in made.readings(asked)[0].reason
    assert made.traces() == []
    made.finish()
    (reading,) = made.readings(asked)
    assert reading.energy_j == pytest.approx(2500, rel=0.03)  # unmoved it would be 2300
    assert reading.method == "wall" and reading.domain == "wall"
    doubt_s = made.offset.doubt_s
    assert reading.accuracy == pytest.approx(0.01 + 2 * doubt_s / 10)
    assert made.offset.seconds == pytest.approx(1.0, abs=0.1)
    assert made.describe().domains[0].reason.startswith("times of its log moved by +")


def test_an_offset_that_is_given_is_taken_without_a_beacon(tmp_path, monkeypatch):
    made, begin_s = meter(tmp_path, monkeypatch, offset_s=1.0)
    made.finish()
    assert made.readings([window(begin_s, 80, 90)])[0].energy_j == pytest.approx(500, rel=0.01)
    assert made.readings([window(begin_s, 80, 90)])[0].accuracy is None


def test_the_log_of_a_server_is_a_domain_of_its_own_and_needs_its_clocks_offset(
    tmp_path, monkeypatch
):
    made, begin_s = meter(tmp_path, monkeypatch, offset_s=1.0, of="remote", shown=())
    made.finish()
    (reading,) = made.readings([window(begin_s, 80, 90)])
    assert reading.domain == made.describe().domains[0].domain == "remote"
    assert reading.energy_j == pytest.approx(500, rel=0.01)
    for wrong in ({"of": "remote"}, {"of": "there", "offset_s": 0.0}):
        with pytest.raises(ConfigError, match="here or remote"):
            External(path=tmp_path / "plug.csv", **wrong)


def test_a_log_that_ends_too_early_is_said_and_can_be_given_later(tmp_path, monkeypatch):
    made, begin_s = meter(tmp_path, monkeypatch)
    whole = made.path.read_text()
    made.path.write_text("\n".join(whole.splitlines()[:500]) + "\n")
    monkeypatch.setattr(external.time, "perf_counter_ns", lambda: round((begin_s + 150) * 1e9))
    with pytest.raises(MeterUnavailable, match="does not reach the end of the run"):
        made.finish()
    made.path.write_text(whole)
    again = External(path=made.path, interval_s=0.1, wait_s=0.0)  # another process
    again.attach(tmp_path / "partial")
    again.start()  # without a beacon: the run is over, and both are kept
    again.finish()
    assert again.offset.seconds == pytest.approx(1.0, abs=0.1)
    assert again.readings([window(begin_s, 80, 90)])[0].energy_j == pytest.approx(500, rel=0.01)


def test_every_beacon_must_be_shown(tmp_path, monkeypatch):
    made, _ = meter(tmp_path, monkeypatch, shown=(0,))
    with pytest.raises(MeterUnavailable, match="does not show 1 of 2 beacons within 5 s"):
        made.finish()
    assert made.offset is None


def test_a_run_of_an_earlier_start_of_the_machine_is_refused(tmp_path, monkeypatch):
    meter(tmp_path, monkeypatch)
    monkeypatch.setattr(external, "_boot", lambda: "another")
    with pytest.raises(InputError, match="started anew"):
        External(path=tmp_path / "plug.csv").attach(tmp_path / "partial")


def test_a_folder_that_is_not_there_is_said_before_anything_runs(tmp_path):
    with pytest.raises(MeterUnavailable, match="no folder"):
        External(path=tmp_path / "none" / "plug.csv").start()


@pytest.mark.parametrize("wrong", ({"interval_s": 60}, {"accuracy": 5}, {"utc_offset_h": 30}))
def test_a_setting_out_of_range_is_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        External(path="x", **wrong)


def test_a_whole_audit_by_a_log_that_comes_when_it_is_over(tmp_path, capsys):
    log, now = tmp_path / "plug.csv", time.time()
    by_log = [
        "meter._target_=harness.meters.external.External",
        f"+meter.path={log}",
        "+meter.interval_s=0.05",
        "+meter.offset_s=60.0",
        "+meter.wait_s=0.0",
        "+meter.accuracy=0.01",
    ]
    given = [one for one in toys(tmp_path, more=["name=w"]) if not one.startswith("meter.")]
    assert cli.main([*given, *by_log]) == 3
    said = capsys.readouterr().err
    assert "does not reach the end of the run" in said and "--resume name=w" in said
    # the logger's clock is a minute behind
    lines = [f"{now - 60 + i / 20:.3f},10.0" for i in range(-20, 20 * 300)]
    log.write_text("\n".join(["time,watts", *lines]) + "\n")
    assert cli.main(["audit", "--resume", "name=w", f"out={tmp_path}"]) == 0
    rows = bundle.read_table(tmp_path / "w", "windows")
    blocks = [row for row in rows if row["kind"] == "block"]
    assert len(blocks) == 8
    for row in blocks:
        assert (row["domain"], row["method"]) == ("wall", "wall")
        assert row["energy_j"] == pytest.approx(10.0 * row["duration_s"], rel=1e-3)
    boundaries = bundle.read_json(tmp_path / "w" / "environment.json")["boundaries"]
    machine = bundle.read_json(tmp_path / "w" / "environment.json")
    assert "moved by +60.00 s" in machine["meter"]["domains"][0]["reason"]
    (node,) = (b for b in boundaries if b["name"] == "node")
    assert all(pattern.startswith("wall|") for pattern in node["patterns"])
    assert {row["domain"] for row in bundle.read_table(tmp_path / "w", "traces")} == {"wall"}
    assert verify(tmp_path / "w") == []
