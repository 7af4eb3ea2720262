// SPDX-License-Identifier: GPL-2.0
/*
 * The TC hooks.  Ingress: frames that a port received.  Egress, on devices
 * that carry the host's addresses: frames that the host sends.
 */
#include "ctx/skb.h"
#include "lib/egress.h"
#include "lib/epoch.h"
#include "lib/flood.h"
#include "lib/flood_vlan.h"
#include "lib/flow.h"
#include "lib/frame.h"
#include "lib/pipeline_tc.h"
#include "lib/port.h"
#include "lib/sources_start.h"
#include "lib/switch.h"

/* The same, from port @index. */
static __always_inline int tc_switch(ctx_t *ctx, __u32 index, enum hook hook)
{
	const struct vnetx_switch *sw = switch_get();
	const struct vnetx_port *in = port_get(index);
	struct frame frame = { .in = index, .epoch = epoch_now() };

	if (unlikely(!sw || !in))
		return CTX_PASS;
	if (unlikely(sw->flags & VNETX_SWITCH_SOURCES))
		sources_start(ctx, in, index, hook);
	return tc_decide(ctx, sw, in, &frame, hook);
}

int vnetx_tc_ingress(struct __sk_buff *ctx)
{
	const struct vnetx_flow *flow;
	__u32 len = ctx_len(ctx);
	__u16 tci = 0;

	if (unlikely(ctx->tc_index == VNETX_SWITCHED)) {
		ctx->tc_index = 0;
		return CTX_PASS;
	}
	flow = flow_find(ctx, egress_device(ctx, HOOK_INGRESS), len, &tci);
	if (likely(flow))
		return tc_flow(ctx, flow, len, tci);
	return tc_switch(ctx, port_of(ctx_ifindex(ctx)), HOOK_INGRESS);
}

int vnetx_tc_egress(struct __sk_buff *ctx)
{
	const struct vnetx_flow *flow;
	const struct vnetx_port *wire;
	__u32 len = ctx_len(ctx);
	__u16 tci = 0;

	if (ctx->tc_index == VNETX_SWITCHED) {
		ctx->tc_index = 0;
		return CTX_PASS;
	}
	flow = flow_find(ctx, egress_device(ctx, HOOK_EGRESS), len, &tci);
	if (likely(flow))
		return tc_flow(ctx, flow, len, tci);
	wire = port_get(port_of(ctx_ifindex(ctx)));
	if (unlikely(!wire || !wire->twin))
		return CTX_PASS;
	return tc_switch(ctx, wire->twin, HOOK_EGRESS);
}

int vnetx_flood(struct __sk_buff *ctx)
{
	return flood(ctx);
}

int vnetx_flood_vlan(struct __sk_buff *ctx)
{
	return flood_vlan(ctx);
}
