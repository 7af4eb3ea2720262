/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Endpoints that have their NIC's MAC address, and IP addresses of their own (ipvlan_core.c).
 *
 * What is for the NIC's MAC address, and what asks for an IP address, comes by ipvlan_to(), which
 * asks whose that is; what an endpoint sends by ipvlan_from(), which sees to it that its addresses
 * are its own.
 */
#ifndef VNETX_IPVLAN_H
#define VNETX_IPVLAN_H

#include "lib/address.h"
#include "lib/endpoint.h"
#include "lib/frame.h"
#include "lib/ipvlan_start.h"
#include "lib/mtu.h"
#include "lib/pipeline_tc.h"
#include "lib/port.h"
#include "lib/relay.h"
#include "lib/send.h"
#include "lib/stats.h"
#include "lib/switch.h"

#define IPVLAN_ROUTED (VNETX_PORT_L3 | VNETX_PORT_L3S)

/* The frame as the program that decided on it left it. */
static __always_inline struct frame ipvlan_frame(ctx_t *ctx)
{
	struct frame frame = {
		.in = IPVLAN_CB(ctx, FROM) & 0xffff,
		.vid = IPVLAN_CB(ctx, FROM) >> IPVLAN_VID_SHIFT & VNETX_VID_MASK,
		.reflected = IPVLAN_CB(ctx, HOST) >> IPVLAN_REFLECTED_SHIFT,
		.epoch = IPVLAN_CB(ctx, EPOCH) | (__u64)IPVLAN_CB(ctx, EPOCH_HIGH) << 32,
		.len = ctx_len(ctx),
		.count = ctx_frames(ctx),
		.lone = 1,
	};

	return frame;
}

/*
 * It is for an address that has an owner: what is decided on this frame holds for the next between
 * the same addresses, if the sender has its own (ipvlan_known).
 */
static __always_inline void ipvlan_by_address(ctx_t *ctx, const struct vnetx_switch *sw,
					      const struct vnetx_port *in, struct frame *frame)
{
	struct vnetx_neighbour_key key = { .vid = frame->vid };

	if (!(in->flags & VNETX_PORT_IPVLAN) || frame->tag.key ||
	    ctx->protocol != __constant_htons(ETH_P_IP) ||
	    !address_read(ctx, &key, ADDRESS_SENDER) || address_owner(sw, &key) != frame->in)
		return;
	frame->by_address = 1;
	frame->lone = 0;
	frame->until = ~0ULL;
}

/* What was decided on such a frame, NULL where it has to be decided on. */
static __always_inline const struct vnetx_flow *ipvlan_known(ctx_t *ctx,
							     const struct vnetx_port *in)
{
	const struct ethhdr *eth = ctx_data(ctx);
	const __u32 *addresses = (const void *)eth + ADDRESS_IP_SOURCE;

	if (ctx->protocol != __constant_htons(ETH_P_IP) || ctx->vlan_present ||
	    (const void *)addresses + ETH_HLEN > ctx_data_end(ctx))
		return NULL;
	/* In L2 mode the wire may have it by its MAC address; in L3 mode none counts. */
	if (in->flags & IPVLAN_ROUTED ? eth->h_dest[0] & 1 : !eth_equal(eth->h_dest, in->peer_mac))
		return NULL;
	return flow_at(addresses, ctx_ifindex(ctx) | VNETX_FLOW_BY_ADDRESS, 0);
}

/*
 * Who is to have it: by the address that it is for, or what a DHCP server's answer is an answer
 * to.  What is flooded is one endpoint's only if it asks for an address.  0: no endpoint.
 */
static __always_inline __u32 ipvlan_target(ctx_t *ctx, const struct vnetx_switch *sw,
					   const struct vnetx_port *in, struct frame *frame,
					   __u32 host)
{
	struct vnetx_neighbour_key key = { .vid = frame->vid };
	const struct vnetx_port *out;
	__u32 index;

	if (!address_read(ctx, &key, host ? ADDRESS_TARGET : ADDRESS_ASKED))
		return 0;
	index = address_owner(sw, &key);
	if (index && host)
		ipvlan_by_address(ctx, sw, in, frame);
	if (!index && host)
		index = address_asked_dhcp(ctx, frame->vid);
	out = index ? port_get(index) : NULL;
	if (!out || out->flags & VNETX_PORT_L3S)
		return 0;
	/* In L3 mode it has no neighbours, and nobody asks for it. */
	if (out->flags & VNETX_PORT_L3 && (!host || ctx->protocol == __constant_htons(ETH_P_ARP)))
		return 0;
	return index;
}

