/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A hash of the flow that a frame is of, where the kernel has none (XDP), or another one
 * (TC, of frames that XDP left to it).
 */
#ifndef VNETX_INNER_HASH_H
#define VNETX_INNER_HASH_H

#include "lib/ip.h"

static __always_inline __u32 inner_mix(__u32 hash, __u32 word)
{
	hash = (hash ^ word) * 0x9e3779b1;
	return hash ^ hash >> 15;
}

static __always_inline int inner_has_ports(__u8 protocol)
{
	return protocol == IP_TCP || protocol == IP_UDP || protocol == IP_SCTP;
}

/*
 * Of addresses, protocol and ports of the IP packet that is behind @offset bytes of link
 * layer headers, of whatever of them there is; of the frame's addresses without one.
 * Fragments have no ports.  Never 0.
 */
static __always_inline __u32 inner_hash(ctx_t *ctx, __u32 offset)
{
	const __u32 *eth = ctx_data(ctx);
	const void *ip = ctx_data(ctx) + offset, *end = ctx_data_end(ctx);
	const __u32 *word = ip;
	__u32 hash = 0, i;
	__be16 type;

	if (ip > end)
		return 1;
	type = *(const __be16 *)(ip - sizeof(type));
	if (type == __constant_htons(ETH_P_IP) && ip + 24 <= end) {
		hash = inner_mix(inner_mix(word[2] >> 8 & 0xff, word[3]), word[4]);
		if (*(const __u8 *)ip == IP_VERSION_IHL && !(word[1] & __constant_htonl(0x3fff)) &&
		    inner_has_ports(*(const __u8 *)(ip + 9)))
			hash = inner_mix(hash, word[5]);
	} else if (type == __constant_htons(ETH_P_IPV6) && ip + 44 <= end) {
		hash = *(const __u8 *)(ip + 6);
#pragma clang loop unroll(full)
		for (i = 2; i < 10; i++)
			hash = inner_mix(hash, word[i]);
		if (inner_has_ports(*(const __u8 *)(ip + 6)))
			hash = inner_mix(hash, word[10]);
	} else {
		hash = inner_mix(inner_mix(inner_mix(type, eth[0]), eth[1]), eth[2]);
	}
	return hash | 1;
}

#endif
