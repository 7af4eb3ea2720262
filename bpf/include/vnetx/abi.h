/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The ABI between the data plane and user space: every struct, enum and limit
 * that crosses.  bcc compiles it into the programs, Cython into the library,
 * and Python imports it from there; nothing of it is typed twice.
 *
 * Pinned maps hold these layouts, so a change of any of them raises
 * VNETX_ABI_VERSION, which is part of the pin path.
 */
#ifndef VNETX_ABI_H
#define VNETX_ABI_H

#include <linux/types.h>

#define VNETX_ABI_VERSION 8

/* Ports of one switch, host sides included; index 0 means "no port". */
#ifndef VNETX_MAX_PORTS
#define VNETX_MAX_PORTS 8192
#endif

/* Ports of a VLAN are a set of bits, in words of 64. */
#define VNETX_PORT_WORDS (VNETX_MAX_PORTS / 64)

/* VIDs: 0 says that a tag has a priority only, 4095 is reserved (802.1Q-2018 Table 9-2). */
#define VNETX_VIDS 4096
#define VNETX_VID_MASK 0x0fff
#define VNETX_VID_RESERVED 0x0fff
#define VNETX_VID_WORDS (VNETX_VIDS / 64)

/* Most rules by which a switch tells the VLAN of frames without one. */
#define VNETX_VLAN_RULES_MAX 65536

/* VNIs have 24 bits (RFC 7348, 5); 0 is none. */
#define VNETX_VNI_MAX 0xffffff

/* VTEPs that a switch learns of by itself, beyond its ports. */
#define VNETX_VTEPS_LEARNED 1024

/* Most VTEPs that flooded frames of a VNI go to (lib/flood_vteps.h). */
#define VNETX_VNI_REMOTES_MAX 1024

/* vnetx_vni.tos: as the inner packet has it. */
#define VNETX_TOS_INHERIT 1

/* Addresses that each endpoint teaches, where its port has no limit of its own. */
#define VNETX_ADDRESSES_LEARNED 64

/* Ports that one run of the flood program serves before it calls itself. */
#ifndef VNETX_FLOOD_CHUNK
#define VNETX_FLOOD_CHUNK 256
#endif

/* Default and limits of a switch's FDB, in entries. */
#define VNETX_FDB_DEFAULT 65536
#define VNETX_FDB_MAX 16777216

/* Ageing time in seconds: 802.1D-2004 Table 7-5 recommends 300. */
#define VNETX_AGEING_DEFAULT 300
#define VNETX_AGEING_MAX 1000000

/* Bytes of the ring that carries FDB events to `fdb watch`. */
#define VNETX_EVENT_RING (1 << 20)

/*
 * skb->tc_index of a frame that the switch already decided on and that meets
 * a second program of ours on its way (to the host, or out of a port that
 * carries the host's addresses).  The program that meets it clears the field.
 */
#define VNETX_SWITCHED 0x7678

/* The same of a frame that another program has looked at, on its way back to who asked for that. */
#define VNETX_LOOKED_AT 0x7679

/* The same of a packet of a program behind a tun, on its way to where it gets its header. */
#define VNETX_FROM_TUN 0x767a

#define VNETX_ALEN 6
#define VNETX_IFNAMSIZ 16
/* Of the name of, or a path to, a network namespace. */
#define VNETX_NETNS_LEN 108

/* Numbers of the maps; programs refer to maps by these until they are loaded. */
enum vnetx_map_id {
	VNETX_MAP_SWITCH = 1,
	VNETX_MAP_SWITCH_STATE,
	VNETX_MAP_PORT_OF,
	VNETX_MAP_PORTS,
	VNETX_MAP_PORT_STATE,
	VNETX_MAP_BD_STATE,
	VNETX_MAP_PORT_STATS,
	VNETX_MAP_REASONS,
	VNETX_MAP_FDB,
	VNETX_MAP_FDB_CLOCK,
	VNETX_MAP_EVENTS,
	VNETX_MAP_DEVMAP,
	VNETX_MAP_TAIL,
	VNETX_MAP_META,
	VNETX_MAP_UNDO,
	VNETX_MAP_EPOCH,
	VNETX_MAP_FLOWS,
	VNETX_MAP_PORT_VLANS,
	VNETX_MAP_VLANS,
	VNETX_MAP_VLAN_STATS,
	VNETX_MAP_VLAN_MAPPING,
	VNETX_MAP_VLAN_RULES,
	VNETX_MAP_INTERFACES,
	VNETX_MAP_VNIS,
	VNETX_MAP_VNI_VLANS,
	VNETX_MAP_VNI_REMOTES,
	VNETX_MAP_VTEPS,
	VNETX_MAP_VTEP_OF,
	VNETX_MAP_VTEPS_FREE,
	VNETX_MAP_OUTERS,
	VNETX_MAP_UNDERLAYS,
	VNETX_MAP_TAIL_XDP,
	VNETX_MAP_NEIGHBOURS,
	VNETX_MAP_NEIGHBOURS_LEARNED,
	VNETX_MAP_SOURCES,
	VNETX_MAP_TUNS,
	VNETX_MAP_WIRES,
	VNETX_MAP_ADDRESSES,
	VNETX_MAP_DHCP,
};

/* Slots of the program array. */
enum vnetx_tail {
	VNETX_TAIL_FLOOD,
	VNETX_TAIL_FLOOD_VLAN,
	VNETX_TAIL_FLOOD_VTEPS,
	VNETX_TAIL_VXLAN_OUT,
	VNETX_TAIL_TOO_BIG,
	VNETX_TAIL_CLAMP_MSS,
	VNETX_TAIL_VXLAN,
	VNETX_TAIL_VXLAN_IN,
	VNETX_TAIL_NEIGH_ANSWER,
	VNETX_TAIL_NEIGH_LEARN,
	VNETX_TAIL_SOURCES,
	VNETX_TAIL_TC_INGRESS,
	VNETX_TAIL_TC_EGRESS,
	VNETX_TAIL_IPVLAN_TO,
	VNETX_TAIL_MAX,
};

/* The same of XDP, whose programs have an array of their own. */
enum vnetx_tail_xdp {
	VNETX_TAIL_XDP_VXLAN_OUT,
	VNETX_TAIL_XDP_MAX,
};

