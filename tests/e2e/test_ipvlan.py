"""ipvlan endpoints with real traffic: endpoints that have their NIC's MAC address."""

from __future__ import annotations

import itertools
import re

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from lib.endpoints import Nic, Spec
from lib.frames import BROADCAST
from lib.topology import (
    Node,
    Tap,
    dhcp_server,
    ping,
    run_vnetx,
    tcp_test,
    wait_until,
)
from vnetx import engine, schema, state
from vnetx.errors import InvalidValue, VnetxError
from vnetx.model import Vlans

pytestmark = pytest.mark.root

HOST4, HOST6, PEER4, PEER6 = "192.0.2.100", "2001:db8::64", "192.0.2.1", "2001:db8::1"
#: Of endpoints that the wire has as neighbours, and of those that it reaches by the host.
NETS = {"l2": ("192.0.2.", "2001:db8::"), "l3": ("198.51.100.", "2001:db8:1::")}


def own(number: int, mode: str) -> tuple[str, str]:
    net4, net6 = NETS["l2" if mode == "l2" else "l3"]
    return f"{net4}{10 + number}", f"{net6}{10 + number:x}"


def spec(number: int, mode: str, among: str = "bridge", **more: object) -> Spec:
    addresses = tuple(
        f"{address}/{length}" for address, length in zip(own(number, mode), (24, 64), strict=True)
    )
    extra = {"among": among, "addresses": addresses, **more}
    return Spec(f"i{number}", mode, kind="ipvlan", extra=extra)


def lab(*specs: Spec, hook: str = "tc", vlan_aware: bool = False) -> Nic:
    nic = Nic(hook, ipv6=True)
    near, far = nic.lab.near, nic.lab.hosts[1]
    near.enable_ipv6()
    near.ip("link set dev lo up", f"addr add {HOST6}/64 dev p1 nodad")
    for group in ("all", "default"):
        near.sysctl(f"net/ipv6/conf/{group}/forwarding", 1)
    near.sysctl("net/ipv4/conf/p1/forwarding", 1)
    far.ip(f"route add 198.51.100.0/24 via {HOST4}", f"route add 2001:db8:1::/64 via {HOST6}")
    nic.attach(vlan_aware=vlan_aware)
    nic.vnetx(*specs)
    return nic


def unreached(nic: Nic, *pairs: tuple[Node, str]) -> list[tuple[str, str]]:
    names = {node: name for name, node in nic.nodes.items()}
    return [(names.get(node, "?"), to) for node, to in pairs if not ping(node, to)]


def pairs(nic: Nic, *specs: Spec) -> list[tuple[Node, str]]:
    """Everybody to everybody's addresses."""
    places: list[tuple[Node, tuple[str, ...]]] = [
        (nic.lab.near, (HOST4, HOST6)),
        (nic.lab.hosts[1], (PEER4, PEER6)),
    ]
    for each in specs:
        addresses = tuple(a.split("/")[0] for a in each.extra["addresses"])  # type: ignore[attr-defined]
        places.append((nic.nodes[each.name], addresses))
    return [
        (node, to)
        for (node, mine), (_, theirs) in itertools.product(places, repeat=2)
        if mine != theirs
        for to in theirs
    ]


@pytest.mark.parametrize(
    ("hook", "vlan_aware"), [("tc", False), ("tc", True), ("xdp", False), ("xdp-generic", False)]
)
@pytest.mark.parametrize("mode", ["l2", "l3", "l3s"])
def test_everybody_reaches_everybody(mode: str, hook: str, vlan_aware: bool) -> None:
    specs = [spec(1, mode), spec(2, mode)]
    with lab(*specs, hook=hook, vlan_aware=vlan_aware) as nic:
        assert unreached(nic, *pairs(nic, *specs)) == []
        one, two = nic.nodes.values()
        far, near = nic.lab.hosts[1], nic.lab.near
        port = itertools.count(5001)
        for address in own(2, mode):
            tcp_test(one, two, address, port=next(port))
            tcp_test(far, two, address, port=next(port))
            tcp_test(near, two, address, port=next(port))
        for address in (PEER4, PEER6):
            tcp_test(two, far, address, port=next(port))
        for address in (HOST4, HOST6):
            tcp_test(two, near, address, port=next(port))


