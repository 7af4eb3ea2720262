"""Frames as bytes, and the addresses that tests use."""

from __future__ import annotations

import struct

BROADCAST = b"\xff" * 6
MULTICAST = bytes.fromhex("01005e000001")
MULTICAST6 = bytes.fromhex("333300000001")

IPV4 = 0x0800
ARP = 0x0806
VLAN = 0x8100
QINQ = 0x88A8
TEST = 0x88B5  # IEEE 802, local experimental
HEADER = 14


def station(number: int) -> bytes:
    """The address of a station: locally administered."""
    return b"\x02\x00\x5e" + number.to_bytes(3, "big")


def link_local(digit: int) -> bytes:
    """01:80:c2:00:00:0n (802.1Q-2018 Table 8-1), or an address right after them."""
    return bytes.fromhex("0180c20000") + bytes([digit])


def frame(
    dst: bytes, src: bytes, length: int = 60, proto: int = TEST, tags: tuple[int, ...] = ()
) -> bytes:
    """A frame of `length` bytes in all; each of `tags` is a tag protocol, its VID 10."""
    header = dst + src + b"".join(struct.pack("!HH", tag, 10) for tag in tags)
    header += struct.pack("!H", proto)
    fill = length - len(header)
    return header + bytes(i & 0xFF for i in range(fill)) if fill > 0 else header
