"""From what is to what shall be: ordered steps. Pure; nothing here does anything.

A plan is made of a port as it was observed and as it is desired (None: not a
port).  It begins with a record of what detach has to give back and ends with
the hooks, so that no frame meets half-filled maps; taking a port away goes the
other way round and drops the record last.  Since a plan starts from what is
observed, planning again is also what completes a command that was killed, and
planning back to the earlier desire is what undoes one that failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vnetx import _abi
from vnetx.device import Link
from vnetx.model import (
    ENDPOINT_MODES,
    VLAN_PROTOCOLS,
    PortSettings,
    Vlans,
    Wire,
    format_mac,
    format_vids,
    parse_share,
)


@dataclass(frozen=True)
class Step:
    """One change: the executor's method of this name, its arguments, and words for people."""

    verb: str
    args: tuple[Any, ...]
    text: str


@dataclass(frozen=True)
class Offload:
    """A feature that a hook cannot have otherwise.

    Attributes:
        undo: name of the bit in ``enum vnetx_undo_flags`` that remembers our change.
        feature: the kernel's name of it.
        on: what the hook needs.
        peer: it is the veth peer's feature.
    """

    undo: str
    feature: str
    on: bool
    peer: bool

    @property
    def key(self) -> tuple[str, bool]:
        """Of which feature of the two devices it is."""
        return self.feature, self.peer


_TAG_IN_DATA = Offload("rxvlan_off", "rx-vlan-hw-parse", on=False, peer=False)

#: What XDP needs of a device: tags in the data, frames one by one.
_XDP_DEVICE = (
    _TAG_IN_DATA,
    Offload("rxstag_off", "rx-vlan-stag-hw-parse", on=False, peer=False),
    Offload("lro_off", "rx-lro", on=False, peer=False),
    Offload("gro_hw_off", "rx-gro-hw", on=False, peer=False),
)
#: Of a veth's peer: complete checksums, tags in the data, NAPI to be redirected to.
_XDP_VETH = (
    Offload("peer_tx_off", "tx-checksum-ip-generic", on=False, peer=True),
    Offload("peer_txsctp_off", "tx-checksum-sctp", on=False, peer=True),
    Offload("peer_txvlan_off", "tx-vlan-hw-insert", on=False, peer=True),
    Offload("peer_txstag_off", "tx-vlan-stag-hw-insert", on=False, peer=True),
    Offload("peer_gro_on", "rx-gro", on=True, peer=True),
)
_GRO = Offload("gro_off", "rx-gro", on=False, peer=False)
OFFLOADS = (*_XDP_DEVICE, *_XDP_VETH, _GRO)
#: What a wire whose frames are lost or corrupted needs: frames one by one, on a veth's peer with
#: complete checksums, since nobody verifies others. Without them TCP does not hand down
#: super-packets, either.
_CHANCE = {"lro_off", "gro_hw_off", "gro_off", "peer_tx_off", "peer_txsctp_off"}


@dataclass(frozen=True)
class PortObserved:
    """What the kernel has of a port: the device, the maps' entries, the hooks.

    Attributes:
        link: None when the device is gone.
        undo: the record of what to give back; None if the device is not attached.
        index, twin: the indices of the port and of its host side, 0 without.
        port, twin_port: their ``struct vnetx_port``.
        bound: frames of the device find the port.
        has_local: the host's address behind it is in the FDB.
        hooks: what is attached: "ingress", "egress", "xdp".
        features, peer_features: changeable offloads that are on; asked only if they matter.
        clsact: there is a clsact qdisc; None where tcx makes it unnecessary.
        vlans, twin_vlans: the sets (member, untagged) of both sides.
        vlan_map, twin_vlan_map: VIDs inside by VID on the wire.
        wire: the ``struct vnetx_wire`` of the end of one, without the number of frames.
    """

    ifindex: int
    link: Link | None
    undo: Mapping[str, int] | None = None
    index: int = 0
    port: Mapping[str, Any] | None = None
    twin: int = 0
    twin_port: Mapping[str, Any] | None = None
    bound: bool = False
    has_local: bool = False
    hooks: frozenset[str] = frozenset()
    features: Mapping[str, bool] = field(default_factory=dict)
    peer_features: Mapping[str, bool] = field(default_factory=dict)
    clsact: bool | None = None
    vlans: tuple[int, int] = (0, 0)
    twin_vlans: tuple[int, int] = (0, 0)
    vlan_map: Mapping[int, int] = field(default_factory=dict)
    twin_vlan_map: Mapping[int, int] = field(default_factory=dict)
    wire: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        return self.link.name if self.link else f"interface {self.ifindex} (gone)"

    @property
    def traces(self) -> bool:
        """Whether anything of an attachment is left."""
        return bool(self.undo is not None or self.index or self.bound or self.hooks or self.wire)


