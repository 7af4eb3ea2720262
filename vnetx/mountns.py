"""The initial mount namespace: finding it and going there.

``ip netns exec`` gives its command a private mount namespace, which has a copy of the mounts as
they were then; what vnetx mounts and writes under /run belongs to the initial one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from vnetx import netns


def _ancestors() -> Iterator[int]:
    """This process's parents, the nearest first."""
    pid = os.getppid()
    while pid > 1:
        yield pid
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _identity(pid: int | str) -> str | None:
    """The mount namespace of a process, None when it may not be looked at."""
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/mnt")
    return None


def _initial(ancestors: list[int]) -> str | None:
    """The initial mount namespace: that of process 1, or, where it may not be looked at, of the
    kernel's threads or the outermost ancestor that may."""
    candidates = [1]
    with contextlib.suppress(OSError):
        if Path("/proc/2/comm").read_text() == "kthreadd\n":
            candidates.append(2)
    for pid in (*candidates, *reversed(ancestors)):
        identity = _identity(pid)
        if identity is not None:
            return identity
    return None


def process_in_initial() -> int | None:
    """A process that is in the initial mount namespace, None when this one is.

    The nearest ancestor there is, since its root is the one that this process came from; in a
    chroot it is not that of process 1.
    """
    ancestors = list(_ancestors())
    initial = _initial(ancestors)
    if initial in (None, _identity("self")):
        return None
    return next(pid for pid in (*ancestors, 1, 2) if _identity(pid) == initial)


def join(pid: int) -> None:
    """Moves this process, of a single thread, into the mount namespace and root of another.

    Raises:
        OSError: that process is gone, or privileges are missing.
    """
    namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY)
    try:
        netns.enter(namespace, netns.CLONE_NEWNS)
        os.fchdir(root)
        os.chroot(".")
    finally:
        os.close(namespace)
        os.close(root)
