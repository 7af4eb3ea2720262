/* SPDX-License-Identifier: GPL-2.0 */
/* XDP's way out. */
#ifndef VNETX_SEND_XDP_H
#define VNETX_SEND_XDP_H

#include "lib/egress.h"
#include "lib/stats.h"

/*
 * Native XDP: to devices that take frames by ndo_xdp_xmit, in bulk.  A driver
 * that leaves no room for a tag leaves the frame to TC.
 */
static __always_inline int xdp_send(ctx_t *ctx, const struct vnetx_flow *flow, __u32 len, __u16 tci)
{
	if (unlikely(flow->how & EGRESS_RETAG) && egress_retag(ctx, flow, tci))
		return XDP_PASS;
	stats_rx(flow->in, 1, len);
	stats_vlan_rx(flow->vid, 1, len);
	len = egress_len(flow, len);
	/* A device that goes takes its place in the devmap with it. */
	if (unlikely(bpf_redirect_map(VNETX_MAP(DEVMAP), flow->out, XDP_DROP) != XDP_REDIRECT)) {
		stats_reason(flow->out, VNETX_EGRESS_GONE, 1);
		return XDP_DROP;
	}
	stats_tx(flow->out, 1, len);
	stats_vlan_tx(flow->vid, 1, len);
	return XDP_REDIRECT;
}

#endif
