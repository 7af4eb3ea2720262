"""`vnetx link add --kind macvlan`: endpoints on a NIC, as users make them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.command import Lab, pings, run
from lib.topology import wait_until

pytestmark = pytest.mark.root


@pytest.fixture
def lab(make_lab: Callable[..., Lab]) -> Lab:
    """p1 is the NIC, with an address of the host; the host h1 is on the wire."""
    lab = make_lab(1)
    lab.ip("address add 192.0.2.100/24 dev p1")
    return lab


@pytest.fixture
def nodes(lab: Lab) -> Iterator[list[str]]:
    names = [f"{lab.name}-{number}" for number in range(3)]
    for name in names:
        run("ip", "netns", "add", name)
        # IPv6's own frames would be counted too
        quiet = "echo 1 | tee /proc/sys/net/ipv6/conf/*/disable_ipv6"
        run("ip", "netns", "exec", name, "sh", "-c", quiet)
    yield names
    for name in names:
        run("ip", "netns", "delete", name, status=None)


def devices(namespace: str) -> str:
    return run("ip", "-n", namespace, "-br", "link").out


def add(lab: Lab, node: str, name: str, address: str, *more: str) -> None:
    lab.vnetx(
        *("link", "add", name, "--kind", "macvlan", "--parent", "p1"),
        *("--to-netns", node, "--ip", f"{address}/24", *more),
    )


def test_everybody_reaches_everybody(lab: Lab, nodes: list[str]) -> None:
    """The host its endpoints, too, which the kernel's macvlan never lets it."""
    before = lab.names()
    add(lab, nodes[0], "m1", "192.0.2.51")
    add(lab, nodes[1], "m2", "192.0.2.52")
    assert lab.show("port", "show", "p1")[0]["switch"] == "vnetx0"
    for source in (lab.hosts[0], lab.name, nodes[0]):
        assert pings(source, "192.0.2.52")
    for target in ("192.0.2.1", "192.0.2.100"):
        assert pings(nodes[0], target)
    lab.vnetx("link", "del", "m1", "m2")
    lab.vnetx("detach", "p1")
    assert lab.names() == before


@pytest.mark.parametrize("mode", ["vepa", "private"])
def test_endpoints_that_do_not_reach_each_other(lab: Lab, nodes: list[str], mode: str) -> None:
    """The wire here reflects nothing."""
    add(lab, nodes[0], "m1", "192.0.2.51", "--mode", mode)
    add(lab, nodes[1], "m2", "192.0.2.52", "--mode", mode)
    assert not pings(nodes[0], "192.0.2.52", 1)
    assert pings(nodes[0], "192.0.2.1")
    assert pings(nodes[0], "192.0.2.100")
    lab.vnetx("link", "add", "m1", "--mode", "bridge")
    assert not pings(nodes[0], "192.0.2.52", 1)
    lab.vnetx("link", "add", "m2", "--mode", "bridge")
    assert pings(nodes[0], "192.0.2.52")


def test_without_the_host(lab: Lab, nodes: list[str]) -> None:
    add(lab, nodes[0], "m1", "192.0.2.51", "--no-host-access")
    assert not pings(nodes[0], "192.0.2.100", 1)
    assert pings(nodes[0], "192.0.2.1")
    lab.vnetx("link", "add", "m1", "--host-access")
    assert pings(nodes[0], "192.0.2.100")


def test_in_a_vlan_of_the_wire(lab: Lab, nodes: list[str]) -> None:
    """As on eth0.10, of which nobody has to be made: the NIC gets the VLAN."""
    add(lab, nodes[0], "m1", "192.0.2.51", "--vlan", "10")
    add(lab, nodes[1], "m2", "192.0.2.52", "--vlan", "10")
    add(lab, nodes[2], "m3", "192.0.2.53")
    (port,) = lab.show("port", "show", "p1")
    assert {"vid": 10, "untagged": False} in port["vlans"]
    assert pings(nodes[0], "192.0.2.52")
    assert not pings(nodes[0], "192.0.2.53", 1)
    assert pings(lab.hosts[0], "192.0.2.53")
    assert pings(lab.name, "192.0.2.53")
    assert not pings(lab.hosts[0], "192.0.2.51", 1)


