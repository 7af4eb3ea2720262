"""Interfaces that hang on a switch: made, changed, kept in documents, and gone without a trace."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.command import Lab, pings, run

pytestmark = pytest.mark.root

MAC = "02:00:5e:00:53:07"


def inside(namespace: str, *command: str) -> str:
    return run("ip", "netns", "exec", namespace, *command).out


def device(namespace: str, name: str) -> dict[str, object]:
    """What ip-address(8) says of a device."""
    found = json.loads(run("ip", "-n", namespace, "-j", "address", "show", "dev", name).out)
    return next(each for each in found if each)


def namespaces() -> set[str]:
    return {path.name for path in Path("/run/netns").iterdir()}


@pytest.fixture
def own() -> Iterator[str]:
    """The name of a namespace that is not there."""
    name = f"vt{os.getpid()}-own"
    yield name
    run("ip", "netns", "delete", name, status=None)


@pytest.fixture
def pair(make_lab: Callable[..., Lab]) -> Lab:
    """h1 at a switch; h2 is a namespace with nothing of the switch in it."""
    lab = make_lab(2)
    lab.vnetx("attach", "p1")
    return lab


def made(lab: Lab, own: str, *more: str) -> None:
    lab.vnetx(
        *("link", "add", "web", "--kind", "veth", "--to-netns", own, "--own-netns"),
        *("--ip", "192.0.2.50/24", *more),
    )


def test_a_container_in_one_command(pair: Lab, own: str) -> None:
    before = pair.vnetx("export").out, own in namespaces(), pair.names()
    made(
        pair, own, "--route", "default=192.0.2.1", "--mac", MAC, "--mtu", "1400", "--isolated", "on"
    )
    assert pings(pair.hosts[0], "192.0.2.50")
    web = device(own, "web")
    assert (web["address"], web["mtu"], web["operstate"]) == (MAC, 1400, "UP")
    assert "UP" in device(own, "lo")["flags"]  # type: ignore[operator]
    assert "default via 192.0.2.1 dev web proto static" in inside(own, "ip", "route")
    (shown,) = pair.show("link", "show")
    assert shown.pop("port")["isolated"] is True
    assert shown == {
        "name": "web",
        "switch": "vnetx0",
        "kind": "veth",
        "vlan": 1,
        "netns": own,
        "own_netns": True,
        "mtu": 1400,
        "mac": MAC,
        "addresses": ["192.0.2.50/24"],
        "routes": [{"to": "0.0.0.0/0", "via": "192.0.2.1"}],
    }
    assert pair.vnetx("link", "show").out == (
        f"vnetx0\n└── web in {own}  192.0.2.50/24  default via 192.0.2.1\n"
    )
    pair.vnetx("link", "del", "web")
    assert (pair.vnetx("export").out, own in namespaces(), pair.names()) == before


def test_what_is_not_given_again_stays(pair: Lab, own: str) -> None:
    made(pair, own, "--route", "198.51.100.0/24=192.0.2.1", "--learn-limit", "7")
    pair.vnetx("link", "add", "web", "--ip", "192.0.2.51/24", "--mtu", "1300")
    (shown,) = pair.show("link", "show")
    assert (shown["addresses"], shown["mtu"]) == (["192.0.2.51/24"], 1300)
    assert shown["routes"] == [{"to": "198.51.100.0/24", "via": "192.0.2.1"}]
    assert shown["port"]["learn_limit"] == 7
    assert pings(pair.hosts[0], "192.0.2.51")
    assert not pings(pair.hosts[0], "192.0.2.50", 1)
    pair.vnetx("port", "set", "vx-web", "--learn-limit", "9")
    assert pair.vnetx("-v", "link", "add", "web").out == ""
    assert pair.show("link", "show")[0]["port"]["learn_limit"] == 9


def test_the_last_interface_takes_its_namespace_along(pair: Lab, own: str) -> None:
    made(pair, own)
    pair.vnetx("link", "add", "db", "--to-netns", own, "--own-netns", "--switch", "vnetx0")
    pair.vnetx("link", "del", "web")
    assert own in namespaces()
    pair.vnetx("link", "del", "db")
    assert own not in namespaces()


def test_a_namespace_that_was_there_stays(pair: Lab) -> None:
    other = pair.hosts[1]
    command = ("link", "add", "web", "--to-netns", other, "--ip", "192.0.2.60/24")
    error = pair.vnetx(*command, "--own-netns", status=1).err
    assert "it is there already, and would be deleted with the interface" in error
    assert pair.show("link", "show") == []
    pair.vnetx(*command)
    run("ip", "-n", other, "link", "set", "dev", "eth0", "down")
    assert pings(pair.hosts[0], "192.0.2.60")
    pair.vnetx("link", "del", "web")
    assert other in namespaces()
    assert "web" not in run("ip", "-n", other, "link", "show").out


def test_a_namespace_that_was_deleted(pair: Lab, own: str) -> None:
    """The next command cleans up."""
    made(pair, own)
    run("ip", "netns", "delete", own)
    pair.vnetx("switch", "set", "vnetx0", "--ageing", "200")
    assert pair.show("link", "show") == []
    assert pair.names() == ["p1"]
    made(pair, own)
    assert pings(pair.hosts[0], "192.0.2.50")


def test_of_the_switch_s_own_namespace_with_a_vlan(pair: Lab) -> None:
    """`vlan interface` has it too, since it is the same."""
    pair.vnetx("port", "set", "p1", "--access", "20")
    pair.vnetx("link", "add", "blue", "--vlan", "20", "--ip", "192.0.2.70/24")
    assert pings(pair.hosts[0], "192.0.2.70")
    assert [each["name"] for each in pair.show("vlan", "interface", "show")] == ["blue"]
    assert pair.vnetx("link", "show").out == "vnetx0\n└── blue  192.0.2.70/24  VLAN 20\n"
    pair.vnetx("vlan", "interface", "del", "blue")
    assert pair.show("link", "show") == []


def test_the_first_one_makes_the_switch_and_the_last_one_takes_it(lab: Lab) -> None:
    lab.vnetx("link", "add", "web", "--switch", "br0", "--ip", "192.0.2.80/24")
    assert [each["name"] for each in lab.show("switch", "show")] == ["br0"]
    lab.vnetx("link", "del", "web")
    assert lab.show("switch", "show") == []


def test_documents(pair: Lab, own: str, tmp_path: Path) -> None:
    made(pair, own, "--route", "default=192.0.2.1", "--mac", MAC, "--storm", "broadcast=100")
    pair.vnetx("link", "add", "blue", "--vlan", "20", "--mtu", "1300")
    file = tmp_path / "vnetx.yaml"
    file.write_text(pair.vnetx("export").out)
    assert "own_netns: true" in file.read_text()
    assert pair.vnetx("-v", "apply", str(file)).out == ""
    pair.vnetx("detach", "--all")
    assert own not in namespaces()
    assert "make interface web of vnetx0" in pair.vnetx("apply", "--dry-run", str(file)).out
    assert own not in namespaces()
    pair.vnetx("apply", str(file))
    assert pair.vnetx("export").out == file.read_text()
    assert pings(pair.hosts[0], "192.0.2.50")


def test_taps_in_documents(pair: Lab, tmp_path: Path) -> None:
    pair.vnetx(
        *("link", "add", "vm", "--kind", "tap", "--owner", "nobody", "--group", "1000"),
        *("--queues", "4", "--no-vnet-hdr", "--vlan", "20", "--mac", MAC, "--mtu", "9000"),
    )
    (shown,) = pair.show("link", "show")
    assert {key: shown[key] for key in ("kind", "owner", "group", "multi_queue", "vnet_hdr")} == {
        "kind": "tap",
        "owner": 65534,
        "group": 1000,
        "multi_queue": True,
        "vnet_hdr": False,
    }
    words = "vm  tap  owner 65534  group 1000  multi-queue  VLAN 20"
    assert pair.vnetx("link", "show").out == f"vnetx0\n└── {words}\n"
    assert pair.show("vlan", "interface", "show") == []  # the host has none there
    file = tmp_path / "vnetx.yaml"
    file.write_text(pair.vnetx("export").out)
    assert "kind: tap, owner: 65534, group: 1000, multi_queue: true, vnet_hdr: false" in (
        " ".join(file.read_text().split())
    )
    assert pair.vnetx("-v", "apply", str(file)).out == ""
    pair.vnetx("detach", "--all")
    assert "vm" not in run("ip", "-n", pair.name, "-br", "link").out
    assert "make interface vm of vnetx0" in pair.vnetx("apply", "--dry-run", str(file)).out
    pair.vnetx("apply", str(file))
    assert pair.vnetx("export").out == file.read_text()
    file.write_text(file.read_text().replace("owner: 65534", "owner: root"))
    pair.vnetx("apply", str(file))
    assert pair.show("link", "show")[0]["owner"] == 0
    file.write_text("{version: '1', switches: {vnetx0: {interfaces: {vm: {owner: nobody}}}}}")
    error = pair.vnetx("apply", str(file), status=2).err
    assert "switches.vnetx0.interfaces.vm: owner of a veth: only a tap or a tun has one" in error


ERRORS: dict[tuple[str, ...], str] = {
    ("add", "a/b"): "not a name that an interface can have",
    ("add", "x", "--to-netns", "nowhere"): "network namespace nowhere",
    ("add", "x", "--own-netns"): "a namespace of its own: needs a name",
    ("add", "x", "--route", "default"): "not a network and a router",
    ("add", "x", "--route", "10.0.0.0/8=2001:db8::1"): "IPv4 and IPv6 are mixed",
    ("add", "x", "--route", "default=192.0.2.1"): "no address in the router's network",
    ("add", "x", "--mac", "01:00:5e:00:00:01"): "is a multicast (group) address",
    ("add", "x", "--mtu", "67"): "mtu 67: not in 68 to 65535",
    ("add", "x", "--vlan", "4095"): "VLAN 4095",
    ("add", "x", "--vlan", "5", "--access", "6"): "is the same as --access",
    ("add", "p1"): "there is an interface of that name",
    ("add", "web", "--switch", "other"): "it hangs on switch vnetx0 already",
    ("add", "x", "--kind", "tunnel"): "'tunnel' is not one of",
    ("add", "x", "--kind", "tap", "--to-netns", "y"): "network namespace of a tap: it is where",
    ("add", "x", "--kind", "tap", "--own-netns"): "a namespace of its own of a tap: it is where",
    ("add", "x", "--kind", "tap", "--ip", "192.0.2.1/24"): "addresses of a tap: it has none",
    ("add", "x", "--kind", "tap", "--route", "default=192.0.2.1"): "routes of a tap: it has none",
    ("add", "x", "--kind", "tap", "--owner", "nobody-here"): "there is none of this name",
    ("add", "x", "--kind", "tap", "--group", "4294967295"): "not in 0 to 4294967294",
    ("add", "x", "--kind", "tap", "--mtu", "65522"): "mtu of a tap 65522: not in 68 to 65521",
    ("add", "x", "--kind", "tap", "--queues", "257"): "257 is not in the range 1<=x<=256",
    ("add", "x", "--owner", "1000"): "owner of a veth: only a tap or a tun has one",
    ("add", "x", "--group", "root"): "group of a veth: only a tap or a tun has one",
    ("add", "x", "--queues", "2"): "queues of a veth: only a tap or a tun has one",
    ("add", "x", "--no-vnet-hdr"): "vnet header of a veth: only a tap or a tun has one",
    ("add", "x", "--kind", "tun"): "without an address nothing reaches it",
    ("add", "x", "--kind", "tun", "--to-netns", "y"): "network namespace of a tun: it is where",
    ("add", "x", "--kind", "tun", "--ip", "192.0.2.9/24", "--mtu", "67"): "mtu of a tun 67",
    ("add", "p1", "--kind", "tun", "--ip", "192.0.2.9/24"): "there is an interface of that name",
    ("add", "p1", "--kind", "tap"): "there is an interface of that name",
    ("del", "x"): "there is none of this name that a switch made",
}


@pytest.mark.slow
def test_errors_change_nothing(pair: Lab, own: str) -> None:
    made(pair, own)
    pair.vnetx("switch", "add", "other")
    before = pair.vnetx("export").out, run("ip", "-n", pair.name, "-o", "link").out
    for command, words in ERRORS.items():
        done = pair.vnetx("link", *command, status=None)
        assert done.status in (1, 2), command
        assert words in done.err, command
    assert (pair.vnetx("export").out, run("ip", "-n", pair.name, "-o", "link").out) == before


def test_an_endpoint_with_the_nic_s_address(pair: Lab, own: str) -> None:
    pair.ip("address add 192.0.2.100/24 dev p2")
    pair.vnetx("attach", "p2")
    add = ("link", "add", "i1", "--kind", "ipvlan", "--parent", "p2", "--to-netns", own)
    pair.vnetx(*add, "--own-netns", "--ip", "198.51.100.9/24", "--among", "private")
    (shown,) = pair.show("link", "show")
    told = {key: shown[key] for key in ("kind", "parent", "mode", "among", "host_access", "mac")}
    assert told == {
        "kind": "ipvlan",
        "parent": "p2",
        "mode": "l3",
        "among": "private",
        "host_access": True,
        "mac": None,
    }
    assert pair.vnetx("link", "show").out == (
        f"vnetx0\n└── p2\n    └── i1 in {own}  198.51.100.9/24  ipvlan l3 private\n"
    )
    assert "default dev i1 proto static scope link" in inside(own, "ip", "route")
    assert "NOARP" in device(own, "i1")["flags"]  # type: ignore[operator]
    pair.vnetx("link", "add", "i1", "--mode", "l2", "--route", "default=198.51.100.1")
    assert "default via 198.51.100.1 dev i1 proto static" in inside(own, "ip", "route")
    assert "NOARP" not in device(own, "i1")["flags"]  # type: ignore[operator]
    error = pair.vnetx("link", "add", "i1", "--mode", "vepa", status=2).err
    assert "mode 'vepa': none of ipvlan" in error
