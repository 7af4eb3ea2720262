"""Tuns: the program behind one is a station of the switch, whose ARP and ND others do."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import socket
import subprocess
from collections.abc import Iterator

import pytest
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether

from lib.frames import BROADCAST, IPV4, frame, station
from lib.program import OFFLOADS, TUN, File, VnetHeader, echoed, joined, running
from lib.topology import (
    Lab,
    Node,
    Vnetx,
    carrier,
    host_mac,
    ipv4,
    ipv6,
    neighbours_forgotten,
    ping,
    tcp_test,
    udp_test,
    wait_until,
)

pytestmark = pytest.mark.root

MAC, NUMBER = station(0x7C9), 9


def with_tun(lab: Lab, *words: str, hosts: tuple[int, ...] = (1,), hook: str = "auto") -> Vnetx:
    """h1 (and more) at a switch, and the tun t0, the station 192.0.2.9 and 2001:db8::9."""
    lab.add_hosts(*hosts)
    switch = lab.vnetx(hook)
    switch.create(host_port=False)
    switch.attach(*(f"p{n}" for n in hosts))
    switch.run(
        *("link", "add", "t0", "--kind", "tun", "--switch", switch.name, "--mac", MAC.hex(":")),
        *("--ip", f"{ipv4(NUMBER)}/24", "--ip", f"{ipv6(NUMBER)}/64", *words),
    )
    for n in hosts:
        wait_until(lambda n=n: carrier(lab.hosts[n], f"h{n}"), f"h{n} has a carrier")
    return switch


@contextlib.contextmanager
def echoing(lab: Lab, **kind: bool) -> Iterator[None]:
    """A program that sends back what is asked of it."""

    def work(file: File, _: VnetHeader, data: bytes) -> None:
        if answer := echoed(data):
            file.write(answer)

    with File(lab.near, "t0", TUN, **{"vnet_hdr": False, **kind}) as file, running([file], work):
        wait_until(lambda: carrier(lab.near, "t0"), "t0 has a carrier")
        yield


@contextlib.contextmanager
def tunnel(lab: Lab, *, offloads: int | None = None) -> Iterator[tuple[Node, dict[bool, int]]]:
    """A namespace whose stack is behind t0, by a program as a VPN is one, and the longest packet
    that came from the switch (True) and that went there."""
    longest = {True: 0, False: 0}

    def look(from_switch: bool, _: VnetHeader, data: bytes) -> None:
        longest[from_switch] = max(longest[from_switch], len(data))

    with contextlib.closing(Node()) as far:
        far.enable_ipv6()
        kind = {"vnet_hdr": offloads is not None, "offloads": offloads or 0}
        far.ip(f"tuntap add dev g0 mode tun {'vnet_hdr' if kind['vnet_hdr'] else ''}")
        with (
            File(lab.near, "t0", TUN, **kind) as port,  # type: ignore[arg-type]
            File(far, "g0", TUN, **kind) as end,  # type: ignore[arg-type]
            joined(port, end, look),
        ):
            far.ip(
                "link set dev g0 up",
                f"addr add {ipv4(NUMBER)}/24 dev g0",
                f"addr add {ipv6(NUMBER)}/64 dev g0 nodad",
                "route add default dev g0",
            )
            wait_until(lambda: carrier(lab.near, "t0"), "t0 has a carrier")
            wait_until(lambda: carrier(far, "g0"), "g0 has a carrier")
            usable(lab)
            yield far, longest


def usable(lab: Lab) -> None:
    """Duplicates of its IPv6 address were looked for, and none were found."""
    (space,) = spaces(lab)
    wait_until(
        lambda: "tentative" not in space_run(space, "ip", "-6", "address"), "the address is usable"
    )


def spaces(lab: Lab) -> list[str]:
    """The namespaces that were made for tuns of the switch."""
    inode = os.fstat(lab.near.fd).st_ino
    found = lab.near.run("ip", "netns", "list").split("\n")
    return [line.split()[0] for line in found if line.startswith(f"vnetx-{inode}-")]


def space_run(space: str, *command: str) -> str:
    done = subprocess.run(
        ["ip", "netns", "exec", space, *command], check=True, capture_output=True, text=True
    )
    return done.stdout


# ---------------------------------------------------------------- packets


@pytest.mark.parametrize("hook", ["tc", "xdp", "xdp-generic"])
def test_a_program_answers(lab: Lab, hook: str) -> None:
    """Echo requests and datagrams, from hosts on any hook."""
    with_tun(lab, hook=hook)
    usable(lab)
    with echoing(lab):
        for address in (ipv4(NUMBER), ipv6(NUMBER)):
            assert ping(lab.hosts[1], address, count=3)
            assert ping(lab.hosts[1], address, count=3, size=1400)
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            sock = lab.hosts[1].socket(family, socket.SOCK_DGRAM)
            sock.sendto(b"x" * 1000, (address, 5002))
            data, sender = sock.recvfrom(2000)
            assert (data, sender[:2]) == (b"x" * 1000, (address, 5002))


@pytest.mark.parametrize("offloads", [None, 0, OFFLOADS])
def test_a_stack_behind_a_program(lab: Lab, offloads: int | None) -> None:
    """It speaks first, and nothing is lost while the kernel finds its neighbour."""
    switch = with_tun(lab)
    with tunnel(lab, offloads=offloads) as (far, longest):
        for address in (ipv4, ipv6):
            neighbours_forgotten(lab.hosts[1])
            assert ping(far, address(1))
            assert ping(lab.hosts[1], address(NUMBER))
            tcp_test(far, lab.hosts[1], address(1), megabytes=2)
            tcp_test(lab.hosts[1], far, address(NUMBER), megabytes=2)
            udp_test(far, lab.hosts[1], address(1), 1400)
            udp_test(lab.hosts[1], far, address(NUMBER), 1400)
    if offloads:
        assert min(longest.values()) > 10_000
    else:
        assert max(longest.values()) <= 1500
    (entry,) = switch.json("fdb", "show", "--port", "vx-t0")
    assert (entry["mac"], entry["state"]) == (MAC.hex(":"), "local")
    drops = switch.ports()["vx-t0"]["stats"]["drops"]
    assert not drops.keys() - {"egress_refused", "no_egress"}, drops


def test_beyond_a_router(lab: Lab) -> None:
    with_tun(lab, "--route", f"default={ipv4(1)}", "--route", f"default={ipv6(1)}")
    router = lab.hosts[1]
    router.ip("addr add 198.51.100.1/32 dev lo", "addr add 2001:db8:1::1/128 dev lo nodad")
    with tunnel(lab) as (far, _):
        far.run("ip", "-6", "route", "add", "default", "dev", "g0")
        assert ping(far, "198.51.100.1")
        assert ping(far, "2001:db8:1::1")


def test_arp_and_nd_as_hosts_see_them(lab: Lab) -> None:
    """They are answered with nobody behind the tun, for its own addresses alone."""
    with_tun(lab)
    usable(lab)
    lab.listen()
    me = {"hwsrc": host_mac(1).hex(":"), "psrc": ipv4(1)}
    for number, answered in ((NUMBER, True), (NUMBER + 1, False)):
        ask = Ether(dst="ff:ff:ff:ff:ff:ff", src=me["hwsrc"]) / ARP(**me, pdst=ipv4(number))
        answers = [Ether(raw) for raw in lab.inject(1, bytes(ask)).get(1, [])]
        found = [a for a in answers if ARP in a and a[ARP].op == 2]
        assert [(a.src, a[ARP].hwsrc, a[ARP].psrc) for a in found] == (
            [(MAC.hex(":"), MAC.hex(":"), ipv4(number))] if answered else []
        )
        group = ipaddress.ip_address(
            int.from_bytes(socket.inet_pton(10, "ff02::1:ff00:0")) | number
        )
        solicit = (
            Ether(src=me["hwsrc"], dst=f"33:33:ff:00:00:{number:02x}")
            / IPv6(src=ipv6(1), dst=str(group))
            / ICMPv6ND_NS(tgt=ipv6(number))
            / ICMPv6NDOptSrcLLAddr(lladdr=me["hwsrc"])
        )
        answers = [Ether(raw) for raw in lab.inject(1, bytes(solicit)).get(1, [])]
        found = [a for a in answers if ICMPv6ND_NA in a]
        assert [(a.src, a[ICMPv6NDOptDstLLAddr].lladdr, a[ICMPv6ND_NA].tgt) for a in found] == (
            [(MAC.hex(":"), MAC.hex(":"), ipv6(number))] if answered else []
        )


def packets(file: File) -> list[bytes]:
    return [data for _, data in file.frames()]


def test_what_reaches_the_program(lab: Lab) -> None:
    """Packets for its address, and groups; not other stations' frames, nor what is no IP."""
    with_tun(lab)
    with File(lab.near, "t0", TUN, vnet_hdr=False) as file:
        wait_until(lambda: carrier(lab.near, "t0"), "t0 has a carrier")
        lab.inject(1, frame(station(5), host_mac(1), proto=IPV4))  # unknown: flooded
        lab.inject(1, frame(MAC, host_mac(1)))
        lab.inject(1, frame(MAC, host_mac(1), proto=IPV4, tags=[0x8100]))
        packets(file)
        for to in (MAC, BROADCAST, bytes.fromhex("01005e000001")):
            sent = frame(to, host_mac(1), proto=IPV4)
            lab.inject(1, sent)
            assert file.read() == (VnetHeader(), sent[14:])
        assert packets(file) == []


