from collections.abc import Iterable
from typing import Any, Final

ABI_VERSION: Final[int]
MAX_PORTS: Final[int]
FLOWS: Final[int]
VIDS: Final[int]
VLAN_RULES_MAX: Final[int]
FDB_DEFAULT: Final[int]
FDB_MAX: Final[int]
AGEING_DEFAULT: Final[int]
AGEING_MAX: Final[int]
EVENT_RING: Final[int]
SWITCHED: Final[int]
ENTRIES: Final[dict[int, str]]
MAPS: Final[list[dict[str, Any]]]
PROGRAMS: Final[list[dict[str, Any]]]
TAILS: Final[dict[int, str]]
REASONS: Final[dict[int, str]]
REASON_TEXTS: Final[dict[str, str]]
NOTICE_FIRST: Final[int]
SWITCH_FLAGS: Final[dict[str, int]]
PORT_FLAGS: Final[dict[str, int]]
HOOKS: Final[dict[str, int]]
FDB_FLAGS: Final[dict[str, int]]
EVENTS: Final[dict[int, str]]
UNDO_FLAGS: Final[dict[str, int]]
VLAN_RULE_KINDS: Final[dict[str, int]]

def unpack_switch(raw: bytes) -> dict[str, Any]: ...
def pack_switch(
    ageing_ns: int,
    refresh_ns: int,
    watch_until_ns: int,
    flags: int,
    port_slots: int,
    xdp_ports: int,
    vlan_rules: int = 0,
) -> bytes: ...
def unpack_switch_state(raw: bytes) -> dict[str, Any]: ...
def unpack_port(raw: bytes) -> dict[str, Any]: ...
def pack_port(
    ifindex: int = 0,
    flags: int = 0,
    twin: int = 0,
    bd: int = 0,
    group_forward: int = 0,
    peer_mac: bytes = ...,
    learn_limit: int = 0,
    storm_pps: Iterable[int] = (0, 0, 0),
    group_forward_own: int = 0,
    hook_wanted: int = 0,
    hook: int = 0,
    tpid: int = 0,
    priority: int = 0,
    pvid: int = 0,
) -> bytes: ...
def unpack_flow(raw: bytes) -> dict[str, Any]: ...
def unpack_port_state(raw: bytes) -> dict[str, Any]: ...
def sum_port_stats(raw: bytes) -> dict[str, int]: ...
def sum_vlan_stats(raw: bytes) -> dict[str, int]: ...
def pack_port_vlans(member: int, untagged: int) -> bytes: ...
def unpack_port_vlans(raw: bytes) -> tuple[int, int]: ...
def pack_vlan(member: int, untagged: int) -> bytes: ...
def unpack_vlan(raw: bytes) -> tuple[int, int]: ...
def pack_vlan_mapping_key(port: int, vid: int, egress: bool) -> bytes: ...
def unpack_vlan_mapping_key(raw: bytes) -> tuple[int, int, bool]: ...
def pack_vlan_rule_key(kind: int, prefix: bytes, length: int) -> bytes: ...
def unpack_vlan_rule_key(raw: bytes) -> tuple[int, bytes, int]: ...
def unpack_reason_key(raw: bytes) -> tuple[int, int]: ...
def unpack_fdb_entry(raw: bytes) -> dict[str, Any]: ...
def pack_fdb_key(mac: bytes, bd: int) -> bytes: ...
def unpack_fdb_key(raw: bytes) -> tuple[bytes, int]: ...
def pack_fdb_entry(seen_ns: int, port: int, flags: int, generation: int = 0) -> bytes: ...
def unpack_event(raw: bytes) -> tuple[int, bytes, int, int, int, int]: ...
def unpack_meta(raw: bytes) -> dict[str, Any]: ...
def pack_meta(
    name: str,
    netns_cookie: int,
    netns_inode: int,
    confirm_deadline_ns: int,
    fdb_size: int,
    max_ports: int,
    host_ifindex: int,
    host_port_ifindex: int,
    group_forward: int,
    mac: bytes,
    build: int,
    ageing_s: int,
) -> bytes: ...
def unpack_undo(raw: bytes) -> dict[str, int]: ...
def pack_undo(flags: int = 0, foreign_xdp_id: int = 0, foreign_xdp_mode: int = 0) -> bytes: ...
