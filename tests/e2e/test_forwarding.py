"""What hosts notice of a good switch: pings, streams, DHCP, learning, ageing, order."""

from __future__ import annotations

import subprocess
import time
from itertools import permutations

import pytest

from lib import EMULATED
from lib.frames import BROADCAST, MULTICAST, frame, station
from lib.topology import (
    Lab,
    Tap,
    carrier,
    dhcp_lease,
    dhcp_server,
    flood_ping,
    host_mac,
    interface_counters,
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

#: Of datagrams of 1448 bytes: an emulated processor does not send more without losing some.
RATE = "2M" if EMULATED else "20M"

A, B, C, X = (station(number) for number in (0xA, 0xB, 0xC, 0xE))


def addressed(lab: Lab, *numbers: int) -> None:
    lab.add_hosts(*numbers)
    for n in numbers:
        wait_until(lambda n=n: carrier(lab.hosts[n], f"h{n}"), f"h{n} has a carrier")


# ---------------------------------------------------------------- real stacks


def test_everybody_pings_everybody(hook: str, lab: Lab) -> None:
    """BR-01, with what fits a frame and with fragments."""
    addressed(lab, 1, 2, 3)
    lab.vnetx(hook).attach("p1", "p2", "p3")
    for address in (ipv4, ipv6):
        nodes = {address(n): node for n, node in lab.hosts.items()}
        ping_test(nodes)
        ping_test(nodes, size=4000)


@pytest.mark.parametrize("address", [ipv4, ipv6])
def test_streams_arrive_as_they_were_sent(
    hook: str, lab: Lab, address: type[ipv4] | type[ipv6]
) -> None:
    """XD-07: default offloads of veth, partial checksums and GSO packets on the way."""
    addressed(lab, 1, 2)
    lab.vnetx(hook).attach("p1", "p2")
    one, two = lab.hosts[1], lab.hosts[2]
    tcp_test(one, two, address(2), megabytes=16)
    tcp_test(two, one, address(1), megabytes=16)
    for size in (0, 1, 17, 1400, 1472, 1473, 9000, 60000):
        udp_test(one, two, address(2), size)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [("--parallel", "4"), ("--reverse",), ("--udp", "--bitrate", RATE)], ids=" ".join
)
def test_iperf3(hook: str, lab: Lab, options: tuple[str, ...]) -> None:
    """What people try first. Every byte and datagram arrives, and the counters agree."""
    addressed(lab, 1, 2)
    switch = lab.vnetx(hook)
    switch.attach("p1", "p2")
    serving = ("iperf3", "--server", "--one-off", "--forceflush")
    server = lab.hosts[2].start(*serving, stdout=subprocess.PIPE)
    assert server.stdout
    while "listening" not in (line := server.stdout.readline()):
        assert line, "iperf3 ended"
    client = ("iperf3", "--json", "--time", "1", "--client", ipv4(2))
    end = lab.hosts[1].json(*client, *options)["end"]
    if "--udp" in options:
        assert end["sum"]["packets"] > (100 if EMULATED else 1000)
        assert end["sum"]["lost_packets"] == 0
    else:
        assert end["sum_received"]["bytes"] > 1 << 20
        assert end["sum_received"]["bytes"] >= 0.5 * end["sum_sent"]["bytes"]

    def balanced() -> bool:  # once the last frames have arrived
        stats = {name: port["stats"] for name, port in switch.ports().items()}
        for one, other in (("p1", "p2"), ("p2", "p1")):
            dropped = sum((*stats[one]["drops"].values(), *stats[other]["drops"].values()))
            ahead = stats[one]["rx_frames"] - stats[other]["tx_frames"] - dropped
            # (what was flooded before the other one was attached)
            if not 0 <= ahead <= stats[one]["flooded"]:
                return False
        return True

    wait_until(balanced, "what came in went out or was dropped")


@pytest.mark.parametrize(("here", "there"), list(permutations(("tc", "xdp", "xdp-generic"), 2)))
def test_streams_between_hooks(lab: Lab, here: str, there: str) -> None:
    """Ports of one switch on different hooks."""
    addressed(lab, 1, 2)
    for number, hook in ((1, here), (2, there)):
        lab.vnetx().run("attach", f"p{number}", "--hook", hook)
    one, two = lab.hosts[1], lab.hosts[2]
    tcp_test(one, two, ipv4(2), megabytes=4)
    tcp_test(two, one, ipv6(1), megabytes=4)
    udp_test(one, two, ipv4(2), 5000)
    assert ping(two, ipv4(1), size=1472)


