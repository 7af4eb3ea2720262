/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the programs that flood have to remember from one run to the next, and hand
 * to each other: it stands in skb->cb.
 */
#ifndef VNETX_FLOOD_CB_H
#define VNETX_FLOOD_CB_H

enum flood_cb {
	/* Port that the frame came from, above FLOOD_VID_SHIFT its VLAN, and FLOOD_COPY_TWIN. */
	FLOOD_CB_FROM,
	/*
	 * The flag of ports that take this kind of frame, what is noted above it, and above that
	 * frame.reflected.
	 */
	FLOOD_CB_STATE,
	FLOOD_CB_NEXT,
	/* The tag that counts, TPID << 16 and TCI, as it came and as it is now; 0 for none. */
	FLOOD_CB_TAG_IN,
	FLOOD_CB_TAG,
};

/*
 * Read and written where it says so, and not kept in a register: what the verifier
 * knows of a register it follows through the loop, each way apart, until it gives up.
 */
#define FLOOD_CB(ctx, word) (*(volatile __u32 *)&(ctx)->cb[FLOOD_CB_##word])

#define FLOOD_VID_SHIFT 16
/* The other side of the device gets a copy like any other port: with a foreign tag (ctx_push_tag). */
#define FLOOD_COPY_TWIN (1u << 31)
/* In FLOOD_CB_FROM: it has been seen whether somebody can be answered for. */
#define FLOOD_ASKED (1u << 30)
#define FLOOD_FLAG_MASK 0xff
/* enum flood_taken */
#define FLOOD_TAKEN_SHIFT 8
#define FLOOD_TAKEN_MASK 3
/* Ports that get it without a tag have had it: it is the turn of the others. */
#define FLOOD_TAGGED (1 << 12)
#define FLOOD_SENDER_SHIFT 16

/* Gives the frame another tag that counts, or none.  0 or negative. */
static __always_inline int flood_retag(ctx_t *ctx, __u32 tag)
{
	__u32 now = FLOOD_CB(ctx, TAG);

	if (likely(now == tag))
		return 0;
	if (now && ctx_pop_tag(ctx, now >> 16))
		return -1;
	FLOOD_CB(ctx, TAG) = 0;
	if (tag && ctx_push_tag(ctx, tag >> 16, tag))
		return -1;
	FLOOD_CB(ctx, TAG) = tag;
	return 0;
}

/* Place of the lowest bit of a word that has one: the number of bits below it, without a branch. */
static __always_inline __u32 flood_lowest(__u64 word)
{
	word = (word & -word) - 1;
	word -= word >> 1 & 0x5555555555555555;
	word = (word & 0x3333333333333333) + (word >> 2 & 0x3333333333333333);
	word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0f;
	return word * 0x0101010101010101 >> 56;
}

#endif
