/* SPDX-License-Identifier: GPL-2.0 */
/*
 * VLANs: which one a frame is of, which ports are in it, with a tag or without
 * (802.1Q-2018 6.9, 8.6.1, 8.6.2; br_vlan.c:__allowed_ingress, br_handle_vlan).
 * In a switch that is not VLAN-aware no port has VNETX_PORT_VLAN, every frame
 * has the VID 0, and nothing of this is looked at.
 */
#ifndef VNETX_VLAN_H
#define VNETX_VLAN_H

#include "lib/forget.h"
#include "lib/frame.h"
#include "lib/tag.h"
#include "lib/vlan_rule.h"

static __always_inline const struct vnetx_port_vlans *vlans_of(__u32 port)
{
	return map_lookup(VNETX_MAP(PORT_VLANS), &port);
}

/* The ports of a VLAN, NULL where it has none. */
static __always_inline const struct vnetx_vlan *vlan_get(__u32 vid)
{
	return map_lookup(VNETX_MAP(VLANS), &vid);
}

static __always_inline int vlan_in(const __u64 *set, __u32 vid)
{
	return set[(vid >> 6) % VNETX_VID_WORDS] >> (vid & 63) & 1;
}

/* A VID on the wire as it is inside, or the other way round. */
static __always_inline __u32 vlan_mapped(const struct vnetx_port *port, __u32 index, __u32 vid,
					 __u16 egress)
{
	struct vnetx_vlan_mapping_key key = { .port = index, .vid = vid, .egress = egress };
	const __u32 *mapped;

	if (likely(!(port->flags & VNETX_PORT_MAPPING)))
		return vid;
	mapped = map_lookup(VNETX_MAP(VLAN_MAPPING), &key);
	return mapped ? *mapped : vid;
}

/* Does the frame's own tag count at this port?  One of the other kind is payload. */
static __always_inline int vlan_tag_counts(const struct vnetx_port *port, const struct tag *tag)
{
	return tag->key && tag_tpid(tag) == port->tpid;
}

/*
 * The VLAN of a frame that @in received: of its tag, by a rule, or the port's PVID.
 * Fills in @frame->vid and the bridge domain of its addresses.  Returns a
 * reason or VNETX_OK.
 */
static __always_inline __u32 vlan_classify(ctx_t *ctx, const struct vnetx_switch *sw,
					   const struct vnetx_port *in, struct frame *frame)
{
	const struct vnetx_port_vlans *vlans;
	__u32 vid = 0;

	frame->src.bd = in->bd;
	frame->dst.bd = in->bd;
	if (likely(!(in->flags & VNETX_PORT_VLAN)))
		return VNETX_OK;
	frame->counts = vlan_tag_counts(in, &frame->tag);
	if (frame->counts)
		vid = frame->tag.tci & VNETX_VID_MASK;
	if (unlikely(vid == VNETX_VID_RESERVED))
		return VNETX_VLAN_RESERVED;
	if (unlikely(in->flags & (vid ? VNETX_PORT_UNTAGGED_ONLY : VNETX_PORT_TAGGED_ONLY)))
		return VNETX_VLAN_TYPE;
	vid = vid ? vlan_mapped(in, frame->in, vid, 0) : vlan_of_untagged(ctx, sw, in, frame);
	if (unlikely(!vid))
		return VNETX_VLAN_NONE;
	vlans = vlans_of(frame->in);
	if (unlikely(!vlans || !vlan_in(vlans->member, vid)))
		return VNETX_VLAN_INGRESS;
	frame->vid = forget(vid);
	if (!(in->flags & VNETX_PORT_SHARED)) {
		frame->src.bd = vid;
		frame->dst.bd = vid;
	}
	return VNETX_OK;
}

/*
 * The same of a frame that a VTEP sent, whose VLAN is that of its VNI.  A tag that
 * counts has no place in it (RFC 7348, 6.1); others are the customer's.
 */
static __always_inline __u32 vlan_of_vni(const struct vnetx_port *in, struct frame *frame)
{
	const __u32 bd = in->flags & VNETX_PORT_SHARED ? 0 : frame->vid;

	frame->src.bd = bd;
	frame->dst.bd = bd;
	return frame->vid && vlan_tag_counts(in, &frame->tag) ? VNETX_VLAN_TYPE : VNETX_OK;
}

/* The tag with which frames of a VLAN leave by a port. */
static __always_inline struct tag vlan_tag(const struct vnetx_port *out, __u32 index, __u32 vid,
					   __u16 priority)
{
	return tag_of(out->tpid, priority | (vlan_mapped(out, index, vid, 1) & VNETX_VID_MASK));
}

/* Priority and DEI that a frame has, or gets at the port that it came by untagged. */
static __always_inline __u16 vlan_priority(const struct vnetx_port *in, const struct frame *frame)
{
	return frame->counts ? frame->tag.tci & (__u16)~VNETX_VID_MASK : in->priority;
}

/*
 * What becomes of the tag of a frame that leaves by @out: a set of
 * VNETX_FLOW_POP and VNETX_FLOW_PUSH, and the tag to push.
 */
static __always_inline __u32 vlan_retag(const struct vnetx_port *in, const struct vnetx_port *out,
					const struct frame *frame, struct tag *tag)
{
	const struct vnetx_port_vlans *vlans;
	__u32 pop;

	tag->key = 0;
	tag->tci = 0;
	if (likely(!frame->vid))
		return 0;
	pop = frame->counts ? VNETX_FLOW_POP : 0;
	vlans = vlans_of(frame->out);
	if (!vlans || vlan_in(vlans->untagged, frame->vid))
		return pop;
	*tag = vlan_tag(out, frame->out, frame->vid, vlan_priority(in, frame));
	if (frame->counts && tag->key == frame->tag.key)
		return 0;
	return pop | VNETX_FLOW_PUSH;
}

/* May frames of this VLAN leave by the port? */
static __always_inline int vlan_allows(__u32 out, __u32 vid)
{
	const struct vnetx_port_vlans *vlans;

	if (likely(!vid))
		return 1;
	vlans = vlans_of(out);
	return vlans && vlan_in(vlans->member, vid);
}

#endif
