"""Frames as bytes, and the addresses that tests use."""

from __future__ import annotations

import struct
from collections.abc import Iterable

BROADCAST = b"\xff" * 6
MULTICAST = bytes.fromhex("01005e000001")
MULTICAST6 = bytes.fromhex("333300000001")

IPV4 = 0x0800
ARP = 0x0806
VLAN = 0x8100
QINQ = 0x88A8
FOREIGN = (0x9100, 0x9200, 0x9300)  # pre-standard TPIDs, which the kernel does not know
TEST = 0x88B5  # IEEE 802, local experimental
HEADER = 14


def station(number: int) -> bytes:
    """The address of a station: locally administered."""
    return b"\x02\x00\x5e" + number.to_bytes(3, "big")


def link_local(digit: int) -> bytes:
    """01:80:c2:00:00:0n (802.1Q-2018 Table 8-1), or an address right after them."""
    return bytes.fromhex("0180c20000") + bytes([digit])


def tag(vid: int, priority: int = 0, tpid: int = VLAN) -> tuple[int, int]:
    """A tag; `priority` is PCP and DEI, 0 to 15."""
    return tpid, priority << 12 | vid


def frame(
    dst: bytes,
    src: bytes,
    length: int = 60,
    proto: int = TEST,
    tags: Iterable[int | tuple[int, int]] = (),
) -> bytes:
    """A frame of `length` bytes in all; each of `tags` is a tag, or a tag protocol, whose VID is
    10 then."""
    pairs = [tag(10, tpid=t) if isinstance(t, int) else t for t in tags]
    header = dst + src + b"".join(struct.pack("!HH", *pair) for pair in pairs)
    header += struct.pack("!H", proto)
    fill = length - len(header)
    return header + bytes(i & 0xFF for i in range(fill)) if fill > 0 else header