def test_groups_of_the_program(lab: Lab) -> None:
    """Their addresses need no neighbour."""
    with_tun(lab)
    usable(lab)
    with tunnel(lab) as (far, _):
        lab.listen()
        lab.received()
        far.ip("route add 239.0.0.0/8 dev g0")
        sock = far.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.SOL_SOCKET, 25, b"g0\0")  # SO_BINDTODEVICE
        for address, mac in (
            ("255.255.255.255", BROADCAST),
            ("239.1.2.3", bytes.fromhex("01005e010203")),
        ):
            sock.sendto(b"x", (address, 7000))
            wait_until(
                lambda m=mac: any(raw[:12] == m + MAC for raw in lab.received().get(1, [])),
                f"h1 has what was sent to {address}",
            )


# ---------------------------------------------------------------- the device and its host


def test_the_host_is_not_concerned(lab: Lab) -> None:
    lab.near.enable_ipv6()
    lab.add_hosts(1)

    def host() -> tuple[str, ...]:
        what = ("address", "rule", "-6 rule", "route show table all", "-6 route show table all")
        told = [lab.near.run("ip", "-o", *words.split()) for words in what]
        # the kernel's own for each device
        return tuple(re.sub("multicast ff00::/8 dev (vx-)?t0.*\n", "", each) for each in told)

    def settled() -> bool:
        told = lab.near.run("ip", "-6", "address", "show", "dev", "p1")
        return "fe80:" in told and "tentative" not in told

    wait_until(settled, "p1 has its own address")
    before = host()
    switch = lab.vnetx()
    switch.create(host_port=False)
    words = ("--switch", switch.name, "--ip", "192.0.2.9/24", "--ip", "2001:db8::9/64")
    switch.run("link", "add", "t0", "--kind", "tun", *words)
    with File(lab.near, "t0", TUN, vnet_hdr=False) as file:
        assert file.read(0.3) is None
        assert host() == before
    assert spaces(lab)
    switch.run("link", "del", "t0")
    assert not spaces(lab)
    assert host() == before


