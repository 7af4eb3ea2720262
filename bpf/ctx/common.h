/* SPDX-License-Identifier: GPL-2.0 */
/* What both hooks need of bcc and the kernel before anything else. */
#ifndef VNETX_CTX_COMMON_H
#define VNETX_CTX_COMMON_H

#include <linux/types.h>
#include <uapi/linux/bpf.h>
#include <uapi/linux/errno.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/if_packet.h>
#include <uapi/linux/pkt_cls.h>
#include <vnetx/abi.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/*
 * A map by its number in abi.h: an instruction that the loader completes with
 * the descriptor of the switch's own map.  bcc's `map.lookup()` sugar works in
 * the main source text only and would make bcc create the maps.
 */
#define VNETX_MAP(ID) ((void *)bpf_pseudo_fd(1, VNETX_MAP_##ID))

static __always_inline void *map_lookup(void *map, const void *key)
{
	return bpf_map_lookup_elem(map, (void *)key);
}

static __always_inline int map_insert(void *map, const void *key, const void *value)
{
	return bpf_map_update_elem(map, (void *)key, (void *)value, BPF_NOEXIST);
}

/*
 * A pre-standard TPID (0x9100, 0x9200, 0x9300), host byte order.  The kernel keeps no such
 * tag beside the data, and to its helpers it is payload.
 */
static __always_inline int ctx_tpid_foreign(__u16 tpid)
{
	return (tpid & 0xf000) == 0x9000;
}

/* bcc knows tail calls as a method of its own tables only. */
static void (*const tail_call)(void *ctx, void *map, __u32 index) = (void *)BPF_FUNC_tail_call;

#endif
