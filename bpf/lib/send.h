/* SPDX-License-Identifier: GPL-2.0 */
/* TC's ways out: to a wire, to a container's veth, to the host. */
#ifndef VNETX_SEND_H
#define VNETX_SEND_H

#include "lib/egress.h"
#include "lib/flow.h"
#include "lib/frame.h"
#include "lib/mtu.h"
#include "lib/port.h"
#include "lib/stats.h"
#include "lib/too_big.h"
#include "lib/vxlan_out.h"

/* Counts the drop of a frame at a port and ends it: the one exit of drops. */
static __always_inline int send_drop(const struct frame *frame, __u32 port, __u32 reason)
{
	stats_reason(port, reason, frame->count);
	return CTX_DROP;
}

/* The programs on the way must know that this frame is decided on. */
static __always_inline void send_mark(ctx_t *ctx, const struct vnetx_port *out)
{
	ctx->tc_index = out->twin ? VNETX_SWITCHED : 0;
}

/*
 * A frame whose destination address is that of the interface which gets it was
 * read as somebody else's where it came in.
 */
static __always_inline void send_as_host(ctx_t *ctx)
{
	if (ctx->pkt_type == PACKET_OTHERHOST)
		bpf_skb_change_type(ctx, PACKET_HOST);
}

/* Sends the frame itself, as it is now, where its flow goes. */
static __always_inline int send_flow(ctx_t *ctx, const struct vnetx_flow *flow, __u32 len,
				     __u32 count)
{
	__u32 how = flow->how;

	if (unlikely(how & VNETX_FLOW_VTEP)) {
		vxlan_out_start(ctx, flow);
		stats_reason(flow->out, VNETX_EGRESS_GONE, count);
		return CTX_DROP;
	}
	stats_tx(flow->out, count, len);
	stats_vlan_tx(flow->vid, count, len);
	if (how & VNETX_FLOW_PASS)
		return CTX_PASS;
	if (how & VNETX_FLOW_RETYPE)
		send_as_host(ctx);
	if (likely(how & VNETX_FLOW_PEER))
		return bpf_redirect_peer(flow->out_ifindex, 0);
	ctx->tc_index = how & VNETX_FLOW_MARK ? VNETX_SWITCHED : 0;
	return bpf_redirect(flow->out_ifindex, how & VNETX_FLOW_INGRESS ? BPF_F_INGRESS : 0);
}

/* Sends a copy to @out.  Returns a reason or VNETX_OK. */
static __always_inline __u32 send_copy(ctx_t *ctx, const struct vnetx_port *out)
{
	int err;

	send_mark(ctx, out);
	err = bpf_clone_redirect(ctx, out->ifindex,
				 out->flags & VNETX_PORT_HOST ? BPF_F_INGRESS : 0);
	if (likely(!err))
		return VNETX_OK;
	if (err == -ENOMEM)
		return VNETX_NO_MEMORY;
	return err == -EINVAL ? VNETX_EGRESS_GONE : VNETX_EGRESS_REFUSED;
}

/*
 * Known unicast.  Whether it fits is asked when its tags are those with which it leaves: which
 * of them are in the data is what counts.
 */
static __always_inline int send_unicast(ctx_t *ctx, const struct frame *frame,
					const struct vnetx_port *in, enum hook hook)
{
	const struct vnetx_port *out = port_get(frame->out);
	struct vnetx_flow flow;
	struct mtu mtu;
	__u32 refusal, len;

	if (unlikely(!out))
		return send_drop(frame, frame->in, VNETX_EGRESS_GONE);
	refusal = egress_refusal(frame, out);
	if (unlikely(refusal))
		return send_drop(frame, frame->out, refusal);
	flow = egress_decide(ctx, in, out, frame, hook);
	if (unlikely(flow.how & EGRESS_TAGS) && egress_retag(ctx, &flow, frame->tag.tci))
		return send_drop(frame, frame->out, VNETX_NO_MEMORY);
	len = egress_len(&flow, frame->len);
	mtu = mtu_now(ctx, len);
	refusal = mtu_ask(ctx, &mtu, flow.out_ifindex);
	if (unlikely(refusal)) {
		if (refusal == VNETX_MTU && flow.how & VNETX_FLOW_VTEP)
			too_big_start(ctx, &flow, frame->tag.tci);
		return send_drop(frame, frame->out, refusal);
	}
	flow_keep(ctx, &flow, frame);
	return send_flow(ctx, &flow, len, frame->count);
}

#endif