#: Those of :data:`vnetx.model.LAYERS` that the host routes.
_LAYERS = {layer: _abi.PORT_FLAGS[layer] for layer in ("l3", "l3s")}


@dataclass(frozen=True)
class Endpoint:
    """What makes a port an endpoint on a NIC.

    Attributes:
        parent: index of the NIC's port.
        mode: of :data:`vnetx.model.ENDPOINT_MODES`.
        host_access: the host reaches it otherwise than by the wire.
        layer: of :data:`vnetx.model.LAYERS` where it has the NIC's MAC address, which is the mode
            of an ipvlan; `mode` is how that goes with the others.
    """

    parent: int
    mode: str
    host_access: bool = True
    layer: str | None = None

    def flags(self) -> int:
        """The bits of ``enum vnetx_port_flags`` that say so."""
        no_host = 0 if self.host_access else _abi.PORT_FLAGS["no_host"]
        ipvlan = _abi.PORT_FLAGS["ipvlan"] if self.layer else 0
        return _abi.PORT_FLAGS[self.mode] | no_host | ipvlan | _LAYERS.get(self.layer or "", 0)

    @classmethod
    def of(cls, port: Mapping[str, Any]) -> Endpoint | None:
        """What a ``struct vnetx_port`` says; None for a port that is none."""
        for mode in ENDPOINT_MODES:
            if port["flags"] & _abi.PORT_FLAGS[mode]:
                host_access = not port["flags"] & _abi.PORT_FLAGS["no_host"]
                return cls(port["parent"], mode, host_access, cls._layer_of(port["flags"]))
        return None

    @staticmethod
    def _layer_of(flags: int) -> str | None:
        if not flags & _abi.PORT_FLAGS["ipvlan"]:
            return None
        return next((layer for layer, bit in _LAYERS.items() if flags & bit), "l2")


@dataclass(frozen=True)
class PortDesired:
    """What a port shall be.

    Attributes:
        hook: "tc", "xdp" or "xdp-generic": `settings.hook` resolved.
        index, twin: where its structs go; twin 0 for a device that carries no host traffic.
        peer_mac: address of a veth peer in another namespace, None if it is not to be used.
        peer_retype: the kernel's bpf_redirect_peer leaves the packet's type as it was.
        local_mac: the address behind this port that is no other's: the host's (of a switch's own
            host port), or an endpoint's.
        endpoint: the port is one on a NIC.
        group_forward: the switch's mask.
        vlan_aware, shared_learning: the switch's.
        unconfirmed: to be undone unless it is confirmed.
        of_tun: frames that leave go into a tun, by a program on the device's TC egress.
        take_xdp: (id, mode) of somebody else's XDP program that is to make room.
        wire: the ``struct vnetx_wire`` of the end of one, without the number of frames.
        restart: chance begins anew.
    """

    settings: PortSettings
    hook: str
    index: int
    twin: int = 0
    peer_mac: bytes | None = None
    peer_retype: bool = False
    local_mac: bytes | None = None
    endpoint: Endpoint | None = None
    group_forward: int = 0
    vlan_aware: bool = False
    shared_learning: bool = False
    unconfirmed: bool = False
    of_tun: bool = False
    take_xdp: tuple[int, str] | None = None
    wire: Mapping[str, Any] | None = None
    restart: bool = False


