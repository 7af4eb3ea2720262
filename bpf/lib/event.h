/* SPDX-License-Identifier: GPL-2.0 */
/* FDB events for whoever watches; nothing is sent while nobody does. */
#ifndef VNETX_EVENT_H
#define VNETX_EVENT_H

#include "lib/switch.h"

static __always_inline void event_fdb(const struct vnetx_switch *sw, __u64 now, __u32 kind,
				      const struct vnetx_fdb_key *key, __u16 port, __u16 old_port)
{
	struct vnetx_event event = {
		.time_ns = now,
		.key = *key,
		.kind = kind,
		.port = port,
		.old_port = old_port,
	};
	struct vnetx_switch_state *state;

	if (likely(sw->watch_until_ns <= now))
		return;
	if (!bpf_ringbuf_output(VNETX_MAP(EVENTS), &event, sizeof(event), 0))
		return;
	state = switch_state();
	if (state)
		__sync_fetch_and_add(&state->events_lost, 1);
}

#endif
