/* SPDX-License-Identifier: GPL-2.0 */
/*
 * TC's way out to a VTEP: the outer headers are written here where that is known to be
 * right (outer.h), and by the kernel's vxlan device where it is not.
 */
#ifndef VNETX_VXLAN_OUT_H
#define VNETX_VXLAN_OUT_H

#include "lib/clamp_mss_skb.h"
#include "lib/epoch.h"
#include "lib/inner_hash.h"
#include "lib/ip.h"
#include "lib/outer.h"
#include "lib/port.h"
#include "lib/stats.h"
#include "lib/vni.h"
#include "lib/vxlan.h"

/* What the program that decided hands over in skb->cb. */
enum vxlan_cb {
	/* Index of the VTEP, and above VXLAN_CB_VID_SHIFT the VLAN. */
	VXLAN_CB_OUT,
	/* Of the port that the frame came by. */
	VXLAN_CB_IN,
};

#define VXLAN_CB(ctx, word) (*(volatile __u32 *)&(ctx)->cb[VXLAN_CB_##word])
#define VXLAN_CB_VID_SHIFT 16

/* Returns only where the program is not there. */
static __always_inline void vxlan_out_start(ctx_t *ctx, const struct vnetx_flow *flow)
{
	VXLAN_CB(ctx, OUT) = flow->out | (__u32)flow->vid << VXLAN_CB_VID_SHIFT;
	VXLAN_CB(ctx, IN) = flow->in;
	tail_call(ctx, VNETX_MAP(TAIL), VNETX_TAIL_VXLAN_OUT);
}

/*
 * Asks where packets of a flow to the VTEP @out go, as if @device, the vxlan device, were an
 * interface that packets are forwarded from: so that one alone has to be one that forwards.
 * Where the way has no room for what @device may carry, where it has headers of its own, or
 * no neighbour yet, packets are the kernel's.
 */
static __always_inline void vxlan_ask(ctx_t *ctx, struct vnetx_outer *outer, __u32 hash, __u32 out,
				      __u32 vid, __u32 device)
{
	const __u64 epoch = epoch_now();
	const struct vnetx_vtep *vtep = map_lookup(VNETX_MAP(VTEP_OF), &out);
	const struct vnetx_vni *vni = vni_of(vid);
	const struct vnetx_underlay *underlay;
	struct bpf_fib_lookup fib = {
		.family = OUTER_AF_INET,
		.l4_protocol = IP_UDP,
		.ifindex = device,
	};
	const __u32 *to, *from;
	__u32 mtu = 0;

	outer->ifindex = 0;
	if (!vtep || !vni || vni->hook == VNETX_HOOK_AUTO || vni->flags & VNETX_VNI_GBP)
		return;
	to = (const void *)vtep->address;
	from = (const void *)vni->local;
	if (to[2] != VTEP_IPV4_MAPPED || bpf_check_mtu(ctx, device, &mtu, 0, 0) < 0)
		return;
	if (mtu + OUTER_LEN > 0xffff)
		return;
	fib.tot_len = mtu + OUTER_LEN;
	fib.tos = vni->tos & (__u8)~OUTER_ECN_MASK;
	fib.sport = outer_sport(hash);
	fib.dport = __constant_htons(vni->dstport);
	fib.ipv4_src = from[3];
	fib.ipv4_dst = to[3];
	if (bpf_fib_lookup(ctx, &fib, sizeof(fib), 0) || fib.ifindex == device)
		return;
	outer->epoch = epoch;
	outer->decided = bpf_jiffies64();
	outer->hash = hash;
	outer->out = out;
	outer->vid = vid;
	__builtin_memcpy(outer->addresses, fib.dmac, ETH_ALEN);
	__builtin_memcpy(outer->addresses + ETH_ALEN, fib.smac, ETH_ALEN);
	outer->saddr = from[3];
	outer->daddr = to[3];
	outer->vni = __constant_htonl(vni->vni << 8);
	outer->dport = __constant_htons(vni->dstport);
	outer->frag_off = vni->flags & VNETX_VNI_DF ? __constant_htons(OUTER_DF) : 0;
	outer->ttl = vni->ttl ? vni->ttl : vni->ttl_default;
	outer->tos = vni->tos;
	underlay = map_lookup(VNETX_MAP(UNDERLAYS), &fib.ifindex);
	outer->flags = underlay && underlay->hook == VNETX_HOOK_XDP ? VNETX_OUTER_XDP : 0;
	outer->flags |= vni->flags & VNETX_VNI_CLAMP_MSS ? VNETX_OUTER_CLAMP_MSS : 0;
	outer->ifindex = fib.ifindex;
}

/*
 * The hash of the frame's flow, by which the kernel's device chooses the source port, too; of
 * what XDP encapsulates otherwise it is XDP's.
 */
static __always_inline __u32 vxlan_hash(ctx_t *ctx)
{
	const struct vnetx_port *in = port_get(VXLAN_CB(ctx, IN));
	__u32 hash;

	if (likely(!in || !(in->flags & VNETX_PORT_XDP)))
		return bpf_get_hash_recalc(ctx);
	hash = inner_hash(ctx, ETH_HLEN);
	bpf_set_hash(ctx, hash);
	return hash;
}

static __always_inline int vxlan_out(ctx_t *ctx)
{
	const __u32 out = VXLAN_CB(ctx, OUT) & 0xffff;
	const __u32 vid = VXLAN_CB(ctx, OUT) >> VXLAN_CB_VID_SHIFT;
	const __u32 len = ctx_len(ctx), count = ctx_frames(ctx);
	const __u32 hash = vxlan_hash(ctx);
	const struct vnetx_port *port = port_get(out);
	const struct vnetx_vni *vni = vni_of(vid);
	struct vnetx_outer *outer;
	__u32 to;
	int left = 1;

	if (unlikely(!port)) {
		stats_reason(out, VNETX_EGRESS_GONE, count);
		return CTX_DROP;
	}
	to = port->ifindex;
	if (unlikely(vni && vni->flags & VNETX_VNI_CLAMP_MSS))
		clamp_start(ctx, to, out, VNETX_TAIL_VXLAN_OUT);
	if (likely(hash && ctx_carries_ip(ctx) && outer_can_say(len))) {
		outer = outer_place(hash);
		if (outer && likely(outer_holds(outer, hash, out, vid))) {
			left = outer_push(ctx, outer, hash, len);
			to = left > 0 ? to : outer->ifindex;
		} else if (outer) {
			vxlan_ask(ctx, outer, hash, out, vid, to);
		}
	}
	if (unlikely(left) && (left < 0 || vxlan_to(ctx, vid, out))) {
		stats_reason(out, left < 0 ? VNETX_NO_MEMORY : VNETX_EGRESS_GONE, count);
		return CTX_DROP;
	}
	stats_tx(out, count, len);
	stats_vlan_tx(vid, count, len);
	ctx->tc_index = 0;
	return bpf_redirect(to, 0);
}

#endif