def test_it_is_changed(lab: Lab) -> None:
    switch = with_tun(lab)
    with echoing(lab):
        switch.run("link", "add", "t0", "--ip", f"{ipv4(10)}/24", "--mtu", "1400")
        assert ping(lab.hosts[1], ipv4(10))
        assert not ping(lab.hosts[1], ipv4(NUMBER))
        done = switch.run("link", "add", "t0", "--owner", "5001", check=False)
        assert "EBUSY" in done.stderr
    before = lab.near.json("ip", "-j", "link", "show", "dev", "t0")[0]
    assert before["mtu"] == 1400
    switch.run("link", "add", "t0", "--owner", "5001", "--vnet-hdr")
    (after,) = lab.near.json("ip", "-j", "-d", "link", "show", "dev", "t0")
    assert after["ifindex"] == before["ifindex"]
    assert after["linkinfo"]["info_data"]["user"] == 5001
    document = switch.run("export").stdout
    switch.run("link", "add", "t0", "--queues", "2")
    (after,) = lab.near.json("ip", "-j", "-d", "link", "show", "dev", "t0")
    assert after["ifindex"] != before["ifindex"]
    assert after["linkinfo"]["info_data"]["multi_queue"] is True
    switch._run_with(document, "apply")
    assert switch.run("export").stdout == document
    with echoing(lab, vnet_hdr=True):
        assert ping(lab.hosts[1], ipv4(10))


