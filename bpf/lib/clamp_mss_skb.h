/* SPDX-License-Identifier: GPL-2.0 */
/* TC's part of clamping: what the SYN says is written anew. */
#ifndef VNETX_CLAMP_MSS_SKB_H
#define VNETX_CLAMP_MSS_SKB_H

#include "lib/clamp_mss.h"
#include "lib/ip.h"
#include "lib/stats.h"

/* What is handed over in skb->cb, behind what the other programs have there. */
enum clamp_cb {
	/* The device whose MTU counts. */
	CLAMP_CB_DEVICE = 2,
	/* Index of the VTEP, and above CLAMP_BACK_SHIFT the program to go back to. */
	CLAMP_CB_PORT,
};

#define CLAMP_CB(ctx, word) (*(volatile __u32 *)&(ctx)->cb[CLAMP_CB_##word])
#define CLAMP_BACK_SHIFT 16

/* Options of TCP, and room for the verifier. */
struct clamp_options {
	__u8 byte[64];
};

#define CLAMP_AT(options, at) ((options)->byte[(at) % sizeof((options)->byte)])

/* Where the TCP header is of a packet that has one at its beginning; 0 for others. */
static __always_inline __u32 clamp_tcp_at(ctx_t *ctx)
{
	__u8 ip[12];

	if (bpf_skb_load_bytes(ctx, ETH_HLEN, ip, sizeof(ip)))
		return 0;
	if (ctx->protocol == __constant_htons(ETH_P_IP) && ip[9] == IP_TCP && !(ip[6] & 0x1f) &&
	    !ip[7])
		return ETH_HLEN + (ip[0] & 0xf) * 4;
	if (ctx->protocol == __constant_htons(ETH_P_IPV6) && ip[6] == IP_TCP)
		return ETH_HLEN + IP6_LEN;
	return 0;
}

/* 1 where both are the same, else 0, without a branch; both are small. */
static __always_inline __u32 clamp_same(__u32 a, __u32 b)
{
	__u32 same = a ^ b;

	asm volatile("" : "+r"(same));
	same = (same - 1) >> 31;
	asm volatile("" : "+r"(same)); /* or a product with it becomes a branch */
	return same;
}

/*
 * Where the value of the option MSS is; 0 where there is none.  Each place is looked at, and
 * counts where an option begins: with a branch for each, the verifier would follow all ways
 * through all lists of options.
 */
static __always_inline __u32 clamp_find(const struct clamp_options *options)
{
	__u32 begins = 0, found = 0, i;

#pragma clang loop unroll(disable)
	for (i = 0; i + CLAMP_MSS_LEN <= CLAMP_OPTIONS_MAX; i++) {
		const __u32 here = clamp_same(i, begins), kind = options->byte[i];
		const __u32 single = clamp_same(kind, CLAMP_NOP),
			    ends = clamp_same(kind, CLAMP_END);

		found |= here * clamp_same(kind, CLAMP_MSS) * (i + 2);
		begins += here *
			  (single + (1 - single) * options->byte[i + 1] + ends * CLAMP_OPTIONS_MAX);
	}
	return found;
}

/*
 * A SYN that goes to a VTEP by @device, or comes from one, promises no more than fits.  Counts
 * that at port @index.
 */
static __always_inline void clamp_mss(ctx_t *ctx, __u32 device, __u32 index)
{
	const __u32 tcp_at = clamp_tcp_at(ctx);
	struct clamp_options options = {};
	__u8 head[CLAMP_TCP_LEN];
	__u32 at, mtu = 0, most;
	__u64 len;
	__be16 old, new;

	if (!tcp_at || bpf_skb_load_bytes(ctx, tcp_at, head, sizeof(head)) ||
	    !(head[CLAMP_FLAGS_AT] & CLAMP_SYN) || bpf_check_mtu(ctx, device, &mtu, 0, 0) < 0)
		return;
	/*
	 * There are at most 15 words, 5 of them without options.  The mask, and a register that
	 * is compared twice, are for the verifier: of Linux 6.1, too.
	 */
	len = ((head[12] >> 4) - CLAMP_TCP_LEN / 4 & 0xf) * 4;
	asm volatile("" : "+r"(len));
	if (len < CLAMP_MSS_LEN)
		return;
	asm volatile("" : "+r"(len));
	if (len > CLAMP_OPTIONS_MAX)
		return;
	if (bpf_skb_load_bytes(ctx, tcp_at + CLAMP_TCP_LEN, &options, len))
		return;
	at = clamp_find(&options);
	most = mtu - CLAMP_TCP_LEN -
	       (ctx->protocol == __constant_htons(ETH_P_IP) ? IP_LEN : IP6_LEN);
	if (!at || CLAMP_AT(&options, at - 1) != CLAMP_MSS_LEN ||
	    (__u32)(CLAMP_AT(&options, at) << 8 | CLAMP_AT(&options, at + 1)) <= most)
		return;
	old = __constant_htons((__u16)(CLAMP_AT(&options, at) << 8 | CLAMP_AT(&options, at + 1)));
	new = __constant_htons((__u16)most);
	at += tcp_at + CLAMP_TCP_LEN;
	if (bpf_skb_store_bytes(ctx, at, &new, sizeof(new), 0))
		return;
	if (at & 1) { /* it stands in two words of the sum */
		old = old << 8 | old >> 8;
		new = new << 8 | new >> 8;
	}
	bpf_l4_csum_replace(ctx, tcp_at + 16, old, new, sizeof(new));
	stats_reason(index, VNETX_MSS_CLAMPED, 1);
}

/*
 * Has a frame that may be a SYN looked at, after which the program @back begins anew.  Returns
 * for all others, and where that has been done.
 */
static __always_inline void clamp_start(ctx_t *ctx, __u32 device, __u32 index, __u32 back)
{
	const void *ip = ctx_data(ctx) + ETH_HLEN;

	if (ctx->tc_index == VNETX_LOOKED_AT ||
	    !clamp_maybe_syn(ip, ctx_data_end(ctx), ctx->protocol))
		return;
	CLAMP_CB(ctx, DEVICE) = device;
	CLAMP_CB(ctx, PORT) = index | back << CLAMP_BACK_SHIFT;
	tail_call(ctx, VNETX_MAP(TAIL), VNETX_TAIL_CLAMP_MSS);
}

static __always_inline int clamp(ctx_t *ctx)
{
	clamp_mss(ctx, CLAMP_CB(ctx, DEVICE), CLAMP_CB(ctx, PORT) & 0xffff);
	ctx->tc_index = VNETX_LOOKED_AT;
	tail_call(ctx, VNETX_MAP(TAIL), CLAMP_CB(ctx, PORT) >> CLAMP_BACK_SHIFT);
	return CTX_DROP;
}

#endif
