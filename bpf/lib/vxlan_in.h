/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the program that finds out where an encapsulated frame came from hands over in
 * skb->cb to the one that decides on it: in one program both are more ways than the
 * verifier follows.
 */
#ifndef VNETX_VXLAN_IN_H
#define VNETX_VXLAN_IN_H

#include "lib/frame.h"

enum vxlan_in_cb {
	/* Index of the VTEP, and above VXLAN_IN_VID_SHIFT the VLAN. */
	VXLAN_IN_CB_PORT,
	/* Set of enum vxlan_in_how. */
	VXLAN_IN_CB_HOW,
	/* When all of this began to be found out. */
	VXLAN_IN_CB_EPOCH,
	VXLAN_IN_CB_EPOCH_HIGH,
	/* ctx_note(): its VNI. */
};

#define VXLAN_IN_CB(ctx, word) (*(volatile __u32 *)&(ctx)->cb[VXLAN_IN_CB_##word])
#define VXLAN_IN_VID_SHIFT 16

enum vxlan_in_how {
	VXLAN_IN_UNLEARNED = 1 << 0,
	VXLAN_IN_LONE = 1 << 1,
};

/* Returns only where the program is not there. */
static __always_inline void vxlan_in_start(ctx_t *ctx, const struct frame *frame, __u32 vni)
{
	VXLAN_IN_CB(ctx, PORT) = frame->in | frame->vid << VXLAN_IN_VID_SHIFT;
	VXLAN_IN_CB(ctx, HOW) = (frame->unlearned ? VXLAN_IN_UNLEARNED : 0) |
				(frame->lone ? VXLAN_IN_LONE : 0);
	VXLAN_IN_CB(ctx, EPOCH) = frame->epoch;
	VXLAN_IN_CB(ctx, EPOCH_HIGH) = frame->epoch >> 32;
	ctx_set_note(ctx, vni);
	tail_call(ctx, VNETX_MAP(TAIL), VNETX_TAIL_VXLAN_IN);
}

static __always_inline struct frame vxlan_in_frame(ctx_t *ctx)
{
	struct frame frame = {
		.in = VXLAN_IN_CB(ctx, PORT) & 0xffff,
		.vid = VXLAN_IN_CB(ctx, PORT) >> VXLAN_IN_VID_SHIFT & VNETX_VID_MASK,
		.unlearned = VXLAN_IN_CB(ctx, HOW) & VXLAN_IN_UNLEARNED,
		.lone = VXLAN_IN_CB(ctx, HOW) & VXLAN_IN_LONE,
		.epoch = VXLAN_IN_CB(ctx, EPOCH) | (__u64)VXLAN_IN_CB(ctx, EPOCH_HIGH) << 32,
		.from_vtep = 1,
	};

	return frame;
}

#endif
