"""Documents of labs: what they may say, and what their errors say."""

from __future__ import annotations

import pytest

from vnetx import lab
from vnetx.errors import InvalidValue
from vnetx.lab import End
from vnetx.model import Interface

DOCUMENT = """
version: 1
nodes:
  h1:
    forward: on
    interfaces:
      lo: {ip: [203.0.113.1/32]}
      eth0: {ip: [192.0.2.1/24], routes: {default: 192.0.2.9}, mtu: 1400, mac: 02-00-5E-00-00-01}
  c1:
  sw:
    interfaces:
      br0: {ip: [192.0.2.9/24]}
    switches:
      br0:
        ports: {p1: {isolated: on}}
        interfaces:
          web: {netns: c1, ip: [192.0.2.7/24]}
          out: {netns: elsewhere}
links:
  - [sw:p1, h1:eth0]
"""
LINK = (End("h1", "eth0"), End("sw", "p1"))


def test_everything_that_can_be_said() -> None:
    found = lab.parse(DOCUMENT, "dir/pair.yaml")
    assert (found.name, list(found.nodes), found.links) == ("pair", ["h1", "c1", "sw"], (LINK,))
    h1, _, sw = found.nodes.values()
    assert h1.forward
    assert not sw.forward
    assert h1.interfaces["eth0"] == found.settings(LINK[0])
    assert h1.interfaces["eth0"] == Interface(
        ("192.0.2.1/24",),
        routes=(("default", "192.0.2.9"),),
        mtu=1400,
        mac=bytes.fromhex("02005e000001"),
    )
    made = sw.switches["br0"].interfaces
    assert (made["web"].netns, made["out"].netns) == ("pair-c1", "elsewhere")
    assert found.other_namespaces() == {"elsewhere"}
    assert sw.is_only_port("p1")
    assert sw.host_ports == ["br0"]
    assert not h1.is_only_port("eth0")


def test_names() -> None:
    assert lab.parse("{version: 1, name: a}", "b.yaml").name == "a"
    assert lab.parse("{version: 1, name: a}", "b.yaml", "c").name == "c"
    assert lab.name_of("{name: a, nodes: [broken]}", "b.yaml") == "a"
    assert lab.name_of("{nodes: [broken]}", "dir/b.yaml") == "b"


def test_marks_read_back() -> None:
    assert lab.read_node_mark(lab.node_mark("a-b", "c")) == ("a-b", "c")
    assert lab.read_link_mark(lab.link_mark("a-b", LINK)) == ("a-b", LINK)
    for other in ("", "eth0", "host port of vnetx switch lab"):
        assert lab.read_node_mark(other) is lab.read_link_mark(other) is None


def test_addresses_of_ends_differ_and_stay() -> None:
    found = {lab.stable_mac(name, end) for name in ("a", "b") for end in LINK}
    assert len(found) == 4
    assert all(mac[0] & 3 == 2 for mac in found)
    assert lab.stable_mac("a", LINK[0]) in found


PORTS = "{switches: {br0: {ports: {p1: }}}}"
ERRORS = {
    "version: 2": "version: 2 is not known to this vnetx",
    "name: a b": "lab name 'a b'",
    "names: a": "names: no such setting\nknown are version, name, nodes, links",
    "nodes: {a/b: }": "node name 'a/b'",
    "nodes: {h1: {forwards: on}}": "known are forward, interfaces, switches",
    "nodes: {h1: {forward: 2}}": "nodes.h1.forward: '2': neither on nor off",
    "nodes: {h1: {interfaces: {lo: {ips: []}}}}": "known are ip, mtu, mac, routes",
    "nodes: {h1: {interfaces: {lo: {ip: [x]}}}}": "nodes.h1.interfaces.lo.ip.0: address 'x'",
    "nodes: {h1: {interfaces: {lo: {mtu: 9}}}}": "mtu 9: not in 68 to 65535",
    "nodes: {h1: {interfaces: {lo: {mtu: 1400}}}}": "MTU and MAC address of lo are not set here",
    "nodes: {h1: {interfaces: {lo: {routes: {default: 192.0.2.1}}}}}": "no routes lead through",
    "nodes: {h1: {interfaces: {eth0: }}}": "nodes.h1.interfaces.eth0: no link ends there",
    "nodes: {h1: {switches: {br0: {age: 1}}}}": "nodes.h1.switches.br0.age: no such setting\nknown "
    "are ageing, group_forward",
    "nodes: {h1: {switches: {br0: {ports: {p: {x: 1}}}}}}": "known are access, trunk, native",
    "nodes: {h1: {switches: {br0: {ports: {p: {storm: {x: 1}}}}}}}": "known are broadcast,",
    "nodes: {h1: {switches: {br0: {fdb: [{mac: 02:00:5e:00:00:01, x: 1}]}}}}": "known are mac, "
    "port, vni, vtep",
    f"nodes: {{h1: {PORTS}}}": "nodes.h1.switches.br0.ports.p1: no link ends there\n"
    "name h1:p1 under links",
    "nodes: {h1: {switches: {br0: {interfaces: {c: {netns: h1, own_netns: on}}}}}}": "is a node of "
    "the lab",
    "nodes: {h1: {switches: {br0: {interfaces: {br0: {}}}}}}": "is switch br0's already",
    "nodes: {h1: , h2: {switches: {a: {interfaces: {lo: {netns: h1}}}}}}": "lo of h1 is the "
    "loopback device already",
    "links: [h1]": "links.0: not two ends",
    "links: [[h1:a, h2:a, h3:a]]": "links.0: not two ends",
    "links: [[h1, h2]]": "links.0.0: end 'h1': not a node and an interface",
    "links: [[h1:a b, h2:a]]": "links.0.0: interface name 'a b'",
    "links: [[h1:a, h2:a]]": "links.0: there is no node h1",
    "{nodes: {h1: }, links: [[h1:a, h1:a]]}": "a of h1 is an end of link h1:a h1:a already",
    "{nodes: {h1: , h2: }, links: [[h1:a, h2:a], [h1:b, h2:a]]}": "links.1: a of h2 is an end of "
    "link h1:a h2:a already",
    "{nodes: {h1: , h2: {switches: {p1: }}}, links: [[h1:a, h2:p1]]}": "nodes.h2.switches.p1: p1 "
    "of h2 is an end of link h1:a h2:p1 already",
}


@pytest.mark.parametrize(("text", "words"), ERRORS.items(), ids=list(ERRORS))
def test_errors_say_where(text: str, words: str) -> None:
    inner = text.removeprefix("{").removesuffix("}") if text.startswith("{") else text
    version = "" if text.startswith("version") else "version: 1, "
    with pytest.raises(InvalidValue) as error:
        lab.parse(f"{{{version}{inner}}}", "lab.yaml")
    assert str(error.value).startswith("lab.yaml: ")
    assert words in str(error.value)


def test_a_file_s_name_that_is_none_for_a_lab() -> None:
    with pytest.raises(InvalidValue, match="lab name '<stdin>'"):
        lab.parse("version: 1", "<stdin>")
