"""What kinds of interfaces have in common whose port is one as all others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vnetx.device import Link
from vnetx.engine.ports import attach_port
from vnetx.engine.session import Session
from vnetx.model import Interface


class PlainPort:
    """A part of :class:`vnetx.engine.kind.Kind`."""

    def port(
        self, _session: Session, _switch: str, _name: str, _wanted: Interface
    ) -> dict[str, Any]:
        return {}

    def attach(
        self,
        session: Session,
        switch: str,
        port: Link,
        wanted: Interface,
        place: Mapping[str, Any],
    ) -> None:
        used = set(session.maps(switch).slots())
        attach_port(session, switch, port, wanted.port, used=used, **place)

    def known(self, _session: Session, _switch: str, _record: Mapping[str, Any]) -> dict[str, Any]:
        return {}

    def is_whole(self, _session: Session, _record: Mapping[str, Any]) -> bool:
        return True
