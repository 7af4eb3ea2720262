/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Storm limits: the generic cell rate algorithm (ITU-T I.371, virtual
 * scheduling), one word of state a limiter.  A second's worth may come at once.
 * Two CPUs that race may both pass; the limit is of a rate, not of a count.
 */
#ifndef VNETX_STORM_H
#define VNETX_STORM_H

#include "lib/port.h"

#define NSEC_PER_SEC 1000000000ULL

static __always_inline int storm_exceeded(const struct vnetx_port *port, __u32 index, __u32 kind,
					  __u32 frames, __u64 now)
{
	struct vnetx_port_state *state;
	__u64 interval, tat;

	if (likely(!(port->flags & VNETX_PORT_STORM)) || kind >= VNETX_BUM_KINDS ||
	    !port->storm_pps[kind])
		return 0;
	state = port_state(index);
	if (!state)
		return 0;
	interval = NSEC_PER_SEC / port->storm_pps[kind];
	tat = state->storm_tat[kind];
	if (tat < now)
		tat = now;
	if (tat + interval * frames > now + NSEC_PER_SEC)
		return 1;
	state->storm_tat[kind] = tat + interval * frames;
	return 0;
}

#endif
