"""Carrying out a plan's steps: one method a verb, each a few system calls.

Every method may be run again after it was interrupted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vnetx import _bpf
from vnetx.datapath.build import Build, build
from vnetx.datapath.fdb import Fdb
from vnetx.datapath.maps import WIRE_PROGRAMS, XDP_PROGRAMS, SwitchMaps
from vnetx.device import Link
from vnetx.errors import VnetxError, from_os, words
from vnetx.links import Links, Unreachable, at_idle_peer, set_feature
from vnetx.plan import Step

_XDP_FLAGS = {"native": 1 << 2, "generic": 1 << 1}
#: The program that a step attaches, by its verb.
_ATTACHING: dict[str, Callable[[Step], str]] = {
    "attach_tc": lambda step: step.args[4],
    "attach_xdp": lambda step: XDP_PROGRAMS[step.args[2]],
    "attach_wire": lambda step: WIRE_PROGRAMS[step.args[2]],
}
_TCX = {"ingress": _bpf.ATTACH_TCX_INGRESS, "egress": _bpf.ATTACH_TCX_EGRESS}


class NoNativeXdp(VnetxError):  # noqa: N818 - the word says it
    """The driver refused a native XDP program."""


class Executor:
    """Steps of any switch of this network namespace. A context manager.

    Args:
        links: the netlink side.
        on_step: called before each step; what it raises stops the plan there.
    """

    def __init__(self, links: Links, on_step: Callable[[Step], None] | None = None) -> None:
        self._links = links
        self._on_step = on_step
        self._open: dict[str, SwitchMaps] = {}
        self._build: Build | None = None
        #: What was done (or would be), for people.
        self.done: list[str] = []
        #: What a person should know of it.
        self.messages: list[str] = []
        self.rehearsing = False

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *_: object) -> None:
        for maps in self._open.values():
            if not self.rehearsing:
                with contextlib.suppress(OSError, VnetxError):
                    maps.tidy()
            maps.close()
        self._open.clear()

    @property
    def build(self) -> Build:
        """The compiled data plane, made when first needed."""
        if self._build is None:
            self._build = build()
        return self._build

    def maps(self, switch: str) -> SwitchMaps:
        """The switch's maps, opened once."""
        if switch not in self._open:
            self._open[switch] = SwitchMaps.open(switch)
        return self._open[switch]

    def adopt(self, maps: SwitchMaps) -> None:
        """A switch that was just made."""
        self._open[maps.name] = maps

    def forget(self, switch: str) -> None:
        """A switch that was just removed."""
        maps = self._open.pop(switch, None)
        if maps:
            maps.close()

    def need(self, switch: str, *programs: str) -> None:
        """Loads what a switch lacks of these programs.

        Raises:
            VnetxError: the verifier refused one.
        """
        maps = self.maps(switch)
        if missing := set(programs) - maps.programs():
            maps.load_programs(self.build, missing)

    def rehearse(self) -> None:
        """From now on only tell the steps."""
        self.rehearsing = True
        self.done.clear()

    def run(self, steps: list[Step]) -> None:
        """Carries the steps out in order.

        Raises:
            VnetxError: a step failed; those before it stand.
        """
        if not self.rehearsing:  # before anything changes: the verifier may refuse, and takes long
            for step in steps:
                if step.verb in _ATTACHING:
                    self.need(step.args[0], _ATTACHING[step.verb](step))
        for step in steps:
            if self.rehearsing:
                self.done.append(step.text)
                continue
            if self._on_step:
                self._on_step(step)
            try:
                getattr(self, step.verb)(*step.args)
            except OSError as error:
                raise from_os(step.text, error) from error
            self.done.append(step.text)

    # ------------------------------------------------------------ what detach gives back

    def record_undo(self, switch: str, ifindex: int, values: dict[str, int]) -> None:
        self.maps(switch).set_undo(ifindex, **values)

    def forget_undo(self, switch: str, ifindex: int) -> None:
        self.maps(switch).delete_undo(ifindex)

    def set_feature(self, _switch: str, link: Link, feature: str, on: bool, peer: bool) -> None:
        set_feature(link, feature, on, peer)

    def give_back_feature(
        self, switch: str, link: Link, feature: str, on: bool, peer: bool
    ) -> None:
        """As :meth:`set_feature`; what cannot be reached is left as it is, and told."""
        try:
            self.set_feature(switch, link, feature, on, peer)
        except Unreachable as error:
            state = "on" if on else "off"
            told = f"{feature} of the peer of {link.name} is not switched {state} again"
            self.messages.append(f"{told}: {error.what}, {error.why}")

    def set_promisc(self, _switch: str, ifindex: int, on: bool) -> None:
        self._links.set_promisc(ifindex, on)

    def set_up(self, _switch: str, ifindex: int) -> None:
        self._links.set_admin(ifindex, up=True)

    def add_clsact(self, _switch: str, ifindex: int) -> None:
        self._links.add_clsact(ifindex)

    def delete_clsact(self, _switch: str, ifindex: int) -> None:
        self._links.delete_clsact(ifindex)

    # ------------------------------------------------------------ maps

    def reset_port(self, switch: str, index: int) -> None:
        self.maps(switch).reset_port(index)

    def write_port(self, switch: str, index: int, values: dict[str, Any]) -> None:
        maps = self.maps(switch)
        if index >= maps.switch()["port_slots"]:  # first: nobody looks beyond it for a port
            maps.set_switch(port_slots=index + 1)
        maps.set_port(index, values)

    def write_vlans(self, switch: str, index: int, member: int, untagged: int) -> None:
        self.maps(switch).set_port_vlans(index, member, untagged)

    def write_vlan_map(self, switch: str, index: int, mapping: dict[int, int]) -> None:
        self.maps(switch).set_vlan_mapping(index, mapping)

    def set_devmap(self, switch: str, index: int, ifindex: int) -> None:
        self.maps(switch).set_devmap(index, ifindex)

    def write_wire(self, switch: str, ifindex: int, values: dict[str, Any]) -> None:
        self.maps(switch).set_wire(ifindex, **values)

    def delete_wire(self, switch: str, ifindex: int) -> None:
        self.maps(switch).delete_wire(ifindex)

    def add_local(self, switch: str, index: int, mac: bytes) -> None:
        Fdb(self.maps(switch)).set_local(mac, index)

    def bind_port(self, switch: str, ifindex: int, index: int) -> None:
        self.maps(switch).set_port_of(ifindex, index)

    def unbind_port(self, switch: str, ifindex: int) -> None:
        self.maps(switch).delete_port_of(ifindex)

    def flush_port(self, switch: str, index: int) -> None:
        Fdb(self.maps(switch)).forget_port(index)

    # ------------------------------------------------------------ hooks

    def attach_tc(self, switch: str, ifindex: int, hook: str, clsact: bool, name: str) -> None:
        maps = self.maps(switch)
        with maps.program(name) as program:
            if clsact:
                self._links.add_tc_filter(ifindex, hook, program, f"vnetx_{name}")
            else:
                self._pin_link(program, ifindex, _TCX[hook], 0, maps.link_path(ifindex, hook))

    def attach_wire(self, switch: str, ifindex: int, hook: str, clsact: bool) -> None:
        """Has what enters by a device leave by the other end of its wire."""
        maps, program = self.maps(switch), WIRE_PROGRAMS[hook]
        if hook == "xdp":
            self._attach_native(maps, program, ifindex, hook)
            return
        with maps.program(program) as fd:
            if clsact:
                self._links.add_tc_filter(ifindex, hook, fd, f"vnetx_{program}")
            else:
                self._pin_link(fd, ifindex, _TCX[hook], 0, maps.link_path(ifindex, hook))

    def attach_vxlan(self, switch: str, ifindex: int, *, clsact: bool) -> None:
        """Has a switch take what a vxlan device decapsulates."""
        self._attach_ingress(self.maps(switch), "vxlan", ifindex, "ingress", clsact=clsact)

    def attach_underlay(self, switch: str, ifindex: int, *, clsact: bool, xdp: bool) -> None:
        """Has a switch take packets of VTEPs on a device that is no port; with `xdp` there, too.

        Raises:
            NoNativeXdp: the driver refused.
        """
        maps = self.maps(switch)
        if xdp:
            self._attach_native(maps, "xdp_underlay", ifindex, "underlay_xdp")
        self._attach_ingress(maps, "underlay", ifindex, "underlay", clsact=clsact)

    def _attach_ingress(
        self, maps: SwitchMaps, name: str, ifindex: int, hook: str, *, clsact: bool
    ) -> None:
        """Puts a program on the ingress of a device that is no port; `hook` is of its pin."""
        with maps.program(name) as program:
            if clsact:
                self._links.add_clsact(ifindex)
                self._links.add_tc_filter(ifindex, "ingress", program, f"vnetx_{name}")
            else:
                path = maps.link_path(ifindex, hook)
                self._pin_link(program, ifindex, _TCX["ingress"], 0, path)

    def detach_underlay(self, switch: str, ifindex: int, *, clsact: bool) -> None:
        maps = self.maps(switch)
        _remove_link(maps.link_path(ifindex, "underlay_xdp"))
        if clsact:
            self._links.delete_tc_filter(ifindex, "ingress")
        else:
            _remove_link(maps.link_path(ifindex, "underlay"))

    def detach_tc(self, switch: str, ifindex: int, hook: str, clsact: bool) -> None:
        if clsact:
            self._links.delete_tc_filter(ifindex, hook)
        else:
            _remove_link(self.maps(switch).link_path(ifindex, hook))

    def attach_xdp(self, switch: str, ifindex: int, mode: str) -> None:
        maps, program = self.maps(switch), XDP_PROGRAMS[mode]
        if mode == "native":
            self._attach_native(maps, program, ifindex, "xdp")
            return
        with maps.program(program) as fd:
            path = maps.link_path(ifindex, "xdp")
            self._pin_link(fd, ifindex, _bpf.ATTACH_XDP, _XDP_FLAGS[mode], path)

    def _attach_native(self, maps: SwitchMaps, program: str, ifindex: int, hook: str) -> None:
        with maps.program(program) as fd:
            path, flags = maps.link_path(ifindex, hook), _XDP_FLAGS["native"]
            try:
                self._pin_link(fd, ifindex, _bpf.ATTACH_XDP, flags, path)
                self._become_target(fd, ifindex)
            except OSError as error:
                if error.errno in (errno.EBUSY, errno.EPERM):
                    raise
                raise NoNativeXdp(
                    "attaching native XDP",
                    f"the driver has none, or not as the device is set up: {words(error)}",
                    "use --hook xdp-generic or --hook tc",
                ) from error

    def _become_target(self, program: int, ifindex: int) -> None:
        """Has the kernel take a veth for one that XDP may redirect to.

        Its peer's GRO is on by now, but that counts only where the peer is up then
        (``veth_set_features``), or has a program (``veth_xdp_set``): one that is down, and carries
        nothing, has one for a moment.
        """
        link = self._links.by_index(ifindex)
        if link is None or link.kind != "veth" or not link.peer:
            return
        with at_idle_peer(link) as peer, contextlib.suppress(OSError):  # it has somebody else's
            if peer:
                os.close(_bpf.link_create(program, peer, _bpf.ATTACH_XDP, _XDP_FLAGS["native"]))

    def detach_xdp(self, switch: str, ifindex: int) -> None:
        _remove_link(self.maps(switch).link_path(ifindex, "xdp"))

    def take_xdp(self, switch: str, ifindex: int, program: int, mode: str) -> None:
        """Takes somebody else's XDP program off; one attached by netlink is kept, pinned."""
        link = _foreign_xdp_link(ifindex, program)
        if link is not None:
            try:
                _bpf.link_detach(link)
            finally:
                os.close(link)
            return
        path = self.maps(switch).link_path(ifindex, "foreign")
        if not path.exists():
            fd = _bpf.prog_fd_by_id(program)
            try:
                _bpf.obj_pin(fd, str(path))
            finally:
                os.close(fd)
        self._links.set_xdp(ifindex, -1, mode)

    def give_back_xdp(self, switch: str, ifindex: int, _program: int, mode: str) -> None:
        path = self.maps(switch).link_path(ifindex, "foreign")
        if not path.exists():  # it was held by a link, which its owner has to make anew
            return
        fd = _bpf.obj_get(str(path))
        try:
            self._links.set_xdp(ifindex, fd, mode)
        finally:
            os.close(fd)
        path.unlink()

    @staticmethod
    def _pin_link(program: int, ifindex: int, attach_type: int, flags: int, path: Path) -> None:
        """Attaches and pins; a process that dies in between takes its link along."""
        _remove_link(path)
        link = _bpf.link_create(program, ifindex, attach_type, flags)
        try:
            _bpf.obj_pin(link, str(path))
        finally:
            os.close(link)

    # ------------------------------------------------------------ confirmation

    def await_confirmation(self, switch: str, seconds: float) -> None:
        deadline = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + int(seconds * 1e9)
        self.maps(switch).set_meta(confirm_deadline_ns=deadline)

    def end_confirmation(self, switch: str) -> None:
        self.maps(switch).set_meta(confirm_deadline_ns=0)


def _remove_link(path: Path) -> None:
    """Removes the pin of a link and detaches it at once, whoever else may hold it.

    The pin goes first: a process that dies in between takes the link along.
    """
    with contextlib.suppress(FileNotFoundError):
        fd = None
        with contextlib.suppress(OSError):
            fd = _bpf.obj_get(str(path))
        try:
            path.unlink()
            if fd is not None:
                with contextlib.suppress(OSError):  # its device is gone
                    _bpf.link_detach(fd)
        finally:
            if fd is not None:
                os.close(fd)


def _foreign_xdp_link(ifindex: int, program: int) -> int | None:
    """A descriptor of the bpf_link that holds this program on a device, None without one.

    Other namespaces have devices of the same ifindex: the program tells them apart.
    """
    for number in _bpf.link_ids():
        with contextlib.suppress(OSError):
            fd = _bpf.link_fd_by_id(number)
            info = _bpf.link_info(fd)
            held = info["type"], info["ifindex"], info["prog_id"]
            if held == (_bpf.LINK_TYPE_XDP, ifindex, program):
                return int(fd)
            os.close(fd)
    return None