/* The endpoint that sent what its own NIC has received: the wire reflected it.  0: none did. */
static __always_inline __u32 ipvlan_reflected(ctx_t *ctx, const struct vnetx_switch *sw,
					      const struct vnetx_port *in,
					      const struct frame *frame, __u32 host)
{
	struct vnetx_neighbour_key key = { .vid = frame->vid };
	const struct vnetx_port *sender;
	__u32 index;

	if (in->flags & (ENDPOINT_MODES | VNETX_PORT_HOST) || !in->twin)
		return 0;
	if (host ? !eth_equal(frame->src.mac, frame->dst.mac) : fdb_local(&frame->src) != in->twin)
		return 0;
	if (!address_read(ctx, &key, ADDRESS_SENDER))
		return 0;
	index = address_owner(sw, &key);
	sender = index ? port_get(index) : NULL;
	if (!sender || sender->parent != frame->in)
		return 0;
	return host || !(sender->flags & IPVLAN_ROUTED) ? index : 0;
}

static __always_inline enum hook ipvlan_hook(const struct vnetx_port *in)
{
	return in->flags & VNETX_PORT_HOST ? HOOK_EGRESS : HOOK_INGRESS;
}

/* Private endpoints are told apart from all others of their kind (ipvlan_xmit_mode_l2). */
static __always_inline int ipvlan_apart(const struct vnetx_port *in, const struct vnetx_port *out)
{
	return in->flags & out->flags & VNETX_PORT_IPVLAN &&
	       (in->flags | out->flags) & VNETX_PORT_PRIVATE;
}

/* Sends to @frame->out, if the modes of endpoints let it. */
static __always_inline int ipvlan_send(ctx_t *ctx, const struct vnetx_port *in, struct frame *frame)
{
	const struct vnetx_port *out = port_get(frame->out);
	__u32 decision = VNETX_EGRESS_GONE;

	if (out && (in->flags | out->flags) & ENDPOINT_MODES) {
		decision = ipvlan_apart(in, out) ? VNETX_ENDPOINT
						 : endpoint_unicast(in, out, frame);
		if (decision)
			return send_drop(frame, frame->in, decision);
		out = port_get(frame->out);
	}
	if (out)
		decision = relay_unicast(in, out, frame);
	if (decision != RELAY_UNICAST)
		return send_drop(frame, frame->in, decision);
	return send_unicast(ctx, frame, in, ipvlan_hook(in));
}

/*
 * The next frame of the flow comes here at once, with what was decided on this one: that it is
 * for @host's MAC address.
 */
static __always_inline void ipvlan_keep(ctx_t *ctx, const struct vnetx_port *in,
					const struct frame *frame, __u32 host)
{
	struct frame known = {
		.until = ~0ULL,
		.epoch = frame->epoch,
	};
	struct vnetx_flow flow = {
		.device = egress_device(ctx, ipvlan_hook(in)),
		.in = frame->in,
		.out = host,
		.how = VNETX_FLOW_ADDRESS,
		.tag = frame->tag.key,
		.vid = frame->vid,
	};

	if (!(IPVLAN_CB(ctx, FROM) & IPVLAN_LONE))
		flow_keep(ctx, &flow, &known);
}

