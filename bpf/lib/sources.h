/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Endpoints that take all frames of the source addresses that they list, wherever these are
 * going otherwise (macvlan.c:macvlan_forward_source).
 */
#ifndef VNETX_SOURCES_H
#define VNETX_SOURCES_H

#include "lib/endpoint.h"
#include "lib/frame.h"
#include "lib/mtu.h"
#include "lib/port.h"
#include "lib/send.h"
#include "lib/sources_start.h"
#include "lib/stats.h"
#include "lib/switch.h"
#include "lib/tag.h"
#include "lib/vlan.h"

static __always_inline int sources_takes(const struct vnetx_port *in, const struct vnetx_port *out,
					 __u32 index, const struct frame *frame)
{
	if (!(out->flags & VNETX_PORT_UP) || !vlan_allows(index, frame->vid))
		return 0;
	return !(in->flags & ENDPOINT_HOST && out->flags & VNETX_PORT_NO_HOST);
}

/* A copy to each of them, without the tag that counts; returns how many. */
static __always_inline __u32 sources_copy(ctx_t *ctx, const struct vnetx_source *source,
					  const struct vnetx_port *in, const struct frame *frame)
{
	__u32 i, index, reason, copies = 0;
	const struct vnetx_port *out;

#pragma clang loop unroll(disable)
	for (i = 0; i < VNETX_SOURCE_PORTS; i++) {
		index = source->ports[i];
		out = index ? port_get(index) : NULL;
		if (!out || !sources_takes(in, out, index, frame))
			continue;
		copies++;
		reason = mtu_check_now(ctx, ctx_len(ctx), out->ifindex);
		if (likely(!reason))
			reason = send_copy(ctx, out);
		if (unlikely(reason)) {
			stats_reason(index, reason, frame->count);
			continue;
		}
		stats_tx(index, frame->count, ctx_len(ctx));
		stats_vlan_tx(frame->vid, frame->count, ctx_len(ctx));
	}
	return copies;
}

static __always_inline int sources(ctx_t *ctx)
{
	const struct vnetx_switch *sw = switch_get();
	struct frame frame = {
		.in = SOURCES_CB(ctx, PORT) & 0xffff,
		.len = ctx_len(ctx),
		.count = ctx_frames(ctx),
	};
	const __u32 back = SOURCES_CB(ctx, PORT) >> SOURCES_BACK_SHIFT;
	const struct vnetx_port *in = port_get(frame.in);
	const struct vnetx_source *source;
	const struct vnetx_port *out;
	__u32 copies = 0;

	if (!sw || !in || frame_parse(ctx, &frame))
		return CTX_DROP;
	source = endpoint_sources(in, frame.src.mac);
	if (source && in->flags & VNETX_PORT_UP && !vlan_classify(ctx, sw, in, &frame)) {
		if (frame.counts && ctx_pop_tag(ctx, tag_tpid(&frame.tag)))
			return send_drop(&frame, frame.in, VNETX_NO_MEMORY);
		copies = sources_copy(ctx, source, in, &frame);
		if (frame.counts && ctx_push_tag(ctx, tag_tpid(&frame.tag), frame.tag.tci))
			return send_drop(&frame, frame.in, VNETX_NO_MEMORY);
	}
	out = copies ? port_get(fdb_local(&frame.dst)) : NULL;
	if (out && out->flags & VNETX_PORT_SOURCE) { /* which has had it, should it listen */
		stats_rx(frame.in, frame.count, frame.len);
		stats_vlan_rx(frame.vid, frame.count, frame.len);
		stats_flooded(frame.in, frame.count);
		return CTX_DROP;
	}
	ctx->tc_index = VNETX_LOOKED_AT;
	tail_call(ctx, VNETX_MAP(TAIL), back);
	return CTX_DROP;
}

#endif
