import time

import pyarrow
import pyarrow.parquet
import pytest

from harness.errors import AssetError, ConfigError, InputError, MeterUnavailable
from harness.meters.replay import Replay
from harness.records import Span

S = 1_000_000_000
CARD = {"gpu:0": {"method": "counter", "tick_s": 0.1, "accuracy": 0.05}}
# gpu:0 climbs 200 J a second for 10 s, then 40 J a second; the power says the same
TRACE = [(t, 200.0 * min(t, 10) + 40.0 * max(t - 10, 0)) for t in range(21)]


def recorded(path, lines=None, header="t_ns,domain,quantity,value"):
    if lines is None:
        lines = [f"{t * S},gpu:0,counter_j,{value}" for t, value in TRACE]
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def spans(*edges, shift=0):
    return [Span(id=f"{a}-{b}", start_ns=a * S + shift, end_ns=b * S + shift) for a, b in edges]


def test_a_recorded_trace_gives_the_joules_worked_by_hand(tmp_path):
    meter = Replay(path=recorded(tmp_path / "trace.csv"), domains=CARD)
    meter.start()
    meter.mark()
    meter.stop()
    readings = meter.readings(spans((0, 10), (10, 20), (5, 15)))
    # 10 s at 200 W; 10 s at 40 W; 5 s at each
    assert [reading.energy_j for reading in readings] == [2000.0, 400.0, 1200.0]
    assert {reading.method for reading in readings} == {"counter"}
    assert {reading.accuracy for reading in readings} == {0.05}


def test_a_span_under_the_resolution_of_the_trace_is_none(tmp_path):
    meter = Replay(path=recorded(tmp_path / "trace.csv"), domains=CARD)
    (reading,) = meter.readings(spans((2, 4)))
    assert reading.energy_j is None
    assert "at least 50" in reading.reason


def test_align_start_moves_the_first_sample_to_the_start(tmp_path):
    meter = Replay(path=recorded(tmp_path / "trace.csv"), domains=CARD, align="start")
    before = time.perf_counter_ns()
    meter.start()
    after = time.perf_counter_ns()
    first = meter.traces()[0].t_ns
    assert before <= first <= after
    (reading,) = meter.readings(spans((0, 10), shift=first))
    assert reading.energy_j == 2000.0


def test_parquet_is_read_as_csv_is_and_one_meter_is_picked(tmp_path):
    table = {
        "t_ns": [t * S for t, _ in TRACE] * 2,
        "meter": ["nvml"] * 21 + ["other"] * 21,
        "domain": ["gpu:0"] * 42,
        "quantity": ["counter_j"] * 42,
        "value": [value for _, value in TRACE] * 2,
    }
    path = tmp_path / "traces.parquet"
    pyarrow.parquet.write_table(pyarrow.table(table), path)
    meter = Replay(path=path, domains=CARD, meter="nvml")
    assert len(meter.traces()) == 21
    assert meter.readings(spans((0, 10)))[0].energy_j == 2000.0


def test_a_modelled_trace_stays_modelled(tmp_path):
    path = recorded(tmp_path / "trace.csv")
    meter = Replay(path=path, domains={"gpu:0": {"method": "modelled"}})
    assert meter.readings(spans((0, 10)))[0].method == "modelled"


def test_a_domain_without_a_stated_method_is_missing(tmp_path):
    meter = Replay(path=recorded(tmp_path / "trace.csv"), domains={})
    (reading,) = meter.readings(spans((0, 10)))
    assert reading.energy_j is None
    assert "domains.gpu:0.method" in reading.reason
    with pytest.raises(MeterUnavailable):
        meter.start()


def test_a_domain_that_was_not_recorded_is_missing(tmp_path):
    domains = {**CARD, "gpu:1": {"method": "counter"}}
    meter = Replay(path=recorded(tmp_path / "trace.csv"), domains=domains)
    readings = {reading.domain: reading for reading in meter.readings(spans((0, 10)))}
    assert readings["gpu:0"].energy_j == 2000.0
    assert readings["gpu:1"].energy_j is None
    assert "not in" in readings["gpu:1"].reason


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("2000000000,gpu:0,joules,1", "quantity 'joules'. Use counter_j"),
        ("soon,gpu:0,power_w,1", "t_ns 'soon'"),
        ("2000000000,gpu:0,power_w", "value None"),
        ("2000000000,gpu:0,power_w,nan", "Leave the row out"),
        ("2000000000,gpu:0,power_w,-1", "not negative"),
        ("2000000000,,power_w,1", "no domain"),
        ("1,gpu:0,counter_j,9", "Sort the rows"),
        ("2000000000,gpu:0,counter_j,1", "range of each wrap"),
    ],
)
def test_a_bad_row_names_file_line_and_remedy(tmp_path, line, words):
    path = recorded(tmp_path / "trace.csv", ["1000000000,gpu:0,counter_j,8", line])
    with pytest.raises(InputError) as caught:
        Replay(path=path, domains=CARD)
    assert f"{path}, line 3: " in str(caught.value)
    assert words in str(caught.value)


def test_a_bad_row_of_parquet_is_named_by_its_number(tmp_path):
    columns = {"t_ns": [1], "domain": ["gpu:0"], "quantity": ["volts"], "value": [1.0]}
    path = tmp_path / "trace.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    with pytest.raises(InputError, match="row 1: quantity 'volts'"):
        Replay(path=path, domains=CARD)


def test_a_trace_of_two_nodes_is_two_traces(tmp_path):
    lines = ["1,gpu:0,counter_j,8,one", "2,gpu:0,counter_j,9,two"]
    path = recorded(tmp_path / "t.csv", lines, header="t_ns,domain,quantity,value,node")
    with pytest.raises(InputError, match="line 3: it is of another node"):
        Replay(path=path, domains=CARD)


def test_a_wrong_header_names_the_columns_that_are_missing(tmp_path):
    path = recorded(tmp_path / "trace.csv", [], header="time,domain,watts")
    with pytest.raises(InputError, match="no column t_ns, quantity, value"):
        Replay(path=path, domains=CARD)


def test_files_that_are_not_traces_are_refused(tmp_path):
    with pytest.raises(AssetError, match="does not exist"):
        Replay(path=tmp_path / "none.csv", domains=CARD)
    for name, words in (("bytes.csv", "not CSV"), ("bytes.parquet", "not a Parquet")):
        (tmp_path / name).write_bytes(b"\xff\xfe\x00\x9d")
        with pytest.raises(InputError, match=words):
            Replay(path=tmp_path / name, domains=CARD)


def test_unknown_options_are_refused(tmp_path):
    path = recorded(tmp_path / "trace.csv")
    with pytest.raises(ConfigError, match="align='end'"):
        Replay(path=path, domains=CARD, align="end")
    with pytest.raises(ConfigError, match="the key 'tick'"):
        Replay(path=path, domains={"gpu:0": {"tick": 1}})
    with pytest.raises(ConfigError, match="the method 'guess'"):
        Replay(path=path, domains={"gpu:0": {"method": "guess"}})