def needed_offloads(link: Link, hook: str, *, chance: bool = False) -> tuple[Offload, ...]:
    """What a hook needs of a device; `chance`: as the end of a wire that loses or corrupts frames.

    The kernel has GRO on a veth for as long as native XDP is there.
    """
    veth = bool(link.kind == "veth" and link.peer)
    needed = {each.undo for each in _XDP_DEVICE} if hook != "tc" else set()
    needed |= {each.undo for each in _XDP_VETH} if hook != "tc" and veth else set()
    needed |= _CHANCE - {"gro_off" if veth and hook == "xdp" else ""} if chance else set()
    return tuple(each for each in OFFLOADS if each.undo in needed and (veth or not each.peer))


def has_chance(wire: Mapping[str, Any] | None) -> bool:
    """Whether frames that enter by this end of a wire may be lost or corrupted."""
    return bool(wire and (wire["loss"] or wire["corrupt"]))


@dataclass(frozen=True)
class End:
    """An end of a wire: the device, the index of its port, and how its veth peer is reached."""

    name: str
    ifindex: int
    index: int
    peer_mac: bytes | None = None
    peer_retype: bool = False


def wire_values(wire: Wire, end: End, other: End) -> dict[str, Any]:
    """``struct vnetx_wire`` of an end, without the number of frames."""
    bits = _abi.WIRE_FLAGS
    flags = {
        "cut": end.name in wire.cut,
        "second": end.name == wire.ends[1],
        "carrier": wire.carrier,
        "peer": bool(other.peer_mac),
        "peer_retype": bool(other.peer_mac and other.peer_retype),
    }
    return {
        "port": end.index,
        "out": other.index,
        "out_ifindex": other.ifindex,
        "flags": sum(bits[name] for name, on in flags.items() if on),
        "seed": wire.seed,
        "loss": parse_share(wire.loss),
        "corrupt": parse_share(wire.corrupt),
        "peer_mac": other.peer_mac or bytes(6),
    }


def _is_on(offload: Offload, observed: PortObserved) -> bool | None:
    return (observed.peer_features if offload.peer else observed.features).get(offload.feature)


def _offload_step(
    switch: str, offload: Offload, observed: PortObserved, *, give_back: bool = False
) -> Step:
    of = f"the peer of {observed.name}" if offload.peer else observed.name
    on = offload.on is not give_back
    return Step(
        "give_back_feature" if give_back else "set_feature",
        (switch, observed.link, offload.feature, on, offload.peer),
        f"switch {offload.feature} {'on' if on else 'off'} on {of}",
    )


def port_values(desired: PortDesired, ifindex: int) -> dict[str, Any]:
    """``struct vnetx_port`` of the wire side."""
    settings = desired.settings
    flags = settings.flags()
    if desired.peer_mac:
        flags |= _abi.PORT_FLAGS["peer"]
        flags |= _abi.PORT_FLAGS["peer_retype"] if desired.peer_retype else 0
    if desired.of_tun:
        flags |= _abi.PORT_FLAGS["tun"]
    if desired.hook == "xdp" and not desired.wire:
        flags |= _abi.PORT_FLAGS["xdp"]
    if desired.vlan_aware:
        flags |= _abi.PORT_FLAGS["vlan"]
        flags |= _abi.PORT_FLAGS["shared"] if desired.shared_learning else 0
    if desired.endpoint:
        flags |= desired.endpoint.flags()
    elif desired.local_mac and not desired.of_tun:
        flags |= _abi.PORT_FLAGS["host_port"]
    return {
        "ifindex": ifindex,
        "flags": flags,
        "twin": desired.twin,
        "bd": 0,
        "group_forward": settings.group_forward | desired.group_forward,
        "peer_mac": desired.peer_mac or bytes(6),
        "learn_limit": settings.learn_limit,
        "storm_pps": list(settings.storm),
        "group_forward_own": settings.group_forward,
        "hook_wanted": _abi.HOOKS[settings.hook],
        "hook": _abi.HOOKS[desired.hook],
        "tpid": VLAN_PROTOCOLS[settings.vlan_protocol],
        "priority": settings.priority << 13,
        "pvid": settings.vlans.pvid,
        "parent": desired.endpoint.parent if desired.endpoint else 0,
        "wire": desired.wire["out"] if desired.wire else 0,
    }


