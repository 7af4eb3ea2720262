/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A packet that does not fit once it is encapsulated: its sender is told how much does, so that
 * path MTU discovery works through an overlay, which has no router that could tell.  The
 * answer looks as if the receiver had sent it (iptunnel_pmtud_build_icmp).
 */
#ifndef VNETX_TOO_BIG_H
#define VNETX_TOO_BIG_H

/* Bytes of the packet that are sent back: headers, and what tells the sender's sockets apart. */
#define TOO_BIG_QUOTE4 64
#define TOO_BIG_QUOTE6 96

#define TOO_BIG_TTL 64
#define TOO_BIG_ICMP 1
#define TOO_BIG_ICMPV6 58
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
	/* So that the words of IP stand on their boundaries: the frame begins behind it. */
	__u16 pad;
	__u8 addresses[2 * ETH_ALEN];
	__be16 proto;
	__u8 version_ihl;
	__u8 tos;
	__be16 tot_len;
	__be16 id;
	__be16 frag_off;
	__u8 ttl;
	__u8 protocol;
	__u16 check;
	__be32 saddr;
	__be32 daddr;
	__u8 type;
	__u8 code;
	__u16 icmp_check;
	__be32 mtu;
};

struct too_big6 {
	__u16 pad;
	__u8 addresses[2 * ETH_ALEN];
	__be16 proto;
	__be32 version;
	__be16 payload_len;
	__u8 protocol;
	__u8 hop_limit;
	__be32 saddr[4];
	__be32 daddr[4];
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

static __always_inline __u16 too_big_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

/* The frame's first @quote bytes behind @room bytes of headers, which are yet to be written. */
static __always_inline int too_big_shift(ctx_t *ctx, __u32 quote, __u32 room)
{
	return bpf_skb_change_tail(ctx, ETH_HLEN + quote, 0) ||
	       bpf_skb_adjust_room(ctx, room, BPF_ADJ_ROOM_MAC, 0);
}

static __always_inline void too_big_swap(__u8 *to, const __u8 *from)
{
	__builtin_memcpy(to, from + ETH_ALEN, ETH_ALEN);
	__builtin_memcpy(to + ETH_ALEN, from, ETH_ALEN);
}

/* An ICMP message about an error is not answered by one (RFC 1122, 3.2.2). */
static __always_inline int too_big_answers4(ctx_t *ctx, const struct too_big4 *packet)
{
	const __u32 icmp_at = ETH_HLEN + (packet->version_ihl & 0xf) * 4;
	__u8 type;

	if (!(packet->frag_off & TOO_BIG_DF) || packet->frag_off & TOO_BIG_OFFSET ||
	    packet->addresses[0] & 1)
		return 0;
	/* From somebody, to one host: 0.0.0.0/8, and multicast and above, are neither. */
	if (!(packet->saddr & __constant_htonl(0xff000000)) ||
	    (packet->saddr & __constant_htonl(0xe0000000)) == __constant_htonl(0xe0000000) ||
	    (packet->daddr & __constant_htonl(0xe0000000)) == __constant_htonl(0xe0000000))
		return 0;
	if (packet->protocol != TOO_BIG_ICMP)
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

	if (bpf_skb_load_bytes(ctx, 0, from.addresses, ETH_HLEN + 20) ||
	    bpf_skb_load_bytes(ctx, ETH_HLEN, quote, sizeof(quote)) ||
	    !too_big_answers4(ctx, &from))
		return -EINVAL;
	__builtin_memset(&to, 0, sizeof(to));
	too_big_swap(to.addresses, from.addresses);
	to.proto = __constant_htons(ETH_P_IP);
	to.version_ihl = 0x45;
	to.tot_len = __constant_htons(20 + 8 + TOO_BIG_QUOTE4);
	to.ttl = TOO_BIG_TTL;
	to.protocol = TOO_BIG_ICMP;
	to.saddr = from.daddr;
	to.daddr = from.saddr;
	to.check = ~outer_sum((const void *)&to.version_ihl);
	to.type = TOO_BIG_UNREACHABLE;
	to.code = TOO_BIG_FRAG_NEEDED;
	to.mtu = __constant_htonl(mtu & 0xffff);
	icmp = (void *)&to.type;
	to.icmp_check = too_big_fold((__u64)bpf_csum_diff(NULL, 0, quote, sizeof(quote), 0) +
				     icmp[0] + icmp[1]);
	if (too_big_shift(ctx, TOO_BIG_QUOTE4, 20 + 8))
		return -ENOMEM;
	return bpf_skb_store_bytes(ctx, 0, to.addresses, ETH_HLEN + 20 + 8, 0);
}

static __always_inline int too_big6(ctx_t *ctx, __u32 mtu)
{
	struct too_big6 to, from;
	__u32 quote[TOO_BIG_QUOTE6 / 4];
	__u64 sum;
	__u32 *icmp;
	__u8 type;

	if (bpf_skb_load_bytes(ctx, 0, from.addresses, ETH_HLEN + 40) ||
	    bpf_skb_load_bytes(ctx, ETH_HLEN, quote, sizeof(quote)) ||
	    bpf_skb_load_bytes(ctx, ETH_HLEN + 40, &type, sizeof(type)))
		return -EINVAL;
	/* Not to errors, nor from or to a group, nor from nobody (RFC 4443, 2.4 e). */
	if ((from.protocol == TOO_BIG_ICMPV6 && type < 128) || from.addresses[0] & 1 ||
	    (from.saddr[0] & __constant_htonl(0xff000000)) == __constant_htonl(0xff000000) ||
	    !(from.saddr[0] | from.saddr[1] | from.saddr[2] | from.saddr[3]))
		return -EINVAL;
	__builtin_memset(&to, 0, sizeof(to));
	too_big_swap(to.addresses, from.addresses);
	to.proto = __constant_htons(ETH_P_IPV6);
	to.version = __constant_htonl(0x60000000);
	to.payload_len = __constant_htons(8 + TOO_BIG_QUOTE6);
	to.protocol = TOO_BIG_ICMPV6;
	to.hop_limit = TOO_BIG_TTL;
	__builtin_memcpy(to.saddr, from.daddr, sizeof(to.saddr));
	__builtin_memcpy(to.daddr, from.saddr, sizeof(to.daddr));
	to.type = TOO_BIG_V6;
	to.mtu = __constant_htonl(mtu > TOO_BIG_MTU6_MIN ? mtu : TOO_BIG_MTU6_MIN);
	icmp = (void *)&to.type;
	sum = (__u64)bpf_csum_diff(NULL, 0, quote, sizeof(quote), 0) + icmp[0] + icmp[1];
	/* The pseudo-header (RFC 8200, 8.1). */
	sum += (__u32)bpf_csum_diff(NULL, 0, to.saddr, sizeof(to.saddr) + sizeof(to.daddr), 0);
	sum += __constant_htonl(8 + TOO_BIG_QUOTE6) + (__u64)__constant_htonl(TOO_BIG_ICMPV6);
	to.icmp_check = too_big_fold(sum);
	if (too_big_shift(ctx, TOO_BIG_QUOTE6, 40 + 8))
		return -ENOMEM;
	return bpf_skb_store_bytes(ctx, 0, to.addresses, ETH_HLEN + 40 + 8, 0);
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
	if (err || (tag && ctx_push_tag(ctx, tag >> 16, tag)))
		return CTX_DROP;
	stats_reason(out, VNETX_MTU_TOLD, 1);
	stats_tx(back, 1, ctx_len(ctx));
	if (in->flags & VNETX_PORT_HOST)
		bpf_skb_change_type(ctx, PACKET_HOST);
	ctx->tc_index = in->twin ? VNETX_SWITCHED : 0;
	return bpf_redirect(in->ifindex, in->flags & VNETX_PORT_HOST ? BPF_F_INGRESS : 0);
}

#endif
