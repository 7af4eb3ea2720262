/* SPDX-License-Identifier: GPL-2.0 */
/* Known unicast: may the frame leave by its port, and how? */
#ifndef VNETX_EGRESS_H
#define VNETX_EGRESS_H

#include "lib/eth.h"
#include "lib/forget.h"
#include "lib/frame.h"
#include "lib/tag.h"
#include "lib/vlan.h"

#define EGRESS_RETAG (VNETX_FLOW_POP | VNETX_FLOW_PUSH)

/* There is something to be done with tags. */
#define EGRESS_TAGS (EGRESS_RETAG | VNETX_FLOW_FOREIGN)

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

/*
 * A set of enum vnetx_flow_how.  A frame that gets a foreign tag (or one that has it
 * already, and is settled) is sent where it is read anew.
 */
static __always_inline __u32 egress_how(const struct vnetx_port *in, const struct vnetx_port *out,
					const struct frame *frame, enum hook hook, int gets,
					int has)
{
	__u32 how = has ? VNETX_FLOW_FOREIGN : 0;

	if (frame->out == in->twin && !(gets && hook == HOOK_INGRESS))
		return VNETX_FLOW_PASS;
	if (unlikely(out->flags & VNETX_PORT_VTEP))
		return how | VNETX_FLOW_VTEP;
	if (hook == HOOK_INGRESS && (out->flags & VNETX_PORT_XDP))
		how |= VNETX_FLOW_XDP;
	if (!gets && !has && egress_to_peer(out, frame, hook))
		return how | VNETX_FLOW_PEER |
		       (out->flags & VNETX_PORT_PEER_RETYPE ? VNETX_FLOW_RETYPE : 0);
	if (out->twin)
		how |= VNETX_FLOW_MARK;
	if (out->flags & VNETX_PORT_HOST)
		how |= VNETX_FLOW_INGRESS | VNETX_FLOW_RETYPE;
	return how;
}

/* Why nothing may leave by this port now; VNETX_OK if it may. */
static __always_inline __u32 egress_refusal(const struct frame *frame, const struct vnetx_port *out)
{
	if (unlikely(!(out->flags & VNETX_PORT_UP)))
		return VNETX_EGRESS_DOWN;
	if (unlikely(out->flags & VNETX_PORT_VTEP)) /* vxlan_to() finds the VNI, or none */
		return VNETX_OK;
	return likely(vlan_allows(frame->out, frame->vid)) ? VNETX_OK : VNETX_VLAN_EGRESS;
}

/*
 * A second tag in the data of a full frame is too much for ndo_xdp_xmit; TC has
 * room for it beside them.
 */
static __always_inline int egress_stacks_tags(const struct vnetx_flow *flow,
					      const struct frame *frame)
{
	return (flow->how & EGRESS_RETAG) == VNETX_FLOW_PUSH && frame->tag.key;
}

/* What is to be done with the frame, which may leave by @out. */
static __always_inline struct vnetx_flow egress_decide(ctx_t *ctx, const struct vnetx_port *in,
						       const struct vnetx_port *out,
						       const struct frame *frame, enum hook hook)
{
	struct vnetx_flow flow = {
		.device = frame->from_vtep ? VNETX_FLOW_ENCAPSULATED | ctx_note(ctx)
					   : egress_device(ctx, hook),
		.in = frame->in,
		.out = frame->out,
		.out_ifindex = out->ifindex,
		.tag = frame->tag.key,
		.vid = frame->vid,
	};
	struct tag tag;

	flow.how = vlan_retag(in, out, frame, &tag);
	flow.how |= egress_how(in, out, frame, hook, tag_foreign(&tag),
			       tag_foreign(&frame->tag) && !(flow.how & VNETX_FLOW_POP));
	if (egress_stacks_tags(&flow, frame))
		flow.how &= ~VNETX_FLOW_XDP;
	flow.how = forget(flow.how);
	flow.push_tpid = tag_tpid(&tag);
	flow.push_tci = tag.tci;
	return flow;
}

/* The frame gets the tag of its flow, with the priority of the one that it had.  0 or negative. */
static __always_inline int egress_retag(ctx_t *ctx, const struct vnetx_flow *flow, __u16 tci)
{
	const __u16 tpid = flow->tag >> 16;
	__u16 push = flow->push_tci;

	if (flow->how & VNETX_FLOW_POP) {
		push = (push & VNETX_VID_MASK) | (tci & (__u16)~VNETX_VID_MASK);
		if (ctx_pop_tag(ctx, tpid))
			return -1;
	}
	if (flow->how & VNETX_FLOW_FOREIGN && ctx_settle_foreign(ctx, tpid, tci))
		return -1;
	return flow->how & VNETX_FLOW_PUSH ? ctx_push_tag_gso(ctx, flow->push_tpid, push) : 0;
}

/* Bytes that the frame has when it leaves. */
static __always_inline __u32 egress_len(const struct vnetx_flow *flow, __u32 len)
{
	if (flow->how & VNETX_FLOW_PUSH)
		len += TAG_LEN;
	if (flow->how & VNETX_FLOW_POP)
		len -= TAG_LEN;
	return len;
}

#endif
