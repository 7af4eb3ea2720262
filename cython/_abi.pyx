# cython: language_level=3, embedsignature=True
"""The ABI of bpf/include/vnetx/abi.h in Python: constants, maps, programs, struct codecs.

Enumerations come as dicts of name to number, structs as dicts of member to
value: ``unpack_*`` reads one from bytes, ``pack_*`` makes the bytes of one
(members that are left out are zero).
"""
from libc.stdint cimport uint32_t, uint8_t, uint64_t
from libc.string cimport memcpy, memset

from abi cimport *

cdef extern from *:
    """
    #include <linux/bpf.h>
    #include "vnetx/abi.h"

    #ifndef BPF_F_XDP_HAS_FRAGS
    #define BPF_F_XDP_HAS_FRAGS (1U << 5)
    #endif

    /* A type named void in the table stands for a size of 0. */
    typedef struct {} vnetx_nothing;

    struct map_row {
        uint32_t id, type, key_size, value_size, entries, flags;
        const char *name;
    };
    #define void vnetx_nothing
    #define MAP_ROW(ID, NAME, TYPE, KEY, VALUE, ENTRIES, FLAGS)                     \
        { VNETX_MAP_##ID, BPF_MAP_TYPE_##TYPE, sizeof(KEY), sizeof(VALUE), ENTRIES, FLAGS, NAME },
    static const struct map_row map_rows[] = { VNETX_MAPS(MAP_ROW) };
    #undef void
    #define MAP_ROWS (sizeof(map_rows) / sizeof(map_rows[0]))

    struct program_row {
        const char *function, *name, *source;
        uint32_t type, attach_type, flags;
    };
    #define PROGRAM_ROW(FUNCTION, NAME, SOURCE, TYPE, ATTACH, FLAGS)                \
        { #FUNCTION, NAME, SOURCE, BPF_PROG_TYPE_##TYPE, ATTACH, FLAGS },
    static const struct program_row program_rows[] = { VNETX_PROGRAMS(PROGRAM_ROW) };
    #define PROGRAM_ROWS (sizeof(program_rows) / sizeof(program_rows[0]))

    struct reason_row {
        uint32_t number;
        const char *name, *text;
    };
    #define REASON_ROW(C, NAME, TEXT) { VNETX_##C, NAME, TEXT },
    static const struct reason_row reason_rows[] = { VNETX_REASONS(REASON_ROW) };
    #define REASON_ROWS (sizeof(reason_rows) / sizeof(reason_rows[0]))
    """
    struct map_row:
        uint32_t id, type, key_size, value_size, entries, flags
        const char *name
    const map_row map_rows[]
    int MAP_ROWS

    struct program_row:
        const char *function
        const char *name
        const char *source
        uint32_t type, attach_type, flags
    const program_row program_rows[]
    int PROGRAM_ROWS

    struct reason_row:
        uint32_t number
        const char *name
        const char *text
    const reason_row reason_rows[]
    int REASON_ROWS

