/* SPDX-License-Identifier: GPL-2.0 */
/* The switch's own settings and state: one array element each. */
#ifndef VNETX_SWITCH_H
#define VNETX_SWITCH_H

static __always_inline const struct vnetx_switch *switch_get(void)
{
	__u32 key = 0;

	return map_lookup(VNETX_MAP(SWITCH), &key);
}

static __always_inline struct vnetx_switch_state *switch_state(void)
{
	__u32 key = 0;

	return map_lookup(VNETX_MAP(SWITCH_STATE), &key);
}

#endif
