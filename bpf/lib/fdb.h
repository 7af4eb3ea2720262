/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The FDB: learning, ageing, lookup (802.1D-2004 7.8, 7.9; br_fdb.c).
 *
 * An entry that was not refreshed for the ageing time is no entry: lookups
 * treat it as unknown.  Its memory comes back without a process: learned
 * entries stand in a queue (the clock), and whoever learns a new address
 * looks at two from its head, drops what has aged and requeues the rest.
 */
#ifndef VNETX_FDB_H
#define VNETX_FDB_H

#include "lib/epoch.h"
#include "lib/event.h"
#include "lib/port.h"
#include "lib/stats.h"
#include "lib/vni.h"

#define FDB_FIXED (VNETX_FDB_STATIC | VNETX_FDB_LOCAL)

/* Elements of the clock looked at for each new address, and when the FDB is full. */
#define FDB_CLOCK_STEPS 2
#define FDB_CLOCK_STEPS_FULL 16

static __always_inline struct vnetx_fdb_entry *fdb_lookup(const struct vnetx_fdb_key *key)
{
	return map_lookup(VNETX_MAP(FDB), key);
}

/* Signed, since another clock reading may be a moment ahead of the coarse one. */
static __always_inline int fdb_aged(const struct vnetx_switch *sw,
				    const struct vnetx_fdb_entry *entry, __u64 now)
{
	return !(entry->flags & FDB_FIXED) && (__s64)(now - entry->seen_ns) >= (__s64)sw->ageing_ns;
}

static __always_inline void fdb_count_port(__u32 port, __s64 delta)
{
	struct vnetx_port_state *state = port_state(port);

	if (state)
		__sync_fetch_and_add(&state->learned, delta);
}

/* A learned entry came (1) or went (-1). */
static __always_inline void fdb_count(__u32 bd, __u32 port, __s64 delta)
{
	struct vnetx_bd_state *domain = map_lookup(VNETX_MAP(BD_STATE), &bd);

	if (domain)
		__sync_fetch_and_add(&domain->learned, delta);
	fdb_count_port(port, delta);
}

/* Puts a learned entry into the clock under a number that is not 0. */
static __always_inline __u32 fdb_clock_push(const struct vnetx_fdb_key *key)
{
	struct vnetx_fdb_tick tick = {
		.key = *key,
		.generation = bpf_get_prandom_u32() | 1,
	};

	return bpf_map_push_elem(VNETX_MAP(FDB_CLOCK), &tick, 0) ? 0 : tick.generation;
}

/* Looks at the head of the clock.  Returns 1 when that gave an entry's memory back, -1 without one. */
static __always_inline int fdb_clock_step(const struct vnetx_switch *sw, __u64 now)
{
	struct vnetx_fdb_tick tick;
	struct vnetx_fdb_entry *entry;
	__u16 port;

	if (bpf_map_pop_elem(VNETX_MAP(FDB_CLOCK), &tick))
		return -1;
	entry = fdb_lookup(&tick.key);
	if (!entry || entry->generation != tick.generation || (entry->flags & FDB_FIXED))
		return 0;
	if (!fdb_aged(sw, entry, now)) {
		bpf_map_push_elem(VNETX_MAP(FDB_CLOCK), &tick, 0);
		return 0;
	}
	port = entry->port;
	if (bpf_map_delete_elem(VNETX_MAP(FDB), &tick.key))
		return 0;
	fdb_count(tick.key.bd, port, -1);
	event_fdb(sw, now, VNETX_EVENT_AGE, &tick.key, port, port);
	return 1;
}

/*
 * Port behind which the host's own address is, 0 for another one: it stands in the
 * table once, under domain 0, and is the host's in every VLAN.
 */
static __always_inline __u32 fdb_local(const struct vnetx_fdb_key *key)
{
	struct vnetx_fdb_key own = *key;
	const struct vnetx_fdb_entry *entry;

	own.bd = 0;
	entry = fdb_lookup(&own);
	return entry && (entry->flags & VNETX_FDB_LOCAL) ? entry->port : 0;
}

static __always_inline int fdb_over_limit(const struct vnetx_port *port, __u32 index)
{
	struct vnetx_port_state *state;

	if (likely(!port->learn_limit))
		return 0;
	state = port_state(index);
	return state && state->learned >= port->learn_limit;
}

/* VTEPs teach no more in a domain whose VNI has a limit. */
static __always_inline int fdb_over_vni_limit(const struct vnetx_port *port, __u32 bd)
{
	const struct vnetx_bd_state *domain;
	const struct vnetx_vni *vni;

	if (likely(!(port->flags & VNETX_PORT_VTEP)))
		return 0;
	vni = vni_of(bd);
	if (!vni || !vni->learn_limit)
		return 0;
	domain = map_lookup(VNETX_MAP(BD_STATE), &bd);
	return domain && domain->learned >= vni->learn_limit;
}