def reasons(nic: Nic, name: str) -> dict[str, int]:
    with nic.lab.near.entered():
        stats = state.find_port(f"vx-{name}").stats
    return {**stats["drops"], **stats["notices"]}


@pytest.mark.parametrize("mode", ["l2", "l3", "l3s"])
def test_private_and_vepa(mode: str) -> None:
    """Private ones never reach each other, those in VEPA mode only by the wire, which does not
    reflect here; the host and the wire are reached by all."""
    among = ("bridge", "private", "vepa", "bridge")
    specs = [spec(n, mode, each) for n, each in enumerate(among, 1)]
    with lab(*specs) as nic:
        others = {PEER4, PEER6, HOST4, HOST6}
        everybody = pairs(nic, *specs)
        outside = [(node, to) for node, to in everybody if to in others or node is nic.lab.near]
        assert unreached(nic, *outside) == []
        one, four = nic.nodes["i1"], nic.nodes["i4"]
        assert unreached(nic, *((one, to) for to in own(4, mode))) == []
        apart = [(one, own(2, mode)), (one, own(3, mode)), (four, own(2, mode))]
        apart += [(nic.nodes["i2"], own(1, mode)), (nic.nodes["i3"], own(1, mode))]
        assert not any(ping(node, to, options=("-W", "0.2")) for node, (to, _) in apart)


@pytest.mark.parametrize("mode", ["l2", "l3"])
def test_without_the_host(mode: str) -> None:
    one = spec(1, mode, host_access=False)
    with lab(one) as nic:
        node, near = nic.nodes["i1"], nic.lab.near
        assert (
            unreached(nic, (node, PEER4), (node, PEER6), (nic.lab.hosts[1], own(1, mode)[0])) == []
        )
        assert not ping(node, HOST4, options=("-W", "0.2"))
        assert not ping(near, own(1, mode)[0], options=("-W", "0.2"))


def test_addresses_of_others_are_refused() -> None:
    with lab(spec(1, "l2"), spec(2, "l2")) as nic, nic.lab.near.entered():
        for address, whose in ((own(1, "l2")[1], "vx-i1"), (HOST4, "the host's")):
            with pytest.raises(VnetxError, match=whose):
                engine.link_add("i2", {"addresses": (f"{address}/24",)}, port={})
        with pytest.raises(InvalidValue, match="it has its parent's"):
            engine.link_add("i2", {"mac": bytes.fromhex("02005e000001")}, port={})


@pytest.mark.parametrize("mode", ["l2", "l3"])
def test_an_address_is_the_first_one_s(mode: str) -> None:
    """Addresses that an endpoint gives itself are learned; what somebody has is nobody else's."""
    net, far = NETS[mode][0], (PEER4,)
    with lab(spec(1, mode), spec(2, mode)) as nic:
        one, two, peer = nic.nodes["i1"], nic.nodes["i2"], nic.lab.hosts[1]
        one.ip(f"addr add {net}33/24 dev i1")
        assert ping(one, PEER4, options=("-I", f"{net}33"))
        assert ping(peer, f"{net}33")
        two.ip(f"addr add {net}33/24 dev i2")
        assert not ping(two, *far, options=("-I", f"{net}33", "-W", "0.2"))
        assert reasons(nic, "i2")["address_taken"] >= 1
        assert ping(peer, f"{net}33")
        two.ip(f"addr add {HOST4}/32 dev i2")
        assert not ping(two, *far, options=("-I", HOST4, "-W", "0.2"))
        with nic.lab.near.entered():
            engine.link_del(["i1"])
        assert ping(two, *far, options=("-I", f"{net}33"))


def test_no_more_addresses_than_the_limit() -> None:
    with lab(spec(1, "l2")) as nic:
        with nic.lab.near.entered():
            engine.port_set("vx-i1", learn_limit=2)  # one is its link-local address
        node = nic.nodes["i1"]
        for last in (41, 42, 43):
            node.ip(f"addr add 192.0.2.{last}/24 dev i1")
            ping(node, PEER4, options=("-I", f"192.0.2.{last}", "-W", "0.2"))
        assert reasons(nic, "i1")["learn_limit"] >= 1


