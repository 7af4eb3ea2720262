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

/* Payload of each frame that a GSO packet becomes. */
static __always_inline __u32 ctx_gso_size(const ctx_t *ctx)
{
	return ctx->gso_size;
}

/* Reads bytes of the frame, in whatever buffer they are.  0 or negative. */
static __always_inline int ctx_load(ctx_t *ctx, __u32 offset, void *to, __u32 len)
{
	return bpf_skb_load_bytes(ctx, offset, to, len);
}

/*
 * A number that goes with the frame: read where it is needed, it is nothing that the verifier
 * would have to follow from there.
 */
static __always_inline __u32 ctx_note(const ctx_t *ctx)
{
	return *(const volatile __u32 *)&ctx->cb[4];
}

static __always_inline void ctx_set_note(ctx_t *ctx, __u32 note)
{
	*(volatile __u32 *)&ctx->cb[4] = note;
}

#define CTX_TPID_AT (2 * ETH_ALEN)

/* A tag that is there for a while only, for what the kernel does when it comes or goes. */
static __always_inline int ctx_push_dummy(ctx_t *ctx)
{
	return bpf_skb_vlan_push(ctx, __constant_htons(ETH_P_8021AD), 0);
}

static __always_inline int ctx_set_tpid(ctx_t *ctx, __u16 tpid)
{
	const __be16 value = __constant_htons(tpid);

	return bpf_skb_store_bytes(ctx, CTX_TPID_AT, &value, sizeof(value), 0);
}

/*
 * What takes a tag out of the data heeds skb->protocol, which names a tag in them only if
 * it was pushed into them: one that then goes, with the frame's own, by its right name.
 * skb->protocol and network header are those of what was inside (skb_vlan_push, -pop).
 * After an error the frame is lost either way, so that there is but one branch, and few
 * ways for the verifier.
 */
static __always_inline int ctx_pop_foreign(ctx_t *ctx)
{
	int err = ctx_set_tpid(ctx, ETH_P_8021Q);

	err |= ctx_push_dummy(ctx);
	err |= ctx_push_dummy(ctx);
	err |= bpf_skb_vlan_pop(ctx);
	err |= bpf_skb_vlan_pop(ctx);
	return err | bpf_skb_vlan_pop(ctx);
}

/*
 * A tag is pushed into the data by the one that comes after it, and gets its name there.
 * skb->protocol is its TPID, as if the frame had been received so.
 */
static __always_inline int ctx_push_foreign(ctx_t *ctx, __u16 tpid, __u16 tci)
{
	int err = bpf_skb_vlan_push(ctx, __constant_htons(ETH_P_8021AD), tci);

	err |= ctx_push_dummy(ctx);
	err |= ctx_set_tpid(ctx, tpid);
	err |= ctx_push_dummy(ctx);
	err |= bpf_skb_vlan_pop(ctx);
	return err | bpf_skb_vlan_pop(ctx);
}

/* Customers' tags that a GSO packet may have inside a foreign one. */
#define CTX_GSO_TAGS 3

/* Both addresses, and behind them the tags. */
struct ctx_tags {
	__u32 addresses[3];
	struct {
		__be16 tpid;
		__be16 tci;
	} tag[1 + CTX_GSO_TAGS];
};

/*
 * A GSO packet has to be cut to segments where the device does not: whose skb->protocol has
 * to be that of layer 3, behind a link layer header (mac_len) of whatever length it is.
 */
static __always_inline int ctx_push_foreign_gso(ctx_t *ctx, __u16 tpid, __u16 tci)
{
	struct ctx_tags to = {};
	__u32 n;

	if (bpf_skb_load_bytes(ctx, 0, to.addresses, sizeof(to.addresses)))
		return -EINVAL;
	to.tag[0].tpid = __constant_htons(tpid);
	to.tag[0].tci = __constant_htons(tci);
#pragma clang loop unroll(full)
	for (n = 1; n <= CTX_GSO_TAGS; n++) {
		/* The verifier wants each load from ctx itself, not from a register with its sum. */
		asm volatile("" : "+r"(ctx));
		if (!ctx->vlan_present)
			break;
		to.tag[n].tpid = ctx->vlan_proto;
		to.tag[n].tci = __constant_htons((__u16)ctx->vlan_tci);
		if (bpf_skb_vlan_pop(ctx))
			return -ENOMEM;
	}
	if (ctx->vlan_present || bpf_skb_change_head(ctx, n * sizeof(to.tag[0]), 0))
		return -ENOMEM;
	return bpf_skb_store_bytes(ctx, 0, &to, sizeof(to.addresses) + n * sizeof(to.tag[0]), 0);
}

/*
 * Takes the outer tag off, which has this TPID; nothing of the data moves if it was beside
 * them.  0 or negative.
 */
static __always_inline int ctx_pop_tag(ctx_t *ctx, __u16 tpid)
{
	return unlikely(ctx_tpid_foreign(tpid)) ? ctx_pop_foreign(ctx) : bpf_skb_vlan_pop(ctx);
}

/*
 * Puts a tag outside of what is there: beside the data, and one that is there into them; a
 * foreign one into the data.  After that the frame can be sent, where it is read anew, and
 * not passed on to whom trusts what was read.  0 or negative.
 */
