/* SPDX-License-Identifier: GPL-2.0 */
/* Known unicast: may the frame leave by its port, and how? */
#ifndef VNETX_EGRESS_H
#define VNETX_EGRESS_H

/* Which side of a device a frame is seen on. */
enum hook {
	HOOK_INGRESS,
	HOOK_EGRESS,
};

static __always_inline __u32 egress_device(const ctx_t *ctx, enum hook hook)
{
	return ctx_ifindex(ctx) | (hook == HOOK_EGRESS ? VNETX_FLOW_SENT : 0);
}

/* bpf_redirect_peer exists on ingress only, and is right for the interface's own address. */
static __always_inline int egress_to_peer(const struct vnetx_port *out, const struct frame *frame,
					  enum hook hook)
{
	return hook == HOOK_INGRESS && (out->flags & VNETX_PORT_PEER) &&
	       eth_equal(frame->dst.mac, out->peer_mac);
}

/* A set of enum vnetx_flow_how. */
static __always_inline __u32 egress_how(const struct vnetx_port *in, const struct vnetx_port *out,
					const struct frame *frame, enum hook hook)
{
	__u32 how = 0;

	if (frame->out == in->twin)
		return VNETX_FLOW_PASS;
	if (hook == HOOK_INGRESS && (out->flags & VNETX_PORT_XDP))
		how |= VNETX_FLOW_XDP;
	if (egress_to_peer(out, frame, hook))
		return how | VNETX_FLOW_PEER |
		       (out->flags & VNETX_PORT_PEER_RETYPE ? VNETX_FLOW_RETYPE : 0);
	if (out->twin)
		how |= VNETX_FLOW_MARK;
	if (out->flags & VNETX_PORT_HOST)
		how |= VNETX_FLOW_INGRESS | VNETX_FLOW_RETYPE;
	return how;
}

/* Why nothing may leave by this port now; VNETX_OK if it may. */
static __always_inline __u32 egress_refusal(ctx_t *ctx, const struct frame *frame,
					    const struct vnetx_port *out)
{
	const struct mtu mtu = mtu_of(ctx, frame->len, frame->tagged);

	if (unlikely(!(out->flags & VNETX_PORT_UP)))
		return VNETX_EGRESS_DOWN;
	return mtu_ask(ctx, &mtu, out->ifindex);
}

/* What is to be done with the frame, which may leave by @out; the next ones of its flow follow it. */
static __always_inline struct vnetx_flow egress_decide(ctx_t *ctx, const struct vnetx_port *in,
						       const struct vnetx_port *out,
						       const struct frame *frame, enum hook hook)
{
	struct vnetx_flow flow = {
		.device = egress_device(ctx, hook),
		.in = frame->in,
		.out = frame->out,
		.out_ifindex = out->ifindex,
		.how = egress_how(in, out, frame, hook),
	};

	flow_keep(ctx, &flow, frame);
	return flow;
}

#endif