cdef extern from "vnetx/abi.h":
    enum:
        VNETX_ABI_VERSION
        VNETX_MAX_PORTS
        VNETX_FDB_DEFAULT
        VNETX_FDB_MAX
        VNETX_AGEING_DEFAULT
        VNETX_AGEING_MAX
        VNETX_EVENT_RING
        VNETX_SWITCHED
        VNETX_TAIL_FLOOD
        VNETX_TAIL_FLOOD_VLAN
        VNETX_SWITCH_STATIC_MOVE
        VNETX_SWITCH_IMPLICIT
        VNETX_SWITCH_TRANSPARENT
        VNETX_SWITCH_VLAN_AWARE
        VNETX_SWITCH_SHARED_LEARNING
        VNETX_PORT_UP
        VNETX_PORT_LEARNING
        VNETX_PORT_FLOOD_UNICAST
        VNETX_PORT_FLOOD_MULTICAST
        VNETX_PORT_FLOOD_BROADCAST
        VNETX_PORT_ISOLATED
        VNETX_PORT_HAIRPIN
        VNETX_PORT_HOST
        VNETX_PORT_PEER
        VNETX_PORT_XDP
        VNETX_PORT_STORM
        VNETX_PORT_PEER_RETYPE
        VNETX_PORT_VLAN
        VNETX_PORT_SHARED
        VNETX_PORT_TAGGED_ONLY
        VNETX_PORT_UNTAGGED_ONLY
        VNETX_PORT_MAPPING
        VNETX_PORT_VTEP
        VNETX_TAIL_FLOOD_VTEPS
        VNETX_TAIL_VXLAN_OUT
        VNETX_TAIL_TOO_BIG
        VNETX_TAIL_CLAMP_MSS
        VNETX_TAIL_VXLAN
        VNETX_TAIL_VXLAN_IN
        VNETX_TAIL_NEIGH_ANSWER
        VNETX_TAIL_NEIGH_LEARN
        VNETX_TAIL_SOURCES
        VNETX_TAIL_TC_INGRESS
        VNETX_TAIL_TC_EGRESS
        VNETX_TAIL_IPVLAN_TO
        VNETX_NEIGHBOUR_ROUTER
        VNETX_TAIL_XDP_VXLAN_OUT
        VNETX_OUTERS
        VNETX_VTEPS_LEARNED
        VNETX_VNI_REMOTES_MAX
        VNETX_VNI_MAX
        VNETX_TOS_INHERIT
        VNETX_VNI_LEARNING
        VNETX_VNI_DF
        VNETX_VNI_CLAMP_MSS
        VNETX_VNI_GBP
        VNETX_VNI_NEIGH_SUPPRESS
        VNETX_VNI_IGNORE_RESERVED
        VNETX_VNI_UDP6_ZERO_CHECKSUM
        VNETX_INTERFACE_VETH
        VNETX_INTERFACE_TAP
        VNETX_INTERFACE_TUN
        VNETX_INTERFACE_MACVLAN
        VNETX_INTERFACE_IPVLAN
        VNETX_PORT_HOST_PORT
        VNETX_PORT_BRIDGE
        VNETX_PORT_VEPA
        VNETX_PORT_PRIVATE
        VNETX_PORT_SOURCE
        VNETX_PORT_NO_HOST
        VNETX_PORT_TUN
        VNETX_PORT_IPVLAN
        VNETX_PORT_L3
        VNETX_PORT_L3S
        VNETX_SWITCH_SOURCES
        VNETX_SWITCH_IPVLAN
        VNETX_SOURCE_PORTS
        VNETX_PORT_GONE
        VNETX_VIDS
        VNETX_PORT_WORDS
        VNETX_VLAN_RULES_MAX
        VNETX_NETNS_LEN
        VNETX_VLAN_RULE_MAC
        VNETX_VLAN_RULE_IPV4
        VNETX_VLAN_RULE_IPV6
        VNETX_VLAN_RULE_PROTOCOL
        VNETX_FLOWS
        VNETX_HOOK_AUTO
        VNETX_HOOK_TC
        VNETX_HOOK_XDP
        VNETX_HOOK_XDP_GENERIC
        VNETX_EVENT_LEARN
        VNETX_EVENT_MOVE
        VNETX_EVENT_AGE
        VNETX_UNDO_PROMISC
        VNETX_UNDO_CLSACT
        VNETX_UNDO_RXVLAN_OFF
        VNETX_UNDO_LRO_OFF
        VNETX_UNDO_GRO_HW_OFF
        VNETX_UNDO_PEER_TX_OFF
        VNETX_UNDO_PEER_TXVLAN_OFF
        VNETX_UNDO_PEER_GRO_ON
        VNETX_UNDO_UNCONFIRMED
        VNETX_UNDO_FOREIGN_XDP
        VNETX_UNDO_PEER_TXSCTP_OFF
        VNETX_UNDO_RXSTAG_OFF
        VNETX_UNDO_PEER_TXSTAG_OFF
        VNETX_UNDO_GRO_OFF
        VNETX_UNDO_WIRE_DOWN
        VNETX_UNDO_WIRE
        VNETX_WIRE_CUT_HERE
        VNETX_WIRE_SECOND
        VNETX_WIRE_CARRIER
        VNETX_WIRE_PEER
        VNETX_WIRE_PEER_RETYPE
    uint32_t VNETX_ENTRIES_FDB
    uint32_t VNETX_ENTRIES_PORTS
    uint32_t VNETX_ENTRIES_CLOCK
    uint32_t VNETX_ENTRIES_REASONS
    uint32_t VNETX_ENTRIES_FLOWS
    uint32_t VNETX_ENTRIES_SLOTS
    uint32_t VNETX_ENTRIES_OUTERS

