# cython: language_level=3, embedsignature=True
"""Which ports are in which VLAN, kept in step with the VLANs of each port."""
import os

from libc.errno cimport errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from abi cimport *
from sys_bpf cimport *

cdef int bit_of(const uint8_t *bits, uint32_t n) noexcept nogil:
    return bits[n >> 3] >> (n & 7) & 1


cdef void put_bit(uint64_t *words, uint32_t n, int on) noexcept nogil:
    if on:
        words[n >> 6] |= <uint64_t>1 << (n & 63)
    else:
        words[n >> 6] &= ~(<uint64_t>1 << (n & 63))


def set_members(int fd, uint32_t port, bytes old not None, bytes new not None):
    """Bring the map from VID to ports up to date after the VLANs of a port have changed.

    `old` and `new` are values of the map from ports to VLANs (struct vnetx_port_vlans).  A VLAN
    that loses its last port loses its element.
    """
    cdef vnetx_vlan vlan
    cdef const uint8_t *was = old
    cdef const uint8_t *now = new
    cdef uint32_t vid, w
    cdef int member, untagged, result = 0, some
    cdef uint32_t half = sizeof(vnetx_port_vlans) // 2
    if <size_t>len(old) != sizeof(vnetx_port_vlans) or len(new) != len(old):
        raise ValueError("not the VLANs of a port")
    with nogil:
        for vid in range(8 * half):
            member, untagged = bit_of(now, vid), bit_of(now + half, vid)
            if member == bit_of(was, vid) and untagged == bit_of(was + half, vid):
                continue
            if sys_map_element(BPF_MAP_LOOKUP_ELEM, fd, &vid, &vlan, 0) < 0:
                memset(&vlan, 0, sizeof(vlan))
            put_bit(vlan.member, port, member)
            put_bit(vlan.untagged, port, member and untagged)
            some = 0
            for w in range(sizeof(vlan.member) // 8):
                if vlan.member[w]:
                    some = 1
                    break
            if some:
                result = sys_map_element(BPF_MAP_UPDATE_ELEM, fd, &vid, &vlan, 0)
            else:
                sys_map_element(BPF_MAP_DELETE_ELEM, fd, &vid, NULL, 0)
            if result < 0:
                break
    if result < 0:
        raise OSError(errno, f"changing the ports of VLAN {vid}: {os.strerror(errno)}")
