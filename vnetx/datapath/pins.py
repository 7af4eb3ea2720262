"""Where the kernel's state is found: vnetx's own bpffs.

::

    /run/vnetx/bpf/v1/<netns cookie>/<switch>/{maps,programs}/<name>
                                             /links/<ifindex>-{xdp,ingress,egress}

The mount belongs to the initial mount namespace.  ``ip netns exec`` gives its
command a private one, which has a copy of the mount as it was then or none at
all, and would take a mount of its own with it; so whoever runs elsewhere
reaches the mount by a descriptor that a child opens over there.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

from vnetx import _abi, _bpf, mountns
from vnetx.errors import from_os

MOUNT = Path("/run/vnetx/bpf")
VERSION = f"v{_abi.ABI_VERSION}"

_BPF_FS_MAGIC = 0xCAFE4A11
_MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)

#: Descriptor of the mount in the initial mount namespace, for who runs in another.
_remote: int | None = None


# -------------------------------------------------------------- the mount


def _open_there(process: int, action: Callable[[], None]) -> int | None:
    """Joins the mounts of a process in a child, runs `action` there and hands out a descriptor
    of the mount.

    Returns:
        None when there is no mount.

    Raises:
        OSError: of the child.
    """
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        code, fds = 0, []
        try:
            mountns.join(process)
            action()
            if _is_bpffs(MOUNT):
                fds = [os.open(MOUNT, os.O_RDONLY | os.O_DIRECTORY)]
        except OSError as error:
            code = error.errno or errno.EIO
        socket.send_fds(theirs, [bytes([code])], fds)
        os._exit(0)
    theirs.close()
    with ours:
        message, fds, _, _ = socket.recv_fds(ours, 1, 1)
    os.waitpid(child, 0)
    if not message or message[0]:
        code = message[0] if message else errno.EIO
        raise OSError(code, os.strerror(code))
    return fds[0] if fds else None


def _is_bpffs(path: Path) -> bool:
    buffer = ctypes.create_string_buffer(256)
    return (
        _libc.statfs(os.fsencode(path), buffer) == 0
        and ctypes.c_long.from_buffer(buffer).value == _BPF_FS_MAGIC
    )


def _mount_here() -> None:
    MOUNT.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not _is_bpffs(MOUNT) and _libc.mount(b"vnetx", os.fsencode(MOUNT), b"bpf", 0, b"mode=0700"):
        raise OSError(ctypes.get_errno(), "mount")


def _unmount_here() -> None:
    if _is_bpffs(MOUNT) and _libc.umount2(os.fsencode(MOUNT), _MNT_DETACH):
        raise OSError(ctypes.get_errno(), "umount")
    for directory in (MOUNT, MOUNT.parent):
        with contextlib.suppress(OSError):
            directory.rmdir()


def _forget() -> None:
    global _remote
    if _remote is not None:
        os.close(_remote)
    _remote = None


def _root(make: bool = False) -> Path | None:
    """The mount's directory as this process can name it, None when there is no mount."""
    global _remote
    if _remote is None:
        process = mountns.process_in_initial()
        action = _mount_here if make else lambda: None
        if process is None:
            action()
            return MOUNT if _is_bpffs(MOUNT) else None
        _remote = _open_there(process, action)
    return None if _remote is None else Path(f"/proc/self/fd/{_remote}")


def is_mounted() -> bool:
    """Whether vnetx's bpffs is there."""
    return _root() is not None


def mount() -> None:
    """Mounts the bpffs unless it is there.

    Raises:
        VnetxError: the kernel has none, or privileges are missing.
    """
    try:
        _root(make=True)
    except OSError as error:
        remedy = (
            "the kernel has no bpffs: CONFIG_BPF_SYSCALL is needed"
            if error.errno == errno.ENODEV
            else ""
        )
        raise from_os(f"mounting the bpffs at {MOUNT}", error, remedy) from error


def unmount_if_empty() -> None:
    """Removes the bpffs and its directories when no switch of any version is left."""
    root = _root()
    if root is None:
        if MOUNT.parent.exists():  # of a command that was killed before it had mounted
            _unmount()
        return
    for version in list(root.iterdir()):
        with contextlib.suppress(OSError):
            for directory in (*version.iterdir(), version):
                with contextlib.suppress(OSError):
                    directory.rmdir()
    # (the kernel's own preloaded iterators are files)
    if any(entry.is_dir() for entry in root.iterdir()):
        return
    _forget()
    _unmount()


def _unmount() -> None:
    process = mountns.process_in_initial()
    with contextlib.suppress(OSError):
        if process is None:
            _unmount_here()
        else:
            _open_there(process, _unmount_here)


# -------------------------------------------------------------- switches


def encode(name: str) -> str:
    """A switch's name as a file name; bpffs refuses dots."""
    return name.replace("%", "%25").replace(".", "%2e").replace("~", "%7e")


def decode(name: str) -> str:
    return name.replace("%7e", "~").replace("%2e", ".").replace("%25", "%")


def namespace_directory() -> Path:
    """The directory of the calling process's network namespace."""
    return (_root() or MOUNT) / VERSION / str(_bpf.netns_cookie())


def switch_directory(name: str) -> Path:
    return namespace_directory() / encode(name)


def inode(directory: Path) -> int | None:
    """Which directory it is; None: there is none of this name."""
    try:
        return directory.stat().st_ino if directory.is_dir() else None
    except OSError:
        return None


def switch_names() -> list[str]:
    """The switches of this network namespace.

    Raises:
        VnetxError: the pins are there, and not for this user to read.
    """
    try:
        entries = sorted(namespace_directory().iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise from_os("reading the switches", error) from error
    return [decode(entry.name) for entry in entries if "~" not in entry.name]


def unpublished() -> list[Path]:
    """Directories of switches of this network namespace that are being made or removed."""
    try:
        return sorted(entry for entry in namespace_directory().iterdir() if "~" in entry.name)
    except OSError:
        return []


def namespaces() -> list[int]:
    """Cookies of all network namespaces that have or had a switch."""
    try:
        entries = ((_root() or MOUNT) / VERSION).iterdir()
        return [int(entry.name) for entry in entries if entry.name.isdigit()]
    except OSError:
        return []


def foreign_versions() -> list[str]:
    """Pin directories of other ABI versions."""
    try:
        entries = (_root() or MOUNT).iterdir()
        return sorted(e.name for e in entries if e.is_dir() and e.name != VERSION)
    except OSError:
        return []


def remove_tree(directory: Path) -> None:
    """Removes a directory of pins, whatever is in it."""
    try:
        entries = list(directory.iterdir())
    except NotADirectoryError:
        directory.unlink()
        return
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir():
            remove_tree(entry)
        else:
            entry.unlink(missing_ok=True)
    directory.rmdir()
