"""Joules at a boundary, from the domains that were read."""

import pytest

from harness.attribute import boundary_energy, per_image
from harness.boundaries import boundaries_of, on_processors, readings_of
from harness.records import Boundary, EnergyReading

NODE = Boundary(name="node", patterns=("psys|package|cpu", "psys|dram|ram", "gpu"))

PLUGGED = tuple(f"wall|{part}" for part in NODE.patterns)
HOST_ONLY = Boundary(name="node", patterns=NODE.patterns[:2])


def row(domain, energy_j, method="counter", accuracy=0.05, reason=""):
    return {
        "window": "w",
        "requests": 10,
        "failures": 0,
        "domain": domain,
        "energy_j": energy_j,
        "method": method if energy_j is not None else None,
        "accuracy": accuracy,
        "reason": reason,
    }


def test_a_system_off_the_accelerator_is_inside_the_device_boundary_too():
    def domains(*devices):
        return {b.name: b.patterns for b in boundaries_of(devices=devices, pue=1.2)}

    assert domains("cuda", "cuda")["device"] == ("gpu",)
    assert domains("cuda", "cuda:1")["device"] == ("gpu", "gpu:1")  # the very board is read
    assert domains("cpu", "cpu")["device"] == NODE.patterns[:2]
    assert domains("cpu", "cuda")["device"] == NODE.patterns
    for devices in (("cpu", "cpu"), ("cpu", "cuda")):
        found = domains(*devices)
        assert found["node"] == tuple(f"wall|{part}" for part in found["device"])


def test_an_accelerator_that_is_here_belongs_to_the_node_whatever_a_system_says_of_itself():
    def domains(*devices):
        found = boundaries_of(devices=devices, pue=1.2, accelerated=True)
        return {b.name: b.patterns for b in found}

    assert domains("cpu", "cpu") == {
        "device": NODE.patterns[:2],
        "node": PLUGGED,
        "facility": PLUGGED,
    }
    assert domains("cpu", None)["device"] == NODE.patterns  # silent: it may use the accelerator
    assert domains(None, None)["device"] == ("gpu",)
    assert on_processors("cpu", True) and on_processors(None, False)
    assert not on_processors(None, True) and not on_processors("cuda:1", False)
    assert not on_processors("mps", False)


def test_a_failed_request_is_no_image():
    rows = [{**row("package:0", 9.0), "failures": 4}, {**row("dram:0", 3.0), "failures": 4}]
    assert per_image(rows, HOST_ONLY).value == pytest.approx(2.0)
    none = [{**r, "failures": 10} for r in rows]
    assert per_image(none, HOST_ONLY).value is None


def test_all_domains_of_a_pattern_are_added():
    rows = [row("package:0", 5.0), row("package:1", 6.0), row("dram:0", 1.0), row("gpu:0", 100.0)]
    found = boundary_energy(rows, NODE)
    assert (found.energy_j, found.method) == (112.0, "counter")
    assert per_image(rows, NODE).value == pytest.approx(11.2)


def test_psys_stands_for_processor_and_memory_once():
    rows = [row("psys:0", 20.0), row("package:0", 9.0), row("gpu:0", 1.0)]
    assert boundary_energy(rows, NODE).energy_j == 21.0


def test_a_measured_alternative_comes_before_a_modelled_one():
    rows = [row("package:0", 9.0, "modelled"), row("cpu", 7.0), row("ram", 1.0), row("gpu:0", 1.0)]
    assert (boundary_energy(rows, NODE).energy_j, boundary_energy(rows, NODE).method) == (
        9.0,
        "counter",
    )


def test_one_modelled_domain_or_a_pue_makes_the_figure_modelled():
    rows = [row("package:0", 9.0), row("ram", 1.0, "modelled"), row("gpu:0", 1.0)]
    assert boundary_energy(rows, NODE).method == "modelled"
    facility = Boundary(name="facility", patterns=("gpu",), pue=1.2)
    found = boundary_energy(rows, facility)
    assert (found.energy_j, found.method) == (pytest.approx(1.2), "modelled")