def test_in_a_vlan(lab: Lab) -> None:
    switch = with_tun(lab, "--vlan", "20", hosts=(1, 2))
    switch.set_port("p1", access=20)
    with echoing(lab):
        assert ping(lab.hosts[1], ipv4(NUMBER))
        assert not ping(lab.hosts[2], ipv4(NUMBER))
        switch.set_port("vx-t0", learn_limit=5)
        assert ping(lab.hosts[1], ipv4(NUMBER))
        done = switch.run("port", "set", "vx-t0", "--hook", "xdp", check=False)
        assert "the port of a tun has its programs in TC" in done.stderr


def test_renamed(lab: Lab) -> None:
    switch = with_tun(lab)
    lab.near.ip("link set dev t0 down", "link set dev t0 name t9", "link set dev t9 up")
    switch.run("link", "add", "t0", "--mtu", "1400", "--owner", "5001")
    assert lab.near.json("ip", "-j", "link", "show", "dev", "t9")[0]["mtu"] == 1400
    switch.run("link", "del", "t0")
    assert [link["ifname"] for link in lab.near.json("ip", "-j", "link")] == ["lo", "p1"]
    assert spaces(lab) == []


@pytest.mark.parametrize("gone", ["tun", "port", "namespace"])
def test_a_part_of_it_is_gone(lab: Lab, gone: str) -> None:
    """The next command removes the rest."""
    switch = with_tun(lab)
    (space,) = spaces(lab)
    if gone == "namespace":
        lab.near.run("ip", "netns", "delete", space)
        wait_until(lambda: "vx-t0" not in lab.near.run("ip", "link"), "the pair is gone")
    else:
        lab.near.ip(f"link del dev {'t0' if gone == 'tun' else 'vx-t0'}")
    switch.run("switch", "set", switch.name, "--ageing", "200")
    assert switch.json("link", "show") == []
    assert [link["ifname"] for link in lab.near.json("ip", "-j", "link")] == ["lo", "p1"]
    assert spaces(lab) == []


def test_two_switches_with_a_tun_of_one_name() -> None:
    """Each has a namespace of its own."""
    with contextlib.ExitStack() as stack:
        labs = [stack.enter_context(Lab()) for _ in range(2)]
        for lab in labs:
            with_tun(lab)
            assert len(spaces(lab)) == 1
        assert spaces(labs[0]) != spaces(labs[1])
        with echoing(labs[1]):
            assert ping(labs[1].hosts[1], ipv4(NUMBER))
