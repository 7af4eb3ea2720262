"""Endpoints made and deleted over and over, and many on one NIC."""

from __future__ import annotations

import ctypes
import gc
import os
import socket
import sys
from itertools import cycle, islice, product
from pathlib import Path
from typing import ClassVar

import pytest

from lib.endpoints import HOST, WIRE, Nic, Spec
from lib.frames import BROADCAST, station
from vnetx import engine
from vnetx.datapath import pins
from vnetx.datapath.maps import SwitchMaps
from vnetx.model import AMONG, MODES_OF, PASSTHRU

pytestmark = pytest.mark.root

#: What every kind of endpoint is made with, in all of its modes.
EVERY_MODE: list[dict[str, object]] = [
    *({"kind": "macvlan", "mode": mode} for mode in MODES_OF["macvlan"]),
    *(
        {"kind": "ipvlan", "mode": mode, "among": among, "addresses": ("192.0.2.11/24",)}
        for mode, among in product(MODES_OF["ipvlan"], AMONG)
    ),
]
#: Endpoints that are made and deleted; VNETX_ENDPOINTS=1000 takes seven minutes.
TIMES = int(os.environ.get("VNETX_ENDPOINTS", str(len(EVERY_MODE))))


def traces() -> tuple[object, ...]:
    """All that an endpoint could leave: devices, descriptors, pins, ports, addresses."""
    directory = pins.namespace_directory()
    with SwitchMaps.open("vnetx0") as maps:
        ports, interfaces, sources = len(maps.ports()), maps.interfaces(), maps.sources()
        flags = maps.switch()["flags"]
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    pinned = sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))
    devices = {name for _, name in socket.if_nameindex()}
    return ports, interfaces, sources, flags, devices, descriptors, pinned


class _Mallinfo(ctypes.Structure):
    """mallinfo2(3)."""

    _names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_: ClassVar = [(name, ctypes.c_size_t) for name in _names.split()]


_libc = ctypes.CDLL(None)
_libc.mallinfo2.restype = _Mallinfo


def in_use() -> tuple[int, int]:
    """Bytes that this process has from malloc(3), and blocks that Python has; not what is free
    between them."""
    gc.collect()
    heap = _libc.mallinfo2()
    return heap.uordblks + heap.hblkhd, sys.getallocatedblocks()


@pytest.mark.timeout(300 + 2 * TIMES)
@pytest.mark.slow
def test_made_and_deleted_over_and_over() -> None:
    """MV-01 (LTP's macvlan01), in all modes."""
    with Nic() as nic:
        near = nic.lab.near
        nic.lab.add_hosts(2)
        near.sysctl("net/ipv4/conf/p1/forwarding", 1)  # for l3s
        every = islice(cycle(EVERY_MODE), TIMES + len(EVERY_MODE))
        before, memory = None, (0, 0)
        with near.entered():
            engine.attach(["p2"])  # the switch stays, whatever becomes of the NIC
            for number, settings in enumerate(every):
                sources = (station(7),) if settings["mode"] == "source" else ()
                if settings["mode"] == PASSTHRU:
                    engine.detach(["p1"])  # that takes it for itself
                engine.link_add("m1", {"parent": "p1", "sources": sources, **settings}, port={})
                engine.link_del(["m1"])
                if number == len(EVERY_MODE) - 1:  # what is made once is there by now
                    before, memory = traces(), in_use()
            assert traces() == before
        heap, blocks = (now - then for now, then in zip(in_use(), memory, strict=True))
        assert heap < 1 << 20
        assert blocks < 10_000


def test_kinds_beside_each_other() -> None:
    """Plain ports and endpoints in different modes on one NIC: each as if it was alone."""
    with Nic() as nic:
        nic.attach()
        nic.lab.add_hosts(2)
        with nic.lab.near.entered():
            engine.attach(["p2"])
        nic.listen("port", nic.lab.hosts[2], "h2")
        specs = [Spec("m1", "bridge"), Spec("m2", "vepa"), Spec("m3", "private")]
        nic.vnetx(*specs)
        own = {spec.name: spec.mac for spec in specs}
        outside = station(0xA1)
        found = nic.passed(
            [
                ("m1", own["m2"], own["m1"]),
                ("m1", BROADCAST, own["m1"]),
                ("m2", BROADCAST, own["m2"]),
                ("port", own["m2"], station(0xB2)),
                ("port", BROADCAST, station(0xB2)),
                ("m3", station(0xB2), own["m3"]),
                ("m1", station(0xB2), own["m1"]),
                (WIRE, BROADCAST, outside),
            ]
        )
    assert [dict(each) for each in found] == [
        {WIRE: 1},  # one in VEPA mode is reached by the wire alone
        {WIRE: 1, HOST: 1, "port": 1},
        {WIRE: 1, HOST: 1},
        {"m2": 1},
        {WIRE: 1, HOST: 1, "m1": 1, "m2": 1, "m3": 1},
        {WIRE: 1},
        {"port": 1},
        {HOST: 1, "port": 1, "m1": 1, "m2": 1, "m3": 1},
    ]
