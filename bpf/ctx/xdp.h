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
static __always_inline int ctx_tag_beside(const ctx_t *ctx)
{
	return 0;
}

static __always_inline __u16 ctx_tag_tpid(const ctx_t *ctx)
{
	return 0;
}

static __always_inline __u16 ctx_tag_tci(const ctx_t *ctx)
{
	return 0;
}

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

static __always_inline __u32 ctx_gso_size(const ctx_t *ctx)
{
	return 0;
}

/* Reads bytes of the frame, in whatever buffer they are.  0 or negative. */
static __always_inline int ctx_load(ctx_t *ctx, __u32 offset, void *to, __u32 len)
{
	return bpf_xdp_load_bytes(ctx, offset, to, len);
}

/* Nothing goes with the frame. */
static __always_inline __u32 ctx_note(const ctx_t *ctx)
{
	return 0;
}

/* Both addresses, and behind them a tag. */
struct ctx_tagged {
	__u32 addresses[3];
	__be16 tpid;
	__be16 tci;
};

/* Takes the outer tag off, whatever its TPID: the addresses move.  0 or negative. */
static __always_inline int ctx_pop_tag(ctx_t *ctx, __u16 tpid)
{
	struct ctx_tagged *from = ctx_data(ctx);
	__u32 *to = (void *)from + 4;

	if ((void *)(from + 1) > ctx_data_end(ctx))
		return -EINVAL;
	to[2] = from->addresses[2];
	to[1] = from->addresses[1];
	to[0] = from->addresses[0];
	return bpf_xdp_adjust_head(ctx, 4);
}

/* Puts a tag outside of what is there, into the room before the frame. */
static __always_inline int ctx_push_tag(ctx_t *ctx, __u16 tpid, __u16 tci)
{
	struct ctx_tagged *to;
	__u32 *from;

	if (bpf_xdp_adjust_head(ctx, -4))
		return -ENOMEM;
	to = ctx_data(ctx);
	from = (void *)to + 4;
	if ((void *)(to + 1) > ctx_data_end(ctx))
		return -EINVAL;
	to->addresses[0] = from[0];
	to->addresses[1] = from[1];
	to->addresses[2] = from[2];
	to->tpid = __constant_htons(tpid);
	to->tci = __constant_htons(tci);
	return 0;
}

static __always_inline int ctx_push_tag_gso(ctx_t *ctx, __u16 tpid, __u16 tci)
{
	return ctx_push_tag(ctx, tpid, tci);
}

/* Writes @room bytes of outer headers before the frame.  0, or negative where it is spoilt. */
static __always_inline int ctx_encapsulate(ctx_t *ctx, const void *headers, __u32 room, __u32 len)
{
	if (bpf_xdp_adjust_head(ctx, -(int)room))
		return -ENOMEM;
	return bpf_xdp_store_bytes(ctx, 0, (void *)headers, room);
}

/* Takes @room bytes of outer headers off.  0 or negative. */
static __always_inline int ctx_decapsulate(ctx_t *ctx, __u32 room)
{
	return bpf_xdp_adjust_head(ctx, room);
}

/* Changes a bit of the frame, counted from its beginning.  0 or negative. */
static __always_inline int ctx_flip_bit(ctx_t *ctx, __u32 bit)
{
	__u8 byte;

	if (bpf_xdp_load_bytes(ctx, bit / 8, &byte, sizeof(byte)))
		return -EINVAL;
	byte ^= 1 << bit % 8;
	return bpf_xdp_store_bytes(ctx, bit / 8, &byte, sizeof(byte));
}

/* Nothing but the frame itself says what is in it. */
static __always_inline int ctx_settle_foreign(ctx_t *ctx, __u16 tpid, __u16 tci)
{
	return 0;
}

#endif
