"""VLANs of ports, and the table: port mode × a frame's tags → the tags it leaves with by each mode.

802.1Q-2018 6.9, 8.6.1 and 8.6.2, and what the kernel's bridge does (br_vlan.c: __allowed_ingress,
br_handle_vlan). Every row is written down; nothing of it is computed by a rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from lib.frames import FOREIGN, QINQ, VLAN, tag

Tag = tuple[int, int]
PROTOCOLS = {VLAN: "802.1q", QINQ: "802.1ad", **{tpid: f"{tpid:#x}" for tpid in FOREIGN}}


def s_tag(vid: int, priority: int = 0) -> Tag:
    return tag(vid, priority, QINQ)


def p_tag(vid: int, priority: int = 0, tpid: int = FOREIGN[0]) -> Tag:
    """A tag of before the standard, which the kernel takes for payload."""
    return tag(vid, priority, tpid)


@dataclass(frozen=True)
class Mode:
    """The VLANs of a port.

    Attributes:
        tagged: those of which frames leave with a tag.
        untagged: those of which they leave without.
        pvid: the one of frames that come without a tag, 0 for none.
        tpid: the kind of tag that counts.
    """

    tagged: frozenset[int] = frozenset()
    untagged: frozenset[int] = frozenset()
    pvid: int = 0
    tpid: int = VLAN

    @classmethod
    def of(
        cls, *tagged: int, untagged: tuple[int, ...] = (), pvid: int = 0, tpid: int = VLAN
    ) -> Mode:
        return cls(frozenset(tagged), frozenset(untagged), pvid, tpid)

    @property
    def bits(self) -> dict[str, int]:
        """As the data plane has it: bit n of a set is VID n."""
        untagged = sum(1 << vid for vid in self.untagged)
        members = untagged | sum(1 << vid for vid in self.tagged)
        return {"members": members, "untagged": untagged, "pvid": self.pvid, "tpid": self.tpid}

    @property
    def document(self) -> dict[str, Any]:
        """As the configuration file has it."""
        return {
            "trunk": ",".join(map(str, sorted(self.tagged))),
            "untagged": ",".join(map(str, sorted(self.untagged))),
            "pvid": self.pvid,
            "vlan_protocol": PROTOCOLS[self.tpid],
        }

    def bridge(self, port: str) -> Iterator[str]:
        """As commands of bridge(8), for a port that is in no VLAN."""
        for vid in sorted(self.tagged | self.untagged):
            words = ("untagged" if vid in self.untagged else "", "pvid" if vid == self.pvid else "")
            yield f"vlan add dev {port} vid {vid} {' '.join(words)}"


MODES = {
    "access": Mode.of(untagged=(10,), pvid=10),
    "trunk": Mode.of(10, 20),
    "trunk of all": Mode.of(10, 20, 30),
    "native": Mode.of(10, 20, untagged=(30,), pvid=30),
    "tagged pvid": Mode.of(10, 30, pvid=30),
    "hybrid": Mode.of(untagged=(10, 20), pvid=10),
    "without pvid": Mode.of(20, untagged=(10,)),
    "provider access": Mode.of(untagged=(10,), pvid=10, tpid=QINQ),
    "provider trunk": Mode.of(10, 20, tpid=QINQ),
    "provider native": Mode.of(10, 20, untagged=(30,), pvid=30, tpid=QINQ),
    "9100 access": Mode.of(untagged=(10,), pvid=10, tpid=FOREIGN[0]),
    "9100 trunk": Mode.of(10, 20, tpid=FOREIGN[0]),
}
FRAMES: dict[str, list[Tag]] = {
    "untagged": [],
    "priority": [tag(0, 10)],
    "10": [tag(10, 6)],
    "20": [tag(20, 2)],
    "40": [tag(40)],
    "4095": [tag(4095)],
    "s10": [s_tag(10, 4)],
    "s0": [s_tag(0, 4)],
    "s4095": [s_tag(4095)],
    "10+20": [tag(10, 6), tag(20, 2)],
    "s10+20": [s_tag(10, 4), tag(20, 2)],
    "p10": [p_tag(10, 4)],
    "p0": [p_tag(0, 4)],
    "p4095": [p_tag(4095)],
    "p10+20": [p_tag(10, 4), tag(20, 2)],
    "p10+s20+7": [p_tag(10, 4), s_tag(20, 2), tag(7)],
    "p10+p20": [p_tag(10, 4), p_tag(20, 2)],
    "10+p20": [tag(10, 6), p_tag(20, 2)],
    "another's": [p_tag(10, 4, FOREIGN[1]), tag(20, 2)],
}

Classified = str | tuple[Tag, list[Tag]]

#: What a port tagged in every VLAN sees of a frame that came by a port of the mode: the priority
#: and VID of its tag, and the frame's tags behind it; or the reason why it sees nothing.
#: VL-01, 03, 05, 15, 17, 19, 23, 25.
CLASSIFIED: dict[str, dict[str, Classified]] = {
    "access": {
        "untagged": (tag(10), []),
        "priority": (tag(10, 10), []),
        "10": (tag(10, 6), []),
        "20": "vlan_ingress",
        "40": "vlan_ingress",
        "4095": "vlan_reserved",
        "s10": (tag(10), [s_tag(10, 4)]),
        "s0": (tag(10), [s_tag(0, 4)]),
        "s4095": (tag(10), [s_tag(4095)]),
        "10+20": (tag(10, 6), [tag(20, 2)]),
        "s10+20": (tag(10), [s_tag(10, 4), tag(20, 2)]),
        "p10": (tag(10), [p_tag(10, 4)]),
        "p0": (tag(10), [p_tag(0, 4)]),
        "p4095": (tag(10), [p_tag(4095)]),
        "p10+20": (tag(10), [p_tag(10, 4), tag(20, 2)]),
        "p10+s20+7": (tag(10), [p_tag(10, 4), s_tag(20, 2), tag(7)]),
        "p10+p20": (tag(10), [p_tag(10, 4), p_tag(20, 2)]),
        "10+p20": (tag(10, 6), [p_tag(20, 2)]),
        "another's": (tag(10), [p_tag(10, 4, FOREIGN[1]), tag(20, 2)]),
    },
    "trunk": {
        "untagged": "vlan_none",
        "priority": "vlan_none",
        "10": (tag(10, 6), []),
        "20": (tag(20, 2), []),
        "40": "vlan_ingress",
        "4095": "vlan_reserved",
        "s10": "vlan_none",
        "s0": "vlan_none",
        "s4095": "vlan_none",
        "10+20": (tag(10, 6), [tag(20, 2)]),
        "s10+20": "vlan_none",
        "p10": "vlan_none",
        "p0": "vlan_none",
        "p4095": "vlan_none",
        "p10+20": "vlan_none",
        "p10+s20+7": "vlan_none",
        "p10+p20": "vlan_none",
        "10+p20": (tag(10, 6), [p_tag(20, 2)]),
        "another's": "vlan_none",
    },
    "trunk of all": {
        "untagged": "vlan_none",
        "priority": "vlan_none",
        "10": (tag(10, 6), []),
        "20": (tag(20, 2), []),
        "40": "vlan_ingress",
        "4095": "vlan_reserved",
        "s10": "vlan_none",
        "s0": "vlan_none",
        "s4095": "vlan_none",
        "10+20": (tag(10, 6), [tag(20, 2)]),
        "s10+20": "vlan_none",
        "p10": "vlan_none",
        "p0": "vlan_none",
        "p4095": "vlan_none",
        "p10+20": "vlan_none",
        "p10+s20+7": "vlan_none",
        "p10+p20": "vlan_none",
        "10+p20": (tag(10, 6), [p_tag(20, 2)]),
        "another's": "vlan_none",
    },
    "native": {
        "untagged": (tag(30), []),
        "priority": (tag(30, 10), []),
        "10": (tag(10, 6), []),
        "20": (tag(20, 2), []),
        "40": "vlan_ingress",
        "4095": "vlan_reserved",
        "s10": (tag(30), [s_tag(10, 4)]),
        "s0": (tag(30), [s_tag(0, 4)]),
        "s4095": (tag(30), [s_tag(4095)]),
        "10+20": (tag(10, 6), [tag(20, 2)]),
        "s10+20": (tag(30), [s_tag(10, 4), tag(20, 2)]),
        "p10": (tag(30), [p_tag(10, 4)]),
        "p0": (tag(30), [p_tag(0, 4)]),
        "p4095": (tag(30), [p_tag(4095)]),
        "p10+20": (tag(30), [p_tag(10, 4), tag(20, 2)]),
        "p10+s20+7": (tag(30), [p_tag(10, 4), s_tag(20, 2), tag(7)]),
        "p10+p20": (tag(30), [p_tag(10, 4), p_tag(20, 2)]),
        "10+p20": (tag(10, 6), [p_tag(20, 2)]),
        "another's": (tag(30), [p_tag(10, 4, FOREIGN[1]), tag(20, 2)]),
    },
    "tagged pvid": {
        "untagged": (tag(30), []),
        "priority": (tag(30, 10), []),
        "10": (tag(10, 6), []),
        "20": "vlan_ingress",
        "40": "vlan_ingress",
        "4095": "vlan_reserved",
        "s10": (tag(30), [s_tag(10, 4)]),
        "s0": (tag(30), [s_tag(0, 4)]),
        "s4095": (tag(30), [s_tag(4095)]),
        "10+20": (tag(10, 6), [tag(20, 2)]),
        "s10+20": (tag(30), [s_tag(10, 4), tag(20, 2)]),
        "p10": (tag(30), [p_tag(10, 4)]),
        "p0": (tag(30), [p_tag(0, 4)]),
        "p4095": (tag(30), [p_tag(4095)]),
        "p10+20": (tag(30), [p_tag(10, 4), tag(20, 2)]),
        "p10+s20+7": (tag(30), [p_tag(10, 4), s_tag(20, 2), tag(7)]),
        "p10+p20": (tag(30), [p_tag(10, 4), p_tag(20, 2)]),
        "10+p20": (tag(10, 6), [p_tag(20, 2)]),
        "another's": (tag(30), [p_tag(10, 4, FOREIGN[1]), tag(20, 2)]),
    },
    "hybrid": {
        "untagged": (tag(10), []),
        "priority": (tag(10, 10), []),
        "10": (tag(10, 6), []),
        "20": (tag(20, 2), []),
        "40": "vlan_ingress",
        "4095": "vlan_reserved",
        "s10": (tag(10), [s_tag(10, 4)]),
        "s0": (tag(10), [s_tag(0, 4)]),
        "s4095": (tag(10), [s_tag(4095)]),
        "10+20": (tag(10, 6), [tag(20, 2)]),
        "s10+20": (tag(10), [s_tag(10, 4), tag(20, 2)]),
        "p10": (tag(10), [p_tag(10, 4)]),
        "p0": (tag(10), [p_tag(0, 4)]),
        "p4095": (tag(10), [p_tag(4095)]),
        "p10+20": (tag(10), [p_tag(10, 4), tag(20, 2)]),
        "p10+s20+7": (tag(10), [p_tag(10, 4), s_tag(20, 2), tag(7)]),
        "p10+p20": (tag(10), [p_tag(10, 4), p_tag(20, 2)]),
        "10+p20": (tag(10, 6), [p_tag(20, 2)]),
        "another's": (tag(10), [p_tag(10, 4, FOREIGN[1]), tag(20, 2)]),
    },
    "without pvid": {
        "untagged": "vlan_none",
        "priority": "vlan_none",
        "10": (tag(10, 6), []),
        "20": (tag(20, 2), []),
        "40": "vlan_ingress",
        "4095": "vlan_reserved",
        "s10": "vlan_none",
        "s0": "vlan_none",
        "s4095": "vlan_none",
        "10+20": (tag(10, 6), [tag(20, 2)]),
        "s10+20": "vlan_none",
        "p10": "vlan_none",
        "p0": "vlan_none",
        "p4095": "vlan_none",
        "p10+20": "vlan_none",
        "p10+s20+7": "vlan_none",
        "p10+p20": "vlan_none",
        "10+p20": (tag(10, 6), [p_tag(20, 2)]),
        "another's": "vlan_none",
    },
    "provider access": {
        "untagged": (tag(10), []),
        "priority": (tag(10), [tag(0, 10)]),
        "10": (tag(10), [tag(10, 6)]),
        "20": (tag(10), [tag(20, 2)]),
        "40": (tag(10), [tag(40)]),
        "4095": (tag(10), [tag(4095)]),
        "s10": (tag(10, 4), []),
        "s0": (tag(10, 4), []),
        "s4095": "vlan_reserved",
        "10+20": (tag(10), [tag(10, 6), tag(20, 2)]),
        "s10+20": (tag(10, 4), [tag(20, 2)]),
        "p10": (tag(10), [p_tag(10, 4)]),
        "p0": (tag(10), [p_tag(0, 4)]),
        "p4095": (tag(10), [p_tag(4095)]),
        "p10+20": (tag(10), [p_tag(10, 4), tag(20, 2)]),
        "p10+s20+7": (tag(10), [p_tag(10, 4), s_tag(20, 2), tag(7)]),
        "p10+p20": (tag(10), [p_tag(10, 4), p_tag(20, 2)]),
        "10+p20": (tag(10), [tag(10, 6), p_tag(20, 2)]),
        "another's": (tag(10), [p_tag(10, 4, FOREIGN[1]), tag(20, 2)]),
    },
    "provider trunk": {
        "untagged": "vlan_none",
        "priority": "vlan_none",
        "10": "vlan_none",
        "20": "vlan_none",
        "40": "vlan_none",
        "4095": "vlan_none",
        "s10": (tag(10, 4), []),
        "s0": "vlan_none",
        "s4095": "vlan_reserved",
        "10+20": "vlan_none",
        "s10+20": (tag(10, 4), [tag(20, 2)]),
        "p10": "vlan_none",
        "p0": "vlan_none",
        "p4095": "vlan_none",
        "p10+20": "vlan_none",
        "p10+s20+7": "vlan_none",
        "p10+p20": "vlan_none",
        "10+p20": "vlan_none",
        "another's": "vlan_none",
    },
    "provider native": {
        "untagged": (tag(30), []),
        "priority": (tag(30), [tag(0, 10)]),
        "10": (tag(30), [tag(10, 6)]),
        "20": (tag(30), [tag(20, 2)]),
        "40": (tag(30), [tag(40)]),
        "4095": (tag(30), [tag(4095)]),
        "s10": (tag(10, 4), []),
        "s0": (tag(30, 4), []),
        "s4095": "vlan_reserved",
        "10+20": (tag(30), [tag(10, 6), tag(20, 2)]),
        "s10+20": (tag(10, 4), [tag(20, 2)]),
        "p10": (tag(30), [p_tag(10, 4)]),
        "p0": (tag(30), [p_tag(0, 4)]),
        "p4095": (tag(30), [p_tag(4095)]),
        "p10+20": (tag(30), [p_tag(10, 4), tag(20, 2)]),
        "p10+s20+7": (tag(30), [p_tag(10, 4), s_tag(20, 2), tag(7)]),
        "p10+p20": (tag(30), [p_tag(10, 4), p_tag(20, 2)]),
        "10+p20": (tag(30), [tag(10, 6), p_tag(20, 2)]),
        "another's": (tag(30), [p_tag(10, 4, FOREIGN[1]), tag(20, 2)]),
    },
    "9100 access": {
        "untagged": (tag(10), []),
        "priority": (tag(10), [tag(0, 10)]),
        "10": (tag(10), [tag(10, 6)]),
        "20": (tag(10), [tag(20, 2)]),
        "40": (tag(10), [tag(40)]),
        "4095": (tag(10), [tag(4095)]),
        "s10": (tag(10), [s_tag(10, 4)]),
        "s0": (tag(10), [s_tag(0, 4)]),
        "s4095": (tag(10), [s_tag(4095)]),
        "10+20": (tag(10), [tag(10, 6), tag(20, 2)]),
        "s10+20": (tag(10), [s_tag(10, 4), tag(20, 2)]),
        "p10": (tag(10, 4), []),
        "p0": (tag(10, 4), []),
        "p4095": "vlan_reserved",
        "p10+20": (tag(10, 4), [tag(20, 2)]),
        "p10+s20+7": (tag(10, 4), [s_tag(20, 2), tag(7)]),
        "p10+p20": (tag(10, 4), [p_tag(20, 2)]),
        "10+p20": (tag(10), [tag(10, 6), p_tag(20, 2)]),
        "another's": (tag(10), [p_tag(10, 4, FOREIGN[1]), tag(20, 2)]),
    },
    "9100 trunk": {
        "untagged": "vlan_none",
        "priority": "vlan_none",
        "10": "vlan_none",
        "20": "vlan_none",
        "40": "vlan_none",
        "4095": "vlan_none",
        "s10": "vlan_none",
        "s0": "vlan_none",
        "s4095": "vlan_none",
        "10+20": "vlan_none",
        "s10+20": "vlan_none",
        "p10": (tag(10, 4), []),
        "p0": "vlan_none",
        "p4095": "vlan_reserved",
        "p10+20": (tag(10, 4), [tag(20, 2)]),
        "p10+s20+7": (tag(10, 4), [s_tag(20, 2), tag(7)]),
        "p10+p20": (tag(10, 4), [p_tag(20, 2)]),
        "10+p20": "vlan_none",
        "another's": "vlan_none",
    },
}

UNTAGGED = 0

#: The VLANs of which frames leave by a port of the mode, and the protocol of the tag that they have
#: then; other VLANs' do not leave. VL-07, 09, 17.
LEAVING: dict[str, dict[int, int]] = {
    "access": {10: UNTAGGED},
    "trunk": {10: VLAN, 20: VLAN},
    "trunk of all": {10: VLAN, 20: VLAN, 30: VLAN},
    "native": {10: VLAN, 20: VLAN, 30: UNTAGGED},
    "tagged pvid": {10: VLAN, 30: VLAN},
    "hybrid": {10: UNTAGGED, 20: UNTAGGED},
    "without pvid": {10: UNTAGGED, 20: VLAN},
    "provider access": {10: UNTAGGED},
    "provider trunk": {10: QINQ, 20: QINQ},
    "provider native": {10: QINQ, 20: QINQ, 30: UNTAGGED},
    "9100 access": {10: UNTAGGED},
    "9100 trunk": {10: FOREIGN[0], 20: FOREIGN[0]},
}


class Row(NamedTuple):
    """A frame that comes by a port of a mode, and what it is inside."""

    mode: str
    frame: str
    tags: list[Tag]
    result: Classified


def rows(modes: Mapping[str, Mode] = MODES) -> list[Row]:
    return [
        Row(mode, name, FRAMES[name], result)
        for mode in modes
        for name, result in CLASSIFIED[mode].items()
    ]


def leaving(mode: str, outer: Tag, inner: list[Tag]) -> list[Tag] | None:
    """The tags with which a frame leaves by a port of the mode that has `outer` at a port tagged in
    every VLAN, and `inner` behind it; None: it does not leave."""
    tci = outer[1]
    tpid = LEAVING[mode].get(tci & 0xFFF)
    if tpid is None:
        return None
    return inner if tpid == UNTAGGED else [(tpid, tci), *inner]
