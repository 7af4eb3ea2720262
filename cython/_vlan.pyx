# cython: language_level=3, embedsignature=True
"""Which ports are in which VLAN, kept in step with the VLANs of each port."""
import os

from libc.errno cimport errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from abi cimport *
from sys_bpf cimport *

cdef enum:
    VIDS = 4096


cdef int bit_of(const uint8_t *bits, uint32_t n) noexcept nogil:
    return bits[n >> 3] >> (n & 7) & 1


cdef int put_bit(uint64_t *words, uint32_t n, int on) noexcept nogil:
    """Return whether that changed anything."""
    cdef uint64_t bit = <uint64_t>1 << (n & 63)
    cdef uint64_t before = words[n >> 6]
    words[n >> 6] = before | bit if on else before & ~bit
    return words[n >> 6] != before


cdef int is_empty(const vnetx_vlan *vlan) noexcept nogil:
    cdef uint32_t w
    for w in range(sizeof(vlan.member) // sizeof(vlan.member[0])):
        if vlan.member[w]:
            return 0
    return 1


cdef int put_port(int fd, uint32_t vid, uint32_t port, int member, int untagged) noexcept nogil:
    """The port in a VLAN, or not; a VLAN that loses its last port loses its element."""
    cdef vnetx_vlan vlan
    cdef int changed
    if sys_map_element(BPF_MAP_LOOKUP_ELEM, fd, &vid, &vlan, 0) < 0:
        memset(&vlan, 0, sizeof(vlan))
    changed = put_bit(<uint64_t *>vlan.member, port, member)
    changed |= put_bit(<uint64_t *>vlan.untagged, port, member and untagged)
    if not changed:
        return 0
    if is_empty(&vlan):
        return sys_map_element(BPF_MAP_DELETE_ELEM, fd, &vid, NULL, 0)
    return sys_map_element(BPF_MAP_UPDATE_ELEM, fd, &vid, &vlan, 0)


def set_members(int fd, uint32_t port, bytes vlans not None):
    """Put a port into the VLANs of a struct vnetx_port_vlans, and out of all others that it is in.

    It starts from what the map from VID to ports has, so that it also completes what a killed
    command has begun.
    """
    cdef const uint8_t *member = vlans
    cdef const uint8_t *untagged = member + sizeof(vnetx_port_vlans) // 2
    cdef uint8_t look[VIDS]
    cdef uint32_t key = 0, vid = 0
    cdef int result = 0
    cdef bint first = True
    if <size_t>len(vlans) != sizeof(vnetx_port_vlans):
        raise ValueError("not the VLANs of a port")
    memset(look, 0, VIDS)
    with nogil:
        while sys_map_element(BPF_MAP_GET_NEXT_KEY, fd, NULL if first else &key, &vid, 0) == 0:
            first = False
            key = vid
            look[vid % VIDS] = 1
        for vid in range(VIDS):
            if look[vid] or bit_of(member, vid):
                result = put_port(fd, vid, port, bit_of(member, vid), bit_of(untagged, vid))
                if result < 0:
                    break
    if result < 0:
        raise OSError(errno, f"changing the ports of VLAN {vid}: {os.strerror(errno)}")