enum vnetx_switch_flags {
	/* A static entry follows its address, as the kernel bridge's do. */
	VNETX_SWITCH_STATIC_MOVE = 1 << 0,
	/* Made by the first attach; goes with the last port. */
	VNETX_SWITCH_IMPLICIT = 1 << 1,
	/* Forward every reserved group address (group_forward = 0xffff). */
	VNETX_SWITCH_TRANSPARENT = 1 << 2,
	/* Frames are of VLANs; otherwise tags are payload and all ports are one domain. */
	VNETX_SWITCH_VLAN_AWARE = 1 << 3,
	/* One FDB for all VLANs (shared learning, 802.1Q-2018 8.8.8). */
	VNETX_SWITCH_SHARED_LEARNING = 1 << 4,
	/* The map of sources has some. */
	VNETX_SWITCH_SOURCES = 1 << 5,
	/* There are endpoints that have their NIC's address (VNETX_PORT_IPVLAN). */
	VNETX_SWITCH_IPVLAN = 1 << 6,
};

/* What the data plane reads of a switch; written by user space only. */
struct vnetx_switch {
	__u64 ageing_ns;
	/* An entry is written again only when it was last seen this long ago. */
	__u64 refresh_ns;
	/* FDB events are sent while the clock is below this (a watcher's lease). */
	__u64 watch_until_ns;
	__u32 flags;
	/* One more than the highest port index in use. */
	__u32 port_slots;
	/* Ports with a native XDP program; below two, XDP has nowhere to send. */
	__u32 xdp_ports;
	/* Bit n: there are VLAN rules of the kind n. */
	__u32 vlan_rules;
};
_Static_assert(sizeof(struct vnetx_switch) == 40, "vnetx_switch");

/* What the data plane writes about a switch. */
struct vnetx_switch_state {
	__u64 events_lost;
	/* Learning refused because the FDB was full, over all ports. */
	__u64 fdb_full;
	__u64 pad[6];
};
_Static_assert(sizeof(struct vnetx_switch_state) == 64, "vnetx_switch_state");

enum vnetx_port_flags {
	VNETX_PORT_UP = 1 << 0,
	VNETX_PORT_LEARNING = 1 << 1,
	VNETX_PORT_FLOOD_UNICAST = 1 << 2,
	VNETX_PORT_FLOOD_MULTICAST = 1 << 3,
	VNETX_PORT_FLOOD_BROADCAST = 1 << 4,
	VNETX_PORT_ISOLATED = 1 << 5,
	VNETX_PORT_HAIRPIN = 1 << 6,
	/* The host's own stack, reached through this device's receive side. */
	VNETX_PORT_HOST = 1 << 7,
	/* The device's peer is in another namespace: bpf_redirect_peer reaches it. */
	VNETX_PORT_PEER = 1 << 8,
	/* Frames may leave by XDP redirect (the device takes ndo_xdp_xmit). */
	VNETX_PORT_XDP = 1 << 9,
	/* One of storm_pps is set. */
	VNETX_PORT_STORM = 1 << 10,
	/* bpf_redirect_peer leaves pkt_type to us: before Linux 6.16 it does not scrub. */
	VNETX_PORT_PEER_RETYPE = 1 << 11,
	/* The switch is VLAN-aware, and whether its VLANs share what they learn. */
	VNETX_PORT_VLAN = 1 << 12,
	VNETX_PORT_SHARED = 1 << 13,
	/* Acceptable frame types (802.1Q-2018 6.9); a priority-tagged frame is an untagged one. */
	VNETX_PORT_TAGGED_ONLY = 1 << 14,
	VNETX_PORT_UNTAGGED_ONLY = 1 << 15,
	/* VIDs are others on the wire than inside (vlan_mapping has some of the port's). */
	VNETX_PORT_MAPPING = 1 << 16,
	/* A VTEP: its frames are encapsulated, and ifindex is of the device that does it. */
	VNETX_PORT_VTEP = 1 << 17,
	/* The switch's own host port. */
	VNETX_PORT_HOST_PORT = 1 << 18,
	/* An endpoint on the NIC `parent`, and in which mode (macvlan.c: enum macvlan_mode). */
	VNETX_PORT_BRIDGE = 1 << 19,
	VNETX_PORT_VEPA = 1 << 20,
	VNETX_PORT_PRIVATE = 1 << 21,
	VNETX_PORT_SOURCE = 1 << 22,
	/* ... which the host does not reach but by the wire. */
	VNETX_PORT_NO_HOST = 1 << 23,
	/* Of a tun: its egress program in TC has to see what leaves. */
	VNETX_PORT_TUN = 1 << 24,
	/* It has the NIC's MAC address, and IP addresses of its own (ipvlan_core.c). */
	VNETX_PORT_IPVLAN = 1 << 25,
	/* ... and what it sends is routed by the host's table, or by the host's whole stack. */
	VNETX_PORT_L3 = 1 << 26,
	VNETX_PORT_L3S = 1 << 27,
};

/* The kinds of frame that are flooded, in the order of storm_pps. */
enum vnetx_bum {
	VNETX_BUM_BROADCAST,
	VNETX_BUM_MULTICAST,
	VNETX_BUM_UNICAST,
	VNETX_BUM_KINDS,
};

/* Index of a port that was there once, and of no other. */
#define VNETX_PORT_GONE 0xffff

/* A port; ifindex 0 is a free slot.  Written by user space only. */
struct vnetx_port {
	__u32 ifindex;
	__u32 flags;
	/* Index of the other side (wire or host) of the same device, or 0. */
	__u16 twin;
	/* Bridge domain of all frames of a port without VNETX_PORT_VLAN. */
	__u16 bd;
	/* Bit n forwards 01:80:c2:00:00:0n (switch's and port's settings joined). */
	__u16 group_forward;
	/* MAC address of the veth peer in its namespace (VNETX_PORT_PEER). */
	__u8 peer_mac[VNETX_ALEN];
	/* Most addresses learned on this port; 0 = no limit. */
	__u32 learn_limit;
	/* Frames a second let through for each vnetx_bum kind; 0 = no limit. */
	__u32 storm_pps[VNETX_BUM_KINDS];
	/* The port's own part of group_forward, for show and export. */
	__u16 group_forward_own;
	/* enum vnetx_hook: what was asked for, and what is attached. */
	__u8 hook_wanted;
	__u8 hook;
	/* Of the tags that count: 0x8100, 0x88a8, 0x9100, 0x9200 or 0x9300, host byte order. */
	__u16 tpid;
	/* Priority of frames that came untagged, where a TCI has it. */
	__u16 priority;
	/* VID of untagged frames, 0 for none. */
	__u16 pvid;
	/* Index of the port that the NIC is of which this one is an endpoint, or VNETX_PORT_GONE. */
	__u16 parent;
	/* Index of the port at the other end of the wire that this one is an end of, or 0. */
	__u16 wire;
	__u16 pad16;
	__u32 pad[3];
};
_Static_assert(sizeof(struct vnetx_port) == 64, "vnetx_port");

