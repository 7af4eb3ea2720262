"""One command's view of the machine: netlink, maps, and ports as they are observed."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vnetx import _abi, _bpf
from vnetx.datapath import pins
from vnetx.datapath.maps import SwitchMaps
from vnetx.device import Link
from vnetx.engine.execute import Executor
from vnetx.errors import VnetxError
from vnetx.links import Links, features
from vnetx.plan import Endpoint, PortObserved

#: From how many devices on one dump of all of them is quicker than asking one by one.
_MANY = 16


@dataclass(frozen=True)
class Result:
    """What came of a command.

    Attributes:
        messages: what a person should know of it.
        steps: what was done, a line each.
        carrier: some wire of this namespace wants :mod:`vnetx.engine.carrier` to run.
        changed: whether anything was.
    """

    messages: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    carrier: bool = False

    @property
    def changed(self) -> bool:
        return bool(self.steps)


class Session:
    """One command's view of the machine: netlink, maps, what was said and done."""

    def __init__(self, links: Links, executor: Executor) -> None:
        self.links = links
        self.executor = executor
        self.messages: list[str] = []
        #: TC programs are attached by links; before, they are filters of a clsact qdisc.
        self.tcx = _kernel() >= (6, 6)
        #: bpf_redirect_peer makes the frame one for whom it reaches.
        self.peer_scrubs = _kernel() >= (6, 16)
        self._by_name: dict[str, Link] | None = None
        self._by_index: dict[int, Link] = {}
        self._journal: list[Callable[[], object]] = []
        self._last: dict[object, Callable[[], object]] = {}

    def maps(self, switch: str) -> SwitchMaps:
        return self.executor.maps(switch)

    def when_done(self, action: Callable[..., object], *args: Any) -> None:
        """Notes what is to be done once after all changes, however often they ask for it."""
        self._last[action, args[1:]] = functools.partial(action, *args)

    def result(self) -> Result:
        """Completes the command, and tells what came of it."""
        while self._last:
            self._last.pop(next(iter(self._last)))()
        messages = [*self.messages, *self.executor.messages]
        return Result(messages, self.executor.done, self.has_carrier())

    def has_carrier(self) -> bool:
        """Whether loss of carrier at one end of some wire is to show at the other."""
        for name in self.names():
            with contextlib.suppress(VnetxError):  # damaged pins
                if self.maps(name).has_carrier():
                    return True
        return False

    # ------------------------------------------------------------ taking back

    def if_it_fails(self, action: Callable[..., object], *args: Any) -> None:
        """Notes, before a change is made, what takes it back."""
        self._journal.append(functools.partial(action, *args))

    def keep(self) -> None:
        """What was done so far stays, whatever comes."""
        self._journal.clear()

    def take_back(self) -> None:
        """Undoes what was done since :meth:`keep`, the last first."""
        journal, self._journal = self._journal, []
        self.forget_links()
        for action in reversed(journal):
            with contextlib.suppress(VnetxError, OSError):
                action()

    # ------------------------------------------------------------ devices

    def expect_many(self, count: int) -> None:
        """Reads all devices at once when many will be asked for."""
        if count >= _MANY:
            self._by_name = self.links.all()
            self._by_index = {link.ifindex: link for link in self._by_name.values()}

    def link(self, name: str) -> Link | None:
        if self._by_name is not None:
            return self._by_name.get(name)
        return self.links.get(name)

    def link_by_index(self, ifindex: int) -> Link | None:
        if self._by_name is not None:
            return self._by_index.get(ifindex)
        return self.links.by_index(ifindex)

    def forget_links(self) -> None:
        """Devices came or went."""
        self._by_name = None

    # ------------------------------------------------------------ switches

    def names(self) -> list[str]:
        return pins.switch_names()

    def switch_of(self, ifindex: int) -> str | None:
        """The switch that a device is (or half is) attached to."""
        for name in self.names():
            maps = self.maps(name)
            if maps.undo_of(ifindex) is not None or maps.index_of(ifindex):
                return name
        return None


