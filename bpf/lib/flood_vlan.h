/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Flooding within a VLAN: first the ports that get the frame without a tag, then
 * those that get it with one, so that the tag changes twice, if VIDs are not mapped
 * and TPIDs not mixed.  Ports of other VLANs cost nothing but their bit.  A run looks
 * VNETX_FLOOD_CHUNK times, or until the tag has to change, and then calls itself.
 */
#ifndef VNETX_FLOOD_VLAN_H
#define VNETX_FLOOD_VLAN_H

/* Uses of skb->cb[]. */
enum flood_vlan_cb {
	/* Port that the frame came from, and above FLOOD_VID_SHIFT its VLAN. */
	FLOOD_VLAN_FROM,
	/* The flag of ports that take this kind of frame, and what is noted above it. */
	FLOOD_VLAN_STATE,
	FLOOD_VLAN_NEXT,
	/* The tag that counts, TPID << 16 and TCI, as it came and as it is now; 0 for none. */
	FLOOD_VLAN_TAG_IN,
	FLOOD_VLAN_TAG,
};

/*
 * Read and written where it says so, and not kept in a register: what the verifier
 * knows of a register it follows through the loop, each way apart, until it gives up.
 */
#define FLOOD_CB(ctx, word) (*(volatile __u32 *)&(ctx)->cb[FLOOD_VLAN_##word])

#define FLOOD_VID_SHIFT 16
#define FLOOD_FLAG_MASK 0x0000ffff
/* enum flood_taken */
#define FLOOD_TAKEN_SHIFT 16
/* Ports that get it without a tag have had it: it is the turn of the others. */
#define FLOOD_TAGGED (1 << 20)
/* The next port gets it with another tag than it has. */
#define FLOOD_RETAG (1 << 21)

static __always_inline void flood_vlan_start(ctx_t *ctx, const struct vnetx_port *in,
					     const struct frame *frame, __u32 flag)
{
	FLOOD_CB(ctx, FROM) = frame->in | frame->vid << FLOOD_VID_SHIFT;
	FLOOD_CB(ctx, STATE) = flag;
	FLOOD_CB(ctx, NEXT) = 1;
	FLOOD_CB(ctx, TAG_IN) = frame->counts ? (__u32)in->tpid << 16 | frame->tag.tci : 0;
	FLOOD_CB(ctx, TAG) = FLOOD_CB(ctx, TAG_IN);
	tail_call(ctx, VNETX_MAP(TAIL), VNETX_TAIL_FLOOD_VLAN);
}

