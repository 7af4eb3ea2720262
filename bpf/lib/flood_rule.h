/* SPDX-License-Identifier: GPL-2.0 */
/* Which ports a flooded frame goes to, and what is noted meanwhile. */
#ifndef VNETX_FLOOD_RULE_H
#define VNETX_FLOOD_RULE_H

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
	/* The port that gets no copy: where the frame came from, or none. */
	__u32 skip;
};

static __always_inline struct flood_rule flood_rule_of(const struct vnetx_port *in, __u32 index,
						       __u32 flag)
{
	struct flood_rule rule = {
		.wanted = VNETX_PORT_UP | flag,
		.barred = in->flags & PORT_PAIR_FLAGS,
		.skip = in->flags & VNETX_PORT_HAIRPIN ? 0 : index,
	};

	return rule;
}

static __always_inline int flood_wanted(const struct flood_rule *rule, const struct vnetx_port *out,
					__u32 index)
{
	return (out->flags & rule->wanted) == rule->wanted && !(out->flags & rule->barred) &&
	       index != rule->skip;
}

#endif