def test_show_and_documents(lab: Lab, nodes: list[str], tmp_path: Path) -> None:
    add(lab, nodes[0], "m1", "192.0.2.51", "--mode", "source", "--source", "02:00:5e:00:00:09")
    (shown,) = lab.show("link", "show")
    assert (shown["kind"], shown["parent"], shown["mode"]) == ("macvlan", "p1", "source")
    assert (shown["sources"], shown["host_access"]) == (["02:00:5e:00:00:09"], True)
    assert lab.vnetx("link", "show").out == (
        f"vnetx0\n└── p1\n    └── m1 in {nodes[0]}  192.0.2.51/24  macvlan source\n"
    )
    file = tmp_path / "vnetx.yaml"
    file.write_text(lab.vnetx("export").out)
    assert lab.vnetx("-v", "apply", str(file)).out == ""
    lab.vnetx("detach", "--all")
    lab.vnetx("apply", str(file))
    assert lab.vnetx("export").out == file.read_text()
    file.write_text(file.read_text().replace("p1:", "p9:"))
    assert (
        "p9 of switch vnetx0: there is no interface" in lab.vnetx("apply", str(file), status=1).err
    )


def test_an_endpoint_that_is_renamed_and_taken_down_and_moved(lab: Lab, nodes: list[str]) -> None:
    """What the data plane knows of it is its port's, and stays."""
    add(lab, nodes[0], "m1", "192.0.2.51")
    add(lab, nodes[1], "m2", "192.0.2.52")
    lab.ip(
        *("link set dev m1 down", "link set dev m1 name eth0", "link set dev eth0 up"),
        name=nodes[0],
    )
    assert pings(nodes[1], "192.0.2.51")
    assert lab.show("link", "show")[0]["addresses"] == ["192.0.2.51/24"]
    lab.vnetx("link", "add", "m1", "--ip", "192.0.2.61/24")
    assert pings(nodes[1], "192.0.2.61")
    lab.ip(f"link set dev eth0 netns {nodes[2]}", name=nodes[0])
    lab.ip("address add 192.0.2.71/24 dev eth0", "link set dev eth0 up", name=nodes[2])
    assert pings(nodes[1], "192.0.2.71")
    assert (
        "it was renamed or moved away"
        in lab.vnetx("link", "add", "m1", "--mtu", "1400", status=1).err
    )
    lab.vnetx("link", "del", "m1")
    assert "eth0" not in devices(nodes[2])


def test_what_follows_an_endpoint_into_another_namespace(lab: Lab, nodes: list[str]) -> None:
    """Its addresses, and those that the FDB has behind it; a command that fails takes none away."""
    behind = {"02:00:5e:00:99:01": "static", "02:00:5e:00:99:02": "sticky"}
    add(lab, nodes[0], "m1", "192.0.2.51")
    for mac, state in behind.items():
        sticky = ("--sticky",) if state == "sticky" else ()
        lab.vnetx("fdb", "add", mac, "--port", "vx-m1", *sticky)

    def found() -> dict[str, str]:
        entries = lab.show("fdb", "show", "--port", "vx-m1")
        return {each["mac"]: each["state"] for each in entries if each["state"] != "local"}

    assert found() == behind
    run("ip", "-n", nodes[2], "link", "add", "name", "m1", "type", "veth", "peer", "name", "other")
    lab.vnetx("link", "add", "m1", "--to-netns", nodes[2], status=1)
    assert found() == behind
    assert pings(nodes[0], "192.0.2.100")
    lab.vnetx("link", "add", "m1", "--to-netns", nodes[1])
    assert found() == behind
    assert "m1" not in devices(nodes[0])
    assert pings(nodes[1], "192.0.2.100")
    assert lab.show("link", "show")[0]["addresses"] == ["192.0.2.51/24"]


def test_a_namespace_that_is_deleted_with_its_endpoint(lab: Lab, nodes: list[str]) -> None:
    add(lab, nodes[0], "m1", "192.0.2.51")
    run("ip", "netns", "delete", nodes[0])
    wait_until(lambda: "vx-m1" not in devices(lab.name), "the pair is gone")
    add(lab, nodes[1], "m2", "192.0.2.52")
    assert [each["name"] for each in lab.show("link", "show")] == ["m2"]
    assert pings(lab.hosts[0], "192.0.2.52")


def test_a_nic_that_is_renamed_and_one_that_is_gone(lab: Lab, nodes: list[str]) -> None:
    add(lab, nodes[0], "m1", "192.0.2.51")
    add(lab, nodes[1], "m2", "192.0.2.52", "--mode", "vepa")
    lab.ip("link set dev p1 down", "link set dev p1 name nic0", "link set dev nic0 up")
    assert {each["parent"] for each in lab.show("link", "show")} == {"nic0"}
    wait_until(lambda: pings(lab.hosts[0], "192.0.2.51", 1), "the NIC has a carrier")
    lab.ip(
        *("link del dev nic0", "link add name other type veth peer name other1"),
        *("link set dev other up", "link set dev other1 up"),
    )
    lab.vnetx("attach", "other")  # a port in the place of the old one is no parent of anybody
    assert {each["parent"] for each in lab.show("link", "show")} == {None}
    assert "macvlan vepa on no NIC" in lab.vnetx("link", "show").out
    before = lab.show("port", "show", "other")[0]["stats"]["tx_frames"]
    pings(nodes[1], "192.0.2.1", 1)
    assert lab.show("port", "show", "other")[0]["stats"]["tx_frames"] == before
    lab.vnetx("link", "add", "m2", "--parent", "other", "--mode", "bridge")
    assert [each["parent"] for each in lab.show("link", "show")] == [None, "other"]


