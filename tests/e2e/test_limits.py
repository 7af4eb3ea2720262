"""Limits, and counters that are exact after them."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from scapy.contrib.lacp import LACP
from scapy.contrib.lldp import (
    LLDPDU,
    LLDPDUChassisID,
    LLDPDUEndOfLLDPDU,
    LLDPDUPortID,
    LLDPDUTimeToLive,
)
from scapy.contrib.mac_control import MACControlPause
from scapy.contrib.macsec import MACsec  # noqa: F401 - binds the ethertypes
from scapy.layers.eap import EAPOL
from scapy.layers.l2 import LLC, STP, Dot3, Ether
from scapy.packet import Packet

from lib import model
from lib.frames import BROADCAST, MULTICAST, TEST, VLAN, frame, link_local, station
from lib.topology import Lab, Vnetx, wait_until

pytestmark = pytest.mark.root

A, B, C, X = (station(number) for number in (0xA, 0xB, 0xC, 0xE))
TARGETS = {"broadcast": BROADCAST, "multicast": MULTICAST, "unknown-unicast": X}


@pytest.fixture
def quiet(lab: Lab) -> Lab:
    lab.add_hosts(1, 2, 3, addresses=False)
    return lab


def stats(switch: Vnetx, port: str) -> dict[str, Any]:
    found: dict[str, Any] = switch.ports()[port]["stats"]
    return found


# ---------------------------------------------------------------- storms


@pytest.mark.parametrize("kind", TARGETS)
def test_storms(hook: str, quiet: Lab, kind: str) -> None:
    """A second's worth at once, then the rate; every frame is in one counter or the other."""
    switch = quiet.vnetx(hook)
    switch.create(host_port=False)
    switch.attach("p2", "p3")
    switch.attach("p1", storm={kind: 50})
    quiet.inject(2, frame(BROADCAST, B))
    before = stats(switch, "p1")["rx_frames"]
    start = time.monotonic()
    passed = 0
    for _ in range(4):
        caught = quiet.inject(1, *(frame(TARGETS[kind], A) for _ in range(50)))
        assert caught.get(2) == caught.get(3)
        passed += len(caught.get(2, []))
    elapsed = time.monotonic() - start
    assert 50 <= passed <= 50 + 50 * (elapsed + 0.02) + 1
    counted = stats(switch, "p1")
    name = f"storm_{kind.removeprefix('unknown-')}"
    assert counted["drops"] == {name: 200 - passed}
    assert counted["rx_frames"] - before == 200
    assert counted["flooded"] == passed
    # other kinds and known unicast do not count
    for other in set(TARGETS.values()) - {TARGETS[kind]} | {B}:
        assert quiet.inject(1, frame(other, A))
    assert stats(switch, "p1")["drops"] == {name: 200 - passed}
    switch.set_port("p1", storm={kind: 0})
    assert len(quiet.inject(1, *[frame(TARGETS[kind], A)] * 100)[2]) == 100


# ---------------------------------------------------------------- addresses


def test_learning_limit(hook: str, quiet: Lab) -> None:
    """FD-25: eight are learned, the rest is relayed all the same."""
    switch = quiet.vnetx(hook)
    switch.attach("p2", "p3")
    switch.attach("p1", learn_limit=8)
    sources = [station(0x100 + number) for number in range(16)]
    for source in sources:
        data = frame(BROADCAST, source)
        assert quiet.inject(1, data) == {2: [data], 3: [data]}
    assert stats(switch, "p1")["learned"] == switch.ports()["p1"]["learned"] == 8
    assert switch.ports()["p1"]["notices"] == {"learn_limit": 8}
    for number, source in enumerate(sources):
        data = frame(source, B)
        expected = {1: [data]} if number < 8 else {1: [data], 3: [data]}
        assert quiet.inject(2, data) == expected
    # others may still learn, and an address that moves away makes room
    quiet.inject(3, frame(BROADCAST, sources[0]))
    assert switch.ports()["p1"]["learned"] == 7
    quiet.inject(1, frame(BROADCAST, sources[8]))
    assert quiet.inject(2, frame(sources[8], B)) == {1: [frame(sources[8], B)]}


