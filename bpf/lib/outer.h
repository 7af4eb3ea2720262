/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Outer headers that a program writes and takes off by itself: IPv4, without a UDP
 * checksum (RFC 7348, 5).
 *
 * Where packets of a VTEP lead is asked of the kernel's routes and neighbours once in
 * VNETX_FLOW_TICKS for each flow.  The packet that asks goes by the vxlan device, as
 * everything does that has no answer yet or wants more: so neighbours are found, kept
 * and confirmed as anybody's, and nothing is lost where the kernel would not lose it.
 */
#ifndef VNETX_OUTER_H
#define VNETX_OUTER_H

#include "lib/clamp_mss.h"
#include "lib/epoch.h"
#include "lib/flow.h"
#include "lib/ip.h"
#include "lib/tag.h"
#include "lib/vni.h"

/* Between the outer frame's beginning and the inner one's. */
#define OUTER_LEN 50

#define OUTER_AF_INET 2
#define OUTER_UDP_LEN 8
#define OUTER_VXLAN_LEN 8
#define OUTER_DF 0x4000
/* More fragments, and where they are. */
#define OUTER_FRAGMENT 0x3fff
/* VXLAN's first word: a VNI is there. */
#define OUTER_VNI_VALID 0x08000000

#define OUTER_ECN_MASK 3
#define OUTER_ECN_ECT_0 2
#define OUTER_ECN_CE 3

/* RFC 7348, 5: source ports are of the dynamic range. */
#define OUTER_SPORT_MIN 49152
#define OUTER_SPORT_MAX 65535

/* Everything around the inner packet. */
struct outer_headers {
	struct ip_ethernet eth;
	struct ip_v4 ip;
	__be16 sport;
	__be16 dport;
	__be16 udp_len;
	__be16 udp_check;
	__be32 vxlan_flags;
	__be32 vxlan_vni;
	__u32 inner_addresses[3];
	__be16 inner_proto;
	__u16 end;
};

#define OUTER_PAD __builtin_offsetof(struct ip_ethernet, dst)
#define OUTER_WITH_INNER (OUTER_LEN + ETH_HLEN)

/* A member of the headers in the packet that begins at @data. */
#define OUTER_AT(data, member)                                                                     \
	(*(const __typeof__(((struct outer_headers *)0)->member)                                   \
		   *)((data) + __builtin_offsetof(struct outer_headers, member) - OUTER_PAD))

/* Type of service of an IP packet, which is at @ip, and of that type; 0 of any other. */
static __always_inline __u8 outer_tos_of(const __u8 *ip, __be16 proto)
{
	if (proto == __constant_htons(ETH_P_IP))
		return ip[1];
	if (proto == __constant_htons(ETH_P_IPV6))
		return ip[0] << 4 | ip[1] >> 4;
	return 0;
}

/* udp_flow_src_port(): the same as the kernel's for the same hash. */
static __always_inline __be16 outer_sport(__u32 hash)
{
	hash ^= hash << 16;
	return __constant_htons((__u16)(((__u64)hash * (OUTER_SPORT_MAX - OUTER_SPORT_MIN) >> 32) +
					OUTER_SPORT_MIN));
}

static __always_inline struct vnetx_outer *outer_place(__u32 hash)
{
	__u32 place = bpf_get_smp_processor_id() * VNETX_OUTERS + hash % VNETX_OUTERS;

	return map_lookup(VNETX_MAP(OUTERS), &place);
}

/* Is what stands there the answer for packets of this flow to the VTEP @out, and still one? */
static __always_inline int outer_holds(const struct vnetx_outer *outer, __u32 hash, __u32 out,
				       __u32 vid)
{
	return outer->hash == hash && outer->out == out && outer->vid == vid && outer->ifindex &&
	       outer->epoch == epoch_now() && bpf_jiffies64() - outer->decided < VNETX_FLOW_TICKS;
}

/*
 * All headers of a frame of @len bytes with @inner's addresses and type, of which @tos is
 * the packet's own.  ECN as ip_tunnel_ecn_encap() has it (RFC 6040, 4.1: normal mode).
 */
static __always_inline struct outer_headers outer_headers_of(const struct vnetx_outer *outer,
							     __u32 hash, __u32 len, __u8 tos)
{
	const __u8 ecn = tos & OUTER_ECN_MASK;
	struct outer_headers to = {
		.eth.proto = __constant_htons(ETH_P_IP),
		.ip = {
			.version_ihl = IP_VERSION_IHL,
			.tot_len = __constant_htons((__u16)(len + OUTER_LEN - ETH_HLEN)),
			.id = bpf_get_prandom_u32(),
			.frag_off = outer->frag_off,
			.ttl = outer->ttl,
			.protocol = IP_UDP,
			.saddr = outer->saddr,
			.daddr = outer->daddr,
		},
		.sport = outer_sport(hash),
		.dport = outer->dport,
		.udp_len = __constant_htons((__u16)(len + OUTER_UDP_LEN + OUTER_VXLAN_LEN)),
		.vxlan_flags = __constant_htonl(OUTER_VNI_VALID),
		.vxlan_vni = outer->vni,
	};

	to.ip.tos = (outer->tos == VNETX_TOS_INHERIT ? tos & ~OUTER_ECN_MASK : outer->tos) |
		    (ecn == OUTER_ECN_CE ? OUTER_ECN_ECT_0 : ecn);
	__builtin_memcpy(to.eth.dst, outer->addresses, sizeof(outer->addresses));
	to.ip.check = ~ip_sum((const void *)&to.ip);
	return to;
}

