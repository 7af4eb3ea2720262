"""VLANs as they are typed: ports, what reaches whom, tables, documents, errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.command import Lab

pytestmark = pytest.mark.root


def modes(lab: Lab) -> dict[str, Any]:
    return {
        port["ifname"]: (port["mode"], port["pvid"], [v["vid"] for v in port["vlans"]])
        for port in lab.show("port", "show")
    }


def reached(lab: Lab) -> set[tuple[int, int]]:
    """The pairs of hosts of which one reaches the other."""
    numbers = range(1, len(lab.hosts) + 1)
    return {(a, b) for a in numbers for b in numbers if a < b and lab.quick_ping(a, b)}


@pytest.fixture
def four(make_lab: Callable[..., Lab]) -> Lab:
    return make_lab(4)


@pytest.mark.slow
def test_only_ports_of_one_vlan_reach_each_other(four: Lab) -> None:
    four.vnetx("attach", "p1", "p2", "--access", "10")
    said = four.vnetx("attach", "p3", "p4", "--access", "20").err
    assert reached(four) == {(1, 2), (3, 4)}
    assert "VLAN-aware" not in said, "it was before"
    assert modes(four) == {
        "p1": ("access", 10, [10]),
        "p2": ("access", 10, [10]),
        "p3": ("access", 20, [20]),
        "p4": ("access", 20, [20]),
    }
    learned = {(e["port"], e["vlan"]) for e in four.show("fdb", "show") if e["state"] == "learned"}
    assert learned == {("p1", 10), ("p2", 10), ("p3", 20), ("p4", 20)}
    assert len(four.show("fdb", "show", "--vlan", "20", "--port", "p3")) == 1
    four.vnetx("port", "set", "p3", "--access", "10")
    assert reached(four) == {(1, 2), (1, 3), (2, 3)}


def test_an_unaware_switch_says_so_and_becomes_aware_with_the_first_vlan(lab: Lab) -> None:
    lab.vnetx("attach", "p1", "p2")
    assert modes(lab) == {"p1": ("unaware", None, []), "p2": ("unaware", None, [])}
    assert lab.show("vlan", "show") == []
    said = lab.vnetx("vlan", "add", "10", "--port", "p1").err
    assert "switch vnetx0 is VLAN-aware from now on" in said
    assert modes(lab) == {"p1": ("trunk", 1, [1, 10]), "p2": ("access", 1, [1])}
    assert lab.ping(1, 2)
    lab.vnetx("switch", "set", "vnetx0", "--vlan-aware", "off")
    assert modes(lab)["p1"] == ("unaware", None, [])
    assert lab.ping(1, 2)
    lab.vnetx("switch", "set", "vnetx0", "--vlan-aware", "on")
    assert modes(lab) == {"p1": ("trunk", 1, [1, 10]), "p2": ("access", 1, [1])}


@pytest.mark.slow
def test_a_host_has_its_vlan_by_a_rule(four: Lab) -> None:
    """h1 is on a port without a VLAN of its own; h2 and h3 are in VLANs 10 and 20."""
    mac = "02:00:5e:00:00:01"
    four.ip(f"link set dev eth0 address {mac}", name=four.hosts[0])
    four.vnetx("attach", "p1", "p2", "p3", "p4")
    four.vnetx("port", "set", "p2", "--access", "10")
    four.vnetx("port", "set", "p3", "--access", "20")
    four.vnetx("vlan", "add", "10,20", "--port", "p1", "--untagged")
    four.vnetx("vlan", "del", "1", "--port", "p1")
    assert reached(four) == set()
    four.vnetx("vlan", "rule", "add", "10", "--mac", mac, "--subnet", "192.0.2.99")
    assert reached(four) == {(1, 2)}
    four.vnetx("vlan", "rule", "add", "20", "--subnet", "192.0.2.1")
    assert reached(four) == {(1, 2)}, "its address comes before its subnet"
    assert [(r["vlan"], r["kind"], r["match"]) for r in four.show("vlan", "rule", "show")] == [
        (10, "mac", mac),
        (20, "subnet", "192.0.2.1/32"),
        (10, "subnet", "192.0.2.99/32"),
    ]
    four.vnetx("vlan", "rule", "del", "--mac", mac)
    assert reached(four) == {(1, 3)}
    shown = four.vnetx("vlan", "rule", "show").out.splitlines()
    assert shown[1].split() == ["vnetx0", "subnet", "192.0.2.1/32", "20"]


def test_what_a_switch_keeps_of_vlans_is_exported(lab: Lab, tmp_path: Path) -> None:
    """VLANs of ports and rules outlast that the switch is made to heed none, in documents too."""
    lab.vnetx("attach", "p1", "--access", "10")
    lab.vnetx("vlan", "rule", "add", "10", "--protocol", "arp")
    lab.vnetx("switch", "set", "vnetx0", "--vlan-aware", "off")
    file = tmp_path / "vnetx.yaml"
    file.write_text(lab.vnetx("export").out)
    assert "vlan_aware: false" in file.read_text()
    assert lab.vnetx("-v", "apply", str(file)).err == ""
    lab.vnetx("detach", "--all")
    lab.vnetx("apply", str(file))
    assert lab.vnetx("export").out == file.read_text()


@pytest.mark.slow
def test_two_switches_joined_by_a_trunk(four: Lab) -> None:
    """h1 and h3 in VLAN 10, h2 and h4 in VLAN 20; a cable carries both."""
    four.ip("link add dev t1 type veth peer name t2", "link set dev t1 up", "link set dev t2 up")
    for number, (ports, trunk) in enumerate(((("p1", "p2"), "t1"), (("p3", "p4"), "t2"))):
        switch = ("--switch", f"s{number}")
        four.vnetx("attach", ports[0], *switch, "--access", "10")
        four.vnetx("attach", ports[1], *switch, "--access", "20")
        four.vnetx("attach", trunk, *switch, "--trunk", "10,20")
    assert reached(four) == {(1, 3), (2, 4)}
    assert modes(four)["t1"] == ("trunk", None, [10, 20])
    four.vnetx("vlan", "map", "10=110", "--port", "t1")
    four.vnetx("vlan", "add", "110", "--port", "t1")
    four.vnetx("port", "set", "p1", "--access", "110")
    assert reached(four) == {(1, 3), (2, 4)}
    counted = {v["vid"]: v["stats"] for v in four.show("vlan", "show", "--switch", "s0")}
    assert counted[110]["rx_frames"] >= counted[110]["tx_frames"] > 0


@pytest.mark.parametrize("hook", ["tc", "xdp"])
@pytest.mark.parametrize("protocol", ["802.1ad", "0x9100"])
def test_providers_ports_carry_customers_tags(four: Lab, protocol: str, hook: str) -> None:
    """A provider's VLAN 100 between two edges; what customers tag inside is theirs."""
    four.ip("link add dev t1 type veth peer name t2", "link set dev t1 up", "link set dev t2 up")
    for number, (port, trunk) in enumerate((("p1", "t1"), ("p2", "t2"))):
        switch = ("--switch", f"s{number}", "--hook", hook, "--vlan-protocol", protocol)
        four.vnetx("attach", port, *switch, "--access", "100")
        four.vnetx("attach", trunk, *switch, "--trunk", "100")
    assert four.ping(1, 2)
    (tagged,) = (v for v in four.show("vlan", "show", "--switch", "s0") if v["vid"] == 100)
    assert (tagged["tagged"], tagged["untagged"]) == (["t1"], ["p1"])


