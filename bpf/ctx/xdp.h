/* SPDX-License-Identifier: GPL-2.0 */
/* The XDP hook's vocabulary: a frame is a buffer, possibly of several fragments. */
#ifndef VNETX_CTX_XDP_H
#define VNETX_CTX_XDP_H

#include "common.h"

typedef struct xdp_md ctx_t;

#define CTX_PASS XDP_PASS
#define CTX_DROP XDP_DROP

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
	return ctx->ingress_ifindex;
}

/* All tags are in the data. */
static __always_inline __u32 ctx_tag_len(const ctx_t *ctx)
{
	return 0;
}

/* Bytes of the frame, fragments included. */
static __always_inline __u32 ctx_len(ctx_t *ctx)
{
	return bpf_xdp_get_buff_len(ctx);
}

/*
 * Whether some of the frame is in fragments.  Before Linux 6.3 no devmap takes
 * those, later not every driver does: what is redirected all the same is lost.
 */
static __always_inline int ctx_has_frags(const ctx_t *ctx, __u32 len)
{
	return ctx->data_end - ctx->data < len;
}

/* XDP sees every frame as it was on the wire. */
static __always_inline __u32 ctx_frames(const ctx_t *ctx)
{
	return 1;
}

static __always_inline int ctx_is_gso(const ctx_t *ctx)
{
	return 0;
}

#endif
