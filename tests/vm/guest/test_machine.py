"""The machine itself: kernel, modules, and a wire whose card runs XDP in its driver."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vnetx import _bpf

if TYPE_CHECKING:
    from .conftest import Wire

pytestmark = pytest.mark.smoke

MODULES = (
    *("8021q", "bonding", "bridge", "dummy", "ipvlan", "macvlan", "macvtap", "openvswitch"),
    *("tun", "veth", "virtio_net", "vxlan", "pktgen", "br_netfilter"),
    *("act_mirred", "cls_bpf", "cls_matchall", "sch_fq", "sch_ingress", "sch_netem"),
)

XDP_DROP, XDP_PASS = 1, 2
PROG_TYPE_XDP = 6
XDP_FLAGS_DRV_MODE = 1 << 2
NATIVE = 1  # XDP_ATTACHED_DRV, in `ip -json link`

ETH_P_ALL = 3
EXPERIMENTAL = bytes.fromhex("88b5")


@contextmanager
def native_xdp(device: str, verdict: int) -> Iterator[None]:
    """A program that gives every frame one verdict, in the device's driver."""
    mov_and_exit = bytes([0xB7, 0, 0, 0, verdict, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])
    program = _bpf.prog_load(PROG_TYPE_XDP, mov_and_exit, "verdict", _bpf.ATTACH_XDP)
    try:
        ifindex = socket.if_nametoindex(device)
        link = _bpf.link_create(program, ifindex, _bpf.ATTACH_XDP, XDP_FLAGS_DRV_MODE)
    finally:
        os.close(program)
    try:
        yield
    finally:
        os.close(link)


def test_the_kernel_is_debians_6_1() -> None:
    assert os.uname().release.startswith("6.1.")
    assert "Debian" in os.uname().version


def test_the_kernel_offers_what_bpf_needs() -> None:
    assert Path("/sys/kernel/btf/vmlinux").stat().st_size > 0
    assert Path("/proc/sys/net/core/bpf_jit_enable").read_text().strip() == "1"
    assert os.path.ismount("/sys/fs/bpf")


def test_the_running_kernel_has_its_headers() -> None:
    modules = Path("/lib/modules", os.uname().release)
    assert (modules / "build/include/generated/autoconf.h").is_file()
    assert (modules / "source/include/linux/bpf.h").is_file()


def test_modules_load() -> None:
    done = subprocess.run(["modprobe", "-a", *MODULES], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(scope="module")
def open_wire(wire: Wire) -> Iterator[Wire]:
    """The wire with both cards promiscuous: they filter group addresses and VLANs otherwise."""
    wire.ip("link", "set", "dev", wire.nic, "promisc", "on")
    wire.ip_far("link", "set", "dev", wire.far, "promisc", "on")
    yield wire
    wire.ip("link", "set", "dev", wire.nic, "promisc", "off")


@pytest.mark.parametrize(
    ("target", "tag"),
    [
        pytest.param("", "", id="unicast"),
        pytest.param("ffffffffffff", "", id="broadcast"),
        pytest.param("0180c2000000", "", id="link-local group"),
        pytest.param("", "81000064", id="tagged"),
    ],
)
@pytest.mark.parametrize("outwards", [True, False], ids=["nic to far", "far to nic"])
def test_a_frame_crosses_the_wire(open_wire: Wire, target: str, tag: str, outwards: bool) -> None:
    near_mac, far_mac = "02005e000000", "02005e000001"
    to, sent_by = (far_mac, near_mac) if outwards else (near_mac, far_mac)
    head = bytes.fromhex((target or to) + sent_by)
    body = EXPERIMENTAL + os.urandom(50)
    raw = (socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    with socket.socket(*raw) as near, open_wire.socket_far(*raw) as far:
        near.bind((open_wire.nic, ETH_P_ALL))
        far.bind((open_wire.far, ETH_P_ALL))
        sender, receiver = (near, far) if outwards else (far, near)
        receiver.settimeout(20)
        sender.send(head + bytes.fromhex(tag) + body)
        while body not in (received := receiver.recv(2048)):
            pass
    # The stack has moved a tag out of the frame, into the socket's auxiliary data.
    assert received == head + body


def test_an_xdp_program_runs_in_the_cards_driver(wire: Wire) -> None:
    features = wire.run("ethtool", "-k", wire.nic)
    with native_xdp(wire.nic, XDP_PASS):
        assert wire.show()["xdp"]["mode"] == NATIVE
        assert wire.ping()
    with native_xdp(wire.nic, XDP_DROP):
        assert not wire.ping(count=1)
    assert "xdp" not in wire.show()
    assert wire.ping()
    assert wire.run("ethtool", "-k", wire.nic) == features
