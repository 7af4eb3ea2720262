# cython: language_level=3, embedsignature=True
"""bpf(2): maps, programs, links, pins and test runs, by file descriptor.

Bytes in, bytes out; what they mean is :mod:`vnetx._abi`'s business.  Every
function raises :class:`OSError` with the kernel's errno.  The GIL is released
wherever the kernel may take long.
"""
import os

from libc.errno cimport errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from sys_bpf cimport *

cdef extern from *:
    """
    #include <sys/socket.h>
    #include <errno.h>

    static int sys_map_create(uint32_t type, uint32_t key_size, uint32_t value_size,
                              uint32_t entries, uint32_t flags, const char *name)
    {
        union bpf_attr attr;

        memset(&attr, 0, sizeof(attr));
        attr.map_type = type;
        attr.key_size = key_size;
        attr.value_size = value_size;
        attr.max_entries = entries;
        attr.map_flags = flags;
        strncpy(attr.map_name, name, sizeof(attr.map_name) - 1);
        return sys_bpf(BPF_MAP_CREATE, &attr);
    }

    static int sys_obj(int command, const char *path, int fd)
    {
        union bpf_attr attr;

        memset(&attr, 0, sizeof(attr));
        attr.pathname = (uint64_t)(uintptr_t)path;
        attr.bpf_fd = fd;
        return sys_bpf(command, &attr);
    }

    static int sys_fd_by_id(int command, uint32_t id)
    {
        union bpf_attr attr;

        memset(&attr, 0, sizeof(attr));
        attr.prog_id = id;
        return sys_bpf(command, &attr);
    }

    static int sys_next_id(int command, uint32_t id, uint32_t *next)
    {
        union bpf_attr attr;
        int result;

        memset(&attr, 0, sizeof(attr));
        attr.start_id = id;
        result = sys_bpf(command, &attr);
        *next = attr.next_id;
        return result;
    }

    static int sys_obj_info(int fd, void *info, uint32_t *len)
    {
        union bpf_attr attr;
        int result;

        memset(&attr, 0, sizeof(attr));
        attr.info.bpf_fd = fd;
        attr.info.info_len = *len;
        attr.info.info = (uint64_t)(uintptr_t)info;
        result = sys_bpf(BPF_OBJ_GET_INFO_BY_FD, &attr);
        *len = attr.info.info_len;
        return result;
    }

    static int sys_prog_load(uint32_t type, const void *insns, uint32_t count, const char *name,
                             uint32_t attach_type, uint32_t flags, char *log, uint32_t log_size,
                             uint32_t log_level)
    {
        union bpf_attr attr;

        memset(&attr, 0, sizeof(attr));
        attr.prog_type = type;
        attr.insns = (uint64_t)(uintptr_t)insns;
        attr.insn_cnt = count;
        attr.license = (uint64_t)(uintptr_t)"GPL";
        attr.expected_attach_type = attach_type;
        attr.prog_flags = flags;
        attr.log_buf = (uint64_t)(uintptr_t)log;
        attr.log_size = log_size;
        attr.log_level = log_level;
        strncpy(attr.prog_name, name, sizeof(attr.prog_name) - 1);
        return sys_bpf(BPF_PROG_LOAD, &attr);
    }

    static int sys_link_create(int prog, uint32_t target, uint32_t attach_type, uint32_t flags)
    {
        union bpf_attr attr;

        memset(&attr, 0, sizeof(attr));
        attr.link_create.prog_fd = prog;
        attr.link_create.target_fd = target;
        attr.link_create.attach_type = attach_type;
        attr.link_create.flags = flags;
        return sys_bpf(BPF_LINK_CREATE, &attr);
    }

    static int sys_link_update(int link, int prog)
    {
        union bpf_attr attr;

        memset(&attr, 0, sizeof(attr));
        attr.link_update.link_fd = link;
        attr.link_update.new_prog_fd = prog;
        return sys_bpf(BPF_LINK_UPDATE, &attr);
    }

    static int sys_link_detach(int link)
    {
        union bpf_attr attr;

        memset(&attr, 0, sizeof(attr));
        attr.link_detach.link_fd = link;
        return sys_bpf(BPF_LINK_DETACH, &attr);
    }

    static int sys_test_run(int prog, const void *in, uint32_t in_size, void *out,
                            uint32_t *out_size, const void *ctx_in, uint32_t ctx_in_size,
                            void *ctx_out, uint32_t *ctx_out_size, uint32_t repeat,
                            uint32_t flags, uint32_t cpu, uint32_t batch, uint32_t *retval,
                            uint32_t *duration)
    {
        union bpf_attr attr;
        int result;

        memset(&attr, 0, sizeof(attr));
        attr.test.prog_fd = prog;
        attr.test.data_in = (uint64_t)(uintptr_t)in;
        attr.test.data_size_in = in_size;
        attr.test.data_out = (uint64_t)(uintptr_t)out;
        attr.test.data_size_out = out ? *out_size : 0;
        attr.test.ctx_in = (uint64_t)(uintptr_t)ctx_in;
        attr.test.ctx_size_in = ctx_in_size;
        attr.test.ctx_out = (uint64_t)(uintptr_t)ctx_out;
        attr.test.ctx_size_out = ctx_out ? *ctx_out_size : 0;
        attr.test.repeat = repeat;
        attr.test.flags = flags;
        attr.test.cpu = cpu;
        attr.test.batch_size = batch;
        result = sys_bpf(BPF_PROG_TEST_RUN, &attr);
        *out_size = attr.test.data_size_out;
        *ctx_out_size = attr.test.ctx_size_out;
        *retval = attr.test.retval;
        *duration = attr.test.duration;
        return result;
    }

    static int sys_netns_cookie(uint64_t *cookie)
    {
        socklen_t length = sizeof(*cookie);
        int saved, result, fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        if (fd < 0)
            return fd;
        result = getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, cookie, &length);
        saved = errno;
        close(fd);
        errno = saved;
        return result;
    }
    """
    int sys_map_create(uint32_t type, uint32_t key_size, uint32_t value_size, uint32_t entries,
                       uint32_t flags, const char *name) nogil
    int sys_obj(int command, const char *path, int fd) nogil
    int sys_fd_by_id(int command, uint32_t id) nogil
    int sys_next_id(int command, uint32_t id, uint32_t *next) nogil
    int sys_obj_info(int fd, void *info, uint32_t *len) nogil
    int sys_prog_load(uint32_t type, const void *insns, uint32_t count, const char *name,
                      uint32_t attach_type, uint32_t flags, char *log, uint32_t log_size,
                      uint32_t log_level) nogil
    int sys_link_create(int prog, uint32_t target, uint32_t attach_type, uint32_t flags) nogil
    int sys_link_update(int link, int prog) nogil
    int sys_link_detach(int link) nogil
    int sys_test_run(int prog, const void *in_, uint32_t in_size, void *out, uint32_t *out_size,
                     const void *ctx_in, uint32_t ctx_in_size, void *ctx_out,
                     uint32_t *ctx_out_size, uint32_t repeat, uint32_t flags, uint32_t cpu,
                     uint32_t batch, uint32_t *retval, uint32_t *duration) nogil
    int sys_netns_cookie(uint64_t *cookie) nogil

    enum:
        VNETX_BPF_TCX_INGRESS
        VNETX_BPF_TCX_EGRESS
        VNETX_BPF_LINK_TYPE_TCX
        BPF_XDP
        BPF_LINK_TYPE_XDP
        BPF_F_TEST_XDP_LIVE_FRAMES

    struct bpf_map_info:
        uint32_t type
        uint32_t id
        uint32_t key_size
        uint32_t value_size
        uint32_t max_entries
        uint32_t map_flags
        char name[16]

    struct bpf_prog_info:
        uint32_t type
        uint32_t id
        uint32_t jited_prog_len
        uint32_t xlated_prog_len
        uint64_t load_time
        uint32_t created_by_uid
        uint32_t ifindex
        uint64_t run_time_ns
        uint64_t run_cnt
        char name[16]

    struct bpf_link_info:
        uint32_t type
        uint32_t id
        uint32_t prog_id

