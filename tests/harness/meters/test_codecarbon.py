import logging
import socket
import sys
from types import SimpleNamespace

import pytest

from harness.errors import MeterUnavailable
from harness.meters.codecarbon import CodeCarbon
from harness.records import Span

KWH_J = 3.6e6


class CPU:
    """Named as codecarbon names it; 90 W whatever the load."""

    def __init__(self, description):
        self._description = description
        self._tdp = 90

    def description(self):
        return self._description

    def start(self):
        self.started = True

    def measure_power_and_energy(self, last_duration):
        return None, SimpleNamespace(kWh=90 * last_duration / KWH_J)


class Raspberry(CPU):
    chip_part = "RAM"


class GPU(CPU):
    pass


@pytest.fixture
def library(monkeypatch):
    def use(*hardware):
        def tracker(**options):
            logging.getLogger("codecarbon").warning("falling back\n on a  model")
            return SimpleNamespace(_hardware=list(hardware), get_detected_hardware=dict)

        module = SimpleNamespace(OfflineEmissionsTracker=tracker, __version__="3.0")
        monkeypatch.setitem(sys.modules, "codecarbon", module)

    return use


def window(meter, domain="cpu"):
    times = [row.t_ns for row in meter.traces() if row.domain == domain]
    return Span(id="w", start_ns=min(times), end_ns=max(times))


def test_the_real_library_offline_is_labelled_modelled(tmp_path, monkeypatch, capfd):
    pytest.importorskip("codecarbon", reason="codecarbon is not installed")
    monkeypatch.chdir(tmp_path)

    def refuse(*args, **kwargs):
        raise AssertionError("codecarbon reached for the network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    meter = CodeCarbon(min_ticks=0)
    card = {domain.domain: domain for domain in meter.describe().domains}
    assert set(card) == {"cpu", "ram"}
    assert card["ram"].method == "modelled"
    # the label follows codecarbon's own list: a counter only where it says so
    counted = "CPU(Intel Rapl)" in meter.describe().notes["hardware"]
    assert card["cpu"].method == ("counter" if counted else "modelled")
    meter.start()
    meter.mark()
    meter.stop()
    for domain in ("cpu", "ram"):
        readings = {one.domain: one for one in meter.readings([window(meter, domain)])}
        assert readings[domain].energy_j > 0
    assert readings["ram"].accuracy is None
    assert list(tmp_path.iterdir()) == []
    captured = capfd.readouterr()
    assert "codecarbon" not in captured.out + captured.err


def test_its_hardware_list_decides_the_label(library):
    library(CPU("CPU(Intel Rapl)"), Raspberry("Raspberry (Pi 5 > RAM)"), GPU("GPU (Fake)"))
    meter = CodeCarbon()
    card = {domain.domain: domain for domain in meter.describe().domains}
    assert {name: one.method for name, one in card.items()} == {
        "cpu": "counter",
        "ram": "integrated",
    }
    assert meter.describe().notes["hardware"][2] == "GPU (Fake)"


def test_every_fallback_of_the_processor_is_modelled(library):
    for description in ("CPU(Cpu Load)", "CPU(Some Chip > 90W)", "CPU(Intel Power Gadget)"):
        library(CPU(description))
        (card,) = CodeCarbon().describe().domains
        assert card.method == "modelled"
        assert description in card.reason


def test_watts_of_the_library_become_joules_over_the_span(library):
    library(CPU("CPU(Cpu Load)"))
    meter = CodeCarbon(min_ticks=0)
    meter.start()
    for _ in range(3):
        meter.mark()
    meter.stop()
    measured = window(meter)
    (reading,) = meter.readings([measured])
    assert reading.energy_j == pytest.approx(90 * measured.duration_s)
    assert reading.method == "modelled"


def test_its_warnings_are_kept_in_the_card(library):
    library(CPU("CPU(Cpu Load)"))
    assert CodeCarbon().describe().notes["warnings"] == ["falling back on a model"]


def test_no_hardware_and_no_library_are_absent_with_a_remedy(library, monkeypatch):
    library()
    with pytest.raises(MeterUnavailable, match="no hardware"):
        CodeCarbon().start()
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    with pytest.raises(MeterUnavailable, match="not installed"):
        CodeCarbon().start()
