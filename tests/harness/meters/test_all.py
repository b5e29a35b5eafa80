import pytest

from harness.errors import MeterUnavailable
from harness.meters.all import All
from harness.meters.codecarbon import CodeCarbon
from harness.meters.nvml import Nvml
from harness.meters.rapl import Rapl
from harness.protocols import Meter
from harness.records import DomainCard, EnergyReading, MeterCard, Span, TraceRow

WINDOW = Span(id="w", start_ns=0, end_ns=10**10)


class Fixed:
    """A meter whose readable domains always read 1 J."""

    def __init__(self, name, **methods):
        self.name = name
        self.cards = tuple(
            DomainCard(domain=domain.replace("_", ":"), method=method, reason=f"{name} says so")
            for domain, method in methods.items()
        )
        self.calls = []

    def describe(self):
        return MeterCard(name=self.name, domains=self.cards, notes={"from": self.name})

    def start(self):
        if all(card.method is None for card in self.cards):
            raise MeterUnavailable(self.name)
        self.calls.append("start")

    def mark(self):
        self.calls.append("mark")

    def readings(self, spans):
        return [
            EnergyReading(
                span=span.id,
                domain=card.domain,
                energy_j=1.0 if card.method else None,
                method=card.method,
            )
            for span in spans
            for card in self.cards
            if card.method or ":" in card.domain
        ]

    def traces(self):
        return [
            TraceRow(t_ns=len(self.name), domain=card.domain, quantity="counter_j", value=1.0)
            for card in self.cards
            if card.method
        ]

    def stop(self):
        self.calls.append("stop")


def modelled():
    return Fixed("codecarbon", cpu="modelled", ram="modelled")


def read(meter):
    return {reading.domain: reading.energy_j for reading in meter.readings([WINDOW])}


def test_a_counter_displaces_the_model_of_the_same_part():
    rapl = Fixed("rapl", package_0="counter", package_1="counter")
    meter = All(meters=[rapl, modelled()])
    assert read(meter) == {"package:0": 1.0, "package:1": 1.0, "ram": 1.0}
    card = {domain.domain: domain for domain in meter.describe().domains}
    assert card["cpu"].method is None
    assert "package:0" in card["cpu"].reason
    assert {row.domain for row in meter.traces()} == {"package:0", "package:1", "ram"}
    assert meter.describe().notes["meter_of"]["ram"] == "codecarbon"


def test_dram_displaces_ram_and_psys_displaces_both():
    rapl = Fixed("rapl", package_0="counter", dram_0="counter")
    assert read(All(meters=[rapl, modelled()])) == {"package:0": 1.0, "dram:0": 1.0}
    assert read(All(meters=[Fixed("rapl", psys_0="counter"), modelled()])) == {"psys:0": 1.0}


def test_a_meter_that_is_wholly_displaced_is_not_started():
    model = modelled()
    meter = All(meters=[Fixed("rapl", psys_0="counter"), model])
    meter.start()
    meter.mark()
    meter.stop()
    assert model.calls == []


def test_a_model_stands_in_for_counters_that_cannot_be_read():
    meter = All(meters=[Fixed("rapl", package_0=None, dram_0=None), modelled()])
    assert read(meter) == {"cpu": 1.0, "ram": 1.0}
    card = {domain.domain: domain for domain in meter.describe().domains}
    assert card["package:0"].reason == "rapl says so"


def test_one_unreadable_package_stays_missing_beside_one_that_is_read():
    meter = All(meters=[Fixed("rapl", package_0="counter", package_1=None), modelled()])
    assert read(meter) == {"package:0": 1.0, "package:1": None, "ram": 1.0}


def test_an_unreadable_gpu_stays_missing_since_nothing_models_it():
    meter = All(meters=[Fixed("nvml", gpu_0=None), modelled()])
    assert read(meter) == {"gpu:0": None, "cpu": 1.0, "ram": 1.0}


def test_absent_hardware_is_described_and_never_stops_the_others():
    nvml, model = Fixed("nvml", gpu=None), modelled()
    meter = All(meters=[nvml, model])
    meter.start()
    meter.start()
    meter.mark()
    meter.stop()
    assert nvml.calls == []
    assert model.calls == ["start", "mark", "stop"]
    assert {domain.domain for domain in meter.describe().domains} == {"gpu", "cpu", "ram"}
    assert read(meter) == {"cpu": 1.0, "ram": 1.0}


def test_a_machine_without_any_meter_gives_no_readings_and_no_error():
    meter = All(meters=[Fixed("nvml", gpu=None)])
    meter.start()
    meter.stop()
    assert meter.readings([WINDOW]) == []


def test_traces_of_all_meters_are_in_order_of_time():
    meter = All(meters=[Fixed("longest", gpu_0="counter"), Fixed("short", gpu_1="counter")])
    assert [row.domain for row in meter.traces()] == ["gpu:1", "gpu:0"]


def test_by_default_counters_come_before_models(tmp_path):
    meter = All()
    assert [type(one) for one in meter.meters] == [Nvml, Rapl, CodeCarbon]
    assert isinstance(meter, Meter)
    assert isinstance(Rapl(root=tmp_path), Meter)


def test_a_meter_asked_for_by_name_raises_where_all_does_not(tmp_path):
    with pytest.raises(MeterUnavailable):
        Rapl(root=tmp_path).start()
    All(meters=[Rapl(root=tmp_path)]).start()
