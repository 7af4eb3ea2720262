"""What devices in the harness' namespaces receive."""

from __future__ import annotations

import socket
import struct

from vnetx_perf.namespaces import Namespace

_SOL_PACKET, _AUXDATA, _IGNORE_OUTGOING, _ETH_P_ALL = 263, 8, 23, 0x0003
_VLAN_VALID = 1 << 4


def listening(namespace: Namespace, device: str) -> socket.socket:
    """What a device receives, tags and lengths."""
    with namespace.entered():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
    sock.setsockopt(_SOL_PACKET, _AUXDATA, 1)
    sock.setblocking(False)
    with namespace.entered():
        sock.bind((device, _ETH_P_ALL))
    return sock


def received(sock: socket.socket) -> list[tuple[int, int]]:
    """(VID, 0 for no tag; length) of each frame so far."""
    found = []
    while True:
        try:
            data, ancillary, _, _ = sock.recvmsg(1 << 17, 256)
        except BlockingIOError:
            return found
        vid = struct.unpack_from("!H", data, 14)[0] & 0xFFF if data[12:14] == b"\x81\0" else 0
        for _, kind, raw in ancillary:
            status, *_, tci, _ = struct.unpack("=IIIHHHH", raw[:20])
            if kind == _AUXDATA and status & _VLAN_VALID:
                vid = tci & 0xFFF
        found.append((vid, len(data)))
