"""Network namespaces: entering one, and which there are. No netlink, so quick to import."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from vnetx.errors import VnetxError, from_os

#: Where ip-netns(8) keeps the named ones.
NAMED = Path("/run/netns")

CLONE_NEWNET = 0x40000000
CLONE_NEWNS = 0x00020000
_libc = ctypes.CDLL(None, use_errno=True)


def enter(fd: int, kind: int = CLONE_NEWNET) -> None:
    """Moves this thread into the network (or mount) namespace of a descriptor.

    Raises:
        OSError: it is none, or privileges are missing.
    """
    if _libc.setns(fd, kind) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@contextlib.contextmanager
def inside(name: str | None) -> Iterator[None]:
    """This thread is in a namespace as :func:`set_namespace` knows it, and back afterwards; in its
    own for None.

    Raises:
        VnetxError: as :func:`set_namespace`.
    """
    if name is None:
        yield
        return
    with open("/proc/thread-self/ns/net") as before:
        set_namespace(name)
        try:
            yield
        finally:
            enter(before.fileno())


def set_namespace(name: str) -> None:
    """Moves this process into a named network namespace, as ``ip -n`` does.

    Args:
        name: a name of ``ip netns``, or a path (with a ``/``) such as ``/proc/1/ns/net``.

    Raises:
        VnetxError: there is none of this name, or no privilege to enter it.
    """
    with opened(name) as fd:
        try:
            enter(fd)
        except OSError as error:
            raise _told(name, error) from error


@contextlib.contextmanager
def opened(name: str) -> Iterator[int]:
    """A descriptor of a namespace as :func:`set_namespace` knows it.

    Raises:
        VnetxError: there is none of this name.
    """
    path = Path(name) if "/" in name else NAMED / name
    try:
        file = path.open()
    except OSError as error:
        raise _told(name, error) from error
    with file:
        yield file.fileno()


def _told(name: str, error: OSError) -> VnetxError:
    missing = error.errno in (errno.ENOENT, errno.EINVAL, errno.EISDIR)
    remedy = "'ip netns list' shows those that exist" if missing else ""
    return from_os(f"network namespace {name}", error, remedy)


def names() -> list[str]:
    """The names that ip-netns(8) gave."""
    with contextlib.suppress(OSError):
        return sorted(path.name for path in NAMED.iterdir())
    return []


def live() -> set[int]:
    """Inode numbers of the network namespaces that processes or names hold."""
    found = set()
    for path in (*NAMED.glob("*"), *Path("/proc").glob("[0-9]*/ns/net")):
        with contextlib.suppress(OSError):
            found.add(path.stat().st_ino)
    return found


def own() -> int:
    """Inode number of this process's network namespace."""
    return Path("/proc/self/ns/net").stat().st_ino


def is_initial() -> bool:
    """Whether this process is in the initial network namespace, that of the machine's boot."""
    for pid in (1, 2):  # process 1 may be closed to us; the kernel's threads are not
        with contextlib.suppress(OSError):
            return Path(f"/proc/{pid}/ns/net").stat().st_ino == own()
    return False
