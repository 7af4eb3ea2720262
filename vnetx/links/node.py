"""Network namespaces of labs: one stands for a machine, which forwards packets or does not."""

from __future__ import annotations

import contextlib
from pathlib import Path

from vnetx import netns
from vnetx.errors import from_os
from vnetx.links import Links

_SYSCTLS = Path("/proc/sys/net")
_EUI64, _NONE = "0", "1"  # IN6_ADDR_GEN_MODE
_FORWARDING = ("ipv4/ip_forward", "ipv6/conf/all/forwarding")


def make_node(name: str, mark: str) -> None:
    """Makes a named namespace whose loopback device is up and says `mark`, and whose IPv6 addresses
    hold at once, without a search for duplicates.

    Raises:
        VnetxError: it cannot be made.
    """

    def prepare() -> None:
        with contextlib.suppress(OSError):  # no IPv6, or a read-only /proc/sys
            (_SYSCTLS / "ipv6/conf/default/accept_dad").write_text("0")
        with Links() as links:
            lo = links.get("lo")
            if lo is not None:
                links.raise_up(lo.ifindex, mark)

    try:
        if netns.is_empty(name):
            forget_name(name)
        netns.make(name, prepare)
    except OSError as error:
        raise from_os(f"making network namespace {name}", error) from error


def forget_name(name: str) -> None:
    """Takes away a name that leads to no namespace."""
    (netns.NAMED / name).unlink(missing_ok=True)


def forwards() -> bool | None:
    """Whether this namespace forwards packets; None if it is for one of IPv4 and IPv6."""
    found = set()
    for name in _FORWARDING:
        with contextlib.suppress(FileNotFoundError):  # no IPv6
            found.add((_SYSCTLS / name).read_text().strip() != "0")
    return found.pop() if len(found) == 1 else None


def set_forwarding(on: bool) -> None:
    """Has this namespace forward packets, IPv4 and IPv6, or not; devices that were told to by
    :meth:`vnetx.links.Links.let_forward` still do.

    Raises:
        VnetxError: /proc/sys cannot be written.
    """
    try:
        for name in _FORWARDING:
            with contextlib.suppress(FileNotFoundError):
                (_SYSCTLS / name).write_text("1" if on else "0")
    except OSError as error:
        raise from_os("setting whether packets are forwarded", error) from error
    with Links() as links:
        for link in links.all().values():
            if link.kind == "vxlan":
                links.let_forward(link.name)


def set_quiet(ifname: str, on: bool) -> None:
    """Has a device that is only a port no address, and say nothing, of IPv6."""
    with contextlib.suppress(OSError):
        _addr_gen_mode(ifname).write_text(_NONE if on else _EUI64)


def is_quiet(ifname: str) -> bool | None:
    """Whether it is so; None without IPv6."""
    with contextlib.suppress(OSError):
        return _addr_gen_mode(ifname).read_text().strip() == _NONE
    return None


def _addr_gen_mode(ifname: str) -> Path:
    return _SYSCTLS / "ipv6/conf" / ifname / "addr_gen_mode"
