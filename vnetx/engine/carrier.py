"""Loss of carrier at one end of a wire shows at the other, which is set down meanwhile.

The kernel does nothing of the like, so that a process has to (:mod:`vnetx_cli.carrier_watch`). What
it set down stands in the record of what detach gives back: whoever comes next sets it up again, and
nobody sets up what somebody else set down.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from vnetx import _abi
from vnetx.datapath import pins
from vnetx.datapath.maps import SwitchMaps
from vnetx.device import Link
from vnetx.engine.session import Session
from vnetx.engine.transaction import transaction
from vnetx.errors import VnetxError
from vnetx.links import Links

#: Seconds that a network card may take to find its carrier after it was set up.
_FINDS_CARRIER = 5.0
_DOWN = _abi.UNDO_FLAGS["wire_down"]


class Carrier:
    """What has to be known from one look to the next."""

    def __init__(self) -> None:
        self._raised: dict[int, float] = {}

    def settle(self) -> bool:
        """Sets ends of this namespace's wires down and up, until all are as they should be.

        Returns:
            Whether there is a wire that wants it.

        Raises:
            VnetxError: a device does not let itself be set.
        """
        wanted = due = False
        with Links() as links:
            for name in pins.switch_names():
                with SwitchMaps.open(name) as maps:
                    if maps.has_carrier():
                        wanted = True
                        due = due or any(self._due(links, maps))
        if due:
            with transaction() as session:
                for name in session.names():
                    self._settle_switch(session, name)
        return wanted

    def _settle_switch(self, session: Session, switch: str) -> None:
        """One end at a time: what was set down itself says nothing of its own carrier."""
        maps = session.maps(switch)
        for _ in range(2 * len(maps.wires())):
            ifindex, up = next(self._due(session.links, maps), (0, False))
            if not ifindex:
                return
            undo = maps.undo_of(ifindex) or {"flags": 0}
            if up:
                session.links.set_admin(ifindex, up=True)
                maps.set_undo(ifindex, **{**undo, "flags": undo["flags"] & ~_DOWN})
                self._raised[ifindex] = time.monotonic()
            else:
                maps.set_undo(ifindex, **{**undo, "flags": undo["flags"] | _DOWN})
                session.links.set_admin(ifindex, up=False)

    def _due(self, links: Links, maps: SwitchMaps) -> Iterator[tuple[int, bool]]:
        """Ends that are not as they should be, and whether they should be up."""
        held = {ifindex for ifindex, undo in maps.undo().items() if undo["flags"] & _DOWN}
        for ifindex, end in maps.wires().items():
            own = links.by_index(ifindex)
            if own is None or not end["flags"] & _abi.WIRE_FLAGS["carrier"]:
                continue
            other = end["out_ifindex"]
            dead = other not in held and not self._lives(links.by_index(other))
            if dead and own.up:
                yield ifindex, False
            elif ifindex in held and not dead:
                yield ifindex, True

    def _lives(self, link: Link | None) -> bool:
        if link is None or not link.up:
            return False
        if link.carrier:
            return True
        since = time.monotonic() - self._raised.get(link.ifindex, -_FINDS_CARRIER)
        return link.from_wire and since < _FINDS_CARRIER


def is_wanted() -> bool:
    """Whether some wire of this namespace wants :class:`Carrier`; damaged switches have none."""
    for name in pins.switch_names():
        with contextlib.suppress(VnetxError), SwitchMaps.open(name) as maps:
            if maps.has_carrier():
                return True
    return False
