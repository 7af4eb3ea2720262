/* SPDX-License-Identifier: GPL-2.0 */
/*
 * VXLAN (RFC 7348) by the kernel: headers, routes, neighbours and sockets are those of a
 * vxlan device that gets and gives what concerns the packet beside the frame.
 */
#ifndef VNETX_VXLAN_H
#define VNETX_VXLAN_H

#include "lib/vni.h"

/* DSCP of the packet in the frame, for its outer one; 0 where that is no IP packet. */
static __always_inline __u8 vxlan_inner_tos(ctx_t *ctx)
{
	__be16 word;

	if (ctx_load(ctx, ETH_HLEN, &word, sizeof(word)))
		return 0;
	if (ctx->protocol == __constant_htons(ETH_P_IP))
		return __constant_ntohs(word) & 0xfc;
	if (ctx->protocol == __constant_htons(ETH_P_IPV6))
		return __constant_ntohs(word) >> 4 & 0xfc;
	return 0;
}

/*
 * The mark of the packet and the group policy extension of VXLAN are one (struct
 * vxlan_metadata; draft-smith-vxlan-group-policy): its ID in the lower 16 bits, and flags.
 */
static __always_inline int vxlan_mark_to(ctx_t *ctx)
{
	__u32 gbp = ctx->mark;

	return bpf_skb_set_tunnel_opt(ctx, &gbp, sizeof(gbp));
}

static __always_inline void vxlan_mark_from(ctx_t *ctx)
{
	__u32 gbp = 0;

	if (bpf_skb_get_tunnel_opt(ctx, &gbp, sizeof(gbp)) < 0)
		gbp = 0;
	ctx->mark = gbp;
}

/*
 * Says where the frame goes when it leaves by the device of VTEP @index.  The UDP
 * checksum is 0 for IPv4 (RFC 7348, 5), computed for IPv6 unless the VNI says that it is
 * not (RFC 6936, 4).  0 or negative.
 */
static __always_inline int vxlan_to(ctx_t *ctx, __u32 vid, __u32 index)
{
	const struct vnetx_vtep *vtep = map_lookup(VNETX_MAP(VTEP_OF), &index);
	const struct vnetx_vni *vni = vni_of(vid);
	struct bpf_tunnel_key key = {};
	const __u32 *to, *from;
	__u64 flags;

	if (unlikely(!vtep || !vni))
		return -ENOENT;
	to = (const void *)vtep->address;
	from = (const void *)vni->local;
	key.tunnel_id = vni->vni;
	key.tunnel_ttl = vni->ttl;
	key.tunnel_tos = vni->tos == VNETX_TOS_INHERIT ? vxlan_inner_tos(ctx) : vni->tos;
	if (to[2] == VTEP_IPV4_MAPPED) {
		key.remote_ipv4 = __constant_ntohl(to[3]);
		key.local_ipv4 = __constant_ntohl(from[3]);
		flags = BPF_F_ZERO_CSUM_TX;
	} else {
		__builtin_memcpy(key.remote_ipv6, to, sizeof(key.remote_ipv6));
		__builtin_memcpy(key.local_ipv6, from, sizeof(key.local_ipv6));
		flags = BPF_F_TUNINFO_IPV6;
		if (vni->flags & VNETX_VNI_UDP6_ZERO_CHECKSUM)
			flags |= BPF_F_ZERO_CSUM_TX;
	}
	if (vni->flags & VNETX_VNI_DF)
		flags |= BPF_F_DONT_FRAGMENT;
	if (bpf_skb_set_tunnel_key(ctx, &key, sizeof(key), flags))
		return -EINVAL;
	return unlikely(vni->flags & VNETX_VNI_GBP) ? vxlan_mark_to(ctx) : 0;
}

/* Who sent the frame, and in which VNI.  0 or negative: it did not come encapsulated. */
static __always_inline int vxlan_from(ctx_t *ctx, struct vnetx_vtep *vtep, __u32 *vni)
{
	struct bpf_tunnel_key key;
	__u32 *address = (void *)vtep->address;

	if (!bpf_skb_get_tunnel_key(ctx, &key, sizeof(key), 0)) {
		address[2] = VTEP_IPV4_MAPPED;
		address[3] = __constant_htonl(key.remote_ipv4);
	} else if (!bpf_skb_get_tunnel_key(ctx, &key, sizeof(key), BPF_F_TUNINFO_IPV6)) {
		__builtin_memcpy(address, key.remote_ipv6, sizeof(key.remote_ipv6));
	} else {
		return -ENOENT;
	}
	*vni = key.tunnel_id;
	return 0;
}

/*
 * A VTEP that nobody named gets the settings of the device's own port, and a number of
 * those that user space put aside.  Returns that, or 0.
 */
static __always_inline __u32 vtep_learn(const struct vnetx_vtep *vtep,
					const struct vnetx_port *device)
{
	const __u32 *known;
	__u32 index;

	if (bpf_map_pop_elem(VNETX_MAP(VTEPS_FREE), &index))
		return 0;
	if (bpf_map_update_elem(VNETX_MAP(PORTS), &index, (void *)device, BPF_ANY) ||
	    bpf_map_update_elem(VNETX_MAP(VTEP_OF), &index, (void *)vtep, BPF_ANY) ||
	    map_insert(VNETX_MAP(VTEPS), vtep, &index)) {
		bpf_map_push_elem(VNETX_MAP(VTEPS_FREE), &index, 0);
		known = map_lookup(VNETX_MAP(VTEPS), vtep); /* another CPU was first */
		return known ? *known : 0;
	}
	return index;
}

static __always_inline __u32 vtep_of(const struct vnetx_vtep *vtep, const struct vnetx_port *device)
{
	const __u32 *index = map_lookup(VNETX_MAP(VTEPS), vtep);

	return likely(index) ? *index : vtep_learn(vtep, device);
}

#endif
