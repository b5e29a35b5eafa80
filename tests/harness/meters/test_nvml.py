import sys
from types import SimpleNamespace

import pytest

from harness.attribute import boundary_energy
from harness.boundaries import boundaries_of
from harness.errors import MeterUnavailable
from harness.meters.nvml import Nvml
from harness.records import Span


class NVMLError(Exception):
    """As in pynvml: made from a return code."""

    texts = {3: "Not Supported", 12: "NVML Shared Library Not Found", 2: "Invalid Argument"}

    def __str__(self):
        return self.texts[self.args[0]]


class Board:
    """One GPU; None stands for what it does not support."""

    def __init__(
        self, *, counter_mj=0, instant_mw=100_000, average_mw=90_000, memory_mw=None, mig=None
    ):
        self.counter_mj = counter_mj
        self.instant_mw = instant_mw
        self.average_mw = average_mw
        self.memory_mw = memory_mw
        self.mig = mig


def supported(value):
    if value is None:
        raise NVMLError(3)
    return value


def field(board, scope):
    milliwatts = {186: board.instant_mw, (185, 2): board.memory_mw}[scope]
    return SimpleNamespace(
        nvmlReturn=3 if milliwatts is None else 0,
        valueType=1,
        value=SimpleNamespace(uiVal=milliwatts),
    )


def library(*boards, broken=False):
    """The functions of pynvml that the meter uses, over fake boards."""

    def init():
        if broken:
            raise NVMLError(12)

    def handle(index):
        if index >= len(boards):
            raise NVMLError(2)
        return boards[index]

    kinds = ("DOUBLE", "UNSIGNED_INT", "UNSIGNED_LONG", "UNSIGNED_LONG_LONG", "SIGNED_LONG_LONG")
    values = {f"NVML_VALUE_TYPE_{kind}": number for number, kind in enumerate(kinds)}
    return SimpleNamespace(
        NVMLError=NVMLError,
        NVML_SUCCESS=0,
        NVML_FI_DEV_POWER_INSTANT=186,
        NVML_FI_DEV_POWER_AVERAGE=185,
        NVML_POWER_SCOPE_MEMORY=2,
        NVML_VALUE_TYPE_SIGNED_INT=5,
        **values,
        nvmlInit=init,
        nvmlDeviceGetCount=lambda: len(boards),
        nvmlSystemGetDriverVersion=lambda: "580.1",
        nvmlDeviceGetHandleByIndex=handle,
        nvmlDeviceGetName=lambda board: "Fake H1",
        nvmlDeviceGetMigMode=lambda board: [supported(board.mig), 0],
        nvmlDeviceGetTotalEnergyConsumption=lambda board: supported(board.counter_mj),
        nvmlDeviceGetFieldValues=lambda board, ids: [field(board, i) for i in ids],
        nvmlDeviceGetPowerUsage=lambda board: supported(board.average_mw),
    )


@pytest.fixture
def boards(monkeypatch):
    def use(*boards, **options):
        monkeypatch.setitem(sys.modules, "pynvml", library(*boards, **options))

    return use


def card(meter, domain="gpu:0"):
    return {one.domain: one for one in meter.describe().domains}[domain]


def window(meter):
    times = [row.t_ns for row in meter.traces() if row.quantity == "counter_j"]
    return Span(id="w", start_ns=min(times), end_ns=max(times))


def test_counter_stands_beside_instant_power(boards):
    board = Board(counter_mj=5_000_000)
    boards(board)
    meter = Nvml(tick_s=1e-9)
    assert card(meter).method == "counter"
    assert card(meter).accuracy == 0.05
    meter.start()
    board.counter_mj += 1_234
    meter.mark()
    meter.stop()
    assert {row.quantity for row in meter.traces()} == {"counter_j", "power_w"}
    assert {row.value for row in meter.traces() if row.quantity == "power_w"} == {100.0}
    (reading,) = meter.readings([window(meter)])
    assert reading.energy_j == pytest.approx(1.234)
    assert reading.method == "counter"


