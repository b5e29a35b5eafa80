import os
import subprocess
import sys

import pytest
from fake_machine import write

from harness.state import (
    busy_elsewhere,
    process_tree_cpu_s,
    snapshot,
    state,
    uncharged,
    unlike_states,
)

HZ = os.sysconf("SC_CLK_TCK")


def stat(machine, *, user, idle, steal):
    """The first line of /proc/stat, from seconds."""
    fields = [user * HZ, 0, 0, idle * HZ, 0, 0, 0, steal * HZ, 0, 0]
    write(machine["proc"] / "stat", f"cpu  {' '.join(map(str, fields))}\ncpu0 1 1 1 1\n")


def process(machine, pid, parent, *ticks, name="worker"):
    """A /proc/<pid>/stat; `ticks` are utime, stime, cutime and cstime."""
    before = " ".join(["0"] * 9)  # fields 5 to 13 of proc(5)
    text = f"{pid} ({name}) S {parent} {before} {' '.join(map(str, ticks))} 20 0"
    write(machine["proc"] / str(pid) / "stat", text)


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


def row(**shown):
    quiet = {"throttled": False, "steal_share": 0.0, "foreign_cpu_s": 0.05, "cpu_mhz": 2000.0}
    return {"duration_s": 5.0, "temperature_c": 50.0, **quiet, **shown}


@pytest.mark.parametrize(
    ("just", "beyond", "told"),
    (
        ({"throttled": False}, {"throttled": True}, "throttled 1 against 0 in its other windows"),
        ({"steal_share": 0.02}, {"steal_share": 0.021}, "steal_share 0.021 against 0.02 at most"),
        ({"cpu_mhz": 2199.0}, {"cpu_mhz": 2201.0}, "cpu_mhz 2201 against 2000"),
        ({"temperature_c": 65.0}, {"temperature_c": 34.9}, "temperature_c 34.9 against 50"),
    ),
)
def test_a_window_in_another_state_than_its_systems_others_is_told_with_both_values(
    just, beyond, told
):
    others = [row(), row(cpu_mhz=2001.0), row()]
    assert unlike_states(row(**just), others) == []
    (found,) = unlike_states(row(**beyond), others)
    assert found.startswith(told)


def test_a_system_that_always_throttles_is_like_itself():
    hot = row(throttled=True, temperature_c=90.0)
    assert unlike_states(hot, [hot, hot]) == []
    assert unlike_states(row(), [hot, hot]) != []


def test_states_that_nothing_shows_or_short_windows_or_first_ones_tell_nothing_apart():
    names = ("throttled", "steal_share", "foreign_cpu_s", "cpu_mhz", "temperature_c")
    unseen = row(**dict.fromkeys(names))
    assert unlike_states(unseen, [row(throttled=True)]) == []
    assert unlike_states(row(throttled=True), [unseen]) == []
    assert unlike_states(row(throttled=True), []) == []
    assert unlike_states(row(duration_s=0.1, steal_share=1.0), []) == []
    assert busy_elsewhere([unseen, unseen], 2) == ""


def test_what_others_do_is_judged_over_all_windows_and_by_the_size_of_the_machine():
    quiet, moment = row(), row(foreign_cpu_s=2.0)
    assert busy_elsewhere([quiet] * 7 + [moment], 2) == ""
    told = busy_elsewhere([row(foreign_cpu_s=0.6)] * 8, 2)
    assert told == "0.12 processors were busy elsewhere, 0.1 at most"
    assert busy_elsewhere([row(foreign_cpu_s=0.6)] * 8, 64) == ""


def test_work_that_is_nobodys_is_held_against_what_is_charged():
    assert uncharged([row(cpu_s=5.0, foreign_cpu_s=0.3)] * 8) == ""
    told = uncharged([row(cpu_s=0.1, foreign_cpu_s=0.3)] * 8)
    assert told.startswith("2.40 s of processor time were nobody's, beside 0.80 s")
    assert uncharged([row(cpu_s=None, foreign_cpu_s=0.3)] * 8) == ""
