/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the program that finds out that an IP address matters hands over in skb->cb to the one
 * that looks at it (ipvlan.h), which is there while some endpoint has its NIC's MAC address.
 */
#ifndef VNETX_IPVLAN_START_H
#define VNETX_IPVLAN_START_H

#include "lib/frame.h"

enum ipvlan_cb {
	/* Index of the port that the frame came by, above IPVLAN_VID_SHIFT its VLAN, IPVLAN_LONE. */
	IPVLAN_CB_FROM,
	/*
	 * Of the host side that has the frame's destination address, 0 where that is a group's;
	 * above IPVLAN_REFLECTED_SHIFT frame.reflected.
	 */
	IPVLAN_CB_HOST,
	/* frame.epoch. */
	IPVLAN_CB_EPOCH,
	IPVLAN_CB_EPOCH_HIGH,
};

#define IPVLAN_CB(ctx, word) (*(volatile __u32 *)&(ctx)->cb[IPVLAN_CB_##word])
#define IPVLAN_VID_SHIFT 16
#define IPVLAN_REFLECTED_SHIFT 16
/* In IPVLAN_CB_FROM: that it is for the host side holds for no other frame, or is known already. */
#define IPVLAN_LONE (1u << 31)

/* Both return only where the program is not there. */
static __always_inline void ipvlan_start(ctx_t *ctx, const struct frame *frame, __u32 host)
{
	const __u32 lone = frame->lone | frame->notice | frame->from_vtep |
			   (frame->until < frame->now + VNETX_FLOW_NS);

	IPVLAN_CB(ctx, FROM) = frame->in | frame->vid << IPVLAN_VID_SHIFT |
			       (lone ? IPVLAN_LONE : 0);
	IPVLAN_CB(ctx, HOST) = host | frame->reflected << IPVLAN_REFLECTED_SHIFT;
	IPVLAN_CB(ctx, EPOCH) = frame->epoch;
	IPVLAN_CB(ctx, EPOCH_HIGH) = frame->epoch >> 32;
	tail_call(ctx, VNETX_MAP(TAIL), VNETX_TAIL_IPVLAN_TO);
}

static __always_inline void ipvlan_start_known(ctx_t *ctx, const struct vnetx_flow *flow)
{
	IPVLAN_CB(ctx, FROM) = flow->in | (__u32)flow->vid << IPVLAN_VID_SHIFT | IPVLAN_LONE;
	IPVLAN_CB(ctx, HOST) = flow->out;
	IPVLAN_CB(ctx, EPOCH) = flow->epoch;
	IPVLAN_CB(ctx, EPOCH_HIGH) = flow->epoch >> 32;
	tail_call(ctx, VNETX_MAP(TAIL), VNETX_TAIL_IPVLAN_TO);
}

#endif
