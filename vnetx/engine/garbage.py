"""What vanished devices, vanished namespaces and killed commands left."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from vnetx import _bpf, netns
from vnetx.datapath import pins
from vnetx.datapath.maps import SwitchMaps
from vnetx.engine.interfaces import collect_interfaces
from vnetx.engine.ports import detach_one
from vnetx.engine.session import Session, holds_device
from vnetx.engine.switches import discard, drop_if_empty, pinned_meta, revert
from vnetx.engine.vnis import collect_vnis
from vnetx.engine.wires import collect_wires
from vnetx.errors import VnetxError


def collect_garbage(session: Session) -> None:
    """Removes what vanished devices and vanished namespaces left."""
    _collect_namespaces(session)
    _collect_unpublished(session)
    for name in session.names():
        with contextlib.suppress(VnetxError):  # damaged pins are doctor's and switch del's matter
            maps = session.maps(name)
            for ifindex in sorted(maps.undo()):
                if session.links.name_of(ifindex) is None:
                    detach_one(session, name, ifindex)
            for ifindex in _replaced(maps):
                detach_one(session, name, ifindex, gone=True)
            for ifindex in _without_filters(session, maps):
                session.messages.append(
                    f"{session.links.name_of(ifindex)} is detached: its TC filters were gone"
                )
                detach_one(session, name, ifindex)
            collect_wires(session, name)
            collect_interfaces(session, name)
            collect_vnis(session, name)
            drop_if_empty(session, name)


def _replaced(maps: SwitchMaps) -> list[int]:
    """Ports whose hooks have lost their device, though there is one of that number: another."""
    holds: dict[int, bool] = {}
    for (ifindex, hook), path in maps.links().items():
        if hook in ("xdp", "ingress", "egress"):
            holds[ifindex] = holds.get(ifindex, False) or holds_device(path, ifindex)
    return sorted(ifindex for ifindex, held in holds.items() if not held)


def _without_filters(session: Session, maps: SwitchMaps) -> list[int]:
    """The same where no link tells: filters go with a device, or somebody took them off."""
    if session.tcx:
        return []
    return sorted(
        ifindex
        for ifindex in maps.undo()
        if maps.index_of(ifindex) and "ingress" not in session.links.tc_filters(ifindex)
    )


def _collect_namespaces(session: Session) -> None:
    """Removes the pins of network namespaces that no longer exist."""
    others = [c for c in pins.namespaces() if c != _bpf.netns_cookie()]
    if not others:
        return
    alive = netns.live()
    for cookie in others:
        directory = pins.namespace_directory().with_name(str(cookie))
        for switch in list(directory.iterdir()):
            if not _namespace_lives(session, switch, alive):
                pins.remove_tree(switch)
        with contextlib.suppress(OSError):
            directory.rmdir()


def _namespace_lives(session: Session, switch: Path, alive: set[int]) -> bool:
    """Whether a switch's namespace still exists: somebody holds it, or a device is attached."""
    inode = 0
    try:
        inode = pinned_meta(switch)["netns_inode"]
    except (OSError, ValueError):  # damaged: its ports still tell, if links attach them
        if not session.tcx:
            return True
    if inode in alive:
        return True
    with contextlib.suppress(OSError, ValueError):
        links = (switch / "links").iterdir()
        if any(holds_device(path, int(path.name.split("-")[0])) for path in links):
            return True
    return bool(inode) and any(_inode(path) == inode for path in netns.hidden_paths())


def _inode(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_ino
    return 0


def _collect_unpublished(session: Session) -> None:
    """Removes what a command that was killed while it made or removed a switch left of it."""
    for directory in pins.unpublished():
        discard(session, directory)


def revert_expired(session: Session) -> None:
    """Undoes attachments whose time to be confirmed is over, should their timer have died."""
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    for name in session.names():
        with contextlib.suppress(VnetxError):
            deadline = session.maps(name).meta()["confirm_deadline_ns"]
            if deadline and deadline <= now:
                revert(session, name)
