"""Whether somebody has loss of carrier at one end of wires show at the other: a process at most in
each network namespace, which has a name there for as long as it lives."""

from __future__ import annotations

import socket

#: Abstract, of the network namespace: no file is left by whoever is killed.
_NAME = "\0vnetx/carrier"


def claim() -> socket.socket | None:
    """Makes this process the one, until the socket is closed; None where another one is."""
    mine = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        mine.bind(_NAME)
    except OSError:
        mine.close()
        return None
    return mine


def is_followed() -> bool:
    """Whether there is one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        return probe.connect_ex(_NAME) == 0