def test_the_fdb_is_full(hook: str, quiet: Lab) -> None:
    """Counted; forwarding goes on by flooding; ageing makes room, with no process."""
    switch = quiet.vnetx(hook)
    switch.create(fdb_size=16, ageing=1, host_port=False)
    switch.attach("p1", "p2", "p3")
    sources = [station(0x100 + number) for number in range(40)]
    burst = [frame(BROADCAST, source) for source in sources]
    assert quiet.inject(1, *burst) == {2: burst, 3: burst}
    learned = stats(switch, "p1")["learned"]
    assert 0 < learned <= 16
    refused = switch.switch()["fdb_full"]
    assert learned + refused == 40
    assert switch.ports()["p1"]["notices"] == {"fdb_full": refused}
    data = frame(sources[-1], B)
    assert quiet.inject(2, data) == {1: [data], 3: [data]}, "unknown, so flooded"
    # those 16 fall silent; others take their place
    late = [station(0x200 + number) for number in range(8)]

    def learned_anew() -> bool:
        quiet.inject(1, *(frame(BROADCAST, source) for source in late))
        return all(set(quiet.inject(3, frame(source, C))) == {1} for source in late)

    wait_until(learned_anew, "aged entries made room")
    assert len(switch.json("fdb", "show")) <= 16


# ---------------------------------------------------------------- reserved addresses


def lab_protocols() -> dict[str, Packet]:
    """What lab devices say to each other and ordinary bridges eat."""
    at = {"src": A.hex(":")}
    return {
        "STP": Dot3(**at, dst="01:80:c2:00:00:00") / LLC(dsap=0x42, ssap=0x42, ctrl=3) / STP(),
        "pause": Ether(**at, dst="01:80:c2:00:00:01") / MACControlPause(),
        "LACP": Ether(**at, dst="01:80:c2:00:00:02") / LACP(),
        "802.1X": Ether(**at, dst="01:80:c2:00:00:03") / EAPOL(type=1),
        "LLDP": Ether(**at, dst="01:80:c2:00:00:0e", type=0x88CC)
        / LLDPDU()
        / LLDPDUChassisID(subtype=4, id=A)
        / LLDPDUPortID(subtype=5, id=b"p1")
        / LLDPDUTimeToLive(ttl=120)
        / LLDPDUEndOfLLDPDU(),
    }


def test_a_transparent_switch(hook: str, quiet: Lab) -> None:
    """All sixteen pass untouched; and none is given to the host."""
    switch = quiet.vnetx(hook)
    switch.run("switch", "add", switch.name, "--transparent")
    switch.attach("p1", "p2", "p3")
    for name, packet in lab_protocols().items():
        data = bytes(packet).ljust(60, b"\0")
        assert quiet.inject(1, data) == {2: [data], 3: [data]}, name
    for digit in range(16):
        for tags in ((), (VLAN,)):
            data = frame(link_local(digit), A, tags=tags)
            assert quiet.inject(1, data) == {2: [data], 3: [data]}, digit
    assert stats(switch, "p1")["local"] == 0
    switch.run("switch", "set", switch.name, "--group-forward", "none")
    assert quiet.inject(1, frame(link_local(0xE), A)) == {}
    assert stats(switch, "p1")["local"] == 1


def test_group_forward_of_a_port(hook: str, quiet: Lab) -> None:
    """BR-15: of the port where it comes in, beside the switch's own."""
    switch = quiet.vnetx(hook)
    switch.create(group_forward=1 << 2)
    switch.attach("p2", "p3")
    switch.run("attach", "p1", "--hook", hook, "--group-forward", "lldp,pause")
    for digit in (1, 2, 3, 0xE):
        data = frame(link_local(digit), A)
        assert quiet.inject(1, data) == ({} if digit == 3 else {2: [data], 3: [data]}), digit
        assert quiet.inject(2, data) == ({1: [data], 3: [data]} if digit == 2 else {}), digit