def test_the_host_port_is_named_as_the_switch(four: Lab) -> None:
    four.vnetx("attach", "p1", "--access", "10")
    four.ip("address add 192.0.2.9/24 dev vnetx0")
    assert not four.quick_ping(1, 9)
    four.vnetx("vlan", "add", "10", "--port", "vnetx0", "--untagged", "--pvid")
    assert four.ping(1, 9)
    assert four.show("vlan", "show")[-1]["untagged"] == ["vnetx0", "p1"]


def test_a_trunk_of_all_vlans_on_many_ports(four: Lab) -> None:
    names = [f"m{n}" for n in range(100)]
    four.ip(*(f"link add dev {name} type veth peer name q{name}" for name in names))
    four.vnetx("attach", *names, "--trunk", "all", "--native", "1")
    found = four.show("vlan", "show")
    assert len(found) == 4094
    assert all(len(each["tagged"]) + len(each["untagged"]) >= 100 for each in found)
    four.vnetx("vlan", "del", "2-4094", *(word for name in names for word in ("--port", name)))
    assert [each["vid"] for each in four.show("vlan", "show")] == [1]


def test_what_bridge_printed_is_imported(lab: Lab, tmp_path: Path) -> None:
    printed = [
        {"ifname": "p1", "vlans": [{"vlan": 10, "flags": ["PVID", "Egress Untagged"]}]},
        {"ifname": "p2", "vlans": [{"vlan": 10}, {"vlan": 20, "vlanEnd": 22}]},
        {"ifname": "br0", "vlans": [{"vlan": 1, "flags": ["PVID", "Egress Untagged"]}]},
    ]
    file = tmp_path / "vlans.json"
    file.write_text(json.dumps(printed))
    lab.vnetx("attach", "p1", "p2")
    said = lab.vnetx("vlan", "import", str(file)).err
    assert "br0 is left out" in said
    assert modes(lab) == {"p1": ("access", 10, [10]), "p2": ("trunk", None, [10, 20, 21, 22])}
    file.write_text("[1]")
    assert (
        "not what 'bridge -j vlan show' prints"
        in lab.vnetx("vlan", "import", str(file), status=2).err
    )


