import json
import os
import subprocess
import sys

import pytest

from harness import environment
from harness.environment import describe, process_tree_cpu_s, snapshot, state, unlike

HZ = os.sysconf("SC_CLK_TCK")
CPUINFO = """processor\t: 0
model name\t: Fake CPU 9000
cpu MHz\t\t: 2000.000
physical id\t: 0
core id\t\t: 0
flags\t\t: fpu sse hypervisor avx

processor\t: 1
model name\t: Fake CPU 9000
cpu MHz\t\t: 3000.000
physical id\t: 0
core id\t\t: 1
flags\t\t: fpu sse hypervisor avx
"""


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def machine(tmp_path):
    """Fake /proc and /sys of a virtual machine with one NVIDIA board."""
    proc, sysfs = tmp_path / "proc", tmp_path / "sys"
    write(proc / "cpuinfo", CPUINFO)
    write(proc / "meminfo", "MemTotal:       25165824 kB\nMemFree: 1 kB\n")
    write(proc / "driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64  580.65.06  Sun\n")
    write(proc / "driver/nvidia/gpus/0000:01/information", "Model: \t\t NVIDIA H1\nIRQ: 7\n")
    cpu = sysfs / "devices/system/cpu"
    write(cpu / "cpu0/cpufreq/scaling_governor", "performance\n")
    write(cpu / "intel_pstate/no_turbo", "0\n")
    return {"proc": proc, "sys": sysfs}


def stat(machine, *, user, idle, steal):
    """The first line of /proc/stat, from seconds."""
    fields = [user * HZ, 0, 0, idle * HZ, 0, 0, 0, steal * HZ, 0, 0]
    write(machine["proc"] / "stat", f"cpu  {' '.join(map(str, fields))}\ncpu0 1 1 1 1\n")


def process(machine, pid, parent, *ticks, name="worker"):
    """A /proc/<pid>/stat; `ticks` are utime, stime, cutime and cstime."""
    before = " ".join(["0"] * 9)  # fields 5 to 13 of proc(5)
    text = f"{pid} ({name}) S {parent} {before} {' '.join(map(str, ticks))} 20 0"
    write(machine["proc"] / str(pid) / "stat", text)


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


def test_steal_and_foreign_time_are_those_of_the_window(machine):
    stat(machine, user=100, idle=50, steal=7)
    since = snapshot(**machine)
    stat(machine, user=106, idle=52, steal=9)
    now = state(since, own_cpu_s=4.0, **machine)
    assert now.steal_share == pytest.approx(2 / 10)  # 6 busy, 2 idle, 2 stolen
    assert now.foreign_cpu_s == pytest.approx(2.0)
    assert state(since, own_cpu_s=None, **machine).foreign_cpu_s is None
    # clocks of /proc/cpuinfo: 2000 and 3000 MHz
    assert now.cpu_mhz == 2500.0


def test_cpufreq_goes_before_cpuinfo_and_edges_are_averaged(machine):
    clock = machine["sys"] / "devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"
    write(clock, "1000000\n")
    since = snapshot(**machine)
    write(clock, "3000000\n")
    assert state(since, own_cpu_s=None, **machine).cpu_mhz == 2000.0


def test_the_hottest_processor_sensor_is_read_and_others_are_not(machine):
    write(machine["sys"] / "class/thermal/thermal_zone0/type", "x86_pkg_temp\n")
    write(machine["sys"] / "class/thermal/thermal_zone0/temp", "61000\n")
    write(machine["sys"] / "class/hwmon/hwmon0/name", "coretemp\n")
    write(machine["sys"] / "class/hwmon/hwmon0/temp2_input", "63500\n")
    write(machine["sys"] / "class/hwmon/hwmon1/name", "nvme\n")
    write(machine["sys"] / "class/hwmon/hwmon1/temp1_input", "90000\n")
    now = state(snapshot(**machine), own_cpu_s=None, **machine)
    assert now.temperature_c == pytest.approx(63.5)


def test_throttling_is_a_change_of_the_counts(machine):
    count = machine["sys"] / "devices/system/cpu/cpu1/thermal_throttle/core_throttle_count"
    write(count, "3\n")
    since = snapshot(**machine)
    assert state(since, own_cpu_s=None, **machine).throttled is False
    write(count, "4\n")
    assert state(since, own_cpu_s=None, **machine).throttled is True


def test_a_process_tree_sums_its_live_descendants_and_reaped_children(machine):
    process(machine, 10, 1, 100, 20, 3, 4)
    process(machine, 11, 10, 50, 0, 0, 0, name="odd) S 1 (name")
    process(machine, 12, 11, 30, 0, 0, 0)
    process(machine, 99, 1, 1000, 0, 0, 0)
    assert process_tree_cpu_s(10, proc=machine["proc"]) == pytest.approx(207 / HZ)
    assert process_tree_cpu_s(11, proc=machine["proc"]) == pytest.approx(80 / HZ)


def test_a_process_that_does_not_exist_has_no_time(machine, tmp_path):
    process(machine, 10, 1, 1, 1, 0, 0)
    assert process_tree_cpu_s(4711, proc=machine["proc"]) is None
    assert process_tree_cpu_s(10, proc=tmp_path / "nowhere") is None


@pytest.mark.skipif(sys.platform != "linux", reason="process times are read from /proc")
def test_a_real_child_is_charged_to_its_parent():
    before = process_tree_cpu_s(os.getpid())
    busy = "import time\nwhile time.process_time() < 0.2: pass"
    subprocess.run([sys.executable, "-c", busy], check=True)
    assert process_tree_cpu_s(os.getpid()) - before >= 0.15


def test_copies_that_a_package_brings_along_are_no_packages(tmp_path, monkeypatch):
    for folder, name in (("_vendor", "brought"), ("site", "installed")):
        info = tmp_path / folder / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        monkeypatch.syspath_prepend(str(tmp_path / folder))
    found = environment.describe()["packages"]
    assert found["installed"] == "1.0" and "brought" not in found
