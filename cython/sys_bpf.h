/* SPDX-License-Identifier: Apache-2.0 */
/* bpf(2) itself: glibc has no wrapper, and Debian 12's headers end at Linux 6.1. */
#ifndef VNETX_SYS_BPF_H
#define VNETX_SYS_BPF_H

#include <linux/bpf.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline long sys_bpf(int command, union bpf_attr *attr)
{
	return syscall(__NR_bpf, command, attr, sizeof(*attr));
}

/* Linux 6.6; the numbers are ABI. */
#define VNETX_BPF_TCX_INGRESS 46
#define VNETX_BPF_TCX_EGRESS 47
#define VNETX_BPF_LINK_TYPE_TCX 11

/* Linux 5.14 */
#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

#endif
