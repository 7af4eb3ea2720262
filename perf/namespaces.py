"""Network namespaces and directories of our own, and work done inside them.

Names carry the process that made them, so that what a killed run left behind
is recognised and removed by the next.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import os
import pickle
import re
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

PREFIX = "vnetxperf"
#: Of processes that are measured: the machine's other work on their core waits.
NICE = -15
#: Where ip(8) keeps its named namespaces, and this module its directories.
NETNS = Path("/run/netns")
_RUN = Path("/run")
#: Seconds in which a device that has a carrier is operational.
_UP_S = 10
_OPERATIONAL = ("UP", "UNKNOWN")
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count()


def ip(*arguments: str, batch: str | None = None) -> str:
    """Runs ip(8), with `batch` as its commands if given; returns what it printed."""
    return _iproute2("ip", *arguments, batch=batch)


def _iproute2(*command: str, batch: str | None) -> str:
    """Runs a command of iproute2's."""
    if batch is not None:
        command = (*command, "-batch", "-")
    done = subprocess.run(command, input=batch, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def _setns(fd: int) -> None:
    if _libc.setns(fd, _CLONE_NEWNET):
        code = ctypes.get_errno()
        raise OSError(code, f"entering a network namespace: {os.strerror(code)}")


@contextlib.contextmanager
def entered(path: Path) -> Iterator[None]:
    """The calling thread inside the network namespace that `path` is a name of.

    Raises:
        OSError: it is none, or may not be entered.
    """
    with open("/proc/thread-self/ns/net") as back, open(path) as inside:
        _setns(inside.fileno())
        try:
            yield
        finally:
            _setns(back.fileno())


def _own_name(role: str) -> str:
    return f"{PREFIX}-{os.getpid()}-{next(_numbers)}-{role}"


class Namespace:
    """A named network namespace: no IPv6 (its housekeeping is noise), loopback up."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.name = _own_name(role)
        ip("netns", "add", self.name)
        with self.entered():
            for scope in ("all", "default"):
                self.sysctl(f"net/ipv6/conf/{scope}/disable_ipv6", "1")
        self.ip("link set dev lo up")

    def delete(self) -> None:
        with contextlib.suppress(RuntimeError):
            ip("netns", "delete", self.name)

    def entered(self) -> contextlib.AbstractContextManager[None]:
        """The calling thread inside this namespace."""
        return entered(NETNS / self.name)

    def ip(self, *commands: str) -> None:
        """Runs commands of ip(8) here."""
        ip("-n", self.name, batch="\n".join(commands) + "\n")

    def bridge(self, *commands: str) -> None:
        """Runs commands of bridge(8) here."""
        _iproute2("bridge", "-n", self.name, batch="\n".join(commands) + "\n")

    def wait_until_up(self, devices: Collection[str]) -> None:
        """Returns when all of these devices are operational, or tell nothing of it (netif_oper_up).

        Raises:
            RuntimeError: one is not after :data:`_UP_S`.
        """
        end = time.monotonic() + _UP_S
        while True:
            links = json.loads(ip("-n", self.name, "-json", "link", "show"))
            down = set(devices) - {
                each["ifname"] for each in links if each["operstate"] in _OPERATIONAL
            }
            if not down:
                return
            if time.monotonic() > end:
                raise RuntimeError(f"{', '.join(sorted(down))} in {self.role}: no carrier")
            time.sleep(0.01)

    def sysctl(self, name: str, value: str | None = None) -> str | None:
        """Reads (or writes) a sysctl of this namespace; None where there is none of this name.

        To be called inside :meth:`entered`.
        """
        path = Path("/proc/sys") / name
        try:
            if value is not None:
                path.write_text(value)
            return path.read_text().strip()
        except OSError:
            return None


def private_directory(role: str) -> Path:
    """Makes a directory for root alone, for what processes of a subject keep in files."""
    path = _RUN / _own_name(role)
    path.mkdir(mode=0o700)
    return path


def existing() -> list[Path]:
    """Namespaces and directories of the harness, of whatever process, that exist now."""
    return sorted(path for parent in (NETNS, _RUN) for path in parent.glob(f"{PREFIX}-*"))


def _remove(path: Path) -> None:
    if path.parent == NETNS:
        ip("netns", "delete", path.name)
    else:
        shutil.rmtree(path)


def remove_leftovers() -> list[str]:
    """Removes the namespaces and directories of harness processes that are no more.

    Returns:
        Their names.
    """
    removed = []
    for path in existing():
        match = re.fullmatch(rf"{PREFIX}-(\d+)-.*", path.name)
        if match and not Path(f"/proc/{match[1]}").exists():
            with contextlib.suppress(RuntimeError, OSError):
                _remove(path)
                removed.append(path.name)
    return removed


@contextlib.contextmanager
def swept() -> Iterator[None]:
    """Removes what this process makes meanwhile and, interrupted at the wrong moment, leaves."""
    before = set(existing())
    try:
        yield
    finally:
        own = f"{PREFIX}-{os.getpid()}-"
        for path in existing():
            if path not in before and path.name.startswith(own):
                with contextlib.suppress(RuntimeError, OSError):
                    _remove(path)


# ---------------------------------------------------------------- workers


def settle(core: int | None, nice: int) -> None:
    """Puts the calling process on a CPU, if one is given, and before others by `nice`, in a session
    of its own: autogrouping (sched(7)) shares the CPU between sessions first."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    with contextlib.suppress(PermissionError):
        os.setsid()
    os.setpriority(os.PRIO_PROCESS, 0, nice)
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(nice))


class Worker:
    """A function that runs in a process of its own, inside a namespace.

    Pinned to `core` if that is given; `nice` as setpriority(2) has it.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        namespace: Namespace | None = None,
        core: int | None = None,
        nice: int = 0,
    ) -> None:
        reading, writing = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(reading)
            self._run(writing, function, arguments, namespace, core, nice)
        os.close(writing)
        self._pipe = reading

    @staticmethod
    def _run(
        pipe: int,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        namespace: Namespace | None,
        core: int | None,
        nice: int,
    ) -> None:
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
            settle(core, nice)
            with namespace.entered() if namespace else contextlib.nullcontext():
                outcome = (True, function(*arguments))
        except BaseException as error:
            outcome = (False, f"{type(error).__name__}: {error}")
        with contextlib.suppress(OSError), os.fdopen(pipe, "wb") as out:
            out.write(pickle.dumps(outcome))
        os._exit(0)

    def result(self, timeout: float) -> Any:
        """What the function returned.

        Raises:
            RuntimeError: it raised, died, or was killed after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        chunks = []
        try:
            while True:
                left = deadline - time.monotonic()
                if left <= 0 or not select.select([self._pipe], [], [], left)[0]:
                    raise RuntimeError(f"a worker took longer than {timeout:.0f} s")
                chunk = os.read(self._pipe, 1 << 16)
                if not chunk:
                    break
                chunks.append(chunk)
        finally:
            self.close()
        if not chunks:
            raise RuntimeError("a worker died")
        good, value = pickle.loads(b"".join(chunks))
        if not good:
            raise RuntimeError(value)
        return value

    def done(self) -> bool:
        """Whether the process has handed in its result or died; at most a moment before its end."""
        return bool(select.select([self._pipe], [], [], 0)[0])

    def close(self) -> None:
        """Ends the process if it still runs."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            os.close(self._pipe)
            self._pid = 0


def run_in(namespace: Namespace, function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function in a child process inside a namespace, for at most a minute."""
    return Worker(function, *arguments, namespace=namespace).result(60)