def lease(node: Node, interface: str, number: int) -> str:
    """By a client identifier of its own, without which a server takes all for one."""
    client = f"-i {interface} -x 0x3d:0001{number:04x} -f -q -n -t 5 -T 1 -s /bin/true"
    said = node.run("sh", "-c", f"udhcpc {client} 2>&1")
    found = re.search(r"lease of (\S+) obtained", said)
    assert found, said
    return found[1]


@pytest.mark.parametrize("place", ["wire", "host"])
def test_dhcp(place: str) -> None:
    """Answers to who has no address yet find their way, also where they are no broadcast."""
    specs = [spec(n, "l2", addresses=()) for n in (1, 2, 3)]
    with lab(*specs) as nic:
        server = {"wire": (nic.lab.hosts[1], "h1"), "host": (nic.lab.near, "p1")}[place]
        dhcp_server(*server, "192.0.2.50", "192.0.2.60")
        leases = [lease(node, name, n) for n, (name, node) in enumerate(nic.nodes.items())]
        assert len({*leases}) == 3
        for (name, node), address in zip(nic.nodes.items(), leases, strict=True):
            node.ip(f"addr add {address}/24 dev {name}")
        assert unreached(nic, *itertools.product(nic.nodes.values(), (PEER4, HOST4))) == []
        assert all(ping(nic.lab.hosts[1], address) for address in leases)


def dhcp(nic: Nic, client: bytes, answer: bool = False) -> bytes:
    """A client's question, or what a server answers it to the NIC's MAC address."""
    ends = (nic.peer_mac, nic.mac) if answer else (nic.mac, BROADCAST)
    ip = IP(src=PEER4, dst="192.0.2.50") if answer else IP(src="0.0.0.0", dst="255.255.255.255")
    ports = {"sport": 67, "dport": 68} if answer else {"sport": 68, "dport": 67}
    options = [("message-type", "offer" if answer else "discover"), "pad", ("hostname", b"h")]
    options += [("client_id", client)] if client else []
    bootp = BOOTP(op=2 if answer else 1, xid=1234, chaddr=nic.mac) / DHCP(options=[*options, "end"])
    return bytes(Ether(src=ends[0].hex(":"), dst=ends[1].hex(":")) / ip / UDP(**ports) / bootp)


def test_dhcp_clients_with_the_same_transaction() -> None:
    """Whom a server answers is told by the client identifier, where it repeats it (RFC 6842)."""
    clients = {"i1": b"\xff" + bytes(17) + b"\x01", "i2": b"\xff" + bytes(17) + b"\x02"}
    clients["i3"] = bytes(200)  # longer than what is remembered of it
    with lab(*(spec(n, "l2", addresses=()) for n in (1, 2, 3))) as nic:
        taps = {name: Tap(node, name) for name, node in nic.nodes.items()}
        wire = Tap(nic.lab.hosts[1], "h1")
        for name, client in clients.items():
            taps[name].send(dhcp(nic, client))
            wait_until(lambda c=client: dhcp(nic, c) in wire.received(), f"{name} has asked")
        for name, client in (*clients.items(), ("i3", b""), ("i3", b"unknown")):
            wire.send(answer := dhcp(nic, client, answer=True))
            wait_until(lambda n=name, a=answer: a in taps[n].received(), f"{name} has its answer")
            others = [tap.received() for other, tap in taps.items() if other != name]
            assert not any(answer in frames for frames in others)


def counted(node: Node, chain: str) -> int:
    """Packets that passed the first rule of a chain."""
    return int(node.run("iptables", "-w", "-nvxL", chain).splitlines()[2].split()[0])


@pytest.mark.parametrize(("mode", "seen"), [("l3s", True), ("l3", False)])
def test_netfilter_sees_l3s_both_ways(mode: str, seen: bool) -> None:
    with lab(spec(1, mode)) as nic:
        near, address = nic.lab.near, own(1, mode)[0]
        for match in (f"-s {address}", f"-d {address}"):
            near.run("iptables", "-w", "-I", "FORWARD", *match.split())
            assert ping(nic.nodes["i1"], PEER4)
            assert (counted(near, "FORWARD") > 0) == seen


def test_l3s_needs_forwarding() -> None:
    with lab() as nic, nic.lab.near.entered():
        nic.lab.near.sysctl("net/ipv4/conf/p1/forwarding", 0)
        with pytest.raises(VnetxError) as error:
            engine.link_add("x", {"kind": "ipvlan", "parent": "p1", "mode": "l3s"}, port={})
        assert error.value.remedy == "sysctl -w net.ipv4.conf.p1.forwarding=1"


