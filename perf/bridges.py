"""The kernel's bridge between devices of a namespace, as more than one kind of subject has it."""

from __future__ import annotations

from collections.abc import Sequence

from vnetx_perf.namespaces import Namespace
from vnetx_perf.requirements import BRIDGE_NETFILTER

#: The device.
NAME = "br0"


def make(
    namespace: Namespace,
    ports: Sequence[str],
    mtu: int,
    options: str = "",
    *,
    netfilter: bool = False,
) -> None:
    """A bridge of the ports, which forwards at once.

    Args:
        options: what ip-link(8) takes after "type bridge".
        netfilter: whether frames go through iptables, ip6tables and arptables.
    """
    namespace.ip(
        f"link add dev {NAME} mtu {mtu} type bridge stp_state 0 forward_delay 0 {options}",
        *(f"link set dev {port} master {NAME}" for port in ports),
        f"link set dev {NAME} up",
    )
    with namespace.entered():
        for name in BRIDGE_NETFILTER:
            namespace.sysctl(name, str(int(netfilter)))


def sysctls(namespace: Namespace) -> dict[str, str]:
    """Netfilter's switches, as they are."""
    with namespace.entered():
        return {name: namespace.sysctl(name) for name in BRIDGE_NETFILTER}
