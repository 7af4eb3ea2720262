/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Flows: what was decided on a frame of known unicast holds for the next one
 * between the same addresses, without looking at ports and FDB again.
 *
 * Whoever changes what decisions are made from advances the epoch afterwards,
 * and a decision is kept under the epoch that was read before it was made: a
 * flow that is older than a change is not used after it.
 */
#ifndef VNETX_FLOW_H
#define VNETX_FLOW_H

#include "lib/epoch.h"
#include "lib/frame.h"
#include "lib/ip.h"
#include "lib/switch.h"
#include "lib/tag.h"

/* A shorter frame may lack the tag that it announces: it is no flow's. */
#define FLOW_MIN_LEN (ETH_HLEN + TAG_LEN)

/* The place of a flow on this CPU, on which no other program of ours runs meanwhile. */
static __always_inline struct vnetx_flow *flow_place(const __u32 *addresses, __u32 device,
						     __u32 tag)
{
	__u32 hash = addresses[0] * 0x9e3779b1 + addresses[1] * 0x85ebca6b +
		     addresses[2] * 0xc2b2ae35 + (device + tag) * 0x27d4eb2f;
	__u32 place = bpf_get_smp_processor_id() * VNETX_FLOWS + (hash >> 16) % VNETX_FLOWS;

	return map_lookup(VNETX_MAP(FLOWS), &place);
}

/* The flow between these addresses in a frame, NULL where it has to be decided on. */
static __always_inline struct vnetx_flow *flow_at(const __u32 *addresses, __u32 device, __u32 tag)
{
	struct vnetx_flow *flow = flow_place(addresses, device, tag);

	if (!flow || flow->device != device || flow->tag != tag ||
	    flow->addresses[0] != addresses[0] || flow->addresses[1] != addresses[1] ||
	    flow->addresses[2] != addresses[2] || flow->epoch != epoch_now() ||
	    bpf_jiffies64() - flow->decided >= VNETX_FLOW_TICKS)
		return NULL;
	return flow;
}

/*
 * The flow of the frame that is at this hook of @device, NULL if it has to be
 * decided on, and the TCI of its tag.
 */
static __always_inline const struct vnetx_flow *flow_find(ctx_t *ctx, __u32 device, __u32 len,
							  __u16 *tci)
{
	const __u32 *addresses = ctx_data(ctx);
	struct tag tag;

	if ((const void *)addresses + ETH_HLEN > ctx_data_end(ctx) || len < FLOW_MIN_LEN ||
	    !tag_read(ctx, (const void *)addresses, &tag))
		return NULL;
	*tci = tag.tci;
	return flow_at(addresses, device, tag.key);
}

/* Keeps what was decided on @frame, if that holds for as long as flows are kept. */
static __always_inline void flow_keep(ctx_t *ctx, struct vnetx_flow *new, const struct frame *frame)
{
	const __u32 *addresses = ctx_data(ctx) + (frame->by_address ? ETH_HLEN + IP_SOURCE : 0);
	const struct vnetx_switch *sw = switch_get();
	struct vnetx_flow *flow;

	/* Where endpoints listen to sources each frame has to come by (lib/sources_start.h). */
	if (!sw || sw->flags & VNETX_SWITCH_SOURCES || frame->notice || frame->lone ||
	    frame->until < frame->now + VNETX_FLOW_NS ||
	    (const void *)addresses + ETH_HLEN > ctx_data_end(ctx))
		return;
	if (frame->by_address)
		new->device |= VNETX_FLOW_BY_ADDRESS;
	flow = flow_place(addresses, new->device, new->tag);
	if (!flow)
		return;
	new->addresses[0] = addresses[0];
	new->addresses[1] = addresses[1];
	new->addresses[2] = addresses[2];
	new->epoch = frame->epoch;
	new->decided = bpf_jiffies64();
	*flow = *new;
}

#endif
