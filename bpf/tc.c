// SPDX-License-Identifier: GPL-2.0
/*
 * The TC hooks.  Ingress: frames that a port received.  Egress, on devices
 * that carry the host's addresses: frames that the host sends.
 */
#include "ctx/skb.h"
#include "lib/eth.h"
#include "lib/switch.h"
#include "lib/port.h"
#include "lib/stats.h"
#include "lib/event.h"
#include "lib/storm.h"
#include "lib/epoch.h"
#include "lib/fdb.h"
#include "lib/frame.h"
#include "lib/relay.h"
#include "lib/mtu.h"
#include "lib/flow.h"
#include "lib/egress.h"
#include "lib/send.h"
#include "lib/flood.h"

/* Another frame of a known flow. */
static __always_inline int tc_flow(ctx_t *ctx, const struct vnetx_flow *flow, __u32 len)
{
	const __u32 count = ctx_frames(ctx);
	const __u32 refusal = flow_check(ctx, flow, len);

	stats_rx(flow->in, count, len);
	if (unlikely(refusal)) {
		stats_reason(flow->out, refusal, count);
		return CTX_DROP;
	}
	stats_tx(flow->out, count, len);
	return send_flow(ctx, flow);
}

/* A frame that has to be decided on, from port @index. */
static __always_inline int tc_switch(ctx_t *ctx, __u32 index, enum hook hook)
{
	const struct vnetx_switch *sw = switch_get();
	const struct vnetx_port *in = port_get(index);
	struct frame frame = { .in = index, .epoch = epoch_now() };
	__u32 decision;

	if (unlikely(!sw || !in))
		return CTX_PASS;
	frame.len = ctx_len(ctx);
	frame.count = ctx_frames(ctx);
	stats_rx(frame.in, frame.count, frame.len);
	decision = frame_parse(ctx, &frame);
	if (likely(decision == VNETX_OK)) {
		decision = relay(sw, in, &frame);
		relay_notice(&frame);
	}

	switch (decision) {
	case RELAY_UNICAST:
		return send_unicast(ctx, &frame, in, hook);
	case RELAY_FLOOD:
		return flood_start(ctx, in, &frame);
	case RELAY_LOCAL:
		stats_local(frame.in, frame.count);
		return CTX_PASS;
	default:
		return send_drop(&frame, frame.in, decision);
	}
}

int vnetx_tc_ingress(struct __sk_buff *ctx)
{
	const struct vnetx_flow *flow;
	__u32 len = ctx_len(ctx);

	if (unlikely(ctx->tc_index == VNETX_SWITCHED)) {
		ctx->tc_index = 0;
		return CTX_PASS;
	}
	flow = flow_find(ctx, egress_device(ctx, HOOK_INGRESS), len);
	if (likely(flow))
		return tc_flow(ctx, flow, len);
	return tc_switch(ctx, port_of(ctx_ifindex(ctx)), HOOK_INGRESS);
}

int vnetx_tc_egress(struct __sk_buff *ctx)
{
	const struct vnetx_flow *flow;
	const struct vnetx_port *wire;
	__u32 len = ctx_len(ctx);

	if (ctx->tc_index == VNETX_SWITCHED) {
		ctx->tc_index = 0;
		return CTX_PASS;
	}
	flow = flow_find(ctx, egress_device(ctx, HOOK_EGRESS), len);
	if (likely(flow))
		return tc_flow(ctx, flow, len);
	wire = port_get(port_of(ctx_ifindex(ctx)));
	if (unlikely(!wire || !wire->twin))
		return CTX_PASS;
	return tc_switch(ctx, wire->twin, HOOK_EGRESS);
}

int vnetx_flood(struct __sk_buff *ctx)
{
	return flood(ctx);
}
