"""Taps and tuns from the side of their file: making one that stays, changing its owner.

No netlink, so quick to import.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from vnetx.device import Tun
from vnetx.errors import from_os

FILE = Path("/dev/net/tun")

_TUNSETIFF = 0x400454CA
_TUNSETPERSIST = 0x400454CB
_TUNSETOWNER = 0x400454CC
_TUNSETGROUP = 0x400454CE
_IFF_TUN = 0x0001
_IFF_TAP = 0x0002
_IFF_MULTI_QUEUE = 0x0100
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000
_IFF_TUN_EXCL = 0x8000


def control(fd: int, request: int, argument: int | bytes) -> None:
    """ioctl(2) of :data:`FILE`."""
    fcntl.ioctl(fd, request, argument)


@contextlib.contextmanager
def opened() -> Iterator[int]:
    """A descriptor of :data:`FILE`.

    Raises:
        VnetxError: there is no such file, or no driver behind it.
    """
    try:
        fd = os.open(FILE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        remedy = "modprobe tun; a container has to be given the device"
        if not FILE.exists():
            remedy += f" (or mkdir -p {FILE.parent}; mknod {FILE} c 10 200)"
        denied = isinstance(error, PermissionError) and os.geteuid() != 0
        raise from_os(f"opening {FILE}", error, "" if denied else remedy) from error
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def made(name: str, wanted: Tun) -> Iterator[None]:
    """A new device, which stays if what is done meanwhile succeeds.

    Of a process that dies meanwhile nothing is left.
    """
    with opened() as fd:
        _attach(fd, name, wanted, _IFF_TUN_EXCL)
        yield
        _give(fd, wanted)
        control(fd, _TUNSETPERSIST, 1)


def change(name: str, wanted: Tun) -> None:
    """Gives a device that no program has open another owner, group or header.

    Raises:
        OSError: EBUSY, a program has it open.
    """
    with opened() as fd:
        _attach(fd, name, wanted)
        _give(fd, wanted)


def _attach(fd: int, name: str, wanted: Tun, more: int = 0) -> None:
    flags = _IFF_NO_PI | (_IFF_TAP if wanted.tap else _IFF_TUN) | more
    flags |= _IFF_VNET_HDR if wanted.vnet_hdr else 0
    flags |= _IFF_MULTI_QUEUE if wanted.multi_queue else 0
    control(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))


def _give(fd: int, wanted: Tun) -> None:
    for request, number in ((_TUNSETOWNER, wanted.owner), (_TUNSETGROUP, wanted.group)):
        if number is not None:
            control(fd, request, number)
