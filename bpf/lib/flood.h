/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Flooding in TC (br_flood): a copy to every other port that takes the kind.
 * A run serves VNETX_FLOOD_CHUNK ports and then calls itself; what it has to
 * remember stands in skb->cb.
 */
#ifndef VNETX_FLOOD_H
#define VNETX_FLOOD_H

/* Uses of skb->cb[]. */
enum flood_cb {
	FLOOD_IN,
	FLOOD_NEXT,
	/* The flag of ports that take this kind of frame. */
	FLOOD_FLAG,
	/* enum flood_taken */
	FLOOD_TAKEN,
};

static __always_inline void flood_run(ctx_t *ctx)
{
	tail_call(ctx, VNETX_MAP(TAIL), VNETX_TAIL_FLOOD);
}

static __always_inline int flood_start(ctx_t *ctx, const struct vnetx_port *in,
				       const struct frame *frame)
{
	__u32 kind = frame_bum_kind(frame);

	if (unlikely(storm_exceeded(in, frame->in, kind, frame->count, frame->now)))
		return send_drop(frame, frame->in, VNETX_STORM_BROADCAST + kind);
	if (frame->vid) {
		flood_vlan_start(ctx, in, frame, port_flood_flag(kind));
		return send_drop(frame, frame->in, VNETX_NO_EGRESS);
	}
	ctx->cb[FLOOD_IN] = frame->in;
	ctx->cb[FLOOD_NEXT] = 1;
	ctx->cb[FLOOD_FLAG] = port_flood_flag(kind);
	ctx->cb[FLOOD_TAKEN] = 0;
	flood_run(ctx);
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
	struct frame frame = { .in = ctx->cb[FLOOD_IN] };
	const struct vnetx_port *in = port_get(frame.in);
	__u32 index = ctx->cb[FLOOD_NEXT], taken = ctx->cb[FLOOD_TAKEN], i;
	struct flood_rule rule;
	struct mtu mtu;

	frame.len = ctx_len(ctx);
	frame.count = ctx_frames(ctx);
	if (!sw || !in || frame_parse(ctx, &frame))
		return CTX_DROP;
	rule = flood_rule_of(in, frame.in, ctx->cb[FLOOD_FLAG]);
	mtu = mtu_of(ctx, frame.len, frame.tagged);
#pragma clang loop unroll(disable)
	for (i = 0; i < VNETX_FLOOD_CHUNK; i++, index++) {
		if (index >= sw->port_slots)
			break;
		taken |= flood_port(ctx, &frame, &mtu, &rule, index, in->twin);
	}
	if (index < sw->port_slots) {
		ctx->cb[FLOOD_NEXT] = index;
		ctx->cb[FLOOD_TAKEN] = taken;
		flood_run(ctx);
	}
	if (!taken)
		return send_drop(&frame, frame.in, VNETX_NO_EGRESS);
	stats_flooded(frame.in, frame.count);
	ctx->tc_index = 0;
	return taken & FLOOD_TAKEN_TWIN ? CTX_PASS : CTX_DROP;
}

#endif