def test_a_counter_that_is_not_supported_leaves_integrated_power(boards):
    boards(Board(counter_mj=None))
    meter = Nvml()
    assert card(meter).method == "integrated"
    assert "instant" in card(meter).reason
    assert meter.describe().notes["devices"]["gpu:0"]["counter"] == "Not Supported"


def test_without_instant_power_the_average_is_read_and_named(boards):
    boards(Board(counter_mj=None, instant_mw=None))
    meter = Nvml()
    assert "average" in card(meter).reason
    meter.start()
    meter.stop()
    assert {row.value for row in meter.traces()} == {90.0}


def test_a_board_that_supports_nothing_is_missing_with_the_reason(boards):
    boards(Board(counter_mj=None, instant_mw=None, average_mw=None), Board(counter_mj=7))
    meter = Nvml(tick_s=0.1)
    assert card(meter).method is None
    assert "Not Supported" in card(meter).reason
    assert card(meter, "gpu:1").method == "counter"
    readings = meter.readings([Span(id="w", start_ns=0, end_ns=10**10)])
    assert [reading.energy_j for reading in readings] == [None, None]


def test_power_of_the_boards_memory_stands_beside_and_in_no_boundary(boards):
    boards(Board(counter_mj=5, memory_mw=30_000), Board(counter_mj=5, memory_mw=0))
    meter = Nvml(tick_s=0.1)
    assert card(meter, "gpu-memory:0").method == "integrated"
    assert "gpu-memory:1" not in {one.domain for one in meter.describe().domains}
    rows = {row.domain: row.value for row in meter.sample() if row.quantity == "power_w"}
    assert rows["gpu-memory:0"] == 30.0
    joules = {"energy_j": 50.0, "method": "integrated", "accuracy": None, "reason": ""}
    inside = {**joules, "window": "w", "domain": "gpu-memory:0"}
    board = {**joules, "window": "w", "domain": "gpu:0", "energy_j": 900.0}
    device, *_ = boundaries_of(devices=["cuda", "cuda"], pue=1.2, accelerated=True)
    assert boundary_energy([board, inside], device).energy_j == 900.0


def test_a_mig_slice_is_refused(boards):
    boards(Board(mig=1))
    with pytest.raises(MeterUnavailable, match="MIG"):
        Nvml().start()


def test_a_board_with_mig_off_is_read(boards):
    boards(Board(mig=0))
    assert card(Nvml(tick_s=0.1)).method == "counter"


def test_a_counter_that_stands_still_is_not_used(boards):
    boards(Board(counter_mj=500))
    meter = Nvml()
    assert card(meter).method == "integrated"
    assert meter.describe().notes["devices"]["gpu:0"]["counter"] == "does not advance"


def test_no_driver_is_absent_with_a_remedy(boards):
    boards(broken=True)
    meter = Nvml()
    assert "Install the NVIDIA driver" in card(meter, "gpu").reason
    assert meter.readings([Span(id="w", start_ns=0, end_ns=10**10)]) == []
    with pytest.raises(MeterUnavailable, match="Shared Library Not Found"):
        meter.start()


def test_no_library_is_absent_with_a_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "nvidia-ml-py" in card(Nvml(), "gpu").reason


def test_a_device_that_does_not_exist_is_missing(boards):
    boards(Board())
    meter = Nvml(devices=[0, 3], tick_s=0.1)
    assert card(meter).method == "counter"
    assert card(meter, "gpu:3").method is None
    assert "devices=" in card(meter, "gpu:3").reason


def test_a_board_lost_during_the_run_gives_none_with_its_error(boards):
    board = Board(counter_mj=1, instant_mw=None, average_mw=None)
    boards(board)
    meter = Nvml(tick_s=0.1)
    meter.start()
    board.counter_mj = None
    meter.mark()
    meter.stop()
    start = meter.traces()[0].t_ns
    (reading,) = meter.readings([Span(id="w", start_ns=start, end_ns=start + 10**10)])
    assert reading.energy_j is None
    assert "Not Supported" in reading.reason
