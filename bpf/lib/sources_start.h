/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A frame whose source some endpoint listens to is copied by a program of its own, which few
 * switches need; then the one that it came from begins anew.
 */
#ifndef VNETX_SOURCES_START_H
#define VNETX_SOURCES_START_H

#include "lib/egress.h"
#include "lib/endpoint.h"
#include "lib/frame.h"

/* What is handed over in skb->cb. */
enum sources_cb {
	/* Of the port that the frame came by, and above SOURCES_BACK_SHIFT the slot to go back to. */
	SOURCES_CB_PORT,
};

#define SOURCES_CB(ctx, word) (*(volatile __u32 *)&(ctx)->cb[SOURCES_CB_##word])
#define SOURCES_BACK_SHIFT 16

/* Returns where no endpoint listens to the frame's source, and when all have had their copies. */
static __always_inline void sources_start(ctx_t *ctx, const struct vnetx_port *in, __u32 index,
					  enum hook hook)
{
	const __u32 back = hook == HOOK_EGRESS ? VNETX_TAIL_TC_EGRESS : VNETX_TAIL_TC_INGRESS;
	const struct ethhdr *eth = ctx_data(ctx);

	if (ctx->tc_index == VNETX_LOOKED_AT) {
		ctx->tc_index = 0;
		return;
	}
	if ((const void *)(eth + 1) > ctx_data_end(ctx) || !endpoint_sources(in, eth->h_source))
		return;
	SOURCES_CB(ctx, PORT) = index | back << SOURCES_BACK_SHIFT;
	tail_call(ctx, VNETX_MAP(TAIL), VNETX_TAIL_SOURCES);
}

#endif
