"""What vnetx needs of a machine, whether it is there, and what to do where it is not.

Looks, and changes nothing. Imports neither bcc nor pyroute2.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from vnetx import carrier, netns, state, tun
from vnetx.datapath import build, headers, pins
from vnetx.errors import VnetxError

#: The oldest kernel with all that the programs use; 6.1 and 6.18 are what is tested.
OLDEST_KERNEL = (5, 15)
TCX_KERNEL = (6, 6)

_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}
_ALMOST_FULL = 0.9


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        status: "ok", "warn" (works, but) or "fail" (vnetx cannot work).
        remedy: what to do; empty where there is nothing to do.
    """

    name: str
    status: str
    detail: str
    remedy: str = ""


def _read(path: str) -> str | None:
    with contextlib.suppress(OSError):
        return Path(path).read_text().strip()
    return None


def _sysctl(name: str) -> str | None:
    """A setting of the whole machine, which only the first network namespace shows."""
    found: list[str | None] = []

    def look() -> None:  # a namespace is a thread's: this one's is left as it is
        for pid in (os.getpid(), 1, os.getppid()):  # process 1 may not be ours to look at
            with contextlib.suppress(OSError), open(f"/proc/{pid}/ns/net") as there:
                netns.enter(there.fileno())
                if (value := _read(f"/proc/sys/{name}")) is not None:
                    found.append(value)
                    return
        found.append(None)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    return found[0]


# ------------------------------------------------------------ the kernel


def _kernel_version() -> tuple[int, int]:
    major, minor = platform.release().split(".")[:2]
    return int(major), int("".join(c for c in minor if c.isdigit()) or 0)


def _kernel() -> Iterator[Check]:
    release = platform.release()
    oldest = ".".join(map(str, OLDEST_KERNEL))
    if _kernel_version() < OLDEST_KERNEL:
        yield Check(
            "kernel",
            "fail",
            f"{release}; {oldest} is the oldest that will do",
            "upgrade the kernel",
        )
    else:
        yield Check("kernel", "ok", release)


def _hooks() -> Iterator[Check]:
    if _kernel_version() >= TCX_KERNEL:
        yield Check("TC hook", "ok", "tcx links")
    else:
        yield Check(
            "TC hook", "ok", "clsact filters (tcx links, which a crash cannot leave, need 6.6)"
        )


def _btf() -> Iterator[Check]:
    if Path("/sys/kernel/btf/vmlinux").exists():
        yield Check("BTF", "ok", "/sys/kernel/btf/vmlinux")
    else:
        yield Check(
            "BTF",
            "warn",
            "the kernel has none: vnetx works, bpftool shows maps and programs without types",
            "a kernel with CONFIG_DEBUG_INFO_BTF, as Debian's",
        )


def _jit() -> Iterator[Check]:
    enabled = _sysctl("net/core/bpf_jit_enable")
    if enabled == "0":
        yield Check(
            "JIT",
            "warn",
            "off: programs are interpreted and several times slower",
            "sysctl net.core.bpf_jit_enable=1",
        )
    elif enabled is None:
        yield Check("JIT", "ok", "not to be seen here; the kernel decides")
    else:
        yield Check("JIT", "ok", "on")


# ------------------------------------------------------------ compiling


def _bcc() -> Iterator[Check]:
    if find_spec("bcc") is not None:
        yield Check("bcc", "ok", f"importable by {sys.executable}")
        return
    yield Check(
        "bcc",
        "fail" if build.uncompiled() else "warn",
        f"{sys.executable} cannot import it"
        + ("" if build.uncompiled() else "; what is compiled already still works"),
        "apt-get install python3-bpfcc (the 'bcc' of the Python package index is something else)",
    )


def _headers() -> Iterator[Check]:
    found = headers.find()
    if found or "BCC_KERNEL_SOURCE" in os.environ:
        yield Check("kernel headers", "ok", found or os.environ["BCC_KERNEL_SOURCE"])
        return
    yield Check(
        "kernel headers",
        "fail" if build.uncompiled() else "warn",
        "none are installed"
        + ("" if build.uncompiled() else "; needed when the data plane is compiled again"),
        "apt-get install linux-headers-amd64 (any kernel's headers do)",
    )


def _cache() -> Iterator[Check]:
    directory = build.cache_directory()
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        yield Check(
            "cache",
            "warn",
            f"{directory} is not writable: every attach compiles anew",
            "make it writable, or set VNETX_CACHE_DIR",
        )
    elif sources := build.uncompiled():
        yield Check(
            "cache",
            "ok",
            f"not compiled yet: {', '.join(sources)}; what needs it first takes a second longer",
        )
    else:
        yield Check("cache", "ok", f"the data plane is compiled, in {directory}")


