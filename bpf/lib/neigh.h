/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Neighbour suppression (RFC 7432, 10; br_arp_nd_proxy.c): a request for a host that is known to
 * be behind a VTEP is answered here, in its name, and does not go to all VTEPs.
 *
 * Who has which address is in two tables: what user space put there, and what VTEPs' own
 * requests and answers told, of which the oldest make room.  Gratuitous messages and probes
 * are flooded as ever: they are how others learn of a move, and of a duplicate.
 */
#ifndef VNETX_NEIGH_H
#define VNETX_NEIGH_H

#include "lib/eth.h"
#include "lib/fdb.h"
#include "lib/flood_cb.h"
#include "lib/ip.h"
#include "lib/port.h"
#include "lib/send_back.h"
#include "lib/stats.h"
#include "lib/switch.h"
#include "lib/vni.h"

#define NEIGH_ARP_REQUEST __constant_htons(1)
#define NEIGH_ARP_REPLY __constant_htons(2)
/* Ethernet and IPv4, with addresses of 6 and 4 bytes, as they stand in a message. */
#define NEIGH_ARP_KIND __constant_htonl(0x00010800)
#define NEIGH_ARP_SIZES __constant_htons(0x0604)

#define NEIGH_SOLICITATION 135
#define NEIGH_ADVERTISEMENT 136
#define NEIGH_HOP_LIMIT 255
#define NEIGH_SOURCE_LLADDR 1
#define NEIGH_TARGET_LLADDR 2
#define NEIGH_ROUTER __constant_htonl(0x80000000)
#define NEIGH_SOLICITED_OVERRIDE __constant_htonl(0x60000000)

struct neigh_arp {
	struct ip_ethernet eth;
	__be32 kind;
	__be16 sizes;
	__be16 op;
	__u8 sender[ETH_ALEN];
	/* In halves: neither address stands on a boundary of words together with the other. */
	__be16 sender_ip[2];
	__u8 target[ETH_ALEN];
	__be16 target_ip[2];
};

#define NEIGH_ARP_LEN 42

struct neigh_nd {
	struct ip_ethernet eth;
	struct ip_v6 ip;
	__u8 type;
	__u8 code;
	__u16 check;
	__be32 flags;
	__be32 target[4];
	__u8 option;
	/* In units of 8 bytes. */
	__u8 option_len;
	__u8 lladdr[ETH_ALEN];
};

/* With the option, and without. */
#define NEIGH_ND_LEN 86
#define NEIGH_ND_BARE 78

static __always_inline void neigh_key_ipv4(struct vnetx_neighbour_key *key, const __be16 *halves)
{
	key->address[2] = VTEP_IPV4_MAPPED;
	__builtin_memcpy(&key->address[3], halves, 4);
}

/* ---------------------------------------------------------------- answering */

/* Who has the address, if that is a host which is behind a VTEP for all that the FDB knows. */
static __always_inline const struct vnetx_neighbour *
neigh_find(const struct vnetx_port *in, const struct vnetx_neighbour_key *key)
{
	const struct vnetx_switch *sw = switch_get();
	const __u64 now = bpf_ktime_get_coarse_ns();
	const struct vnetx_neighbour *known = map_lookup(VNETX_MAP(NEIGHBOURS), key);
	struct vnetx_fdb_key mac = { .bd = in->flags & VNETX_PORT_SHARED ? 0 : key->vid };
	const struct vnetx_fdb_entry *entry;
	const struct vnetx_port *out;

	if (!sw)
		return NULL;
	if (!known) {
		known = map_lookup(VNETX_MAP(NEIGHBOURS_LEARNED), key);
		if (!known || (__s64)(now - known->seen_ns) >= (__s64)sw->ageing_ns)
			return NULL;
	}
	__builtin_memcpy(mac.mac, known->mac, ETH_ALEN);
	entry = fdb_lookup(&mac);
	if (!entry || fdb_aged(sw, entry, now))
		return NULL;
	out = port_get(entry->port);
	return out && out->flags & VNETX_PORT_VTEP ? known : NULL;
}

