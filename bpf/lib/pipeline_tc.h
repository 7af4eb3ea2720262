/* SPDX-License-Identifier: GPL-2.0 */
/* TC's pipeline, from a frame to what becomes of it. */
#ifndef VNETX_PIPELINE_TC_H
#define VNETX_PIPELINE_TC_H

#include "lib/egress.h"
#include "lib/flood.h"
#include "lib/flow.h"
#include "lib/frame.h"
#include "lib/ipvlan_start.h"
#include "lib/mtu.h"
#include "lib/relay.h"
#include "lib/send.h"
#include "lib/stats.h"
#include "lib/too_big.h"

/* Another frame of a known flow. */
static __always_inline int tc_flow(ctx_t *ctx, const struct vnetx_flow *flow, __u32 len, __u16 tci)
{
	const __u32 count = ctx_frames(ctx);
	__u32 refusal;

	stats_rx(flow->in, count, len);
	stats_vlan_rx(flow->vid, count, len);
	if (unlikely(flow->how & VNETX_FLOW_ADDRESS)) {
		ipvlan_start_known(ctx, flow);
		stats_reason(flow->out, VNETX_EGRESS_GONE, count);
		return CTX_DROP;
	}
	len = egress_len(flow, len);
	if (unlikely(flow->how & EGRESS_TAGS) && egress_retag(ctx, flow, tci))
		refusal = VNETX_NO_MEMORY;
	else
		refusal = mtu_check_now(ctx, len, flow->out_ifindex);
	if (unlikely(refusal)) {
		if (refusal == VNETX_MTU && flow->how & VNETX_FLOW_VTEP)
			too_big_start(ctx, flow, tci);
		stats_reason(flow->out, refusal, count);
		return CTX_DROP;
	}
	return send_flow(ctx, flow, len, count);
}

/* A frame that has to be decided on; @frame says where it came from. */
static __always_inline int tc_decide(ctx_t *ctx, const struct vnetx_switch *sw,
				     const struct vnetx_port *in, struct frame *frame,
				     enum hook hook)
{
	__u32 decision;

	frame->len = ctx_len(ctx);
	frame->count = ctx_frames(ctx);
	stats_rx(frame->in, frame->count, frame->len);
	decision = frame_parse(ctx, frame);
	if (likely(decision == VNETX_OK)) {
		decision = relay(ctx, sw, in, frame);
		stats_vlan_rx(frame->vid, frame->count, frame->len);
		relay_notice(frame);
	}

	switch (decision) {
	case RELAY_UNICAST:
		return send_unicast(ctx, frame, in, hook);
	case RELAY_FLOOD:
		if (unlikely(sw->flags & VNETX_SWITCH_IPVLAN) && eth_is_group(frame->dst.mac))
			ipvlan_start(ctx, frame, 0);
		return flood_start(ctx, in, frame);
	case RELAY_ADDRESS:
		ipvlan_start(ctx, frame, frame->out);
		return send_drop(frame, frame->out, VNETX_EGRESS_GONE);
	case RELAY_LOCAL:
		stats_local(frame->in, frame->count);
		return CTX_PASS;
	default:
		return send_drop(frame, frame->in, decision);
	}
}

#endif
