/* SPDX-License-Identifier: GPL-2.0 */
/* Ports: by device, by index, and the predicates on them. */
#ifndef VNETX_PORT_H
#define VNETX_PORT_H

static __always_inline const struct vnetx_port *port_get(__u32 index)
{
	const struct vnetx_port *port = map_lookup(VNETX_MAP(PORTS), &index);

	return port && port->ifindex ? port : NULL;
}

/* Index of the port that @ifindex is, 0 if it is none. */
static __always_inline __u32 port_of(__u32 ifindex)
{
	const __u32 *index = map_lookup(VNETX_MAP(PORT_OF), &ifindex);

	return index ? *index : 0;
}

static __always_inline struct vnetx_port_state *port_state(__u32 index)
{
	return map_lookup(VNETX_MAP(PORT_STATE), &index);
}

/* The flag of ports by which a kind of frame is flooded. */
static __always_inline __u32 port_flood_flag(__u32 kind)
{
	switch (kind) {
	case VNETX_BUM_BROADCAST:
		return VNETX_PORT_FLOOD_BROADCAST;
	case VNETX_BUM_MULTICAST:
		return VNETX_PORT_FLOOD_MULTICAST;
	default:
		return VNETX_PORT_FLOOD_UNICAST;
	}
}

/*
 * Ports that both have one of these exchange nothing: isolated ones; the host's
 * sides, since the host is one place, however many devices lead to it; and VTEPs,
 * which are all connected (split horizon).
 */
#define PORT_PAIR_FLAGS (VNETX_PORT_ISOLATED | VNETX_PORT_HOST | VNETX_PORT_VTEP)

#endif