static __always_inline int neigh_answer_arp(ctx_t *ctx, const struct vnetx_port *in, __u32 vid)
{
	struct vnetx_neighbour_key key = { .vid = vid };
	const struct vnetx_neighbour *known;
	struct neigh_arp packet;
	__be16 asker[2];

	if (bpf_skb_load_bytes(ctx, 0, packet.eth.dst, NEIGH_ARP_LEN) ||
	    packet.kind != NEIGH_ARP_KIND || packet.sizes != NEIGH_ARP_SIZES ||
	    packet.op != NEIGH_ARP_REQUEST)
		return -EINVAL;
	if (!(packet.sender_ip[0] | packet.sender_ip[1]) ||
	    (packet.sender_ip[0] == packet.target_ip[0] &&
	     packet.sender_ip[1] == packet.target_ip[1]))
		return -EINVAL; /* a probe, or gratuitous */
	neigh_key_ipv4(&key, packet.target_ip);
	known = neigh_find(in, &key);
	if (!known)
		return -ENOENT;
	__builtin_memcpy(packet.eth.dst, packet.eth.src, ETH_ALEN);
	__builtin_memcpy(packet.eth.src, known->mac, ETH_ALEN);
	packet.op = NEIGH_ARP_REPLY;
	/* Both addresses of both change places. */
	__builtin_memcpy(packet.target, packet.sender, ETH_ALEN);
	__builtin_memcpy(packet.sender, known->mac, ETH_ALEN);
	asker[0] = packet.sender_ip[0];
	asker[1] = packet.sender_ip[1];
	packet.sender_ip[0] = packet.target_ip[0];
	packet.sender_ip[1] = packet.target_ip[1];
	packet.target_ip[0] = asker[0];
	packet.target_ip[1] = asker[1];
	return bpf_skb_store_bytes(ctx, 0, packet.eth.dst, NEIGH_ARP_LEN, BPF_F_RECOMPUTE_CSUM);
}

static __always_inline __u16 neigh_checksum(struct neigh_nd *packet)
{
	const __u32 len = sizeof(*packet) - __builtin_offsetof(struct neigh_nd, ip.saddr);

	packet->check = 0;
	return ~ip_fold(ip_sum_of(packet->ip.saddr, len) + packet->ip.payload_len +
			__constant_htons(IP_ICMPV6));
}

static __always_inline int neigh_answer_nd(ctx_t *ctx, const struct vnetx_port *in, __u32 vid)
{
	struct vnetx_neighbour_key key = { .vid = vid };
	const struct vnetx_neighbour *known;
	struct neigh_nd packet = {};

	if (bpf_skb_load_bytes(ctx, 0, packet.eth.dst, NEIGH_ND_BARE) ||
	    packet.ip.protocol != IP_ICMPV6 || packet.ip.hop_limit != NEIGH_HOP_LIMIT ||
	    packet.type != NEIGH_SOLICITATION || packet.code || ip_v6_zero(packet.ip.saddr))
		return -EINVAL; /* one from nobody asks for a duplicate */
	__builtin_memcpy(key.address, packet.target, sizeof(key.address));
	known = neigh_find(in, &key);
	if (!known)
		return -ENOENT;
	__builtin_memcpy(packet.eth.dst, packet.eth.src, ETH_ALEN);
	__builtin_memcpy(packet.eth.src, known->mac, ETH_ALEN);
	packet.ip.payload_len = __constant_htons(NEIGH_ND_LEN - ETH_HLEN - IP6_LEN);
	__builtin_memcpy(packet.ip.daddr, packet.ip.saddr, sizeof(packet.ip.daddr));
	__builtin_memcpy(packet.ip.saddr, packet.target, sizeof(packet.ip.saddr));
	packet.type = NEIGH_ADVERTISEMENT;
	packet.flags = NEIGH_SOLICITED_OVERRIDE |
		       (known->flags & VNETX_NEIGHBOUR_ROUTER ? NEIGH_ROUTER : 0);
	packet.option = NEIGH_TARGET_LLADDR;
	packet.option_len = 1;
	__builtin_memcpy(packet.lladdr, known->mac, ETH_ALEN);
	packet.check = neigh_checksum(&packet);
	if (bpf_skb_change_tail(ctx, NEIGH_ND_LEN, 0))
		return -ENOMEM;
	return bpf_skb_store_bytes(ctx, 0, packet.eth.dst, NEIGH_ND_LEN, 0);
}

/* A request that is about to be flooded to VTEPs, without the tag that counts. */
static __always_inline int neigh_answer(ctx_t *ctx)
{
	const __u32 from = FLOOD_CB(ctx, FROM), index = from & 0xffff;
	const __u32 vid = from >> FLOOD_VID_SHIFT & VNETX_VID_MASK;
	const struct vnetx_port *in = port_get(index);
	const __u32 tag = FLOOD_CB(ctx, TAG_IN);
	int err = -EINVAL;

	if (in && ctx->protocol == __constant_htons(ETH_P_ARP))
		err = neigh_answer_arp(ctx, in, vid);
	else if (in && ctx->protocol == __constant_htons(ETH_P_IPV6))
		err = neigh_answer_nd(ctx, in, vid);
	if (!in || err == -ENOMEM)
		return CTX_DROP;
	if (err) {
		FLOOD_CB(ctx, FROM) = from | FLOOD_ASKED;
		tail_call(ctx, VNETX_MAP(TAIL), VNETX_TAIL_FLOOD_VTEPS);
		return CTX_DROP;
	}
	stats_reason(index, VNETX_NEIGH_ANSWERED, 1);
	return send_back(ctx, in, index, tag);
}

