import json

from harness import environment
from harness.environment import describe, unlike
from harness.state import snapshot, state


def test_the_machine_is_described_from_proc_and_sys(machine):
    found = describe(**machine)
    assert found["cpu_model"] == "Fake CPU 9000"
    assert found["cpu_physical"] == 2
    assert found["memory_gib"] == 24
    assert found["virtualised"] is True
    assert found["cpu_governor"] == "performance"
    assert found["cpu_turbo"] is True
    assert found["accelerators"] == ["NVIDIA H1"]
    assert found["accelerator_driver"] == "580.65.06"
    assert "numpy" in found["packages"]


def test_the_description_is_json_and_has_every_field_that_must_match():
    found = describe()
    assert json.loads(json.dumps(found)) == found
    assert set(environment.MUST_MATCH) <= set(found)


def test_what_cannot_be_seen_is_none(tmp_path):
    found = describe(proc=tmp_path, sys=tmp_path)
    for field in ("cpu_governor", "cpu_turbo", "memory_gib", "virtualised", "accelerator_driver"):
        assert found[field] is None
    now = state(snapshot(proc=tmp_path, sys=tmp_path), own_cpu_s=1.0, proc=tmp_path, sys=tmp_path)
    assert (now.cpu_mhz, now.steal_share, now.foreign_cpu_s) == (None, None, None)
    assert (now.temperature_c, now.throttled) == (None, None)


def test_unlike_machines_are_named_with_both_values(machine):
    mine = describe(**machine)
    assert unlike(mine, mine) == []
    theirs = {**mine, "cpu_governor": "powersave", "kernel": "other"}
    assert unlike(mine, theirs) == ["cpu_governor: 'performance' against 'powersave'"]


def test_copies_that_a_package_brings_along_are_no_packages(tmp_path, monkeypatch):
    for folder, name in (("_vendor", "brought"), ("site", "installed")):
        info = tmp_path / folder / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        monkeypatch.syspath_prepend(str(tmp_path / folder))
    found = environment.describe()["packages"]
    assert found["installed"] == "1.0" and "brought" not in found