def test_gso_packets_pass_whole_on_tc(lab: Lab) -> None:
    addressed(lab, 1, 2)
    switch = lab.vnetx("tc")
    switch.attach("p1", "p2")
    tap = Tap(lab.hosts[2], "h2")
    tcp_test(lab.hosts[1], lab.hosts[2], ipv4(2), megabytes=2)
    longest = max(len(data) for data in tap.received())
    assert longest > 10 * 1514, "the switch segmented"
    ports = switch.ports()
    device = interface_counters(lab.near, "p1")["rx"]
    assert ports["p1"]["stats"]["rx_frames"] > 2 * device["packets"]
    assert ports["p2"]["stats"]["tx_frames"] == ports["p1"]["stats"]["rx_frames"]


@pytest.mark.parametrize("mtu", [9000, 9500])
def test_jumbo_frames(hook: str, lab: Lab, mtu: int) -> None:
    """9500 is containerlab's MTU: XDP needs fragments there."""
    lab.mtu = mtu
    addressed(lab, 1, 2)
    lab.vnetx(hook).attach("p1", "p2")
    for address, header in ((ipv4, 28), (ipv6, 48)):
        assert ping(lab.hosts[1], address(2), size=mtu - header, options=("-M", "do"))
        tcp_test(lab.hosts[1], lab.hosts[2], address(2), megabytes=8)


def test_large_frames_stop_at_a_small_mtu(hook: str, lab: Lab) -> None:
    """BR-37: not to p2, to p3; counted."""
    lab.add_hosts(1, 3, mtu=9000, addresses=False)
    lab.add_hosts(2, addresses=False)
    switch = lab.vnetx(hook)
    switch.attach("p1", "p2", "p3")
    lab.inject(2, frame(BROADCAST, B))
    lab.inject(3, frame(BROADCAST, C))
    for target, ports in ((BROADCAST, [3]), (C, [3]), (B, [])):
        data = frame(target, A, 4000)
        assert lab.inject(1, data) == {port: [data] for port in ports}
    small = frame(B, A, 1514)
    assert lab.inject(1, small) == {2: [small]}
    assert switch.ports()["p2"]["stats"]["drops"] == {"mtu": 2}


