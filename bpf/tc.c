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
#include "lib/fdb.h"
#include "lib/frame.h"
#include "lib/relay.h"
#include "lib/mtu.h"
#include "lib/send.h"
#include "lib/flood.h"

static __always_inline int tc_switch(ctx_t *ctx, __u32 index, enum hook hook)
{
	const struct vnetx_switch *sw = switch_get();
	const struct vnetx_port *in = port_get(index);
	struct frame frame = { .in = index };
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
	if (unlikely(ctx->tc_index == VNETX_SWITCHED)) {
		ctx->tc_index = 0;
		return CTX_PASS;
	}
	return tc_switch(ctx, port_of(ctx_ifindex(ctx)), HOOK_INGRESS);
}

int vnetx_tc_egress(struct __sk_buff *ctx)
{
	const struct vnetx_port *wire;

	if (ctx->tc_index == VNETX_SWITCHED) {
		ctx->tc_index = 0;
		return CTX_PASS;
	}
	wire = port_get(port_of(ctx_ifindex(ctx)));
	if (unlikely(!wire || !wire->twin))
		return CTX_PASS;
	return tc_switch(ctx, wire->twin, HOOK_EGRESS);
}

int vnetx_flood(struct __sk_buff *ctx)
{
	return flood(ctx);
}
