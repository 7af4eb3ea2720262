"""Devices: observing and changing them. The only importer of pyroute2.

Everything acts in the calling process's network namespace, or, where a veth's
peer is meant, in the peer's for the length of the call.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2 import netns as named
from pyroute2.ethtool.ioctl import EthtoolError, IoctlEthtool
from pyroute2.netlink.exceptions import NetlinkError

from vnetx import netns, tun
from vnetx.device import Link, Tun
from vnetx.errors import VnetxError, from_os
from vnetx.links import vxlan

_IFF_UP = 0x1
_SIOCGIFFLAGS = 0x8913
_IFF_LOOPBACK = 0x8
_IFF_NOARP = 0x80
_IFF_PROMISC = 0x100
_TUN_TYPE_TAP = 2  # IFF_TAP
_PROTO_STATIC = 4  # RTPROT_STATIC
_SCOPE_LINK, _SCOPE_HOST = 253, 254  # RT_SCOPE_LINK, RT_SCOPE_HOST
_TC_PRIORITY = 0x766E  # of our filters ("vn"), on hosts without tcx

#: XDP modes by pyroute2's words for IFLA_XDP_ATTACHED.
XDP_MODES = {
    "xdp": "native",
    "xdpgeneric": "generic",
    "xdpoffload": "offload",
    "xdpmulti": "multi",
}


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    """pyroute2's errors of the kernel are none of :class:`OSError`."""
    try:
        yield
    except NetlinkError as error:
        raise OSError(error.code, os.strerror(error.code)) from error


class Unreachable(VnetxError):  # noqa: N818 - the word says it
    """No way leads into a network namespace: it is dying, or only a socket holds it."""


def make_netns(name: str) -> None:
    """Makes a named network namespace, as ip-netns(8) does, with its loopback device up.

    Raises:
        VnetxError: it cannot be made.
    """

    def prepare() -> None:
        with Links() as links:
            links.set_up("lo")

    try:
        netns.make(name, prepare)
    except OSError as error:
        raise from_os(f"making network namespace {name}", error) from error


def remove_netns(name: str) -> None:
    """Takes the name of a namespace away; one that is gone is no error."""
    with contextlib.suppress(FileNotFoundError):
        named.remove(name)