/* Gives the frame another tag that counts, or none.  0 or negative. */
static __always_inline int flood_retag(ctx_t *ctx, __u32 tag)
{
	__u32 now = FLOOD_CB(ctx, TAG);

	if (likely(now == tag))
		return 0;
	if (now && ctx_pop_tag(ctx))
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

/*
 * The first port from @index on that is in the VLAN and has its frames in the
 * way whose turn it is.  Without one in the same word of the set, the beginning
 * of the next word, and @found is 0: a port costs its turn, one of another VLAN
 * next to nothing.
 */
static __always_inline __u32 flood_next(const struct vnetx_vlan *vlan, __u32 index, __u32 state,
					__u32 *found)
{
	__u32 place = (index / 64) % VNETX_PORT_WORDS;
	__u64 untagged = vlan->untagged[place];
	__u64 word = vlan->member[place] & (state & FLOOD_TAGGED ? ~untagged : untagged);

	word >>= index % 64;
	*found = word != 0;
	return word ? index + flood_lowest(word) : (index / 64 + 1) * 64;
}

/* The tag with which the frame leaves by a port whose turn it is; 0 without. */
static __always_inline __u32 flood_vlan_tag(ctx_t *ctx, const struct vnetx_port *in,
					    const struct vnetx_port *out, __u32 index, __u32 vid)
{
	const __u32 came = FLOOD_CB(ctx, TAG_IN);
	__u16 priority = (came ? came : in->priority) & (__u16)~VNETX_VID_MASK;

	if (!(FLOOD_CB(ctx, STATE) & FLOOD_TAGGED))
		return 0;
	return (__u32)out->tpid << 16 | priority |
	       (vlan_mapped(out, index, vid, 1) & VNETX_VID_MASK);
}

/* One port of the VLAN.  Returns a set of enum flood_taken, or FLOOD_RETAG. */
static __always_inline __u32 flood_vlan_port(ctx_t *ctx, const struct vnetx_port *in,
					     const struct flood_rule *rule, const struct mtu *mtu,
					     __u32 index, __u32 vid, __u32 count)
{
	const struct vnetx_port *out = port_get(index);
	__u32 reason;

	if (!out || !flood_wanted(rule, out, index))
		return 0;
	if (index != in->twin && flood_vlan_tag(ctx, in, out, index, vid) != FLOOD_CB(ctx, TAG))
		return FLOOD_RETAG;
	reason = mtu_check(ctx, mtu, out->ifindex);
	if (likely(!reason) && index != in->twin)
		reason = send_copy(ctx, out);
	if (unlikely(reason)) {
		stats_reason(index, reason, count);
		return FLOOD_TAKEN_ANY;
	}
	stats_tx(index, count, ctx_len(ctx));
	stats_vlan_tx(vid, count, ctx_len(ctx));
	return index == in->twin ? FLOOD_TAKEN_ANY | FLOOD_TAKEN_TWIN : FLOOD_TAKEN_ANY;
}

enum flood_step {
	FLOOD_GO_ON,
	FLOOD_OVER,
	FLOOD_AGAIN,
};

/* One step of the round. */
static __always_inline enum flood_step flood_vlan_step(ctx_t *ctx, const struct vnetx_vlan *vlan,
						       const struct vnetx_port *in,
						       const struct flood_rule *rule,
						       const struct mtu *mtu, __u32 slots,
						       __u32 vid, __u32 count)
{
	const __u32 state = FLOOD_CB(ctx, STATE);
	__u32 taken, found, index = flood_next(vlan, FLOOD_CB(ctx, NEXT), state, &found);

	if (index >= slots) {
		FLOOD_CB(ctx, STATE) = state | FLOOD_TAGGED;
		FLOOD_CB(ctx, NEXT) = 1;
		return state & FLOOD_TAGGED ? FLOOD_OVER : FLOOD_GO_ON;
	}
	FLOOD_CB(ctx, NEXT) = index;
	if (!found)
		return FLOOD_GO_ON;
	taken = flood_vlan_port(ctx, in, rule, mtu, index, vid, count);
	if (taken == FLOOD_RETAG) {
		FLOOD_CB(ctx, STATE) = state | FLOOD_RETAG;
		return FLOOD_AGAIN;
	}
	FLOOD_CB(ctx, STATE) = state | taken << FLOOD_TAKEN_SHIFT;
	FLOOD_CB(ctx, NEXT) = index + 1;
	return FLOOD_GO_ON;
}

/* Gives the frame the tag of the port whose turn it is.  Returns a reason or VNETX_OK. */
static __always_inline __u32 flood_vlan_turn(ctx_t *ctx, const struct vnetx_port *in, __u32 vid)
{
	const __u32 index = FLOOD_CB(ctx, NEXT);
	const struct vnetx_port *out = port_get(index);

	FLOOD_CB(ctx, STATE) &= ~FLOOD_RETAG;
	if (!out)
		return VNETX_OK;
	return flood_retag(ctx, flood_vlan_tag(ctx, in, out, index, vid)) ? VNETX_NO_MEMORY
									  : VNETX_OK;
}

/* All ports have had it: the frame itself goes on to the host, or ends. */
static __always_inline int flood_vlan_end(ctx_t *ctx, const struct frame *frame)
{
	const __u32 taken = FLOOD_CB(ctx, STATE) >> FLOOD_TAKEN_SHIFT;

	if (!(taken & FLOOD_TAKEN_ANY))
		return send_drop(frame, frame->in, VNETX_NO_EGRESS);
	stats_flooded(frame->in, frame->count);
	ctx->tc_index = 0;
	if (!(taken & FLOOD_TAKEN_TWIN))
		return CTX_DROP;
	return flood_retag(ctx, FLOOD_CB(ctx, TAG_IN)) ? CTX_DROP : CTX_PASS;
}

static __always_inline int flood_vlan(ctx_t *ctx)
{
	const struct vnetx_switch *sw = switch_get();
	struct frame frame = { .in = FLOOD_CB(ctx, FROM) & 0xffff };
	const __u32 vid = FLOOD_CB(ctx, FROM) >> FLOOD_VID_SHIFT;
	const struct vnetx_port *in = port_get(frame.in);
	const struct vnetx_vlan *vlan = vlan_get(vid);
	struct flood_rule rule;
	struct mtu mtu;
	__u32 i;

	enum flood_step step;

	frame.count = ctx_frames(ctx);
	if (!sw || !in)
		return CTX_DROP;
	if (FLOOD_CB(ctx, STATE) & FLOOD_RETAG && flood_vlan_turn(ctx, in, vid))
		return send_drop(&frame, frame.in, VNETX_NO_MEMORY);
	frame.len = ctx_len(ctx);
	if (frame_parse(ctx, &frame))
		return CTX_DROP;
	if (unlikely(!vlan))
		return send_drop(&frame, frame.in, VNETX_NO_EGRESS);
	rule = flood_rule_of(in, frame.in, FLOOD_CB(ctx, STATE) & FLOOD_FLAG_MASK);
	mtu = mtu_of(ctx, frame.len, frame.tagged);
#pragma clang loop unroll(disable)
	for (i = 0; i < VNETX_FLOOD_CHUNK; i++) {
		step = flood_vlan_step(ctx, vlan, in, &rule, &mtu, sw->port_slots, vid,
				       frame.count);
		if (step == FLOOD_OVER)
			return flood_vlan_end(ctx, &frame);
		if (step == FLOOD_AGAIN)
			break;
	}
	tail_call(ctx, VNETX_MAP(TAIL), VNETX_TAIL_FLOOD_VLAN);
	return send_drop(&frame, frame.in, VNETX_NO_EGRESS);
}

#endif
