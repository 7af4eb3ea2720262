/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The IP addresses by which endpoints with one MAC address are told apart (ipvlan_core.c).  Those
 * that were given to an endpoint are its own; others it has by being the first that uses them,
 * until it has not for the ageing time.
 */
#ifndef VNETX_ADDRESS_H
#define VNETX_ADDRESS_H

#include "lib/epoch.h"
#include "lib/fdb.h"
#include "lib/ip.h"
#include "lib/port.h"
#include "lib/stats.h"

#define ADDRESS_V4_MAPPED __constant_htonl(0xffff)

#define ADDRESS_ARP_KIND __constant_htonl(0x00010800)
#define ADDRESS_ARP_REQUEST __constant_htons(1)
#define ADDRESS_ARP_SENDER (ETH_HLEN + 14)
#define ADDRESS_ARP_TARGET (ETH_HLEN + 24)
#define ADDRESS_IP_PROTOCOL (ETH_HLEN + 9)
#define ADDRESS_IP_SOURCE (ETH_HLEN + IP_SOURCE)
#define ADDRESS_IP_TARGET (ETH_HLEN + 16)
#define ADDRESS_IP6_PROTOCOL (ETH_HLEN + 6)
#define ADDRESS_IP6_SOURCE (ETH_HLEN + 8)
#define ADDRESS_IP6_TARGET (ETH_HLEN + 24)
#define ADDRESS_ND_TYPE (ETH_HLEN + IP6_LEN)
#define ADDRESS_ND_TARGET (ADDRESS_ND_TYPE + 8)
#define ADDRESS_ND_SOLICITATION 135
#define ADDRESS_ND_ADVERTISEMENT 136

#define DHCP_TO_SERVER __constant_htonl(68 << 16 | 67)
#define DHCP_TO_CLIENT __constant_htonl(67 << 16 | 68)
#define DHCP_UDP (ETH_HLEN + IP_LEN)
#define DHCP_XID (DHCP_UDP + 8 + 4)
/* RFC 2131, section 2 and RFC 2132: what is behind the magic cookie. */
#define DHCP_OPTIONS (DHCP_UDP + 8 + 240)
#define DHCP_PAD 0
#define DHCP_CLIENT_ID 61
#define DHCP_END 255
/* Options, pads included, among which a client identifier is looked for. */
#define DHCP_OPTIONS_READ 64

enum address_of {
	/* Who sent it; of an advertisement, whose address it tells. */
	ADDRESS_SENDER,
	/* Who is to have it; of a solicitation, whose address it asks for. */
	ADDRESS_TARGET,
	/* Whose address a request for a neighbour asks for, and nothing of other frames. */
	ADDRESS_ASKED,
};

static __always_inline int address_v4(ctx_t *ctx, struct vnetx_neighbour_key *key, __u32 at)
{
	key->address[2] = ADDRESS_V4_MAPPED;
	return !bpf_skb_load_bytes(ctx, at, &key->address[3], 4);
}

static __always_inline int address_arp(ctx_t *ctx, struct vnetx_neighbour_key *key,
				       enum address_of whose)
{
	__be32 kind;
	__be16 op;

	if (bpf_skb_load_bytes(ctx, ETH_HLEN, &kind, sizeof(kind)) || kind != ADDRESS_ARP_KIND ||
	    bpf_skb_load_bytes(ctx, ETH_HLEN + 6, &op, sizeof(op)))
		return 0;
	if (whose == ADDRESS_ASKED && op != ADDRESS_ARP_REQUEST)
		return 0;
	return address_v4(ctx, key,
			  whose == ADDRESS_SENDER ? ADDRESS_ARP_SENDER : ADDRESS_ARP_TARGET);
}

static __always_inline int address_v6(ctx_t *ctx, struct vnetx_neighbour_key *key,
				      enum address_of whose)
{
	const __u8 told = whose == ADDRESS_SENDER ? ADDRESS_ND_ADVERTISEMENT
						  : ADDRESS_ND_SOLICITATION;
	__u32 at = whose == ADDRESS_SENDER ? ADDRESS_IP6_SOURCE : ADDRESS_IP6_TARGET;
	__u8 protocol, type = 0;

