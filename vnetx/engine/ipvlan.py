"""Interfaces that are endpoints on a NIC with its MAC address, told apart by their IP addresses
(bpf/lib/ipvlan.h): a veth pair, as all endpoints."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from vnetx.datapath.maps import IPVLAN_PROGRAMS
from vnetx.device import Link
from vnetx.engine.kind import there
from vnetx.engine.macvlan import name_of_parent, parent_of
from vnetx.engine.pair import Pair
from vnetx.engine.session import Session
from vnetx.errors import VnetxError
from vnetx.links import Links
from vnetx.model import Interface, pack_address, unpack_address
from vnetx.plan import Endpoint
from vnetx.state import stable_mac

_EVERYTHING = ("0.0.0.0/0", "::/0")


class Ipvlan(Pair):
    """See :class:`vnetx.engine.kind.Kind`."""

    def record(self, session: Session, switch: str, name: str, wanted: Interface) -> dict[str, Any]:
        mac = parent_of(session, switch, name, wanted).mac
        return {**super().record(session, switch, name, wanted), "mac": mac}

    def is_same(self, session: Session, record: Mapping[str, Any], wanted: Interface) -> bool:
        endpoint = _endpoint(session, record)
        return super().is_same(session, record, wanted) and (
            endpoint is None
            or (endpoint.layer, endpoint.host_access) == (wanted.mode, wanted.host_access)
        )

    def prepare_outer(
        self, links: Links, outer: Link, record: Mapping[str, Any], wanted: Interface
    ) -> None:
        if wanted.mode == "l2":
            return
        links.let_forward(outer.name, ipv6=True)
        links.set_mac(outer.ifindex, record["mac"])
        links.set_noarp(outer.ifindex)

    def prepare_inner(self, links: Links, inner: Link, wanted: Interface) -> None:
        secret = hashlib.sha256(stable_mac(inner.name) + f"{wanted.netns}".encode()).digest()
        links.set_stable_secret(inner.name, unpack_address(secret[:16]))
        if wanted.mode != "l2":
            links.set_noarp(inner.ifindex)

    def port(self, session: Session, switch: str, name: str, wanted: Interface) -> dict[str, Any]:
        maps, link = session.maps(switch), parent_of(session, switch, name, wanted)
        what, parent = f"interface {name} on {link.name}", maps.index_of(link.ifindex)
        host = (maps.port(parent) or {})["twin"]
        if not host:
            raise VnetxError(
                what,
                "that does not carry the host's traffic, and no address is known as its own",
                f"vnetx detach {link.name}, give it an IP address, and attach it again",
            )
        if wanted.mode == "l3s":
            _check_forwards(session, what, link, wanted)
        session.executor.need(switch, *IPVLAN_PROGRAMS)
        if not maps.has_ipvlan():
            maps.set_ipvlan(True)
        _check_addresses(session, switch, name, wanted, host)
        endpoint = Endpoint(parent, wanted.among, wanted.host_access, wanted.mode)
        return {"endpoint": endpoint}

    def known(self, session: Session, switch: str, record: Mapping[str, Any]) -> dict[str, Any]:
        endpoint = _endpoint(session, record)
        if endpoint is None:
            return {}
        return {
            "parent": name_of_parent(session, switch, endpoint),
            "mode": endpoint.layer,
            "among": endpoint.mode,
            "host_access": endpoint.host_access,
        }

    def write(
        self, session: Session, name: str, record: Mapping[str, Any], wanted: Interface
    ) -> bool:
        """The addresses come last of what follows from them: they tell whether it is complete."""
        switch = session.switch_of(record["ifindex"])
        if switch is None:
            return False
        maps = session.maps(switch)
        index = maps.index_of(record["ifindex"])
        vid = maps.address_vid(maps.port(index) or {})
        addresses = [address.partition("/")[0] for address in wanted.addresses]
        maps.set_addresses(index, vid, [pack_address(address) for address in addresses])
        if wanted.mode != "l2":
            reached = wanted.mode == "l3s" or wanted.host_access
            session.links.set_hosts(record["ifindex"], addresses if reached else ())
            with there(session, record["netns"]) as links:
                inner = links.get(name)
                if inner and record["netns"]:
                    links.set_mtu(inner.ifindex, wanted.mtu)
                    links.set_defaults(inner.ifindex, _defaults(wanted, addresses))
        return super().write(session, name, record, wanted)


def _endpoint(session: Session, record: Mapping[str, Any]) -> Endpoint | None:
    switch = session.switch_of(record["ifindex"]) if record["ifindex"] else None
    if switch is None:
        return None
    maps = session.maps(switch)
    port = maps.port(maps.index_of(record["ifindex"]))
    return Endpoint.of(port) if port else None


def _defaults(wanted: Interface, addresses: list[str]) -> list[str]:
    """The networks that lead to everywhere by the interface itself, as it has no neighbours: of
    each family in which it has an address, and no router."""
    routed = {network for network, _ in wanted.routes}
    present = {_EVERYTHING[":" in address] for address in addresses}
    return sorted(present - routed)


def _check_forwards(session: Session, what: str, link: Link, wanted: Interface) -> None:
    """Packets for an endpoint in L3s mode are forwarded from the NIC by the host's stack."""
    versions = {6 if ":" in address else 4 for address in wanted.addresses} or {4}
    for version in sorted(versions):
        name = "all" if version == 6 else link.name
        if not session.links.forwards(name, version):
            sysctl = f"net.ipv{version}.conf.{name.replace('.', '/')}.forwarding=1"
            raise VnetxError(
                what, f"the host forwards no IPv{version} packets from there", f"sysctl -w {sysctl}"
            )


def _check_addresses(
    session: Session, switch: str, name: str, wanted: Interface, host: int
) -> None:
    """Notes which addresses the host has, and refuses those that somebody has."""
    maps = session.maps(switch)
    made = maps.interfaces()
    record = made.get(name)
    index = maps.index_of(record["ifindex"]) if record else 0
    vid = wanted.port.vlans.pvid if maps.is_vlan_aware() else 0
    rows = maps.addresses()
    theirs = {address: row for (of, address), row in rows.items() if of == vid}
    own = {
        pack_address(address)
        for device, addresses in session.links.own_addresses().items()
        if device not in made
        for address in addresses
    }
    free = {each for each in own if each not in theirs or theirs[each]["port"] == host}
    maps.set_addresses(host, vid, free)
    for each in wanted.addresses:
        address = each.partition("/")[0]
        packed = pack_address(address)
        row = theirs.get(packed)
        if packed in own:
            raise _taken(name, address, "the host's")
        if row and row["port"] not in (index, host) and maps.holds(row):
            port = maps.port(row["port"])
            who = session.links.name_of(port["ifindex"]) if port else None
            raise _taken(name, address, f"that of the endpoint at {who or 'another port'}")


def _taken(name: str, address: str, whose: str) -> VnetxError:
    return VnetxError(
        f"interface {name}", f"its address {address} is {whose}", "give another one with --ip"
    )
