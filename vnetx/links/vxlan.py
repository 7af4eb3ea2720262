"""The kernel's vxlan devices that encapsulate for a switch, and which VNIs each of them has.

One takes and gives VNI and addresses beside the frame (``external``, the driver's
VXLAN_F_COLLECT_METADATA), and only those VNIs that its filter has (``vnifilter``, Linux 5.18),
so that several of them share a UDP port.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink import NETLINK_ROUTE, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, nla, nlmsg
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.nlsocket import NetlinkSocket
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ifinfmsg.plugins import vxlan as plugin

from vnetx.errors import VnetxError

#: The source ports of outer packets: RFC 7348, 5 recommends the dynamic ones.
SOURCE_PORTS = (49152, 65535)

_HEADER_LEN = 8

_RTM_NEWTUNNEL = 120
_RTM_DELTUNNEL = 121
_RTM_GETTUNNEL = 122
_WITH_STATS = 1  # TUNNEL_MSG_FLAG_STATS
#: Entries in one message.
_CHUNK = 500


class _Vxlan(plugin.vxlan):  # type: ignore[misc]
    """pyroute2 0.9 knows none of these."""

    nla_map = (
        *plugin.vxlan.nla_map,
        ("IFLA_VXLAN_VNIFILTER", "uint8"),
        ("IFLA_VXLAN_LOCALBYPASS", "uint8"),
        ("IFLA_VXLAN_LABEL_POLICY", "uint32"),
        ("IFLA_VXLAN_RESERVED_BITS", "cdata"),
    )


# now: once pyroute2 has parsed a device by its own class, ours would inherit what it compiled of it
ifinfmsg.ifinfo.register_link_kind(module={"vxlan": _Vxlan})


class _TunnelMessage(nlmsg):  # type: ignore[misc]
    """``struct tunnel_msg`` of <linux/if_link.h>."""

    fields = (("family", "B"), ("flags", "B"), ("reserved2", "H"), ("ifindex", "I"))
    nla_map = (("VXLAN_VNIFILTER_UNSPEC", "none"), ("VXLAN_VNIFILTER_ENTRY", "entry"))

    class entry(nla):  # type: ignore[misc]  # noqa: N801 - pyroute2 finds it by this name
        nla_flags = 1 << 15  # NLA_F_NESTED
        nla_map = (
            ("VXLAN_VNIFILTER_ENTRY_UNSPEC", "none"),
            ("VXLAN_VNIFILTER_ENTRY_START", "uint32"),
            ("VXLAN_VNIFILTER_ENTRY_END", "uint32"),
            ("VXLAN_VNIFILTER_ENTRY_GROUP", "ip4addr"),
            ("VXLAN_VNIFILTER_ENTRY_GROUP6", "ip6addr"),
            ("VXLAN_VNIFILTER_ENTRY_STATS", "stats"),
        )

        class stats(nla):  # type: ignore[misc]  # noqa: N801
            nla_map = tuple(
                (f"VNIFILTER_ENTRY_STATS_{name}", "none" if name == "UNSPEC" else "uint64")
                for name in (
                    *("UNSPEC", "RX_BYTES", "RX_PKTS", "RX_DROPS", "RX_ERRORS"),
                    *("TX_BYTES", "TX_PKTS", "TX_DROPS", "TX_ERRORS"),
                )
            )


def add_device(
    ipr: IPRoute, name: str, dstport: int, mtu: int, *, gbp: bool, ignore_reserved: bool
) -> None:
    """Makes a vxlan device without any VNI.

    Args:
        dstport: UDP port, of packets in both directions.
        mtu: bytes of the largest layer 3 packet of a frame.
        gbp: with the group policy extension.
        ignore_reserved: packets with reserved bits in their header are taken.

    Raises:
        VnetxError: this kernel's devices always drop those.
        NetlinkError: of the kernel.
    """
    low, high = SOURCE_PORTS
    ipr.link(
        "add",
        ifname=name,
        mtu=mtu,
        kind="vxlan",
        vxlan_collect_metadata=True,
        vxlan_vnifilter=1,
        vxlan_learning=0,
        vxlan_port=dstport,
        vxlan_port_range={"low": low, "high": high},
        vxlan_udp_zero_csum6_rx=1,
        **({"vxlan_gbp": True} if gbp else {}),
        **({"vxlan_reserved_bits": bytes(_HEADER_LEN)} if ignore_reserved else {}),
    )
    if ignore_reserved and not _takes_reserved_bits(ipr, name):
        ipr.link("del", ifname=name)
        raise VnetxError(
            "packets with reserved bits",
            "this kernel's vxlan devices always drop them",
            "Linux 6.14 has a setting",
        )


def _takes_reserved_bits(ipr: IPRoute, name: str) -> bool:
    """Older kernels do not know the attribute, and do not say so."""
    (link,) = ipr.link("get", ifname=name)
    data = link.get(("linkinfo", "data"))
    return data.get("IFLA_VXLAN_RESERVED_BITS") is not None


def set_vnis(ifindex: int, groups: Mapping[int, str | None]) -> None:
    """Has a device take VNIs; what is so already is no error.

    Args:
        groups: by VNI the multicast group that the kernel joins for it, an IPv4 address, or None.

    Raises:
        VnetxError: another device of the same UDP port has one of them, or no device has a filter.
        NetlinkError: of the kernel.
    """
    vnis = ", ".join(map(str, groups))
    refusals = {
        errno.EEXIST: VnetxError(
            f"VNI {vnis}",
            "another vxlan device of the same UDP port has it",
            "ip -d link show type vxlan, bridge vni show",
        ),
        errno.EOPNOTSUPP: VnetxError(
            "VNIs", "this kernel's vxlan devices have no VNI filter", "Linux 5.18 has"
        ),
    }
    try:
        _send(_RTM_NEWTUNNEL, ifindex, [_entry(vni, group) for vni, group in groups.items()])
    except NetlinkError as error:
        if error.code in refusals:
            raise refusals[error.code] from error
        raise


def drop_vnis(ifindex: int, vnis: Collection[int]) -> None:
    """Has a device take VNIs no longer; what is so already is no error.

    Raises:
        NetlinkError: of the kernel.
    """
    try:
        _send(_RTM_DELTUNNEL, ifindex, [_entry(vni) for vni in vnis])
    except NetlinkError as error:
        if error.code != errno.ENOENT:
            raise


def drops(ifindex: int) -> dict[int, dict[str, int]]:
    """What a device has dropped, by VNI: `rx_drops`, `rx_errors`, `tx_drops` and `tx_errors`.

    Raises:
        NetlinkError: of the kernel.
    """
    found: dict[int, dict[str, int]] = {}
    with NetlinkSocket(family=NETLINK_ROUTE) as route:
        route.bind()
        route.register_policy(_RTM_NEWTUNNEL, _TunnelMessage)
        message = _TunnelMessage()
        message["family"], message["ifindex"], message["flags"] = 7, ifindex, _WITH_STATS
        for answer in route.nlm_request(message, _RTM_GETTUNNEL, NLM_F_REQUEST | NLM_F_DUMP):
            for entry in answer.get_attrs("VXLAN_VNIFILTER_ENTRY"):
                stats = entry.get("VXLAN_VNIFILTER_ENTRY_STATS")
                found[entry.get("VXLAN_VNIFILTER_ENTRY_START")] = {
                    name.lower(): stats.get(f"VNIFILTER_ENTRY_STATS_{name}") or 0
                    for name in ("RX_DROPS", "RX_ERRORS", "TX_DROPS", "TX_ERRORS")
                }
    return found


def _send(kind: int, ifindex: int, entries: Sequence[tuple[str, dict[str, Any]]]) -> None:
    with NetlinkSocket(family=NETLINK_ROUTE) as route:
        route.bind()
        for begin in range(0, len(entries), _CHUNK):
            message = _TunnelMessage()
            message["family"] = 7  # AF_BRIDGE
            message["ifindex"] = ifindex
            message["attrs"] = entries[begin : begin + _CHUNK]
            tuple(route.nlm_request(message, kind, NLM_F_REQUEST | NLM_F_ACK))


def _entry(vni: int, group: str | None = None) -> tuple[str, dict[str, Any]]:
    attributes: list[tuple[str, Any]] = [("VXLAN_VNIFILTER_ENTRY_START", vni)]
    if group:
        attributes.append(("VXLAN_VNIFILTER_ENTRY_GROUP", group))
    return "VXLAN_VNIFILTER_ENTRY", {"attrs": attributes}
