"""A machine for vnetx alone, and pictures of it: what is in it before and after a command.

A :class:`Machine` has a /run, processes and a first mount namespace of its own, so that a test
may say that the mount is gone whatever other tests do meanwhile. Commands are called in forks of
the test, which can be killed in the middle.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import functools
import glob
import json
import os
import pickle
import platform
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from lib import EMULATED
from lib.namespaces import Namespace
from vnetx import _abi, _bpf, mountns, netns
from vnetx.datapath.build import Build
from vnetx.engine import execute
from vnetx.errors import VnetxError
from vnetx.model import SwitchSettings

_SYS_BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]
_SYS_MEMBARRIER = {"x86_64": 324, "aarch64": 283}[platform.machine()]
_PROG_QUERY = 16
_NEXT_ID = {"program": 11, "map": 12, "link": 31}
_PATIENCE_S = 60 if EMULATED else 20
_libc = ctypes.CDLL(None, use_errno=True)


# -------------------------------------------------------------- the machine


@dataclass(frozen=True)
class Failure:
    """What a command raised."""

    kind: str
    text: str
    what: str = ""
    why: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


@dataclass(frozen=True)
class Outcome:
    """How a call ended: its value, what it raised, or the signal that killed it."""

    value: Any = None
    failure: Failure | None = None
    signal: int = 0


class Running:
    """A call under way."""

    def __init__(self, pid: int, pipe: int) -> None:
        self.pid = pid
        self._pipe = pipe

    def wait(self) -> Outcome:
        with os.fdopen(self._pipe, "rb") as pipe:
            raw = pipe.read()
        _, status = os.waitpid(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if code > 128:
            return Outcome(signal=code - 128)
        assert code == 0, f"the call's process exited with {code}"
        value, failure = pickle.loads(raw)
        return Outcome(value, failure)


def idle_programs() -> Build:
    """Programs that do nothing, which the verifier accepts in no time."""
    code = {
        kind: struct.pack("<BBhiBBhi", 0xB7, 0, 0, value, 0x95, 0, 0, 0)
        for kind, value in (("tc", -1), ("xdp", 2))
    }
    return Build(1, {row["name"]: code["xdp" if row["type"] == 6 else "tc"]
                     for row in _abi.PROGRAMS})  # fmt: skip


class Machine:
    """Its own processes, mounts and /run; `near` is the namespace where its switches are.

    Args:
        idle: small switches with programs that do nothing; not for tests that look at frames.
        jailed: its root is not that of its mount namespace, as in a chroot.
    """

    def __init__(self, idle: bool = False, jailed: bool = False) -> None:
        self._idle = idle
        self._stack = contextlib.ExitStack()
        self._holders: dict[Namespace, int] = {}
        self._namespaces: list[Namespace] = []
        script = """
            awk '$2 ~ "^/run" { print $2 }' /proc/self/mounts | sort -r | xargs -r -n1 umount -l
            mount -t tmpfs -o mode=755 run /run && mkdir /run/netns &&
            mount -t sysfs sysfs /sys && ip link set lo up && echo up && exec cat
        """
        jail = ["sh", "-c", 'mount --rbind / /mnt && exec chroot /mnt "$@"', "jail"]
        self._init = subprocess.Popen(
            [
                *("unshare", "--net", "--pid", "--mount", "--mount-proc"),
                *("--propagation", "private", "--fork", "--kill-child"),
                *(jail if jailed else ()),
                *("sh", "-c", script),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._stack.callback(self._power_off)
        assert self._init.stdout
        assert self._init.stdout.readline() == b"up\n", "no namespaces of its own"
        children = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children")
        self.pid = int(children.read_text())
        self.near = self.namespace()

    def _power_off(self) -> None:
        assert self._init.stdin
        assert self._init.stdout
        self._init.kill()  # and its child with it
        self._init.wait()
        self._init.stdin.close()
        self._init.stdout.close()

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def run(self) -> Path:
        """Its /run, as the test sees it."""
        return Path(f"/proc/{self.pid}/root/run")

    # ------------------------------------------------------------ namespaces

    def namespace(self) -> Namespace:
        """A network namespace with a process in it, as a container's."""
        namespace = Namespace()
        self._stack.callback(namespace.close)
        self._namespaces.append(namespace)
        child = self._linger(namespace)
        self._holders[namespace] = child
        self._stack.callback(self.vacate, namespace)
        return namespace

    def _linger(self, at: Namespace, keep: Namespace | None = None) -> int:
        """A process that does nothing but be there."""
        ready, tell = os.pipe()
        child = self._fork(at, keep)
        if child == 0:
            try:
                os.write(tell, b"1")
                os.close(tell)
                signal.pause()
            finally:
                os._exit(0)
        os.close(tell)
        assert os.read(ready, 1) == b"1"
        os.close(ready)
        return child

    def vacate(self, namespace: Namespace) -> None:
        """Ends the process that lives in a namespace; the test's descriptor still holds it."""
        child = self._holders.pop(namespace, None)
        if child is not None:
            self.release(child)

    def hold(self, namespace: Namespace) -> int:
        """A process of the machine, elsewhere, that holds a descriptor of the namespace."""
        return self._linger(self.near, keep=namespace)

    def release(self, keeper: int) -> None:
        """Ends a process of :meth:`hold`."""
        for pid in Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split():
            os.kill(int(pid), signal.SIGKILL)
        os.waitpid(keeper, 0)

    def pid_in(self, namespace: Namespace) -> int:
        """The process that lives in a namespace, as the machine numbers it."""
        child = self._holders[namespace]
        inner = Path(f"/proc/{child}/task/{child}/children").read_text().split()[0]
        status = Path(f"/proc/{inner}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("NSpid:"))
        return int(line.split()[-1])

    def veth(self) -> str:
        """A new veth in `near`, both ends up."""
        self.near.ip("link add name v1 type veth peer name v2", "link set v1 up", "link set v2 up")
        return "v1"

    def destroy(self, namespace: Namespace) -> None:
        """Deletes a namespace and waits until the kernel has taken it apart."""
        other = self.near if namespace is not self.near else self.namespace()
        other.ip(f"link add name witness type veth peer name witnessed netns {namespace.path}")
        self.vacate(namespace)
        namespace.close()

        def gone() -> bool:
            with other.entered():
                return "witness" not in (name for _, name in socket.if_nameindex())

        wait_until(gone, "the namespace is taken apart")

    # ------------------------------------------------------------ calls

    def _fork(self, at: Namespace, keep: Namespace | None = None) -> int:
        """Forks twice, since a PID namespace is joined by children; 0 in the grandchild.

        The child in between ends with the grandchild: with its exit status, or with 128 and its
        signal's number. Neither holds a namespace by a descriptor, but for `keep`.
        """
        child = os.fork()
        if child:
            return child
        code = 99
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, range(os.cpu_count() or 1))  # whatever the test is bound to
            netns.enter(at.fd)
            netns.enter(os.open(f"/proc/{self.pid}/ns/pid", os.O_RDONLY), 0)
            mountns.join(self.pid)
            for namespace in self._namespaces:
                if namespace is not keep:
                    namespace.close()
            grandchild = os.fork()
            if grandchild == 0:
                _libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
                return 0
            _, status = os.waitpid(grandchild, 0)
            code = os.waitstatus_to_exitcode(status)
        os._exit(code if code >= 0 else 128 - code)

    def start(self, work: Callable[[], Any], at: Namespace | None = None) -> Running:
        """Begins to run `work` in a process of this machine."""
        out, into = os.pipe()
        child = self._fork(at or self.near)
        if child:
            os.close(into)
            return Running(child, out)
        code = 97
        try:
            value, failure = None, None
            if self._idle:
                execute.build = idle_programs
                small = {"fdb_size": 64, "max_ports": 16}
                SwitchSettings.__init__.__defaults__ = tuple(
                    small.get(field.name, field.default) for field in fields(SwitchSettings)
                )
            try:
                value = work()
            except VnetxError as error:
                failure = Failure(
                    type(error).__name__, str(error), error.what, error.why, error.remedy
                )
            except BaseException as error:
                failure = Failure(type(error).__name__, str(error))
            with os.fdopen(into, "wb") as pipe:
                pipe.write(pickle.dumps((value, failure)))
            code = 0
        finally:
            os._exit(code)

    def call(
        self, work: Callable[..., Any], *args: Any, at: Namespace | None = None, **kw: Any
    ) -> Any:
        """Runs a command that has to succeed; returns what it returned."""
        outcome = self.start(lambda: work(*args, **kw), at).wait()
        assert outcome.failure is None, str(outcome.failure)
        assert not outcome.signal
        return outcome.value

    def fails(
        self, work: Callable[..., Any], *args: Any, at: Namespace | None = None, **kw: Any
    ) -> Failure:
        """Runs a command that has to fail with a clear error; returns that."""
        outcome = self.start(lambda: work(*args, **kw), at).wait()
        assert outcome.failure is not None, f"it succeeded: {outcome.value}"
        assert outcome.failure.what, f"not an error for users: {outcome.failure}"
        return outcome.failure

    def command(self, *words: str, at: Namespace | None = None, stdin: str = "") -> str:
        """Runs a program in this machine."""

        def work() -> str:
            done = subprocess.run(
                words, input=stdin, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}"
            return done.stdout

        result: str = self.call(work, at=at)
        return result

    # ------------------------------------------------------------ pictures

    def picture(self, *namespaces: Namespace, sysctls: bool = True) -> Picture:
        """What is in these namespaces (`near` without any), and what of vnetx is in /run."""
        facts = dict(_run(self.run, self.pid))
        for number, namespace in enumerate(namespaces or (self.near,)):
            where = "" if len(namespaces) < 2 else f"namespace {number}: "
            with namespace.entered():
                facts.update((where + key, value) for key, value in _namespace(sysctls))
        return Picture(facts)

    def objects(self) -> set[tuple[str, int]]:
        """Maps, programs and links that are pinned in this machine, as (kind, id)."""
        return set(_pinned(self.run / "vnetx/bpf"))


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Looks after each of the kernel's grace periods, in which it frees things, for a while."""
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"in vain: {what}"
        _libc.syscall(_SYS_MEMBARRIER, 1, 0, 0)


