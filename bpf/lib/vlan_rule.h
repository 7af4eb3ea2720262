/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Rules: the VLAN of a frame whose tag names none, by its source address, its
 * source's IP subnet or its protocol, in this order; of several rules of a kind
 * the one with the longest prefix.  Where none fits, it is the port's PVID
 * (802.1Q-2018 6.12 has those by protocol; the others are every vendor's).
 */
#ifndef VNETX_VLAN_RULE_H
#define VNETX_VLAN_RULE_H

#include "lib/frame.h"
#include "lib/tag.h"

/* Hardware type; <linux/if_arp.h> would bring half of the kernel's headers. */
#define ARP_ETHERNET 1

#define VLAN_RULE(KIND) (1U << VNETX_VLAN_RULE_##KIND)
/* Rules that look at more than the addresses of a frame. */
#define VLAN_RULES_BY_CONTENT (VLAN_RULE(IPV4) | VLAN_RULE(IPV6) | VLAN_RULE(PROTOCOL))

/* The head of an ARP packet; the sender's hardware and protocol address follow. */
struct vlan_rule_arp {
	__be16 hardware, protocol;
	__u8 hardware_len, protocol_len;
	__be16 operation;
};

#define VLAN_RULE_IPV4_SOURCE 12
#define VLAN_RULE_IPV6_SOURCE 8

/* The VID of the rule with the longest prefix of this kind, 0 without one. */
static __always_inline __u32 vlan_rule(struct vnetx_vlan_rule_key *key, __u32 kind)
{
	const __u32 *vid;

	key->prefix_len = 8 * (sizeof(*key) - sizeof(key->prefix_len));
	key->kind = kind;
	vid = map_lookup(VNETX_MAP(VLAN_RULES), key);
	return vid ? *vid : 0;
}

static __always_inline __u32 vlan_rule_mac(const struct frame *frame)
{
	struct vnetx_vlan_rule_key key = {};

	__builtin_memcpy(key.data, frame->src.mac, ETH_ALEN);
	return vlan_rule(&key, VNETX_VLAN_RULE_MAC);
}

/* Where the sender's address stands in a packet of ARP for IPv4 over Ethernet, 0 in others. */
static __always_inline __u32 vlan_rule_arp_source(ctx_t *ctx, __u32 payload)
{
	struct vlan_rule_arp arp;

	if (ctx_load(ctx, payload, &arp, sizeof(arp)) ||
	    arp.hardware != __constant_htons(ARP_ETHERNET) ||
	    arp.protocol != __constant_htons(ETH_P_IP) || arp.hardware_len != ETH_ALEN ||
	    arp.protocol_len != 4)
		return 0;
	return payload + sizeof(arp) + ETH_ALEN;
}

static __always_inline __u32 vlan_rule_subnet(ctx_t *ctx, __be16 protocol, __u32 payload)
{
	struct vnetx_vlan_rule_key key = {};
	__u32 kind = VNETX_VLAN_RULE_IPV4, at = payload + VLAN_RULE_IPV4_SOURCE;

	if (protocol == __constant_htons(ETH_P_IPV6)) {
		kind = VNETX_VLAN_RULE_IPV6;
		if (ctx_load(ctx, payload + VLAN_RULE_IPV6_SOURCE, key.data, 16))
			return 0;
	} else {
		if (protocol == __constant_htons(ETH_P_ARP))
			at = vlan_rule_arp_source(ctx, payload);
		else if (protocol != __constant_htons(ETH_P_IP))
			return 0;
		if (!at || ctx_load(ctx, at, key.data, 4))
			return 0;
	}
	return vlan_rule(&key, kind);
}

static __always_inline __u32 vlan_rule_protocol(__be16 protocol)
{
	struct vnetx_vlan_rule_key key = {};

	__builtin_memcpy(key.data, &protocol, sizeof(protocol));
	return vlan_rule(&key, VNETX_VLAN_RULE_PROTOCOL);
}

/*
 * By what the frame carries: behind a priority tag, which names no VLAN; a tag
 * that the port does not heed is what it carries.
 */
static __always_inline __u32 vlan_rule_content(ctx_t *ctx, __u32 rules, const struct frame *frame)
{
	__u32 at = ETH_HLEN - sizeof(__be16), vid = 0;
	__be16 protocol;

	if (frame->tag.key && !frame->counts)
		return vlan_rule_protocol(__constant_htons(tag_tpid(&frame->tag)));
	if (frame->tag.key && !ctx_tag_beside(ctx))
		at += TAG_LEN;
	if (ctx_load(ctx, at, &protocol, sizeof(protocol)))
		return 0;
	if (rules & (VLAN_RULE(IPV4) | VLAN_RULE(IPV6)))
		vid = vlan_rule_subnet(ctx, protocol, at + sizeof(protocol));
	return vid ? vid : vlan_rule_protocol(protocol);
}

/* The VLAN of a frame whose tag names none, 0 if nothing says one. */
static __always_inline __u32 vlan_of_untagged(ctx_t *ctx, const struct vnetx_switch *sw,
					      const struct vnetx_port *in, struct frame *frame)
{
	__u32 vid = 0;

	if (likely(!sw->vlan_rules))
		return in->pvid;
	if (sw->vlan_rules & VLAN_RULE(MAC))
		vid = vlan_rule_mac(frame);
	if (!vid && sw->vlan_rules & VLAN_RULES_BY_CONTENT) {
		frame->lone = 1;
		vid = vlan_rule_content(ctx, sw->vlan_rules, frame);
	}
	return vid ? vid : in->pvid;
}

#endif