class Links:
    """A netlink socket and what can be said through it. A context manager."""

    def __init__(self) -> None:
        self._ipr = IPRoute()

    def close(self) -> None:
        self._ipr.close()

    def __enter__(self) -> Links:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------ observing

    def _addressed(self) -> set[int]:
        found = set()
        for message in self._ipr.get_addr():
            if message["scope"] != 253:  # RT_SCOPE_LINK
                found.add(message["index"])
        return found

    def all(self) -> dict[str, Link]:
        """The devices of this namespace by name."""
        addressed = self._addressed()
        messages = list(self._ipr.get_links())
        names = {m["index"]: m.get("IFLA_IFNAME") for m in messages}
        kinds = {m["index"]: _kind(m) for m in messages}
        links = [_link(m, names, kinds, addressed) for m in messages]
        return {link.name: link for link in links}

    def get(self, name: str) -> Link | None:
        """One device, None when there is none of this name."""
        try:
            index = socket.if_nametoindex(name)
        except OSError:
            return None
        return self.by_index(index)

    @staticmethod
    def name_of(ifindex: int) -> str | None:
        """The name of a device, None when it is gone."""
        with contextlib.suppress(OSError):
            return socket.if_indextoname(ifindex)
        return None

    def by_index(self, index: int) -> Link | None:
        """One device, None when it is gone."""
        try:
            message = next(iter(self._ipr.get_links(index)))
        except (NetlinkError, StopIteration):
            return None
        names, kinds = {}, {}
        master = message.get("IFLA_MASTER")
        if master:
            with contextlib.suppress(NetlinkError, OSError):
                other = self._ipr.get_links(master)[0]
                names[master], kinds[master] = other.get("IFLA_IFNAME"), _kind(other)
        addressed = {
            m["index"]
            for m in self._ipr.get_addr(index=index)
            if m["index"] == index and m["scope"] != 253
        }
        return _link(message, names, kinds, addressed)

    def peer_mac(self, link: Link) -> bytes | None:
        """MAC address of a veth's peer in another namespace; None if it cannot be seen."""
        if link.peer_netns is None or not link.peer:
            return None
        with contextlib.suppress(NetlinkError, OSError):
            message = self._ipr.link("get", index=link.peer, ifla_if_netnsid=link.peer_netns)[0]
            return _mac(message)
        return None

    # ------------------------------------------------------------ changing

    @_as_os_error()
    def set_promisc(self, ifindex: int, on: bool) -> None:
        self._ipr.link("set", index=ifindex, flags=_IFF_PROMISC if on else 0, mask=_IFF_PROMISC)

    @_as_os_error()
    def add_veth(
        self,
        name: str,
        outer: str,
        mac: bytes,
        netns_fd: int | None = None,
        outer_mac: bytes | None = None,
    ) -> None:
        """Makes a veth pair, of which `name` has the address, and may be in another namespace."""
        peer: dict[str, Any] = {"ifname": name, "address": mac.hex(":")}
        if netns_fd is not None:
            peer["net_ns_fd"] = netns_fd
        own = {} if outer_mac is None else {"address": outer_mac.hex(":")}
        self._ipr.link("add", ifname=outer, kind="veth", peer=peer, **own)

    @_as_os_error()
    def add_tun(self, name: str, wanted: Tun, alias: str, mac: bytes | None = None) -> None:
        """Makes a tap or a tun, which is complete before it is one that stays."""
        with tun.made(name, wanted):
            index = socket.if_nametoindex(name)
            address = {"address": mac.hex(":")} if mac else {}
            self._ipr.link("set", index=index, ifalias=alias, **address)

    @staticmethod
    def ignore_routers(name: str) -> None:
        """Has the kernel make no addresses and routes of what IPv6's routers advertise."""
        with contextlib.suppress(OSError):
            Path(f"/proc/sys/net/ipv6/conf/{name}/accept_ra").write_text("0\n")

    @staticmethod
    def keep_silent(name: str) -> None:
        """Has the kernel give a device no IPv6 address of its own, from which it would speak."""
        with contextlib.suppress(OSError):
            Path(f"/proc/sys/net/ipv6/conf/{name}/addr_gen_mode").write_text("1\n")

    @_as_os_error()
    def add_vxlan(self, name: str, dstport: int, mtu: int, **extensions: bool) -> None:
        """Makes a vxlan device that encapsulates for a switch; see :mod:`vnetx.links.vxlan`."""
        vxlan.add_device(self._ipr, name, dstport, mtu, **extensions)

    @_as_os_error()
    def set_vnis(self, ifindex: int, groups: Mapping[int, str | None]) -> None:
        """Has a vxlan device take VNIs, and join the multicast group of each that has one, by the
        interface of :meth:`set_vxlan_lower`.

        Raises:
            VnetxError: another device of the same UDP port has one of them.
        """
        vxlan.set_vnis(ifindex, groups)

    @_as_os_error()
    def set_vxlan_lower(self, ifindex: int, lower: int) -> None:
        """Tells a vxlan device by which interface it is in multicast groups."""
        self._ipr.link("set", index=ifindex, kind="vxlan", vxlan_link=lower)

    @_as_os_error()
    def drop_vnis(self, ifindex: int, vnis: Collection[int]) -> None:
        """Has a vxlan device take VNIs no longer; it leaves their groups."""
        vxlan.drop_vnis(ifindex, vnis)

    def holder_of(self, address: str) -> Link | None:
        """The device that has an address of this namespace, None where it is none."""
        for message in self._ipr.get_addr():
            if address == (message.get("IFA_LOCAL") or message.get("IFA_ADDRESS")):
                return self.by_index(message["index"])
        return None

    def route_to(self, address: str) -> Link | None:
        """The device by which packets to an address leave, None without a route."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with contextlib.suppress(NetlinkError, OSError):
            for message in self._ipr.route("get", dst=address, family=family):
                index = message.get("RTA_OIF")
                return self.by_index(index) if index else None
        return None

    @_as_os_error()
    def raise_up(self, ifindex: int, alias: str) -> None:
        """Tells in the device's alias what it is, and sets it up."""
        self._ipr.link("set", index=ifindex, ifalias=alias)
        self._ipr.link("set", index=ifindex, state="up")

    @_as_os_error()
    def set_admin(self, ifindex: int, *, up: bool) -> None:
        """Sets a device up or down."""
        self._ipr.link("set", index=ifindex, state="up" if up else "down")

    @_as_os_error()
    def set_up(self, name: str) -> None:
        self._ipr.link("set", ifname=name, state="up")

    @staticmethod
    def let_forward(name: str, *, ipv6: bool = False) -> bool:
        """Has the kernel answer programs of a device that ask where IPv4 packets lead
        (bpf_ipv4_fib_lookup: only of devices that forward), and IPv6 ones if so said; returns
        whether it will, of IPv4."""
        with contextlib.suppress(OSError):
            Path(f"/proc/sys/net/ipv4/conf/{name}/forwarding").write_text("1\n")
            if ipv6:
                with contextlib.suppress(OSError):
                    Path(f"/proc/sys/net/ipv6/conf/{name}/forwarding").write_text("1\n")
            return True
        return False

    @staticmethod
    def forwards(name: str, version: int) -> bool:
        """Whether IPv4 or IPv6 packets that a device receives are forwarded."""
        with contextlib.suppress(OSError):
            path = Path(f"/proc/sys/net/ipv{version}/conf/{name}/forwarding")
            return path.read_text().strip() != "0"
        return False

    @staticmethod
    def set_stable_secret(name: str, secret: str) -> None:
        """Has a device's own IPv6 addresses made from this, and not from its MAC address, which
        others have, too (RFC 7217)."""
        with contextlib.suppress(OSError):
            Path(f"/proc/sys/net/ipv6/conf/{name}/stable_secret").write_text(f"{secret}\n")

    @_as_os_error()
    def set_noarp(self, ifindex: int) -> None:
        """Has a device take the other end's address for its own, and ask nobody."""
        self._ipr.link("set", index=ifindex, flags=_IFF_NOARP, mask=_IFF_NOARP)

    @staticmethod
    def default_ttl() -> int:
        """TTL of the IPv4 packets of this namespace's host, 64 where nobody can ask."""
        with contextlib.suppress(OSError, ValueError):
            return int(Path("/proc/sys/net/ipv4/ip_default_ttl").read_text())
        return 64

    @_as_os_error()
    def set_mtu(self, ifindex: int, mtu: int) -> None:
        self._ipr.link("set", index=ifindex, mtu=mtu)

    def addresses(self, ifindex: int) -> set[str]:
        """The addresses of a device with their lengths; IPv6's own link-local ones are left out."""
        messages = self._ipr.get_addr(index=ifindex)
        return {
            f"{m.get('IFA_LOCAL') or m.get('IFA_ADDRESS')}/{m['prefixlen']}"
            for m in messages
            if m["index"] == ifindex and m["scope"] != 253
        }

    def own_addresses(self) -> dict[str, set[str]]:
        """The addresses of this namespace's host by device, but the loopback's and link-local
        ones."""
        found: dict[str, set[str]] = {}
        for message in self._ipr.get_addr():
            address = str(message.get("IFA_LOCAL") or message.get("IFA_ADDRESS"))
            if message["scope"] not in (_SCOPE_LINK, _SCOPE_HOST):
                name = self.name_of(message["index"])
                found.setdefault(name or "", set()).add(address)
        return found

    @_as_os_error()
    def set_addresses(self, ifindex: int, wanted: Collection[str]) -> None:
        """Gives a device these addresses, and no others but link-local ones."""
        now = self.addresses(ifindex)
        for verb, addresses in (("del", now - set(wanted)), ("add", set(wanted) - now)):
            for address in sorted(addresses):
                host, _, length = address.partition("/")
                try:
                    self._ipr.addr(verb, index=ifindex, address=host, prefixlen=int(length))
                except NetlinkError as error:
                    if error.code != errno.EACCES or ":" not in host:
                        raise
                    name = self.name_of(ifindex)
                    raise VnetxError(
                        f"address {address}",
                        f"IPv6 is off on {name}",
                        f"sysctl net.ipv6.conf.{str(name).replace('.', '/')}.disable_ipv6=0",
                    ) from error

    def routes(self, ifindex: int) -> set[tuple[str, str]]:
        """(network, router) of each of the static routes by a device (``proto static``)."""
        found = set()
        for family, everything in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            for route in self._ipr.get_routes(family=family, oif=ifindex, proto=_PROTO_STATIC):
                mine = route["proto"] == _PROTO_STATIC and route.get("RTA_OIF") == ifindex
                if mine and route.get("RTA_GATEWAY"):
                    network = f"{route.get('RTA_DST') or everything}/{route['dst_len']}"
                    found.add((network, str(route.get("RTA_GATEWAY"))))
        return found

    @_as_os_error()
    def set_routes(self, ifindex: int, wanted: Collection[tuple[str, str]]) -> None:
        """Has a device these static routes, and no others.

        Raises:
            VnetxError: a router is in none of the device's networks.
        """
        now = self.routes(ifindex)
        for verb, routes in (("del", now - set(wanted)), ("add", set(wanted) - now)):
            for network, router in sorted(routes):
                try:
                    self._ipr.route(
                        verb, dst=network, gateway=router, oif=ifindex, proto=_PROTO_STATIC
                    )
                except NetlinkError as error:
                    if error.code not in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EINVAL):
                        raise
                    raise VnetxError(
                        f"route {network} via {router}",
                        f"{self.name_of(ifindex)} has no address in the router's network",
                        "give --ip as well",
                    ) from error

    def _direct(self, ifindex: int) -> set[str]:
        """The networks that a device leads to without a router, by our own routes."""
        found = set()
        for family, everything in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            for route in self._ipr.get_routes(family=family, oif=ifindex, proto=_PROTO_STATIC):
                mine = route["proto"] == _PROTO_STATIC and route.get("RTA_OIF") == ifindex
                if mine and not route.get("RTA_GATEWAY"):
                    found.add(f"{route.get('RTA_DST') or everything}/{route['dst_len']}")
        return found

    @_as_os_error()
    def _set_direct(self, ifindex: int, wanted: Collection[str]) -> None:
        now = self._direct(ifindex)
        for verb, networks in (("del", now - set(wanted)), ("add", set(wanted) - now)):
            for network in sorted(networks):
                scope = {} if ":" in network else {"scope": _SCOPE_LINK}
                self._ipr.route(verb, dst=network, oif=ifindex, proto=_PROTO_STATIC, **scope)

    def set_hosts(self, ifindex: int, addresses: Collection[str]) -> None:
        """Has packets to these addresses leave by a device, whoever may be their neighbour."""
        self._set_direct(ifindex, [f"{each}/{128 if ':' in each else 32}" for each in addresses])

    def set_defaults(self, ifindex: int, networks: Collection[str]) -> None:
        """The same of whole networks, ``0.0.0.0/0`` and ``::/0``."""
        self._set_direct(ifindex, networks)

    @_as_os_error()
    def set_mac(self, ifindex: int, mac: bytes) -> None:
        self._ipr.link("set", index=ifindex, address=mac.hex(":"))

    @_as_os_error()
    def delete(self, ifindex: int) -> None:
        """Deletes a device; one that is gone is no error."""
        try:
            self._ipr.link("del", index=ifindex)
        except NetlinkError as error:
            if error.code != errno.ENODEV:
                raise

    # ------------------------------------------------------------ TC without links

    def has_clsact(self, ifindex: int) -> bool:
        return any(
            m.get("TCA_KIND") in ("clsact", "ingress") for m in self._ipr.get_qdiscs(index=ifindex)
        )

    @_as_os_error()
    def add_clsact(self, ifindex: int) -> None:
        self._ipr.tc("add", "clsact", ifindex)

    def delete_clsact(self, ifindex: int) -> None:
        """Removes the qdisc if no filter of anybody's is left on it."""
        with contextlib.suppress(NetlinkError):
            for parent in (0xFFFFFFF2, 0xFFFFFFF3):
                if list(self._ipr.get_filters(index=ifindex, parent=parent)):
                    return
            self._ipr.tc("del", "clsact", ifindex)

    @_as_os_error()
    def add_tc_filter(
        self, ifindex: int, hook: str, program: int, name: str, *, of_port: bool = True
    ) -> None:
        """Our program on clsact's ingress or egress, replacing an earlier one of ours; one that is
        not of a port stays as long as the device."""
        self._ipr.tc(
            "replace-filter",
            "bpf",
            ifindex,
            handle=1,
            parent=_PARENTS[hook],
            prio=_TC_PRIORITY - (not of_port),
            protocol=3,  # ETH_P_ALL
            fd=program,
            name=name,
            classid=0,
            direct_action=True,
        )

    def delete_tc_filter(self, ifindex: int, hook: str) -> None:
        with contextlib.suppress(NetlinkError):
            self._ipr.tc(
                "del-filter",
                "bpf",
                ifindex,
                handle=1,
                parent=_PARENTS[hook],
                prio=_TC_PRIORITY,
                protocol=3,
            )

    def delete_tc(self, ifindex: int) -> None:
        """Our filters, and the qdisc if nothing else is left on it."""
        hooks = self.tc_filters(ifindex)
        for hook in hooks:
            self.delete_tc_filter(ifindex, hook)
        if hooks:
            self.delete_clsact(ifindex)

    def tc_filters(self, ifindex: int) -> set[str]:
        """The hooks on which a filter of ours is."""
        found = set()
        for hook, parent in _PARENTS.items():
            with contextlib.suppress(NetlinkError):
                for message in self._ipr.get_filters(index=ifindex, parent=parent):
                    if message["info"] >> 16 == _TC_PRIORITY:
                        found.add(hook)
        return found

    # ------------------------------------------------------------ XDP without links

    @_as_os_error()
    def set_xdp(self, ifindex: int, program: int, mode: str) -> None:
        """Attaches (or with -1 detaches) by netlink: for giving back what was not ours."""
        flags = {"native": 1 << 2, "generic": 1 << 1}.get(mode, 0)
        self._ipr.link(
            "set",
            index=ifindex,
            xdp={"attrs": [["IFLA_XDP_FD", program], ["IFLA_XDP_FLAGS", flags]]},
        )