ABI_VERSION = VNETX_ABI_VERSION
MAX_PORTS = VNETX_MAX_PORTS
FLOWS = VNETX_FLOWS
OUTERS = VNETX_OUTERS
VIDS = VNETX_VIDS
VLAN_RULES_MAX = VNETX_VLAN_RULES_MAX
NETNS_LEN = VNETX_NETNS_LEN
FDB_DEFAULT = VNETX_FDB_DEFAULT
FDB_MAX = VNETX_FDB_MAX
AGEING_DEFAULT = VNETX_AGEING_DEFAULT
AGEING_MAX = VNETX_AGEING_MAX
EVENT_RING = VNETX_EVENT_RING
SWITCHED = VNETX_SWITCHED
VNI_MAX = VNETX_VNI_MAX
VNI_REMOTES_MAX = VNETX_VNI_REMOTES_MAX
SOURCE_PORTS = VNETX_SOURCE_PORTS
PORT_GONE = VNETX_PORT_GONE
VTEPS_LEARNED = VNETX_VTEPS_LEARNED
TOS_INHERIT = VNETX_TOS_INHERIT

ENTRIES = {VNETX_ENTRIES_FDB: "fdb", VNETX_ENTRIES_PORTS: "ports",
           VNETX_ENTRIES_CLOCK: "clock", VNETX_ENTRIES_REASONS: "reasons",
           VNETX_ENTRIES_FLOWS: "flows", VNETX_ENTRIES_SLOTS: "slots",
           VNETX_ENTRIES_OUTERS: "outers"}

MAPS = [{"id": map_rows[i].id, "name": map_rows[i].name.decode(), "type": map_rows[i].type,
         "key_size": map_rows[i].key_size, "value_size": map_rows[i].value_size,
         "entries": map_rows[i].entries, "flags": map_rows[i].flags}
        for i in range(MAP_ROWS)]

PROGRAMS = [{"function": program_rows[i].function.decode(),
             "name": program_rows[i].name.decode(),
             "source": program_rows[i].source.decode(), "type": program_rows[i].type,
             "attach_type": program_rows[i].attach_type, "flags": program_rows[i].flags}
            for i in range(PROGRAM_ROWS)]

TAILS = {VNETX_TAIL_FLOOD: "flood", VNETX_TAIL_FLOOD_VLAN: "flood_vlan",
         VNETX_TAIL_FLOOD_VTEPS: "flood_vteps", VNETX_TAIL_VXLAN_OUT: "vxlan_out",
         VNETX_TAIL_TOO_BIG: "too_big",
         VNETX_TAIL_CLAMP_MSS: "clamp_mss", VNETX_TAIL_VXLAN: "vxlan", VNETX_TAIL_VXLAN_IN: "vxlan_in",
         VNETX_TAIL_NEIGH_ANSWER: "neigh_answer", VNETX_TAIL_NEIGH_LEARN: "neigh_learn",
         VNETX_TAIL_SOURCES: "sources", VNETX_TAIL_TC_INGRESS: "tc_ingress",
         VNETX_TAIL_TC_EGRESS: "tc_egress", VNETX_TAIL_IPVLAN_TO: "ipvlan_to"}
TAILS_XDP = {VNETX_TAIL_XDP_VXLAN_OUT: "xdp_vxlan_out"}

REASONS = {reason_rows[i].number: reason_rows[i].name.decode() for i in range(REASON_ROWS)}
REASON_TEXTS = {reason_rows[i].name.decode(): reason_rows[i].text.decode()
                for i in range(REASON_ROWS)}
NOTICE_FIRST = VNETX_NOTICE_FIRST

SWITCH_FLAGS = {"static_move": VNETX_SWITCH_STATIC_MOVE, "implicit": VNETX_SWITCH_IMPLICIT,
                "transparent": VNETX_SWITCH_TRANSPARENT,
                "vlan_aware": VNETX_SWITCH_VLAN_AWARE,
                "shared_learning": VNETX_SWITCH_SHARED_LEARNING,
                "sources": VNETX_SWITCH_SOURCES, "ipvlan": VNETX_SWITCH_IPVLAN}