# ------------------------------------------------------------ privileges and pins


def _privileges() -> Iterator[Check]:
    status = _read("/proc/self/status") or ""
    effective = next(
        (int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")), 0
    )
    missing = [name for name, bit in _CAPABILITIES.items() if not effective >> bit & 1]
    if missing:
        yield Check("privileges", "fail", f"{', '.join(missing)} missing", "run as root")
    else:
        yield Check("privileges", "ok", ", ".join(_CAPABILITIES))


def _bpffs() -> Iterator[Check]:
    known = (_read("/proc/filesystems") or "").split()
    if "bpf" not in known:
        yield Check(
            "bpffs", "fail", "the kernel has none", "a kernel with CONFIG_BPF_SYSCALL, as Debian's"
        )
    elif pins.is_mounted():
        yield Check("bpffs", "ok", f"mounted at {pins.MOUNT}")
    else:
        yield Check("bpffs", "ok", f"will be mounted at {pins.MOUNT} by the first attach")


def _foreign_pins() -> Iterator[Check]:
    for version in pins.foreign_versions():
        yield Check(
            "pins",
            "warn",
            f"{pins.MOUNT}/{version} was made by another version of vnetx",
            "detach with that version, or 'vnetx switch del NAME --force'",
        )


# ------------------------------------------------------------ what only some ask for


def _taps() -> Iterator[Check]:
    try:
        with tun.opened():
            yield Check("taps", "ok", str(tun.FILE))
    except VnetxError as error:
        yield Check("taps", "warn", f"none can be made: {error.what}, {error.why}", error.remedy)


# ------------------------------------------------------------ switches


def _switches() -> Iterator[Check]:
    for name in pins.switch_names():
        try:
            (view,) = state.switches([name])
        except VnetxError as error:
            yield Check(f"switch {name}", "fail", error.why, error.remedy)
            continue
        problems = list(_switch(view))
        yield from problems or [Check(f"switch {name}", "ok", f"{len(view.ports)} ports")]


def _switch(view: state.SwitchView) -> Iterator[Check]:
    name = f"switch {view.name}"
    size = view.settings.fdb_size
    learned = sum(port.learned for port in view.ports)
    if view.fdb_full:
        yield Check(
            name,
            "warn",
            f"the FDB of {size} was full: {view.fdb_full} times an address was not learned, and "
            "frames to it are flooded",
            "a switch with a larger --fdb-size, or a --learn-limit on the port that fills it",
        )
    elif learned > size * _ALMOST_FULL:
        yield Check(
            name,
            "warn",
            f"the FDB is almost full: {learned} of {size}",
            "a switch with a larger --fdb-size, or a shorter --ageing",
        )
    gone = [port for port in view.ports if port.state == "gone"]
    if gone:
        numbers = ", ".join(str(port.ifindex) for port in gone)
        yield Check(
            name,
            "warn",
            f"the devices of {len(gone)} ports are gone (ifindex {numbers})",
            "the next command that changes anything removes them",
        )
    if view.unconfirmed_for is not None:
        yield Check(
            name,
            "warn",
            f"an attach is not confirmed and is undone in {view.unconfirmed_for:.0f} s",
            "vnetx confirm",
        )
    if any(wire.carrier for wire in view.wires) and not carrier.is_followed():
        yield Check(
            name,
            "warn",
            "nobody has loss of carrier show at the other end of wires: the process was killed",
            "any command that changes something starts it",
        )
    yield from _backlog(view)


def _backlog(view: state.SwitchView) -> Iterator[Check]:
    """A flooded frame waits once for every veth in the queue of one CPU."""
    backlog = _sysctl("net/core/netdev_max_backlog")
    ports = len(view.ports)
    if backlog and backlog.isdecimal() and int(backlog) < ports:
        yield Check(
            f"switch {view.name}",
            "warn",
            f"a flood to {ports} ports overflows a CPU's backlog of {backlog} frames",
            f"sysctl net.core.netdev_max_backlog={max(4 * ports, 10_000)}",
        )


# ------------------------------------------------------------ all

_CHECKS: tuple[Callable[[], Iterator[Check]], ...] = (
    _kernel,
    _hooks,
    _btf,
    _jit,
    _bcc,
    _headers,
    _cache,
    _privileges,
    _bpffs,
    _foreign_pins,
    _taps,
    _switches,
)


def checks() -> list[Check]:
    """All checks, in the order in which a machine is set up."""
    found: list[Check] = []
    for check in _CHECKS:
        try:
            found.extend(check())
        except VnetxError as error:
            found.append(Check(error.what, "fail", error.why, error.remedy))
    return found
