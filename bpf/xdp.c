// SPDX-License-Identifier: GPL-2.0
/*
 * The XDP hook: completes known unicast between XDP ports and drops, and
 * leaves everything else to TC on the same device, which sees the frame as if
 * XDP had not been there.  Only what is completed here is counted here; an
 * address learned here is merely found again by TC.
 */
#include "ctx/xdp.h"
#include "lib/egress.h"
#include "lib/endpoint.h"
#include "lib/epoch.h"
#include "lib/eth.h"
#include "lib/flow.h"
#include "lib/frame.h"
#include "lib/mtu.h"
#include "lib/port.h"
#include "lib/relay.h"
#include "lib/send_xdp.h"
#include "lib/stats.h"
#include "lib/switch.h"

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

	if (!out || (out->flags & (VNETX_PORT_HOST | VNETX_PORT_VTEP | VNETX_PORT_TUN)) ||
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
	if (eth_is_group(frame->dst.mac) ||
	    (unlikely(sw->flags & VNETX_SWITCH_SOURCES) && endpoint_sources(in, frame->src.mac)))
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