_PARENTS = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}


def _kind(message: Any) -> str:
    info = message.get("IFLA_LINKINFO")
    return (info.get("IFLA_INFO_KIND") if info else None) or ""


def _mac(message: Any) -> bytes:
    text = message.get("IFLA_ADDRESS") or ""
    return bytes.fromhex(text.replace(":", "")) if len(text) == 17 else bytes(6)


def _link(message: Any, names: dict[int, str], kinds: dict[int, str], addressed: set[int]) -> Link:
    kind = _kind(message)
    master = message.get("IFLA_MASTER")
    netns = message.get("IFLA_LINK_NETNSID")
    xdp = message.get("IFLA_XDP")
    attached = xdp.get("IFLA_XDP_ATTACHED") if xdp else None
    return Link(
        ifindex=message["index"],
        name=message.get("IFLA_IFNAME"),
        kind=kind,
        mtu=message.get("IFLA_MTU") or 0,
        mac=_mac(message),
        up=bool(message["flags"] & _IFF_UP),
        carrier=bool(message.get("IFLA_CARRIER")),
        loopback=bool(message["flags"] & _IFF_LOOPBACK),
        promisc=bool(message["flags"] & _IFF_PROMISC),
        master=names.get(master, str(master)) if master else None,
        master_kind=kinds.get(master, "") if master else "",
        peer=(message.get("IFLA_LINK") or 0) if kind == "veth" else 0,
        peer_netns=netns if kind == "veth" else None,
        xdp=(xdp.get("IFLA_XDP_PROG_ID") or 0, XDP_MODES.get(attached) or "?")
        if attached
        else None,
        addressed=message["index"] in addressed,
        alias=message.get("IFLA_IFALIAS") or "",
        tun=_tun(message) if kind == "tun" else None,
    )