/* ---------------------------------------------------------------- learning */

static __always_inline void neigh_keep(const struct vnetx_neighbour_key *key, const __u8 *mac,
				       __u32 flags)
{
	const struct vnetx_switch *sw = switch_get();
	struct vnetx_neighbour new = { .seen_ns = bpf_ktime_get_coarse_ns(), .flags = flags };
	const struct vnetx_neighbour *old = map_lookup(VNETX_MAP(NEIGHBOURS_LEARNED), key);

	__builtin_memcpy(new.mac, mac, ETH_ALEN);
	if (old && sw && eth_equal(old->mac, mac) && old->flags == flags &&
	    new.seen_ns - old->seen_ns < sw->refresh_ns)
		return;
	bpf_map_update_elem(VNETX_MAP(NEIGHBOURS_LEARNED), (void *)key, &new, BPF_ANY);
}

/* Who sent an ARP message speaks of himself alone. */
static __always_inline void neigh_learn_arp(ctx_t *ctx, __u32 vid)
{
	struct vnetx_neighbour_key key = { .vid = vid };
	struct neigh_arp packet;

	if (bpf_skb_load_bytes(ctx, 0, packet.eth.dst, NEIGH_ARP_LEN) ||
	    packet.kind != NEIGH_ARP_KIND || packet.sizes != NEIGH_ARP_SIZES ||
	    !eth_equal(packet.eth.src, packet.sender) || eth_is_group(packet.sender) ||
	    !(packet.sender_ip[0] | packet.sender_ip[1]))
		return;
	neigh_key_ipv4(&key, packet.sender_ip);
	neigh_keep(&key, packet.sender, 0);
}

static __always_inline void neigh_learn_nd(ctx_t *ctx, __u32 vid)
{
	struct vnetx_neighbour_key key = { .vid = vid };
	struct neigh_nd packet;
	__u32 flags = 0;
	__u8 option;

	if (bpf_skb_load_bytes(ctx, 0, packet.eth.dst, NEIGH_ND_LEN) ||
	    packet.ip.protocol != IP_ICMPV6 || packet.ip.hop_limit != NEIGH_HOP_LIMIT ||
	    packet.code || packet.option_len != 1 || !eth_equal(packet.eth.src, packet.lladdr) ||
	    eth_is_group(packet.lladdr))
		return;
	if (packet.type == NEIGH_SOLICITATION) {
		option = NEIGH_SOURCE_LLADDR;
		__builtin_memcpy(key.address, packet.ip.saddr, sizeof(key.address));
	} else if (packet.type == NEIGH_ADVERTISEMENT) {
		option = NEIGH_TARGET_LLADDR;
		__builtin_memcpy(key.address, packet.target, sizeof(key.address));
		flags = packet.flags & NEIGH_ROUTER ? VNETX_NEIGHBOUR_ROUTER : 0;
	} else {
		return;
	}
	if (packet.option == option && !ip_v6_zero(key.address))
		neigh_keep(&key, packet.lladdr, flags);
}

/* Handed over in skb->cb: the VLAN of what may tell who has which address. */
#define NEIGH_CB_VID(ctx) (*(volatile __u32 *)&(ctx)->cb[0])

/* A frame of the VNI of VLAN @vid that a VTEP sent, on its way to the program `vxlan`. */
static __always_inline int neigh_learn(ctx_t *ctx)
{
	const __u32 vid = NEIGH_CB_VID(ctx);

	if (ctx->protocol == __constant_htons(ETH_P_ARP))
		neigh_learn_arp(ctx, vid);
	else
		neigh_learn_nd(ctx, vid);
	ctx->tc_index = VNETX_LOOKED_AT;
	tail_call(ctx, VNETX_MAP(TAIL), VNETX_TAIL_VXLAN);
	return CTX_DROP;
}

/* Has a frame looked at that may tell who has which address. */
static __always_inline void neigh_learn_start(ctx_t *ctx, __u32 vid)
{
	const __u8 *ip = ctx_data(ctx) + ETH_HLEN;
	const int v6 = ctx->protocol == __constant_htons(ETH_P_IPV6);

	if (ctx->tc_index == VNETX_LOOKED_AT ||
	    (!v6 && ctx->protocol != __constant_htons(ETH_P_ARP)))
		return;
	if (v6 && ((const void *)(ip + 40) > ctx_data_end(ctx) || ip[6] != IP_ICMPV6))
		return;
	NEIGH_CB_VID(ctx) = vid;
	tail_call(ctx, VNETX_MAP(TAIL), VNETX_TAIL_NEIGH_LEARN);
}

#endif
