/* SPDX-License-Identifier: GPL-2.0 */
/* Does the frame fit the device that it would leave by?  (is_skb_forwardable) */
#ifndef VNETX_MTU_H
#define VNETX_MTU_H

#include "lib/tag.h"

/* No Ethernet device has a smaller MTU than 68 (ETH_MIN_MTU): shorter frames always fit. */
#define MTU_ALWAYS_FITS (68 + ETH_HLEN)

/* Headers of layer 3 and 4 that a segment of TCP has at the least. */
#define MTU_HEADERS 40

/* What to ask devices about a frame. */
struct mtu {
	/* Input of the helper: bytes without Ethernet header and tag, or 0 for a GSO packet. */
	__u32 l3_len;
	__u32 flags;
	/* The frame may not fit everywhere. */
	__u32 matters;
};

/*
 * One VLAN tag comes on top of the MTU, and one that is not in the data does
 * not count; a GSO packet is measured by its segments.
 */
static __always_inline struct mtu mtu_of(const ctx_t *ctx, __u32 len, __u32 tagged)
{
	struct mtu mtu = {
		.l3_len = len - ETH_HLEN - ctx_tag_len(ctx),
		.matters = len > MTU_ALWAYS_FITS,
	};

	if (tagged)
		mtu.l3_len -= TAG_LEN;
	if (ctx_is_gso(ctx)) {
		mtu.l3_len = 0;
		mtu.flags = BPF_MTU_CHK_SEGS;
	}
	return mtu;
}

/* The same of the frame as it is now. */
static __always_inline struct mtu mtu_now(ctx_t *ctx, __u32 len)
{
	const struct ethhdr *eth = ctx_data(ctx);

	return mtu_of(ctx, len, (const void *)(eth + 1) <= ctx_data_end(ctx) && tag_in_data(eth));
}

/*
 * Tags in the data of a GSO packet count as bytes of its segments to the kernel: without
 * them, might these fit?
 */
static __always_inline int mtu_fits_untagged(ctx_t *ctx, __u32 mtu)
{
	const struct ethhdr *eth = ctx_data(ctx);

	return ctx_gso_size(ctx) + MTU_HEADERS <= mtu &&
	       (const void *)(eth + 1) <= ctx_data_end(ctx) && tag_in_data(eth);
}

/*
 * Asks the device itself, so that a changed MTU holds at once, whether it is
 * there and takes the frame.  Returns a reason or VNETX_OK.
 */
static __always_inline __u32 mtu_ask(ctx_t *ctx, const struct mtu *mtu, __u32 ifindex)
{
	__u32 l3_len = mtu->l3_len;
	int ret = bpf_check_mtu(ctx, ifindex, &l3_len, 0, mtu->flags);

	if (likely(!ret))
		return VNETX_OK;
	if (ret < 0)
		return VNETX_EGRESS_GONE;
	return ctx_is_gso(ctx) && mtu_fits_untagged(ctx, l3_len) ? VNETX_OK : VNETX_MTU;
}

/* The same where the device was asked before: what fits everywhere need not ask again. */
static __always_inline __u32 mtu_check(ctx_t *ctx, const struct mtu *mtu, __u32 ifindex)
{
	return mtu->matters ? mtu_ask(ctx, mtu, ifindex) : VNETX_OK;
}

/* The same of the frame as it is now, with @len bytes. */
static __always_inline __u32 mtu_check_now(ctx_t *ctx, __u32 len, __u32 ifindex)
{
	struct mtu mtu;

	if (len <= MTU_ALWAYS_FITS)
		return VNETX_OK;
	mtu = mtu_now(ctx, len);
	return mtu_ask(ctx, &mtu, ifindex);
}

#endif
