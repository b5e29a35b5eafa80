from pathlib import Path

import pytest

from harness.errors import ConfigError, MeterUnavailable
from harness.meters.rapl import Rapl
from harness.records import Span

RANGE_UJ = 262_143_328_850  # as on an Intel server


def zone(root, folder, name, energy_uj, range_uj=RANGE_UJ):
    path = root / folder
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n")
    (path / "energy_uj").write_text(f"{energy_uj}\n")
    if range_uj is not None:
        (path / "max_energy_range_uj").write_text(f"{range_uj}\n")
    return path / "energy_uj"


def domains(meter):
    return {card.domain: card for card in meter.describe().domains}


def joules(meter, start=0, end=-1):
    """Energy of each domain between two of its samples, all taken by hand."""
    times = sorted({row.t_ns for row in meter.traces()})
    window = Span(id="w", start_ns=times[start], end_ns=times[end])
    return {reading.domain: reading.energy_j for reading in meter.readings([window])}


def test_package_and_dram_are_found_by_name_and_cores_are_left_out(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0", 1_000)
    zone(tmp_path, "intel-rapl:0:0", "core", 500)
    zone(tmp_path, "intel-rapl:0:1", "dram", 300)
    zone(tmp_path, "intel-rapl:1", "package-1", 2_000)
    zone(tmp_path, "intel-rapl:1:0", "dram", 400)
    zone(tmp_path, "intel-rapl:2", "psys", 9_000)
    (tmp_path / "intel-rapl").mkdir()
    meter = Rapl(root=tmp_path, tick_s=0.001)
    assert sorted(domains(meter)) == ["dram:0", "dram:1", "package:0", "package:1"]
    assert all(card.method == "counter" for card in domains(meter).values())


def test_psys_stands_in_place_of_package_and_dram(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0", 1_000)
    zone(tmp_path, "intel-rapl:0:0", "dram", 300)
    zone(tmp_path, "intel-rapl:1", "psys", 9_000)
    assert list(domains(Rapl(root=tmp_path, prefer="psys", tick_s=0.001))) == ["psys:0"]


def test_the_memory_mapped_twin_of_a_package_is_not_counted_again(tmp_path):
    zone(tmp_path, "intel-rapl-mmio:0", "package-0", 7_000)
    zone(tmp_path, "intel-rapl:0", "package-0", 1_000)
    meter = Rapl(root=tmp_path, tick_s=0.001)
    assert list(domains(meter)) == ["package:0"]
    meter.start()
    meter.stop()
    assert {row.value for row in meter.traces()} == {0.001}


def test_counter_wraparound_adds_full_range(tmp_path):
    energy = zone(tmp_path, "intel-rapl:0", "package-0", RANGE_UJ - 40_000_000)
    meter = Rapl(root=tmp_path, tick_s=1e-9)
    meter.start()
    energy.write_text("60000000")  # 40 J to the top, then 60 J
    meter.mark()
    energy.write_text("50000000")  # once more round, short of 10 J
    meter.mark()
    meter.stop()
    values = sorted({row.value for row in meter.traces()})
    assert values[1] - values[0] == pytest.approx(100.0)
    assert values[2] - values[1] == pytest.approx(RANGE_UJ / 1e6 - 10.0)
    assert joules(meter)["package:0"] == pytest.approx(100.0 + RANGE_UJ / 1e6 - 10.0)


def test_a_counter_that_falls_without_a_range_ends_its_samples(tmp_path):
    energy = zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000, range_uj=None)
    meter = Rapl(root=tmp_path, tick_s=0.001)
    meter.start()
    energy.write_text("1000000")
    meter.mark()
    meter.stop()
    last = meter.traces()[-1].t_ns
    (reading,) = meter.readings([Span(id="w", start_ns=last, end_ns=last + 10**10)])
    assert reading.energy_j is None
    assert "max_energy_range_uj" in reading.reason


def test_mirrored_dies_are_counted_once(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0-die-0", 8_123_456_789)
    zone(tmp_path, "intel-rapl:1", "package-0-die-1", 8_123_456_789)
    zone(tmp_path, "intel-rapl:2", "package-1-die-0", 9_999_999_999)
    meter = Rapl(root=tmp_path, tick_s=0.001)
    assert list(domains(meter)) == ["package:0-die-0", "package:1-die-0"]
    assert meter.describe().notes["mirrors"] == {"package:0-die-1": "package:0-die-0"}


def test_permission_names_the_place_and_the_remedy(tmp_path, monkeypatch):
    zone(tmp_path, "intel-rapl:0", "package-0", 1_000)
    read_text = Path.read_text

    def forbidden(self, *args, **kwargs):
        if self.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(self))
        return read_text(self, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", forbidden)
    meter = Rapl(root=tmp_path)
    card = domains(meter)["package:0"]
    assert card.method is None
    # style.md 29
    assert card.reason == (
        f"RAPL not readable at {tmp_path} (permission). Run as root, grant read access to the "
        "group, or use meter=nvml."
    )
    with pytest.raises(MeterUnavailable, match="permission"):
        meter.start()
    (reading,) = meter.readings([Span(id="w", start_ns=0, end_ns=10**10)])
    assert reading.energy_j is None and "permission" in reading.reason


def test_no_powercap_is_absent_with_a_remedy(tmp_path):
    meter = Rapl(root=tmp_path / "powercap")
    assert "meter=codecarbon" in domains(meter)["package"].reason
    assert meter.readings([Span(id="w", start_ns=0, end_ns=10**10)]) == []
    with pytest.raises(MeterUnavailable, match="RAPL not found"):
        meter.start()


def test_a_counter_that_does_not_advance_is_missing(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0", 0)
    card = domains(Rapl(root=tmp_path))["package:0"]
    assert card.method is None
    assert "does not advance" in card.reason


def test_a_window_of_few_ticks_is_none_with_its_resolution(tmp_path):
    energy = zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    meter = Rapl(root=tmp_path, tick_s=1000.0)
    meter.start()
    energy.write_text("9000000")
    meter.mark()
    meter.stop()
    assert joules(meter)["package:0"] is None


def test_an_unknown_preference_is_refused():
    with pytest.raises(ConfigError, match="prefer='core'"):
        Rapl(prefer="core")