def test_documents_hold_vlans(four: Lab, tmp_path: Path) -> None:
    document = """\
version: 1
switches:
  lab:
    vlan_aware: true
    host: {access: 30}
    ports:
      p1: {access: 10}
      p2: {trunk: '10,20-22', native: 5, accept: all}
      p3: {trunk: '7', untagged: '8,9', pvid: 9, priority: 3}
      p4: {trunk: all, accept: tagged, vlan_protocol: 0x9200, vlan_map: {10: 110}}
    fdb:
    - {mac: '02:00:5e:00:53:01', port: p1, state: static, vlan: 10}
"""
    file = tmp_path / "lab.yaml"
    file.write_text(document)
    four.vnetx("apply", str(file))
    assert modes(four) == {
        "p1": ("access", 10, [10]),
        "p2": ("trunk", 5, [5, 10, 20, 21, 22]),
        "p3": ("hybrid", 9, [7, 8, 9]),
        "p4": ("trunk", None, list(range(1, 4095))),
    }
    exported = four.vnetx("export").out
    file.write_text(exported)
    four.vnetx("switch", "del", "lab")
    four.vnetx("apply", str(file))
    assert four.vnetx("export").out == exported
    assert four.vnetx("-v", "apply", str(file)).out == "", "applying twice changes nothing"


def test_the_same_address_in_two_vlans_is_two_entries(four: Lab) -> None:
    four.vnetx("attach", "p1", "--access", "10")
    four.vnetx("attach", "p2", "--access", "20")
    address = "02:00:5e:00:53:aa"
    four.vnetx("fdb", "add", address, "--port", "p1")
    four.vnetx("fdb", "add", address, "--port", "p2", "--vlan", "20")
    found = {(e["vlan"], e["port"]) for e in four.show("fdb", "show", "--mac", address)}
    assert found == {(10, "p1"), (20, "p2")}
    said = four.vnetx("fdb", "del", address, status=1).err
    assert "it is in VLANs 10, 20" in said
    four.vnetx("fdb", "del", address, "--vlan", "10")
    four.vnetx("switch", "set", "vnetx0", "--shared-learning", "on")
    assert [e.get("vlan") for e in four.show("fdb", "show", "--mac", address)] == [None]


@pytest.mark.parametrize(
    ("command", "said", "status"),
    [
        ("attach p1 --access 0", "VLAN 0: is no VLAN", 2),
        ("attach p1 --access 4095", "VLAN 4095: is reserved", 2),
        ("attach p1 --access 10 --trunk 20", "an access port is in one VLAN", 2),
        ("attach p1 --native 10", "native: goes with trunk alone", 2),
        ("attach p1 --trunk 10,20 --native 20", "VLAN 20: is given both with tags and without", 2),
        ("attach p1 --trunk 10,4095", "VLAN 4095: is reserved", 2),
        ("vlan add 30-10 --port p1", "runs backwards", 2),
        ("vlan add 10-11 --port p1 --pvid", "a port has one PVID", 2),
        ("vlan del 10 --port p1 --force", "--force goes without --port", 2),
        ("vlan add 10 --port p9", "there is no interface of that name", 1),
        ("vlan add 10 --port p1", "not a port of any switch", 1),
        ("vlan del 10 --port p1", "not a port of any switch", 1),
        ("vlan map 10=4095 --port p1", "VLAN 4095: is reserved", 2),
        ("vlan map ten --port p1", "not WIRE=INSIDE", 2),
        ("port set p1 --priority 9", "not in 0 to 7", 2),
        ("attach p1 --access ten", "VLAN 'ten': is not a VID", 2),
    ],
)
def test_bad_input_changes_nothing(lab: Lab, command: str, said: str, status: int) -> None:
    before = lab.vnetx("export").out
    assert said in lab.vnetx(*command.split(), status=status).err
    assert lab.vnetx("export").out == before