ANY = BPF_ANY
NOEXIST = BPF_NOEXIST
EXIST = BPF_EXIST
ATTACH_XDP = BPF_XDP
ATTACH_TCX_INGRESS = VNETX_BPF_TCX_INGRESS
ATTACH_TCX_EGRESS = VNETX_BPF_TCX_EGRESS
LINK_TYPE_XDP = BPF_LINK_TYPE_XDP
LINK_TYPE_TCX = VNETX_BPF_LINK_TYPE_TCX
TEST_XDP_LIVE_FRAMES = BPF_F_TEST_XDP_LIVE_FRAMES


cdef object fail(str what):
    return OSError(errno, f"{what}: {os.strerror(errno)}")


cdef int checked(int result, str what) except -1:
    if result < 0:
        raise fail(what)
    return result


# ---------------------------------------------------------------- maps

def map_create(uint32_t type, uint32_t key_size, uint32_t value_size, uint32_t entries,
               uint32_t flags=0, str name=""):
    """Create a map and return its descriptor; `name` is cut to 15 bytes."""
    cdef bytes encoded = name.encode()
    cdef const char *c_name = encoded
    cdef int fd
    with nogil:
        fd = sys_map_create(type, key_size, value_size, entries, flags, c_name)
    return checked(fd, f"creating map {name}")


