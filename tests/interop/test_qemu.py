"""A real virtual machine on a tap: QEMU's virtio-net with its offloads, and Linux behind it."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.frames import station
from lib.guest import Guest, kernel
from lib.topology import (
    PATIENCE_S,
    Lab,
    Node,
    carrier,
    interface_counters,
    ipv4,
    ipv6,
    ping,
    wait_until,
)

pytestmark = [pytest.mark.root, pytest.mark.vm, pytest.mark.novm]

NUMBER = 9
ECHO = 5001


@pytest.fixture(scope="module", autouse=True)
def fetched() -> None:
    """Have the kernel fetched before a test's time counts."""
    kernel()


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


def echo_test(node: Node, address: str, megabytes: int) -> None:
    """A stream to the guest comes back as it was sent."""
    data = os.urandom(1 << 20) * megabytes
    sock = node.socket(10 if ":" in address else 2, 1)  # AF_INET6, AF_INET; SOCK_STREAM
    sock.settimeout(PATIENCE_S)
    sock.connect((address, ECHO))
    sender = threading.Thread(target=sock.sendall, args=(data,))
    sender.start()
    try:
        received = bytearray()
        while len(received) < len(data):
            more = sock.recv(1 << 18)
            assert more, "the connection was closed"
            received += more
    finally:
        sock.shutdown(2)
        sender.join(PATIENCE_S)
        sock.close()
    assert received == data


def test_a_guest_on_a_tap(lab: Lab, tmp_path: Path) -> None:
    """It is pinged, and streams go both ways in super-frames."""
    lab.add_hosts(1)
    switch = lab.vnetx()
    switch.create(host_port=False)
    switch.attach("p1")
    switch.run("link", "add", "t0", "--kind", "tap", "--switch", switch.name)
    mac = station(0x7A9)
    guest = Guest(
        lab.near,
        tmp_path,
        [
            "ip link set eth0 up",
            f"ip addr add {ipv4(NUMBER)}/24 dev eth0",
            "echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad",
            f"ip -6 addr add {ipv6(NUMBER)}/64 dev eth0",
            "ethtool -k eth0",
            f"nc -ll -p {ECHO} -e cat &",
            f"until netstat -ltn | grep -q :{ECHO}; do :; done",
        ],
        "tap,ifname=t0,script=no,downscript=no,vhost=off",
        mac,
    )
    said = guest.said()
    assert re.search("^tx-checksumming: on", said, re.MULTILINE), said
    assert re.search("^tcp-segmentation-offload: on", said, re.MULTILINE), said
    wait_until(lambda: carrier(lab.near, "t0"), "t0 has a carrier")
    wait_until(lambda: carrier(lab.hosts[1], "h1"), "h1 has a carrier")
    for address in (ipv4(NUMBER), ipv6(NUMBER)):
        wait_until(lambda a=address: ping(lab.hosts[1], a), f"{address} answers")
        assert ping(lab.hosts[1], address, count=3, size=1400)
        before = interface_counters(lab.near, "t0")
        echo_test(lab.hosts[1], address, megabytes=4)
        after = interface_counters(lab.near, "t0")
        for way in ("rx", "tx"):
            frames, octets = (after[way][k] - before[way][k] for k in ("packets", "bytes"))
            assert octets > 4 << 20
            assert octets / frames > 3000, f"{way}: {octets} bytes in {frames} frames"
    (entry,) = switch.json("fdb", "show", "--port", "t0")
    assert (entry["mac"], entry["state"]) == (mac.hex(":"), "learned")
    assert not switch.ports()["t0"]["stats"]["drops"].keys() - {"egress_refused"}
    (shown,) = switch.json("link", "show")
    assert shown["vnet_hdr"] is True
    done = switch.run("link", "add", "t0", "--queues", "2", check=False)
    assert "qemu-system-x86 (process" in done.stderr