/* A frame for the NIC's own address, whose host side is @host; 0: one that is flooded. */
static __always_inline int ipvlan_to(ctx_t *ctx)
{
	const __u32 host = IPVLAN_CB(ctx, HOST) & 0xffff;
	const struct vnetx_switch *sw = switch_get();
	struct frame frame = ipvlan_frame(ctx);
	const struct vnetx_port *in = port_get(frame.in);
	__u32 target;

	if (!sw || !in || frame_parse(ctx, &frame))
		return CTX_DROP;
	frame.counts = frame.vid && !(in->flags & VNETX_PORT_VTEP) &&
		       vlan_tag_counts(in, &frame.tag);
	if (!host && in->flags & VNETX_PORT_HOST)
		address_learn(ctx, sw, in, frame.in, frame.vid);
	if (!frame.reflected)
		frame.reflected = ipvlan_reflected(ctx, sw, in, &frame, host);
	target = ipvlan_target(ctx, sw, in, &frame, host);
	if (!host && (!target || target == frame.in || target == frame.reflected)) {
		frame.now = bpf_ktime_get_coarse_ns();
		return flood_start(ctx, in, &frame);
	}
	if (host)
		ipvlan_keep(ctx, in, &frame, host);
	frame.out = target ? target : host;
	return ipvlan_send(ctx, in, &frame);
}

/* ---------------------------------------------------------------- layer 3 */

#define IPVLAN_AF_INET 2
#define IPVLAN_AF_INET6 10

/* bcc's own knows no length. */
static long (*const redirect_neigh)(__u32 ifindex, const struct bpf_redir_neigh *next, int len,
				    __u64 flags) = (void *)BPF_FUNC_redirect_neigh;

/* What the host's table says of a packet. */
struct ipvlan_route {
	struct bpf_fib_lookup fib;
	struct bpf_redir_neigh next;
};

/* Asks the host's table, as if the packet were to be forwarded from the endpoint's port. */
static __always_inline int ipvlan_ask(ctx_t *ctx, const struct vnetx_neighbour_key *to,
				      struct ipvlan_route *route)
{
	struct bpf_fib_lookup *fib = &route->fib;
	int result;

	fib->ifindex = ctx_ifindex(ctx);
	fib->tot_len = ctx_is_gso(ctx) ? 0 : ctx_len(ctx) - ETH_HLEN;
	if (address_is_v4(to)) {
		fib->family = IPVLAN_AF_INET;
		fib->ipv4_dst = to->address[3];
		if (bpf_skb_load_bytes(ctx, ADDRESS_IP_SOURCE, &fib->ipv4_src, 4))
			return BPF_FIB_LKUP_RET_NOT_FWDED;
	} else {
		fib->family = IPVLAN_AF_INET6;
		__builtin_memcpy(fib->ipv6_dst, to->address, sizeof(fib->ipv6_dst));
		if (bpf_skb_load_bytes(ctx, ADDRESS_IP6_SOURCE, fib->ipv6_src, 16))
			return BPF_FIB_LKUP_RET_NOT_FWDED;
	}
	result = bpf_fib_lookup(ctx, fib, sizeof(*fib), 0);
	route->next.nh_family = fib->family;
	if (fib->family == IPVLAN_AF_INET)
		route->next.ipv4_nh = fib->ipv4_dst;
	else
		__builtin_memcpy(route->next.ipv6_nh, fib->ipv6_dst, sizeof(fib->ipv6_dst));
	return result;
}

/* To the stack of the host, whose sockets or routes have it from there. */
static __always_inline int ipvlan_local(ctx_t *ctx, const struct frame *frame)
{
	stats_local(frame->in, frame->count);
	send_as_host(ctx);
	return CTX_PASS;
}

/* Another endpoint's address: at once, by the stack, or by the wire, where the modes say so. */
static __always_inline int ipvlan_to_sibling(ctx_t *ctx, const struct vnetx_switch *sw,
					     const struct vnetx_port *in,
					     const struct vnetx_port *out, struct frame *frame)
{
	const struct vnetx_port *parent;

	if (frame->out == frame->in)
		return send_drop(frame, frame->in, VNETX_SAME_PORT);
	if ((in->flags | out->flags) & VNETX_PORT_PRIVATE)
		return send_drop(frame, frame->in, VNETX_ENDPOINT);
	if ((in->flags | out->flags) & ENDPOINT_BY_WIRE) {
		parent = port_get(in->parent);
		if (!parent)
			return send_drop(frame, frame->in, VNETX_EGRESS_GONE);
		stats_local(frame->in, frame->count);
		return redirect_neigh(parent->ifindex, NULL, 0, 0);
	}
	if ((in->flags | out->flags) & VNETX_PORT_L3S)
		return ipvlan_local(ctx, frame);
	ipvlan_by_address(ctx, sw, in, frame);
	return send_unicast(ctx, frame, in, HOOK_INGRESS);
}

