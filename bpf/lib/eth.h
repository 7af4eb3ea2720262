/* SPDX-License-Identifier: GPL-2.0 */
/* MAC addresses. */
#ifndef VNETX_ETH_H
#define VNETX_ETH_H

static __always_inline int eth_is_group(const __u8 *mac)
{
	return mac[0] & 1;
}

static __always_inline int eth_is_zero(const __u8 *mac)
{
	return !(mac[0] | mac[1] | mac[2] | mac[3] | mac[4] | mac[5]);
}

static __always_inline int eth_is_broadcast(const __u8 *mac)
{
	return (mac[0] & mac[1] & mac[2] & mac[3] & mac[4] & mac[5]) == 0xff;
}

static __always_inline int eth_equal(const __u8 *a, const __u8 *b)
{
	return !((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) | (a[4] ^ b[4]) |
		 (a[5] ^ b[5]));
}

/* 802.1Q-2018 Table 8-1: the sixteen addresses that no bridge relays. */
static __always_inline int eth_is_link_local(const __u8 *mac)
{
	return mac[0] == 0x01 && mac[1] == 0x80 && mac[2] == 0xc2 && !mac[3] && !mac[4] &&
	       mac[5] < 0x10;
}

#endif
