/* SPDX-License-Identifier: GPL-2.0 */
/* Headers that programs write: so laid out that the words of IP stand on their boundaries. */
#ifndef VNETX_IP_H
#define VNETX_IP_H

#define IP_VERSION_IHL 0x45 /* version 4, five words */
#define IP_LEN 20
/* Where the addresses stand, the destination behind the source. */
#define IP_SOURCE 12
#define IP6_LEN 40
#define IP6_VERSION __constant_htonl(0x60000000)

#define IP_TCP 6
#define IP_UDP 17
#define IP_SCTP 132
#define IP_ICMP 1
#define IP_ICMPV6 58

/* The frame begins behind the padding. */
struct ip_ethernet {
	__u16 pad;
	__u8 dst[ETH_ALEN];
	__u8 src[ETH_ALEN];
	__be16 proto;
};

struct ip_v4 {
	__u8 version_ihl;
	__u8 tos;
	__be16 tot_len;
	__be16 id;
	__be16 frag_off;
	__u8 ttl;
	__u8 protocol;
	__u16 check;
	__be32 saddr;
	__be32 daddr;
};

struct ip_v6 {
	__be32 version;
	__be16 payload_len;
	__u8 protocol;
	__u8 hop_limit;
	__be32 saddr[4];
	__be32 daddr[4];
};

/* A ones' complement sum in 16 bits; 0xffff where the checksum in what was summed is right. */
static __always_inline __u32 ip_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* The same of the five words of an IPv4 header. */
static __always_inline __u32 ip_sum(const __u32 *words)
{
	return ip_fold((__u64)words[0] + words[1] + words[2] + words[3] + words[4]);
}

/* Of a whole struct, whose length is a multiple of four. */
static __always_inline __u64 ip_sum_of(const void *from, __u32 len)
{
	return (__u32)bpf_csum_diff(NULL, 0, (void *)from, len, 0);
}

static __always_inline int ip_v6_zero(const __be32 *address)
{
	return !(address[0] | address[1] | address[2] | address[3]);
}

#endif
