/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Clamping of TCP's maximum segment size (RFC 9293, 3.7.1) to what a VTEP has room for, on
 * the SYN of either side: for hosts whose path MTU discovery does not work.
 */
#ifndef VNETX_CLAMP_MSS_H
#define VNETX_CLAMP_MSS_H

#include "lib/ip.h"

#define CLAMP_TCP_LEN 20
#define CLAMP_OPTIONS_MAX 40
#define CLAMP_FLAGS_AT 13
#define CLAMP_SYN 0x02
#define CLAMP_END 0
#define CLAMP_NOP 1
#define CLAMP_MSS 2
#define CLAMP_MSS_LEN 4

/*
 * May the packet at @ip, of that type, be a SYN?  With what stands between its headers it is
 * taken for one.
 */
static __always_inline int clamp_maybe_syn(const __u8 *ip, const void *end, __be16 type)
{
	if (type == __constant_htons(ETH_P_IP)) {
		if ((const void *)ip + IP_LEN > end || ip[9] != IP_TCP)
			return 0;
		if (ip[0] != IP_VERSION_IHL)
			return 1;
		ip += IP_LEN;
	} else if (type == __constant_htons(ETH_P_IPV6)) {
		if ((const void *)ip + IP6_LEN > end || ip[6] != IP_TCP)
			return 0;
		ip += IP6_LEN;
	} else {
		return 0;
	}
	return (const void *)ip + CLAMP_TCP_LEN > end || ip[CLAMP_FLAGS_AT] & CLAMP_SYN;
}

#endif
