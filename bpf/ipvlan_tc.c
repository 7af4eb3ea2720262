// SPDX-License-Identifier: GPL-2.0
/*
 * Endpoints that have their NIC's MAC address, in TC: what is for that address, and what they send.
 */
#include "ctx/skb.h"
#include "lib/ipvlan.h"

/* On the port of such an endpoint, before the pipeline. */
int vnetx_ipvlan(struct __sk_buff *ctx)
{
	int verdict = IPVLAN_DECIDE;

	if (likely(ctx->tc_index != VNETX_SWITCHED))
		verdict = ipvlan_from(ctx);
	if (verdict != IPVLAN_DECIDE)
		return verdict;
	tail_call(ctx, VNETX_MAP(TAIL), VNETX_TAIL_TC_INGRESS);
	return CTX_DROP;
}

int vnetx_ipvlan_to(struct __sk_buff *ctx)
{
	return ipvlan_to(ctx);
}
