/* SPDX-License-Identifier: GPL-2.0 */
/* Wires: what enters at one end leaves by the other one as it is, or as chance has it. */
#ifndef VNETX_WIRE_H
#define VNETX_WIRE_H

#include "lib/epoch.h"
#include "lib/flow.h"
#include "lib/stats.h"

/* The wire that @ifindex is an end of. */
static __always_inline struct vnetx_wire *wire_of(__u32 ifindex)
{
	return map_lookup(VNETX_MAP(WIRES), &ifindex);
}

/* The place on this CPU where is kept what becomes of all that enters by a device. */
static __always_inline struct vnetx_flow *wire_place(__u32 ifindex)
{
	const __u32 any[3] = {};

	return flow_place(any, ifindex | VNETX_FLOW_WIRE, 0);
}

/* The same, as long as it holds; a wire's look-up takes longer, and so does asking the device. */
static __always_inline const struct vnetx_flow *wire_kept(__u32 ifindex)
{
	const struct vnetx_flow *flow = wire_place(ifindex);

	if (!flow || flow->device != (ifindex | VNETX_FLOW_WIRE) || flow->epoch != epoch_now() ||
	    bpf_jiffies64() - flow->decided >= VNETX_FLOW_TICKS)
		return NULL;
	return flow;
}

/* Where what enters a wire by a device leaves; @epoch was read before the wire was. */
static __always_inline struct vnetx_flow wire_flow(const struct vnetx_wire *wire, __u32 ifindex,
						   __u64 epoch)
{
	struct vnetx_flow flow = {
		.epoch = epoch,
		.decided = bpf_jiffies64(),
		.device = ifindex | VNETX_FLOW_WIRE,
		.in = wire->in,
		.out = wire->out,
		.out_ifindex = wire->out_ifindex,
	};

	if (wire->flags & VNETX_WIRE_PEER)
		flow.how |= VNETX_FLOW_PEER;
	if (wire->flags & VNETX_WIRE_PEER_RETYPE)
		flow.how |= VNETX_FLOW_RETYPE;
	__builtin_memcpy(flow.addresses, wire->peer_mac, ETH_ALEN);
	return flow;
}

/* Keeps it for the next frames, if they are not up to chance. */
static __always_inline void wire_keep(const struct vnetx_wire *wire, __u32 ifindex,
				      const struct vnetx_flow *flow)
{
	struct vnetx_flow *place = wire_place(ifindex);

	if (place && !(wire->loss | wire->corrupt))
		*place = *flow;
}

#define WIRE_STEP 0x9e3779b97f4a7c15ULL

/* One number for another, each bit of which depends on all of them (splitmix64). */
static __always_inline __u64 wire_mix(__u64 x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

/* What chance says of the @nth frame of a direction: with the same seed always the same. */
static __always_inline __u64 wire_chance(const struct vnetx_wire *wire, __u64 nth)
{
	const __u64 direction = (__u64)wire->seed << 1 | !!(wire->flags & VNETX_WIRE_SECOND);

	return wire_mix(wire_mix(direction + WIRE_STEP) + nth * WIRE_STEP);
}

/*
 * What becomes of a frame that fits: VNETX_OK, VNETX_WIRE_LOSS, or VNETX_WIRE_CORRUPT, and
 * the bit that is to be changed.
 */
static __always_inline __u32 wire_fate(struct vnetx_wire *wire, __u32 count, __u32 len, __u32 *bit)
{
	__u64 chance;

	if (likely(!(wire->loss | wire->corrupt)))
		return VNETX_OK;
	chance = wire_chance(wire, __sync_fetch_and_add(&wire->frames, count));
	if (chance >> 32 < wire->loss)
		return VNETX_WIRE_LOSS;
	chance = wire_mix(chance);
	if (chance >> 32 >= wire->corrupt)
		return VNETX_OK;
	*bit = (__u32)chance * (__u64)(8 * len) >> 32;
	return VNETX_WIRE_CORRUPT;
}

static __always_inline int wire_drop(__u32 port, __u32 reason, __u32 count)
{
	stats_reason(port, reason, count);
	return CTX_DROP;
}

#endif
