/* SPDX-License-Identifier: GPL-2.0 */
/* An answer to the sender of a frame, in its place. */
#ifndef VNETX_SEND_BACK_H
#define VNETX_SEND_BACK_H

#include "lib/stats.h"

/* Gives the answer the tag that the frame had, if any, and sends it by the port @index. */
static __always_inline int send_back(ctx_t *ctx, const struct vnetx_port *in, __u32 index,
				     __u32 tag)
{
	const __u32 to_host = in->flags & VNETX_PORT_HOST;

	if (tag && ctx_push_tag(ctx, tag >> 16, tag))
		return CTX_DROP;
	stats_tx(index, 1, ctx_len(ctx));
	if (to_host)
		bpf_skb_change_type(ctx, PACKET_HOST);
	ctx->tc_index = in->twin ? VNETX_SWITCHED : 0;
	return bpf_redirect(in->ifindex, to_host ? BPF_F_INGRESS : 0);
}

#endif
