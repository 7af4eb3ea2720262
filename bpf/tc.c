// SPDX-License-Identifier: GPL-2.0
/*
 * The TC hooks.  Ingress: frames that a port received.  Egress, on devices
 * that carry the host's addresses: frames that the host sends.
 */
#include "ctx/skb.h"
#include "lib/eth.h"
#include "lib/tag.h"
#include "lib/switch.h"
#include "lib/port.h"
#include "lib/stats.h"
#include "lib/event.h"
#include "lib/storm.h"
#include "lib/epoch.h"
#include "lib/fdb.h"
#include "lib/frame.h"
#include "lib/vlan_rule.h"
#include "lib/vlan.h"
#include "lib/relay.h"
#include "lib/mtu.h"
#include "lib/flow.h"
#include "lib/egress.h"
#include "lib/ip.h"
#include "lib/vni.h"
#include "lib/vxlan.h"
#include "lib/vxlan_in.h"
#include "lib/clamp_mss.h"
#include "lib/clamp_mss_skb.h"
#include "lib/outer.h"
#include "lib/inner_hash.h"
#include "lib/vxlan_out.h"
#include "lib/send_back.h"
#include "lib/too_big.h"
#include "lib/send.h"
#include "lib/flood_rule.h"
#include "lib/flood_cb.h"
#include "lib/flood_vlan.h"
#include "lib/flood.h"
#include "lib/flood_vteps.h"
#include "lib/neigh.h"

/* Another frame of a known flow. */
static __always_inline int tc_flow(ctx_t *ctx, const struct vnetx_flow *flow, __u32 len, __u16 tci)
{
	const __u32 count = ctx_frames(ctx);
	__u32 refusal;

	stats_rx(flow->in, count, len);
	stats_vlan_rx(flow->vid, count, len);
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
		return flood_start(ctx, in, frame);
	case RELAY_LOCAL:
		stats_local(frame->in, frame->count);
		return CTX_PASS;
	default:
		return send_drop(frame, frame->in, decision);
	}
}

/* The same, from port @index. */
static __always_inline int tc_switch(ctx_t *ctx, __u32 index, enum hook hook)
{
	const struct vnetx_switch *sw = switch_get();
	const struct vnetx_port *in = port_get(index);
	struct frame frame = { .in = index, .epoch = epoch_now() };

	if (unlikely(!sw || !in))
		return CTX_PASS;
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

/* The device by which encapsulated frames come and go. */
int vnetx_vxlan(struct __sk_buff *ctx)
{
	struct frame frame = { .epoch = epoch_now() };
	struct vnetx_vtep vtep = { .ifindex = ctx_ifindex(ctx) };
	const __u32 device = port_of(vtep.ifindex);
	const struct vnetx_port *in = port_get(device);
	const struct vnetx_vni *known = NULL;
	const __u32 *vid;
	__u32 vni;

	/* One register, or it is found out again where it is used, and Linux 6.1 loses track. */
	asm volatile("" : "+r"(in));
	if (unlikely(!in || vxlan_from(ctx, &vtep, &vni)))
		return CTX_PASS;
	vid = map_lookup(VNETX_MAP(VNI_VLANS), &vni);
	if (likely(vid)) {
		frame.vid = *vid & VNETX_VID_MASK;
		known = vni_of(frame.vid);
	}
	if (unlikely(!known || known->device != device)) {
		stats_rx(device, ctx_frames(ctx), ctx_len(ctx));
		stats_reason(device, VNETX_VNI_UNKNOWN, ctx_frames(ctx));
		return CTX_DROP;
	}
	frame.unlearned = !(known->flags & VNETX_VNI_LEARNING);
	frame.lone = ctx_is_gso(ctx) || ctx_tag_beside(ctx);
	frame.in = vtep_of(&vtep, in);
	if (unlikely(!frame.in)) {
		frame.in = device;
		frame.unlearned = 1;
		frame.lone = 1;
		if (ctx->tc_index != VNETX_LOOKED_AT)
			stats_reason(device, VNETX_VTEPS_FULL, ctx_frames(ctx));
	}
	if (unlikely(known->flags & VNETX_VNI_NEIGH_SUPPRESS))
		neigh_learn_start(ctx, frame.vid);
	if (unlikely(known->flags & VNETX_VNI_GBP))
		vxlan_mark_from(ctx);
	if (unlikely(known->flags & VNETX_VNI_CLAMP_MSS))
		clamp_start(ctx, vtep.ifindex, frame.in, VNETX_TAIL_VXLAN);
	ctx->tc_index = 0;
	vxlan_in_start(ctx, &frame, vni);
	return CTX_DROP;
}

int vnetx_vxlan_in(struct __sk_buff *ctx)
{
	const struct vnetx_switch *sw = switch_get();
	struct frame frame = vxlan_in_frame(ctx);
	const struct vnetx_port *in = port_get(frame.in);

	asm volatile("" : "+r"(in));
	if (unlikely(!sw || !in))
		return CTX_DROP;
	return tc_decide(ctx, sw, in, &frame, HOOK_INGRESS);
}

/* A device of the underlay: what is of a known flow need not go by the stack. */
int vnetx_underlay(struct __sk_buff *ctx)
{
	struct vnetx_flow *flow;

	if (ctx->pkt_type != PACKET_HOST)
		return CTX_PASS;
	flow = outer_flow(ctx, ctx_len(ctx));
	if (!flow)
		return CTX_PASS;
	if (unlikely(ctx_is_gso(ctx))) {
		/* Only the kernel can take this one apart, and nothing may overtake it on its way. */
		flow->epoch = 0;
		return CTX_PASS;
	}
	if (ctx_decapsulate(ctx, OUTER_LEN))
		return CTX_PASS;
	return tc_flow(ctx, flow, ctx_len(ctx), 0);
}

int vnetx_vxlan_out(struct __sk_buff *ctx)
{
	return vxlan_out(ctx);
}

int vnetx_neigh_answer(struct __sk_buff *ctx)
{
	return neigh_answer(ctx);
}

int vnetx_neigh_learn(struct __sk_buff *ctx)
{
	return neigh_learn(ctx);
}

int vnetx_clamp_mss(struct __sk_buff *ctx)
{
	return clamp(ctx);
}

int vnetx_too_big(struct __sk_buff *ctx)
{
	return too_big(ctx);
}

int vnetx_flood(struct __sk_buff *ctx)
{
	return flood(ctx);
}

int vnetx_flood_vlan(struct __sk_buff *ctx)
{
	return flood_vlan(ctx);
}

int vnetx_flood_vteps(struct __sk_buff *ctx)
{
	return flood_vteps(ctx);
}