enum vnetx_hook {
	VNETX_HOOK_AUTO,
	VNETX_HOOK_TC,
	VNETX_HOOK_XDP,
	VNETX_HOOK_XDP_GENERIC,
};

/* What the data plane keeps about a port. */
struct vnetx_port_state {
	/* Theoretical arrival time of each storm limiter, ns (see lib/storm.h). */
	__u64 storm_tat[VNETX_BUM_KINDS];
	/* Learned (not static) entries that name this port. */
	__s64 learned;
	__u64 pad[4];
};
_Static_assert(sizeof(struct vnetx_port_state) == 64, "vnetx_port_state");

/* What the data plane knows of a bridge domain. */
struct vnetx_bd_state {
	/* Addresses learned in it. */
	__s64 learned;
};
_Static_assert(sizeof(struct vnetx_bd_state) == 8, "vnetx_bd_state");

/* Flows that each CPU remembers, a power of two. */
#ifndef VNETX_FLOWS
#define VNETX_FLOWS 2048
#endif

/*
 * A flow is decided on again after this many ticks, which are cheaper to read
 * than any clock, and at the most this many nanoseconds (CONFIG_HZ is 100 at
 * the least).
 */
#define VNETX_FLOW_TICKS 4
#define VNETX_FLOW_NS 40000000

/* What is to be done with a frame of a flow. */
enum vnetx_flow_how {
	/* It goes on where it is: to the host, or out of the wire that the host sent it to. */
	VNETX_FLOW_PASS = 1 << 0,
	/* bpf_redirect_peer, else bpf_redirect. */
	VNETX_FLOW_PEER = 1 << 1,
	/* It was read as somebody else's frame and is the receiver's own. */
	VNETX_FLOW_RETYPE = 1 << 2,
	/* Into the receive side of the device (the host's stack). */
	VNETX_FLOW_INGRESS = 1 << 3,
	/* Another program of the switch is on its way: VNETX_SWITCHED. */
	VNETX_FLOW_MARK = 1 << 4,
	/* Native XDP sends it; otherwise it leaves it to TC. */
	VNETX_FLOW_XDP = 1 << 5,
	/* Its tag is taken off; it gets one (both: one for another). */
	VNETX_FLOW_POP = 1 << 6,
	VNETX_FLOW_PUSH = 1 << 7,
	/* It came with an outer tag that the kernel takes for payload, and keeps it. */
	VNETX_FLOW_FOREIGN = 1 << 8,
	/* It goes to a VTEP. */
	VNETX_FLOW_VTEP = 1 << 9,
	/* Whose it is, among the host and endpoints, its IP address says. */
	VNETX_FLOW_ADDRESS = 1 << 10,
};

/* In vnetx_flow.tag: there is a tag. */
#define VNETX_FLOW_TAGGED 0x1000u

/* In vnetx_flow.device: seen by the TC egress hook of the device. */
#define VNETX_FLOW_SENT 0x80000000u

/* In place of a device: it came encapsulated, with the VNI that stands below. */
#define VNETX_FLOW_ENCAPSULATED 0x40000000u

/* Beside a device: all that enters a wire there, whose addresses[] begin with the peer's. */
#define VNETX_FLOW_WIRE 0x20000000u

/*
 * Beside a device: what an endpoint with its NIC's MAC address sends another one or the host, whose
 * addresses[] are the two of IPv4 and what stands behind them.
 */
#define VNETX_FLOW_BY_ADDRESS 0x10000000u

/*
 * What was decided on frames of known unicast from one address to another that
 * a device receives (or sends).  Holds for VNETX_FLOW_TICKS, in which no FDB
 * entry has to be looked at again, and while nothing changes that the decision
 * was made from (the epoch).  Each CPU has VNETX_FLOWS places of its own.
 */
struct vnetx_flow {
	__u64 epoch;
	/* In ticks (jiffies). */
	__u64 decided;
	__u32 device;
	/* Destination and source as they stand in the frame. */
	__u32 addresses[3];
	__u16 in;
	__u16 out;
	__u32 out_ifindex;
	__u32 how;
	/* The outer tag as it stands in the frame: TPID << 16, VNETX_FLOW_TAGGED, VID; 0 without. */
	__u32 tag;
	/* Its VLAN, 0 in a switch without. */
	__u16 vid;
	/* The tag that it gets: TPID and TCI, whose priority is that of a tag taken off, if any. */
	__u16 push_tpid;
	__u16 push_tci;
	__u16 pad16;
	__u32 pad[2];
};
_Static_assert(sizeof(struct vnetx_flow) == 64, "vnetx_flow");

/*
 * Counters of a port, per CPU.  A GSO packet counts as the frames that it
 * becomes on a wire.  Each received frame has exactly one fate: it is
 * forwarded (tx of one port, or a drop there), flooded (`flooded`), left to
 * the host's sockets on the port (`local`), or dropped (a reason).
 */
struct vnetx_port_stats {
	__u64 rx_frames;
	__u64 rx_bytes;
	__u64 tx_frames;
	__u64 tx_bytes;
	__u64 flooded;
	__u64 local;
	__u64 learned;
	__u64 moved;
};
_Static_assert(sizeof(struct vnetx_port_stats) == 64, "vnetx_port_stats");

/* The VLANs of a port: bit n of word w is VID 64 * w + n.  Key: index of the port. */
struct vnetx_port_vlans {
	__u64 member[VNETX_VID_WORDS];
	/* Those of which frames leave without a tag. */
	__u64 untagged[VNETX_VID_WORDS];
};
_Static_assert(sizeof(struct vnetx_port_vlans) == 1024, "vnetx_port_vlans");

/* The same by VLAN: bit n of word w is the port of index 64 * w + n.  Key: VID. */
struct vnetx_vlan {
	__u64 member[VNETX_PORT_WORDS];
	__u64 untagged[VNETX_PORT_WORDS];
};
_Static_assert(sizeof(struct vnetx_vlan) == 2048, "vnetx_vlan");