def assert_gone(objects: Iterable[tuple[str, int]]) -> None:
    """None of these is left in the kernel."""
    wanted = set(objects)
    assert wanted
    wait_until(lambda: not wanted & set(_loaded()), "maps, programs and links are gone")


# -------------------------------------------------------------- pictures


class Picture:
    """Facts by name. Equal to another one when :meth:`changes` is empty."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self.facts = dict(facts)

    def changes(self, after: Picture) -> str:
        """What is different later, a line each; empty if nothing is."""
        came_and_went = self._links() ^ after._links()
        lines = [f"{link}: {'went' if link in self._links() else 'came'}" for link in came_and_went]
        for key in self.facts.keys() | after.facts.keys():
            one, two = (facts.get(key, "-") for facts in (self.facts, after.facts))
            if one != two and not any(
                f" {word.strip(':')} " in f" {key.replace('/', ' ').replace(':', '')} "
                for word in (link.rpartition(" ")[2] for link in came_and_went)
            ):
                lines.append(f"{key}: {one} -> {two}")
        return "\n".join(sorted(lines))

    def _links(self) -> set[str]:
        return {key.removesuffix(": ifname") for key in self.facts if key.endswith(": ifname")}

    def without(self, *parts: str) -> Picture:
        """Facts whose names contain none of these."""
        return Picture(
            {key: value for key, value in self.facts.items() if not any(p in key for p in parts)}
        )

    def of_any_run(self) -> Picture:
        """Without what differs each time a switch is made: numbers of programs, random MACs."""
        return Picture(
            {
                key: value
                for key, value in self.facts.items()
                if not (key.endswith(" id") or ("link vx" in key and "address" in key))
                and not key.startswith("pin ")
            }
            | {
                f"pin {self._anonymous(k)}": v
                for k, v in self.facts.items()
                if k.startswith("pin ")
            }
        )

    @staticmethod
    def _anonymous(key: str) -> str:
        """A pin's path without the ifindex of a link."""
        head, _, name = key.removeprefix("pin ").rpartition("/")
        number, dash, hook = name.partition("-")
        return f"{head}/N-{hook}" if dash and number.isdigit() else f"{head}/{name}"