def twin_values(desired: PortDesired, ifindex: int) -> dict[str, Any]:
    """``struct vnetx_port`` of the host side: a plain port that is always up.

    Its VLANs are those of the wire side: the host finds the frames as they are on the wire.
    """
    wire = desired.settings
    settings = PortSettings(
        vlans=wire.vlans,
        priority=wire.priority,
        vlan_protocol=wire.vlan_protocol,
        vlan_map=wire.vlan_map,
    )
    plain = replace(desired, settings=settings, hook="tc", peer_mac=None, group_forward=0)
    values = port_values(replace(plain, twin=desired.index), ifindex)
    values["flags"] |= _abi.PORT_FLAGS["host"]
    values["hook"] = _abi.HOOKS[desired.hook]
    return values


def local_address(desired: PortDesired, link: Link) -> tuple[int, bytes] | None:
    """The port index and the host's own address behind it; None for a port without the host."""
    if desired.twin:
        return desired.twin, link.mac
    return (desired.index, desired.local_mac) if desired.local_mac else None


def plan_port(switch: str, desired: PortDesired | None, observed: PortObserved) -> list[Step]:
    """The steps from `observed` to `desired`; none when it is so already."""
    if desired is None:
        return _plan_absent(switch, observed)
    if observed.link is None:
        raise ValueError("a device that is gone cannot become a port")
    return _plan_present(switch, desired, observed, observed.link)


def _plan_present(
    switch: str, desired: PortDesired, observed: PortObserved, link: Link
) -> list[Step]:
    ifindex, name = observed.ifindex, observed.name
    steps: list[Step] = []
    hooks = {"ingress"} | ({"egress"} if desired.twin else set())
    hooks |= {"xdp"} if desired.hook != "tc" else set()

    # Hooks that have to go first: their programs expect what is about to change.
    xdp_changes = (
        "xdp" in observed.hooks
        and observed.port is not None
        and observed.port["hook"] != _abi.HOOKS[desired.hook]
    )
    standing = observed.hooks - ({"xdp"} if xdp_changes else set())
    steps.extend(_detach_hooks(switch, observed, observed.hooks - (standing & hooks)))

    steps.extend(_give_and_take(switch, desired, observed, link))

    # before the port forgets its number, or a command that is killed in between would lose it
    if observed.twin and not desired.twin:
        steps.extend(_free(switch, observed.twin, "its host side"))

    for index, now, values, what, sets, mapping in (
        (
            desired.index,
            observed.port,
            port_values(desired, ifindex),
            f"port {desired.index}",
            observed.vlans,
            observed.vlan_map,
        ),
        (
            desired.twin,
            observed.twin_port,
            twin_values(desired, ifindex),
            "its host side",
            observed.twin_vlans,
            observed.twin_vlan_map,
        ),
    ):
        if not index:
            continue
        if now is None:
            steps.append(Step("reset_port", (switch, index), f"clear slot {index}"))
        vlans = _vlan_steps(switch, desired, name, index, sets, mapping)
        steps.extend(vlans if now else ())
        if (
            desired.hook == "xdp"
            and index == desired.index
            and (now is None or xdp_changes or "xdp" not in standing)
        ):
            steps.append(Step("set_devmap", (switch, index, ifindex), f"XDP may send to {name}"))
        if now is None or any(now[key] != value for key, value in values.items()):
            steps.append(Step("write_port", (switch, index, values), f"{name} is {what}"))
        # what a slot has of VLANs without being a port, nobody would find
        steps.extend(() if now else vlans)
    local = local_address(desired, link)
    whose = "the endpoint's" if desired.endpoint else "the host's"
    if local and not observed.has_local:
        steps.append(
            Step(
                "add_local",
                (switch, *local),
                f"{format_mac(local[1])} is {whose} own address",
            )
        )
    if desired.wire and (desired.restart or observed.wire != desired.wire):
        steps.append(
            Step("write_wire", (switch, ifindex, desired.wire), f"{name} is the end of a wire")
        )
    if not observed.bound:
        steps.append(
            Step(
                "bind_port",
                (switch, ifindex, desired.index),
                f"frames of {name} are port {desired.index}'s",
            )
        )

    clsact = observed.clsact is not None
    if desired.wire:
        for hook in sorted(hooks - standing):
            told = f"attach the wire's {'XDP' if hook == 'xdp' else 'TC'} program to {name}"
            steps.append(Step("attach_wire", (switch, ifindex, hook, clsact), told))
        return steps
    for hook in sorted(hooks - standing - {"xdp"}):
        steps.append(
            Step(
                "attach_tc",
                (switch, ifindex, hook, clsact, tc_program(desired.endpoint, hook)),
                f"attach TC {hook} to {name}",
            )
        )
    if "xdp" in hooks - standing:
        mode = "native" if desired.hook == "xdp" else "generic"
        steps.append(Step("attach_xdp", (switch, ifindex, mode), f"attach {mode} XDP to {name}"))
    return steps