/* Counters of a VLAN, per CPU: frames classified into it, and sent in it (each copy). */
struct vnetx_vlan_stats {
	__u64 rx_frames;
	__u64 rx_bytes;
	__u64 tx_frames;
	__u64 tx_bytes;
};
_Static_assert(sizeof(struct vnetx_vlan_stats) == 32, "vnetx_vlan_stats");

/* A VID on the wire of a port that is another one inside; each mapping stands in both directions. */
struct vnetx_vlan_mapping_key {
	__u32 port;
	__u16 vid;
	/* 1: from inside to the wire. */
	__u16 egress;
};
_Static_assert(sizeof(struct vnetx_vlan_mapping_key) == 8, "vnetx_vlan_mapping_key");

/* What a VLAN rule looks at, in the order in which they are asked. */
enum vnetx_vlan_rule_kind {
	/* The source address. */
	VNETX_VLAN_RULE_MAC,
	/* The IP source address, in ARP the sender's. */
	VNETX_VLAN_RULE_IPV4,
	VNETX_VLAN_RULE_IPV6,
	/* The EtherType. */
	VNETX_VLAN_RULE_PROTOCOL,
};

/* Which frames without a VLAN of their own are of the one that is the value (a VID). */
struct vnetx_vlan_rule_key {
	/* Bits of what follows that have to be the same: those of `kind`, and of a prefix. */
	__u32 prefix_len;
	__u32 kind;
	/* In network byte order; what the kind does not need is 0. */
	__u8 data[16];
};
_Static_assert(sizeof(struct vnetx_vlan_rule_key) == 24, "vnetx_vlan_rule_key");

/*
 * Why a frame was dropped, and (from VNETX_NOTICE_FIRST on) what else is worth
 * counting of a frame that went on.  X(name in C, name in the CLI, sentence)
 */
#define VNETX_REASONS(X)                                                                           \
	X(RUNT, "runt", "shorter than an Ethernet header")                                         \
	X(MALFORMED, "malformed", "a VLAN tag without its four bytes")                             \
	X(BAD_SOURCE, "bad_source", "the source address is zero or a group")                       \
	X(VLAN_RESERVED, "vlan_reserved", "its VID is 4095, which is no VLAN")                     \
	X(VLAN_TYPE, "vlan_type", "tagged or untagged, which the port does not accept")            \
	X(VLAN_NONE, "vlan_none", "untagged, and the port has no PVID")                            \
	X(VLAN_INGRESS, "vlan_ingress", "the port it came by is no member of its VLAN")            \
	X(VLAN_EGRESS, "vlan_egress", "the port it would leave by is no member of its VLAN")       \
	X(PORT_DOWN, "port_down", "the port is administratively down")                             \
	X(PAUSE, "pause", "a MAC control frame (01:80:c2:00:00:01) ends at the link")              \
	X(SAME_PORT, "same_port", "the destination is behind the port it came from")               \
	X(ISOLATED, "isolated", "both ports are isolated")                                         \
	X(ENDPOINT, "endpoint", "the mode of an endpoint keeps it from there")                     \
	X(ADDRESS_TAKEN, "address_taken", "its IP source address is another's")                    \
	X(NO_EGRESS, "no_egress", "no other port takes this flooded frame")                        \
	X(STORM_BROADCAST, "storm_broadcast", "over the port's broadcast limit")                   \
	X(STORM_MULTICAST, "storm_multicast", "over the port's multicast limit")                   \
	X(STORM_UNICAST, "storm_unicast", "over the port's unknown unicast limit")                 \
	X(MTU, "mtu", "larger than the MTU of the port it would leave by")                         \
	X(VNI_UNKNOWN, "vni_unknown", "encapsulated, and its VNI is none of this switch")          \
	X(SPLIT_HORIZON, "split_horizon", "from one VTEP to another")                              \
	X(NEIGH_ANSWERED, "neigh_answered",                                                        \
	  "a request that was answered for a host behind a VTEP")                                  \
	X(EGRESS_DOWN, "egress_down", "the port it would leave by is down")                        \
	X(EGRESS_GONE, "egress_gone", "the device it would leave by is gone")                      \
	X(EGRESS_REFUSED, "egress_refused", "the device it would leave by refused it")             \
	X(WIRE_CUT, "wire_cut", "the wire is cut in this direction")                               \
	X(WIRE_LOSS, "wire_loss", "lost by chance, as the wire was told to")                       \
	X(NO_MEMORY, "no_memory", "the kernel had no memory for a copy")                           \
	X(OWN_SOURCE, "own_source", "not a drop: the host's own address came from outside")        \
	X(WIRE_CORRUPT, "wire_corrupt",                                                            \
	  "not a drop: the wire changed a bit of it, as it was told to")                           \
	X(MTU_TOLD, "mtu_told", "not a drop of its own: its sender was told how much fits a VTEP") \
	X(MSS_CLAMPED, "mss_clamped",                                                              \
	  "not a drop: a SYN that promised more than a VTEP has room for")                         \
	X(FDB_FULL, "fdb_full", "not a drop: the address was not learned, the FDB is full")        \
	X(LEARN_LIMIT, "learn_limit", "not a drop: the address was not learned, the port's limit") \
	X(VTEPS_FULL, "vteps_full", "not a drop: not learned, its VTEP is new, and too many are")  \
	X(STATIC_ELSEWHERE, "static_elsewhere",                                                    \
	  "not a drop: the source has a static entry on another port")

#define VNETX_REASON_ENUM(c, cli, text) VNETX_##c,
enum vnetx_reason { VNETX_OK, VNETX_REASONS(VNETX_REASON_ENUM) VNETX_REASON_MAX };
#undef VNETX_REASON_ENUM
#define VNETX_NOTICE_FIRST VNETX_OWN_SOURCE

/* Key of the reasons map; the value is a __u64 per CPU. */
struct vnetx_reason_key {
	__u32 port;
	__u32 reason;
};
_Static_assert(sizeof(struct vnetx_reason_key) == 8, "vnetx_reason_key");

struct vnetx_fdb_key {
	__u8 mac[VNETX_ALEN];
	__u16 bd;
};
_Static_assert(sizeof(struct vnetx_fdb_key) == 8, "vnetx_fdb_key");

