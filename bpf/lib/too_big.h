/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A packet that does not fit once it is encapsulated: its sender is told how much does, so that
 * path MTU discovery works through an overlay, which has no router that could tell.  The
 * answer looks as if the receiver had sent it (iptunnel_pmtud_build_icmp).
 */
#ifndef VNETX_TOO_BIG_H
#define VNETX_TOO_BIG_H

#include "lib/ip.h"
#include "lib/port.h"
#include "lib/send_back.h"
#include "lib/stats.h"

/* Bytes of the packet that are sent back: headers, and what tells the sender's sockets apart. */
#define TOO_BIG_QUOTE4 64
#define TOO_BIG_QUOTE6 96

#define TOO_BIG_TTL 64
/* Destination unreachable, fragmentation needed (RFC 1191, 4); packet too big (RFC 4443, 3.2). */
#define TOO_BIG_UNREACHABLE 3
#define TOO_BIG_FRAG_NEEDED 4
#define TOO_BIG_V6 2
/* No IPv6 link has a smaller one (RFC 8200, 5). */
#define TOO_BIG_MTU6_MIN 1280
#define TOO_BIG_DF __constant_htons(0x4000)
#define TOO_BIG_OFFSET __constant_htons(0x1fff)

/* What the program that found out hands over in skb->cb. */
enum too_big_cb {
	/* Index of the port that it came by, and above TOO_BIG_OUT_SHIFT of the VTEP. */
	TOO_BIG_CB_PORTS,
	/* The tag that it came with and has no more: TPID << 16, TCI; 0 for none. */
	TOO_BIG_CB_TAG,
};

#define TOO_BIG_CB(ctx, word) (*(volatile __u32 *)&(ctx)->cb[TOO_BIG_CB_##word])
#define TOO_BIG_OUT_SHIFT 16

struct too_big4 {
	struct ip_ethernet eth;
	struct ip_v4 ip;
	__u8 type;
	__u8 code;
	__u16 icmp_check;
	__be32 mtu;
};

struct too_big6 {
	struct ip_ethernet eth;
	struct ip_v6 ip;
	__u8 type;
	__u8 code;
	__u16 icmp_check;
	__be32 mtu;
};

/* Returns only where the program is not there. */
static __always_inline void too_big_start(ctx_t *ctx, const struct vnetx_flow *flow, __u16 tci)
{
	TOO_BIG_CB(ctx, PORTS) = flow->in | (__u32)flow->out << TOO_BIG_OUT_SHIFT;
	TOO_BIG_CB(ctx, TAG) = flow->how & VNETX_FLOW_POP ? (flow->tag & 0xffff0000) | tci : 0;
	tail_call(ctx, VNETX_MAP(TAIL), VNETX_TAIL_TOO_BIG);
}

/* The frame's first @quote bytes behind @room bytes of headers, which are yet to be written. */
static __always_inline int too_big_shift(ctx_t *ctx, __u32 quote, __u32 room)
{
	return bpf_skb_change_tail(ctx, ETH_HLEN + quote, 0) ||
	       bpf_skb_adjust_room(ctx, room, BPF_ADJ_ROOM_MAC, 0);
}

static __always_inline void too_big_swap(struct ip_ethernet *to, const struct ip_ethernet *from)
{
	__builtin_memcpy(to->dst, from->src, ETH_ALEN);
	__builtin_memcpy(to->src, from->dst, ETH_ALEN);
	to->proto = from->proto;
}

/* An ICMP message about an error is not answered by one (RFC 1122, 3.2.2). */
static __always_inline int too_big_answers4(ctx_t *ctx, const struct too_big4 *packet)
{
	const __u32 icmp_at = ETH_HLEN + (packet->ip.version_ihl & 0xf) * 4;
	__u8 type;

	if (!(packet->ip.frag_off & TOO_BIG_DF) || packet->ip.frag_off & TOO_BIG_OFFSET ||
	    packet->eth.dst[0] & 1)
		return 0;
	/* From somebody, to one host: 0.0.0.0/8, and multicast and above, are neither. */
	if (!(packet->ip.saddr & __constant_htonl(0xff000000)) ||
	    (packet->ip.saddr & __constant_htonl(0xe0000000)) == __constant_htonl(0xe0000000) ||
	    (packet->ip.daddr & __constant_htonl(0xe0000000)) == __constant_htonl(0xe0000000))
		return 0;
	if (packet->ip.protocol != IP_ICMP)
		return 1;
	if (bpf_skb_load_bytes(ctx, icmp_at, &type, sizeof(type)))
		return 0;
	return type != 3 && type != 4 && type != 5 && type != 11 && type != 12;
}