def tc_program(endpoint: Endpoint | None, hook: str) -> str:
    """The program of a port's hook."""
    own = endpoint is not None and endpoint.layer is not None and hook == "ingress"
    return "ipvlan" if own else f"tc_{hook}"


def vlan_sets(vlans: Vlans, aware: bool) -> tuple[int, int]:
    """The sets (member, untagged) as the maps have them: a switch that is not VLAN-aware keeps
    none of a port with the default ones."""
    if not aware and vlans == Vlans():
        return 0, 0
    return vlans.member, vlans.untagged


def _vlan_steps(
    switch: str,
    desired: PortDesired,
    name: str,
    index: int,
    sets: tuple[int, int],
    mapping: Mapping[int, int],
) -> list[Step]:
    """The sets of VLANs of one side, and the VIDs that are others on the wire."""
    vlans, wanted = desired.settings.vlans, dict(desired.settings.vlan_map)
    steps = []
    desired_sets = vlan_sets(vlans, desired.vlan_aware)
    if sets != desired_sets:
        told = f"{name} is in VLANs {format_vids(vlans.member)}"
        if vlans.untagged:
            told += f", untagged in {format_vids(vlans.untagged)}"
        steps.append(Step("write_vlans", (switch, index, *desired_sets), told))
    if mapping != wanted:
        told = ", ".join(f"{wire} is {inside}" for wire, inside in wanted.items()) or "as they are"
        steps.append(Step("write_vlan_map", (switch, index, wanted), f"VIDs on {name}: {told}"))
    return steps


def _give_and_take(
    switch: str, desired: PortDesired, observed: PortObserved, link: Link
) -> list[Step]:
    """Record first, then change: offloads, promiscuity, qdisc, a foreign XDP program."""
    undo = dict(observed.undo or {"flags": 0, "foreign_xdp_id": 0, "foreign_xdp_mode": 0})
    had = undo["flags"]
    bits = _abi.UNDO_FLAGS
    take: list[Step] = []
    give: list[Step] = []
    needed = needed_offloads(link, desired.hook, chance=has_chance(desired.wire))
    keep = had
    for offload in OFFLOADS:
        on = _is_on(offload, observed)
        ours = had & bits[offload.undo]
        if offload in needed:
            if on is not None and on != offload.on:
                undo["flags"] |= bits[offload.undo]
                take.append(_offload_step(switch, offload, observed))
        elif ours:
            keep &= ~bits[offload.undo]
            give.append(_offload_step(switch, offload, observed, give_back=True))
    follows = desired.wire and desired.wire["flags"] & _abi.WIRE_FLAGS["carrier"]
    if had & bits["wire_down"] and not follows:
        keep &= ~bits["wire_down"]
        give.append(_up_again(switch, observed))
    if link.filters and not link.promisc:
        undo["flags"] |= bits["promisc"]
        take.append(
            Step(
                "set_promisc", (switch, observed.ifindex, True), f"make {observed.name} promiscuous"
            )
        )
    if observed.clsact is False:
        undo["flags"] |= bits["clsact"]
        take.append(
            Step("add_clsact", (switch, observed.ifindex), f"add clsact to {observed.name}")
        )
    if desired.take_xdp:
        undo["flags"] |= bits["foreign_xdp"]
        undo["foreign_xdp_id"] = desired.take_xdp[0]
        undo["foreign_xdp_mode"] = 1 if desired.take_xdp[1] == "native" else 2
        take.append(
            Step(
                "take_xdp",
                (switch, observed.ifindex, *desired.take_xdp),
                f"take XDP program {desired.take_xdp[0]} off {observed.name}",
            )
        )
    if desired.unconfirmed:
        undo["flags"] |= bits["unconfirmed"]
    if desired.wire:
        undo["flags"] |= bits["wire"]
    steps = []
    if observed.undo is None or undo["flags"] != had:
        steps.append(_record(switch, observed, undo))
    steps.extend(take)
    steps.extend(give)
    if keep != had:
        steps.append(_record(switch, observed, {**undo, "flags": undo["flags"] & ~(had & ~keep)}))
    return steps


