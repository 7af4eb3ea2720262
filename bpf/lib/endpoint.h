/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Endpoints on a NIC, in the modes of the kernel's macvlan (macvlan.c): which of them, and who
 * else, gets what.  An endpoint's address stands in the FDB as the host's own do, and nothing
 * is learned from what it sends.
 *
 * As macvlan_queue_xmit() and macvlan_handle_frame() have it, but that the host reaches
 * endpoints (VNETX_PORT_NO_HOST: does not), and that what an endpoint in private mode sent, or
 * is sent by another endpoint, ends where the wire reflects it, unicast too.
 */
#ifndef VNETX_ENDPOINT_H
#define VNETX_ENDPOINT_H

#include "lib/fdb.h"
#include "lib/frame.h"
#include "lib/port.h"

#define ENDPOINT_MODES                                                                             \
	(VNETX_PORT_BRIDGE | VNETX_PORT_VEPA | VNETX_PORT_PRIVATE | VNETX_PORT_SOURCE)
/* Those that have all they send go by the wire. */
#define ENDPOINT_BY_WIRE (ENDPOINT_MODES & ~VNETX_PORT_BRIDGE)
/* Where the host's stack is. */
#define ENDPOINT_HOST (VNETX_PORT_HOST | VNETX_PORT_HOST_PORT)

/* The endpoint that sent what its own NIC has received: the wire reflected it.  0: none did. */
static __always_inline __u32 endpoint_reflected(const struct vnetx_fdb_key *src, __u32 in)
{
	const __u32 index = fdb_local(src);
	const struct vnetx_port *port = index ? port_get(index) : NULL;

	return port && port->parent == in && port->flags & ENDPOINT_MODES ? index : 0;
}

/* May a frame of known unicast go to @out without the wire? */
static __always_inline int endpoint_reaches(const struct vnetx_port *in,
					    const struct vnetx_port *out)
{
	const __u32 either = in->flags | out->flags;

	if (either & VNETX_PORT_NO_HOST && either & ENDPOINT_HOST)
		return 0;
	if (in->flags & VNETX_PORT_BRIDGE)
		return !(out->flags & ENDPOINT_BY_WIRE);
	return !(in->flags & ENDPOINT_MODES) || out->flags & ENDPOINT_HOST;
}

/*
 * Known unicast where one of the two is an endpoint; @in has not looked at the wire yet.
 * Returns a reason, or VNETX_OK and @frame->out as it is to be.
 */
static __always_inline __u32 endpoint_unicast(const struct vnetx_port *in,
					      const struct vnetx_port *out, struct frame *frame)
{
	const struct vnetx_port *sender;

	if (!endpoint_reaches(in, out)) {
		frame->out = in->flags & ENDPOINT_MODES ? in->parent : out->parent;
		return VNETX_OK;
	}
	if (out->flags & VNETX_PORT_SOURCE)
		return VNETX_ENDPOINT;
	sender = frame->reflected ? port_get(frame->reflected) : NULL;
	if (sender && (sender->flags | out->flags) & VNETX_PORT_PRIVATE)
		return VNETX_ENDPOINT;
	return VNETX_OK;
}

/* Endpoints that take frames of this source (lib/sources.h); NULL: none do. */
static __always_inline const struct vnetx_source *endpoint_sources(const struct vnetx_port *in,
								   const __u8 *src)
{
	struct vnetx_source_key key = {};

	if (in->flags & (ENDPOINT_MODES | VNETX_PORT_VTEP))
		return NULL;
	__builtin_memcpy(key.mac, src, ETH_ALEN);
	return map_lookup(VNETX_MAP(SOURCES), &key);
}

#endif
