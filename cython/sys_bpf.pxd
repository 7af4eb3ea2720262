"""bpf(2) as the extensions use it; the C compiler knows the members' places."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef extern from *:
    """
    #include "sys_bpf.h"

    static inline int sys_map_element(int command, int fd, const void *key, void *value,
                                      uint64_t flags)
    {
        union bpf_attr attr;

        memset(&attr, 0, sizeof(attr));
        attr.map_fd = fd;
        attr.key = (uint64_t)(uintptr_t)key;
        attr.value = (uint64_t)(uintptr_t)value;
        attr.flags = flags;
        return sys_bpf(command, &attr);
    }

    /* in_batch may be NULL to start; *count comes back as the number done. */
    static inline int sys_map_batch(int command, int fd, void *in_batch, void *out_batch,
                                    const void *keys, void *values, uint32_t *count,
                                    uint64_t elem_flags)
    {
        union bpf_attr attr;
        int result;

        memset(&attr, 0, sizeof(attr));
        attr.batch.in_batch = (uint64_t)(uintptr_t)in_batch;
        attr.batch.out_batch = (uint64_t)(uintptr_t)out_batch;
        attr.batch.keys = (uint64_t)(uintptr_t)keys;
        attr.batch.values = (uint64_t)(uintptr_t)values;
        attr.batch.count = *count;
        attr.batch.map_fd = fd;
        attr.batch.elem_flags = elem_flags;
        result = sys_bpf(command, &attr);
        *count = attr.batch.count;
        return result;
    }
    """
    int sys_map_element(int command, int fd, const void *key, void *value,
                        uint64_t flags) nogil
    int sys_map_batch(int command, int fd, void *in_batch, void *out_batch, const void *keys,
                      void *values, uint32_t *count, uint64_t elem_flags) nogil

    enum:
        BPF_MAP_CREATE
        BPF_MAP_LOOKUP_ELEM
        BPF_MAP_UPDATE_ELEM
        BPF_MAP_DELETE_ELEM
        BPF_MAP_GET_NEXT_KEY
        BPF_PROG_LOAD
        BPF_OBJ_PIN
        BPF_OBJ_GET
        BPF_PROG_TEST_RUN
        BPF_PROG_GET_NEXT_ID
        BPF_PROG_GET_FD_BY_ID
        BPF_LINK_GET_FD_BY_ID
        BPF_LINK_GET_NEXT_ID
        BPF_MAP_GET_FD_BY_ID
        BPF_OBJ_GET_INFO_BY_FD
        BPF_MAP_LOOKUP_AND_DELETE_ELEM
        BPF_MAP_LOOKUP_BATCH
        BPF_MAP_LOOKUP_AND_DELETE_BATCH
        BPF_MAP_UPDATE_BATCH
        BPF_MAP_DELETE_BATCH
        BPF_LINK_CREATE
        BPF_LINK_UPDATE
        BPF_LINK_DETACH
        BPF_ANY
        BPF_NOEXIST
        BPF_EXIST