def _tun(message: Any) -> Tun | None:
    data = message.get("IFLA_LINKINFO").get("IFLA_INFO_DATA")
    if not data:
        return None
    queues = ("IFLA_TUN_NUM_QUEUES", "IFLA_TUN_NUM_DISABLED_QUEUES")
    return Tun(
        tap=data.get("IFLA_TUN_TYPE") == _TUN_TYPE_TAP,
        owner=data.get("IFLA_TUN_OWNER"),
        group=data.get("IFLA_TUN_GROUP"),
        multi_queue=bool(data.get("IFLA_TUN_MULTI_QUEUE")),
        vnet_hdr=bool(data.get("IFLA_TUN_VNET_HDR")),
        open=bool(message.get("IFLA_CARRIER")) or any(map(data.get, queues)),
    )


# ---------------------------------------------------------------- features


@contextlib.contextmanager
def _peer_namespace(link: Link) -> Iterator[None]:
    """Inside the namespace of a veth's peer."""
    if link.peer_netns is None:
        yield
        return
    fd = _namespace_fd(link.peer_netns)
    try:
        with open("/proc/self/ns/net") as own:
            netns.enter(fd)
            try:
                yield
            finally:
                netns.enter(own.fileno())
    finally:
        os.close(fd)


def _namespace_fd(nsid: int) -> int:
    """A descriptor of the namespace that netlink calls by this id.

    Raises:
        Unreachable: no process or name that this one can see holds it.
    """
    seen = set()
    with IPRoute() as ipr:
        for path in chain(netns.paths(), netns.hidden_paths()):
            with contextlib.suppress(OSError, NetlinkError), open(path) as file:
                inode = os.fstat(file.fileno()).st_ino
                if inode not in seen:
                    seen.add(inode)
                    if ipr.get_netnsid(fd=file.fileno())["nsid"] == nsid:
                        return os.dup(file.fileno())
    raise Unreachable(
        f"network namespace with id {nsid}",
        "no process, descriptor, mount or name leads to it",
    )