/* May all of @len bytes, and what is around them, be said in an IPv4 header? */
static __always_inline int outer_can_say(__u32 len)
{
	return len + OUTER_LEN - ETH_HLEN <= 0xffff;
}

/*
 * Puts the headers around the frame, in @len bytes.  1 where the frame is as it was and the
 * kernel has to do it, negative where it is lost.
 */
static __always_inline int outer_push(ctx_t *ctx, const struct vnetx_outer *outer, __u32 hash,
				      __u32 len)
{
	const void *data = ctx_data(ctx);
	struct outer_headers to;

	if (data + ETH_HLEN + 2 > ctx_data_end(ctx))
		return 1;
	to = outer_headers_of(
		outer, hash, len,
		outer_tos_of(data + ETH_HLEN, ((const struct ethhdr *)data)->h_proto));
	to.inner_addresses[0] = ((const __u32 *)data)[0];
	to.inner_addresses[1] = ((const __u32 *)data)[1];
	to.inner_addresses[2] = ((const __u32 *)data)[2];
	to.inner_proto = ((const struct ethhdr *)data)->h_proto;
	return ctx_encapsulate(ctx, to.eth.dst, OUTER_LEN, OUTER_WITH_INNER);
}

/*
 * The flow of an encapsulated packet that may be taken off here, NULL for what is the
 * kernel's: what is not for us, or of no flow, or in need of more than its headers taken off.
 */
static __always_inline struct vnetx_flow *outer_flow(ctx_t *ctx, __u32 len)
{
	const void *data = ctx_data(ctx);
	const struct vnetx_vtep *vtep;
	const struct vnetx_vni *vni;
	struct vnetx_flow *flow;
	const __u32 *address;
	__u32 index;
	__u8 ecn;

	if (data + OUTER_WITH_INNER + 2 > ctx_data_end(ctx) || ctx_tag_beside(ctx) ||
	    OUTER_AT(data, eth.proto) != __constant_htons(ETH_P_IP) ||
	    OUTER_AT(data, ip.version_ihl) != IP_VERSION_IHL ||
	    OUTER_AT(data, ip.protocol) != IP_UDP || OUTER_AT(data, udp_check) ||
	    OUTER_AT(data, vxlan_flags) != __constant_htonl(OUTER_VNI_VALID) ||
	    OUTER_AT(data, ip.frag_off) & __constant_htons(OUTER_FRAGMENT) ||
	    OUTER_AT(data, ip.tot_len) != __constant_htons((__u16)(len - ETH_HLEN)) ||
	    OUTER_AT(data, udp_len) != __constant_htons((__u16)(len - ETH_HLEN - IP_LEN)) ||
	    OUTER_AT(data, vxlan_vni) & __constant_htonl(0xff) || tag_in_data(data + OUTER_LEN) ||
	    !outer_can_say(len - OUTER_LEN) || ip_sum(data + ETH_HLEN) != 0xffff)
		return NULL;
	ecn = OUTER_AT(data, ip.tos) & OUTER_ECN_MASK;
	if (ecn && (ecn == OUTER_ECN_CE ||
		    ecn != (outer_tos_of(data + OUTER_WITH_INNER, OUTER_AT(data, inner_proto)) &
			    OUTER_ECN_MASK)))
		return NULL; /* the inner one may have to change (INET_ECN_decapsulate) */
	flow = flow_at(data + OUTER_LEN,
		       VNETX_FLOW_ENCAPSULATED | __constant_ntohl(OUTER_AT(data, vxlan_vni)) >> 8,
		       0);
	if (!flow)
		return NULL;
	vni = vni_of(flow->vid);
	index = flow->in;
	vtep = map_lookup(VNETX_MAP(VTEP_OF), &index);
	if (!vni || !vtep || vni->hook == VNETX_HOOK_AUTO || vni->flags & VNETX_VNI_GBP ||
	    vni->dstport != __constant_ntohs(OUTER_AT(data, dport)))
		return NULL;
	if (vni->flags & VNETX_VNI_CLAMP_MSS &&
	    clamp_maybe_syn(data + OUTER_WITH_INNER, ctx_data_end(ctx),
			    OUTER_AT(data, inner_proto)))
		return NULL;
	address = (const void *)vni->local;
	if (address[3] != OUTER_AT(data, ip.daddr))
		return NULL;
	address = (const void *)vtep->address;
	return address[2] == VTEP_IPV4_MAPPED && address[3] == OUTER_AT(data, ip.saddr) ? flow
											: NULL;
}

#endif