PORT_FLAGS = {"up": VNETX_PORT_UP, "learning": VNETX_PORT_LEARNING,
              "flood_unicast": VNETX_PORT_FLOOD_UNICAST,
              "flood_multicast": VNETX_PORT_FLOOD_MULTICAST,
              "flood_broadcast": VNETX_PORT_FLOOD_BROADCAST,
              "isolated": VNETX_PORT_ISOLATED, "hairpin": VNETX_PORT_HAIRPIN,
              "host": VNETX_PORT_HOST, "peer": VNETX_PORT_PEER, "xdp": VNETX_PORT_XDP,
              "storm": VNETX_PORT_STORM, "peer_retype": VNETX_PORT_PEER_RETYPE,
              "vlan": VNETX_PORT_VLAN, "shared": VNETX_PORT_SHARED,
              "tagged_only": VNETX_PORT_TAGGED_ONLY,
              "untagged_only": VNETX_PORT_UNTAGGED_ONLY, "mapping": VNETX_PORT_MAPPING,
              "vtep": VNETX_PORT_VTEP, "host_port": VNETX_PORT_HOST_PORT,
              "bridge": VNETX_PORT_BRIDGE, "vepa": VNETX_PORT_VEPA,
              "private": VNETX_PORT_PRIVATE, "source": VNETX_PORT_SOURCE,
              "no_host": VNETX_PORT_NO_HOST, "tun": VNETX_PORT_TUN,
              "ipvlan": VNETX_PORT_IPVLAN, "l3": VNETX_PORT_L3, "l3s": VNETX_PORT_L3S}

VNI_FLAGS = {"learning": VNETX_VNI_LEARNING, "df": VNETX_VNI_DF,
             "clamp_mss": VNETX_VNI_CLAMP_MSS, "gbp": VNETX_VNI_GBP,
             "neigh_suppress": VNETX_VNI_NEIGH_SUPPRESS,
             "ignore_reserved": VNETX_VNI_IGNORE_RESERVED,
             "udp6_zero_checksum": VNETX_VNI_UDP6_ZERO_CHECKSUM}

NEIGHBOUR_FLAGS = {"router": VNETX_NEIGHBOUR_ROUTER}

HOOKS = {"auto": VNETX_HOOK_AUTO, "tc": VNETX_HOOK_TC, "xdp": VNETX_HOOK_XDP,
         "xdp-generic": VNETX_HOOK_XDP_GENERIC}

FDB_FLAGS = {"static": VNETX_FDB_STATIC, "sticky": VNETX_FDB_STICKY, "local": VNETX_FDB_LOCAL}

EVENTS = {VNETX_EVENT_LEARN: "learn", VNETX_EVENT_MOVE: "move", VNETX_EVENT_AGE: "age-out"}

UNDO_FLAGS = {"promisc": VNETX_UNDO_PROMISC, "clsact": VNETX_UNDO_CLSACT,
              "rxvlan_off": VNETX_UNDO_RXVLAN_OFF, "lro_off": VNETX_UNDO_LRO_OFF,
              "gro_hw_off": VNETX_UNDO_GRO_HW_OFF, "peer_tx_off": VNETX_UNDO_PEER_TX_OFF,
              "peer_txvlan_off": VNETX_UNDO_PEER_TXVLAN_OFF,
              "peer_gro_on": VNETX_UNDO_PEER_GRO_ON, "unconfirmed": VNETX_UNDO_UNCONFIRMED,
              "foreign_xdp": VNETX_UNDO_FOREIGN_XDP,
              "peer_txsctp_off": VNETX_UNDO_PEER_TXSCTP_OFF,
              "rxstag_off": VNETX_UNDO_RXSTAG_OFF,
              "peer_txstag_off": VNETX_UNDO_PEER_TXSTAG_OFF,
              "gro_off": VNETX_UNDO_GRO_OFF, "wire_down": VNETX_UNDO_WIRE_DOWN,
              "wire": VNETX_UNDO_WIRE}

WIRE_FLAGS = {"cut": VNETX_WIRE_CUT_HERE, "second": VNETX_WIRE_SECOND,
              "carrier": VNETX_WIRE_CARRIER, "peer": VNETX_WIRE_PEER,
              "peer_retype": VNETX_WIRE_PEER_RETYPE}

INTERFACE_KINDS = {"veth": VNETX_INTERFACE_VETH, "tap": VNETX_INTERFACE_TAP,
                   "tun": VNETX_INTERFACE_TUN, "macvlan": VNETX_INTERFACE_MACVLAN,
                   "ipvlan": VNETX_INTERFACE_IPVLAN}

VLAN_RULE_KINDS = {"mac": VNETX_VLAN_RULE_MAC, "ipv4": VNETX_VLAN_RULE_IPV4,
                   "ipv6": VNETX_VLAN_RULE_IPV6, "protocol": VNETX_VLAN_RULE_PROTOCOL}

