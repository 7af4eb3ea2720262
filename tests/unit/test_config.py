"""The configuration document: what it may say, what its errors say, its canonical form."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vnetx import config, model, vlan_rule
from vnetx.errors import InvalidValue

FULL = """
version: 1
switches:
  lab:
    ageing: 60
    group_forward: lldp,lacp
    static_move: yes
    fdb_size: 1024
    max_ports: 64
    host_port: off
    mac: 02-00-5E-00-00-10
    ports:
      eth0:
      veth1: {isolated: on, state: down, hook: tc, storm: {broadcast: 10, unknown-unicast: 5}}
    fdb:
      - {mac: 12:34:56:12:34:56, port: eth0, state: sticky}
      - {mac: 02:00:5e:00:00:01, port: veth1}
  plain:
"""


def switch(text: str) -> str:
    return f"version: 1\nswitches: {{a: {{{text}}}}}"


def test_everything_that_can_be_said() -> None:
    document = config.parse(FULL)
    lab = document.switches["lab"]
    assert lab.settings == model.SwitchSettings(
        ageing=60,
        group_forward=1 << 0xE | 1 << 2,
        static_move=True,
        fdb_size=1024,
        max_ports=64,
        host_port=False,
        mac=bytes.fromhex("02005e000010"),
    )
    assert lab.ports == {
        "eth0": model.PortSettings(),
        "veth1": model.PortSettings(hook="tc", isolated=True, up=False, storm=(10, 0, 5)),
    }
    # unquoted, YAML 1.1 would read the first one as a number in base 60
    assert lab.fdb == (
        config.StaticEntry(bytes.fromhex("123456123456"), "eth0", sticky=True),
        config.StaticEntry(bytes.fromhex("02005e000001"), "veth1"),
    )
    assert document.switches["plain"] == config.Switch()


def test_canonical_form_holds_only_what_is_not_the_default() -> None:
    assert config.to_plain(
        config.parse("{version: 1, switches: {a: {ageing: 300, ports: {}}}}")
    ) == {
        "version": 1,
        "switches": {"a": {}},
    }


def test_canonical_form_reads_back() -> None:
    document = config.parse(FULL)
    text = config.dump(document)
    assert config.dump(config.parse(text)) == text
    assert config.parse(json.dumps(config.to_plain(document))) == config.parse(text)


names = st.text("abcxyz0123456789.-_@", min_size=1, max_size=15).filter(
    lambda name: name not in (".", "..")
)
macs = st.binary(min_size=6, max_size=6).filter(lambda mac: any(mac) and not mac[0] & 1)
limits = st.integers(0, 1_000_000_000)
groups = st.integers(0, model.ALL_GROUPS)
vid_sets = st.sets(st.integers(1, 4094), max_size=5).map(lambda vids: sum(1 << v for v in vids))
vlans = st.one_of(
    st.just(model.Vlans()),
    st.builds(model.Vlans.access, st.integers(1, 4094)),
    st.builds(model.Vlans.trunk, vid_sets, st.integers(0, 4094)),
    st.builds(lambda a, b: model.Vlans(a | b, b), vid_sets.filter(bool), st.just(1 << 1)),
)
vlan_settings = {
    "vlans": vlans,
    "accept": st.sampled_from(model.ACCEPT),
    "priority": st.integers(0, 7),
    "vlan_protocol": st.sampled_from(list(model.VLAN_PROTOCOLS)),
    "vlan_map": st.sampled_from([(), ((10, 110),), ((10, 20), (20, 10))]),
}
port_settings = st.builds(
    model.PortSettings,
    **vlan_settings,
    hook=st.sampled_from(model.HOOKS),
    learning=st.booleans(),
    isolated=st.booleans(),
    up=st.booleans(),
    learn_limit=st.integers(0, 2**32 - 1),
    storm=st.tuples(limits, limits, limits),
    group_forward=groups,
)
rules = st.dictionaries(
    st.sampled_from(
        [
            vlan_rule.parse_mac("02:00:5e:00:00:01"),
            vlan_rule.parse_mac("02:00:5e:00:00:00/24"),
            vlan_rule.parse_subnet("192.0.2.0/24"),
            vlan_rule.parse_subnet("2001:db8::/32"),
            vlan_rule.parse_protocol("ipv6"),
            vlan_rule.parse_protocol("0x88b5"),
        ]
    ),
    st.integers(1, 4094),
)
switch_settings = st.builds(
    model.SwitchSettings,
    vlan_aware=st.booleans(),
    shared_learning=st.booleans(),
    ageing=st.integers(1, 1_000_000),
    group_forward=groups,
    static_move=st.booleans(),
    fdb_size=st.integers(16, 1 << 24),
    max_ports=st.integers(2, 8192),
    host_port=st.booleans(),
    mac=st.none() | macs,
)


percents = st.floats(0, 100).map(lambda percent: round(percent, 6))


def wires(*ends: str) -> st.SearchStrategy[model.Wire]:
    return st.builds(
        model.Wire,
        st.just(ends),
        loss=percents,
        corrupt=percents,
        seed=st.integers(0, 2**32 - 1),
        cut=st.sets(st.sampled_from(ends)).map(tuple),
        carrier=st.booleans(),
        hook=st.sampled_from(model.WIRE_HOOKS),
    )


@given(st.data())
def test_whatever_is_can_be_exported_and_applied(data: st.DataObject) -> None:
    ports = data.draw(st.dictionaries(names, port_settings, max_size=4))
    owners = {name: data.draw(st.sampled_from("ab")) for name in ports}
    switches = {}
    for name in ("a", "b"):
        mine = {port: each for port, each in ports.items() if owners[port] == name}
        known = data.draw(st.lists(macs, unique=True, max_size=3)) if mine else []
        entries = [
            config.StaticEntry(
                mac, data.draw(st.sampled_from(sorted(mine))), data.draw(st.booleans())
            )
            for mac in sorted(known)
        ]
        switches[name] = config.Switch(
            data.draw(switch_settings),
            mine,
            tuple(entries),
            data.draw(st.builds(model.PortSettings, **vlan_settings)),
            data.draw(rules),
            wires=tuple(data.draw(st.lists(wires(f"w{name}1", f"w{name}2"), max_size=1))),
        )
    document = config.Document(switches)
    assert config.parse(config.dump(document)) == document
    assert config.parse(json.dumps(config.to_plain(document))) == document


@pytest.mark.parametrize(
    ("wire", "place"),
    [
        ("ends: [v1]", "switches.a.wires.0.ends"),
        ("ends: [v1, v1]", "switches.a.wires.0"),
        ("ends: [v1, v2], loss: 200", "switches.a.wires.0"),
        ("ends: [v1, v2], loss: much", "switches.a.wires.0.loss"),
        ("ends: [v1, v2], cut: [v3]", "switches.a.wires.0"),
        ("ends: [v1, v2], lost: 1", "switches.a.wires.0.lost"),
        ("ends: [v1, p1]", "switches.a.wires"),
    ],
)
def test_what_no_wire_can_be(wire: str, place: str) -> None:
    with pytest.raises(InvalidValue, match=rf"^configuration: {re.escape(place)}: "):
        config.parse(switch(f"ports: {{p1: }}, wires: [{{{wire}}}]"))


@pytest.mark.parametrize(
    "vlans_of",
    [
        "ports: {e: {access: 10}}",
        "ports: {e: {accept: tagged}}",
        "host: {trunk: all}",
        "vlan_rules: [{protocol: arp, vlan: 10}]",
    ],
)
def test_the_first_vlan_makes_a_switch_vlan_aware(vlans_of: str) -> None:
    def aware(text: str) -> bool:
        return config.parse(switch(text)).switches["a"].settings.vlan_aware

    assert aware(vlans_of)
    assert aware(f"vlan_aware: on, {vlans_of}")
    assert not aware(f"vlan_aware: off, {vlans_of}")
    assert not aware("ports: {e: {access: 1}}")


@pytest.mark.parametrize(
    ("text", "place", "why", "remedy"),
    [
        ("", "f.yaml", "not a mapping", "begin with 'version: 1'"),
        ("a: [", "f.yaml, line 1", "expected the node content", ""),
        ("version: 1\nversion: 1", "f.yaml, line 2", "'version' is given twice", ""),
        ("switches: {}", "f.yaml: version", "is missing", "write 'version: 1'"),
        ("version: 2", "f.yaml: version", "2 is not known", "write 'version: 1'"),
        ("{version: 1, bridges: {}}", "f.yaml: bridges", "no such setting", "version, switches"),
        (switch("ageing: 0"), "f.yaml: switches.a", "ageing 0: not in 1 to", ""),
        (switch("ageing: soon"), "f.yaml: switches.a.ageing", "'soon': not a number", ""),
        (switch("age: 1"), "f.yaml: switches.a.age", "no such setting", "ageing, group_forward"),
        (switch("mac: ff:ff:ff:ff:ff:ff"), "f.yaml: switches.a.mac", "broadcast", "one station"),
        (switch("group_forward: lldpx"), "f.yaml: switches.a.group_forward", "not one of", "all"),
        (switch("ports: [eth0]"), "f.yaml: switches.a.ports", "a mapping is expected", ""),
        (
            switch("ports: {e: {hok: tc}}"),
            "f.yaml: switches.a.ports.e.hok",
            "no such setting",
            "hook, learning",
        ),
        (switch("ports: {e: {hook: t}}"), "f.yaml: switches.a.ports.e.hook", "'t' is", "'xdp'"),
        (
            switch("ports: {e: {learning: maybe}}"),
            "f.yaml: switches.a.ports.e.learning",
            "neither on nor off",
            "",
        ),
        (
            switch("ports: {e: {storm: {dhcp: 1}}}"),
            "f.yaml: switches.a.ports.e.storm.dhcp",
            "no such setting",
            "unknown-unicast",
        ),
        (
            switch("ports: {e: {storm: {multicast: -1}}}"),
            "f.yaml: switches.a.ports.e",
            "storm limit of multicast -1",
            "",
        ),
        (
            switch("fdb: [{mac: 02:00:5e:00:00:01, port: e}]"),
            "f.yaml: switches.a.fdb.0.port",
            "'e' is not a port of a",
            "switches.a.ports",
        ),
        (
            switch("ports: {e: }, fdb: [{mac: 01:00:5e:00:00:01, port: e}]"),
            "f.yaml: switches.a.fdb.0.mac",
            "is a multicast",
            "one station",
        ),
        (
            switch(
                "ports: {e: }, fdb: [{mac: 02:00:5e:00:00:01, port: e}, "
                "{mac: 0200.5e00.0001, port: e}]"
            ),
            "f.yaml: switches.a.fdb.1.mac",
            "given twice",
            "",
        ),
        (
            switch("vlan_rules: [{vlan: 10}]"),
            "f.yaml: switches.a.vlan_rules.0",
            "a VLAN rule: give one of mac, subnet, protocol",
            "",
        ),
        (
            switch("vlan_rules: [{mac: 02:00:5e:00:00:01, protocol: arp, vlan: 10}]"),
            "f.yaml: switches.a.vlan_rules.0",
            "give one of",
            "",
        ),
        (
            switch("vlan_rules: [{protocol: arp, vlan: 10}, {protocol: 0x0806, vlan: 20}]"),
            "f.yaml: switches.a",
            "VLAN rule by protocol arp: is given twice",
            "",
        ),
        (
            switch("vlan_rules: [{subnet: 192.0.2.1/24, vlan: 10}]"),
            "f.yaml: switches.a.vlan_rules.0.subnet",
            "it has bits beyond its length",
            "write 192.0.2.0/24",
        ),
        (
            switch("vlan_rules: [{net: 192.0.2.0/24, vlan: 10}]"),
            "f.yaml: switches.a.vlan_rules.0.net",
            "no such setting",
            "mac, subnet, protocol, vlan",
        ),
        ("version: 1\nswitches: {a/b: }", "f.yaml: switches.a/b", "not a name", "1 to 15"),
        (
            "version: 1\nswitches: {a: {ports: {e: }}, b: {ports: {e: }}}",
            "f.yaml: switches.b.ports.e",
            "it is a port of a as well",
            "one switch only",
        ),
    ],
)
def test_errors_say_where_what_and_the_remedy(text: str, place: str, why: str, remedy: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        config.parse(text, "f.yaml")
    assert caught.value.what == place
    assert why in caught.value.why
    assert remedy in caught.value.remedy


def test_several_mistakes_are_counted_and_listed_in_the_detail() -> None:
    with pytest.raises(InvalidValue) as caught:
        config.parse(switch("ageing: x, fdb_size: y, nonsense: 1"), "f.yaml")
    assert "2 more" in caught.value.why
    assert "switches.a.fdb_size: 'y': not a number" in caught.value.detail
    assert "switches.a.nonsense: no such setting" in caught.value.detail
