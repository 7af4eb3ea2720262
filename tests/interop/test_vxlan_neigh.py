"""Neighbour suppression: who is answered for, by what, and what goes over the underlay as ever."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet

from lib.frames import BROADCAST, frame, station
from lib.overlay import Overlay, behind
from lib.topology import Lab, host_mac, ipv4, ipv6, neighbours_forgotten, ping, wait_until
from vnetx import engine, state

pytestmark = pytest.mark.root

#: h1, and a station behind the other VTEP, with the addresses of host 9.
A, X, Y = station(0xA), station(0xE), station(0xF)
VNI = 1000


@pytest.fixture
def overlay() -> Iterator[Callable[..., Overlay]]:
    """vnetx and another host, who knows where X is."""
    with contextlib.ExitStack() as stack:

        def make(vid: int = 0, **settings: Any) -> Overlay:
            lab = stack.enter_context(Lab())
            made = stack.enter_context(Overlay(lab, addresses=False))
            made.switch.attach("p1", **({"access": vid} if vid else {}))
            made.switch.attach("p2", **({"trunk": str(vid)} if vid else {}))
            made.vni(VNI, 1, vid=vid, neigh_suppress=True, **settings)
            made.kernel(1, VNI, 11, addresses=False)
            lab.wire(1)
            made.others[0].wire(11).send(frame(BROADCAST, X))
            behind(lab.wire(1), frame(BROADCAST, X))
            return made

        yield make


def neighbours(made: Overlay) -> dict[str, tuple[bytes, str]]:
    """MAC address and state by IP address."""
    return {each.ip: (each.mac, each.state) for each in made.call(state.neighbours)}


def mac(raw: bytes) -> str:
    return raw.hex(":")


def who_has(target: int = 9, *, asker: int = 1, src: bytes = A, dst: bytes = BROADCAST) -> Packet:
    request = ARP(op=1, hwsrc=mac(src), psrc=ipv4(asker), hwdst=mac(bytes(6)), pdst=ipv4(target))
    return Ether(src=mac(src), dst=mac(dst)) / request


def solicitation(target: int = 9, *, source: str | None = None, src: bytes = A) -> Packet:
    group = f"ff02::1:ff00:{target:x}"
    source = ipv6(1) if source is None else source
    asked = IPv6(src=source, dst=group, hlim=255) / ICMPv6ND_NS(tgt=ipv6(target))
    if source != "::":
        asked /= ICMPv6NDOptSrcLLAddr(lladdr=mac(src))
    return Ether(src=mac(src), dst=f"33:33:ff:00:00:{target:02x}") / asked


def advertisement(*, src: bytes = X, router: int = 0, number: int = 9) -> Packet:
    said = ICMPv6ND_NA(tgt=ipv6(number), R=router, S=0, O=1)
    said /= ICMPv6NDOptDstLLAddr(lladdr=mac(src))
    ip = IPv6(src=ipv6(number), dst="ff02::1", hlim=255)
    return Ether(src=mac(src), dst="33:33:00:00:00:01") / ip / said


def asked(made: Overlay, packet: Packet, port: int = 1) -> tuple[list[Packet], int]:
    """What comes back for a frame of a container, and how many packets went out for it."""
    wire, tap = made.lab.wire(port), made.tap()
    wire.discard()
    wire.send(bytes(packet))
    return [Ether(data) for data in wire.received()], len(made.sent(tap))


def test_answers(overlay: Callable[..., Overlay]) -> None:
    """NS-05: whole, and byte by byte as the host itself would; nothing goes out, or has to."""
    made = overlay(neighbours={ipv4(9): X, ipv6(9): X})
    made.others[0].near.ip("link set dev p11 down")
    (answer,), sent = asked(made, who_has())
    assert sent == 0
    said = ARP(op=2, hwsrc=mac(X), psrc=ipv4(9), hwdst=mac(A), pdst=ipv4(1))
    assert bytes(answer)[:42] == bytes(Ether(src=mac(X), dst=mac(A)) / said)
    (answer,), sent = asked(made, solicitation())
    assert sent == 0
    said = ICMPv6ND_NA(tgt=ipv6(9), R=0, S=1, O=1) / ICMPv6NDOptDstLLAddr(lladdr=mac(X))
    ip = IPv6(src=ipv6(9), dst=ipv6(1), hlim=255)
    assert bytes(answer) == bytes(Ether(src=mac(X), dst=mac(A)) / ip / said)
    assert made.reasons()["p1"]["neigh_answered"] == 2


def test_answers_have_the_tag_of_the_request(overlay: Callable[..., Overlay]) -> None:
    made = overlay(10, neighbours={ipv4(9): X, ipv6(9): X})
    for request in (who_has(src=Y, asker=2), solicitation(src=Y, source=ipv6(2))):
        plain = request.payload
        request.remove_payload()
        tagged = Ether(src=request.src, dst=request.dst) / Dot1Q(vlan=10, prio=3) / plain
        (answer,), sent = asked(made, tagged, port=2)
        assert sent == 0
        assert (answer[Dot1Q].vlan, answer[Dot1Q].prio) == (10, 3)
        assert answer.dst == mac(Y)


def test_what_is_flooded_as_ever(overlay: Callable[..., Overlay]) -> None:
    """Probes, gratuitous messages, duplicate detection, answers; hosts that nobody knows."""
    made = overlay(neighbours={ipv4(9): X, ipv6(9): X, ipv4(8): Y, ipv6(8): Y})
    probe = who_has()
    probe[ARP].psrc = "0.0.0.0"
    for what, packet in {
        "a probe": probe,
        "gratuitous": who_has(1),
        "an answer": Ether(src=mac(A), dst=mac(BROADCAST))
        / ARP(op=2, hwsrc=mac(A), psrc=ipv4(1), hwdst=mac(BROADCAST), pdst=ipv4(9)),
        "duplicate detection": solicitation(source="::"),
        "an advertisement": advertisement(src=A, number=1),
        "NS-03: nobody knows": who_has(7),
        "NS-03: nobody knows, IPv6": solicitation(7),
        "its MAC address is not in the FDB": who_has(8),
        "its MAC address is not in the FDB, IPv6": solicitation(8),
    }.items():
        assert asked(made, packet) == ([], 1), what
    # NS-07: it is forwarded to the host itself
    assert asked(made, who_has(dst=X)) == ([], 1)
    # behind a port: who answers is that host
    made.lab.wire(2).send(frame(BROADCAST, Y))
    wait_until(lambda: (Y, 0) in made.fdb(), "Y is behind p2")
    assert asked(made, who_has(8)) == ([], 1)


def test_off(overlay: Callable[..., Overlay]) -> None:
    """NS-01, NS-09: of each VNI by itself."""
    made = overlay(10, neighbours={ipv4(9): X})
    assert len(asked(made, who_has())[0]) == 1
    made.vni(VNI, 1, vid=10, neighbours={ipv4(9): X}, neigh_suppress=False)
    assert asked(made, who_has()) == ([], 1)


def test_learning(overlay: Callable[..., Overlay]) -> None:
    """From ARP and ND messages of hosts behind VTEPs, and of nobody who speaks for another one."""
    made = overlay()
    wire = made.others[0].wire(11)

    def heard(packet: Packet) -> None:
        wire.send(bytes(packet))
        behind(made.lab.wire(1), bytes(packet))

    liar = who_has(1, asker=8, src=X)
    liar[ARP].hwsrc = mac(Y)
    heard(liar)
    false = advertisement(number=8)
    false[ICMPv6NDOptDstLLAddr].lladdr = mac(Y)
    heard(false)
    assert neighbours(made) == {}
    heard(who_has(1, asker=9, src=X))
    assert neighbours(made) == {ipv4(9): (X, "learned")}
    heard(advertisement(router=1))
    assert neighbours(made) == {ipv4(9): (X, "learned"), ipv6(9): (X, "learned")}
    (answer,), sent = asked(made, who_has())
    assert (answer[ARP].hwsrc, sent) == (mac(X), 0)
    (answer,), sent = asked(made, solicitation())
    assert (answer[ICMPv6ND_NA].R, sent) == (1, 0)
    heard(who_has(1, asker=9, src=Y))  # another host has it now
    (answer,), _ = asked(made, who_has())
    assert answer[ARP].hwsrc == mac(Y)
    # static ones come first, and what was learned is not lost
    made.call(engine.vni_neigh_add, VNI, {ipv4(9): X})
    (answer,), _ = asked(made, who_has())
    assert answer[ARP].hwsrc == mac(X)
    made.call(engine.vni_neigh_del, VNI, [ipv4(9)])
    assert neighbours(made)[ipv4(9)] == (Y, "learned")
    made.call(engine.vni_del, [VNI])
    made.vni(VNI, 1, neigh_suppress=True)
    assert neighbours(made) == {}


def test_hosts() -> None:
    """Real stacks resolve each other, and what they ask once nobody hears of again."""
    with Lab() as lab, Overlay(lab) as made:
        made.switch.attach("p1", "p2")
        made.vni(VNI, 1, neigh_suppress=True)
        made.kernel(1, VNI, 11)
        far = made.others[0].hosts[11]
        for address in (ipv4, ipv6):
            assert ping(lab.hosts[1], address(11))
            assert neighbours(made)[address(11)] == (host_mac(11), "learned")
        tap = made.tap()
        for n in (1, 2):
            neighbours_forgotten(lab.hosts[n])
            for address in (ipv4, ipv6):
                assert ping(lab.hosts[n], address(11))
        sent = [packet.inner for packet in made.sent(tap)]
        asked_for = [data for data in sent if data[12:14] == b"\x08\x06" and data[21] == 1]
        assert not [data for data in asked_for if data[:6] == BROADCAST]
        assert ping(far, ipv4(1))


def test_commands(overlay: Callable[..., Overlay], tmp_path: Any) -> None:
    made = overlay()
    table = tmp_path / "hosts"
    lines = [f"{ipv4(n)} {mac(station(n))}  # host {n}" for n in range(20, 220)]
    table.write_text("# hosts\n\n" + "\n".join(lines))
    switch = made.switch
    switch.run("vni", "neigh", "load", str(VNI), str(table))
    switch.run("vni", "neigh", "add", str(VNI), ipv6(9), mac(X))
    switch.run("vni", "neigh", "del", str(VNI), ipv4(20), ipv4(21))
    shown = switch.json("vni", "neigh", "show")
    assert len(shown) == 199
    (row,) = (row for row in shown if row["ip"] == ipv6(9))
    state = {"state": "static", "age": None}
    assert row == {"vni": VNI, "switch": switch.name, "ip": ipv6(9), "mac": mac(X), **state}
    table.write_text("192.0.2.1 02:00:00:00:00:01\n192.0.2.2\n")
    refused = switch.run("vni", "neigh", "load", str(VNI), str(table), check=False)
    assert "line 2: not an IP address and a MAC address" in refused.stderr
    document = switch.run("export").stdout
    table.write_text(document)
    made.call(engine.vni_neigh_del, VNI, [ipv6(9)])
    switch.run("apply", str(table))
    assert switch.run("export").stdout == document
