// SPDX-License-Identifier: GPL-2.0
/*
 * Overlays in TC: what a VTEP sent comes in by the vxlan device, or is taken out of its outer
 * headers on a device of the underlay; what goes to one, and does not fit or is answered, ends in
 * programs that the pipeline calls.
 */
#include "ctx/skb.h"
#include "lib/clamp_mss_skb.h"
#include "lib/epoch.h"
#include "lib/flood_vteps.h"
#include "lib/frame.h"
#include "lib/neigh.h"
#include "lib/outer.h"
#include "lib/pipeline_tc.h"
#include "lib/port.h"
#include "lib/stats.h"
#include "lib/switch.h"
#include "lib/too_big.h"
#include "lib/vni.h"
#include "lib/vxlan.h"
#include "lib/vxlan_in.h"
#include "lib/vxlan_out.h"

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

int vnetx_flood_vteps(struct __sk_buff *ctx)
{
	return flood_vteps(ctx);
}
