"""A /proc and a /sys to read from, written by hand."""

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


def fake_machine(folder):
    """Fake /proc and /sys of a virtual machine with one NVIDIA board."""
    proc, sysfs = folder / "proc", folder / "sys"
    write(proc / "cpuinfo", CPUINFO)
    write(proc / "meminfo", "MemTotal:       25165824 kB\nMemFree: 1 kB\n")
    write(proc / "driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64  580.65.06  Sun\n")
    write(proc / "driver/nvidia/gpus/0000:01/information", "Model: \t\t NVIDIA H1\nIRQ: 7\n")
    cpu = sysfs / "devices/system/cpu"
    write(cpu / "cpu0/cpufreq/scaling_governor", "performance\n")
    write(cpu / "intel_pstate/no_turbo", "0\n")
    return {"proc": proc, "sys": sysfs}
