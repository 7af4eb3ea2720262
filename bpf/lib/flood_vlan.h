/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Flooding within a VLAN: first the ports that get the frame without a tag, then
 * those that get it with one, so that the tag changes twice, if VIDs are not mapped
 * and TPIDs not mixed.  Ports of other VLANs cost nothing but their bit.  A run takes
 * FLOOD_VLAN_STEPS steps and then calls itself.
 */
#ifndef VNETX_FLOOD_VLAN_H
#define VNETX_FLOOD_VLAN_H

#include "lib/flood_cb.h"
#include "lib/flood_rule.h"
#include "lib/frame.h"
#include "lib/mtu.h"
#include "lib/port.h"
#include "lib/send.h"
#include "lib/stats.h"
#include "lib/switch.h"
#include "lib/vlan.h"

/*
 * Steps of one run.  With as many runs as there may be tail calls (33), every port of the
 * largest switch takes its step, and half of them take another one for a tag of their own.
 */
#define FLOOD_VLAN_STEPS (VNETX_FLOOD_CHUNK * 3 / 2)

/* Does the host get the frame, if at all, by the device that it came by, and with a foreign tag? */
static __always_inline int flood_twin_foreign(const struct vnetx_port *in, __u32 vid)
{
	const struct vnetx_vlan *vlan;
	const struct vnetx_port *out;

	if (likely(!in->twin || (in->flags & VNETX_PORT_HOST)))
		return 0;
	out = port_get(in->twin);
	if (likely(!out || !ctx_tpid_foreign(out->tpid)))
		return 0;
	vlan = vlan_get(vid);
	return vlan && !(vlan->untagged[(in->twin / 64) % VNETX_PORT_WORDS] >> (in->twin % 64) & 1);
}

/*
 * The first port from @index on that is in the VLAN and has its frames in the
 * way whose turn it is.  Without one in the same word of the set, the beginning
 * of the next word, and @found is 0: a port costs its turn, one of another VLAN
 * next to nothing.
 */
static __always_inline __u32 flood_next(const struct vnetx_vlan *vlan, __u32 index, __u32 state,
					__u32 *found)
{
	__u32 place = (index / 64) % VNETX_PORT_WORDS;
	__u64 untagged = vlan->untagged[place];
	__u64 word = vlan->member[place] & (state & FLOOD_TAGGED ? ~untagged : untagged);

	word >>= index % 64;
	*found = word != 0;
	return word ? index + flood_lowest(word) : (index / 64 + 1) * 64;
}

/* The tag with which the frame leaves by a port whose turn it is; 0 without. */
static __always_inline __u32 flood_vlan_tag(ctx_t *ctx, const struct vnetx_port *in,
					    const struct vnetx_port *out, __u32 index, __u32 vid)
{
	const __u32 came = FLOOD_CB(ctx, TAG_IN);
	__u16 priority = (came ? came : in->priority) & (__u16)~VNETX_VID_MASK;

	if (!(FLOOD_CB(ctx, STATE) & FLOOD_TAGGED))
		return 0;
	return (__u32)out->tpid << 16 | priority |
	       (vlan_mapped(out, index, vid, 1) & VNETX_VID_MASK);
}

/*
 * One port of the VLAN, which gets the frame as its own settings want it; the one that is the
 * other side of the device gets the frame itself.  Returns a set of enum flood_taken.
 */
static __always_inline __u32 flood_vlan_port(ctx_t *ctx, const struct vnetx_port *in,
					     const struct vnetx_port *out, __u32 index, __u32 vid,
					     __u32 count)
{
	const __u32 copied = FLOOD_CB(ctx, FROM) & FLOOD_COPY_TWIN;
	const int twin = (index | copied) == in->twin;
	__u32 reason = mtu_check_now(ctx, ctx_len(ctx), out->ifindex);

	if (likely(!reason) && !twin)
		reason = send_copy(ctx, out);
	if (unlikely(reason)) {
		stats_reason(index, reason, count);
		return FLOOD_TAKEN_ANY;
	}
	stats_tx(index, count, ctx_len(ctx));
	stats_vlan_tx(vid, count, ctx_len(ctx));
	return twin ? FLOOD_TAKEN_ANY | FLOOD_TAKEN_TWIN : FLOOD_TAKEN_ANY;
}

enum flood_step {
	FLOOD_GO_ON,
	FLOOD_OVER,
	FLOOD_FAILED,
};

