"""Interfaces that are a tun: packets of a program, switched as those of a station of the switch.

The port is one end of a veth pair. The other one, with the program's addresses, is in a namespace
made for it, whose kernel answers ARP and ND and resolves neighbours; programs (bpf/tun.c) carry
everything else between the port and the tun.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vnetx import netns
from vnetx.engine.kind import mac_of, there
from vnetx.engine.macvlan import mac_is_free
from vnetx.engine.pair import Pair
from vnetx.engine.session import Session
from vnetx.engine.tap import Tap, fields, make_device, remove_device
from vnetx.errors import InvalidValue, VnetxError
from vnetx.links import Links
from vnetx.model import Interface, format_mac


class Tun(Pair):
    """See :class:`vnetx.engine.kind.Kind`."""

    _file = Tap()

    def record(self, session: Session, switch: str, name: str, wanted: Interface) -> dict[str, Any]:
        where = {"netns": f"vnetx-{netns.own()}-{name}", "own_netns": True}
        return super().record(session, switch, name, wanted) | where

    def settings(self, _record: Mapping[str, Any]) -> dict[str, Any]:
        return {}

    def is_same(self, session: Session, record: Mapping[str, Any], wanted: Interface) -> bool:
        return self._file.is_same(session, _of_file(session, record), wanted)

    def check_removable(self, session: Session, name: str, record: Mapping[str, Any]) -> None:
        self._file.check_removable(session, name, _of_file(session, record))

    def make(self, session: Session, switch: str, name: str, wanted: Interface) -> None:
        if not wanted.addresses:
            raise InvalidValue(
                f"tun {name}", "without an address nothing reaches it", "give --ip ADDR/LEN"
            )
        if session.links.get(name) is not None:
            raise VnetxError(
                f"making interface {name}", "there is an interface of that name", "another name"
            )
        session.executor.need(switch, "tun_in", "tun_neigh", "tun_out")
        super().make(session, switch, name, wanted)
        maps = session.maps(switch)
        record = maps.interfaces()[name]
        device = make_device(session, switch, name, wanted, None)
        maps.set_tun(device.ifindex, record["ifindex"], record["mac"])
        _add_program(session, session.links, switch, "tun_in", device.ifindex, "ingress")
        _add_program(session, session.links, switch, "tun_out", record["ifindex"], "egress")
        with there(session, record["netns"]) as links:
            inner = links.get(name)
            if inner is None:
                raise VnetxError(f"making interface {name}", "the veth pair vanished")
            links.ignore_routers(name)
            _add_program(session, links, switch, "tun_neigh", inner.ifindex, "ingress")

    def seen(self, session: Session, name: str, record: Mapping[str, Any]) -> dict[str, Any] | None:
        device = session.links.by_index(_of_file(session, record)["ifindex"])
        inner = super().seen(session, name, record)
        if inner is None or device is None or device.tun is None:
            return None
        return inner | fields(device)

    def write(
        self, session: Session, name: str, record: Mapping[str, Any], wanted: Interface
    ) -> bool:
        of_file = self._file.write(session, name, _of_file(session, record), wanted)
        return super().write(session, name, record, wanted) or of_file

    def port(self, session: Session, switch: str, name: str, wanted: Interface) -> dict[str, Any]:
        mac = mac_of(switch, name, wanted)
        if not mac_is_free(session, switch, mac, session.maps(switch).interfaces().get(name)):
            raise VnetxError(
                f"interface {name}",
                f"{format_mac(mac)} is the address of an endpoint or of the host",
                "--mac",
            )
        return {"own_mac": mac}

    def is_whole(self, session: Session, record: Mapping[str, Any]) -> bool:
        link = session.links.by_index(_of_file(session, record)["ifindex"])
        return link is not None and link.tun is not None

    def told(self, wanted: Interface) -> str:
        return f"{', '.join(wanted.addresses)}, {self._file.told(wanted)}"

    def remove_rest(
        self, session: Session, switch: str, name: str, record: Mapping[str, Any]
    ) -> None:
        maps = session.maps(switch)
        ifindex, _ = maps.tuns().get(record["ifindex"], (0, b""))
        remove_device(session, switch, name, ifindex)
        maps.delete_tun(record["ifindex"])
        super().remove_rest(session, switch, name, record)


def _of_file(session: Session, record: Mapping[str, Any]) -> dict[str, Any]:
    """The record as if the tun itself were the port."""
    switch = session.switch_of(record["ifindex"])
    tuns = session.maps(switch).tuns() if switch else {}
    ifindex, _ = tuns.get(record["ifindex"], (record["ifindex"], b""))
    return {**record, "ifindex": ifindex}


def _add_program(
    session: Session, links: Links, switch: str, name: str, ifindex: int, hook: str
) -> None:
    with session.maps(switch).program(name) as program:
        links.add_clsact(ifindex)
        links.add_tc_filter(ifindex, hook, program, f"vnetx_{name}", of_port=False)
