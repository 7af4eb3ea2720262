/* SPDX-License-Identifier: GPL-2.0 */
/* TC's ways out: to a wire, to a container's veth, to the host. */
#ifndef VNETX_SEND_H
#define VNETX_SEND_H

/* Which of the two TC hooks runs; bpf_redirect_peer exists on ingress only. */
enum hook {
	HOOK_INGRESS,
	HOOK_EGRESS,
};

/* Counts the drop of a frame at a port and ends it: the one exit of drops. */
static __always_inline int send_drop(const struct frame *frame, __u32 port, __u32 reason)
{
	stats_reason(port, reason, frame->count);
	return CTX_DROP;
}

/* Why nothing may leave by this port now; VNETX_OK if it may. */
static __always_inline __u32 send_refusal(ctx_t *ctx, const struct frame *frame,
					  const struct vnetx_port *out)
{
	const struct mtu mtu = mtu_of(ctx, frame);

	if (unlikely(!(out->flags & VNETX_PORT_UP)))
		return VNETX_EGRESS_DOWN;
	return mtu_check(ctx, &mtu, out->ifindex);
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

/* Sends the frame itself to @out, another device than the one that it came from. */
static __always_inline int send_redirect(ctx_t *ctx, const struct frame *frame,
					 const struct vnetx_port *out, enum hook hook)
{
	if (hook == HOOK_INGRESS && (out->flags & VNETX_PORT_PEER) &&
	    eth_equal(frame->dst.mac, out->peer_mac)) {
		if (out->flags & VNETX_PORT_PEER_RETYPE)
			send_as_host(ctx);
		return bpf_redirect_peer(out->ifindex, 0);
	}
	send_mark(ctx, out);
	if (out->flags & VNETX_PORT_HOST) {
		send_as_host(ctx);
		return bpf_redirect(out->ifindex, BPF_F_INGRESS);
	}
	return bpf_redirect(out->ifindex, 0);
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

/* Known unicast. */
static __always_inline int send_unicast(ctx_t *ctx, const struct frame *frame,
					const struct vnetx_port *in, enum hook hook)
{
	const struct vnetx_port *out = port_get(frame->out);
	__u32 refusal;

	if (unlikely(!out))
		return send_drop(frame, frame->in, VNETX_EGRESS_GONE);
	refusal = send_refusal(ctx, frame, out);
	if (unlikely(refusal))
		return send_drop(frame, frame->out, refusal);
	stats_tx(frame->out, frame->count, frame->len);
	if (frame->out == in->twin)
		return CTX_PASS;
	return send_redirect(ctx, frame, out, hook);
}

#endif