enum vnetx_fdb_flags {
	/* Does not age. */
	VNETX_FDB_STATIC = 1 << 0,
	/* Does not move either, whatever the switch's setting. */
	VNETX_FDB_STICKY = 1 << 1,
	/* The host's own address. */
	VNETX_FDB_LOCAL = 1 << 2,
};

struct vnetx_fdb_entry {
	/* When it was last a source address, CLOCK_MONOTONIC. */
	__u64 seen_ns;
	__u16 port;
	__u16 flags;
	/* Ties the entry to its place in the clock; 0 = not in the clock. */
	__u32 generation;
};
_Static_assert(sizeof(struct vnetx_fdb_entry) == 16, "vnetx_fdb_entry");

/* An element of the clock: the queue in which learned entries wait to age. */
struct vnetx_fdb_tick {
	struct vnetx_fdb_key key;
	__u32 generation;
	__u32 pad;
};
_Static_assert(sizeof(struct vnetx_fdb_tick) == 16, "vnetx_fdb_tick");

enum vnetx_event_kind {
	VNETX_EVENT_LEARN = 1,
	VNETX_EVENT_MOVE,
	VNETX_EVENT_AGE,
};

struct vnetx_event {
	__u64 time_ns;
	struct vnetx_fdb_key key;
	__u32 kind;
	__u16 port;
	__u16 old_port;
};
_Static_assert(sizeof(struct vnetx_event) == 24, "vnetx_event");

/* What user space alone keeps about a switch; the data plane never reads it. */
struct vnetx_meta {
	char name[VNETX_IFNAMSIZ];
	__u64 netns_cookie;
	__u64 netns_inode;
	/* CLOCK_BOOTTIME at which an unconfirmed attach is undone; 0 = none. */
	__u64 confirm_deadline_ns;
	__u32 fdb_size;
	__u32 max_ports;
	/* The two ends of the host port, 0 without one. */
	__u32 host_ifindex;
	__u32 host_port_ifindex;
	__u16 group_forward;
	__u8 mac[VNETX_ALEN];
	/* First 8 bytes of the key of the compiled data plane. */
	__u64 build;
	__u32 ageing_s;
	__u32 pad;
};
_Static_assert(sizeof(struct vnetx_meta) == 80, "vnetx_meta");

enum vnetx_undo_flags {
	/* The switch set IFF_PROMISC, which was clear. */
	VNETX_UNDO_PROMISC = 1 << 0,
	/* The switch made the clsact qdisc. */
	VNETX_UNDO_CLSACT = 1 << 1,
	/* Features that were on and were switched off ... */
	VNETX_UNDO_RXVLAN_OFF = 1 << 2,
	VNETX_UNDO_LRO_OFF = 1 << 3,
	VNETX_UNDO_GRO_HW_OFF = 1 << 4,
	VNETX_UNDO_PEER_TX_OFF = 1 << 5,
	VNETX_UNDO_PEER_TXVLAN_OFF = 1 << 6,
	/* ... and one that was off and was switched on. */
	VNETX_UNDO_PEER_GRO_ON = 1 << 7,
	/* The attach waits for `vnetx confirm`. */
	VNETX_UNDO_UNCONFIRMED = 1 << 8,
	/* Somebody else's XDP program was taken off by force; it is pinned. */
	VNETX_UNDO_FOREIGN_XDP = 1 << 9,
	VNETX_UNDO_PEER_TXSCTP_OFF = 1 << 10,
	VNETX_UNDO_RXSTAG_OFF = 1 << 11,
	VNETX_UNDO_PEER_TXSTAG_OFF = 1 << 12,
	VNETX_UNDO_GRO_OFF = 1 << 13,
	/* The device was up, and is down because the other end of its wire has no carrier. */
	VNETX_UNDO_WIRE_DOWN = 1 << 14,
	/* The device is, or was to be, the end of a wire. */
	VNETX_UNDO_WIRE = 1 << 15,
};

/* What detach has to give back, written before each change.  Key: ifindex. */
struct vnetx_undo {
	__u32 flags;
	__u32 foreign_xdp_id;
	__u32 foreign_xdp_mode;
	__u32 pad;
};
_Static_assert(sizeof(struct vnetx_undo) == 16, "vnetx_undo");

/* What an interface that the switch made is. */
enum vnetx_interface_kind {
	/* One end of a veth pair whose other end is a port. */
	VNETX_INTERFACE_VETH,
	/* The port itself, for a virtual machine or a program: frames, and packets. */
	VNETX_INTERFACE_TAP,
	VNETX_INTERFACE_TUN,
	/* As VETH, and the port is an endpoint on a NIC (enum vnetx_endpoint). */
	VNETX_INTERFACE_MACVLAN,
	VNETX_INTERFACE_IPVLAN,
};

/* A tun, by its own ifindex and by that of the port whose packets it has. */
struct vnetx_tun {
	/* The other one of them. */
	__u32 to;
	/* Of the port: the address of the station that the program is. */
	__u8 mac[VNETX_ALEN];
	__u16 pad;
};
_Static_assert(sizeof(struct vnetx_tun) == 12, "vnetx_tun");

/* A source address of which endpoints take all frames (VNETX_PORT_SOURCE). */
struct vnetx_source_key {
	__u8 mac[VNETX_ALEN];
	__u16 pad;
};
_Static_assert(sizeof(struct vnetx_source_key) == 8, "vnetx_source_key");

/* Endpoints that one address may be a source of. */
#define VNETX_SOURCE_PORTS 8

/* Their indices, 0 behind the last. */
struct vnetx_source {
	__u16 ports[VNETX_SOURCE_PORTS];
};
_Static_assert(sizeof(struct vnetx_source) == 16, "vnetx_source");

/* An interface that the switch made.  The data plane never reads it. */
struct vnetx_interface_key {
	char name[VNETX_IFNAMSIZ];
};
_Static_assert(sizeof(struct vnetx_interface_key) == 16, "vnetx_interface_key");

struct vnetx_interface {
	/* The port's; 0 while the pair is yet to be made. */
	__u32 ifindex;
	/* enum vnetx_interface_kind. */
	__u8 kind;
	/* Whether the namespace was made for it. */
	__u8 own_netns;
	__u8 mac[VNETX_ALEN];
	/* Where the interface is; empty: in the switch's own. */
	char netns[VNETX_NETNS_LEN];
};
_Static_assert(sizeof(struct vnetx_interface) == 120, "vnetx_interface");

