// SPDX-License-Identifier: GPL-2.0
/*
 * The XDP hook: completes known unicast between XDP ports and drops, and
 * leaves everything else to TC on the same device, which sees the frame as if
 * XDP had not been there.  Only what is completed here is counted here; an
 * address learned here is merely found again by TC.
 */
#include "ctx/xdp.h"
#include "lib/eth.h"
#include "lib/tag.h"
#include "lib/switch.h"
#include "lib/port.h"
#include "lib/stats.h"
#include "lib/event.h"
#include "lib/epoch.h"
#include "lib/fdb.h"
#include "lib/frame.h"
#include "lib/vlan_rule.h"
#include "lib/vlan.h"
#include "lib/relay.h"
#include "lib/mtu.h"
#include "lib/flow.h"
#include "lib/egress.h"
#include "lib/ip.h"
#include "lib/vni.h"
#include "lib/clamp_mss.h"
#include "lib/outer.h"
#include "lib/inner_hash.h"

static __always_inline void xdp_completed(const struct frame *frame)
{
	stats_rx(frame->in, frame->count, frame->len);
	stats_vlan_rx(frame->vid, frame->count, frame->len);
	relay_notice(frame);
}

static __always_inline int xdp_drop(const struct frame *frame, __u32 port, __u32 reason)
{
	xdp_completed(frame);
	stats_reason(port, reason, frame->count);
	return XDP_DROP;
}

/*
 * Native XDP: to devices that take frames by ndo_xdp_xmit, in bulk.  A driver
 * that leaves no room for a tag leaves the frame to TC.
 */
static __always_inline int xdp_send(ctx_t *ctx, const struct vnetx_flow *flow, __u32 len, __u16 tci)
{
	if (unlikely(flow->how & EGRESS_RETAG) && egress_retag(ctx, flow, tci))
		return XDP_PASS;
	stats_rx(flow->in, 1, len);
	stats_vlan_rx(flow->vid, 1, len);
	len = egress_len(flow, len);
	/* A device that goes takes its place in the devmap with it. */
	if (unlikely(bpf_redirect_map(VNETX_MAP(DEVMAP), flow->out, XDP_DROP) != XDP_REDIRECT)) {
		stats_reason(flow->out, VNETX_EGRESS_GONE, 1);
		return XDP_DROP;
	}
	stats_tx(flow->out, 1, len);
	stats_vlan_tx(flow->vid, 1, len);
	return XDP_REDIRECT;
}

/*
 * Another frame of a known flow.  What looks too large is TC's: two tags on top
 * of the MTU are too much for ndo_xdp_xmit, and not for an skb.  So are fragments.
 */
static __always_inline int xdp_flow(ctx_t *ctx, const struct vnetx_flow *flow, __u32 len, __u16 tci)
{
	if (unlikely(flow->how & VNETX_FLOW_VTEP))
		tail_call(ctx, VNETX_MAP(TAIL_XDP), VNETX_TAIL_XDP_VXLAN_OUT);
	if (!(flow->how & VNETX_FLOW_XDP) || ctx_has_frags(ctx, len) ||
	    mtu_check_now(ctx, len, flow->out_ifindex))
		return XDP_PASS;
	return xdp_send(ctx, flow, len, tci);
}

/* Known unicast that has just been decided on. */
static __always_inline int xdp_unicast(ctx_t *ctx, const struct frame *frame,
				       const struct vnetx_port *in)
{
	const struct vnetx_port *out = port_get(frame->out);
	const struct mtu mtu = mtu_of(ctx, frame->len, frame->tagged);
	struct vnetx_flow flow;
	__u32 refusal;
	int verdict;

	if (!out || !(out->flags & VNETX_PORT_XDP) || ctx_has_frags(ctx, frame->len))
		return XDP_PASS;
	refusal = egress_refusal(frame, out);
	if (likely(!refusal))
		refusal = mtu_ask(ctx, &mtu, out->ifindex);
	if (unlikely(refusal == VNETX_MTU))
		return XDP_PASS;
	if (unlikely(refusal))
		return xdp_drop(frame, frame->out, refusal);
	flow = egress_decide(ctx, in, out, frame, HOOK_INGRESS);
	flow_keep(ctx, &flow, frame);
	if (!(flow.how & VNETX_FLOW_XDP))
		return XDP_PASS;
	verdict = xdp_send(ctx, &flow, frame->len, frame->tag.tci);
	if (likely(verdict != XDP_PASS))
		relay_notice(frame);
	return verdict;
}

/*
 * Generic XDP: the frame is an skb already and may go to any device, but what
 * looks too large here may be a GSO packet: TC knows.
 */
static __always_inline int xdp_unicast_generic(ctx_t *ctx, const struct frame *frame)
{
	const struct vnetx_port *out = port_get(frame->out);
	const struct mtu mtu = mtu_of(ctx, frame->len, frame->tagged);

	if (!out || (out->flags & (VNETX_PORT_HOST | VNETX_PORT_VTEP)) ||
	    !(out->flags & VNETX_PORT_UP) || mtu_ask(ctx, &mtu, out->ifindex))
		return XDP_PASS;
	xdp_completed(frame);
	stats_tx(frame->out, frame->count, frame->len);
	return bpf_redirect(out->ifindex, 0);
}

/* The part that both kinds share: a verdict, XDP_REDIRECT for a known port. */
static __always_inline int xdp_relay(ctx_t *ctx, const struct vnetx_switch *sw,
				     const struct vnetx_port *in, struct frame *frame)
{
	__u32 decision;

	frame->count = ctx_frames(ctx);
	decision = frame_parse(ctx, frame);
	if (unlikely(decision))
		return xdp_drop(frame, frame->in, decision);
	if (eth_is_group(frame->dst.mac))
		return XDP_PASS;
	decision = relay(ctx, sw, in, frame);
	if (decision < RELAY_UNICAST)
		return xdp_drop(frame, frame->in, decision);
	return decision == RELAY_UNICAST ? XDP_REDIRECT : XDP_PASS;
}

