/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Flooding in TC (br_flood): a copy to every other port that takes the kind.
 * A run serves VNETX_FLOOD_CHUNK ports and then calls itself.
 */
#ifndef VNETX_FLOOD_H
#define VNETX_FLOOD_H

#include "lib/flood_cb.h"
#include "lib/flood_rule.h"
#include "lib/flood_vlan.h"
#include "lib/frame.h"
#include "lib/mtu.h"
#include "lib/port.h"
#include "lib/send.h"
#include "lib/stats.h"
#include "lib/storm.h"
#include "lib/switch.h"
#include "lib/vni.h"

/* The ports' turn, after the VTEPs'. */
static __always_inline void flood_ports(ctx_t *ctx, __u32 vid)
{
	tail_call(ctx, VNETX_MAP(TAIL), vid ? VNETX_TAIL_FLOOD_VLAN : VNETX_TAIL_FLOOD);
}

static __always_inline int flood_start(ctx_t *ctx, const struct vnetx_port *in,
				       const struct frame *frame)
{
	__u32 kind = frame_bum_kind(frame), from = frame->in | frame->vid << FLOOD_VID_SHIFT;

	if (unlikely(storm_exceeded(in, frame->in, kind, frame->count, frame->now)))
		return send_drop(frame, frame->in, VNETX_STORM_BROADCAST + kind);
	if (frame->vid && !frame->from_vtep && flood_twin_foreign(in, frame->vid))
		from |= FLOOD_COPY_TWIN;
	FLOOD_CB(ctx, FROM) = from;
	FLOOD_CB(ctx, STATE) = port_flood_flag(kind) | frame->reflected << FLOOD_SENDER_SHIFT;
	FLOOD_CB(ctx, NEXT) = 1;
	FLOOD_CB(ctx, TAG_IN) = frame->counts ? (__u32)in->tpid << 16 | frame->tag.tci : 0;
	FLOOD_CB(ctx, TAG) = FLOOD_CB(ctx, TAG_IN);
	if (!frame->from_vtep &&
	    unlikely(vni_of(frame->vid) && !(in->flags & (VNETX_PORT_VTEP | ENDPOINT_BY_WIRE))))
		tail_call(ctx, VNETX_MAP(TAIL), VNETX_TAIL_FLOOD_VTEPS);
	flood_ports(ctx, frame->vid);
	return send_drop(frame, frame->in, VNETX_NO_EGRESS);
}

/* One port of the round.  Returns a set of enum flood_taken. */
static __always_inline __u32 flood_port(ctx_t *ctx, const struct frame *frame,
					const struct mtu *mtu, const struct flood_rule *rule,
					__u32 index, __u32 twin)
{
	const struct vnetx_port *out = port_get(index);
	__u32 reason;

	if (!out || !flood_wanted(rule, out, index))
		return 0;
	reason = mtu_check(ctx, mtu, out->ifindex);
	if (likely(!reason) && index != twin)
		reason = send_copy(ctx, out);
	if (unlikely(reason)) {
		stats_reason(index, reason, frame->count);
		return FLOOD_TAKEN_ANY;
	}
	stats_tx(index, frame->count, frame->len);
	return index == twin ? FLOOD_TAKEN_ANY | FLOOD_TAKEN_TWIN : FLOOD_TAKEN_ANY;
}

static __always_inline int flood(ctx_t *ctx)
{
	const struct vnetx_switch *sw = switch_get();
	struct frame frame = { .in = FLOOD_CB(ctx, FROM) & 0xffff };
	const struct vnetx_port *in = port_get(frame.in);
	const __u32 state = FLOOD_CB(ctx, STATE);
	__u32 index = FLOOD_CB(ctx, NEXT), i;
	__u32 taken = state >> FLOOD_TAKEN_SHIFT & FLOOD_TAKEN_MASK;
	struct flood_rule rule;
	struct mtu mtu;

	frame.len = ctx_len(ctx);
	frame.count = ctx_frames(ctx);
	if (!sw || !in || frame_parse(ctx, &frame))
		return CTX_DROP;
	rule = flood_rule_of(in, frame.in, state & FLOOD_FLAG_MASK);
	rule.barred |= VNETX_PORT_VTEP; /* they have had it */
	flood_rule_reflected(&rule, state >> FLOOD_SENDER_SHIFT);
	mtu = mtu_of(ctx, frame.len, frame.tagged);
#pragma clang loop unroll(disable)
	for (i = 0; i < VNETX_FLOOD_CHUNK; i++, index++) {
		if (index >= sw->port_slots)
			break;
		taken |= flood_port(ctx, &frame, &mtu, &rule, index, in->twin);
	}
	if (index < sw->port_slots) {
		FLOOD_CB(ctx, NEXT) = index;
		FLOOD_CB(ctx, STATE) = state | taken << FLOOD_TAKEN_SHIFT;
		tail_call(ctx, VNETX_MAP(TAIL), VNETX_TAIL_FLOOD);
	}
	if (!taken)
		return send_drop(&frame, frame.in, VNETX_NO_EGRESS);
	stats_flooded(frame.in, frame.count);
	ctx->tc_index = 0;
	return taken & FLOOD_TAKEN_TWIN ? CTX_PASS : CTX_DROP;
}

#endif
