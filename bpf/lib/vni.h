/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which VNI a VLAN is (RFC 7348).  VTEPs are ports without a device of their own
 * (VNETX_PORT_VTEP).
 */
#ifndef VNETX_VNI_H
#define VNETX_VNI_H

/* The third word of an IPv4 address that stands in an IPv6 one. */
#define VTEP_IPV4_MAPPED __constant_htonl(0xffff)

/* The VNI of a VLAN, NULL where it has none. */
static __always_inline const struct vnetx_vni *vni_of(__u32 vid)
{
	const struct vnetx_vni *vni = map_lookup(VNETX_MAP(VNIS), &vid);

	return vni && vni->vni ? vni : NULL;
}

#endif