def peer_name(link: Link) -> str | None:
    """Name of a veth's peer in its namespace."""
    with contextlib.suppress(OSError, VnetxError), _peer_namespace(link):
        return socket.if_indextoname(link.peer)
    return None


@contextlib.contextmanager
def _ethtool(link: Link, peer: bool) -> Iterator[IoctlEthtool]:
    with _peer_namespace(link) if peer else contextlib.nullcontext():
        name = socket.if_indextoname(link.peer) if peer else link.name
        device = IoctlEthtool(name)
        try:
            yield device
        finally:
            device.close()


@contextlib.contextmanager
def at_idle_peer(link: Link) -> Iterator[int]:
    """In the namespace of a veth's peer, if that is down: its ifindex; 0 where it is up, or where
    nobody can ask."""
    with contextlib.ExitStack() as stack:
        index = 0
        with contextlib.suppress(OSError, Unreachable):
            stack.enter_context(_peer_namespace(link))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                request = struct.pack("16sH14x", socket.if_indextoname(link.peer).encode(), 0)
                flags = struct.unpack_from("H", fcntl.ioctl(sock, _SIOCGIFFLAGS, request), 16)[0]
            index = 0 if flags & _IFF_UP else link.peer
        yield index


def features(link: Link, peer: bool = False) -> dict[str, bool]:
    """The offloads of a device (or of its peer) by the kernel's names; {} if it has none to tell,
    or is where nobody can ask.

    Those that the driver does not let anybody change are left out.
    """
    with contextlib.suppress(OSError, EthtoolError, Unreachable), _ethtool(link, peer) as device:
        return {name: on for name, on, changeable, _, _ in device.get_features() if changeable}
    return {}


def vxlan_drops(ifindex: int) -> dict[int, dict[str, int]]:
    """What a vxlan device of this namespace has dropped, by VNI (:func:`vnetx.links.vxlan.drops`);
    {} where it has no filter, or is gone."""
    with contextlib.suppress(NetlinkError, OSError):
        return vxlan.drops(ifindex)
    return {}


def set_feature(link: Link, feature: str, on: bool, peer: bool = False) -> None:
    """Switches an offload of a device (or of its peer).

    Raises:
        VnetxError: the driver refuses.
        Unreachable: the peer is in a namespace that cannot be entered.
    """
    of = f"the peer of {link.name}" if peer else link.name
    what = f"switching {feature} {'on' if on else 'off'} on {of}"
    try:
        with _ethtool(link, peer) as device:
            wanted = device.get_features()
            wanted[feature] = on
            device.set_features(wanted)
    except EthtoolError as error:
        raise VnetxError(what, "the driver does not support it") from error
    except OSError as error:
        raise from_os(what, error) from error
