/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Head-end replication: a copy to each VTEP of the VNI, without the tag that counts,
 * before the ports have their turn.  What came from a VTEP goes to none.
 */
#ifndef VNETX_FLOOD_VTEPS_H
#define VNETX_FLOOD_VTEPS_H

#include "lib/flood.h"
#include "lib/flood_cb.h"
#include "lib/flood_rule.h"
#include "lib/frame.h"
#include "lib/mtu.h"
#include "lib/port.h"
#include "lib/send.h"
#include "lib/stats.h"
#include "lib/switch.h"
#include "lib/vni.h"
#include "lib/vxlan.h"

/*
 * Steps of one run.  Of the tail calls that there may be (33), the ports of the largest
 * switch leave eleven: enough for VNETX_VNI_REMOTES_MAX VTEPs and the words of their set.
 */
#define FLOOD_VTEPS_STEPS 128

/* The first VTEP from @index on; without one in the same word, the beginning of the next, and 0. */
static __always_inline __u32 flood_vteps_next(const struct vnetx_vni_remotes *remotes, __u32 index,
					      __u32 *found)
{
	__u64 word = remotes->member[(index / 64) % VNETX_PORT_WORDS] >> index % 64;

	*found = word != 0;
	return word ? index + flood_lowest(word) : (index / 64 + 1) * 64;
}

static __always_inline void flood_vtep(ctx_t *ctx, const struct vnetx_port *out, __u32 index,
				       __u32 vid, __u32 count)
{
	__u32 reason = mtu_check_now(ctx, ctx_len(ctx), out->ifindex);

	if (likely(!reason))
		reason = vxlan_to(ctx, vid, index) ? VNETX_EGRESS_GONE : send_copy(ctx, out);
	if (unlikely(reason)) {
		stats_reason(index, reason, count);
		return;
	}
	stats_tx(index, count, ctx_len(ctx));
	stats_vlan_tx(vid, count, ctx_len(ctx));
}

static __always_inline int flood_vteps(ctx_t *ctx)
{
	const struct vnetx_switch *sw = switch_get();
	struct frame frame = {
		.in = FLOOD_CB(ctx, FROM) & 0xffff,
		.vid = FLOOD_CB(ctx, FROM) >> FLOOD_VID_SHIFT & VNETX_VID_MASK,
		.count = ctx_frames(ctx),
	};
	const struct vnetx_port *out, *in = port_get(frame.in);
	const struct vnetx_vni *vni = vni_of(frame.vid);
	const struct vnetx_vni_remotes *remotes = map_lookup(VNETX_MAP(VNI_REMOTES), &frame.vid);
	struct flood_rule rule;
	__u32 i, index, found;

	if (!sw || !in)
		return CTX_DROP;
	if (unlikely(!remotes))
		goto ports;
	if (unlikely(flood_retag(ctx, 0)))
		return send_drop(&frame, frame.in, VNETX_NO_MEMORY);
	if (unlikely(vni && vni->flags & VNETX_VNI_NEIGH_SUPPRESS) &&
	    !(FLOOD_CB(ctx, FROM) & FLOOD_ASKED))
		tail_call(ctx, VNETX_MAP(TAIL), VNETX_TAIL_NEIGH_ANSWER);
	rule = flood_rule_of(in, frame.in, FLOOD_CB(ctx, STATE) & FLOOD_FLAG_MASK);
#pragma clang loop unroll(disable)
	for (i = 0; i < FLOOD_VTEPS_STEPS; i++) {
		index = flood_vteps_next(remotes, FLOOD_CB(ctx, NEXT), &found);
		if (index >= sw->port_slots)
			goto ports;
		FLOOD_CB(ctx, NEXT) = index + found;
		if (!found)
			continue;
		out = port_get(index);
		if (!out || !flood_wanted(&rule, out, index))
			continue;
		flood_vtep(ctx, out, index, frame.vid, frame.count);
		FLOOD_CB(ctx, STATE) |= FLOOD_TAKEN_ANY << FLOOD_TAKEN_SHIFT;
	}
	tail_call(ctx, VNETX_MAP(TAIL), VNETX_TAIL_FLOOD_VTEPS);
ports:
	FLOOD_CB(ctx, NEXT) = 1;
	flood_ports(ctx, frame.vid);
	return send_drop(&frame, frame.in, VNETX_NO_EGRESS);
}

#endif