def test_a_missing_domain_leaves_no_figure_and_says_which():
    rows = [row("package:0", 9.0), row("package:1", None, reason="permission"), row("ram", 1.0)]
    found = boundary_energy([*rows, row("gpu:0", 1.0)], NODE)
    assert found.energy_j is None and "package:1: permission" in found.reason
    assert "gpu" in boundary_energy([row("cpu", 1.0), row("ram", 1.0)], NODE).reason
    assert boundary_energy([], NODE).energy_j is None


def test_accuracy_is_weighted_by_energy_and_unknown_if_one_is():
    rows = [row("cpu", 3.0, accuracy=0.1), row("ram", 1.0, accuracy=0.02), row("gpu:0", 4.0)]
    assert boundary_energy(rows, NODE).accuracy == pytest.approx((0.3 + 0.02 + 0.2) / 8)
    rows[0]["accuracy"] = None
    assert boundary_energy(rows, NODE).accuracy is None


def test_a_window_that_served_nothing_has_no_joules_per_image():
    rows = [{**row("cpu", 3.0), "requests": 0}, {**row("ram", 3.0), "requests": 0}]
    cpu = Boundary(name="device", patterns=("cpu",))
    assert per_image(rows, cpu).value is None


def test_a_wall_meter_stands_for_every_part_of_the_node_once_and_for_no_device():
    node = Boundary(name="node", patterns=PLUGGED)
    rows = [row("wall", 20.0, "wall", 0.01), row("cpu", 5.0, "modelled", None)]
    found = boundary_energy(rows, node)
    assert (found.energy_j, found.method, found.accuracy) == (20.0, "wall", pytest.approx(0.01))
    device = Boundary(name="device", patterns=NODE.patterns[:1])
    assert boundary_energy(rows, device).energy_j == 5.0
    unread = [row("wall", None, reason="no log"), row("package:0", 9.0), row("dram:0", 1.0)]
    assert boundary_energy(unread, Boundary(name="node", patterns=PLUGGED[:2])).energy_j == 10.0


def test_of_a_system_served_elsewhere_this_machines_joules_are_none_and_the_servers_count():
    def readings(device, *domains):
        read = [
            EnergyReading(span="w", domain=name, energy_j=5.0, method="counter") for name in domains
        ]
        return {one.domain: one for one in readings_of(device, read)}

    away = readings("remote", "package:0", "gpu:0", "wall", "remote")
    assert [name for name, one in away.items() if one.energy_j is not None] == ["remote"]
    assert "served elsewhere" in away["wall"].reason and "meter=external" in away["wall"].reason
    for device in ("cpu", "cuda:1", None):
        here = readings(device, "package:0", "gpu:0", "remote")
        assert [name for name, one in here.items() if one.energy_j is None] == ["remote"]


def test_the_plug_of_a_server_is_the_node_of_two_systems_that_it_serves():
    found = {b.name: b for b in boundaries_of(devices=["remote", "remote"], pue=1.2)}
    plug = [row("remote", 20.0, "wall"), row("package:0", None, reason="served elsewhere")]
    assert boundary_energy(plug, found["node"]).energy_j == 20.0  # once, for every part
    assert boundary_energy(plug, found["facility"]).energy_j == pytest.approx(24.0)
    assert "served elsewhere" in boundary_energy(plug, found["device"]).reason


def test_an_accelerator_of_this_machine_is_no_part_of_what_is_served_elsewhere():
    def device(*devices, **here):
        return boundaries_of(devices=devices, pue=1.2, **here)[0].patterns

    assert device("remote", "cpu") == device("remote", "remote") == NODE.patterns[:2]
    assert device("remote", "cuda") == ("gpu",)
    assert device("remote", "cpu", accelerated=True) == NODE.patterns[:2]
    assert not on_processors("remote", False)