static __always_inline int too_big4(ctx_t *ctx, __u32 mtu)
{
	struct too_big4 to, from;
	__u32 quote[TOO_BIG_QUOTE4 / 4];
	__u32 *icmp;

	if (bpf_skb_load_bytes(ctx, 0, from.eth.dst, ETH_HLEN + IP_LEN) ||
	    bpf_skb_load_bytes(ctx, ETH_HLEN, quote, sizeof(quote)) ||
	    !too_big_answers4(ctx, &from))
		return -EINVAL;
	__builtin_memset(&to, 0, sizeof(to));
	too_big_swap(&to.eth, &from.eth);
	to.ip.version_ihl = IP_VERSION_IHL;
	to.ip.tot_len = __constant_htons(IP_LEN + 8 + TOO_BIG_QUOTE4);
	to.ip.ttl = TOO_BIG_TTL;
	to.ip.protocol = IP_ICMP;
	to.ip.saddr = from.ip.daddr;
	to.ip.daddr = from.ip.saddr;
	to.ip.check = ~ip_sum((const void *)&to.ip);
	to.type = TOO_BIG_UNREACHABLE;
	to.code = TOO_BIG_FRAG_NEEDED;
	to.mtu = __constant_htonl(mtu & 0xffff);
	icmp = (void *)&to.type;
	to.icmp_check = ~ip_fold(ip_sum_of(quote, sizeof(quote)) + icmp[0] + icmp[1]);
	if (too_big_shift(ctx, TOO_BIG_QUOTE4, IP_LEN + 8))
		return -ENOMEM;
	return bpf_skb_store_bytes(ctx, 0, to.eth.dst, ETH_HLEN + IP_LEN + 8, 0);
}

static __always_inline int too_big6(ctx_t *ctx, __u32 mtu)
{
	struct too_big6 to, from;
	__u32 quote[TOO_BIG_QUOTE6 / 4];
	__u64 sum;
	__u32 *icmp;
	__u8 type;

	if (bpf_skb_load_bytes(ctx, 0, from.eth.dst, ETH_HLEN + IP6_LEN) ||
	    bpf_skb_load_bytes(ctx, ETH_HLEN, quote, sizeof(quote)) ||
	    bpf_skb_load_bytes(ctx, ETH_HLEN + IP6_LEN, &type, sizeof(type)))
		return -EINVAL;
	/* Not to errors, nor from or to a group, nor from nobody (RFC 4443, 2.4 e). */
	if ((from.ip.protocol == IP_ICMPV6 && type < 128) || from.eth.dst[0] & 1 ||
	    (from.ip.saddr[0] & __constant_htonl(0xff000000)) == __constant_htonl(0xff000000) ||
	    ip_v6_zero(from.ip.saddr))
		return -EINVAL;
	__builtin_memset(&to, 0, sizeof(to));
	too_big_swap(&to.eth, &from.eth);
	to.ip.version = IP6_VERSION;
	to.ip.payload_len = __constant_htons(8 + TOO_BIG_QUOTE6);
	to.ip.protocol = IP_ICMPV6;
	to.ip.hop_limit = TOO_BIG_TTL;
	__builtin_memcpy(to.ip.saddr, from.ip.daddr, sizeof(to.ip.saddr));
	__builtin_memcpy(to.ip.daddr, from.ip.saddr, sizeof(to.ip.daddr));
	to.type = TOO_BIG_V6;
	to.mtu = __constant_htonl(mtu > TOO_BIG_MTU6_MIN ? mtu : TOO_BIG_MTU6_MIN);
	icmp = (void *)&to.type;
	sum = ip_sum_of(quote, sizeof(quote)) + icmp[0] + icmp[1];
	/* The pseudo-header (RFC 8200, 8.1). */
	sum += ip_sum_of(to.ip.saddr, sizeof(to.ip.saddr) + sizeof(to.ip.daddr));
	sum += __constant_htonl(8 + TOO_BIG_QUOTE6) + (__u64)__constant_htonl(IP_ICMPV6);
	to.icmp_check = ~ip_fold(sum);
	if (too_big_shift(ctx, TOO_BIG_QUOTE6, IP6_LEN + 8))
		return -ENOMEM;
	return bpf_skb_store_bytes(ctx, 0, to.eth.dst, ETH_HLEN + IP6_LEN + 8, 0);
}

static __always_inline int too_big(ctx_t *ctx)
{
	const __u32 back = TOO_BIG_CB(ctx, PORTS) & 0xffff;
	const __u32 out = TOO_BIG_CB(ctx, PORTS) >> TOO_BIG_OUT_SHIFT;
	const struct vnetx_port *in = port_get(back), *vtep = port_get(out);
	const __u32 tag = TOO_BIG_CB(ctx, TAG);
	__u32 mtu = 0;
	int err;

	stats_reason(out, VNETX_MTU, ctx_frames(ctx));
	if (!in || !vtep || ctx->vlan_present || bpf_check_mtu(ctx, vtep->ifindex, &mtu, 0, 0) < 0)
		return CTX_DROP;
	if (ctx->protocol == __constant_htons(ETH_P_IP))
		err = too_big4(ctx, mtu);
	else if (ctx->protocol == __constant_htons(ETH_P_IPV6))
		err = too_big6(ctx, mtu);
	else
		return CTX_DROP;
	if (err)
		return CTX_DROP;
	stats_reason(out, VNETX_MTU_TOLD, 1);
	return send_back(ctx, in, back, tag);
}

#endif
