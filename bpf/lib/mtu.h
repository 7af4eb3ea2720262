/* SPDX-License-Identifier: GPL-2.0 */
/* Does the frame fit the device that it would leave by?  (is_skb_forwardable) */
#ifndef VNETX_MTU_H
#define VNETX_MTU_H

/* No Ethernet device has a smaller MTU than 68 (ETH_MIN_MTU): shorter frames always fit. */
#define MTU_ALWAYS_FITS (68 + ETH_HLEN)

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
	return ret < 0 ? VNETX_EGRESS_GONE : VNETX_MTU;
}

/* The same where the device was asked before: what fits everywhere need not ask again. */
static __always_inline __u32 mtu_check(ctx_t *ctx, const struct mtu *mtu, __u32 ifindex)
{
	return mtu->matters ? mtu_ask(ctx, mtu, ifindex) : VNETX_OK;
}

#endif
