# cython: language_level=3, embedsignature=True, boundscheck=False, wraparound=False
"""Which ports are in which VLANs, by batches: what would be thousands of small calls in Python."""
import os

from libc.errno cimport ENOENT, errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

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


cdef class Vlans:
    """The map from VID to ports, in hand: read whole, changed, and what changed written."""
    cdef int fd
    cdef uint32_t *vids
    cdef vnetx_vlan *room
    cdef vnetx_vlan *vlans
    cdef uint8_t *there
    cdef uint8_t *changed

    def __cinit__(self, int fd):
        self.fd = fd
        self.vids = <uint32_t *>calloc(VIDS, sizeof(uint32_t))
        self.room = <vnetx_vlan *>calloc(VIDS, sizeof(vnetx_vlan))
        self.vlans = <vnetx_vlan *>calloc(VIDS, sizeof(vnetx_vlan))
        self.there = <uint8_t *>calloc(VIDS, 1)
        self.changed = <uint8_t *>calloc(VIDS, 1)
        if (self.vids == NULL or self.room == NULL or self.vlans == NULL or self.there == NULL or
                self.changed == NULL):
            raise MemoryError

    def __dealloc__(self):
        free(self.vids)
        free(self.room)
        free(self.vlans)
        free(self.there)
        free(self.changed)

    cdef int read(self) noexcept nogil:
        """0, or -1 with errno."""
        cdef uint64_t token[8]
        cdef void *in_batch = NULL
        cdef uint32_t count, i
        cdef int result = 0
        while result == 0:
            count = VIDS
            result = sys_map_batch(BPF_MAP_LOOKUP_BATCH, self.fd, in_batch, token, self.vids,
                                   self.room, &count, 0)
            if result < 0 and errno != ENOENT:
                return -1
            for i in range(count):
                memcpy(&self.vlans[self.vids[i] % VIDS], &self.room[i], sizeof(vnetx_vlan))
                self.there[self.vids[i] % VIDS] = 1
            in_batch = token
        return 0

    cdef void put(self, uint32_t port, const uint8_t *member, const uint8_t *untagged) noexcept nogil:
        """The port in its VLANs, and in no others."""
        cdef uint32_t vid
        cdef int is_in
        for vid in range(VIDS):
            is_in = bit_of(member, vid)
            if is_in or self.there[vid]:
                self.changed[vid] |= put_bit(<uint64_t *>self.vlans[vid].member, port, is_in)
                self.changed[vid] |= put_bit(<uint64_t *>self.vlans[vid].untagged, port,
                                             is_in and bit_of(untagged, vid))

    cdef int write(self, bint empty) noexcept nogil:
        """The VLANs that changed: those without ports, which go, or the others.  0, or -1 with
        errno."""
        cdef uint32_t vid, count = 0
        for vid in range(VIDS):
            if self.changed[vid] and is_empty(&self.vlans[vid]) == empty:
                self.vids[count] = vid
                memcpy(&self.room[count], &self.vlans[vid], sizeof(vnetx_vlan))
                count += 1
        if not count:
            return 0
        return sys_map_batch(BPF_MAP_DELETE_BATCH if empty else BPF_MAP_UPDATE_BATCH, self.fd,
                             NULL, NULL, self.vids, NULL if empty else self.room, &count, 0)


def set_members(int fd, ports not None):
    """Put ports into VLANs, and out of all others that they are in.

    `ports` are (index, bytes of a struct vnetx_port_vlans).  It starts from what the map from VID
    to ports has, so that it also completes what a killed command has begun; a VLAN that loses its
    last port loses its element.
    """
    cdef Vlans vlans = Vlans(fd)
    cdef const uint8_t *sets
    cdef uint32_t half = sizeof(vnetx_port_vlans) // 2
    cdef int result
    with nogil:
        result = vlans.read()
    if result == 0:
        for port, raw in ports:
            if <size_t>len(raw) != sizeof(vnetx_port_vlans):
                raise ValueError("not the VLANs of a port")
            sets = <bytes>raw
            vlans.put(port, sets, sets + half)
        with nogil:
            result = vlans.write(False)
            if result == 0:
                result = vlans.write(True)
    if result < 0:
        raise OSError(errno, f"changing the ports of VLANs: {os.strerror(errno)}")