/* A source address that is new.  Returns a reason to note, or VNETX_OK. */
static __always_inline __u32 fdb_create(const struct vnetx_switch *sw,
					const struct vnetx_fdb_key *key,
					const struct vnetx_port *port, __u32 index, __u64 now)
{
	struct vnetx_fdb_entry entry = { .seen_ns = now, .port = index };
	int err, i;

#pragma clang loop unroll(disable)
	for (i = 0; i < FDB_CLOCK_STEPS; i++)
		fdb_clock_step(sw, now);
	if (fdb_over_limit(port, index) || fdb_over_vni_limit(port, key->bd))
		return VNETX_LEARN_LIMIT;
	entry.generation = fdb_clock_push(key);
	err = map_insert(VNETX_MAP(FDB), key, &entry);
	if (unlikely(err == -E2BIG)) {
#pragma clang loop unroll(disable)
		for (i = 0; i < FDB_CLOCK_STEPS_FULL && !fdb_clock_step(sw, now); i++)
			;
		err = map_insert(VNETX_MAP(FDB), key, &entry);
	}
	if (unlikely(err == -E2BIG))
		return VNETX_FDB_FULL;
	/* -EEXIST: another CPU was first; -EBUSY, -ENOMEM: the next frame tries again. */
	if (err)
		return VNETX_OK;
	fdb_count(key->bd, index, 1);
	stats_learned(index);
	event_fdb(sw, now, VNETX_EVENT_LEARN, key, index, index);
	return VNETX_OK;
}

/* A source address that has an entry on another port. */
static __always_inline __u32 fdb_move(const struct vnetx_switch *sw,
				      const struct vnetx_fdb_key *key,
				      struct vnetx_fdb_entry *entry, const struct vnetx_port *port,
				      __u32 index, __u64 now)
{
	__u16 old = entry->port;

	if (entry->flags & VNETX_FDB_LOCAL)
		return VNETX_OWN_SOURCE;
	if (entry->flags & VNETX_FDB_STATIC) {
		if ((entry->flags & VNETX_FDB_STICKY) || !(sw->flags & VNETX_SWITCH_STATIC_MOVE))
			return VNETX_STATIC_ELSEWHERE;
	} else {
		if (fdb_over_limit(port, index))
			return VNETX_LEARN_LIMIT;
		fdb_count_port(old, -1);
		fdb_count_port(index, 1);
	}
	entry->seen_ns = now;
	entry->port = index;
	epoch_advance();
	stats_moved(index);
	event_fdb(sw, now, VNETX_EVENT_MOVE, key, index, old);
	return VNETX_OK;
}

/*
 * Learns that @key is behind port @index.  A steady flow writes nothing until
 * its entry is refresh_ns old, which is @until; what is new has to be looked at
 * again at once.  Returns a reason to note, or VNETX_OK.
 */
static __always_inline __u32 fdb_learn(const struct vnetx_switch *sw,
				       const struct vnetx_fdb_key *key,
				       const struct vnetx_port *port, __u32 index, __u64 now,
				       __u64 *until)
{
	struct vnetx_fdb_entry *entry = fdb_lookup(key);
	__u32 local;

	if (unlikely(!entry && key->bd)) {
		local = fdb_local(key);
		if (local)
			return local == index ? VNETX_OK : VNETX_OWN_SOURCE;
	}
	*until = now;
	if (unlikely(!entry))
		return fdb_create(sw, key, port, index, now);
	if (unlikely(entry->port != index))
		return fdb_move(sw, key, entry, port, index, now);
	if (unlikely((__s64)(now - entry->seen_ns) >= (__s64)sw->refresh_ns)) {
		entry->seen_ns = now;
		/* Loaded from a file: nothing has put it into the clock yet. */
		if (!entry->generation && !(entry->flags & FDB_FIXED))
			entry->generation = fdb_clock_push(key);
	}
	*until = entry->seen_ns + sw->refresh_ns;
	return VNETX_OK;
}

/*
 * Index of the port behind which @key is, 0 if unknown or aged.  That holds
 * @until then, if not for less.
 */
static __always_inline __u32 fdb_port(const struct vnetx_switch *sw,
				      const struct vnetx_fdb_key *key, __u64 now, __u64 *until)
{
	const struct vnetx_fdb_entry *entry = fdb_lookup(key);

	if (unlikely(!entry || fdb_aged(sw, entry, now)))
		return 0;
	if (!(entry->flags & FDB_FIXED) && *until > entry->seen_ns + sw->ageing_ns)
		*until = entry->seen_ns + sw->ageing_ns;
	return entry->port;
}

#endif