	if (bpf_skb_load_bytes(ctx, ADDRESS_IP6_PROTOCOL, &protocol, sizeof(protocol)))
		return 0;
	if (protocol == IP_ICMPV6 && !bpf_skb_load_bytes(ctx, ADDRESS_ND_TYPE, &type, 1) &&
	    type == told)
		at = ADDRESS_ND_TARGET;
	else if (whose == ADDRESS_ASKED)
		return 0;
	return !bpf_skb_load_bytes(ctx, at, key->address, sizeof(key->address));
}

/* Reads an address of a frame without a tag in the data; 0 where it has none. */
static __always_inline int address_read(ctx_t *ctx, struct vnetx_neighbour_key *key,
					enum address_of whose)
{
	if (ctx->protocol == __constant_htons(ETH_P_ARP))
		return address_arp(ctx, key, whose);
	if (ctx->protocol == __constant_htons(ETH_P_IPV6))
		return address_v6(ctx, key, whose);
	if (ctx->protocol != __constant_htons(ETH_P_IP) || whose == ADDRESS_ASKED)
		return 0;
	return address_v4(ctx, key,
			  whose == ADDRESS_SENDER ? ADDRESS_IP_SOURCE : ADDRESS_IP_TARGET);
}

static __always_inline int address_is_v4(const struct vnetx_neighbour_key *key)
{
	return !(key->address[0] | key->address[1]) && key->address[2] == ADDRESS_V4_MAPPED;
}

/* Nobody's, or a group's: no endpoint's. */
static __always_inline int address_is_no_host(const struct vnetx_neighbour_key *key)
{
	if (address_is_v4(key))
		return !key->address[3] || (key->address[3] & __constant_htonl(0xf0000000)) ==
						   __constant_htonl(0xe0000000);
	return ip_v6_zero(key->address) ||
	       (key->address[0] & __constant_htonl(0xff000000)) == __constant_htonl(0xff000000);
}

/* Signed, since another clock reading may be a moment ahead of the coarse one. */
static __always_inline __s64 address_age(const struct vnetx_address *known)
{
	return bpf_ktime_get_coarse_ns() - known->seen_ns;
}

/* Index of the endpoint that has an address, 0 if none has. */
static __always_inline __u32 address_owner(const struct vnetx_switch *sw,
					   const struct vnetx_neighbour_key *key)
{
	const struct vnetx_address *known = map_lookup(VNETX_MAP(ADDRESSES), key);

	if (!known || (!known->fixed && address_age(known) >= (__s64)sw->ageing_ns))
		return 0;
	return known->port;
}

/* ---------------------------------------------------------------- learning */

/* Reads the client identifier of a DHCP packet into a key; 0 if it has none. */
static __always_inline int address_dhcp_client(ctx_t *ctx, struct vnetx_dhcp_key *key)
{
	struct {
		__u8 code;
		__u8 length;
	} option;
	__u32 at = DHCP_OPTIONS;
	__u64 last;
	int i;

	for (i = 0; i < DHCP_OPTIONS_READ; i++) {
		if (bpf_skb_load_bytes(ctx, at, &option, sizeof(option)) || option.code == DHCP_END)
			return 0;
		if (option.code == DHCP_CLIENT_ID)
			break;
		at += option.code == DHCP_PAD ? 1 : sizeof(option) + option.length;
	}
	if (i == DHCP_OPTIONS_READ || !option.length)
		return 0;
	/* One less, that the verifier sees that it is not 0. */
	last = option.length - 1;
	if (last >= sizeof(key->client))
		last = sizeof(key->client) - 1;
	asm volatile("" : "+r"(last));
	if (bpf_skb_load_bytes(ctx, at + sizeof(option), key->client, last + 1))
		return 0;
	key->length = option.length;
	return 1;
}

/* Who sends this from no address yet is told apart by what the answer will carry. */
static __always_inline void address_note_dhcp(ctx_t *ctx, __u32 vid, __u32 index)
{
	struct vnetx_dhcp_key key = { .vid = vid };
	__be32 ports;

	if (ctx->protocol != __constant_htons(ETH_P_IP) ||
	    bpf_skb_load_bytes(ctx, DHCP_UDP, &ports, sizeof(ports)) || ports != DHCP_TO_SERVER ||
	    bpf_skb_load_bytes(ctx, DHCP_XID, &key.xid, sizeof(key.xid)))
		return;
	bpf_map_update_elem(VNETX_MAP(DHCP), &key, &index, BPF_ANY);
	if (address_dhcp_client(ctx, &key))
		bpf_map_update_elem(VNETX_MAP(DHCP), &key, &index, BPF_ANY);
}