def _kernel() -> tuple[int, int]:
    major, minor = platform.release().split(".")[:2]
    return int(major), int("".join(c for c in minor if c.isdigit()))


def holds_device(path: Path, ifindex: int) -> bool:
    """Whether the pinned link still holds its device."""
    try:
        fd = _bpf.obj_get(str(path))
    except OSError:
        return False
    try:
        return bool(_bpf.link_info(fd)["ifindex"] == ifindex)
    finally:
        os.close(fd)


def hooks_of(session: Session, maps: SwitchMaps, ifindex: int) -> frozenset[str]:
    hooks = {
        hook
        for hook in ("ingress", "egress", "xdp")
        if (path := maps.link_path(ifindex, hook)).exists() and holds_device(path, ifindex)
    }
    if not session.tcx:
        hooks |= session.links.tc_filters(ifindex)
    return frozenset(hooks)


def observe(
    session: Session, switch: str, ifindex: int, link: Link | None, *, offloads: bool
) -> PortObserved:
    """A port as it is; `offloads` tells whether the device's features matter."""
    maps = session.maps(switch)
    undo = maps.undo_of(ifindex)
    index = maps.index_of(ifindex)
    bound = bool(index)
    port = maps.port(index) if index else None
    if port is None:
        index, port = (
            next(
                (
                    (i, p)
                    for i, p in maps.ports().items()
                    if p["ifindex"] == ifindex and not p["flags"] & _abi.PORT_FLAGS["host"]
                ),
                (0, None),
            )
            if undo is not None
            else (0, None)
        )
    twin = port["twin"] if port else 0
    if not twin and undo is not None and port is None:
        twin = next((i for i, p in maps.ports().items() if p["ifindex"] == ifindex), 0)
    ours = undo is not None and undo["flags"] != 0
    mappings = maps.vlan_mappings()
    look = link is not None and (offloads or ours)
    return PortObserved(
        ifindex=ifindex,
        link=link,
        undo=undo,
        index=index,
        port=port,
        twin=twin,
        twin_port=maps.port(twin) if twin else None,
        bound=bound,
        has_local=_has_local(maps, link, index, port, twin),
        hooks=hooks_of(session, maps, ifindex) if link else _dead_hooks(maps, ifindex),
        features=features(link) if look and link else {},
        peer_features=features(link, peer=True) if look and link and link.peer else {},
        clsact=None if session.tcx else bool(link and session.links.has_clsact(ifindex)),
        vlans=maps.port_vlans(index),
        twin_vlans=maps.port_vlans(twin),
        vlan_map=mappings.get(index, {}),
        twin_vlan_map=mappings.get(twin, {}),
        wire=maps.wire(ifindex),
    )


def _dead_hooks(maps: SwitchMaps, ifindex: int) -> frozenset[str]:
    """Pins of links whose device is gone: they have to go too."""
    hooks = ("ingress", "egress", "xdp")
    return frozenset(hook for hook in hooks if maps.link_path(ifindex, hook).exists())


def local_mac(maps: SwitchMaps, port: Mapping[str, Any]) -> bytes | None:
    """The address that is behind a port and no other's: the host's, an endpoint's, a tun's."""
    if port["flags"] & _abi.PORT_FLAGS["host_port"]:
        mac: bytes = maps.meta()["mac"]
        return mac
    endpoint, tun = Endpoint.of(port), port["flags"] & _abi.PORT_FLAGS["tun"]
    if endpoint.layer if endpoint else not tun:
        return None
    records = maps.interfaces().values()
    return next((each["mac"] for each in records if each["ifindex"] == port["ifindex"]), None)


def _has_local(
    maps: SwitchMaps, link: Link | None, index: int, port: Mapping[str, Any] | None, twin: int
) -> bool:
    if link is None or not (port or twin):
        return False
    mac = link.mac if twin else local_mac(maps, port or {})
    return mac is not None and maps.local_port(mac) == (twin or index)
