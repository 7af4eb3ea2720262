"""What kinds of interfaces have in common, and what each of them has to say for itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from vnetx import netns
from vnetx.device import Link
from vnetx.engine.session import Session
from vnetx.links import Links
from vnetx.model import Interface
from vnetx.state import stable_mac


class Kind(Protocol):
    """How interfaces of one kind are made, changed, seen and removed.

    A record is what the map `interfaces` has of one: it is written before there is a device, with
    `ifindex` 0, and deleted after the last one is gone.
    """

    def record(self, session: Session, switch: str, name: str, wanted: Interface) -> dict[str, Any]:
        """What the map has of an interface, but for the index of its port."""

    def settings(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The other way round, as fields of :class:`vnetx.model.Interface`."""

    def is_same(self, session: Session, record: Mapping[str, Any], wanted: Interface) -> bool:
        """Whether :meth:`write` and the port's settings are enough to make it what is wanted."""

    def check_removable(self, session: Session, name: str, record: Mapping[str, Any]) -> None:
        """Refuses to make an interface anew that somebody would miss meanwhile."""

    def make(self, session: Session, switch: str, name: str, wanted: Interface) -> None:
        """Makes the devices; in the record is the index of the port then."""

    def seen(self, session: Session, name: str, record: Mapping[str, Any]) -> dict[str, Any] | None:
        """Of an interface what :meth:`write` can change, as fields of
        :class:`vnetx.model.Interface`; None if it is not there under its name.

        Raises:
            VnetxError: it is where nobody can look.
        """

    def write(
        self, session: Session, name: str, record: Mapping[str, Any], wanted: Interface
    ) -> bool:
        """Gives an interface what is wanted; returns whether anything had to be done."""

    def port(self, session: Session, switch: str, name: str, wanted: Interface) -> dict[str, Any]:
        """What :func:`vnetx.engine.ports.attach_port` has to know of the port beside its settings.

        Raises:
            VnetxError: it cannot be such a port.
        """

    def attach(
        self,
        session: Session,
        switch: str,
        port: Link,
        wanted: Interface,
        place: Mapping[str, Any],
    ) -> None:
        """Makes its port one; `place` is what :meth:`port` said."""

    def known(self, session: Session, switch: str, record: Mapping[str, Any]) -> dict[str, Any]:
        """Of an interface what its port says, as fields of :class:`vnetx.model.Interface`."""

    def is_whole(self, session: Session, record: Mapping[str, Any]) -> bool:
        """Whether all is there that an interface has beside its port."""

    def told(self, wanted: Interface) -> str:
        """What :meth:`write` gives it, for people."""

    def remove_rest(
        self, session: Session, switch: str, name: str, record: Mapping[str, Any]
    ) -> None:
        """Removes what there is beside the port, or without one."""


def alias(switch: str, name: str) -> str:
    """What the devices of an interface say of themselves."""
    return f"interface {name} of vnetx switch {switch}"


def is_interface_of(link: Link, switch: str) -> bool:
    """Whether a device says that it is an interface of a switch, or its port."""
    before, after = alias(switch, "\n").split("\n")
    return link.alias.startswith(before) and link.alias.endswith(after)


def mac_of(switch: str, name: str, wanted: Interface) -> bytes:
    """The address that an interface gets."""
    return wanted.mac or stable_mac(f"{switch} {name}")


@contextlib.contextmanager
def there(session: Session, where: str | None) -> Iterator[Links]:
    """Netlink in the namespace of an interface; the switch's own if that has no name."""
    if not where:
        yield session.links
        return
    with netns.inside(where), Links() as links:
        yield links