@pytest.mark.parametrize("hook", ["tc", "auto"])
def test_capture_sees_switched_frames(hook: str, lab: Lab) -> None:
    addressed(lab, 1, 2)
    lab.vnetx(hook).attach("p1", "p2")
    one, two = lab.hosts[1], lab.hosts[2]
    assert ping(one, ipv4(2))
    captures = [
        node.start(
            *("tcpdump", "-l", "-n", "-i", interface, "-c", "2", "icmp"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for node, interface in ((one, "h1"), (lab.near, "p1"), (two, "h2"))
    ]
    for capture in captures:
        assert capture.stderr
        while "listening" not in capture.stderr.readline():
            pass
    assert ping(one, ipv4(2), count=2)
    seen = [capture.communicate(timeout=10)[0] for capture in captures]
    assert all("ICMP echo request" in text for text in seen), seen


# ---------------------------------------------------------------- learning


def learning_test(lab: Lab) -> None:
    """FD-01: unknown goes to nobody on a port without flooding, known goes there alone."""
    to_x = frame(X, B)
    assert lab.inject(2, to_x) == {3: [to_x]}
    assert set(lab.inject(1, frame(BROADCAST, X))) == {2, 3}
    assert lab.inject(2, to_x) == {1: [to_x]}


def flood_test(lab: Lab, number: int, data: bytes, *ports: int) -> None:
    assert lab.inject(number, data) == {port: [data] for port in ports}


def test_learning(hook: str, lab: Lab) -> None:
    lab.add_hosts(1, 2, 3, addresses=False)
    switch = lab.vnetx(hook)
    switch.attach("p2", "p3")
    switch.attach("p1", flood_unicast=False)
    learning_test(lab)
    stats = switch.ports()["p1"]["stats"]
    assert (stats["learned"], stats["moved"]) == (1, 0)


def test_without_learning(hook: str, lab: Lab) -> None:
    """FD-07: relayed, and not learned; what was learned before stays."""
    lab.add_hosts(1, 2, 3, addresses=False)
    switch = lab.vnetx(hook)
    switch.attach("p1", "p2", "p3")
    lab.inject(1, frame(BROADCAST, A))
    switch.set_port("p1", learning=False)
    flood_test(lab, 1, frame(BROADCAST, X), 2, 3)
    flood_test(lab, 2, frame(X, B), 1, 3)
    flood_test(lab, 2, frame(A, B), 1)


def test_an_address_moves(hook: str, lab: Lab) -> None:
    """FD-09."""
    lab.add_hosts(1, 2, 3, addresses=False)
    switch = lab.vnetx(hook)
    switch.attach("p1", "p2", "p3")
    for moves, n in enumerate((1, 2, 3, 1)):
        lab.inject(n, frame(BROADCAST, X))
        asker = n % 3 + 1
        flood_test(lab, asker, frame(X, station(asker)), n)
        known = [e for e in switch.json("fdb", "show") if e["mac"] == X.hex(":")]
        assert [e["port"] for e in known] == [f"p{n}"]
        assert sum(port["stats"]["moved"] for port in switch.ports().values()) == moves


def test_ageing_without_a_process(hook: str, lab: Lab) -> None:
    """FD-03, FD-05: one second is enough, and what keeps talking stays known."""
    lab.add_hosts(1, 2, 3, addresses=False)
    switch = lab.vnetx(hook)
    switch.create(ageing=1)
    switch.attach("p1", "p2", "p3")
    # a flow in one direction for three ageing times: h1 talks to h2, which never answers
    lab.inject(2, frame(BROADCAST, B))
    start = last = time.monotonic()
    while time.monotonic() - start < 3:
        heard = time.monotonic()
        lab.inject(1, frame(C, A))
        pause, last = time.monotonic() - last, time.monotonic()
        if pause < 0.7:
            flood_test(lab, 3, frame(A, C), 1)
    # it stops talking
    wait_until(lambda: len(lab.inject(3, frame(A, C))) == 2, "the address aged", seconds=3)
    assert time.monotonic() - heard >= 0.7
    # h2 was heard once and never again
    assert set(lab.inject(3, frame(B, C))) == {1, 2}


def test_ageing_of_an_idle_switch(lab: Lab) -> None:
    """Not even frames are needed: the entry is void when somebody asks for it."""
    lab.add_hosts(1, 2, 3, addresses=False)
    switch = lab.vnetx("tc")
    switch.create(ageing=1)
    switch.attach("p1", "p2", "p3")
    lab.inject(1, frame(BROADCAST, A))
    wait_until(lambda: not switch.json("fdb", "show", "--mac", A.hex(":")), "aged")
    flood_test(lab, 2, frame(A, B), 1, 3)


# ---------------------------------------------------------------- settings of ports


def test_isolated_ports(hook: str, lab: Lab) -> None:
    """BR-33; known unicast, too, and only as long as it is set."""
    addressed(lab, 1, 2, 3)
    switch = lab.vnetx(hook)
    switch.attach("p1", "p2", "p3")
    one, two, three = lab.hosts.values()
    assert ping(one, ipv4(2))
    switch.set_port("p1", isolated=True)
    switch.set_port("p2", isolated=True)
    for node in (one, two):
        assert ping(node, ipv4(3))
    assert not ping(one, ipv4(2), options=("-W", "0.3"))
    neighbours_forgotten(one, two, three)
    assert not ping(one, ipv6(2), options=("-W", "0.3"))
    assert ping(three, ipv4(1))
    assert ping(three, ipv4(2))
    switch.set_port("p1", isolated=False)
    assert ping(one, ipv4(2))


def test_hairpin(hook: str, lab: Lab) -> None:
    """BR-09: back to where it came from, once."""
    lab.add_hosts(1, 2, addresses=False)
    switch = lab.vnetx(hook)
    switch.attach("p1", hairpin=True)
    switch.attach("p2")
    flood_test(lab, 1, frame(BROADCAST, A), 1, 2)
    flood_test(lab, 1, frame(A, A), 1)
    flood_test(lab, 2, frame(BROADCAST, B), 1)
    switch.set_port("p1", hairpin=False)
    flood_test(lab, 1, frame(BROADCAST, A), 2)


def test_two_switches_keep_apart(hook: str, lab: Lab) -> None:
    """BR-29: p1, p2 in one and p3, p4 in the other; the same address in both."""
    lab.add_hosts(1, 2, 3, 4, addresses=False)
    one, other = lab.vnetx(hook, "one"), lab.vnetx(hook, "other")
    one.attach("p1", "p2")
    other.attach("p3", "p4")
    for number, twin in ((1, 2), (2, 1), (3, 4), (4, 3)):
        for target in (BROADCAST, MULTICAST, station(99)):
            flood_test(lab, number, frame(target, station(number)), twin)
    for number in (1, 3):
        lab.inject(number, frame(BROADCAST, X))
    flood_test(lab, 2, frame(X, B), 1)
    flood_test(lab, 4, frame(X, B), 3)
    assert not ping(lab.near, ipv4(1), options=("-W", "0.1"))


def test_frames_keep_their_order(hook: str, lab: Lab) -> None:
    """BR-41: 1000 numbered frames, none lost, doubled or overtaken."""
    lab.add_hosts(1, 2, addresses=False)
    lab.vnetx(hook).attach("p1", "p2")
    lab.inject(2, frame(BROADCAST, B))
    numbered = [frame(B, A) + number.to_bytes(4, "big") for number in range(1000)]
    caught = []
    for first in range(0, 1000, 100):  # a veth's ring has 256 slots
        caught += lab.inject(1, *numbered[first : first + 100])[2]
    assert caught == numbered


def test_a_port_that_comes_later(hook: str, lab: Lab) -> None:
    """A pair talks on while ports come and go."""
    addressed(lab, 1, 2, 3)
    switch = lab.vnetx(hook)
    switch.attach("p1", "p2")
    with flood_ping(lab.hosts[1], ipv4(2)) as answered:
        switch.attach("p3")
        answered()
        assert ping(lab.hosts[3], ipv4(1))
        switch.detach("p3")
        answered()
    assert not ping(lab.hosts[3], ipv4(1), options=("-W", "0.2"))


# ---------------------------------------------------------------- the host port


def test_the_host_takes_part(hook: str, lab: Lab) -> None:
    addressed(lab, 1, 2)
    lab.near.enable_ipv6()
    switch = lab.vnetx(hook)
    switch.attach("p1", "p2")
    lab.near.ip(
        f"addr add {ipv4(100)}/24 dev {switch.name}",
        f"addr add {ipv6(100)}/64 dev {switch.name} nodad",
    )
    for address in (ipv4, ipv6):
        nodes = {address(n): node for n, node in {**lab.hosts, 100: lab.near}.items()}
        ping_test(nodes)
        ping_test(nodes, size=3000)
    for client, server, address in (
        (lab.near, lab.hosts[1], ipv4(1)),
        (lab.hosts[2], lab.near, ipv6(100)),
    ):
        tcp_test(client, server, address, megabytes=8)
        udp_test(client, server, address, 3000)


def test_the_hosts_address_is_stable(lab: Lab) -> None:
    """BR-27 is what people complain of: here the address depends on no port."""
    lab.add_hosts(1, 2, 3, addresses=False)
    switch = lab.vnetx("tc")
    switch.attach("p2")

    def address() -> str:
        shown = lab.near.json("ip", "-j", "link", "show", "dev", switch.name)[0]["address"]
        assert switch.switch()["mac"] == shown
        return str(shown)

    first = address()
    for change, port in (("attach", "p1"), ("attach", "p3"), ("detach", "p2"), ("detach", "p1")):
        switch.run(change, port)
        assert address() == first
    switch.run("detach", "p3")
    switch.attach("p1")
    assert address() == first, "the same after the switch was made anew"


@pytest.mark.parametrize("server", ["host port", "container"])
def test_dhcp(hook: str, lab: Lab, server: str) -> None:
    """A lease by broadcast, from dnsmasq on the switch's interface or behind a port."""
    lab.add_hosts(1, 2, addresses=False)
    switch = lab.vnetx(hook)
    switch.attach("p1", "p2")
    node, interface = (lab.near, switch.name) if server == "host port" else (lab.hosts[2], "h2")
    node.ip(f"addr add {ipv4(100)}/24 dev {interface}")
    dhcp_server(node, interface, ipv4(50), ipv4(60))
    assert dhcp_lease(lab.hosts[1], "h1") in [ipv4(n) for n in range(50, 61)]


def test_who_has_whom(hook: str, lab: Lab) -> None:
    """ARP and neighbour discovery resolve to the hosts' own addresses."""
    addressed(lab, 1, 2)
    lab.vnetx(hook).attach("p1", "p2")
    one = lab.hosts[1]
    for address in (ipv4(2), ipv6(2)):
        assert ping(one, address)
        known = one.json("ip", "-j", "neigh", "show", address)
        assert [entry["lladdr"] for entry in known] == [host_mac(2).hex(":")]
