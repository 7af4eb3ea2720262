"""What a machine lacks for a measurement, in a sentence with the remedy; "" where it lacks nothing.

Versions are not asked: what is needed is tried, in a namespace that is gone afterwards.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from vnetx_perf.namespaces import Namespace

#: Netfilter's switches of a network namespace's bridges, as paths beneath /proc/sys.
BRIDGE_NETFILTER = tuple(
    f"net/bridge/bridge-nf-call-{table}tables" for table in ("ip", "ip6", "arp")
)
#: The remedy for what a kernel was built without.
_OTHER_KERNEL = "make bench-vm runs one that has"
_TRIALS = {
    "veth": "link add try0 type veth peer name try1",
    "bridge": "link add try2 type bridge",
    "macvlan": "link add link try0 name try3 type macvlan mode bridge",
    "ipvlan": "link add link try0 name try4 type ipvlan mode l2 bridge",
    "tap": "tuntap add dev try5 mode tap",
    "vlan": "link add link try0 name try6 type vlan id 10",
    "vxlan": "link add try7 type vxlan id 7 dstport 4789",
}
#: Where the module is not called as the devices are.
_MODULES = {"vlan": "8021q"}


class Tool(NamedTuple):
    """A command, and the Debian package and the product that it belongs to."""

    command: str
    package: str
    product: str = ""


def lacks_tools(tools: Iterable[Tool]) -> str:
    """The first of the commands that is not on the PATH."""
    for tool in tools:
        if shutil.which(tool.command) is None:
            name = tool.product or tool.command
            return f"{name} is not installed: apt install {tool.package}"
    return ""


def lacks_module(what: str, module: str) -> str:
    """The sentence for something that a module would bring."""
    return f"this kernel has no {what} (module {module} is not there): {_OTHER_KERNEL}"


@contextlib.contextmanager
def _trial() -> Iterator[Namespace]:
    namespace = Namespace("try")
    try:
        yield namespace
    finally:
        namespace.delete()


def lacks_devices(kinds: Iterable[str]) -> str:
    """The first of the kinds of devices that cannot be made; "veth" has to be the first kind."""
    try:
        with _trial() as namespace:
            for kind in kinds:
                if reason := _refused(namespace, kind):
                    return reason
    except (RuntimeError, OSError) as error:
        return f"network namespaces cannot be made, which needs root ({error})"
    return ""


def _refused(namespace: Namespace, kind: str) -> str:
    try:
        namespace.ip(_TRIALS[kind])
    except RuntimeError as error:
        if "Unknown device type" in str(error):
            module = _MODULES.get(kind, kind)
            return lacks_module(module, module)
        return f"no {kind} can be made here ({error})"
    return ""


def lacks_vlan_filtering() -> str:
    """vlan_filtering of the kernel's bridge, which it is built with or without."""
    try:
        with _trial() as namespace:
            namespace.ip(f"{_TRIALS['bridge']} vlan_filtering 1")
    except RuntimeError as error:
        if "not supported" in str(error):
            return f"this kernel's bridge has no vlan_filtering: {_OTHER_KERNEL}"
        return f"no bridge with vlan_filtering can be made here ({error})"
    return ""


def lacks_netlink_family(family: str, what: str, module: str) -> str:
    """A family of generic netlink; asking for it makes the kernel load its module."""
    done = subprocess.run(
        ["genl", "ctrl", "get", "name", family], capture_output=True, text=True, check=False
    )
    return lacks_module(what, module) if done.returncode else ""


def lacks_bridge_netfilter() -> str:
    """br_netfilter.  It is not loaded for a measurement: it comes switched on in every network
    namespace, and would have the frames of bridges filtered that are no part of it."""
    if Path("/proc/sys", BRIDGE_NETFILTER[0]).exists():
        return ""
    return "br_netfilter is not loaded: modprobe br_netfilter"