def _up_again(switch: str, observed: PortObserved) -> Step:
    return Step("set_up", (switch, observed.ifindex), f"set {observed.name} up again")


def _record(switch: str, observed: PortObserved, undo: Mapping[str, int]) -> Step:
    values = {key: undo[key] for key in ("flags", "foreign_xdp_id", "foreign_xdp_mode")}
    return Step(
        "record_undo",
        (switch, observed.ifindex, values),
        f"note what detaching {observed.name} gives back",
    )


def _detach_hooks(switch: str, observed: PortObserved, hooks: frozenset[str]) -> list[Step]:
    clsact = observed.clsact is not None
    steps = []
    for hook in sorted(hooks, reverse=True):
        if hook == "xdp":
            steps.append(
                Step("detach_xdp", (switch, observed.ifindex), f"take XDP off {observed.name}")
            )
        else:
            steps.append(
                Step(
                    "detach_tc",
                    (switch, observed.ifindex, hook, clsact),
                    f"take TC {hook} off {observed.name}",
                )
            )
    return steps


def _free(switch: str, index: int, what: str) -> list[Step]:
    return [
        Step("flush_port", (switch, index), f"forget the addresses behind port {index}"),
        Step("reset_port", (switch, index), f"free port {index} ({what})"),
    ]


def _plan_absent(switch: str, observed: PortObserved) -> list[Step]:
    if not observed.traces:
        return []
    ifindex, name = observed.ifindex, observed.name
    steps = _detach_hooks(switch, observed, observed.hooks)
    if observed.wire is not None:
        steps.append(Step("delete_wire", (switch, ifindex), f"{name} is the end of no wire"))
    if observed.bound:
        steps.append(Step("unbind_port", (switch, ifindex), f"frames of {name} are nobody's"))
    if observed.index:
        steps.extend(_free(switch, observed.index, name))
    if observed.twin:
        steps.extend(_free(switch, observed.twin, f"the host side of {name}"))
    undo = observed.undo
    if undo is not None and observed.link is not None:
        flags, bits = undo["flags"], _abi.UNDO_FLAGS
        for offload in reversed(OFFLOADS):
            if flags & bits[offload.undo]:
                steps.append(_offload_step(switch, offload, observed, give_back=True))
        if flags & bits["wire_down"]:
            steps.append(_up_again(switch, observed))
        if flags & bits["promisc"]:
            steps.append(Step("set_promisc", (switch, ifindex, False), f"end {name}'s promiscuity"))
        if flags & bits["clsact"]:
            steps.append(Step("delete_clsact", (switch, ifindex), f"remove clsact from {name}"))
        if flags & bits["foreign_xdp"]:
            mode = "native" if undo["foreign_xdp_mode"] == 1 else "generic"
            steps.append(
                Step(
                    "give_back_xdp",
                    (switch, ifindex, undo["foreign_xdp_id"], mode),
                    f"put XDP program {undo['foreign_xdp_id']} back on {name}",
                )
            )
    if undo is not None:
        steps.append(Step("forget_undo", (switch, ifindex), f"{name} is detached"))
    return steps
