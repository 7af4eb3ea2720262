/* SPDX-License-Identifier: GPL-2.0 */
/* Which ports a flooded frame goes to, and what is noted meanwhile. */
#ifndef VNETX_FLOOD_RULE_H
#define VNETX_FLOOD_RULE_H

#include "lib/endpoint.h"
#include "lib/port.h"

enum flood_taken {
	/* Some port was to have the frame. */
	FLOOD_TAKEN_ANY = 1 << 0,
	/* The other side of the device is to have the frame itself, at the end. */
	FLOOD_TAKEN_TWIN = 1 << 1,
};

/* br_forward.c:should_deliver, with all that is the same for every port worked out before. */
struct flood_rule {
	/* Flags that a port has to have, all of them, and those of which it may have none. */
	__u32 wanted;
	__u32 barred;
	/* Ports that get no copy, 0 for none: where the frame came from, and who sent it there. */
	__u32 skip;
	__u32 sender;
	/* The only port that gets one beside those with one of these flags, 0 for all. */
	__u32 only;
	__u32 besides;
};

/*
 * 1 where a flag is set, else 0.  Rules are worked out without branches: the verifier would
 * follow each way apart, through the loop over all ports.
 */
#define FLOOD_IS(flags, flag) ((flags) / (flag)&1)

/* The same, of a number below 2^63 that is 0. */
static __always_inline __u32 flood_is_zero(__u64 number)
{
	return (number - 1) >> 63;
}

/* Is it an endpoint that has all it sends go by the wire? */
static __always_inline __u32 flood_by_wire(__u32 flags)
{
	return FLOOD_IS(flags, VNETX_PORT_VEPA) | FLOOD_IS(flags, VNETX_PORT_PRIVATE) |
	       FLOOD_IS(flags, VNETX_PORT_SOURCE);
}

/* Of port @index, for those that have @flag, the one by which the kind of frame is flooded. */
static __always_inline struct flood_rule flood_rule_of(const struct vnetx_port *in, __u32 index,
						       __u32 flag)
{
	const __u32 host = FLOOD_IS(in->flags, VNETX_PORT_HOST) |
			   FLOOD_IS(in->flags, VNETX_PORT_HOST_PORT);
	struct flood_rule rule = {
		.wanted = VNETX_PORT_UP | flag,
		.barred = (in->flags & PORT_PAIR_FLAGS) | VNETX_PORT_SOURCE | VNETX_PORT_L3 |
			  VNETX_PORT_L3S,
		.skip = in->flags & VNETX_PORT_HAIRPIN ? 0 : index,
		.only = flood_by_wire(in->flags) * in->parent,
		.besides = ENDPOINT_HOST,
	};

	rule.barred |= FLOOD_IS(flag, VNETX_PORT_FLOOD_UNICAST) * ENDPOINT_MODES;
	rule.barred |= FLOOD_IS(in->flags, VNETX_PORT_BRIDGE) * ENDPOINT_BY_WIRE;
	rule.barred |= FLOOD_IS(in->flags, VNETX_PORT_NO_HOST) * ENDPOINT_HOST;
	rule.barred |= host * VNETX_PORT_NO_HOST;
	return rule;
}

/*
 * The same of what endpoint @sender sent, if not 0, and the wire reflected: in VEPA mode nobody
 * has had it but the host (macvlan_multicast_rx), in bridge mode all but those in VEPA mode.
 */
static __always_inline void flood_rule_reflected(struct flood_rule *rule, __u32 sender)
{
	const struct vnetx_port *port = map_lookup(VNETX_MAP(PORTS), &sender);
	const __u32 flags = port ? port->flags : 0;
	const __u32 bridge = FLOOD_IS(flags, VNETX_PORT_BRIDGE);
	const __u32 vepa = FLOOD_IS(flags, VNETX_PORT_VEPA);
	const __u32 others = FLOOD_IS(flags, VNETX_PORT_PRIVATE) |
			     FLOOD_IS(flags, VNETX_PORT_SOURCE);
	const __u32 told = others | ((bridge | vepa) & ~FLOOD_IS(flags, VNETX_PORT_NO_HOST));

	rule->sender = sender;
	rule->only |= bridge * VNETX_PORT_GONE;
	rule->besides |= bridge * VNETX_PORT_VEPA;
	rule->barred |= told * ENDPOINT_HOST;
	rule->barred |= vepa * VNETX_PORT_PRIVATE;
	rule->barred |= others * ENDPOINT_MODES;
}

static __always_inline int flood_wanted(const struct flood_rule *rule, const struct vnetx_port *out,
					__u32 index)
{
	const __u32 elsewhere = ~flood_is_zero(rule->only) & ~flood_is_zero(index ^ rule->only) &
				flood_is_zero(out->flags & rule->besides);
	__u32 refused = ((out->flags & rule->wanted) ^ rule->wanted) | (out->flags & rule->barred);

	refused |= flood_is_zero(index ^ rule->skip) | flood_is_zero(index ^ rule->sender);
	refused |= elsewhere & 1;
	return !refused;
}

#endif
