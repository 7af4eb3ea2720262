/* SPDX-License-Identifier: GPL-2.0 */
/* Counters of ports and of reasons; each CPU has its own. */
#ifndef VNETX_STATS_H
#define VNETX_STATS_H

static __always_inline struct vnetx_port_stats *stats_of(__u32 port)
{
	return map_lookup(VNETX_MAP(PORT_STATS), &port);
}

static __always_inline void stats_rx(__u32 port, __u32 frames, __u32 bytes)
{
	struct vnetx_port_stats *stats = stats_of(port);

	if (likely(stats)) {
		stats->rx_frames += frames;
		stats->rx_bytes += bytes;
	}
}

static __always_inline void stats_tx(__u32 port, __u32 frames, __u32 bytes)
{
	struct vnetx_port_stats *stats = stats_of(port);

	if (likely(stats)) {
		stats->tx_frames += frames;
		stats->tx_bytes += bytes;
	}
}

static __always_inline void stats_flooded(__u32 port, __u32 frames)
{
	struct vnetx_port_stats *stats = stats_of(port);

	if (likely(stats))
		stats->flooded += frames;
}

static __always_inline void stats_local(__u32 port, __u32 frames)
{
	struct vnetx_port_stats *stats = stats_of(port);

	if (likely(stats))
		stats->local += frames;
}

static __always_inline void stats_learned(__u32 port)
{
	struct vnetx_port_stats *stats = stats_of(port);

	if (likely(stats))
		stats->learned++;
}

static __always_inline void stats_moved(__u32 port)
{
	struct vnetx_port_stats *stats = stats_of(port);

	if (likely(stats))
		stats->moved++;
}

static __always_inline struct vnetx_vlan_stats *stats_of_vlan(__u32 vid)
{
	return vid ? map_lookup(VNETX_MAP(VLAN_STATS), &vid) : NULL;
}

static __always_inline void stats_vlan_rx(__u32 vid, __u32 frames, __u32 bytes)
{
	struct vnetx_vlan_stats *stats = stats_of_vlan(vid);

	if (stats) {
		stats->rx_frames += frames;
		stats->rx_bytes += bytes;
	}
}

static __always_inline void stats_vlan_tx(__u32 vid, __u32 frames, __u32 bytes)
{
	struct vnetx_vlan_stats *stats = stats_of_vlan(vid);

	if (stats) {
		stats->tx_frames += frames;
		stats->tx_bytes += bytes;
	}
}

/* The one place where a reason becomes a number; its element is made on first use. */
static __always_inline void stats_reason(__u32 port, __u32 reason, __u32 frames)
{
	struct vnetx_reason_key key = { .port = port, .reason = reason };
	__u64 *count = map_lookup(VNETX_MAP(REASONS), &key);

	if (unlikely(!count)) {
		__u64 zero = 0;

		map_insert(VNETX_MAP(REASONS), &key, &zero);
		count = map_lookup(VNETX_MAP(REASONS), &key);
		if (!count)
			return;
	}
	*count += frames;
}

#endif
