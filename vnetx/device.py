"""What a device is, as far as a switch asks. A value; :mod:`vnetx.links` makes it."""

from __future__ import annotations

from dataclasses import dataclass

#: Kinds whose own MAC filter lets every frame through.
_UNFILTERED_KINDS = ("veth", "tun")


@dataclass(frozen=True)
class Tun:
    """What a tap or a tun is, a device whose other end is a file of a program.

    Attributes:
        tap: it carries frames; a tun carries packets.
        owner, group: who may open it, by number; both, if both are given.
        multi_queue: it can be opened several times, for a queue each.
        vnet_hdr: ``struct virtio_net_hdr`` precedes what the program reads and writes. What opens
            the device decides anew.
        open: a program has it open.
    """

    tap: bool
    owner: int | None = None
    group: int | None = None
    multi_queue: bool = False
    vnet_hdr: bool = False
    open: bool = False


@dataclass(frozen=True)
class Link:
    """What netlink says of a device, as far as a switch asks.

    Attributes:
        kind: rtnl link kind ("veth", "bond", ...); "" for a NIC.
        master: name of the bridge or bond that it is in, None without.
        peer_netns: id of the namespace that a veth's peer is in; None when it is in this one.
        peer: ifindex of a veth's peer, 0 without.
        xdp: (program id, "native" | "generic" | ...) of an XDP program on it.
        addressed: it carries an address that somebody gave it (not only IPv6 link-local).
        tun: of a tap or a tun, what it is.
    """

    ifindex: int
    name: str
    kind: str
    mtu: int
    mac: bytes
    up: bool
    carrier: bool
    loopback: bool
    promisc: bool
    master: str | None
    master_kind: str
    peer: int
    peer_netns: int | None
    xdp: tuple[int, str] | None
    addressed: bool
    alias: str
    tun: Tun | None = None

    @property
    def filters(self) -> bool:
        """Whether frames for other addresses arrive only in promiscuous mode."""
        return self.kind not in _UNFILTERED_KINDS

    @property
    def from_wire(self) -> bool:
        """Whether its frames come from a wire rather than from a socket of this machine."""
        return self.kind not in _UNFILTERED_KINDS

    @property
    def carries_host(self) -> bool:
        """Whether the host's own traffic goes through it: then its host side is a port too."""
        return self.from_wire or self.addressed