int vnetx_xdp(struct xdp_md *ctx)
{
	const __u32 len = ctx_len(ctx);
	const struct vnetx_flow *flow;
	const struct vnetx_switch *sw;
	const struct vnetx_port *in;
	struct frame frame = { .epoch = epoch_now(), .len = len };
	__u16 tci = 0;
	int verdict;

	flow = flow_find(ctx, egress_device(ctx, HOOK_INGRESS), len, &tci);
	if (likely(flow))
		return xdp_flow(ctx, flow, len, tci);
	sw = switch_get();
	frame.in = port_of(ctx_ifindex(ctx));
	in = port_get(frame.in);
	if (unlikely(!sw || !in) || sw->xdp_ports < 2)
		return XDP_PASS;
	verdict = xdp_relay(ctx, sw, in, &frame);
	return verdict == XDP_REDIRECT ? xdp_unicast(ctx, &frame, in) : verdict;
}

/* May a frame be a SYN, with or without a tag of @tag_len bytes? */
static __always_inline int xdp_maybe_syn(ctx_t *ctx, __u32 tag_len)
{
	const void *ip = ctx_data(ctx) + ETH_HLEN + (tag_len ? TAG_LEN : 0);

	if (ip > ctx_data_end(ctx))
		return 1;
	return clamp_maybe_syn(ip, ctx_data_end(ctx), *(const __be16 *)(ip - sizeof(__be16)));
}

/*
 * Another frame of a known flow to a VTEP, by a device that takes frames by ndo_xdp_xmit.
 * TC has asked where that leads (lib/vxlan_out.h); whatever is not plain is TC's.
 */
int vnetx_xdp_vxlan_out(struct xdp_md *ctx)
{
	const __u32 len = ctx_len(ctx);
	const struct vnetx_outer *outer;
	const struct vnetx_flow *flow;
	__u32 hash, inner;
	__u16 tci = 0;

	flow = flow_find(ctx, egress_device(ctx, HOOK_INGRESS), len, &tci);
	if (!flow || !(flow->how & VNETX_FLOW_VTEP) ||
	    flow->how & (VNETX_FLOW_PUSH | VNETX_FLOW_FOREIGN) || ctx_has_frags(ctx, len) ||
	    mtu_check_now(ctx, len, flow->out_ifindex))
		return XDP_PASS;
	inner = egress_len(flow, len);
	hash = inner_hash(ctx, inner == len ? ETH_HLEN : ETH_HLEN + TAG_LEN);
	outer = outer_place(hash);
	if (!outer || !(outer->flags & VNETX_OUTER_XDP) ||
	    !outer_holds(outer, hash, flow->out, flow->vid) ||
	    (outer->flags & VNETX_OUTER_CLAMP_MSS && xdp_maybe_syn(ctx, len - inner)))
		return XDP_PASS;
	stats_rx(flow->in, 1, len);
	stats_vlan_rx(flow->vid, 1, len);
	if ((inner != len && egress_retag(ctx, flow, tci)) || outer_push(ctx, outer, hash, inner)) {
		stats_reason(flow->out, VNETX_NO_MEMORY, 1);
		return XDP_DROP;
	}
	stats_tx(flow->out, 1, inner);
	stats_vlan_tx(flow->vid, 1, inner);
	return bpf_redirect(outer->ifindex, 0);
}

/* A device of the underlay: what goes out by XDP again need not become an skb. */
int vnetx_xdp_underlay(struct xdp_md *ctx)
{
	const __u32 ifindex = ctx_ifindex(ctx), len = ctx_len(ctx);
	const struct vnetx_underlay *underlay = map_lookup(VNETX_MAP(UNDERLAYS), &ifindex);
	const struct ethhdr *eth = ctx_data(ctx);
	const struct vnetx_flow *flow;
	struct mtu mtu;

	if (!underlay || (const void *)(eth + 1) > ctx_data_end(ctx) ||
	    !eth_equal(eth->h_dest, underlay->mac) || ctx_has_frags(ctx, len))
		return XDP_PASS;
	flow = outer_flow(ctx, len);
	if (!flow || !(flow->how & VNETX_FLOW_XDP) || flow->how & EGRESS_TAGS)
		return XDP_PASS;
	mtu = mtu_of(ctx, len - OUTER_LEN, 0);
	if (mtu_check(ctx, &mtu, flow->out_ifindex))
		return XDP_PASS;
	if (ctx_decapsulate(ctx, OUTER_LEN))
		return XDP_DROP;
	return xdp_send(ctx, flow, len - OUTER_LEN, 0);
}

/*
 * Generic XDP runs on every frame that enters the stack by the device.  Where
 * TC sends frames to the host through it, they cannot be told from the wire's.
 * Tags are TC's: it has them beside the data.
 */
int vnetx_xdp_generic(struct xdp_md *ctx)
{
	const struct vnetx_switch *sw = switch_get();
	struct frame frame = { .in = port_of(ctx_ifindex(ctx)), .len = ctx_len(ctx) };
	const struct vnetx_port *in = port_get(frame.in);
	int verdict;

	if (unlikely(!sw || !in) || in->twin || (in->flags & VNETX_PORT_VLAN))
		return XDP_PASS;
	verdict = xdp_relay(ctx, sw, in, &frame);
	return verdict == XDP_REDIRECT ? xdp_unicast_generic(ctx, &frame) : verdict;
}
