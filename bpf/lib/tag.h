/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The outer VLAN tag of a frame, wherever it is: in the data, or (an skb's)
 * beside it.  Which tags count is a matter of ports (vlan.h).
 */
#ifndef VNETX_TAG_H
#define VNETX_TAG_H

#define TAG_LEN 4

struct tag {
	/* TPID << 16, VNETX_FLOW_TAGGED, VID; 0 for a frame without a tag. */
	__u32 key;
	/* Priority, DEI and VID. */
	__u16 tci;
};

static __always_inline struct tag tag_of(__u16 tpid, __u16 tci)
{
	struct tag tag = {
		.key = (__u32)tpid << 16 | VNETX_FLOW_TAGGED | (tci & VNETX_VID_MASK),
		.tci = tci,
	};

	return tag;
}

static __always_inline __u16 tag_tpid(const struct tag *tag)
{
	return tag->key >> 16;
}

/* Has the frame an outer tag that the kernel takes for payload? */
static __always_inline int tag_foreign(const struct tag *tag)
{
	return ctx_tpid_foreign(tag_tpid(tag));
}

/* Is a tag in the data?  One bit tells IPv4 and ARP from whatever it may be. */
static __always_inline __u32 tag_in_data(const struct ethhdr *eth)
{
	const __be16 type = eth->h_proto;

	if (likely(!(type & __constant_htons(0x8000))))
		return 0;
	return type == __constant_htons(ETH_P_8021Q) || type == __constant_htons(ETH_P_8021AD) ||
	       type == __constant_htons(ETH_P_QINQ1) || type == __constant_htons(ETH_P_QINQ2) ||
	       type == __constant_htons(ETH_P_QINQ3);
}

/*
 * The outer tag of the frame, whose Ethernet header was found to be there.
 * Returns 0 where the data announce a tag and have none.
 */
static __always_inline int tag_read(ctx_t *ctx, const struct ethhdr *eth, struct tag *tag)
{
	const __be16 *tci = (const void *)(eth + 1);
	const __u16 tpid = __constant_ntohs(eth->h_proto);
	__be16 loaded;

	tag->key = 0;
	tag->tci = 0;
	if (ctx_tag_beside(ctx)) {
		*tag = tag_of(ctx_tag_tpid(ctx), ctx_tag_tci(ctx));
		return 1;
	}
	if (likely(!tag_in_data(eth)))
		return 1;
	if (likely((const void *)(tci + 1) <= ctx_data_end(ctx))) {
		*tag = tag_of(tpid, __constant_ntohs(*tci));
		return 1;
	}
	if (ctx_load(ctx, ETH_HLEN, &loaded, sizeof(loaded)))
		return 0;
	*tag = tag_of(tpid, __constant_ntohs(loaded));
	return 1;
}

#endif
