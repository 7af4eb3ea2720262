"""A wire by the command: what a cable does, and what lab builders ask of one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lib.frames import BROADCAST, QINQ, VLAN, frame, station
from lib.namespaces import Namespace
from lib.snapshot import Machine, assert_gone
from lib.topology import (
    Lab,
    Node,
    Vnetx,
    carrier,
    host_mac,
    ipv4,
    ipv6,
    ping,
    ping_test,
    tcp_test,
    udp_test,
    wait_until,
)
from lib.wires import KINDS, A, B, fate
from vnetx import engine, state
from vnetx.model import SwitchSettings, Wire

pytestmark = pytest.mark.root

HOOKS = ("tc", "xdp")


@pytest.fixture(params=HOOKS)
def hook(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


def wired(lab: Lab, hook: str, *options: str, addresses: bool = False, mtu: int = 1500) -> Vnetx:
    """h1 and h2 at the ends of a wire."""
    lab.add_hosts(1, 2, addresses=addresses, mtu=mtu)
    switch = lab.vnetx(hook)
    wire(switch, *options)
    for end in ("p1", "p2"):
        wait_until(lambda i=end: carrier(lab.near, i), f"{end} has a carrier")
    return switch


def wire(switch: Vnetx, *options: str) -> None:
    switch.run("link", "wire", "p1", "p2", "--hook", switch.hook, *options)


def stats(switch: Vnetx) -> dict[str, dict[str, Any]]:
    """Counters, drops and notices of both ends, those that are not zero."""
    return {
        name: {
            **{key: n for key, n in port["stats"].items() if n and key != "drops"},
            **port["stats"]["drops"],
            **port["notices"],
        }
        for name, port in switch.ports().items()
    }


# ---------------------------------------------------------------- every frame


def test_every_frame_leaves_as_it_came(lab: Lab, hook: str) -> None:
    switch = wired(lab, hook)
    sent = [
        *KINDS.values(),
        *(frame(host_mac(n), A, tags=t) for n in (1, 2) for t in ((), (VLAN,))),
    ]
    for here, there in ((1, 2), (2, 1)):
        found = lab.inject(here, *sent)
        names = [*KINDS, *("to a host",) * 4]
        assert found.keys() == {there}
        for name, one, other in zip(names, sent, found[there], strict=True):
            assert one == other, (name, one.hex(), other.hex())
    assert [port["hook"] for port in switch.ports().values()] == [hook] * 2
    expected = {"rx_frames": len(sent), "rx_bytes": sum(map(len, sent))}
    expected |= {name.replace("rx", "tx"): n for name, n in expected.items()}
    assert stats(switch) == {"p1": expected, "p2": expected}


def test_hosts_talk_as_over_one_veth(lab: Lab, hook: str) -> None:
    wired(lab, hook, addresses=True)
    one, two = lab.hosts[1], lab.hosts[2]
    ping_test({ipv4(1): one, ipv4(2): two})
    ping_test({ipv6(1): one, ipv6(2): two}, size=4000)
    for address in (ipv4(2), ipv6(2)):
        tcp_test(one, two, address, megabytes=4)
    udp_test(two, one, ipv4(1), size=9000)


def test_super_packets_cross_in_one_piece(lab: Lab) -> None:
    """Without chance nothing is segmented or summed: no offload changes."""
    wired(lab, "tc", addresses=True)
    before = lab.hosts[1].run("ethtool", "-k", "h1")
    tcp_test(lab.hosts[1], lab.hosts[2], ipv4(2), megabytes=4)
    shown = lab.near.json("ip", "-j", "-s", "link", "show", "dev", "p1")[0]["stats64"]["rx"]
    assert shown["bytes"] > 4 << 20
    assert shown["bytes"] / shown["packets"] > 1514
    assert lab.hosts[1].run("ethtool", "-k", "h1") == before


def test_jumbo_frames_and_what_does_not_fit(lab: Lab, hook: str) -> None:
    switch = wired(lab, hook, mtu=9000)
    large = frame(B, A, 9014)
    assert lab.inject(1, large) == {2: [large]}
    lab.set_mtu(2, 1500)
    assert lab.inject(1, large, frame(B, A, 1515), frame(B, A, 1514)) == {2: [frame(B, A, 1514)]}
    assert stats(switch)["p2"]["mtu"] == 2


def test_the_hosts_own_stack_gets_nothing_and_may_send(lab: Lab) -> None:
    lab.add_hosts(1, 2, addresses=False)
    lab.near.ip("address add 192.0.2.101/24 dev p1")
    mac = lab.near.json("ip", "-j", "link", "show", "dev", "p1")[0]["address"]
    lab.hosts[1].ip("address add 192.0.2.1/24 dev h1", f"neigh add 192.0.2.101 lladdr {mac} dev h1")
    lab.near.ip(f"neigh add 192.0.2.1 lladdr {host_mac(1).hex(':')} dev p1")
    own = lab.near.socket(socket.AF_INET, socket.SOCK_DGRAM)
    own.bind(("192.0.2.101", 5000))
    far = lab.hosts[1].socket(socket.AF_INET, socket.SOCK_DGRAM)
    far.bind(("192.0.2.1", 5000))
    far.sendto(b"before", ("192.0.2.101", 5000))
    assert own.recv(64) == b"before"
    switch = lab.vnetx("auto")
    wire(switch)
    lab.listen()
    far.sendto(b"to the host", ("192.0.2.101", 5000))
    (arrived,) = lab.received()[2]
    assert arrived.endswith(b"to the host")
    own.setblocking(False)
    with pytest.raises(BlockingIOError):
        own.recv(64)
    own.sendto(b"from the host", ("192.0.2.1", 5000))
    assert far.recv(64) == b"from the host"
    switch.detach("p1")
    far.sendto(b"again", ("192.0.2.101", 5000))
    own.setblocking(True)
    assert own.recv(64) == b"again"


def test_the_rest_of_the_switch_has_nothing_to_do_with_it(lab: Lab) -> None:
    lab.add_hosts(1, 2, 3, 4, addresses=False)
    switch = lab.vnetx("tc")
    switch.attach("p3", "p4")
    wire(switch, "--switch", switch.name)
    assert lab.inject(3, frame(BROADCAST, A), frame(B, A)).keys() == {4}
    assert lab.inject(1, frame(BROADCAST, B)).keys() == {2}
    assert lab.inject(3, frame(B, A)).keys() == {4}, "B was not learned at the wire"
    switch.run("vlan", "add", "10", "--port", "p3")
    assert lab.inject(3, frame(BROADCAST, A)).keys() == {4}
    assert lab.inject(2, frame(BROADCAST, B, tags=[VLAN])).keys() == {1}


# ---------------------------------------------------------------- chance


def numbered(count: int) -> list[bytes]:
    """Frames of many lengths, with and without tags."""
    tags = ((), (VLAN,), (QINQ, VLAN), (), (VLAN, VLAN))
    return [frame(station(n), A, 60 + n % 300, tags=tags[n % len(tags)]) for n in range(count)]


def expected(settings: Wire, end: str, sent: list[bytes], first: int = 0) -> list[bytes]:
    """What arrives, by the model."""
    fates = (fate(settings, end, nth, data) for nth, data in enumerate(sent, first))
    return [data for data in fates if data is not None]


def test_the_same_seed_loses_and_changes_the_same_frames(lab: Lab, hook: str) -> None:
    options = ("--loss", "20", "--corrupt", "30")
    switch = wired(lab, hook, *options, "--seed", "7")
    settings = Wire(("p1", "p2"), loss=20, corrupt=30, seed=7)
    sent = numbered(300)
    first = lab.inject(1, *sent)[2]
    assert first == expected(settings, "p1", sent)
    back = lab.inject(2, *sent)[1]
    assert back == expected(settings, "p2", sent) != first, "the other way has other chances"
    wire(switch)
    assert lab.inject(1, *sent)[2] == expected(settings, "p1", sent, len(sent)), "it goes on"
    wire(switch, "--seed", "7")
    assert lab.inject(1, *sent)[2] == first
    wire(switch, "--seed", "8")
    other = lab.inject(1, *sent)[2]
    assert other == expected(Wire(("p1", "p2"), loss=20, corrupt=30, seed=8), "p1", sent) != first


def test_counters_of_chance_are_exact(lab: Lab, hook: str) -> None:
    switch = wired(lab, hook, "--loss", "25", "--corrupt", "25", "--seed", "3")
    settings = Wire(("p1", "p2"), loss=25, corrupt=25, seed=3)
    sent = numbered(200)
    found = lab.inject(1, *sent)[2]
    fates = [fate(settings, "p1", nth, data) for nth, data in enumerate(sent)]
    assert stats(switch) == {
        "p1": {
            "rx_frames": len(sent),
            "rx_bytes": sum(map(len, sent)),
            "wire_loss": fates.count(None),
            "wire_corrupt": sum(f not in (None, s) for f, s in zip(fates, sent, strict=True)),
        },
        "p2": {"tx_frames": len(found), "tx_bytes": sum(map(len, found))},
    }


@pytest.mark.parametrize("options", ["--loss 5", "--corrupt 5"])
def test_tcp_gets_the_right_data_through(lab: Lab, hook: str, options: str) -> None:
    """What is changed, the receiver finds out: each frame has a complete checksum and is one."""
    switch = wired(lab, hook, *options.split(), addresses=True)
    # neighbours do not depend on chance
    for here, there in ((1, 2), (2, 1)):
        lladdr = host_mac(there).hex(":")
        for address in (ipv4(there), ipv6(there)):
            lab.hosts[here].ip(f"neigh replace {address} lladdr {lladdr} dev h{here}")
    tcp_test(lab.hosts[1], lab.hosts[2], ipv4(2), megabytes=1)
    tcp_test(lab.hosts[2], lab.hosts[1], ipv6(1), megabytes=1, port=5002)
    for end in stats(switch).values():
        assert end["rx_bytes"] / end["rx_frames"] <= 1514
        assert end.get("wire_loss", 0) + end.get("wire_corrupt", 0) > 0


# ---------------------------------------------------------------- cut


def test_one_direction_is_cut_and_joined_again(lab: Lab, hook: str) -> None:
    switch = wired(lab, hook)
    data = frame(B, A)
    for cut, passing in ((["p1"], {2}), (["p1", "p2"], set()), ([], {1, 2})):
        wire(switch, *[word for end in cut for word in ("--cut-from", end)] or ["--no-cut"])
        arrived = {there for n in (1, 2) for there in lab.inject(n, data)}
        assert arrived == {3 - n for n in passing}
    (shown,) = switch.json("link", "show")
    assert shown["cut"] == []
    assert {end: found["wire_cut"] for end, found in stats(switch).items()} == {"p1": 2, "p2": 1}


# ---------------------------------------------------------------- carrier


def followers(node: Node) -> list[int]:
    """The processes that follow carriers in a namespace."""
    wanted = os.fstat(node.fd).st_ino
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            ours = b"vnetx_cli.carrier_watch" in (directory / "cmdline").read_bytes()
            if ours and (directory / "ns/net").stat().st_ino == wanted:
                found.append(int(directory.name))
    return found


def has_carrier(lab: Lab, number: int) -> bool:
    return carrier(lab.hosts[number], f"h{number}")


def is_up(node: Node, interface: str) -> bool:
    return "UP" in node.json("ip", "-j", "link", "show", "dev", interface)[0]["flags"]


def test_loss_of_carrier_shows_at_the_other_end(lab: Lab) -> None:
    switch = wired(lab, "tc", "--carrier")
    assert len(followers(lab.near)) == 1
    wait_until(lambda: has_carrier(lab, 2), "h2 has a carrier")
    for down, up in (
        (lambda: lab.hosts[1].ip("link set h1 down"), lambda: lab.hosts[1].ip("link set h1 up")),
        (lambda: lab.near.ip("link set p1 down"), lambda: lab.near.ip("link set p1 up")),
    ):
        down()
        wait_until(lambda: not has_carrier(lab, 2), "h2 has no carrier")
        up()
        wait_until(lambda: has_carrier(lab, 1) and has_carrier(lab, 2), "both have a carrier")
        data = frame(B, A)
        assert lab.inject(1, data) == {2: [data]}
    lab.hosts[2].ip("link set h2 down")
    wait_until(lambda: not has_carrier(lab, 1), "h1 has no carrier")
    lab.hosts[2].ip("link set h2 up")
    wait_until(lambda: has_carrier(lab, 1), "h1 has a carrier")
    wire(switch, "--no-carrier")
    wait_until(lambda: not followers(lab.near), "the process ends")


def test_both_ends_lose_their_carrier(lab: Lab) -> None:
    wired(lab, "tc", "--carrier")
    for number in (1, 2):
        lab.hosts[number].ip(f"link set h{number} down")
    wait_until(lambda: not is_up(lab.near, "p1") or not is_up(lab.near, "p2"), "one is set down")
    lab.hosts[1].ip("link set h1 up")
    wait_until(lambda: not has_carrier(lab, 1), "the other end still has none")
    lab.hosts[2].ip("link set h2 up")
    wait_until(lambda: has_carrier(lab, 1) and has_carrier(lab, 2), "both have a carrier")


def test_what_the_user_set_down_stays_down(lab: Lab) -> None:
    switch = wired(lab, "tc", "--carrier")
    lab.near.ip("link set p2 down")
    wait_until(lambda: not has_carrier(lab, 1), "h1 has no carrier")
    lab.hosts[1].ip("link set h1 down")
    lab.hosts[1].ip("link set h1 up")
    switch.run("link", "unwire", "p1")
    assert (is_up(lab.near, "p1"), is_up(lab.near, "p2")) == (True, False)


def test_a_killed_process_is_missed_and_started_again(lab: Lab) -> None:
    switch = wired(lab, "tc", "--carrier")
    (pid,) = followers(lab.near)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not followers(lab.near), "it is gone")
    assert "the process was killed" in switch.run("doctor").stdout
    lab.hosts[1].ip("link set h1 down")
    assert is_up(lab.near, "p2")
    switch.run("switch", "add", "other", "--no-host-port")
    assert len(followers(lab.near)) == 1
    assert not is_up(lab.near, "p2")
    assert "the process was killed" not in switch.run("doctor").stdout
    switch.run("switch", "del", "other")
    switch.run("link", "unwire", "p2")
    assert is_up(lab.near, "p2"), "given back as it was"


# ---------------------------------------------------------------- documents


def test_export_and_apply(lab: Lab, hook: str) -> None:
    switch = wired(
        lab,
        hook,
        *("--loss", "1.5", "--corrupt", "0.000001", "--seed", "7", "--cut-from", "p2"),
    )
    document = switch.json("export")
    assert document["switches"] == {
        "wires": {
            "host_port": False,
            "wires": [
                {
                    "ends": ["p1", "p2"],
                    "loss": 1.5,
                    "corrupt": 1e-06,
                    "seed": 7,
                    "cut": ["p2"],
                    "hook": hook,
                }
            ],
        }
    }
    assert apply(switch, document)["changed"] is False
    switch.detach("p2")
    assert switch.json("switch", "show") == []
    assert apply(switch, document)["changed"] is True
    assert switch.json("export") == document
    switch.run("switch", "del", "wires")


def apply(switch: Vnetx, document: Any, *options: str) -> Any:
    path = Path(f"/tmp/vnetx-wire-{os.getpid()}.json")
    path.write_text(json.dumps(document))
    try:
        return switch.json("apply", str(path), *options)
    finally:
        path.unlink()


def test_a_document_makes_ports_of_ends_and_ends_of_ports(lab: Lab) -> None:
    lab.add_hosts(1, 2, 3, addresses=False)
    switch = lab.vnetx("tc")

    def of(**parts: Any) -> dict[str, Any]:
        return {"version": 1, "switches": {"vnetx0": {"host_port": False, **parts}}}

    data = frame(BROADCAST, A)
    for document, reached in (
        (of(ports={"p1": {}, "p2": {}, "p3": {}}), {2, 3}),
        (of(ports={"p3": {}}, wires=[{"ends": ["p2", "p1"]}]), {2}),
        (of(ports={"p2": {}}, wires=[{"ends": ["p3", "p1"], "cut": ["p3"]}]), {3}),
        (of(ports={"p1": {}, "p2": {}}), {2}),
    ):
        apply(switch, document)
        assert set(lab.inject(1, data)) == reached
    assert apply(switch, document)["changed"] is False


# ---------------------------------------------------------------- what is refused

REFUSED: dict[tuple[str, ...], tuple[int, str]] = {
    ("p1", "p1"): (2, "a wire has two ends"),
    ("p1", "nothing"): (1, "no interface of that name"),
    ("p1", "lo"): (1, "loopback"),
    ("p1", "p4"): (1, "it is a port of switch vnetx0"),
    ("p1", "p4", "--switch", "vnetx0"): (1, "p4 is a port of switch vnetx0"),
    ("p1", "v1"): (1, "vnetx0"),
    ("p1", "p3"): (1, "p3 is the end of a wire to p5"),
    ("a1", "a2"): (1, "the two ends of a veth"),
    ("p1", "p2", "--loss", "101"): (2, "0 to 100"),
    ("p1", "p2", "--corrupt", "-1"): (2, "0 to 100"),
    ("p1", "p2", "--loss", "nan"): (2, "0 to 100"),
    ("p1", "p2", "--seed", "4294967296"): (2, "seed"),
    ("p1", "p2", "--cut-from", "p3"): (2, "no end of the wire"),
    ("p1", "p2", "--cut-from", "p1", "--no-cut"): (2, "exclude each other"),
    ("p1", "p2", "--hook", "xdp-generic"): (2, "xdp-generic"),
    ("p3", "p5", "--switch", "other"): (1, "of switch wires"),
    ("b1", "p1"): (1, "member of the bridge"),
}


def test_what_is_refused_changes_nothing(lab: Lab) -> None:
    lab.add_hosts(1, 2, 3, 4, 5, addresses=False)
    lab.near.ip(
        "link add a1 type veth peer name a2",
        "link add b1 type veth peer name b2",
        "link add br0 type bridge",
        "link set b1 master br0",
    )
    switch = lab.vnetx("tc")
    switch.attach("p4")
    switch.run("link", "add", "v1")
    switch.run("link", "wire", "p3", "p5")
    before = switch.run("export").stdout
    for words, (status, told) in REFUSED.items():
        done = switch.run("link", "wire", *words, check=False)
        assert (done.returncode, told in done.stderr) == (status, True), (words, done.stderr)
    for words, told in (
        (("attach", "p3", "--switch", "wires"), "the end of a wire"),
        (("port", "set", "p3", "--learning", "on"), "the end of a wire"),
        (("vlan", "add", "10", "--port", "p3"), "the end of a wire"),
        (("link", "unwire", "nothing"), "no interface of that name"),
    ):
        done = switch.run(*words, check=False)
        assert (done.returncode, told in done.stderr) == (1, True), (words, done.stderr)
    assert "p4 is the end of no wire" in switch.run("link", "unwire", "p4").stderr
    assert switch.run("export").stdout == before


# ---------------------------------------------------------------- what is left


@pytest.fixture
def far(machine: Machine) -> Namespace:
    """h1 and h2 behind p1 and p2."""
    namespace = machine.namespace()
    machine.near.ip(
        *(f"link add name p{n} type veth peer name h{n} netns {namespace.path}" for n in (1, 2)),
        *(f"link set p{n} up" for n in (1, 2)),
    )
    namespace.ip(*(f"link set h{n} up" for n in (1, 2)))
    return namespace


END: dict[str, Callable[[], object]] = {
    "unwire": lambda: engine.link_unwire(["p2"]),
    "detach": lambda: engine.detach(["p1"]),
    "both": lambda: engine.detach(["p1", "p2"]),
    "all": lambda: engine.detach([], every=True),
    "delete": lambda: engine.switch_del("wires"),
}


@pytest.mark.forks
@pytest.mark.parametrize("end", END)
def test_both_ends_are_given_back_as_they_were(
    machine: Machine, far: Namespace, hook: str, end: str
) -> None:
    before = machine.picture(machine.near, far)
    machine.call(engine.link_wire, "p1", "p2", hook=hook, loss=1.0)
    machine.call(engine.link_wire, "p1", "p2", corrupt=1.0, loss=0.0)
    objects = machine.objects()
    machine.call(END[end])
    assert_gone(objects)
    assert before.changes(machine.picture(machine.near, far)) == ""


@pytest.mark.forks
def test_offloads_come_back_with_the_end_of_chance(machine: Machine, far: Namespace) -> None:
    machine.call(engine.link_wire, "p1", "p2")
    plain = machine.picture(machine.near, far)
    machine.call(engine.link_wire, "p1", "p2", loss=1.0)
    assert "tx-checksum" in plain.changes(machine.picture(machine.near, far))
    machine.call(engine.link_wire, "p1", "p2", loss=0.0)
    assert plain.changes(machine.picture(machine.near, far)) == ""
    assert machine.call(engine.link_wire, "p2", "p1").steps == []


@pytest.mark.forks
@pytest.mark.usefixtures("far")
def test_an_end_that_vanishes_ends_the_wire(machine: Machine) -> None:
    machine.call(engine.switch_add, "br0", SwitchSettings(fdb_size=64, max_ports=16))
    before = machine.picture()
    machine.call(engine.link_wire, "p1", "p2", switch="br0")
    machine.near.ip("link del p1")
    done = machine.call(engine.switch_set, "br0")
    assert any("p2 is detached" in message for message in done.messages)
    assert [p for view in machine.call(state.switches) for p in view.ports] == []
    assert before.changes(machine.picture()) == "link p1: went"


@pytest.mark.forks
def test_a_peer_whose_namespace_cannot_be_entered(machine: Machine, far: Namespace) -> None:
    """Chance needs its offloads changed; a plain wire does not."""
    machine.vacate(far)
    failure = machine.fails(engine.link_wire, "p1", "p2", loss=1.0)
    assert "no way leads into" in failure.why
    assert machine.call(state.switches) == []
    machine.call(engine.link_wire, "p1", "p2")
    machine.call(engine.link_unwire, ["p1"])


def test_a_vanished_end_drops_until_then(lab: Lab, hook: str) -> None:
    switch = wired(lab, hook)
    lab.wire(2)
    lab.near.ip("link del p1")
    lab.wires[2].send(frame(A, B))
    count = lambda: sum(p["stats"]["drops"].get("egress_gone", 0) for p in ports(switch))  # noqa: E731
    wait_until(lambda: count() == 1, "it is counted")
    assert ping(lab.hosts[2], "192.0.2.9") is False
    assert switch.json("link", "show") == []


def ports(switch: Vnetx) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = switch.json("port", "show")
    return found