# ---------------------------------------------------------------- administrative state


def test_a_port_that_is_down(hook: str, quiet: Lab) -> None:
    """BR-31: nothing in, nothing out, nothing learned; and all of it counted."""
    switch = quiet.vnetx(hook)
    switch.attach("p1", "p2", "p3")
    quiet.inject(1, frame(BROADCAST, A))
    switch.run("port", "set", "p1", "--state", "down")
    for data in (frame(BROADCAST, X), frame(B, X), frame(link_local(0), X)):
        assert quiet.inject(1, data) == {}
    assert quiet.inject(2, frame(BROADCAST, B)) == {3: [frame(BROADCAST, B)]}
    assert quiet.inject(2, frame(A, B)) == {}
    assert set(quiet.inject(2, frame(X, B))) == {3}
    assert stats(switch, "p1")["drops"] == {"port_down": 3, "egress_down": 1}
    switch.run("port", "set", "p1", "--state", "up")
    assert set(quiet.inject(1, frame(BROADCAST, A))) == {2, 3}
    assert quiet.inject(2, frame(A, B)) == {1: [frame(A, B)]}


# ---------------------------------------------------------------- counters


SETTINGS: dict[int, dict[str, Any]] = {
    1: {},
    2: {"isolated": True, "hairpin": True},
    3: {"isolated": True, "flood_multicast": False},
    4: {"learning": False, "learn_limit": 3},
}


def test_counters_are_exact(hook: str, lab: Lab) -> None:
    """To the frame, per port and reason, as a plain model of a switch counts (lib.model)."""
    lab.add_hosts(*SETTINGS, addresses=False)
    switch = lab.vnetx(hook)
    switch.create(host_port=False)
    twin = model.Switch(fdb_size=65536)
    for number, settings in SETTINGS.items():
        switch.attach(f"p{number}", **settings)
        twin.add_port(number, model.Port(ifindex=number, xdp=hook == "xdp", **settings))
    random_ = random.Random(8021)
    people = [station(number) for number in range(10)]
    targets = [*people, *people, BROADCAST, MULTICAST, bytes(6), *map(link_local, range(4))]
    sent = 0
    for _ in range(300):
        number = random_.choice(list(SETTINGS))
        source = random_.choice(people) if random_.random() < 0.95 else MULTICAST
        tags = (VLAN,) if random_.random() < 0.2 else ()
        length = random_.randint(60, 1500)
        data = frame(random_.choice(targets), source, length, TEST, tags)
        outcome = twin.receive(number, model.Frame(data), xdp=hook == "xdp")
        expected = sorted([*outcome.copies, *([outcome.to] if outcome.to else [])])
        assert sorted(lab.inject(number, data)) == expected
        sent += 1
    found = switch.ports()
    for number, counted in twin.stats.items():
        port = found[f"p{number}"]
        reasons = {**port["stats"].pop("drops"), **port["notices"]}
        wanted = counted.as_dict()
        if hook != "tc" and hook != "auto":  # a tag stands in the data or beside it
            for counts in (wanted, port["stats"]):
                counts.pop("rx_bytes"), counts.pop("tx_bytes")
        else:
            wanted = {name: wanted[name] for name in port["stats"]}
            for name in ("rx_bytes", "tx_bytes"):
                assert abs(port["stats"].pop(name) - wanted.pop(name)) <= 4 * sent
        assert port["stats"] == wanted, number
        assert reasons == {
            reason: n for (index, reason), n in twin.reasons.items() if index == number
        }
    assert sum(port["stats"]["rx_frames"] for port in found.values()) == sent
