// SPDX-License-Identifier: GPL-2.0
/*
 * A wire in XDP, where both ends have native XDP.  What it cannot send is TC's on the same
 * device: frames in fragments, and those that look too large.
 */
#include "ctx/xdp.h"
#include "lib/mtu.h"
#include "lib/stats.h"
#include "lib/wire.h"

/* May the frame be sent?  A device that goes takes its place in the devmap with it. */
static __always_inline int wire_sends(ctx_t *ctx, __u32 len, __u32 out, __u32 out_ifindex)
{
	return !ctx_has_frags(ctx, len) && !mtu_check_now(ctx, len, out_ifindex) &&
	       bpf_redirect_map(VNETX_MAP(DEVMAP), out, XDP_PASS) == XDP_REDIRECT;
}

static __always_inline int wire_decide(ctx_t *ctx, struct vnetx_wire *wire, __u64 epoch, __u32 len)
{
	const __u32 ifindex = ctx_ifindex(ctx);
	struct vnetx_flow flow;
	__u32 reason, bit = 0;

	if (unlikely(wire->flags & VNETX_WIRE_CUT_HERE) ||
	    !wire_sends(ctx, len, wire->out, wire->out_ifindex))
		return XDP_PASS;
	flow = wire_flow(wire, ifindex, epoch);
	wire_keep(wire, ifindex, &flow);
	stats_rx(wire->in, 1, len);
	reason = wire_fate(wire, 1, len, &bit);
	if (unlikely(reason == VNETX_WIRE_LOSS))
		return wire_drop(wire->in, reason, 1);
	if (unlikely(reason)) {
		if (ctx_flip_bit(ctx, bit))
			return wire_drop(wire->out, VNETX_NO_MEMORY, 1);
		stats_reason(wire->in, reason, 1);
	}
	stats_tx(wire->out, 1, len);
	return XDP_REDIRECT;
}

int vnetx_xdp_wire(struct xdp_md *ctx)
{
	const __u32 ifindex = ctx_ifindex(ctx), len = ctx_len(ctx);
	const struct vnetx_flow *flow = wire_kept(ifindex);
	const __u64 epoch = epoch_now();
	struct vnetx_wire *wire;

	if (unlikely(!flow)) {
		wire = wire_of(ifindex);
		return wire ? wire_decide(ctx, wire, epoch, len) : XDP_PASS;
	}
	if (unlikely(!wire_sends(ctx, len, flow->out, flow->out_ifindex)))
		return XDP_PASS;
	stats_rx(flow->in, 1, len);
	stats_tx(flow->out, 1, len);
	return XDP_REDIRECT;
}
