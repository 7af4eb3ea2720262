/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The relay: what becomes of a frame (802.1D-2004 7.7, br_handle_frame).
 * Both hooks run it; it changes the FDB and decides, it sends and counts nothing.
 */
#ifndef VNETX_RELAY_H
#define VNETX_RELAY_H

#include "lib/endpoint.h"
#include "lib/eth.h"
#include "lib/fdb.h"
#include "lib/forget.h"
#include "lib/frame.h"
#include "lib/port.h"
#include "lib/stats.h"
#include "lib/switch.h"
#include "lib/vlan.h"

/* Decisions; a value below RELAY_UNICAST is the reason of a drop. */
enum relay {
	RELAY_UNICAST = VNETX_REASON_MAX,
	RELAY_FLOOD,
	/* For the host's sockets on this very port; a host's own frame goes out of the wire. */
	RELAY_LOCAL,
	/* For one of those that have the host side's MAC address (lib/ipvlan.h). */
	RELAY_ADDRESS,
};

#define LINK_LOCAL_BRIDGE 0x00
#define LINK_LOCAL_PAUSE 0x01

/*
 * 01:80:c2:00:00:0n (br_handle_frame): BPDUs are flooded as long as no
 * spanning tree runs, pause frames end here, the rest is the host's; a bit in
 * group_forward floods any of them.
 */
static __always_inline __u32 relay_link_local(const struct vnetx_port *port,
					      const struct frame *frame)
{
	__u8 n = frame->dst.mac[5] & 0xf;

	if (port->flags & VNETX_PORT_HOST)
		return RELAY_LOCAL;
	if (port->group_forward & (1 << n))
		return RELAY_FLOOD;
	if (n == LINK_LOCAL_BRIDGE)
		return RELAY_FLOOD;
	return n == LINK_LOCAL_PAUSE ? VNETX_PAUSE : RELAY_LOCAL;
}

/* A known port: may the frame go there? */
static __always_inline __u32 relay_unicast(const struct vnetx_port *in,
					   const struct vnetx_port *out, const struct frame *frame)
{
	if (unlikely(frame->in == frame->out && !(in->flags & VNETX_PORT_HAIRPIN)))
		return VNETX_SAME_PORT;
	if (unlikely(in->flags & out->flags & PORT_PAIR_FLAGS)) {
		if (in->flags & out->flags & VNETX_PORT_VTEP)
			return VNETX_SPLIT_HORIZON;
		return in->flags & out->flags & VNETX_PORT_HOST ? VNETX_SAME_PORT : VNETX_ISOLATED;
	}
	return RELAY_UNICAST;
}

/* The port of the host's own address, if that is in the frame's VLAN; else 0. */
static __always_inline __u32 relay_to_host(const struct frame *frame)
{
	__u32 port = fdb_local(&frame->dst);

	return port && vlan_allows(port, frame->vid) ? port : 0;
}

/* Counts what learning had to say: once, by the hook that completes the frame. */
static __always_inline void relay_notice(const struct frame *frame)
{
	struct vnetx_switch_state *state;

	if (likely(!frame->notice))
		return;
	stats_reason(frame->in, frame->notice, frame->count);
	if (frame->notice != VNETX_FDB_FULL)
		return;
	state = switch_state();
	if (state)
		__sync_fetch_and_add(&state->fdb_full, 1);
}

/* The source is the host's own address, or an endpoint's whose frame has come back. */
static __always_inline void relay_reflected(struct frame *frame)
{
	frame->reflected = endpoint_reflected(&frame->src, frame->in);
	if (!frame->reflected)
		return;
	frame->notice = VNETX_OK;
	frame->until = ~0ULL;
}

static __always_inline __u32 relay(ctx_t *ctx, const struct vnetx_switch *sw,
				   const struct vnetx_port *in, struct frame *frame)
{
	const struct vnetx_port *out;
	__u32 decision = RELAY_FLOOD, refusal;

	if (unlikely(!(in->flags & VNETX_PORT_UP)))
		return VNETX_PORT_DOWN;
	frame->now = bpf_ktime_get_coarse_ns();
	if (unlikely(eth_is_link_local(frame->dst.mac)) && !(in->flags & ENDPOINT_MODES)) {
		decision = relay_link_local(in, frame);
		if (decision == VNETX_PAUSE)
			return decision;
	}
	refusal = frame->from_vtep ? vlan_of_vni(in, frame) : vlan_classify(ctx, sw, in, frame);
	if (unlikely(refusal))
		return decision == RELAY_LOCAL ? decision : refusal;
	decision = forget(decision);
	frame->until = ~0ULL;
	if (likely((in->flags & (VNETX_PORT_LEARNING | ENDPOINT_MODES)) == VNETX_PORT_LEARNING &&
		   !frame->unlearned))
		frame->notice = forget(
			fdb_learn(sw, &frame->src, in, frame->in, frame->now, &frame->until));
	if (unlikely(frame->notice == VNETX_OWN_SOURCE) && !frame->from_vtep)
		relay_reflected(frame);
	if (eth_is_group(frame->dst.mac))
		return decision;
	frame->out = fdb_port(sw, &frame->dst, frame->now, &frame->until);
	if (unlikely(!frame->out && frame->vid))
		frame->out = relay_to_host(frame);
	if (unlikely(!frame->out && in->flags & ENDPOINT_BY_WIRE) && !frame->from_vtep)
		frame->out = in->parent;
	if (!frame->out)
		return RELAY_FLOOD;
	out = port_get(frame->out);
	if (unlikely(!out))
		return RELAY_FLOOD;
	if (unlikely(sw->flags & VNETX_SWITCH_IPVLAN) && out->flags & VNETX_PORT_HOST)
		return RELAY_ADDRESS;
	if (unlikely((in->flags | out->flags) & ENDPOINT_MODES)) {
		refusal = endpoint_unicast(in, out, frame);
		if (unlikely(refusal))
			return refusal;
		out = port_get(frame->out);
		if (unlikely(!out))
			return VNETX_EGRESS_GONE;
	}
	return relay_unicast(in, out, frame);
}

#endif