/* Index of the endpoint that asked for what a DHCP server answers, 0 in other frames. */
static __always_inline __u32 address_asked_dhcp(ctx_t *ctx, __u32 vid)
{
	struct vnetx_dhcp_key any, key = { .vid = vid };
	const __u32 *index = NULL;
	__be32 ports;
	__u8 protocol;

	if (ctx->protocol != __constant_htons(ETH_P_IP) ||
	    bpf_skb_load_bytes(ctx, ADDRESS_IP_PROTOCOL, &protocol, sizeof(protocol)) ||
	    protocol != IP_UDP || bpf_skb_load_bytes(ctx, DHCP_UDP, &ports, sizeof(ports)) ||
	    ports != DHCP_TO_CLIENT || bpf_skb_load_bytes(ctx, DHCP_XID, &key.xid, sizeof(key.xid)))
		return 0;
	any = key;
	if (address_dhcp_client(ctx, &key))
		index = map_lookup(VNETX_MAP(DHCP), &key);
	if (!index)
		index = map_lookup(VNETX_MAP(DHCP), &any);
	return index ? *index : 0;
}

/* An endpoint has learned one more or less; the host may have as many as it has. */
static __always_inline void address_count(__u32 index, __s64 delta)
{
	const struct vnetx_port *port = port_get(index);

	if (port && port->flags & VNETX_PORT_IPVLAN)
		fdb_count_port(index, delta);
}

static __always_inline __u32 address_create(const struct vnetx_neighbour_key *key,
					    const struct vnetx_port *in, __u32 index)
{
	const struct vnetx_address new = { .seen_ns = bpf_ktime_get_coarse_ns(), .port = index };
	const __u32 limit = in->learn_limit ? in->learn_limit : VNETX_ADDRESSES_LEARNED;
	const struct vnetx_port_state *state = port_state(index);
	int err;

	if (in->flags & VNETX_PORT_IPVLAN && (!state || state->learned >= limit))
		return VNETX_LEARN_LIMIT;
	err = map_insert(VNETX_MAP(ADDRESSES), key, &new);
	if (!err)
		address_count(index, 1);
	return err == -E2BIG ? VNETX_FDB_FULL : VNETX_OK;
}

/* An address that another endpoint had learned, and has not used for long. */
static __always_inline __u32 address_move(struct vnetx_address *known, __u32 index)
{
	address_count(known->port, -1);
	address_count(index, 1);
	known->seen_ns = bpf_ktime_get_coarse_ns();
	known->port = index;
	epoch_advance();
	return VNETX_OK;
}

/*
 * Whose address is that of a frame that port @index sent, an endpoint or the host's side?
 * Returns VNETX_ADDRESS_TAKEN where it is another's, else VNETX_OK or what is to be noted.
 */
static __always_inline __u32 address_learn(ctx_t *ctx, const struct vnetx_switch *sw,
					   const struct vnetx_port *in, __u32 index, __u32 vid)
{
	struct vnetx_neighbour_key key = { .vid = vid };
	struct vnetx_address *known;

	if (!address_read(ctx, &key, ADDRESS_SENDER))
		return VNETX_OK;
	known = map_lookup(VNETX_MAP(ADDRESSES), &key);
	if (likely(known && known->port == index)) {
		if (!known->fixed && address_age(known) >= (__s64)sw->refresh_ns)
			known->seen_ns = bpf_ktime_get_coarse_ns();
		return VNETX_OK;
	}
	if (known) {
		if (known->fixed || address_age(known) < (__s64)sw->ageing_ns)
			return VNETX_ADDRESS_TAKEN;
		return address_move(known, index);
	}
	if (address_is_no_host(&key)) {
		address_note_dhcp(ctx, vid, index);
		return VNETX_OK;
	}
	return address_create(&key, in, index);
}

#endif
