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

/* Does the kernel keep a VLAN tag beside the data?  TPID and TCI of it, host byte order. */
static __always_inline int ctx_tag_beside(const ctx_t *ctx)
{
	return ctx->vlan_present;
}

static __always_inline __u16 ctx_tag_tpid(const ctx_t *ctx)
{
	return __constant_ntohs((__u16)ctx->vlan_proto);
}

static __always_inline __u16 ctx_tag_tci(const ctx_t *ctx)
{
	return ctx->vlan_tci;
}

/* Bytes of the VLAN tag beside the data. */
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

/* Reads bytes of the frame, in whatever buffer they are.  0 or negative. */
static __always_inline int ctx_load(ctx_t *ctx, __u32 offset, void *to, __u32 len)
{
	return bpf_skb_load_bytes(ctx, offset, to, len);
}

/* Takes the outer tag off; nothing of the data moves if it was beside them.  0 or negative. */
static __always_inline int ctx_pop_tag(ctx_t *ctx)
{
	return bpf_skb_vlan_pop(ctx);
}

/* Puts a tag outside of what is there: beside the data, and one that is there into them. */
static __always_inline int ctx_push_tag(ctx_t *ctx, __u16 tpid, __u16 tci)
{
	return bpf_skb_vlan_push(ctx, __constant_htons(tpid), tci);
}

#endif