/*
 * What an endpoint in L3 mode sends: no link layer of its own, no groups.  In L3s mode the
 * host's whole stack forwards it; in L3 mode it leaves by the host's routes alone, as what the
 * host sends itself does (ipvlan_process_outbound), and what is odd is the stack's.
 */
static __always_inline int ipvlan_out(ctx_t *ctx, const struct vnetx_switch *sw,
				      const struct vnetx_port *in, struct frame *frame)
{
	struct vnetx_neighbour_key to = { .vid = frame->vid };
	const struct vnetx_port *out;
	struct ipvlan_route route = {};
	int result;

	if (frame_parse(ctx, frame) || eth_is_group(frame->dst.mac) ||
	    ctx->protocol == __constant_htons(ETH_P_ARP) || !address_read(ctx, &to, ADDRESS_TARGET))
		return send_drop(frame, frame->in, VNETX_ENDPOINT);
	frame->out = address_owner(sw, &to);
	out = frame->out ? port_get(frame->out) : NULL;
	if (out && out->flags & VNETX_PORT_IPVLAN)
		return ipvlan_to_sibling(ctx, sw, in, out, frame);
	if (in->flags & VNETX_PORT_L3S)
		return ipvlan_local(ctx, frame);
	result = ipvlan_ask(ctx, &to, &route);
	if (result == BPF_FIB_LKUP_RET_NOT_FWDED && in->flags & VNETX_PORT_NO_HOST)
		return send_drop(frame, frame->in, VNETX_ENDPOINT);
	if ((result != BPF_FIB_LKUP_RET_SUCCESS && result != BPF_FIB_LKUP_RET_NO_NEIGH) ||
	    mtu_check_now(ctx, frame->len, route.fib.ifindex))
		return ipvlan_local(ctx, frame);
	stats_local(frame->in, frame->count);
	return redirect_neigh(route.fib.ifindex, &route.next, sizeof(route.next), 0);
}

/* What an endpoint sends; -2: the pipeline decides. */
#define IPVLAN_DECIDE -2

static __always_inline int ipvlan_from(ctx_t *ctx)
{
	const struct vnetx_switch *sw = switch_get();
	const __u32 index = port_of(ctx_ifindex(ctx));
	const struct vnetx_port *in = port_get(index);
	struct frame frame = {
		.in = index,
		.epoch = epoch_now(),
		.len = ctx_len(ctx),
		.count = ctx_frames(ctx),
		.lone = 1,
	};
	const struct vnetx_flow *flow;
	__u32 reason;

	if (unlikely(!sw || !in))
		return CTX_PASS;
	flow = ipvlan_known(ctx, in);
	if (likely(flow))
		return tc_flow(ctx, flow, frame.len, 0);
	frame.vid = in->flags & VNETX_PORT_VLAN ? in->pvid : 0;
	reason = address_learn(ctx, sw, in, index, frame.vid);
	if (likely(reason != VNETX_ADDRESS_TAKEN && !(in->flags & IPVLAN_ROUTED))) {
		if (unlikely(reason))
			stats_reason(index, reason, frame.count);
		return IPVLAN_DECIDE;
	}
	stats_rx(index, frame.count, frame.len);
	stats_vlan_rx(frame.vid, frame.count, frame.len);
	if (unlikely(!(in->flags & VNETX_PORT_UP)))
		return send_drop(&frame, index, VNETX_PORT_DOWN);
	if (unlikely(reason == VNETX_ADDRESS_TAKEN))
		return send_drop(&frame, index, reason);
	if (unlikely(reason))
		stats_reason(index, reason, frame.count);
	return ipvlan_out(ctx, sw, in, &frame);
}

#endif
