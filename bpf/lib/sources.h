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
#include "lib/stats.h"
#include "lib/vlan.h"

static __always_inline int sources_takes(const struct vnetx_port *in, const struct vnetx_port *out,
					 __u32 index, const struct frame *frame)
{
	if (!(out->flags & VNETX_PORT_UP) || !vlan_allows(index, frame->vid))
		return 0;
	return !(in->flags & ENDPOINT_HOST && out->flags & VNETX_PORT_NO_HOST);
}

/*
 * A copy to each of them, without the tag that counts.  Returns a reason for which the frame
 * itself is lost, or VNETX_OK; @copies is how many there were.
 */
static __always_inline __u32 sources_copy(ctx_t *ctx, const struct vnetx_source *source,
					  const struct vnetx_port *in, const struct frame *frame,
					  __u32 *copies)
{
	const __u32 len = frame->len - (frame->counts ? TAG_LEN : 0);
	const struct vnetx_port *out;
	__u32 i, index, reason;

	if (frame->counts && ctx_pop_tag(ctx, tag_tpid(&frame->tag)))
		return VNETX_NO_MEMORY;
#pragma clang loop unroll(disable)
	for (i = 0; i < VNETX_SOURCE_PORTS; i++) {
		index = source->ports[i];
		out = index ? port_get(index) : NULL;
		if (!out || !sources_takes(in, out, index, frame))
			continue;
		*copies += 1;
		reason = mtu_check_now(ctx, len, out->ifindex);
		if (likely(!reason))
			reason = send_copy(ctx, out);
		if (unlikely(reason)) {
			stats_reason(index, reason, frame->count);
			continue;
		}
		stats_tx(index, frame->count, len);
		stats_vlan_tx(frame->vid, frame->count, len);
	}
	ctx->tc_index = 0;
	if (frame->counts && ctx_push_tag(ctx, tag_tpid(&frame->tag), frame->tag.tci))
		return VNETX_NO_MEMORY;
	return VNETX_OK;
}

#endif
