"""Zeus' seams as version 0.16 has them, with boards and processors that are made up."""

import sys
from types import SimpleNamespace

import pytest

from harness.errors import MeterUnavailable
from harness.meters.all import All
from harness.meters.zeus import Zeus
from harness.records import Span


class NoBoard(Exception):
    pass


class NoProcessor(Exception):
    pass


class Board:
    """An AMD board; 200 W. `counter` says whether its accumulator may be read."""

    refuses = False

    def __init__(self, index=0, counter=True, power=True):
        self.gpu_index, self.counter, self.power, self.energy_mj = index, counter, power, 0

    def get_name(self):
        return "Fake MI300"

    def supports_get_total_energy_consumption(self):
        return self.counter

    def get_total_energy_consumption(self):
        if self.refuses:
            raise NoBoard("Unknown Error")
        self.energy_mj += 500
        return self.energy_mj

    def get_instant_power_usage(self):
        if not self.power:
            raise NoBoard("Not Supported")
        return 200_000


class Apple:
    """A processor without neural engine whose counters move at each reading."""

    def __init__(self):
        self.readings = 0

    def get_total_energy_consumption(self):
        self.readings += 1
        return SimpleNamespace(
            cpu_total_mj=3000 * self.readings,
            ane_mj=None,
            dram_mj=500 * self.readings,
            gpu_mj=1000 * self.readings,
            gpu_sram_mj=10 * self.readings,
        )


@pytest.fixture
def zeus(monkeypatch):
    def use(*boards, apple=None):
        def get_gpus():
            if not boards:
                raise NoBoard("NVML and AMDSMI unavailable.")
            return SimpleNamespace(gpus=list(boards))

        def get_soc():
            if apple is None:
                raise NoProcessor("No observable SoC was found.")
            return apple

        errors = SimpleNamespace(ZeusBaseGPUError=NoBoard, ZeusBaseSoCError=NoProcessor)
        device = SimpleNamespace(get_gpus=get_gpus, get_soc=get_soc)
        monkeypatch.setitem(sys.modules, "zeus", SimpleNamespace(device=device))
        monkeypatch.setitem(sys.modules, "zeus.device", device)
        monkeypatch.setitem(sys.modules, "zeus.device.exception", errors)

    return use


def test_without_zeus_the_card_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "zeus.device", None)
    (card,) = Zeus().describe().domains
    assert card.method is None
    assert "uv pip install zeus" in card.reason
    with pytest.raises(MeterUnavailable, match="meter zeus"):
        Zeus().start()


def test_nothing_to_read_is_told_with_both_reasons(zeus):
    zeus()
    (card,) = Zeus().describe().domains
    assert "AMDSMI unavailable" in card.reason
    assert "No observable SoC" in card.reason


def test_a_board_is_read_by_its_counter_or_else_by_its_power(zeus):
    zeus(Board(0), Board(1, counter=False), Board(2, counter=False, power=False))
    cards = {card.domain: card for card in Zeus(tick_s=0.01).describe().domains}
    assert (cards["gpu:0"].method, cards["gpu:1"].method) == ("counter", "integrated")
    assert cards["gpu:2"].method is None
    assert "Not Supported" in cards["gpu:2"].reason
    assert cards["gpu:0"].accuracy is None  # so its joules cannot decide


def test_a_board_that_refuses_loses_its_own_domain_only(zeus):
    said_it_could, other = Board(0), Board(1)
    said_it_could.refuses = True
    zeus(said_it_could, other)
    cards = {card.domain: card.method for card in Zeus(tick_s=0.01).describe().domains}
    assert cards == {"gpu:0": "integrated", "gpu:1": "counter"}
    said_it_could.refuses = False
    meter = Zeus(tick_s=0.01)
    meter.describe()
    other.refuses = True
    assert {row.domain for row in meter.sample()} == {"gpu:0"}
    assert list(meter._lost) == ["gpu:1"]


def test_joules_are_millijoules_of_the_counter(zeus):
    board = Board()
    zeus(board)
    meter = Zeus(tick_s=0.001)
    meter.describe()
    first, last = meter.sample(), meter.sample()
    assert last[0].value - first[0].value == pytest.approx(0.5)
    assert (first[0].domain, first[0].quantity) == ("gpu:0", "counter_j")


def test_apple_tells_processor_memory_and_gpu_apart(zeus):
    zeus(apple=Apple())
    meter = Zeus(tick_s=0.001)
    assert [card.domain for card in meter.describe().domains] == ["dram:0", "gpu:0", "package:0"]
    before = {row.domain: row.value for row in meter.sample()}
    after = {row.domain: row.value for row in meter.sample()}
    spent = {domain: after[domain] - before[domain] for domain in after}
    assert spent == pytest.approx({"package:0": 3.0, "dram:0": 0.5, "gpu:0": 1.01})


def test_a_counter_that_stands_still_is_no_counter(zeus):
    board = Board()
    board.get_total_energy_consumption = lambda: 7
    zeus(board)
    (card,) = Zeus().describe().domains
    assert card.method is None
    assert "does not advance" in card.reason


def test_it_stands_before_models_in_one_meter(zeus):
    zeus(apple=Apple())
    meter = All(meters=[Zeus(tick_s=0.001, min_ticks=1)])
    meter.start()
    meter.mark()
    span = Span(id="w", start_ns=meter.traces()[0].t_ns, end_ns=meter.traces()[-1].t_ns)
    meter.stop()
    assert {reading.domain for reading in meter.readings([span])} == {
        "package:0",
        "dram:0",
        "gpu:0",
    }
