// SPDX-License-Identifier: GPL-2.0
/* Endpoints that take all frames of some sources: copies for them, beside what the relay does. */
#include "ctx/skb.h"
#include "lib/sources.h"

int vnetx_sources(struct __sk_buff *ctx)
{
	return sources(ctx);
}