def map_lookup(int fd, bytes key, uint32_t value_size):
    """Return the value of `key` as bytes, or None. `value_size` counts all CPUs of a
    per-CPU map (8-byte aligned each)."""
    cdef bytearray value = bytearray(value_size)
    cdef char *raw = value
    if sys_map_element(BPF_MAP_LOOKUP_ELEM, fd, <const char *>key, raw, 0) < 0:
        if errno == 2:
            return None
        raise fail("map lookup")
    return bytes(value)


def map_update(int fd, bytes key, bytes value, uint64_t flags=0):
    """Store `value` under `key`; `flags` is ANY, NOEXIST or EXIST. An empty key is NULL
    (queues)."""
    cdef const char *raw = NULL
    if len(key):
        raw = key
    checked(sys_map_element(BPF_MAP_UPDATE_ELEM, fd, raw, <char *>value, flags), "map update")


def map_delete(int fd, bytes key):
    """Delete `key`; return whether it was there."""
    if sys_map_element(BPF_MAP_DELETE_ELEM, fd, <const char *>key, NULL, 0) < 0:
        if errno == 2:
            return False
        raise fail("map delete")
    return True


def map_refill(int fd, values not None, uint32_t value_size):
    """Make `values`, bytes of `value_size` each, all that a queue holds; the first is the head."""
    cdef bytearray old = bytearray(value_size)
    cdef char *raw = old
    cdef bytes value
    while sys_map_element(BPF_MAP_LOOKUP_AND_DELETE_ELEM, fd, NULL, raw, 0) == 0:
        pass
    for value in values:
        if len(value) != value_size:
            raise ValueError("a value of another size")
        checked(sys_map_element(BPF_MAP_UPDATE_ELEM, fd, NULL, <char *>value, 0), "map push")


def map_keys(int fd, uint32_t key_size):
    """Yield the keys of a map, one system call each: for small maps only."""
    cdef bytearray following = bytearray(key_size)
    cdef bytes key
    cdef char *raw = following
    if sys_map_element(BPF_MAP_GET_NEXT_KEY, fd, NULL, raw, 0) < 0:
        if errno == 2:
            return
        raise fail("map iteration")
    while True:
        key = bytes(following)
        yield key
        if sys_map_element(BPF_MAP_GET_NEXT_KEY, fd, <const char *>key, raw, 0) < 0:
            if errno == 2:
                return
            raise fail("map iteration")


def map_items(int fd, uint32_t key_size, uint32_t value_size, uint32_t batch=1024,
              uint32_t most=0xffffffff):
    """Return all of a map, or the first `most` elements of an array, as a list of (key, value)
    bytes, by batch system calls."""
    cdef uint32_t count
    cdef uint64_t token[8]
    cdef void *in_batch = NULL
    cdef int result
    cdef uint32_t i
    cdef char *keys = <char *>malloc(<size_t>batch * key_size)
    cdef char *values = <char *>malloc(<size_t>batch * value_size)
    items = []
    try:
        if keys == NULL or values == NULL:
            raise MemoryError
        while most:
            count = min(batch, most)
            with nogil:
                result = sys_map_batch(BPF_MAP_LOOKUP_BATCH, fd, in_batch, token, keys, values,
                                       &count, 0)
            if result < 0 and errno == 28 and batch < (1 << 22):    # ENOSPC: a bucket is longer
                batch *= 4
                free(keys)
                free(values)
                keys = <char *>malloc(<size_t>batch * key_size)
                values = <char *>malloc(<size_t>batch * value_size)
                if keys == NULL or values == NULL:
                    raise MemoryError
                continue
            if result < 0 and errno != 2:
                raise fail("map batch lookup")
            for i in range(count):
                items.append((keys[i * key_size:(i + 1) * key_size],
                              values[i * value_size:(i + 1) * value_size]))
            if result < 0:
                break
            most -= count
            in_batch = token
        return items
    finally:
        free(keys)
        free(values)


