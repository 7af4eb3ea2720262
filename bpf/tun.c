// SPDX-License-Identifier: GPL-2.0
/*
 * Tuns: packets without an Ethernet header between a program and a port.
 *
 * The port is one end of a veth pair.  The other end is in a network namespace of its own, whose
 * kernel has the program's addresses, answers for them and finds out about neighbours.  That is
 * all that it does: packets go by it, and come to it only to be given their header.
 */
#include "ctx/skb.h"
#include "lib/eth.h"
#include "lib/ip.h"

#define ND_SOLICITATION 135
#define ND_ADVERTISEMENT 136
#define IP_LIMITED_BROADCAST 0xffffffff
#define AF_INET 2

/* bcc knows it with the arguments that it had before Linux 5.10 came out. */
static int (*const redirect_neigh)(__u32 ifindex, const struct bpf_redir_neigh *next, int len,
				   __u64 flags) = (void *)BPF_FUNC_redirect_neigh;

/* What goes by IPv6, but is between neighbours; the network header is where the frame's begins. */
static __always_inline int tun_is_nd(ctx_t *ctx)
{
	__u8 protocol, type;

	if (bpf_skb_load_bytes(ctx, ETH_HLEN + offsetof(struct ip_v6, protocol), &protocol, 1) ||
	    protocol != IP_ICMPV6 || bpf_skb_load_bytes(ctx, ETH_HLEN + IP6_LEN, &type, 1))
		return 0;
	return type == ND_SOLICITATION || type == ND_ADVERTISEMENT;
}

/* What the kernel at the other end of the pair has to see: ARP and ND. */
static __always_inline int tun_is_of_neighbours(ctx_t *ctx)
{
	return ctx->protocol == __constant_htons(ETH_P_ARP) ||
	       (ctx->protocol == __constant_htons(ETH_P_IPV6) && tun_is_nd(ctx));
}

static __always_inline int tun_is_ip(const ctx_t *ctx)
{
	return ctx->protocol == __constant_htons(ETH_P_IP) ||
	       ctx->protocol == __constant_htons(ETH_P_IPV6);
}

static __always_inline int tun_is_multicast(__be32 address)
{
	return (address & __constant_htonl(0xf0000000)) == __constant_htonl(0xe0000000);
}

/* A packet of the program: by a header that is none to where it gets one. */
int vnetx_tun_in(struct __sk_buff *ctx)
{
	const __u32 ifindex = ctx_ifindex(ctx);
	const struct vnetx_tun *tun = map_lookup(VNETX_MAP(TUNS), &ifindex);
	struct ethhdr header = { .h_proto = ctx->protocol };

	if (unlikely(!tun || !tun_is_ip(ctx)))
		return CTX_DROP;
	if (bpf_skb_change_head(ctx, ETH_HLEN, 0) ||
	    bpf_skb_store_bytes(ctx, 0, &header, ETH_HLEN, 0))
		return CTX_DROP;
	ctx->tc_index = VNETX_FROM_TUN;
	return bpf_redirect_peer(tun->to, 0);
}

/* There: the kernel knows the way and the neighbour, or asks for it and keeps the packet. */
int vnetx_tun_neigh(struct __sk_buff *ctx)
{
	struct bpf_redir_neigh next = { .nh_family = AF_INET };
	__be32 to;

	if (ctx->tc_index != VNETX_FROM_TUN)
		return tun_is_of_neighbours(ctx) ? CTX_PASS : CTX_DROP;
	ctx->tc_index = 0;
	if (ctx->protocol == __constant_htons(ETH_P_IPV6))
		return redirect_neigh(ctx_ifindex(ctx), NULL, 0, 0);
	if (bpf_skb_load_bytes(ctx, ETH_HLEN + offsetof(struct ip_v4, daddr), &to, sizeof(to)))
		return CTX_DROP;
	if (to != IP_LIMITED_BROADCAST && !tun_is_multicast(to))
		return redirect_neigh(ctx_ifindex(ctx), NULL, 0, 0);
	next.ipv4_nh = to;
	return redirect_neigh(ctx_ifindex(ctx), &next, sizeof(next), 0);
}

/* A frame that leaves by the port: its packet to the program; the kernel takes the header off. */
int vnetx_tun_out(struct __sk_buff *ctx)
{
	const __u32 ifindex = ctx_ifindex(ctx);
	const struct vnetx_tun *tun = map_lookup(VNETX_MAP(TUNS), &ifindex);
	__u8 dst[ETH_ALEN];

	if (unlikely(!tun || ctx_tag_beside(ctx)))
		return CTX_DROP;
	if (tun_is_of_neighbours(ctx))
		return CTX_PASS;
	if (!tun_is_ip(ctx) || bpf_skb_load_bytes(ctx, 0, dst, sizeof(dst)))
		return CTX_DROP;
	if (!eth_is_group(dst) && !eth_equal(dst, tun->mac))
		return CTX_DROP;
	return bpf_redirect(tun->to, 0);
}
