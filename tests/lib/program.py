"""Programs that have a tap or a tun open, as a virtual machine monitor or a VPN has."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lib.namespaces import Namespace
from lib.topology import PATIENCE_S, checksum

TAP, TUN = 0x0002, 0x0001
_NO_PI, _VNET_HDR, _MULTI_QUEUE = 0x1000, 0x4000, 0x0100
_TUNSETIFF, _TUNSETOFFLOAD = 0x400454CA, 0x400454D0
_TUNSETVNETHDRSZ = 0x400454D8
#: Checksums, TSO for IPv4 and IPv6 (TUN_F_* of <linux/if_tun.h>).
OFFLOADS = 0x01 | 0x02 | 0x04
NEEDS_CSUM = 1
_HEADER = struct.Struct("=BBHHHH")
_LONGEST = 1 << 17


@dataclass(frozen=True)
class VnetHeader:
    """``struct virtio_net_hdr``."""

    flags: int = 0
    gso_type: int = 0
    hdr_len: int = 0
    gso_size: int = 0
    csum_start: int = 0
    csum_offset: int = 0

    def pack(self) -> bytes:
        return _HEADER.pack(*vars(self).values())


def open_file() -> int:
    return os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)


def attach_file(
    fd: int, name: str, kind: int = TAP, *, vnet_hdr: bool = True, multi_queue: bool = False
) -> None:
    """TUNSETIFF.

    Raises:
        OSError: EPERM, EBUSY ...
    """
    flags = kind | _NO_PI | (_VNET_HDR if vnet_hdr else 0) | (_MULTI_QUEUE if multi_queue else 0)
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))


class File:
    """A queue of a device of a namespace. A context manager."""

    def __init__(
        self,
        place: Namespace,
        name: str,
        kind: int = TAP,
        *,
        vnet_hdr: bool = True,
        multi_queue: bool = False,
        offloads: int = 0,
    ) -> None:
        self._header = vnet_hdr
        with place.entered():
            self.fd = open_file()
            try:
                attach_file(self.fd, name, kind, vnet_hdr=vnet_hdr, multi_queue=multi_queue)
                if vnet_hdr:
                    size = struct.pack("=i", _HEADER.size)
                    fcntl.ioctl(self.fd, _TUNSETVNETHDRSZ, size)
                fcntl.ioctl(self.fd, _TUNSETOFFLOAD, offloads)
            except OSError:
                os.close(self.fd)
                raise
        os.set_blocking(self.fd, False)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> File:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, seconds: float = PATIENCE_S) -> tuple[VnetHeader, bytes] | None:
        """The next frame or packet; None if none comes in time."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return None
        data = os.read(self.fd, _LONGEST)
        if not self._header:
            return VnetHeader(), data
        return VnetHeader(*_HEADER.unpack_from(data)), data[_HEADER.size :]

    def write(self, data: bytes, header: VnetHeader | None = None) -> None:
        """Sends a frame or a packet; what the device has no room for is lost, as on a wire."""
        before = (header or VnetHeader()).pack() if self._header else b""
        with contextlib.suppress(BlockingIOError):
            os.write(self.fd, before + data)

    def frames(self) -> Iterator[tuple[VnetHeader, bytes]]:
        """All that has come."""
        while (found := self.read(0)) is not None:
            yield found


Work = Callable[[File, VnetHeader, bytes], None]
Seen = Callable[[bool, VnetHeader, bytes], None]


@contextlib.contextmanager
def running(files: Sequence[File], work: Work) -> Iterator[None]:
    """A program that does something with each frame that one of its files has."""
    ended, end = os.pipe()
    failed: list[BaseException] = []

    def serve() -> None:
        try:
            while True:
                ready, _, _ = select.select([ended, *(file.fd for file in files)], [], [])
                if ended in ready:
                    return
                for file in files:
                    for _ in range(64):
                        found = file.read(0)
                        if found is None:
                            break
                        work(file, *found)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        os.close(end)
        thread.join(PATIENCE_S)
        os.close(ended)
    assert not failed, failed


@contextlib.contextmanager
def joined(one: File, other: File, seen: Seen) -> Iterator[None]:
    """A program that hands what the one has to the other; `seen` is told whether it was `one`."""

    def hand_over(file: File, header: VnetHeader, data: bytes) -> None:
        seen(file is one, header, data)
        (other if file is one else one).write(data, header)

    with running([one, other], hand_over):
        yield


# ---------------------------------------------------------------- a station


def answer_of(mac: bytes, address: bytes, frame: bytes) -> bytes | None:
    """What a station with an IPv4 address says to ARP and echo requests for it."""
    kind = frame[12:14]
    if kind == b"\x08\x06" and frame[20:22] == b"\x00\x01" and frame[38:42] == address:
        sender = frame[22:32]
        return frame[6:12] + mac + kind + frame[14:21] + b"\x02" + mac + address + sender
    if kind == b"\x08\x00" and frame[:6] == mac:
        packet = echoed(frame[14:])
        return packet and frame[6:12] + mac + kind + packet
    return None


def echoed(packet: bytes) -> bytes | None:
    """An IP packet on its way back: an ICMP echo reply, a UDP datagram from its port; None for
    others."""
    if packet[0] >> 4 == 4:
        header, payload = packet[: (packet[0] & 15) * 4], packet[(packet[0] & 15) * 4 :]
        protocol, (source, target) = header[9], (slice(12, 16), slice(16, 20))
    else:
        header, payload = packet[:40], packet[40:]
        protocol, (source, target) = header[6], (slice(8, 24), slice(24, 40))
    back = header[: source.start] + header[target] + header[source] + header[target.stop :]
    if protocol == 1 and payload[0] == 8:
        reply = b"\0\0\0\0" + payload[4:]
        return back + b"\0\0" + struct.pack("!H", checksum(reply)) + payload[4:]
    if protocol == 58 and payload[0] == 128:
        # the type is in the checksum's sum: 128 becomes 129
        total = (struct.unpack_from("!H", payload, 2)[0] ^ 0xFFFF) + 0x100
        total = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
        return back + b"\x81\0" + struct.pack("!H", total) + payload[4:]
    if protocol == 17:
        return back + payload[2:4] + payload[:2] + payload[4:]
    return None