enum vnetx_vni_flags {
	/* Addresses are learned from what VTEPs send. */
	VNETX_VNI_LEARNING = 1 << 0,
	/* The outer packet may not be fragmented. */
	VNETX_VNI_DF = 1 << 1,
	/* TCP's maximum segment size is made to fit. */
	VNETX_VNI_CLAMP_MSS = 1 << 2,
	/* The mark of packets is carried (group policy). */
	VNETX_VNI_GBP = 1 << 3,
	/* Requests for neighbours behind VTEPs are answered here. */
	VNETX_VNI_NEIGH_SUPPRESS = 1 << 4,
	/* Packets with reserved bits in their header are taken. */
	VNETX_VNI_IGNORE_RESERVED = 1 << 5,
	/* UDP has no checksum over IPv6, either (RFC 6935). */
	VNETX_VNI_UDP6_ZERO_CHECKSUM = 1 << 6,
};

/* The VNI of a VLAN.  Key: its VID, 0 for all of a switch without VLANs. */
struct vnetx_vni {
	/* 0: none. */
	__u32 vni;
	__u32 flags;
	/* This VTEP's own address in network byte order; IPv4 is ::ffff:a.b.c.d. */
	__u8 local[16];
	/* Index of the port that the device is by which its packets come and go. */
	__u16 device;
	/* UDP port of VTEPs, host byte order. */
	__u16 dstport;
	/* TTL of outer packets, 0 for the kernel's; TOS, of which ECN is the inner packet's. */
	__u8 ttl;
	__u8 tos;
	/* What the kernel's TTL was when the VNI was set. */
	__u8 ttl_default;
	/* enum vnetx_hook: where programs write and take off outer headers; VNETX_HOOK_AUTO: nowhere. */
	__u8 hook;
	/* The underlay's device that was named, or 0. */
	__u32 underlay;
	/* Of its bridge domain: VTEPs teach no more once so many addresses are learned; 0: none. */
	__u32 learn_limit;
	/* Of each VTEP: that of its port is the smallest of its VNIs. */
	__u32 vtep_learn_limit;
	__u32 pad[5];
};
_Static_assert(sizeof(struct vnetx_vni) == 64, "vnetx_vni");

/* The VTEPs that flooded frames of a VLAN go to: bit n of word w is the port 64 * w + n. */
struct vnetx_vni_remotes {
	__u64 member[VNETX_PORT_WORDS];
};
_Static_assert(sizeof(struct vnetx_vni_remotes) == 1024, "vnetx_vni_remotes");

/* A VTEP as packets have it; the value is its port's index. */
struct vnetx_vtep {
	/* Its address, as vnetx_vni.local. */
	__u8 address[16];
	/* The device by which it is reached. */
	__u32 ifindex;
	__u32 pad;
};
_Static_assert(sizeof(struct vnetx_vtep) == 24, "vnetx_vtep");

/* Neighbours that a switch learns of, the oldest of which make room. */
#define VNETX_NEIGHBOURS_LEARNED 16384

/* A host's IP address in a VLAN. */
struct vnetx_neighbour_key {
	__u32 vid;
	/* In network byte order; IPv4 is ::ffff:a.b.c.d. */
	__u32 address[4];
};
_Static_assert(sizeof(struct vnetx_neighbour_key) == 20, "vnetx_neighbour_key");

enum vnetx_neighbour_flags {
	VNETX_NEIGHBOUR_ROUTER = 1 << 0,
};

struct vnetx_neighbour {
	/* CLOCK_MONOTONIC; of no matter where user space put it there. */
	__u64 seen_ns;
	__u8 mac[VNETX_ALEN];
	__u16 flags;
};
_Static_assert(sizeof(struct vnetx_neighbour) == 16, "vnetx_neighbour");

/* Whose an IP address is, among the endpoints that have one MAC address (VNETX_PORT_IPVLAN). */
struct vnetx_address {
	/* When it was last a source address, CLOCK_MONOTONIC. */
	__u64 seen_ns;
	/* Index of the endpoint's port. */
	__u16 port;
	/* It was given, and does not age; else learned. */
	__u16 fixed;
	__u32 pad;
};
_Static_assert(sizeof(struct vnetx_address) == 16, "vnetx_address");

/* DHCP requests that a switch remembers, the oldest of which make room. */
#define VNETX_DHCP_MAX 4096

/* Bytes of a DHCP client identifier by which clients are told apart. */
#define VNETX_DHCP_CLIENT 32

/*
 * A transaction of DHCP in a VLAN; the value is the index of the port of who asked.  Each is known
 * with its client identifier, and without one for servers that do not repeat it (RFC 6842).
 */
struct vnetx_dhcp_key {
	/* As it stands in the packet. */
	__u32 xid;
	__u16 vid;
	/* Length of the client identifier, 0 without one. */
	__u16 length;
	__u8 client[VNETX_DHCP_CLIENT];
};
_Static_assert(sizeof(struct vnetx_dhcp_key) == 40, "vnetx_dhcp_key");

enum vnetx_outer_flags {
	/* XDP may send by the device (VNETX_UNDERLAY of VNETX_HOOK_XDP). */
	VNETX_OUTER_XDP = 1 << 0,
	/* VNETX_VNI_CLAMP_MSS */
	VNETX_OUTER_CLAMP_MSS = 1 << 1,
};

/* Outer headers that each CPU remembers, a power of two. */
#define VNETX_OUTERS 1024

/*
 * The outer headers of a flow of inner packets, and the device that they lead to, as the
 * kernel's routes and neighbours had it.  Holds for as long as a vnetx_flow.
 */
struct vnetx_outer {
	__u64 epoch;
	/* In ticks (jiffies). */
	__u64 decided;
	/* Of the inner packets' headers. */
	__u32 hash;
	__u32 ifindex;
	__u16 out;
	__u16 vid;
	/* Destination and source of the outer frame. */
	__u8 addresses[2 * VNETX_ALEN];
	/* In network byte order, as everything below. */
	__u32 saddr;
	__u32 daddr;
	/* VXLAN's second word. */
	__u32 vni;
	__u16 dport;
	__u16 frag_off;
	__u8 ttl;
	/* As vnetx_vni.tos. */
	__u8 tos;
	__u16 flags;
	__u32 pad;
};
_Static_assert(sizeof(struct vnetx_outer) == 64, "vnetx_outer");

/*
 * A device of the underlay on which a program takes packets of VTEPs before the stack
 * does: what has to be given back (enum vnetx_undo_flags).  Key: ifindex.
 */