def map_update_items(int fd, items not None):
    """Store (key, value) pairs of bytes by one batch system call; those before a failure stand."""
    cdef bytes keys = b"".join([key for key, _ in items])
    cdef bytes values = b"".join([value for _, value in items])
    cdef const char *raw_keys = keys
    cdef char *raw_values = values
    cdef uint32_t count = <uint32_t>len(items)
    cdef int result
    if not count:
        return
    with nogil:
        result = sys_map_batch(BPF_MAP_UPDATE_BATCH, fd, NULL, NULL, raw_keys, raw_values, &count,
                               0)
    checked(result, "map batch update")


def map_delete_keys(int fd, keys not None):
    """Delete keys, which are there, by one batch system call; those before a failure are gone."""
    cdef bytes joined = b"".join(keys)
    cdef const char *raw = joined
    cdef uint32_t count = <uint32_t>len(keys)
    cdef int result
    if not count:
        return
    with nogil:
        result = sys_map_batch(BPF_MAP_DELETE_BATCH, fd, NULL, NULL, raw, NULL, &count, 0)
    checked(result, "map batch delete")


def map_info(int fd):
    """Return what the kernel says of a map: a dict with type, id, key_size, value_size,
    max_entries, flags and name."""
    cdef bpf_map_info info
    cdef uint32_t length = sizeof(info)
    memset(&info, 0, sizeof(info))
    checked(sys_obj_info(fd, &info, &length), "map info")
    return {"type": info.type, "id": info.id, "key_size": info.key_size,
            "value_size": info.value_size, "max_entries": info.max_entries,
            "flags": info.map_flags, "name": info.name.decode()}


# ---------------------------------------------------------------- pins and ids

def obj_pin(int fd, str path):
    """Pin a map, program or link on a bpffs."""
    cdef bytes encoded = os.fsencode(path)
    checked(sys_obj(BPF_OBJ_PIN, encoded, fd), f"pinning {path}")


def obj_get(str path):
    """Return a descriptor of what is pinned at `path`."""
    cdef bytes encoded = os.fsencode(path)
    return checked(sys_obj(BPF_OBJ_GET, encoded, 0), f"opening {path}")


def prog_fd_by_id(uint32_t id):
    """Return a descriptor of the program with this id."""
    return checked(sys_fd_by_id(BPF_PROG_GET_FD_BY_ID, id), f"program {id}")


def link_fd_by_id(uint32_t id):
    """Return a descriptor of the link with this id."""
    return checked(sys_fd_by_id(BPF_LINK_GET_FD_BY_ID, id), f"link {id}")


def _ids(int command):
    cdef uint32_t id = 0
    while sys_next_id(command, id, &id) == 0:
        yield id
    if errno != 2:
        raise fail("listing ids")


def prog_ids():
    """Yield the ids of all loaded programs."""
    return _ids(BPF_PROG_GET_NEXT_ID)


def link_ids():
    """Yield the ids of all links."""
    return _ids(BPF_LINK_GET_NEXT_ID)


# ---------------------------------------------------------------- programs

def prog_load(uint32_t type, bytes insns, str name="", uint32_t attach_type=0, uint32_t flags=0,
              uint32_t log_level=0, uint32_t log_size=1 << 24):
    """Load a program (license GPL) and return its descriptor.

    With a refusal the :class:`OSError` carries the verifier's log as `.log`; pass
    log_level=1 to get one.
    """
    cdef bytes encoded = name.encode()
    cdef const char *c_name = encoded
    cdef const char *raw = insns
    cdef uint32_t count = len(insns) // 8
    cdef char *log = NULL
    cdef int fd
    if log_level:
        log = <char *>malloc(log_size)
        if log == NULL:
            raise MemoryError
        log[0] = 0
    try:
        with nogil:
            fd = sys_prog_load(type, raw, count, c_name, attach_type, flags, log,
                               log_size if log_level else 0, log_level)
        if fd < 0:
            error = fail(f"loading program {name}")
            error.log = log.decode("utf-8", "replace") if log != NULL else ""
            raise error
        return fd
    finally:
        free(log)