/* One step of the round: a port, or its tag, or a word without any more of them. */
static __always_inline enum flood_step flood_vlan_step(ctx_t *ctx, const struct vnetx_vlan *vlan,
						       const struct vnetx_port *in,
						       const struct flood_rule *rule, __u32 slots,
						       __u32 vid, __u32 count)
{
	const __u32 state = FLOOD_CB(ctx, STATE);
	__u32 tag, found, index = flood_next(vlan, FLOOD_CB(ctx, NEXT), state, &found);
	const struct vnetx_port *out;

	if (index >= slots) {
		FLOOD_CB(ctx, STATE) = state | FLOOD_TAGGED;
		FLOOD_CB(ctx, NEXT) = 1;
		return state & FLOOD_TAGGED ? FLOOD_OVER : FLOOD_GO_ON;
	}
	FLOOD_CB(ctx, NEXT) = index;
	if (!found)
		return FLOOD_GO_ON;
	out = port_get(index);
	if (out && flood_wanted(rule, out, index)) {
		tag = flood_vlan_tag(ctx, in, out, index, vid);
		if (tag != FLOOD_CB(ctx, TAG))
			return flood_retag(ctx, tag) ? FLOOD_FAILED : FLOOD_GO_ON;
		FLOOD_CB(ctx, STATE) = state | flood_vlan_port(ctx, in, out, index, vid, count)
						       << FLOOD_TAKEN_SHIFT;
	}
	FLOOD_CB(ctx, NEXT) = index + 1;
	return FLOOD_GO_ON;
}

/* The tag with which the other side of the device gets the frame itself. */
static __always_inline __u32 flood_twin_tag(ctx_t *ctx, const struct vnetx_vlan *vlan,
					    const struct vnetx_port *in, __u32 vid)
{
	const struct vnetx_port *out = port_get(in->twin);

	if (!out || vlan->untagged[(in->twin / 64) % VNETX_PORT_WORDS] >> (in->twin % 64) & 1)
		return 0;
	return flood_vlan_tag(ctx, in, out, in->twin, vid);
}

/* All ports have had it: the frame itself goes on to the other side, or ends. */
static __always_inline int flood_vlan_end(ctx_t *ctx, const struct vnetx_vlan *vlan,
					  const struct vnetx_port *in, const struct frame *frame)
{
	const __u32 taken = FLOOD_CB(ctx, STATE) >> FLOOD_TAKEN_SHIFT;

	if (!(taken & FLOOD_TAKEN_ANY))
		return send_drop(frame, frame->in, VNETX_NO_EGRESS);
	stats_flooded(frame->in, frame->count);
	ctx->tc_index = 0;
	if (!(taken & FLOOD_TAKEN_TWIN))
		return CTX_DROP;
	if (flood_retag(ctx, flood_twin_tag(ctx, vlan, in, frame->vid)))
		return send_drop(frame, in->twin, VNETX_NO_MEMORY);
	return CTX_PASS;
}

static __always_inline int flood_vlan(ctx_t *ctx)
{
	const struct vnetx_switch *sw = switch_get();
	struct frame frame = {
		.in = FLOOD_CB(ctx, FROM) & 0xffff,
		.vid = FLOOD_CB(ctx, FROM) >> FLOOD_VID_SHIFT & VNETX_VID_MASK,
		.count = ctx_frames(ctx),
	};
	const struct vnetx_port *in = port_get(frame.in);
	const struct vnetx_vlan *vlan = vlan_get(frame.vid);
	struct flood_rule rule;
	enum flood_step step;
	__u32 i;

	if (!sw || !in)
		return CTX_DROP;
	if (unlikely(!vlan))
		return send_drop(&frame, frame.in, VNETX_NO_EGRESS);
	rule = flood_rule_of(in, frame.in, FLOOD_CB(ctx, STATE) & FLOOD_FLAG_MASK);
	flood_rule_reflected(&rule, FLOOD_CB(ctx, STATE) >> FLOOD_SENDER_SHIFT);
#pragma clang loop unroll(disable)
	for (i = 0; i < FLOOD_VLAN_STEPS; i++) {
		step = flood_vlan_step(ctx, vlan, in, &rule, sw->port_slots, frame.vid,
				       frame.count);
		if (step == FLOOD_OVER)
			return flood_vlan_end(ctx, vlan, in, &frame);
		if (step == FLOOD_FAILED)
			return send_drop(&frame, frame.in, VNETX_NO_MEMORY);
	}
	tail_call(ctx, VNETX_MAP(TAIL), VNETX_TAIL_FLOOD_VLAN);
	return send_drop(&frame, frame.in, VNETX_NO_EGRESS);
}

#endif