struct vnetx_underlay {
	__u32 flags;
	/* enum vnetx_hook: VNETX_HOOK_TC, or VNETX_HOOK_XDP beside it. */
	__u16 hook;
	/* The device's own address. */
	__u8 mac[VNETX_ALEN];
	__u32 pad;
};
_Static_assert(sizeof(struct vnetx_underlay) == 16, "vnetx_underlay");

enum vnetx_wire_flags {
	/* What enters here is dropped. */
	VNETX_WIRE_CUT_HERE = 1 << 0,
	/* The second one of the two ends, whose frames have other chances. */
	VNETX_WIRE_SECOND = 1 << 1,
	/* Loss of carrier here shows at the other end. */
	VNETX_WIRE_CARRIER = 1 << 2,
	/* As those of ports, of the device at the other end. */
	VNETX_WIRE_PEER = 1 << 3,
	VNETX_WIRE_PEER_RETYPE = 1 << 4,
};

/* What enters a wire by a device, and where it leaves.  Key: ifindex. */
struct vnetx_wire {
	__u32 out_ifindex;
	__u32 flags;
	/* Indices of the ports that this end is, and the other one. */
	__u16 in;
	__u16 out;
	__u32 seed;
	/* So many of 2^32 frames are lost, and so many of the others get a wrong bit. */
	__u64 loss;
	__u64 corrupt;
	/* MAC address of the veth peer at the other end (VNETX_WIRE_PEER). */
	__u8 peer_mac[VNETX_ALEN];
	__u16 pad16;
	/* Frames that chance has decided on; written by the data plane. */
	__u64 frames;
	__u64 pad[2];
};
_Static_assert(sizeof(struct vnetx_wire) == 64, "vnetx_wire");

/*
 * The maps: X(ID, pinned name, type, key, value, entries, flags).
 * Entries are a number, or one of the switch's own sizes.
 */
#define VNETX_ENTRIES_FDB 0xfffffff0u
#define VNETX_ENTRIES_PORTS 0xfffffff1u
#define VNETX_ENTRIES_CLOCK 0xfffffff2u
#define VNETX_ENTRIES_REASONS 0xfffffff3u
#define VNETX_ENTRIES_FLOWS 0xfffffff4u
/* Ports, and behind them the VTEPs that are learned. */
#define VNETX_ENTRIES_SLOTS 0xfffffff5u
#define VNETX_ENTRIES_OUTERS 0xfffffff6u

#define VNETX_MAPS(X)                                                                              \
	X(SWITCH, "switch", ARRAY, __u32, struct vnetx_switch, 1, 0)                               \
	X(SWITCH_STATE, "switch_state", ARRAY, __u32, struct vnetx_switch_state, 1, 0)             \
	X(PORT_OF, "port_of", HASH, __u32, __u32, VNETX_ENTRIES_PORTS, 0)                          \
	X(PORTS, "ports", ARRAY, __u32, struct vnetx_port, VNETX_ENTRIES_SLOTS, 0)                 \
	X(PORT_STATE, "port_state", ARRAY, __u32, struct vnetx_port_state, VNETX_ENTRIES_SLOTS,    \
	  BPF_F_MMAPABLE)                                                                          \
	X(BD_STATE, "bd_state", ARRAY, __u32, struct vnetx_bd_state, VNETX_VIDS, BPF_F_MMAPABLE)   \
	X(PORT_STATS, "port_stats", PERCPU_ARRAY, __u32, struct vnetx_port_stats,                  \
	  VNETX_ENTRIES_SLOTS, 0)                                                                  \
	X(REASONS, "reasons", PERCPU_HASH, struct vnetx_reason_key, __u64, VNETX_ENTRIES_REASONS,  \
	  BPF_F_NO_PREALLOC)                                                                       \
	X(FDB, "fdb", HASH, struct vnetx_fdb_key, struct vnetx_fdb_entry, VNETX_ENTRIES_FDB, 0)    \
	X(FDB_CLOCK, "fdb_clock", QUEUE, void, struct vnetx_fdb_tick, VNETX_ENTRIES_CLOCK, 0)      \
	X(EVENTS, "events", RINGBUF, void, void, VNETX_EVENT_RING, 0)                              \
	X(DEVMAP, "devmap", DEVMAP, __u32, __u32, VNETX_ENTRIES_PORTS, 0)                          \
	X(TAIL, "tail", PROG_ARRAY, __u32, __u32, VNETX_TAIL_MAX, 0)                               \
	X(META, "meta", ARRAY, __u32, struct vnetx_meta, 1, 0)                                     \
	X(UNDO, "undo", HASH, __u32, struct vnetx_undo, VNETX_ENTRIES_PORTS, 0)                    \
	X(EPOCH, "epoch", ARRAY, __u32, __u64, 1, 0)                                               \
	X(FLOWS, "flows", ARRAY, __u32, struct vnetx_flow, VNETX_ENTRIES_FLOWS, 0)                 \
	X(PORT_VLANS, "port_vlans", HASH, __u32, struct vnetx_port_vlans, VNETX_ENTRIES_PORTS,     \
	  BPF_F_NO_PREALLOC)                                                                       \
	X(VLANS, "vlans", HASH, __u32, struct vnetx_vlan, VNETX_VIDS, BPF_F_NO_PREALLOC)           \
	X(VLAN_STATS, "vlan_stats", PERCPU_ARRAY, __u32, struct vnetx_vlan_stats, VNETX_VIDS, 0)   \
	X(VLAN_MAPPING, "vlan_mapping", HASH, struct vnetx_vlan_mapping_key, __u32,                \
	  2 * VNETX_VIDS, BPF_F_NO_PREALLOC)                                                       \
	X(VLAN_RULES, "vlan_rules", LPM_TRIE, struct vnetx_vlan_rule_key, __u32,                   \
	  VNETX_VLAN_RULES_MAX, BPF_F_NO_PREALLOC)                                                 \
	X(INTERFACES, "interfaces", HASH, struct vnetx_interface_key, struct vnetx_interface,      \
	  VNETX_ENTRIES_PORTS, BPF_F_NO_PREALLOC)                                                  \
	X(VNIS, "vnis", ARRAY, __u32, struct vnetx_vni, VNETX_VIDS, 0)                             \
	X(VNI_VLANS, "vni_vlans", HASH, __u32, __u32, VNETX_VIDS, BPF_F_NO_PREALLOC)               \
	X(VNI_REMOTES, "vni_remotes", HASH, __u32, struct vnetx_vni_remotes, VNETX_VIDS,           \
	  BPF_F_NO_PREALLOC)                                                                       \
	X(VTEPS, "vteps", HASH, struct vnetx_vtep, __u32, VNETX_ENTRIES_SLOTS, BPF_F_NO_PREALLOC)  \
	X(VTEP_OF, "vtep_of", HASH, __u32, struct vnetx_vtep, VNETX_ENTRIES_SLOTS,                 \
	  BPF_F_NO_PREALLOC)                                                                       \
	X(VTEPS_FREE, "vteps_free", QUEUE, void, __u32, VNETX_VTEPS_LEARNED, 0)                    \
	X(OUTERS, "outers", ARRAY, __u32, struct vnetx_outer, VNETX_ENTRIES_OUTERS, 0)             \
	X(UNDERLAYS, "underlays", HASH, __u32, struct vnetx_underlay, VNETX_ENTRIES_PORTS,         \
	  BPF_F_NO_PREALLOC)                                                                       \
	X(TAIL_XDP, "tail_xdp", PROG_ARRAY, __u32, __u32, VNETX_TAIL_XDP_MAX, 0)                   \
	X(NEIGHBOURS, "neighbours", HASH, struct vnetx_neighbour_key, struct vnetx_neighbour,      \
	  VNETX_ENTRIES_FDB, BPF_F_NO_PREALLOC)                                                    \
	X(SOURCES, "sources", HASH, struct vnetx_source_key, struct vnetx_source,                  \
	  VNETX_ENTRIES_PORTS, BPF_F_NO_PREALLOC)                                                  \
	X(TUNS, "tuns", HASH, __u32, struct vnetx_tun, VNETX_ENTRIES_PORTS, BPF_F_NO_PREALLOC)     \
	X(ADDRESSES, "addresses", HASH, struct vnetx_neighbour_key, struct vnetx_address,          \
	  VNETX_ENTRIES_FDB, BPF_F_NO_PREALLOC)                                                    \
	X(DHCP, "dhcp", LRU_HASH, struct vnetx_dhcp_key, __u32, VNETX_DHCP_MAX, 0)                 \
	X(NEIGHBOURS_LEARNED, "neigh_learned", LRU_HASH, struct vnetx_neighbour_key,               \
	  struct vnetx_neighbour, VNETX_NEIGHBOURS_LEARNED, 0)                                     \
	X(WIRES, "wires", HASH, __u32, struct vnetx_wire, VNETX_ENTRIES_PORTS, BPF_F_NO_PREALLOC)