ctypedef fused record:
    vnetx_switch
    vnetx_switch_state
    vnetx_port
    vnetx_flow
    vnetx_port_state
    vnetx_port_stats
    vnetx_port_vlans
    vnetx_vlan
    vnetx_vlan_stats
    vnetx_vlan_mapping_key
    vnetx_vlan_rule_key
    vnetx_interface_key
    vnetx_interface
    vnetx_reason_key
    vnetx_fdb_key
    vnetx_fdb_entry
    vnetx_event
    vnetx_meta
    vnetx_undo
    vnetx_vni
    vnetx_vni_remotes
    vnetx_vtep
    vnetx_outer
    vnetx_underlay
    vnetx_neighbour_key
    vnetx_neighbour
    vnetx_source_key
    vnetx_source
    vnetx_tun
    vnetx_wire
    vnetx_address


cdef int load(record *out, bytes raw) except -1:
    if <size_t>len(raw) < sizeof(out[0]):
        raise ValueError(f"{len(raw)} bytes where the ABI has {sizeof(out[0])}")
    memcpy(out, <const char *>raw, sizeof(out[0]))
    return 0


cdef bytes dump(record *value):
    return (<const char *>value)[:sizeof(value[0])]


cdef int put_text(char *to, size_t size, str text) except -1:
    """Text with a zero behind it."""
    cdef bytes encoded = text.encode()
    if <size_t>len(encoded) >= size:
        raise ValueError(f"{text}: longer than {size - 1} bytes")
    memcpy(to, <const char *>encoded, len(encoded))
    return 0


def unpack_switch(bytes raw):
    cdef vnetx_switch value
    load(&value, raw)
    return value


def pack_switch(uint64_t ageing_ns, uint64_t refresh_ns, uint64_t watch_until_ns, uint32_t flags,
                uint32_t port_slots, uint32_t xdp_ports, uint32_t vlan_rules=0):
    cdef vnetx_switch value
    memset(&value, 0, sizeof(value))
    value.ageing_ns = ageing_ns
    value.refresh_ns = refresh_ns
    value.watch_until_ns = watch_until_ns
    value.flags = flags
    value.port_slots = port_slots
    value.xdp_ports = xdp_ports
    value.vlan_rules = vlan_rules
    return dump(&value)


def unpack_switch_state(bytes raw):
    cdef vnetx_switch_state value
    load(&value, raw)
    return value


def unpack_port(bytes raw):
    """peer_mac is bytes; storm_pps a list in the order broadcast, multicast, unicast."""
    cdef vnetx_port value
    load(&value, raw)
    result = <object>value
    result["peer_mac"] = (<const char *>value.peer_mac)[:6]
    return result


def pack_port(uint32_t ifindex=0, uint32_t flags=0, int twin=0, int bd=0, int group_forward=0,
              bytes peer_mac=bytes(6), uint32_t learn_limit=0, storm_pps=(0, 0, 0),
              int group_forward_own=0, int hook_wanted=0, int hook=0, int tpid=0, int priority=0,
              int pvid=0, int parent=0, int wire=0):
    cdef vnetx_port value
    memset(&value, 0, sizeof(value))
    value.ifindex = ifindex
    value.flags = flags
    value.twin = twin
    value.bd = bd
    value.group_forward = group_forward
    memcpy(value.peer_mac, <const char *>peer_mac, 6)
    value.learn_limit = learn_limit
    value.storm_pps = tuple(storm_pps)
    value.group_forward_own = group_forward_own
    value.hook_wanted = hook_wanted
    value.hook = hook
    value.tpid = tpid
    value.priority = priority
    value.pvid = pvid
    value.parent = parent
    value.wire = wire
    return dump(&value)


def unpack_flow(bytes raw):
    """addresses are the bytes of destination and source."""
    cdef vnetx_flow value
    load(&value, raw)
    result = <object>value
    result["addresses"] = (<const char *>value.addresses)[:12]
    return result


def unpack_port_state(bytes raw):
    cdef vnetx_port_state value
    load(&value, raw)
    return value


def with_learned(bytes raw, int64_t learned):
    """A vnetx_port_state with another number of learned addresses."""
    cdef vnetx_port_state value
    load(&value, raw)
    value.learned = learned
    return dump(&value)


