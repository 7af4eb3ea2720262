/* SPDX-License-Identifier: GPL-2.0 */
/* What the pipeline knows of the frame in hand. */
#ifndef VNETX_FRAME_H
#define VNETX_FRAME_H

#include "lib/eth.h"
#include "lib/tag.h"

struct frame {
	struct vnetx_fdb_key src;
	struct vnetx_fdb_key dst;
	__u64 now;
	/* When what is decided on it began to be found out. */
	__u64 epoch;
	__u32 len;
	/* Frames on a wire that this one stands for. */
	__u32 count;
	/* Its ingress port, by index, and where it is to go. */
	__u32 in;
	__u32 out;
	/* A VLAN tag stands in the data. */
	__u32 tagged;
	/* The outer tag, and whether the port that it came by heeds it. */
	struct tag tag;
	__u32 counts;
	/* Its VLAN, 0 in a switch without. */
	__u32 vid;
	/* What is decided on it holds for no other frame. */
	__u32 lone;
	/* It came encapsulated; @vid is that of its VNI, which ctx_note() says. */
	__u32 from_vtep;
	/* The endpoint that sent it, if its NIC has received it. */
	__u32 reflected;
	/* What is decided on it holds for those between its IPv4 addresses. */
	__u32 by_address;
	/* Nothing is learned from it. */
	__u32 unlearned;
	/* What learning its source had to say: a reason, or VNETX_OK. */
	__u32 notice;
	/* How long what the FDB said of both addresses holds. */
	__u64 until;
};

/*
 * Reads the Ethernet header.  Nothing beyond it is looked at, but a tag that
 * is announced has to be there, in whatever buffer; @frame->len is set.
 * Returns a reason or VNETX_OK.
 */
static __always_inline __u32 frame_parse(ctx_t *ctx, struct frame *frame)
{
	const struct ethhdr *eth = ctx_data(ctx);
	const void *end = ctx_data_end(ctx);

	if ((const void *)(eth + 1) > end)
		return VNETX_RUNT;
	__builtin_memcpy(frame->dst.mac, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(frame->src.mac, eth->h_source, ETH_ALEN);
	frame->tagged = tag_in_data(eth);
	if (unlikely(frame->tagged && frame->len - ctx_tag_len(ctx) < ETH_HLEN + TAG_LEN))
		return VNETX_MALFORMED;
	if (unlikely(!tag_read(ctx, eth, &frame->tag)))
		return VNETX_MALFORMED;
	if (unlikely(eth_is_group(frame->src.mac) || eth_is_zero(frame->src.mac)))
		return VNETX_BAD_SOURCE;
	return VNETX_OK;
}

static __always_inline __u32 frame_bum_kind(const struct frame *frame)
{
	if (!eth_is_group(frame->dst.mac))
		return VNETX_BUM_UNICAST;
	return eth_is_broadcast(frame->dst.mac) ? VNETX_BUM_BROADCAST : VNETX_BUM_MULTICAST;
}

#endif