static __always_inline int ctx_push_tag(ctx_t *ctx, __u16 tpid, __u16 tci)
{
	if (likely(!ctx_tpid_foreign(tpid)))
		return bpf_skb_vlan_push(ctx, __constant_htons(tpid), tci);
	return ctx_push_foreign(ctx, tpid, tci);
}

/* The same, of a GSO packet that can be cut to segments afterwards, whatever its tag. */
static __always_inline int ctx_push_tag_gso(ctx_t *ctx, __u16 tpid, __u16 tci)
{
	if (likely(!ctx_tpid_foreign(tpid) || !ctx_is_gso(ctx)))
		return ctx_push_tag(ctx, tpid, tci);
	return ctx_push_foreign_gso(ctx, tpid, tci);
}

/* The same of the tag beside the data, @at bytes from its beginning: it may end up in them. */
static __always_inline int ctx_flip_tag_bit(ctx_t *ctx, __u32 at, __u32 bit)
{
	__u32 tag = (__u32)ctx_tag_tpid(ctx) << 16 | ctx_tag_tci(ctx);

	tag ^= 1U << (8 * (3 - at) + bit);
	return bpf_skb_vlan_pop(ctx) ? -ENOMEM : ctx_push_foreign(ctx, tag >> 16, tag);
}

/*
 * Changes a bit of the frame, counted from its beginning, tags included; nobody takes its
 * checksums for verified any more.  After that the frame can be sent, where it is read anew.
 * 0 or negative.
 */
static __always_inline int ctx_flip_bit(ctx_t *ctx, __u32 bit)
{
	__u32 at = bit / 8;
	__u8 byte;

	bpf_csum_level(ctx, BPF_CSUM_LEVEL_RESET);
	if (ctx->vlan_present && at >= CTX_TPID_AT) {
		if (at < CTX_TPID_AT + 4)
			return ctx_flip_tag_bit(ctx, at - CTX_TPID_AT, bit % 8);
		at -= 4;
	}
	if (bpf_skb_load_bytes(ctx, at, &byte, sizeof(byte)))
		return -EINVAL;
	byte ^= 1 << bit % 8;
	/* The kernel's sum, where it has one, begins behind the Ethernet header. */
	return bpf_skb_store_bytes(ctx, at, &byte, sizeof(byte),
				   at < ETH_HLEN ? 0 : BPF_F_RECOMPUTE_CSUM);
}

/* A GSO packet that came with a foreign tag is one that can be cut to segments again. */
static __always_inline int ctx_settle_foreign(ctx_t *ctx, __u16 tpid, __u16 tci)
{
	if (!ctx_is_gso(ctx))
		return 0;
	return ctx_pop_foreign(ctx) ? -ENOMEM : ctx_push_foreign_gso(ctx, tpid, tci);
}

/* Linux 6.3; what the kernel takes the frame for afterwards. */
#define CTX_DECAP_L3_IPV6 (1ULL << 8)

/* Is there an IP packet in the frame, and no tag? */
static __always_inline int ctx_carries_ip(const ctx_t *ctx)
{
	return !ctx->vlan_present && (ctx->protocol == __constant_htons(ETH_P_IP) ||
				      ctx->protocol == __constant_htons(ETH_P_IPV6));
}

/*
 * Makes room for @room bytes of outer headers, IPv4 and UDP, before the frame, and writes
 * @len bytes at the beginning: these, and the inner Ethernet header once more, since the
 * kernel moves what is before the packet.  1 where nothing was changed, negative where the
 * frame is spoilt.
 */
static __always_inline int ctx_encapsulate(ctx_t *ctx, const void *headers, __u32 room, __u32 len)
{
	const __u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 |
			    BPF_F_ADJ_ROOM_ENCAP_L4_UDP | BPF_F_ADJ_ROOM_ENCAP_L2_ETH |
			    BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN);

	if (bpf_skb_adjust_room(ctx, room, BPF_ADJ_ROOM_MAC, flags))
		return 1;
	return bpf_skb_store_bytes(ctx, 0, (void *)headers, len, BPF_F_RECOMPUTE_CSUM);
}

/* Addresses and type. */
struct ctx_ethernet {
	__u32 addresses[3];
	__be16 proto;
};

/*
 * Takes @room bytes of outer headers off a frame that carries an IP packet.  Negative where
 * it is as it was, and the kernel has to do it.
 */
static __always_inline int ctx_decapsulate(ctx_t *ctx, __u32 room)
{
	const struct ctx_ethernet *from = ctx_data(ctx) + room;
	struct ctx_ethernet inner = {};
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO;

	if ((const void *)from + ETH_HLEN > ctx_data_end(ctx))
		return -EINVAL;
	inner.addresses[0] = from->addresses[0];
	inner.addresses[1] = from->addresses[1];
	inner.addresses[2] = from->addresses[2];
	inner.proto = from->proto;
	if (inner.proto == __constant_htons(ETH_P_IPV6))
		flags |= CTX_DECAP_L3_IPV6;
	else if (inner.proto != __constant_htons(ETH_P_IP))
		return -EINVAL;
	if (bpf_skb_adjust_room(ctx, -(__s32)room, BPF_ADJ_ROOM_MAC, flags))
		return -EINVAL;
	bpf_skb_store_bytes(ctx, 0, &inner, ETH_HLEN, BPF_F_RECOMPUTE_CSUM);
	return 0;
}

#endif