_VOLATILE = {
    *("operstate", "linkmode", "ifindex", "link_index", "link_netnsid", "stats", "stats64"),
    *("valid_life_time", "preferred_life_time"),
    *("gc_timer", "hello_timer", "tcn_timer", "topology_change_timer"),
}
_VOLATILE_FLAGS = {"NO-CARRIER", "LOWER_UP"}


def flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Nested facts as (name, value)."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in _VOLATILE:
                yield from flat(inner, f"{name}: {key}" if name else key)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for number, inner in enumerate(value):
            yield from flat(inner, f"{name} {number}")
    elif isinstance(value, list):
        yield name, sorted({str(item) for item in value} - _VOLATILE_FLAGS)
    else:
        yield name, value


def _output(*words: str) -> Any:
    done = subprocess.run(words, capture_output=True, text=True)
    return json.loads(done.stdout) if done.returncode == 0 and done.stdout.strip() else []


def _namespace(sysctls: bool) -> Iterator[tuple[str, Any]]:
    """Facts of the network namespace that this thread is in."""
    filtered = set()
    for qdisc in _output("tc", "-j", "qdisc", "show"):
        qdisc.pop("refcnt", None)
        place = "root" if qdisc.pop("root", False) else qdisc.get("parent", "")
        yield from flat(qdisc, f"qdisc {qdisc['dev']} {place}")
        if qdisc["kind"] in ("clsact", "ingress"):
            filtered.add(qdisc["dev"])
    for link in filter(None, _output("ip", "-d", "-j", "address", "show")):
        name, ifindex = link["ifname"], link["ifindex"]
        xdp = link.pop("xdp", None)
        yield from flat(link, f"link {name}")
        if xdp:
            yield from _programs(f"xdp {name} {xdp['mode']}", [xdp["prog"]["id"]])
        yield from _features(name)
        for side, kind in (
            ("ingress", _bpf.ATTACH_TCX_INGRESS),
            ("egress", _bpf.ATTACH_TCX_EGRESS),
        ):
            yield from _programs(f"tcx {name} {side}", _attached(ifindex, kind))
            if name in filtered:
                filters = _output("tc", "-j", "filter", "show", "dev", name, side)
                yield from flat(filters, f"filter {name} {side}")
    for number, route in enumerate(_output("ip", "-j", "route", "show", "table", "all")):
        yield f"route {number}", {key: value for key, value in route.items() if key != "flags"}
    if sysctls:
        yield from _sysctls("/proc/sys/net")