/*
 * The programs: X(function, pinned name, source, program type, expected attach
 * type, flags).
 * Generic XDP gets a program that does not take fragments: for one that does,
 * Linux 6.8 to 6.18 hand the stack a copy of the packet that has lost its
 * mac_len (skb_pp_cow_data), and TC then finds the frame without its header.
 * Programs that differ in this cannot share a devmap, so it redirects without.
 */
#define VNETX_PROGRAMS(X)                                                                          \
	X(vnetx_tc_ingress, "tc_ingress", "tc.c", SCHED_CLS, 0, 0)                                 \
	X(vnetx_tc_egress, "tc_egress", "tc.c", SCHED_CLS, 0, 0)                                   \
	X(vnetx_flood, "flood", "tc.c", SCHED_CLS, 0, 0)                                           \
	X(vnetx_flood_vlan, "flood_vlan", "tc.c", SCHED_CLS, 0, 0)                                 \
	X(vnetx_xdp, "xdp", "xdp.c", XDP, BPF_XDP, BPF_F_XDP_HAS_FRAGS)                            \
	X(vnetx_xdp_generic, "xdp_generic", "xdp.c", XDP, BPF_XDP, 0)                              \
	X(vnetx_sources, "sources", "sources.c", SCHED_CLS, 0, 0)                                  \
	X(vnetx_flood_vteps, "flood_vteps", "vxlan_tc.c", SCHED_CLS, 0, 0)                         \
	X(vnetx_vxlan, "vxlan", "vxlan_tc.c", SCHED_CLS, 0, 0)                                     \
	X(vnetx_vxlan_in, "vxlan_in", "vxlan_tc.c", SCHED_CLS, 0, 0)                               \
	X(vnetx_vxlan_out, "vxlan_out", "vxlan_tc.c", SCHED_CLS, 0, 0)                             \
	X(vnetx_underlay, "underlay", "vxlan_tc.c", SCHED_CLS, 0, 0)                               \
	X(vnetx_too_big, "too_big", "vxlan_tc.c", SCHED_CLS, 0, 0)                                 \
	X(vnetx_neigh_answer, "neigh_answer", "vxlan_tc.c", SCHED_CLS, 0, 0)                       \
	X(vnetx_neigh_learn, "neigh_learn", "vxlan_tc.c", SCHED_CLS, 0, 0)                         \
	X(vnetx_clamp_mss, "clamp_mss", "vxlan_tc.c", SCHED_CLS, 0, 0)                             \
	X(vnetx_tun_in, "tun_in", "tun.c", SCHED_CLS, 0, 0)                                        \
	X(vnetx_tun_neigh, "tun_neigh", "tun.c", SCHED_CLS, 0, 0)                                  \
	X(vnetx_tun_out, "tun_out", "tun.c", SCHED_CLS, 0, 0)                                      \
	X(vnetx_ipvlan, "ipvlan", "ipvlan_tc.c", SCHED_CLS, 0, 0)                                  \
	X(vnetx_ipvlan_to, "ipvlan_to", "ipvlan_tc.c", SCHED_CLS, 0, 0)                            \
	X(vnetx_xdp_vxlan_out, "xdp_vxlan_out", "vxlan_xdp.c", XDP, BPF_XDP, BPF_F_XDP_HAS_FRAGS)  \
	X(vnetx_xdp_underlay, "xdp_underlay", "vxlan_xdp.c", XDP, BPF_XDP, BPF_F_XDP_HAS_FRAGS)    \
	X(vnetx_wire, "wire", "wire_tc.c", SCHED_CLS, 0, 0)                                        \
	X(vnetx_xdp_wire, "xdp_wire", "wire_xdp.c", XDP, BPF_XDP, BPF_F_XDP_HAS_FRAGS)

#endif /* VNETX_ABI_H */
