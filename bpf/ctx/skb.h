/* SPDX-License-Identifier: GPL-2.0 */
/* The TC hooks' vocabulary: a frame is an skb, possibly a GSO packet. */
#ifndef VNETX_CTX_SKB_H
#define VNETX_CTX_SKB_H

#include "common.h"

typedef struct __sk_buff ctx_t;

/* Go on to the next program or the stack: TC_ACT_UNSPEC and TCX_NEXT alike. */
#define CTX_PASS -1
#define CTX_DROP TC_ACT_SHOT

static __always_inline void *ctx_data(const ctx_t *ctx)
{
	return (void *)(long)ctx->data;
}

static __always_inline void *ctx_data_end(const ctx_t *ctx)
{
	return (void *)(long)ctx->data_end;
}

static __always_inline __u32 ctx_ifindex(const ctx_t *ctx)
{
	return ctx->ifindex;
}

/* Bytes of the VLAN tag that the kernel keeps beside the data. */
static __always_inline __u32 ctx_tag_len(const ctx_t *ctx)
{
	return ctx->vlan_present ? 4 : 0;
}

/* Bytes of the frame, Ethernet header and tags included, FCS not. */
static __always_inline __u32 ctx_len(const ctx_t *ctx)
{
	return ctx->len + ctx_tag_len(ctx);
}

/* Frames that a GSO packet becomes on a wire. */
static __always_inline __u32 ctx_frames(const ctx_t *ctx)
{
	__u32 segs = ctx->gso_segs;

	return segs ? segs : 1;
}

static __always_inline int ctx_is_gso(const ctx_t *ctx)
{
	return ctx->gso_size != 0;
}

#endif