def test_all_kinds_on_one_nic() -> None:
    """With a macvlan endpoint, and another port of the switch."""
    mac = Spec("m9", "bridge", extra={"addresses": ("192.0.2.29/24", "2001:db8::1d/64")})
    specs = [spec(1, "l2"), mac, spec(2, "l3"), spec(3, "l3s")]
    with lab(*specs) as nic:
        nic.lab.add_hosts(2)
        with nic.lab.near.entered():
            engine.attach(["p2"], switch="vnetx0")
        routes = [
            f"route add 198.51.100.0/24 via {HOST4}",
            f"route add 2001:db8:1::/64 via {HOST6}",
        ]
        for node in (nic.lab.hosts[2], nic.nodes["i1"], nic.nodes["m9"]):
            node.ip(*routes)
        everybody = pairs(nic, *specs)
        here = nic.lab.hosts[2]
        everybody += [(here, to) for _, to in everybody[:]]
        everybody += [
            (node, to) for node in nic.nodes.values() for to in ("192.0.2.2", "2001:db8::2")
        ]
        assert unreached(nic, *dict.fromkeys(everybody)) == []


def test_in_vlans() -> None:
    """The same address twice, in two VLANs of one NIC."""
    with lab(vlan_aware=True) as nic:
        nic.lab.add_hosts(2, 3)
        near = nic.lab.near
        with near.entered():
            for number, vid in ((2, 10), (3, 20)):
                settings = {"vlans": Vlans.access(vid)}
                engine.attach([f"p{number}"], switch="vnetx0", settings=settings)
        for number, vid in ((1, 10), (2, 20)):
            node = nic.add_node(f"i{number}")
            settings = {
                "kind": "ipvlan",
                "parent": "p1",
                "mode": "l2",
                "netns": node.path_of_holder,
            }
            settings |= {"addresses": ("192.0.2.11/24",)}
            with near.entered():
                engine.link_add(f"i{number}", settings, port={"vlans": Vlans.access(vid)})
        two, three = nic.lab.hosts[2], nic.lab.hosts[3]
        assert unreached(nic, (two, "192.0.2.11"), (three, "192.0.2.11")) == []
        one = nic.nodes["i1"]
        assert ping(one, "192.0.2.2")
        assert not ping(one, "192.0.2.3", options=("-W", "0.2"))
        assert not ping(one, HOST4, options=("-W", "0.2"))
        with near.entered():  # addresses follow their endpoint
            engine.link_del(["i2"])
            engine.port_set("vx-i1", vlans=Vlans.access(20))
        assert ping(three, "192.0.2.11")
        assert not ping(two, "192.0.2.11", options=("-W", "0.2"))


def document(nic: Nic) -> str:
    return run_vnetx("-n", nic.lab.near.path_of_holder, "export").stdout


def test_a_document_has_it() -> None:
    specs = [spec(1, "l2", "vepa"), spec(2, "l3"), spec(3, "l3s", "private")]
    with lab(*specs) as nic, nic.lab.near.entered():
        text = document(nic)
        wanted = schema.parse(text, "before")
        shown = wanted.switches["vnetx0"].interfaces
        assert {name: (each.mode, each.among) for name, each in shown.items()} == {
            "i1": ("l2", "vepa"),
            "i2": ("l3", "bridge"),
            "i3": ("l3s", "private"),
        }
        assert not engine.apply(wanted).changed
        engine.link_del(["i1", "i2"])
        engine.apply(wanted)
        assert document(nic) == text
        assert unreached(nic, (nic.nodes["i1"], PEER4), (nic.nodes["i2"], HOST6)) == []


@pytest.mark.parametrize("mode", ["l2", "l3", "l3s"])
def test_nothing_is_left(mode: str) -> None:
    shown = (("-br", "link"), ("-4", "route", "show", "table", "all"), ("-6", "route"))
    with lab() as nic, nic.lab.near.entered():
        before = [nic.lab.near.run("ip", *each) for each in shown]
        nic.vnetx(spec(1, mode))
        engine.link_del(["i1"])
        assert [nic.lab.near.run("ip", *each) for each in shown] == before
