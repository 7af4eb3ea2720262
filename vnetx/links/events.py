"""When a device of this network namespace comes, goes or changes."""

from __future__ import annotations

import contextlib
import select
import socket
from types import TracebackType

_RTMGRP_LINK = 1
_NETLINK_ROUTE = 0


class LinkEvents:
    """A netlink socket that hears of devices. A context manager."""

    def __init__(self) -> None:
        self._sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE)
        self._sock.bind((0, _RTMGRP_LINK))
        self._sock.setblocking(False)

    def __enter__(self) -> LinkEvents:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._sock.close()

    def wait(self, seconds: float) -> None:
        """Until something happened, or so long; several things at once are one."""
        select.select([self._sock], [], [], seconds)
        with contextlib.suppress(OSError):  # no more, or more than there was room for
            while True:
                self._sock.recv(1 << 16)