def prog_info(int fd):
    """Return what the kernel says of a program: a dict with type, id, name, uid, run_time_ns,
    run_cnt, jited_len, xlated_len."""
    cdef bpf_prog_info info
    cdef uint32_t length = sizeof(info)
    memset(&info, 0, sizeof(info))
    checked(sys_obj_info(fd, &info, &length), "program info")
    return {"type": info.type, "id": info.id, "name": info.name.decode(),
            "uid": info.created_by_uid, "run_time_ns": info.run_time_ns,
            "run_cnt": info.run_cnt, "jited_len": info.jited_prog_len,
            "xlated_len": info.xlated_prog_len}


def prog_test_run(int fd, bytes data, bytes ctx=b"", uint32_t repeat=1, uint32_t flags=0,
                  uint32_t cpu=0, uint32_t batch=0, uint32_t room=256):
    """Run a program on a frame by BPF_PROG_TEST_RUN.

    Return (verdict, frame out, context out, mean duration in ns).  With
    TEST_XDP_LIVE_FRAMES nothing comes out.  `room` is what the frame may grow by, bytes.
    """
    cdef uint32_t out_size = len(data) + room
    cdef uint32_t ctx_size = len(ctx)
    cdef uint32_t retval = 0, duration = 0, in_size = len(data), ctx_in_size = len(ctx)
    cdef bint live = (flags & BPF_F_TEST_XDP_LIVE_FRAMES) != 0
    cdef bytearray out = bytearray(out_size)
    cdef bytearray ctx_out = bytearray(max(ctx_size, 1))
    cdef char *out_raw = out
    cdef char *ctx_raw = ctx_out
    cdef const char *in_raw = data
    cdef const char *ctx_in = ctx
    cdef int result
    with nogil:
        result = sys_test_run(fd, in_raw, in_size, NULL if live else out_raw, &out_size,
                              ctx_in if ctx_in_size else NULL, ctx_in_size,
                              NULL if live or not ctx_in_size else ctx_raw, &ctx_size,
                              repeat, flags, cpu, batch, &retval, &duration)
    checked(result, "program test run")
    if live:
        return retval, b"", b"", duration
    return retval, bytes(out[:out_size]), bytes(ctx_out[:ctx_size]), duration


# ---------------------------------------------------------------- links

def link_create(int prog_fd, uint32_t ifindex, uint32_t attach_type, uint32_t flags=0):
    """Attach a program to a device by a bpf_link and return the link's descriptor."""
    cdef int fd
    with nogil:
        fd = sys_link_create(prog_fd, ifindex, attach_type, flags)
    return checked(fd, f"attaching to interface {ifindex}")


def link_update(int fd, int prog_fd):
    """Replace the program of a link, atomically."""
    checked(sys_link_update(fd, prog_fd), "updating link")


def link_detach(int fd):
    """Detach a link from its device, whoever else holds it."""
    checked(sys_link_detach(fd), "detaching link")


def link_info(int fd):
    """Return a dict with type, id, prog_id and ifindex (0 when the device is gone)."""
    cdef uint32_t raw[64]
    cdef bpf_link_info *info = <bpf_link_info *>raw
    cdef uint32_t length = sizeof(raw)
    memset(raw, 0, sizeof(raw))
    checked(sys_obj_info(fd, raw, &length), "link info")
    # The union after {type, id, prog_id} is 8-byte aligned; xdp and tcx begin with ifindex.
    return {"type": info.type, "id": info.id, "prog_id": info.prog_id, "ifindex": raw[4],
            "attach_type": raw[5]}


# ---------------------------------------------------------------- namespace

def netns_cookie():
    """Return the cookie of the calling thread's network namespace: unique until reboot."""
    cdef uint64_t cookie = 0
    checked(sys_netns_cookie(&cookie), "SO_NETNS_COOKIE")
    return cookie