def test_a_trunk_does_not_cut_the_host_off(lab: Lab) -> None:
    """The host's own untagged frames need a VLAN on the NIC that carries them."""
    lab.ip("address add 192.0.2.8/24 dev p1")
    said = lab.vnetx("attach", "p1", "--trunk", "10", status=1).err
    assert "would be dropped without a native VLAN" in said
    assert lab.names() == []
    native = ("--trunk", "10", "--native", "5")
    said = lab.vnetx("attach", "p1", *native, "--accept", "tagged", status=1).err
    assert "would not be accepted" in said
    assert lab.names() == []
    lab.vnetx("attach", "p1", *native)
    assert lab.ping(1, 8)
    said = lab.vnetx("vlan", "del", "5", "--port", "p1", status=1).err
    assert "would be dropped without a native VLAN" in said
    assert modes(lab)["p1"] == ("trunk", 5, [5, 10])


def test_also_vlan_1_is_a_vlan(lab: Lab) -> None:
    """The default VLAN, asked for: tags are heeded from then on."""
    lab.vnetx("attach", "p1", "p2", "--access", "1")
    assert modes(lab)["p1"] == ("access", 1, [1])
    lab.vnetx("detach", "--all")
    lab.vnetx("attach", "p1", "p2")
    lab.vnetx("vlan", "del", "10", "--port", "p1")
    assert modes(lab)["p1"][0] == "unaware", "nothing was taken away"
    lab.vnetx("vlan", "add", "1", "--port", "p1", "--untagged", "--pvid")
    assert modes(lab)["p1"] == ("access", 1, [1])


def test_of_the_host_port_only_vlans_can_be_set(lab: Lab) -> None:
    lab.vnetx("attach", "p1", "--access", "10")
    before = lab.vnetx("export").out
    said = lab.vnetx("port", "set", "vnetx0", "--isolated", "on", status=1).err
    assert "setting isolated of vnetx0: it is the host port of switch vnetx0" in said
    assert lab.vnetx("export").out == before
    lab.vnetx("port", "set", "vnetx0", "--access", "10")
    assert "host: {access: 10}" in lab.vnetx("export").out


def test_what_cannot_be_meant_is_told(lab: Lab) -> None:
    lab.vnetx("attach", "p1", "--trunk", "10")
    said = lab.vnetx("fdb", "add", "02:00:5e:00:53:01", "--port", "p1", status=1).err
    assert "p1 has no PVID" in said
    assert "say --vlan VID" in said
    assert "not a port of any switch" in lab.vnetx("vlan", "show", "--port", "p2", status=1).err
    assert [v["vid"] for v in lab.show("vlan", "show", "--port", "vnetx0")] == [1]


def test_an_address_that_becomes_the_hosts_is_not_where_it_was_learned(four: Lab) -> None:
    """Seen behind p2 in VLAN 10, then given to the host port."""
    four.vnetx("attach", "p1", "p2", "--access", "10")
    four.vnetx("vlan", "add", "10", "--port", "vnetx0", "--untagged", "--pvid")
    address = "02:00:5e:00:53:77"
    four.ip(f"link set dev eth0 address {address}", name=four.hosts[1])
    four.quick_ping(2, 1)
    assert [e["port"] for e in four.show("fdb", "show", "--mac", address)] == ["p2"]
    four.vnetx("switch", "set", "vnetx0", "--mac", address)
    assert [e["state"] for e in four.show("fdb", "show", "--mac", address)] == ["local"]
