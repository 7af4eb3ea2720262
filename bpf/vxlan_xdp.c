// SPDX-License-Identifier: GPL-2.0
/* Overlays in XDP: outer headers of known flows, written and taken off before there is an skb. */
#include "ctx/xdp.h"
#include "lib/clamp_mss.h"
#include "lib/egress.h"
#include "lib/eth.h"
#include "lib/flow.h"
#include "lib/inner_hash.h"
#include "lib/mtu.h"
#include "lib/outer.h"
#include "lib/send_xdp.h"
#include "lib/stats.h"
#include "lib/tag.h"

/* May a frame be a SYN, with or without a tag of @tag_len bytes? */
static __always_inline int xdp_maybe_syn(ctx_t *ctx, __u32 tag_len)
{
	const void *ip = ctx_data(ctx) + ETH_HLEN + (tag_len ? TAG_LEN : 0);

	if (ip > ctx_data_end(ctx))
		return 1;
	return clamp_maybe_syn(ip, ctx_data_end(ctx), *(const __be16 *)(ip - sizeof(__be16)));
}

/*
 * Another frame of a known flow to a VTEP, by a device that takes frames by ndo_xdp_xmit.
 * TC has asked where that leads (lib/vxlan_out.h); whatever is not plain is TC's.
 */
int vnetx_xdp_vxlan_out(struct xdp_md *ctx)
{
	const __u32 len = ctx_len(ctx);
	const struct vnetx_outer *outer;
	const struct vnetx_flow *flow;
	__u32 hash, inner;
	__u16 tci = 0;

	flow = flow_find(ctx, egress_device(ctx, HOOK_INGRESS), len, &tci);
	if (!flow || !(flow->how & VNETX_FLOW_VTEP) ||
	    flow->how & (VNETX_FLOW_PUSH | VNETX_FLOW_FOREIGN) || ctx_has_frags(ctx, len) ||
	    mtu_check_now(ctx, len, flow->out_ifindex))
		return XDP_PASS;
	inner = egress_len(flow, len);
	hash = inner_hash(ctx, inner == len ? ETH_HLEN : ETH_HLEN + TAG_LEN);
	outer = outer_place(hash);
	if (!outer || !(outer->flags & VNETX_OUTER_XDP) ||
	    !outer_holds(outer, hash, flow->out, flow->vid) ||
	    (outer->flags & VNETX_OUTER_CLAMP_MSS && xdp_maybe_syn(ctx, len - inner)))
		return XDP_PASS;
	stats_rx(flow->in, 1, len);
	stats_vlan_rx(flow->vid, 1, len);
	if ((inner != len && egress_retag(ctx, flow, tci)) || outer_push(ctx, outer, hash, inner)) {
		stats_reason(flow->out, VNETX_NO_MEMORY, 1);
		return XDP_DROP;
	}
	stats_tx(flow->out, 1, inner);
	stats_vlan_tx(flow->vid, 1, inner);
	return bpf_redirect(outer->ifindex, 0);
}

/* A device of the underlay: what goes out by XDP again need not become an skb. */
int vnetx_xdp_underlay(struct xdp_md *ctx)
{
	const __u32 ifindex = ctx_ifindex(ctx), len = ctx_len(ctx);
	const struct vnetx_underlay *underlay = map_lookup(VNETX_MAP(UNDERLAYS), &ifindex);
	const struct ethhdr *eth = ctx_data(ctx);
	const struct vnetx_flow *flow;
	struct mtu mtu;

	if (!underlay || (const void *)(eth + 1) > ctx_data_end(ctx) ||
	    !eth_equal(eth->h_dest, underlay->mac) || ctx_has_frags(ctx, len))
		return XDP_PASS;
	flow = outer_flow(ctx, len);
	if (!flow || !(flow->how & VNETX_FLOW_XDP) || flow->how & EGRESS_TAGS)
		return XDP_PASS;
	mtu = mtu_of(ctx, len - OUTER_LEN, 0);
	if (mtu_check(ctx, &mtu, flow->out_ifindex))
		return XDP_PASS;
	if (ctx_decapsulate(ctx, OUTER_LEN))
		return XDP_DROP;
	return xdp_send(ctx, flow, len - OUTER_LEN, 0);
}