ERRORS: dict[tuple[str, ...], str] = {
    ("add", "x", "--kind", "macvlan"): "give --parent NIC",
    ("add", "x", "--kind", "macvlan", "--parent", "nix"): "there is no interface of that name",
    ("add", "x", "--kind", "macvlan", "--parent", "vx-m1"): "that is an endpoint itself",
    ("add", "x", "--kind", "macvlan", "--parent", "enslaved"): "it is a member of the bridge",
    ("add", "x", "--kind", "macvlan", "--parent", "p1", "--mode", "passthrough"): "is not one of",
    ("add", "x", "--kind", "macvlan", "--parent", "p1", "--mac", "ff:ff:ff:ff:ff:ff"): "broadcast",
    ("add", "x", "--kind", "macvlan", "--parent", "p1", "--mac", "02:00:5e:00:00:51"): (
        "02:00:5e:00:00:51 is the address of another endpoint or of the host"
    ),
    ("add", "x", "--kind", "macvlan", "--parent", "p1", "--switch", "other"): "a port of switch",
    ("add", "x", "--kind", "macvlan", "--parent", "p1", "--source", "02:00:5e:00:00:01"): (
        "are of source mode only"
    ),
    ("add", "x", "--parent", "p1"): "parent of a veth: only a macvlan or an ipvlan has one",
    ("add", "x", "--mode", "vepa"): "mode of a veth: only a macvlan or an ipvlan has one",
}


@pytest.mark.slow
def test_errors_change_nothing(lab: Lab, nodes: list[str]) -> None:
    add(lab, nodes[0], "m1", "192.0.2.51", "--mac", "02:00:5e:00:00:51")
    lab.vnetx("switch", "add", "other")
    lab.ip(
        "link add name enslaved type veth peer name enslaved1",
        "link add name br0 type bridge",
        "link set dev enslaved master br0",
    )
    before = lab.vnetx("export").out, lab.names()
    for command, words in ERRORS.items():
        done = lab.vnetx("link", *command, status=None)
        assert done.status in (1, 2), command
        assert words in done.err, (command, done.err)
        assert (lab.vnetx("export").out, lab.names()) == before, command
    done = lab.vnetx("detach", "p1", status=1)
    assert "it has endpoints: m1\nvnetx link del m1" in done.err
    assert lab.vnetx("export").out == before[0]


@pytest.mark.slow
def test_one_that_takes_the_nic(make_lab: Callable[..., Lab], tmp_path: Path) -> None:
    """Passthru: all that comes by the wire is its, and nothing is beside it."""
    lab = make_lab(1)
    before = devices(lab.name)
    lab.vnetx(
        *("link", "add", "m1", "--kind", "macvlan", "--parent", "p1", "--mode", "passthru"),
        *("--to-netns", f"{lab.name}-own", "--own-netns", "--ip", "192.0.2.51/24"),
    )
    assert pings(lab.hosts[0], "192.0.2.51")
    (shown,) = lab.show("link", "show")[:1]
    assert (shown["mode"], shown["parent"]) == ("passthru", "p1")
    (nic,) = json.loads(run("ip", "-n", lab.name, "-j", "link", "show", "dev", "p1").out)
    assert shown["mac"] == nic["address"]
    file = tmp_path / "vnetx.yaml"
    file.write_text(lab.vnetx("export").out)
    assert lab.vnetx("-v", "apply", str(file)).out == ""
    refused = (
        ("link", "add", "m2", "--kind", "macvlan", "--parent", "p1"),
        ("link", "add", "m2", "--kind", "macvlan", "--parent", "p1", "--mode", "passthru"),
        ("link", "add", "m1", "--mode", "bridge"),
        ("attach", "p1"),
    )
    for command in refused:
        assert lab.vnetx(*command, status=1).err
        assert lab.vnetx("export").out == file.read_text(), command
    lab.vnetx("link", "del", "m1")
    assert devices(lab.name) == before
    lab.vnetx("apply", str(file))
    assert lab.vnetx("export").out == file.read_text()
    assert pings(lab.hosts[0], "192.0.2.51")
    lab.vnetx("link", "del", "m1")
    lab.vnetx("attach", "p1")
    assert (
        "nothing may be beside one in passthru mode"
        in lab.vnetx(
            *("link", "add", "m1", "--kind", "macvlan", "--parent", "p1", "--mode", "passthru"),
            status=1,
        ).err
    )
