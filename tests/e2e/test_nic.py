"""A network card that carries the host's address and default route becomes a port.

In the host's namespace the veth `p1` is the card, and `h1` at its far end is the wire, with
the gateway behind it; p2 and p3 lead to containers. The host is 192.0.2.100.
"""

from __future__ import annotations

import re
import subprocess

import pytest

from lib.frames import BROADCAST, frame, station
from lib.topology import (
    Lab,
    Stream,
    Tap,
    Vnetx,
    carrier,
    flood_ping,
    host_mac,
    ipv4,
    ipv6,
    neighbours_forgotten,
    ping,
    ping_test,
    tcp_test,
    udp_test,
    wait_until,
)

pytestmark = pytest.mark.root

HOST = 100
NIC_MAC = bytes.fromhex("02005e010001")
A, B, X = (station(number) for number in (0xA, 0xB, 0xE))


@pytest.fixture
def host(lab: Lab) -> Lab:
    """The card is up and carries everything; nothing is attached."""
    lab.add_hosts(1, 2, 3)
    lab.near.enable_ipv6()
    lab.near.ip(
        f"addr add {ipv4(HOST)}/24 dev p1",
        f"addr add {ipv6(HOST)}/64 dev p1 nodad",
        f"route add default via {ipv4(1)} dev p1",
    )
    for n in lab.hosts:
        wait_until(lambda n=n: carrier(lab.hosts[n], f"h{n}"), f"h{n} has a carrier")
    wait_until(lambda: ping(lab.near, ipv4(1)), "the host reaches its gateway")
    return lab


def everybody(lab: Lab) -> None:
    """Host, wire and containers reach each other, also with nothing in their caches."""
    for address in (ipv4, ipv6):
        nodes = {address(n): node for n, node in {**lab.hosts, HOST: lab.near}.items()}
        neighbours_forgotten(*nodes.values())
        ping_test(nodes)
        ping_test(nodes, size=3000)


def test_attaching_the_card_interrupts_nothing(hook: str, host: Lab) -> None:
    """No packet is lost, and an open connection goes on, during attach and detach."""
    switch = host.vnetx(hook)
    gateway = host.hosts[1]
    out = Stream.open(host.near, gateway, ipv4(1))
    into = Stream.open(gateway, host.near, ipv6(HOST))
    with (
        flood_ping(host.near, ipv4(1), qdiscs=4) as out_answers,
        flood_ping(gateway, ipv6(HOST), qdiscs=4) as answers,
    ):
        for command in (
            ("attach", "p1", "--hook", hook),
            ("attach", "p2", "p3", "--hook", hook),
            ("port", "set", "p1", "--hairpin", "on"),
            ("detach", "p3"),
            ("detach", "p1"),
            ("attach", "p1", "--hook", hook),
            ("detach", "--all"),
        ):
            switch.run(*command)
            out_answers()
            answers()
            out.echo()
            into.echo()
    assert "default via 192.0.2.1 dev p1" in host.near.run("ip", "route")


def test_host_wire_and_containers(hook: str, host: Lab) -> None:
    host.vnetx(hook).attach("p1", "p2", "p3")
    everybody(host)
    for client, server, address in (
        (host.near, host.hosts[2], ipv4(2)),
        (host.hosts[2], host.near, ipv6(HOST)),
        (host.near, host.hosts[1], ipv4(1)),
        (host.hosts[1], host.near, ipv4(HOST)),
        (host.hosts[3], host.hosts[1], ipv6(1)),
        (host.hosts[1], host.hosts[3], ipv4(3)),
    ):
        tcp_test(client, server, address, megabytes=4)
        udp_test(client, server, address, 4000)


@pytest.mark.parametrize("number", [1, 2])
def test_the_host_gets_its_address_by_dhcp(hook: str, host: Lab, number: int) -> None:
    """From a server on the wire, or from one in a container."""
    host.vnetx(hook).attach("p1", "p2", "p3")
    server = host.hosts[number]
    dnsmasq = server.start(
        *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--pid-file="),
        *(f"--interface=h{number}", "--bind-interfaces", "--leasefile-ro", "--no-ping"),
        *(f"--dhcp-range={ipv4(50)},{ipv4(60)}", "--log-facility=-", "--user=root"),
        stderr=subprocess.PIPE,
    )
    assert dnsmasq.stderr
    while "DHCP, sockets bound" not in (line := dnsmasq.stderr.readline()):
        assert line, "dnsmasq ended"
    said = host.near.run("sh", "-c", "udhcpc -i p1 -f -q -n -t 5 -T 1 -s /bin/true 2>&1")
    assert re.search(r"lease of 192\.0\.2\.[56]\d obtained", said), said


