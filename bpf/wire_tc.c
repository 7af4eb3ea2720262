// SPDX-License-Identifier: GPL-2.0
/* A wire in TC: in place of the switch on both of its ends. */
#include "ctx/skb.h"
#include "lib/eth.h"
#include "lib/mtu.h"
#include "lib/stats.h"
#include "lib/tag.h"
#include "lib/wire.h"

/* Is the frame, as it came, for the interface behind the other end itself? */
static __always_inline int wire_to_peer(ctx_t *ctx, const struct vnetx_flow *flow)
{
	const struct ethhdr *eth = ctx_data(ctx);

	return flow->how & VNETX_FLOW_PEER && (const void *)(eth + 1) <= ctx_data_end(ctx) &&
	       eth_equal(eth->h_dest, (const __u8 *)flow->addresses);
}

/* A GSO packet whose outer tag is payload to the kernel can be cut to segments again. */
static __always_inline int wire_settle(ctx_t *ctx)
{
	const __u16 tpid = __constant_ntohs((__u16)ctx->protocol);
	struct tag tag;

	if (likely(!ctx_is_gso(ctx) || ctx->vlan_present || !ctx_tpid_foreign(tpid)))
		return 0;
	if (ctx_data(ctx) + ETH_HLEN > ctx_data_end(ctx) || !tag_read(ctx, ctx_data(ctx), &tag) ||
	    !tag_foreign(&tag))
		return 0;
	return ctx_settle_foreign(ctx, tag_tpid(&tag), tag.tci);
}

/* Leaves by the other end; one that has changed has to be read anew there. */
static __always_inline int wire_send(ctx_t *ctx, const struct vnetx_flow *flow, __u32 count,
				     __u32 len, int changed)
{
	stats_tx(flow->out, count, len);
	if (!changed && wire_to_peer(ctx, flow)) {
		if (flow->how & VNETX_FLOW_RETYPE && ctx->pkt_type == PACKET_OTHERHOST)
			bpf_skb_change_type(ctx, PACKET_HOST);
		return bpf_redirect_peer(flow->out_ifindex, 0);
	}
	ctx->tc_index = 0;
	return bpf_redirect(flow->out_ifindex, 0);
}

/* Another frame, of a wire that leaves nothing to chance. */
static __always_inline int wire_pass(ctx_t *ctx, const struct vnetx_flow *flow, __u32 count,
				     __u32 len)
{
	__u32 reason;

	stats_rx(flow->in, count, len);
	reason = mtu_check_now(ctx, len, flow->out_ifindex);
	if (unlikely(reason))
		return wire_drop(flow->out, reason, count);
	if (unlikely(wire_settle(ctx)))
		return wire_drop(flow->out, VNETX_NO_MEMORY, count);
	return wire_send(ctx, flow, count, len, 0);
}

/*
 * Chance decides on frames: GSO packets do not come where it does, but from a virtual machine
 * perhaps, whose unfinished checksum nobody would verify.  They are lost as a whole.
 */
static __always_inline int wire_decide(ctx_t *ctx, struct vnetx_wire *wire, __u64 epoch,
				       __u32 count, __u32 len)
{
	const __u32 ifindex = ctx_ifindex(ctx);
	const struct mtu mtu = mtu_now(ctx, len);
	struct vnetx_flow flow;
	__u32 reason, bit = 0;

	stats_rx(wire->in, count, len);
	if (unlikely(wire->flags & VNETX_WIRE_CUT_HERE))
		return wire_drop(wire->in, VNETX_WIRE_CUT, count);
	reason = mtu_ask(ctx, &mtu, wire->out_ifindex);
	if (unlikely(reason))
		return wire_drop(wire->out, reason, count);
	flow = wire_flow(wire, ifindex, epoch);
	wire_keep(wire, ifindex, &flow);
	reason = wire_fate(wire, count, len, &bit);
	if (unlikely(reason == VNETX_WIRE_LOSS || (reason && ctx_is_gso(ctx))))
		return wire_drop(wire->in, VNETX_WIRE_LOSS, count);
	if (unlikely(reason ? ctx_flip_bit(ctx, bit) : wire_settle(ctx)))
		return wire_drop(wire->out, VNETX_NO_MEMORY, count);
	if (unlikely(reason))
		stats_reason(wire->in, reason, count);
	return wire_send(ctx, &flow, count, len, reason);
}

int vnetx_wire(struct __sk_buff *ctx)
{
	const __u32 ifindex = ctx_ifindex(ctx), len = ctx_len(ctx), count = ctx_frames(ctx);
	const struct vnetx_flow *flow = wire_kept(ifindex);
	const __u64 epoch = epoch_now();
	struct vnetx_wire *wire;

	if (likely(flow))
		return wire_pass(ctx, flow, count, len);
	wire = wire_of(ifindex);
	return likely(wire) ? wire_decide(ctx, wire, epoch, count, len) : CTX_PASS;
}