def sum_port_stats(bytes raw):
    """Sum the counters of all CPUs (one struct each)."""
    cdef vnetx_port_stats total, value
    cdef Py_ssize_t i
    cdef uint64_t *sums = <uint64_t *>&total
    cdef uint64_t *parts = <uint64_t *>&value
    cdef size_t k
    memset(&total, 0, sizeof(total))
    for i in range(0, len(raw), sizeof(value)):
        memcpy(&value, <const char *>raw + i, sizeof(value))
        for k in range(sizeof(value) // 8):
            sums[k] += parts[k]
    return total


def sum_vlan_stats(bytes raw):
    """Sum the counters of all CPUs (one struct each)."""
    cdef vnetx_vlan_stats total, value
    cdef Py_ssize_t i
    memset(&total, 0, sizeof(total))
    for i in range(0, len(raw), sizeof(value)):
        memcpy(&value, <const char *>raw + i, sizeof(value))
        total.rx_frames += value.rx_frames
        total.rx_bytes += value.rx_bytes
        total.tx_frames += value.tx_frames
        total.tx_bytes += value.tx_bytes
    return total


def pack_port_vlans(object member, object untagged):
    """Sets of VIDs are ints: bit n is VID n."""
    return member.to_bytes(VNETX_VIDS // 8, "little") + untagged.to_bytes(VNETX_VIDS // 8, "little")


def unpack_port_vlans(bytes raw):
    """Return (member, untagged) as ints: bit n is VID n."""
    half = VNETX_VIDS // 8
    return int.from_bytes(raw[:half], "little"), int.from_bytes(raw[half:2 * half], "little")


def pack_vlan(object member, object untagged):
    """Sets of ports are ints: bit n is the port of index n."""
    return (member.to_bytes(VNETX_PORT_WORDS * 8, "little") +
            untagged.to_bytes(VNETX_PORT_WORDS * 8, "little"))


def unpack_vlan(bytes raw):
    """Return (member, untagged) as ints: bit n is the port of index n."""
    half = VNETX_PORT_WORDS * 8
    return int.from_bytes(raw[:half], "little"), int.from_bytes(raw[half:2 * half], "little")


def pack_vlan_mapping_key(uint32_t port, int vid, bint egress):
    cdef vnetx_vlan_mapping_key value
    memset(&value, 0, sizeof(value))
    value.port = port
    value.vid = vid
    value.egress = egress
    return dump(&value)


def unpack_vlan_mapping_key(bytes raw):
    """Return (port, vid, whether it is from inside to the wire)."""
    cdef vnetx_vlan_mapping_key value
    load(&value, raw)
    return value.port, value.vid, bool(value.egress)


def pack_vlan_rule_key(uint32_t kind, bytes prefix not None, uint32_t length):
    """`prefix` is bytes in network order, of which the first `length` bits count."""
    cdef vnetx_vlan_rule_key value
    memset(&value, 0, sizeof(value))
    if <size_t>len(prefix) > sizeof(value.data):
        raise ValueError("longer than the ABI has room for")
    value.prefix_len = 8 * sizeof(value.kind) + length
    value.kind = kind
    memcpy(value.data, <const char *>prefix, len(prefix))
    return dump(&value)


def unpack_vlan_rule_key(bytes raw):
    """Return (kind, 16 bytes, how many bits of them count)."""
    cdef vnetx_vlan_rule_key value
    load(&value, raw)
    return value.kind, bytes(value.data[:16]), value.prefix_len - 8 * sizeof(value.kind)


def unpack_reason_key(bytes raw):
    cdef vnetx_reason_key value
    load(&value, raw)
    return value.port, value.reason


def unpack_fdb_entry(bytes raw):
    cdef vnetx_fdb_entry value
    load(&value, raw)
    return value


def pack_fdb_key(bytes mac, int bd):
    cdef vnetx_fdb_key value
    memset(&value, 0, sizeof(value))
    if len(mac) != 6:
        raise ValueError("a MAC address has six bytes")
    memcpy(value.mac, <const char *>mac, 6)
    value.bd = bd
    return dump(&value)


def unpack_fdb_key(bytes raw):
    """Return (mac as bytes, bd)."""
    cdef vnetx_fdb_key value
    load(&value, raw)
    return (<const char *>value.mac)[:6], value.bd


def pack_fdb_entry(uint64_t seen_ns, int port, int flags, uint32_t generation=0):
    cdef vnetx_fdb_entry value
    memset(&value, 0, sizeof(value))
    value.seen_ns = seen_ns
    value.port = port
    value.flags = flags
    value.generation = generation
    return dump(&value)


def unpack_event(bytes raw):
    """Return (time_ns, mac as bytes, bd, kind, port, old_port)."""
    cdef vnetx_event value
    load(&value, raw)
    return (value.time_ns, (<const char *>value.key.mac)[:6], value.key.bd, value.kind,
            value.port, value.old_port)


def unpack_meta(bytes raw):
    """name is str, mac bytes."""
    cdef vnetx_meta value
    load(&value, raw)
    result = <object>value
    result["name"] = bytes(value.name).decode()
    result["mac"] = (<const char *>value.mac)[:6]
    return result


def pack_meta(str name, uint64_t netns_cookie, uint64_t netns_inode, uint64_t confirm_deadline_ns,
              uint32_t fdb_size, uint32_t max_ports, uint32_t host_ifindex,
              uint32_t host_port_ifindex, int group_forward, bytes mac, uint64_t build,
              uint32_t ageing_s):
    cdef vnetx_meta value
    memset(&value, 0, sizeof(value))
    put_text(value.name, sizeof(value.name), name)
    value.netns_cookie = netns_cookie
    value.netns_inode = netns_inode
    value.confirm_deadline_ns = confirm_deadline_ns
    value.fdb_size = fdb_size
    value.max_ports = max_ports
    value.host_ifindex = host_ifindex
    value.host_port_ifindex = host_port_ifindex
    value.group_forward = group_forward
    memcpy(value.mac, <const char *>mac, 6)
    value.build = build
    value.ageing_s = ageing_s
    return dump(&value)


def pack_interface_key(str name):
    cdef vnetx_interface_key value
    memset(&value, 0, sizeof(value))
    put_text(value.name, sizeof(value.name), name)
    return dump(&value)


def unpack_interface_key(bytes raw):
    """Return the name."""
    cdef vnetx_interface_key value
    load(&value, raw)
    return bytes(value.name).decode()


def pack_interface(uint32_t ifindex, bytes mac not None, str netns, bint own_netns=False,
                   str kind="veth"):
    cdef vnetx_interface value
    memset(&value, 0, sizeof(value))
    value.ifindex = ifindex
    value.kind = INTERFACE_KINDS[kind]
    value.own_netns = own_netns
    memcpy(value.mac, <const char *>mac, 6)
    put_text(value.netns, sizeof(value.netns), netns)
    return dump(&value)


def unpack_interface(bytes raw):
    """kind is one of INTERFACE_KINDS, own_netns bool, mac bytes, netns str."""
    cdef vnetx_interface value
    load(&value, raw)
    kinds = {number: name for name, number in INTERFACE_KINDS.items()}
    return {"ifindex": value.ifindex, "kind": kinds[value.kind],
            "own_netns": bool(value.own_netns), "mac": (<const char *>value.mac)[:6], "netns": bytes(value.netns).decode()}


def unpack_vni(bytes raw):
    """local is 16 bytes in network order."""
    cdef vnetx_vni value
    load(&value, raw)
    result = <object>value
    result["local"] = bytes(value.local[:16])
    return result


def pack_vni(uint32_t vni=0, uint32_t flags=0, bytes local not None=bytes(16), int device=0,
             int dstport=0, int ttl=0, int tos=0, int ttl_default=0,
             int hook=0, uint32_t underlay=0, uint32_t learn_limit=0,
             uint32_t vtep_learn_limit=0):
    cdef vnetx_vni value
    memset(&value, 0, sizeof(value))
    if len(local) != 16:
        raise ValueError("an address has 16 bytes")
    value.vni = vni
    value.flags = flags
    memcpy(value.local, <const char *>local, 16)
    value.device = device
    value.dstport = dstport
    value.ttl = ttl
    value.tos = tos
    value.ttl_default = ttl_default
    value.hook = hook
    value.underlay = underlay
    value.learn_limit = learn_limit
    value.vtep_learn_limit = vtep_learn_limit
    return dump(&value)


def pack_vni_remotes(object member):
    """A set of ports is an int: bit n is the port of index n."""
    return member.to_bytes(VNETX_PORT_WORDS * 8, "little")


def unpack_vni_remotes(bytes raw):
    return int.from_bytes(raw, "little")


def pack_vtep(bytes address not None, uint32_t ifindex):
    """The address is 16 bytes in network order."""
    cdef vnetx_vtep value
    memset(&value, 0, sizeof(value))
    if len(address) != 16:
        raise ValueError("an address has 16 bytes")
    memcpy(value.address, <const char *>address, 16)
    value.ifindex = ifindex
    return dump(&value)


def unpack_vtep(bytes raw):
    """Return (address as 16 bytes, ifindex)."""
    cdef vnetx_vtep value
    load(&value, raw)
    return bytes(value.address[:16]), value.ifindex


def pack_tun(uint32_t to, bytes mac not None=bytes(6)):
    cdef vnetx_tun value
    memset(&value, 0, sizeof(value))
    value.to = to
    memcpy(value.mac, <const char *>mac, 6)
    return dump(&value)


def unpack_tun(bytes raw):
    """Return (ifindex of the other one, MAC address)."""
    cdef vnetx_tun value
    load(&value, raw)
    return value.to, (<const char *>value.mac)[:6]


def unpack_source_key(bytes raw):
    """Return the MAC address."""
    cdef vnetx_source_key value
    load(&value, raw)
    return (<const char *>value.mac)[:6]


def pack_source_key(bytes mac not None):
    cdef vnetx_source_key value
    memset(&value, 0, sizeof(value))
    if len(mac) != 6:
        raise ValueError("a MAC address has 6 bytes")
    memcpy(value.mac, <const char *>mac, 6)
    return dump(&value)


def unpack_source(bytes raw):
    """Return the indices of ports."""
    cdef vnetx_source value
    cdef int i
    load(&value, raw)
    return [value.ports[i] for i in range(VNETX_SOURCE_PORTS) if value.ports[i]]


def pack_source(list ports not None):
    cdef vnetx_source value
    cdef int i
    memset(&value, 0, sizeof(value))
    if len(ports) > VNETX_SOURCE_PORTS:
        raise ValueError(f"{len(ports)} ports where there is room for {VNETX_SOURCE_PORTS}")
    for i in range(len(ports)):
        value.ports[i] = ports[i]
    return dump(&value)


def unpack_address(bytes raw):
    cdef vnetx_address value
    load(&value, raw)
    return value


def pack_address(int port, bint fixed=True, uint64_t seen_ns=0):
    cdef vnetx_address value
    memset(&value, 0, sizeof(value))
    value.seen_ns = seen_ns
    value.port = port
    value.fixed = fixed
    return dump(&value)


def unpack_neighbour_key(bytes raw):
    """Return (VID, address as 16 bytes)."""
    cdef vnetx_neighbour_key value
    load(&value, raw)
    return value.vid, (<const char *>value.address)[:16]


def pack_neighbour_key(uint32_t vid, bytes address not None):
    cdef vnetx_neighbour_key value
    memset(&value, 0, sizeof(value))
    if len(address) != 16:
        raise ValueError("an address has 16 bytes")
    value.vid = vid
    memcpy(value.address, <const char *>address, 16)
    return dump(&value)


def unpack_neighbour(bytes raw):
    """mac is bytes."""
    cdef vnetx_neighbour value
    load(&value, raw)
    result = <object>value
    result["mac"] = (<const char *>value.mac)[:6]
    return result


def pack_neighbour(bytes mac not None, uint64_t seen_ns=0, int flags=0):
    cdef vnetx_neighbour value
    memset(&value, 0, sizeof(value))
    value.seen_ns = seen_ns
    memcpy(value.mac, <const char *>mac, 6)
    value.flags = flags
    return dump(&value)


def unpack_underlay(bytes raw):
    """mac is bytes."""
    cdef vnetx_underlay value
    load(&value, raw)
    result = <object>value
    result["mac"] = (<const char *>value.mac)[:6]
    return result


def pack_underlay(uint32_t flags=0, int hook=0, bytes mac not None=bytes(6)):
    cdef vnetx_underlay value
    memset(&value, 0, sizeof(value))
    value.flags = flags
    value.hook = hook
    memcpy(value.mac, <const char *>mac, 6)
    return dump(&value)


def unpack_wire(bytes raw):
    """peer_mac is bytes; `port` is the index of the port that this end is."""
    cdef vnetx_wire value
    load(&value, raw)
    result = <object>value
    result["peer_mac"] = (<const char *>value.peer_mac)[:6]
    return result


def pack_wire(int port, int out, uint32_t out_ifindex, uint32_t flags=0, uint32_t seed=0,
              uint64_t loss=0, uint64_t corrupt=0, bytes peer_mac not None=bytes(6),
              uint64_t frames=0):
    cdef vnetx_wire value
    memset(&value, 0, sizeof(value))
    value.port = port
    value.out = out
    value.out_ifindex = out_ifindex
    value.flags = flags
    value.seed = seed
    value.loss = loss
    value.corrupt = corrupt
    memcpy(value.peer_mac, <const char *>peer_mac, 6)
    value.frames = frames
    return dump(&value)


def unpack_undo(bytes raw):
    cdef vnetx_undo value
    load(&value, raw)
    return value


def pack_undo(uint32_t flags=0, uint32_t foreign_xdp_id=0, uint32_t foreign_xdp_mode=0):
    cdef vnetx_undo value
    memset(&value, 0, sizeof(value))
    value.flags = flags
    value.foreign_xdp_id = foreign_xdp_id
    value.foreign_xdp_mode = foreign_xdp_mode
    return dump(&value)