@pytest.fixture
def quiet(lab: Lab) -> Lab:
    """The same without anybody who talks by himself: for raw frames."""
    lab.add_hosts(1, 2, 3, addresses=False)
    lab.near.ip(f"addr add {ipv4(HOST)}/24 dev p1")
    return lab


def test_frames_on_the_wire(hook: str, quiet: Lab) -> None:
    """What is for the host goes to the host alone, what is for others does not."""
    quiet.vnetx(hook).attach("p1", "p2", "p3")
    up = Tap(quiet.near, "p1")
    quiet.inject(2, frame(BROADCAST, B))
    assert up.received() == [frame(BROADCAST, B)], "broadcasts of containers reach the host"
    quiet.inject(1, frame(BROADCAST, A))
    assert up.received() == [frame(BROADCAST, A)], "so do those of the wire"
    for target, ports, local in (
        (NIC_MAC, [], 1),
        (B, [2], 0),
        (X, [2, 3], 0),
        (host_mac(1), [2, 3], 0),
    ):
        data = frame(target, A)
        assert quiet.inject(1, data) == {port: [data] for port in ports}
        assert up.received() == [data] * local
    for target, ports in ((NIC_MAC, []), (A, [1]), (X, [1, 3])):
        data = frame(target, B)
        assert quiet.inject(2, data) == {port: [data] for port in ports}
        assert up.received() == [data] * (target == NIC_MAC)


def test_frames_of_the_host(hook: str, quiet: Lab) -> None:
    """To a container they do not go out to the wire, to the wire not into containers."""
    quiet.vnetx(hook).attach("p1", "p2", "p3")
    quiet.inject(1, frame(BROADCAST, A))
    quiet.inject(2, frame(BROADCAST, B))
    up = Tap(quiet.near, "p1")
    for target, ports in ((A, [1]), (B, [2]), (X, [1, 2, 3]), (BROADCAST, [1, 2, 3])):
        data = frame(target, NIC_MAC)
        up.send(data)
        assert quiet.received() == {port: [data] for port in ports}
    assert up.received() == [], "nothing comes back"


# ---------------------------------------------------------------- with a time limit


def attached(switch: Vnetx) -> set[str]:
    return set(switch.ports())


def test_nobody_confirms(hook: str, host: Lab) -> None:
    """The card is given back, by itself, and nothing is lost then either."""
    switch = host.vnetx(hook)
    stream = Stream.open(host.near, host.hosts[1], ipv4(1))
    with flood_ping(host.near, ipv4(1), qdiscs=2) as answered:
        switch.run("attach", "p1", "p2", "--hook", hook, "--confirm", "1")
        answered()
        wait_until(lambda: not attached(switch), "it was undone", seconds=15)
        answered()
        stream.echo()
    assert not ping(host.near, ipv4(2), options=("-W", "0.2"))
    assert switch.json("switch", "show") == []


def test_somebody_confirms(host: Lab) -> None:
    switch = host.vnetx("auto")
    with flood_ping(host.near, ipv4(1), qdiscs=1) as answered:
        switch.run("attach", "p1", "p2", "p3", "--confirm", "60")
        assert all(port["unconfirmed"] for port in switch.ports().values())
        assert 0 < switch.switch()["unconfirmed_for"] <= 60
        answered()
        assert ping(host.near, ipv4(2))
        switch.run("confirm")
        answered()
    assert not any(port["unconfirmed"] for port in switch.ports().values())
    assert switch.switch()["unconfirmed_for"] is None
    everybody(host)


def test_too_late_to_confirm(host: Lab) -> None:
    switch = host.vnetx("auto")
    switch.run("attach", "p1", "--confirm", "1")
    wait_until(lambda: not attached(switch), "it was undone", seconds=15)
    said = switch.run("confirm", check=False)
    assert said.returncode == 1
    assert "attach again" in said.stderr
