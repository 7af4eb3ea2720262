"""What the figures were measured on, and whether it held still."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def _first(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    return match[1].strip() if match else ""


def _said(*command: str) -> str:
    if not shutil.which(command[0]):
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip().splitlines()[0]


def _version_of(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _sysctl(name: str) -> str:
    try:
        return (Path("/proc/sys") / name).read_text().strip()
    except OSError:
        return ""


def describe() -> dict[str, Any]:
    """Kernel, processor, settings and versions."""
    cpu = Path("/proc/cpuinfo").read_text()
    return {
        "kernel": platform.release(),
        "kernel_version": platform.version(),
        "machine": platform.machine(),
        "cpu": _first(r"^model name\s*: (.*)", cpu),
        "emulated": "QEMU TCG" in _first(r"^model name\s*: (.*)", cpu),
        "hypervisor": "hypervisor" in _first(r"^flags\s*: (.*)", cpu).split(),
        "cores": os.cpu_count(),
        "memory_kb": int(_first(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text()) or 0),
        "clocksource": Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
        .read_text()
        .strip(),
        "sysctls": {
            name: _sysctl(name)
            for name in (
                "net/core/bpf_jit_enable",
                "net/core/default_qdisc",
                "net/core/netdev_budget",
                "net/ipv4/tcp_congestion_control",
                "kernel/bpf_stats_enabled",
            )
        },
        "load": os.getloadavg(),
        "versions": {
            "vnetx": _version_of("vnetx"),
            "python": sys.version.split()[0],
            "iproute2": _said("ip", "-V"),
            "ethtool": _said("ethtool", "--version"),
            "iperf3": _said("iperf3", "--version"),
            "ovs": _said("ovs-vswitchd", "--version"),
        },
    }


def throttled() -> int:
    """How often processors were slowed down for their heat since boot."""
    counters = Path("/sys/devices/system/cpu").glob("cpu*/thermal_throttle/core_throttle_count")
    return sum(int(counter.read_text()) for counter in counters)


@dataclass(frozen=True)
class CpuTime:
    """Seconds of a core since boot, by what it did."""

    user: float
    system: float
    softirq: float
    idle: float
    steal: float

    @classmethod
    def of(cls, core: int) -> CpuTime:
        for line in Path("/proc/stat").read_text().splitlines():
            name, *numbers = line.split()
            if name == f"cpu{core}":
                ticks = [int(number) * _TICK_S for number in numbers]
                return cls(
                    user=ticks[0] + ticks[1],
                    system=ticks[2] + ticks[5],
                    softirq=ticks[6],
                    idle=ticks[3] + ticks[4],
                    steal=ticks[7],
                )
        raise ValueError(f"no core {core}")

    def since(self, before: CpuTime) -> CpuTime:
        return CpuTime(
            self.user - before.user,
            self.system - before.system,
            self.softirq - before.softirq,
            self.idle - before.idle,
            self.steal - before.steal,
        )

    @property
    def busy(self) -> float:
        return self.user + self.system + self.softirq

    @property
    def steal_share(self) -> float:
        whole = self.busy + self.idle + self.steal
        return self.steal / whole if whole else 0.0


def others_running() -> int:
    """How many tasks besides the calling one want a core, for longer than a moment."""
    for _ in range(3):
        running = _first(r"^procs_running (\d+)", Path("/proc/stat").read_text())
        others = max(0, int(running or 1) - 1)
        if not others:
            break
        time.sleep(0.002)
    return others
