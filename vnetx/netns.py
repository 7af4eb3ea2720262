"""Network namespaces: entering one, and which there are. No netlink, so quick to import."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from vnetx.errors import VnetxError, from_os
from vnetx.processes import processes

#: Where ip-netns(8) keeps the named ones.
NAMED = Path("/run/netns")

CLONE_NEWNET = 0x40000000
CLONE_NEWNS = 0x00020000
_MS_BIND, _MS_REC, _MS_SHARED = 0x1000, 0x4000, 0x100000
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def enter(fd: int, kind: int = CLONE_NEWNET) -> None:
    """Moves this thread into the network (or mount) namespace of a descriptor.

    Raises:
        OSError: it is none, or privileges are missing.
    """
    _check(_libc.setns(fd, kind))


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


def make(name: str, prepare: Callable[[], None]) -> None:
    """Makes a namespace and gives it a name, as ip-netns(8) does, once `prepare` has run inside:
    one that has a name is complete.

    Raises:
        OSError: there is one of this name, or privileges are missing.
    """
    with open("/proc/thread-self/ns/net") as before:
        _check(_libc.unshare(CLONE_NEWNET))
        try:
            prepare()
            _name(name)
        finally:
            enter(before.fileno())


def _name(name: str) -> None:
    """Gives this thread's namespace a name, which all mount namespaces see."""
    NAMED.mkdir(exist_ok=True)
    directory, path = os.fsencode(NAMED), NAMED / name
    if _libc.mount(b"", directory, b"none", _MS_SHARED | _MS_REC, None) != 0:
        _check(_libc.mount(directory, directory, b"none", _MS_BIND | _MS_REC, None))
        _check(_libc.mount(b"", directory, b"none", _MS_SHARED | _MS_REC, None))
    path.touch(0o400, exist_ok=False)
    try:
        own_path = b"/proc/thread-self/ns/net"
        _check(_libc.mount(own_path, os.fsencode(path), b"none", _MS_BIND, None))
    except OSError:
        path.unlink()
        raise


def is_empty(name: str) -> bool:
    """Whether a name leads to no namespace: whoever wanted to give it to one was killed."""
    with contextlib.suppress(OSError):
        return (NAMED / name).stat().st_dev == NAMED.stat().st_dev
    return False


def names() -> list[str]:
    """The names that ip-netns(8) gave."""
    with contextlib.suppress(OSError):
        return sorted(path.name for path in NAMED.iterdir())
    return []


def paths() -> Iterator[Path]:
    """Paths by which network namespaces can be reached: of names, then of processes.

    Some lead nowhere: processes end meanwhile, and names may be empty.
    """
    yield from NAMED.glob("*")
    for process in processes():
        yield process / "ns/net"


def hidden_paths() -> Iterator[Path]:
    """Such paths of the namespaces that only a mount or a descriptor holds; slow to list."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        _, _, _, root, place, *_ = line.split()
        if root.startswith("net:["):
            yield Path(place)
    for process in processes():
        with contextlib.suppress(OSError):
            for path in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if os.readlink(path).startswith("net:["):
                        yield path


def live() -> set[int]:
    """Inode numbers of the network namespaces that processes or names hold."""
    found = set()
    for path in paths():
        with contextlib.suppress(OSError):
            found.add(path.stat().st_ino)
    return found


def is_shared() -> bool:
    """Whether anything but this process holds its network namespace: another process, or a name."""
    mine = own()
    for path in paths():
        with contextlib.suppress(OSError):
            if path.stat().st_ino == mine and path.parts[2] != str(os.getpid()):
                return True
    return False


def own() -> int:
    """Inode number of this process's network namespace."""
    return Path("/proc/self/ns/net").stat().st_ino


def is_initial() -> bool:
    """Whether this process is in the initial network namespace, that of the machine's boot."""
    for pid in (1, 2):  # process 1 may be closed to us; the kernel's threads are not
        with contextlib.suppress(OSError):
            return Path(f"/proc/{pid}/ns/net").stat().st_ino == own()
    return False