def _ethtool(name: str, request: bytes, room: int) -> bytes:
    """One SIOCETHTOOL: the struct that comes back."""
    buffer = ctypes.create_string_buffer(request, len(request) + room)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, 0x8946, struct.pack("16sQ16x", name.encode(), ctypes.addressof(buffer)))
    return buffer.raw


@functools.cache
def _feature_names() -> list[str]:
    """The kernel's names of ETH_SS_FEATURES."""
    info = _ethtool("lo", struct.pack("=IIQ", 0x37, 0, 1 << 4), 4)  # ETHTOOL_GSSET_INFO
    count = struct.unpack_from("=I", info, 16)[0]
    raw = _ethtool("lo", struct.pack("=III", 0x1B, 4, count), 32 * count)  # ETHTOOL_GSTRINGS
    return [raw[12 + 32 * n :][:32].rstrip(b"\0").decode() for n in range(count)]


def _features(name: str) -> Iterator[tuple[str, Any]]:
    names = _feature_names()
    blocks = (len(names) + 31) // 32
    raw = _ethtool(name, struct.pack("=II", 0x3A, blocks), 16 * blocks)  # ETHTOOL_GFEATURES
    for number, feature in enumerate(names):
        words = struct.unpack_from("=4I", raw, 8 + 16 * (number // 32))
        states = ("changeable", "requested", "active", "fixed")
        on = [s for s, word in zip(states, words, strict=True) if word >> (number % 32) & 1]
        if feature:
            yield f"feature {name} {feature}", " ".join(on) or "off"


def _sysctls(root: str) -> Iterator[tuple[str, Any]]:
    for pattern in ("ipv4/conf/*/*", "ipv6/conf/*/*", "ipv4/ip_forward", "bridge/*"):
        for name in glob.iglob(pattern, root_dir=root):
            with contextlib.suppress(OSError):
                fd = os.open(f"{root}/{name}", os.O_RDONLY)
                try:
                    yield f"sysctl {name}", os.read(fd, 256)
                finally:
                    os.close(fd)


def _programs(place: str, ids: list[int]) -> Iterator[tuple[str, Any]]:
    for number, program in enumerate(ids):
        fd = _bpf.prog_fd_by_id(program)
        yield f"{place} {number}", _bpf.prog_info(fd)["name"]
        yield f"{place} {number} id", program
        os.close(fd)


def _attached(ifindex: int, kind: int) -> list[int]:
    """Ids of the tcx programs of a device, in their order."""
    ids = (ctypes.c_uint32 * 64)()
    attributes = ctypes.create_string_buffer(
        struct.pack("=4IQ2I4Q", ifindex, kind, 0, 0, ctypes.addressof(ids), 64, 0, 0, 0, 0, 0)
    )
    if _libc.syscall(_SYS_BPF, _PROG_QUERY, attributes, 64):
        assert ctypes.get_errno() in (errno.EINVAL, errno.ENODEV), ctypes.get_errno()
        return []  # no tcx
    return list(ids)[: struct.unpack_from("=I", attributes, 24)[0]]


def _run(run: Path, init: int) -> Iterator[tuple[str, Any]]:
    """Facts of /run/vnetx and of mounts."""
    root = run / "vnetx"
    for directory, directories, files in os.walk(root):
        path = Path(directory)
        yield f"directory {path.relative_to(run)}", oct(path.stat().st_mode & 0o777)
        for name in sorted(files):
            if not name.endswith(".debug"):  # the kernel's own
                yield f"pin {(path / name).relative_to(run)}", True
        directories.sort()
    for line in Path(f"/proc/{init}/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if place.startswith("/run/vnetx") or kind == "bpf":
            yield f"mount {place}", line


def _pinned(root: Path) -> Iterator[tuple[str, int]]:
    for directory, _, files in os.walk(root):
        for name in files:
            kind = {"maps": "map", "programs": "program", "links": "link"}.get(Path(directory).name)
            if kind is None:
                continue
            if name.endswith("-foreign"):
                kind = "program"
            fd = _bpf.obj_get(str(Path(directory) / name))
            info = {"map": _bpf.map_info, "program": _bpf.prog_info, "link": _bpf.link_info}[kind]
            yield kind, info(fd)["id"]
            os.close(fd)


def _loaded() -> Iterator[tuple[str, int]]:
    """Every map, program and link of the kernel."""
    for kind, command in _NEXT_ID.items():
        number = 0
        while True:
            attributes = ctypes.create_string_buffer(struct.pack("=3I", number, 0, 0))
            if _libc.syscall(_SYS_BPF, command, attributes, 12):
                break
            number = struct.unpack_from("=I", attributes, 4)[0]
            yield kind, number
