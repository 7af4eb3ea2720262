/* SPDX-License-Identifier: GPL-2.0 */
/* The epoch: moves on whenever something changes that decisions are made from. */
#ifndef VNETX_EPOCH_H
#define VNETX_EPOCH_H

/*
 * User space writes the time, and the data plane counts on from it: no value
 * ever comes back.
 */
static __always_inline __u64 *epoch_get(void)
{
	__u32 key = 0;

	return map_lookup(VNETX_MAP(EPOCH), &key);
}

static __always_inline __u64 epoch_now(void)
{
	const __u64 *epoch = epoch_get();

	return epoch ? *epoch : 0;
}

static __always_inline void epoch_advance(void)
{
	__u64 *epoch = epoch_get();

	if (epoch)
		__sync_fetch_and_add(epoch, 1);
}

#endif
