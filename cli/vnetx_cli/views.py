"""What is observed, as JSON documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vnetx import model

if TYPE_CHECKING:
    from vnetx.state import NeighbourView, PortView, SwitchView, VniView


def port_settings(settings: model.PortSettings) -> dict[str, Any]:
    """By the names that configuration files use."""
    return {
        "hook": settings.hook,
        "learning": settings.learning,
        "flood_unicast": settings.flood_unicast,
        "flood_multicast": settings.flood_multicast,
        "flood_broadcast": settings.flood_broadcast,
        "isolated": settings.isolated,
        "hairpin": settings.hairpin,
        "state": "up" if settings.up else "down",
        "learn_limit": settings.learn_limit,
        "storm": dict(zip(model.STORM_KINDS, settings.storm, strict=True)),
        "group_forward": model.format_groups(settings.group_forward),
        "accept": settings.accept,
        "priority": settings.priority,
        "vlan_protocol": settings.vlan_protocol,
        "vlan_map": {str(wire): inside for wire, inside in settings.vlan_map},
    }


def vlan_words(vlans: model.Vlans) -> str:
    """The VLANs of a port in a few words, as they would be typed."""
    tagged = model.format_vids(vlans.member & ~vlans.untagged)
    if vlans.mode == "access":
        return f"access {vlans.pvid}"
    if vlans.mode == "trunk":
        return f"trunk {tagged}" + (f" native {vlans.pvid}" if vlans.untagged else "")
    untagged = model.format_vids(vlans.untagged)
    return f"tagged {tagged} untagged {untagged} pvid {vlans.pvid or 'none'}"


def vlans(settings: model.PortSettings, aware: bool) -> dict[str, Any]:
    """The VLANs of a port."""
    if not aware:
        return {"mode": "unaware", "pvid": None, "vlans": []}
    own = settings.vlans
    return {
        "mode": own.mode,
        "pvid": own.pvid or None,
        "vlans": [
            {"vid": vid, "untagged": bool(own.untagged >> vid & 1)}
            for vid in model.vid_list(own.member)
        ],
    }


def port(view: PortView) -> dict[str, Any]:
    """A port as `port show` has it."""
    stats = dict(view.stats)
    notices = stats.pop("notices", {})
    return {
        "ifname": view.ifname,
        "ifindex": view.ifindex,
        "switch": view.switch,
        "hook": view.hook,
        "state": view.state,
        "mtu": view.mtu,
        **vlans(view.settings, view.vlan_aware),
        "stats": stats,
        "notices": notices,
        "host": view.host,
        "learned": view.learned,
        "interface": view.interface,
        "wire": view.wire,
        "unconfirmed": view.unconfirmed,
        "settings": port_settings(view.settings),
    }


def interface(switch: str, name: str, own: model.Interface) -> dict[str, Any]:
    """An interface that a switch made as `link show` and `vlan interface show` have it."""
    file = {
        "owner": own.owner,
        "group": own.group,
        "multi_queue": own.multi_queue,
        "vnet_hdr": own.has_vnet_hdr,
    }
    return {
        "name": name,
        "switch": switch,
        "kind": own.kind,
        "vlan": own.vid,
        "netns": own.netns,
        "own_netns": own.own_netns,
        "mtu": own.mtu,
        "mac": model.format_mac(own.mac) if own.mac else None,
        "addresses": list(own.addresses),
        "routes": [{"to": network, "via": router} for network, router in own.routes],
        **(file if own.has_file else {}),
        "port": port_settings(own.port),
    } | (_endpoint(own) if own.kind in model.ENDPOINT_KINDS else {})


def _endpoint(own: model.Interface) -> dict[str, Any]:
    other: dict[str, Any] = {"sources": [model.format_mac(mac) for mac in own.sources]}
    return {
        "parent": own.parent,
        "mode": own.mode,
        **(other if own.kind == "macvlan" else {"among": own.among}),
        "host_access": own.host_access,
    }


def wire(switch: str, own: model.Wire) -> dict[str, Any]:
    """A wire as `link show` has it."""
    return {
        "name": own.name,
        "switch": switch,
        "kind": "wire",
        "ends": list(own.ends),
        "loss": own.loss,
        "corrupt": own.corrupt,
        "seed": own.seed,
        "cut": list(own.cut),
        "carrier": own.carrier,
        "hook": own.hook,
    }


def vni(view: VniView) -> dict[str, Any]:
    """A VNI as `vni show` has it."""
    own = view.own
    return {
        "vni": view.vni,
        "vlan": own.vid or None,
        "switch": view.switch,
        "local": own.local,
        "remotes": list(own.remotes),
        "group": own.group,
        "dstport": own.dstport,
        "dev": own.dev,
        "learning": own.learning,
        "learn_limit": own.learn_limit,
        "vtep_learn_limit": own.vtep_learn_limit,
        "ttl": own.ttl,
        "tos": "inherit" if own.tos == model.TOS_INHERIT else own.tos,
        "df": own.df,
        "clamp_mss": own.clamp_mss,
        "gbp": own.gbp,
        "ignore_reserved": own.ignore_reserved,
        "udp6_zero_checksum": own.udp6_zero_checksum,
        "neigh_suppress": own.neigh_suppress,
        "underlay_hook": own.underlay_hook,
        "unreachable": view.unreachable,
        "kernel_drops": view.kernel_drops,
        "stats": view.stats,
        "vteps": [
            {"address": each.address, "named": each.named, "stats": each.stats}
            for each in view.vteps
        ],
    }


def neighbour(view: NeighbourView) -> dict[str, Any]:
    """A host as `vni neigh show` has it."""
    return {
        "vni": view.vni,
        "switch": view.switch,
        "ip": view.ip,
        "mac": model.format_mac(view.mac),
        "state": view.state,
        "age": None if view.age is None else round(view.age, 1),
    }


def switch(view: SwitchView) -> dict[str, Any]:
    """A switch as `switch show` has it."""
    settings = view.settings
    return {
        "name": view.name,
        "ageing": settings.ageing,
        "group_forward": model.format_groups(settings.group_forward),
        "transparent": settings.group_forward == model.ALL_GROUPS,
        "static_move": settings.static_move,
        "vlan_aware": settings.vlan_aware,
        "shared_learning": settings.shared_learning,
        "fdb_size": settings.fdb_size,
        "max_ports": settings.max_ports,
        "host_port": view.host_port,
        "mac": None if view.host_mac is None else model.format_mac(view.host_mac),
        "ports": [port.ifname for port in view.ports],
        "learned": sum(port.learned for port in view.ports),
        "fdb_full": view.fdb_full,
        "events_lost": view.events_lost,
        "implicit": view.implicit,
        "unconfirmed_for": view.unconfirmed_for,
        "host_stats": view.host_stats,
    }
