"""Network namespaces without names: they are gone when their descriptor is closed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_OWN = "/proc/thread-self/ns/net"
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


class Namespace:
    """A new network namespace, without IPv6's own frames; the caller stays where it is."""

    def __init__(self) -> None:
        before = os.open(_OWN, os.O_RDONLY)
        try:
            _check(_libc.unshare(_CLONE_NEWNET), "unshare")
            try:
                self.fd = os.open(_OWN, os.O_RDONLY)
                with contextlib.suppress(FileNotFoundError):
                    for group in ("all", "default"):
                        Path(f"/proc/sys/net/ipv6/conf/{group}/disable_ipv6").write_text("1")
            finally:
                _check(_libc.setns(before, _CLONE_NEWNET), "setns")
        finally:
            os.close(before)

    @property
    def path(self) -> str:
        """For commands that take a path."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is inside."""
        before = os.open(_OWN, os.O_RDONLY)
        try:
            _check(_libc.setns(self.fd, _CLONE_NEWNET), "setns")
            try:
                yield
            finally:
                _check(_libc.setns(before, _CLONE_NEWNET), "setns")
        finally:
            os.close(before)

    def ip(self, *commands: str) -> None:
        """Runs commands of ip(8), without the word `ip`."""
        self._batch("ip", *commands)

    def bridge(self, *commands: str) -> None:
        """Runs commands of bridge(8), without the word `bridge`."""
        self._batch("bridge", *commands)

    def _batch(self, tool: str, *commands: str) -> None:
        with self.entered():
            subprocess.run(
                [tool, "-batch", "-"],
                input="\n".join(commands),
                text=True,
                check=True,
                capture_output=True,
            )

    def run(self, *command: str) -> str:
        """Runs a command inside and returns its output."""
        with self.entered():
            done = subprocess.run(command, text=True, check=True, capture_output=True)
        return done.stdout

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
