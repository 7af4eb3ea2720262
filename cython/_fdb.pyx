# cython: language_level=3, embedsignature=True, boundscheck=False, wraparound=False
# cython: cdivision=True, initializedcheck=False
"""The FDB as a table: filters, dumps, loads and flushes by batches, and the ring of its events.

Whatever touches many entries runs in C without the GIL, in batches of
bounded size; memory does not grow with the table, but for 40 bytes an entry
while a file is loaded.  ``vnetx_port_state.learned`` and
``vnetx_bd_state.learned`` follow every change: they count the learned entries
of each port and of each bridge domain, and the data plane changes them too.

Errors of the kernel are :class:`OSError`.
"""
import os

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport E2BIG, EEXIST, EINTR, ENOENT, errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, qsort, realloc
from libc.string cimport memchr, memcmp, memcpy, memset

from abi cimport *
from sys_bpf cimport *

cdef extern from *:
    """
    #include <sys/mman.h>
    #include <time.h>

    static inline uint64_t coarse_now(void)    /* as bpf_ktime_get_coarse_ns */
    {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
        return now.tv_sec * 1000000000ULL + now.tv_nsec;
    }

    /* Zeroed memory, on huge pages where it is large; munmap gives it back. */
    static void *zeroed(size_t size)
    {
        void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (memory == MAP_FAILED)
            return NULL;
        madvise(memory, size, MADV_HUGEPAGE);
        return memory;
    }

    static inline void prefetch(const void *address)
    {
        __builtin_prefetch(address, 1);
    }

    static inline void add_to(void *counter, int64_t delta)
    {
        __atomic_fetch_add((int64_t *)counter, delta, __ATOMIC_RELAXED);
    }

    static inline uint64_t acquire64(const void *p)
    {
        return __atomic_load_n((const uint64_t *)p, __ATOMIC_ACQUIRE);
    }

    static inline uint32_t acquire32(const void *p)
    {
        return __atomic_load_n((const uint32_t *)p, __ATOMIC_ACQUIRE);
    }

    static inline void release64(void *p, uint64_t value)
    {
        __atomic_store_n((uint64_t *)p, value, __ATOMIC_RELEASE);
    }

    static int sys_map_entries(int fd, uint32_t *entries)
    {
        struct bpf_map_info info;
        union bpf_attr attr;
        int result;

        memset(&info, 0, sizeof(info));
        memset(&attr, 0, sizeof(attr));
        attr.info.bpf_fd = fd;
        attr.info.info_len = sizeof(info);
        attr.info.info = (uint64_t)(uintptr_t)&info;
        result = sys_bpf(BPF_OBJ_GET_INFO_BY_FD, &attr);
        *entries = info.max_entries;
        return result;
    }

    /* In the order of the states' numbers; padded for columns. */
    static const char *const state_text[] = { "learned", "static ", "sticky ", "local  " };
    static const uint8_t state_length[] = { 7, 6, 6, 5 };
    """
    const char *state_text[4]
    const uint8_t state_length[4]
    uint64_t coarse_now() nogil
    void *zeroed(size_t size) nogil
    void prefetch(const void *address) nogil
    void add_to(void *counter, int64_t delta) nogil
    uint64_t acquire64(const void *p) nogil
    uint32_t acquire32(const void *p) nogil
    void release64(void *p, uint64_t value) nogil
    int sys_map_entries(int fd, uint32_t *entries) nogil
    void *MAP_FAILED
    enum:
        PROT_READ
        PROT_WRITE
        MAP_SHARED
    void *mmap(void *address, size_t size, int protection, int flags, int fd, long offset) nogil
    int munmap(void *address, size_t size) nogil

cdef extern from "unistd.h" nogil:
    ssize_t write(int fd, const void *data, size_t size)
    long sysconf(int name)
    enum:
        _SC_PAGESIZE

cdef enum:
    PORTS = 65536        # port numbers that an entry can have
    BATCH = 16384        # entries to one system call
    BUFFER = 1 << 20     # bytes to one write
    LINE_ROOM = 512      # more than a line needs, labels apart
    AHEAD = 16           # lines between reading an address and looking it up
    FIXED = VNETX_FDB_STATIC | VNETX_FDB_LOCAL

cdef enum:
    LEARNED
    STATIC
    STICKY
    LOCAL

#: States in the order of their numbers.
STATES = ("learned", "static", "sticky", "local")
FLAGS = (0, VNETX_FDB_STATIC, VNETX_FDB_STATIC | VNETX_FDB_STICKY, VNETX_FDB_LOCAL)

cdef char hex_pairs[512]    # two digits for each byte
cdef int nibbles[256]       # value of each digit; negative for what is none


cdef void fill_digits() noexcept:
    cdef const char *digits = b"0123456789abcdef"
    cdef int i
    for i in range(256):
        hex_pairs[2 * i] = digits[i >> 4]
        hex_pairs[2 * i + 1] = digits[i & 15]
        nibbles[i] = -1
    for i in range(16):
        nibbles[<uint8_t>digits[i]] = i
    for i in range(10, 16):
        nibbles[<uint8_t>digits[i] & ~0x20] = i


fill_digits()


cdef object fail(str what):
    return OSError(errno, f"{what}: {os.strerror(errno)}")


cdef inline int state_of(uint16_t flags) noexcept nogil:
    if flags & VNETX_FDB_LOCAL:
        return LOCAL
    if not flags & VNETX_FDB_STATIC:
        return LEARNED
    return STICKY if flags & VNETX_FDB_STICKY else STATIC


cdef inline uint64_t number_of(const vnetx_fdb_key *key) noexcept nogil:
    cdef uint64_t number
    memcpy(&number, key, 8)
    return number


cdef int make_key(vnetx_fdb_key *key, bytes mac, int bd) except -1:
    if len(mac) != 6:
        raise ValueError("a MAC address has six bytes")
    memset(key, 0, sizeof(key[0]))
    memcpy(key.mac, <const char *>mac, 6)
    key.bd = bd
    return 0


# ---------------------------------------------------------------- filters

cdef enum:
    ONLY_LIVE
    ONLY_AGED
    WHATEVER_AGE

LIVE, AGED, ANY_AGE = ONLY_LIVE, ONLY_AGED, WHATEVER_AGE


cdef class Filter:
    """Which entries are meant; what is not given matches every entry.

    Args:
        ports: port indices.
        bd: bridge domain.
        mac: six bytes.
        states: names out of STATES.
        age: LIVE leaves entries out that were not seen for `ageing_ns`, AGED keeps only
            these, ANY_AGE asks not. Static and local entries do not age.
        ageing_ns: of the switch.
    """
    cdef uint8_t *ports
    cdef int bd
    cdef uint8_t mac[6]
    cdef bint has_mac
    cdef unsigned int states
    cdef int age
    cdef int64_t ageing
    cdef uint64_t now

    def __init__(self, *, ports=None, bd=None, bytes mac=None, states=None, int age=LIVE,
                 int64_t ageing_ns=(1 << 63) - 1):
        self.bd = -1 if bd is None else bd
        self.age = age
        self.ageing = ageing_ns
        self.states = 15
        if states is not None:
            self.states = sum({1 << STATES.index(name) for name in states})
        if mac is not None:
            if len(mac) != 6:
                raise ValueError("a MAC address has six bytes")
            memcpy(self.mac, <const char *>mac, 6)
            self.has_mac = True
        if ports is not None:
            self.ports = <uint8_t *>calloc(PORTS, 1)
            if self.ports == NULL:
                raise MemoryError
            for port in ports:
                self.ports[<uint16_t>port] = 1

    def __dealloc__(self):
        free(self.ports)

    cdef inline bint aged(self, const vnetx_fdb_entry *entry) noexcept nogil:
        return (not entry.flags & FIXED and
                <int64_t>(self.now - entry.seen_ns) >= self.ageing)

    cdef inline bint matches(self, const vnetx_fdb_key *key,
                             const vnetx_fdb_entry *entry) noexcept nogil:
        if not self.states >> state_of(entry.flags) & 1:
            return False
        if self.age != WHATEVER_AGE and self.aged(entry) != (self.age == ONLY_AGED):
            return False
        if self.ports != NULL and not self.ports[entry.port]:
            return False
        if self.bd >= 0 and key.bd != self.bd:
            return False
        return not self.has_mac or memcmp(self.mac, key.mac, 6) == 0


# ---------------------------------------------------------------- scanning

cdef class Scan:
    """A walk over the map, bucket by bucket: an entry that is there all along is met once."""
    cdef int fd
    cdef vnetx_fdb_key *keys
    cdef vnetx_fdb_entry *entries
    cdef uint32_t count
    cdef uint64_t token[2]
    cdef bint started, finished

    def __cinit__(self, int fd):
        self.fd = fd
        self.keys = <vnetx_fdb_key *>malloc(BATCH * sizeof(vnetx_fdb_key))
        self.entries = <vnetx_fdb_entry *>malloc(BATCH * sizeof(vnetx_fdb_entry))
        if self.keys == NULL or self.entries == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.keys)
        free(self.entries)

    cdef bint step(self) except -1 nogil:
        """The next `count` entries; False when there are no more."""
        cdef int result
        if self.finished:
            return False
        self.count = BATCH
        result = sys_map_batch(BPF_MAP_LOOKUP_BATCH, self.fd,
                               self.token if self.started else NULL, self.token, self.keys,
                               self.entries, &self.count, 0)
        self.started = True
        if result < 0:
            if errno != ENOENT:
                with gil:
                    raise fail("reading the FDB")
            self.finished = True
        with gil:
            PyErr_CheckSignals()
        return True


# ---------------------------------------------------------------- writing text

cdef class Writer:
    """A buffer before a file descriptor."""
    cdef int fd
    cdef char *data
    cdef size_t used

    def __cinit__(self, int fd):
        self.fd = fd
        self.data = <char *>malloc(BUFFER)
        if self.data == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.data)

    cdef int flush(self) except -1 nogil:
        cdef size_t done = 0
        cdef ssize_t n
        while done < self.used:
            n = write(self.fd, self.data + done, self.used - done)
            if n >= 0:
                done += n
                continue
            with gil:
                if errno != EINTR:
                    raise OSError(errno, os.strerror(errno))
                PyErr_CheckSignals()
        self.used = 0
        return 0

    cdef inline int reserve(self, size_t size) except -1 nogil:
        return self.flush() if self.used + size > BUFFER else 0

    cdef inline void put(self, const char *text, size_t length) noexcept nogil:
        memcpy(self.data + self.used, text, length)
        self.used += length

    cdef inline void put_mac(self, const uint8_t *mac) noexcept nogil:
        cdef char *out = self.data + self.used
        cdef int i
        for i in range(6):
            memcpy(out + 3 * i, hex_pairs + 2 * mac[i], 2)
            out[3 * i + 2] = c':'
        self.used += 17

    cdef inline void put_number(self, uint64_t number, int width) noexcept nogil:
        """In decimal, right-aligned in `width` columns (at most 20)."""
        cdef char digits[20]
        cdef int first = 20
        while True:
            first -= 1
            digits[first] = <char>(c'0' + number % 10)
            number //= 10
            if number == 0:
                break
        while 20 - first < width:
            first -= 1
            digits[first] = c' '
        self.put(digits + first, 20 - first)


cdef enum:
    AS_LINE
    AS_COLUMNS
    AS_JSON

SAVE, TABLE, JSON = AS_LINE, AS_COLUMNS, AS_JSON


cdef class Style:
    """How a dump writes an entry.

    Args:
        kind: SAVE writes what `load` reads, TABLE columns, JSON the elements of a list.
        labels: by port index, what stands for the port: for SAVE its name, for TABLE that
            padded, for JSON the members from "switch" to the beginning of the state.
        hosts: port indices of host sides, which share a device's name with its wire.
        vids: VLAN by bridge domain.
        vnis: VNI by bridge domain, and
        vteps: port indices of the VTEPs, whose entries have it.
        tail: what ends each line of TABLE.
        unknown: the label of a port that has none; SAVE leaves its entries out.
    """
    cdef int kind
    cdef object keep
    cdef const char **labels
    cdef uint32_t *lengths
    cdef uint8_t *hosts
    cdef uint16_t *vids
    cdef uint32_t *vnis
    cdef uint8_t *vteps
    cdef const char *tail
    cdef size_t tail_length, longest

    def __cinit__(self, int kind, dict labels, hosts=(), dict vids=None, bytes tail=b"",
                  bytes unknown=b"", dict vnis=None, vteps=()):
        cdef int i
        self.kind = kind
        self.keep = list(labels.values()), tail, unknown
        self.labels = <const char **>calloc(PORTS, sizeof(char *))
        self.lengths = <uint32_t *>calloc(PORTS, sizeof(uint32_t))
        self.hosts = <uint8_t *>calloc(PORTS, 1)
        self.vids = <uint16_t *>calloc(PORTS, sizeof(uint16_t))
        self.vnis = <uint32_t *>calloc(PORTS, sizeof(uint32_t))
        self.vteps = <uint8_t *>calloc(PORTS, 1)
        if (self.labels == NULL or self.lengths == NULL or self.hosts == NULL or
                self.vids == NULL or self.vnis == NULL or self.vteps == NULL):
            raise MemoryError
        if kind != AS_LINE:
            self.longest = len(unknown)
            for i in range(PORTS):
                self.labels[i] = unknown
                self.lengths[i] = <uint32_t>len(unknown)
        for port, label in labels.items():
            self.labels[<uint16_t>port] = <bytes>label
            self.lengths[<uint16_t>port] = len(label)
            self.longest = max(self.longest, <size_t>len(label))
        for port in hosts:
            self.hosts[<uint16_t>port] = 1
        for bd, vid in (vids or {}).items():
            self.vids[<uint16_t>bd] = vid
        for bd, vni in (vnis or {}).items():
            self.vnis[<uint16_t>bd] = vni
        for port in vteps:
            self.vteps[<uint16_t>port] = 1
        self.tail = tail
        self.tail_length = len(tail)
        if self.longest + self.tail_length + LINE_ROOM > BUFFER:
            raise ValueError("labels are too long")

    def __dealloc__(self):
        free(self.labels)
        free(self.lengths)
        free(self.hosts)
        free(self.vids)
        free(self.vnis)
        free(self.vteps)

    cdef inline bint write(self, Writer out, const vnetx_fdb_key *key,
                           const vnetx_fdb_entry *entry, uint64_t now, bint first) except -1 nogil:
        """Returns whether anything was written: what cannot be loaded is not saved."""
        cdef int state = state_of(entry.flags)
        cdef int64_t age = <int64_t>(now - entry.seen_ns)
        cdef uint64_t seconds = <uint64_t>age // 1000000000 if age > 0 else 0
        cdef const char *label = self.labels[entry.port]
        cdef size_t length = self.lengths[entry.port]
        cdef bint host = self.hosts[entry.port] and state != LOCAL
        if self.kind == AS_LINE and (label == NULL or state == LOCAL):
            return False
        out.reserve(self.longest + self.tail_length + LINE_ROOM)
        if self.kind == AS_JSON:
            self.write_json(out, key, state, seconds, label, length, host,
                            self.vnis[key.bd] if self.vteps[entry.port] else 0, first)
        elif self.kind == AS_COLUMNS:
            self.write_columns(out, key, state, seconds, label, length, host)
        else:
            self.write_line(out, key, state, seconds, label, length, host)
        return True

    cdef inline void write_line(self, Writer out, const vnetx_fdb_key *key, int state,
                                uint64_t seconds, const char *label, size_t length,
                                bint host) noexcept nogil:
        out.put_mac(key.mac)
        out.put(b" port ", 6)
        out.put(label, length)
        if host:
            out.put(b" host", 5)
        if self.vids[key.bd]:
            out.put(b" vlan ", 6)
            out.put_number(self.vids[key.bd], 0)
        out.put(b" ", 1)
        out.put(state_text[state], state_length[state])
        if state == LEARNED:
            out.put(b" age ", 5)
            out.put_number(seconds, 0)
        out.put(b"\n", 1)

    cdef inline void write_columns(self, Writer out, const vnetx_fdb_key *key, int state,
                                   uint64_t seconds, const char *label, size_t length,
                                   bint host) noexcept nogil:
        out.put_mac(key.mac)
        out.put(b"  ", 2)
        if self.vids[key.bd]:
            out.put_number(self.vids[key.bd], 4)
        else:
            out.put(b"   -", 4)
        out.put(b"  ", 2)
        out.put(label, length)
        out.put(b"  ", 2)
        out.put(state_text[state], 7)
        if state == LEARNED:
            out.put_number(seconds, 7)
        else:
            out.put(b"      -", 7)
        out.put(self.tail, self.tail_length)
        if host:
            out.put(b" (host side)", 12)
        out.put(b"\n", 1)

    cdef inline void write_json(self, Writer out, const vnetx_fdb_key *key, int state,
                                uint64_t seconds, const char *label, size_t length, bint host,
                                uint32_t vni, bint first) noexcept nogil:
        if not first:
            out.put(b",\n ", 3)
        out.put(b'{"mac": "', 9)
        out.put_mac(key.mac)
        out.put(b'", "vlan": ', 11)
        if self.vids[key.bd]:
            out.put_number(self.vids[key.bd], 0)
        else:
            out.put(b"null", 4)
        out.put(b", ", 2)
        if vni:
            out.put(b'"vni": ', 7)
            out.put_number(vni, 0)
            out.put(b", ", 2)
        out.put(label, length)
        out.put(state_text[state], state_length[state])
        out.put(b'", "age": ', 10)
        if state == LEARNED:
            out.put_number(seconds, 0)
        else:
            out.put(b"null", 4)
        if host:
            out.put(b', "host": true', 14)
        out.put(b"}", 1)


cdef struct Pair:
    vnetx_fdb_key key
    vnetx_fdb_entry entry


cdef int by_address(const void *left, const void *right) noexcept nogil:
    cdef const Pair *a = <const Pair *>left
    cdef const Pair *b = <const Pair *>right
    if a.key.bd != b.key.bd:
        return -1 if a.key.bd < b.key.bd else 1
    return memcmp(a.key.mac, b.key.mac, 6)


# ---------------------------------------------------------------- sets of addresses

cdef class Addresses:
    """A set of FDB keys with a mark on each. A key of zeros is none."""
    cdef uint64_t *slots
    cdef uint8_t *marks
    cdef size_t mask
    cdef int shift
    cdef size_t count, marked_count

    def __cinit__(self, size_t most):
        cdef size_t size = 1024
        self.shift = 54
        while size < most + most // 2:
            size *= 2
            self.shift -= 1
        self.mask = size - 1
        self.slots = <uint64_t *>zeroed(size * sizeof(uint64_t))
        self.marks = <uint8_t *>calloc(size, 1)
        if self.slots == NULL or self.marks == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.slots != NULL:
            munmap(self.slots, (self.mask + 1) * sizeof(uint64_t))
        free(self.marks)

    cdef inline size_t home(self, uint64_t number) noexcept nogil:
        return (number * <uint64_t>0x9e3779b97f4a7c15) >> self.shift

    cdef inline size_t slot(self, uint64_t number) noexcept nogil:
        """Where `number` is, or would be."""
        cdef size_t at = self.home(number)
        while self.slots[at] != 0 and self.slots[at] != number:
            at = (at + 1) & self.mask
        return at

    cdef inline bint add(self, uint64_t number) noexcept nogil:
        """Whether it is new."""
        cdef size_t at = self.slot(number)
        if self.slots[at]:
            return False
        self.slots[at] = number
        self.count += 1
        return True

    cdef inline bint mark(self, uint64_t number) noexcept nogil:
        """Marks a member; whether it is one."""
        cdef size_t at = self.slot(number)
        if not self.slots[at]:
            return False
        self.marks[at] = 1
        self.marked_count += 1
        return True

    cdef inline bint has(self, uint64_t number) noexcept nogil:
        return self.slots[self.slot(number)] != 0

    cdef inline bint marked(self, uint64_t number) noexcept nogil:
        return self.marks[self.slot(number)] != 0


# ---------------------------------------------------------------- reading text

cdef enum:
    NAME_ROOM = 16
    NAME_SLOTS = 32768

cdef struct Name:
    char text[NAME_ROOM]
    uint16_t wire      # port index, and
    uint16_t host      # of the host side, 0 without

cdef struct Record:
    vnetx_fdb_key key
    vnetx_fdb_entry entry
    bint dead          # older than the ageing time

# What follows the address is much the same in most lines: it is parsed once.
cdef enum:
    TAIL_ROOM = 64
    TAIL_SLOTS = 4096

cdef struct Tail:
    char text[TAIL_ROOM]
    size_t length
    Record record

cdef enum Wrong:
    FINE
    BAD_MAC
    ZERO_MAC
    BROADCAST_MAC
    MULTICAST_MAC
    UNKNOWN_WORD
    TWICE
    NO_VALUE
    NO_PORT
    UNKNOWN_PORT
    NO_HOST
    BAD_VLAN
    UNKNOWN_VLAN
    NO_STATE
    BAD_AGE
    AGE_OF_STATIC
    GIVEN_BEFORE
    HOSTS_OWN

_WRONG = {
    BAD_MAC: "'{}' is not a MAC address",
    ZERO_MAC: "{} is zero, not the address of a station",
    BROADCAST_MAC: "{} is the broadcast address",
    MULTICAST_MAC: "{} is a multicast (group) address",
    UNKNOWN_WORD: "'{}' is none of port, host, vlan, static, sticky, learned, age",
    TWICE: "'{}' is given twice, or beside another state",
    NO_VALUE: "'{}' lacks its value",
    NO_PORT: "no port is given",
    UNKNOWN_PORT: "'{}' is not a port of this switch",
    NO_HOST: "port '{}' has no host side",
    BAD_VLAN: "'{}' is not a VLAN (1 to 4094)",
    UNKNOWN_VLAN: "VLAN {} is not one of this switch",
    NO_STATE: "neither static nor sticky nor learned",
    BAD_AGE: "'{}' is not an age in seconds",
    AGE_OF_STATIC: "only learned entries have an age",
    GIVEN_BEFORE: "{} is on line {} already",
    HOSTS_OWN: "{} is the host's own address",
}


class BadLine(Exception):
    """A line that cannot be loaded: its number and why."""

    def __init__(self, number, why):
        super().__init__(f"line {number}: {why}")
        self.number = number
        self.why = why


class TooMany(Exception):
    """More entries than there is room for."""

    def __init__(self, needed, kept, room):
        super().__init__(f"{needed} entries beside {kept} in an FDB of {room}")
        self.needed = needed
        self.kept = kept
        self.room = room


cdef inline bint parse_pairs(const char *text, size_t stride, uint8_t *mac) noexcept nogil:
    """Six pairs of digits, `stride` apart."""
    cdef int i, value, seen = 0
    for i in range(6):
        value = (nibbles[<uint8_t>text[i * stride]] << 4) | nibbles[<uint8_t>text[i * stride + 1]]
        seen |= value
        mac[i] = <uint8_t>value
    return seen >= 0


cdef inline bint parse_mac(const char *text, size_t length, uint8_t *mac) noexcept nogil:
    """Six bytes written as 02:00:..., 02-00-..., 0200.5e00.0001 or 02005e000001."""
    cdef char bare[12]
    if length == 17:
        if text[2] != c':' and text[2] != c'-':
            return False
        if (text[5] != text[2] or text[8] != text[2] or text[11] != text[2] or
                text[14] != text[2]):
            return False
        return parse_pairs(text, 3, mac)
    if length == 14 and text[4] == c'.' and text[9] == c'.':
        memcpy(bare, text, 4)
        memcpy(bare + 4, text + 5, 4)
        memcpy(bare + 8, text + 10, 4)
        return parse_pairs(bare, 2, mac)
    return length == 12 and parse_pairs(text, 2, mac)


cdef inline int check_station(const uint8_t *mac) noexcept nogil:
    cdef uint64_t number = 0
    if mac[0] & 1:
        memset(&number, 0xff, 6)
        return BROADCAST_MAC if memcmp(mac, &number, 6) == 0 else MULTICAST_MAC
    return ZERO_MAC if memcmp(mac, &number, 6) == 0 else FINE


cdef inline bint parse_number(const char *text, size_t length, uint64_t *number) noexcept nogil:
    cdef size_t i
    number[0] = 0
    if not 1 <= length <= 10:
        return False
    for i in range(length):
        if not c'0' <= text[i] <= c'9':
            return False
        number[0] = number[0] * 10 + (text[i] - c'0')
    return True


cdef inline bint is_word(const char *text, size_t length, const char *word,
                         size_t word_length) noexcept nogil:
    return length == word_length and memcmp(text, word, length) == 0


cdef class Names:
    """What the words of a file mean: ports by name, bridge domains by VLAN.

    Args:
        wires: port index by name.
        hosts: index of the host side by name.
        vlans: bridge domain by VLAN.
    """
    cdef Name *slots
    cdef int *bds

    def __cinit__(self, dict wires, dict hosts=None, dict vlans=None):
        cdef Name *slot
        cdef bytes text
        self.slots = <Name *>calloc(NAME_SLOTS, sizeof(Name))
        self.bds = <int *>malloc(4096 * sizeof(int))
        if self.slots == NULL or self.bds == NULL:
            raise MemoryError
        if len(wires) > NAME_SLOTS // 2:
            raise ValueError("too many names")
        memset(self.bds, 0xff, 4096 * sizeof(int))
        for name, index in wires.items():
            text = os.fsencode(name)
            slot = self.find(text, len(text))
            if slot == NULL:
                raise ValueError(f"{name}: longer than an interface name")
            memcpy(slot.text, <const char *>text, len(text))
            slot.wire = index
            slot.host = (hosts or {}).get(name, 0)
        for vid, bd in (vlans or {}).items():
            self.bds[<uint16_t>vid & 4095] = bd

    def __dealloc__(self):
        free(self.slots)
        free(self.bds)

    cdef inline Name *find(self, const char *text, size_t length) noexcept nogil:
        """The slot of a name, or a free one; NULL if no interface can have the name."""
        cdef uint32_t hash = 2166136261
        cdef size_t i
        cdef Name *slot
        if not 0 < length < NAME_ROOM:
            return NULL
        for i in range(length):
            hash = (hash ^ <uint8_t>text[i]) * 16777619
        while True:
            slot = &self.slots[(hash ^ hash >> 15) & (NAME_SLOTS - 1)]
            if slot.text[0] == 0:
                return slot
            if memcmp(slot.text, text, length) == 0 and slot.text[length] == 0:
                return slot
            hash += 1


cdef struct Word:
    const char *text
    size_t length


cdef inline uint64_t tail_hash(const char *text, size_t length) noexcept nogil:
    """Of at least eight bytes."""
    cdef uint64_t hash = length, part
    cdef size_t i = 0
    while i + 8 < length:
        memcpy(&part, text + i, 8)
        hash = (hash ^ part) * <uint64_t>0x9e3779b97f4a7c15
        hash ^= hash >> 32
        i += 8
    memcpy(&part, text + length - 8, 8)
    hash = (hash ^ part) * <uint64_t>0x9e3779b97f4a7c15
    return hash >> 32


cdef inline bint is_blank(char c) noexcept nogil:
    return c == c' ' or c == c'\t' or c == c'\r'


cdef inline const char *after_blanks(const char *at, const char *end) noexcept nogil:
    while at < end and is_blank(at[0]):
        at += 1
    return at


cdef inline const char *after_word(const char *at, const char *end) noexcept nogil:
    while at < end and not is_blank(at[0]):
        at += 1
    return at


cdef class Reader:
    """The lines of a text that is in memory."""
    cdef const char *start
    cdef const char *at
    cdef const char *end
    cdef size_t line
    cdef const char *line_end
    cdef Word word
    cdef bint has_mac
    cdef uint8_t mac[6]
    cdef Names names
    cdef uint64_t now
    cdef int64_t ageing
    cdef Tail *tails

    def __cinit__(self):
        self.tails = <Tail *>calloc(TAIL_SLOTS, sizeof(Tail))
        if self.tails == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.tails)

    cdef void rewind(self) noexcept nogil:
        self.at = self.start
        self.line = 0

    cdef inline bint next_word(self) noexcept nogil:
        """The next word of the line; False at its end or at a comment."""
        self.word.text = after_blanks(self.at, self.line_end)
        self.at = after_word(self.word.text, self.line_end)
        self.word.length = self.at - self.word.text
        return self.word.length > 0 and self.word.text[0] != c'#'

    cdef inline bint next_address(self) noexcept nogil:
        """The first word of a line, into `mac` too if it is an address as mostly written."""
        self.has_mac = (self.line_end - self.at > 17 and is_blank(self.at[17]) and
                        parse_mac(self.at, 17, self.mac))
        if not self.has_mac:
            return self.next_word()
        self.word.text = self.at
        self.word.length = 17
        self.at += 17
        return True

    cdef inline bint next_value(self) noexcept nogil:
        """The word after a keyword; `word` stays the keyword if there is none."""
        cdef Word keyword = self.word
        self.next_word()
        if self.word.length:
            return True
        self.word = keyword
        return False

    cdef int next(self, Record *out) noexcept nogil:
        """The next entry: 1, or 0 at the end, or a negative :enum:`Wrong` about `word`."""
        cdef const char *newline
        cdef int wrong
        while self.at < self.end:
            newline = <const char *>memchr(self.at, c'\n', self.end - self.at)
            self.line_end = newline if newline != NULL else self.end
            self.line += 1
            wrong = -1
            if self.next_address():
                wrong = self.parse_cached(out)
            self.at = self.line_end + 1
            if wrong > 0:
                return -wrong
            if wrong == 0:
                return 1
        return 0

    cdef inline int parse_cached(self, Record *out) noexcept nogil:
        """The rest of a line whose first word is at hand."""
        cdef const char *text = self.at
        cdef size_t length = self.line_end - text
        cdef Tail *tail = NULL
        cdef int wrong
        if not self.has_mac and not parse_mac(self.word.text, self.word.length, self.mac):
            return BAD_MAC
        wrong = check_station(self.mac)
        if wrong:
            return wrong
        if 8 <= length <= TAIL_ROOM:
            tail = &self.tails[tail_hash(text, length) & (TAIL_SLOTS - 1)]
            if tail.length == length and memcmp(tail.text, text, length) == 0:
                out[0] = tail.record
                memcpy(out.key.mac, self.mac, 6)
                return FINE
        wrong = self.parse(out)
        if wrong == FINE and tail != NULL:
            memcpy(tail.text, text, length)
            tail.length = length
            tail.record = out[0]
        return wrong

    cdef int parse(self, Record *out) noexcept nogil:
        """What follows the address."""
        cdef Name *name = NULL
        cdef Word address = self.word, port
        cdef int state = -1, wrong
        cdef bint host = False, has_vlan = False, has_age = False
        cdef uint64_t number, age = 0
        memset(out, 0, sizeof(out[0]))
        memcpy(out.key.mac, self.mac, 6)
        while self.next_word():
            if is_word(self.word.text, self.word.length, b"port", 4):
                if name != NULL:
                    return TWICE
                if not self.next_value():
                    return NO_VALUE
                port = self.word
                name = self.names.find(port.text, port.length)
                if name == NULL or name.text[0] == 0:
                    return UNKNOWN_PORT
            elif is_word(self.word.text, self.word.length, b"host", 4):
                if host:
                    return TWICE
                host = True
            elif is_word(self.word.text, self.word.length, b"vlan", 4):
                if has_vlan:
                    return TWICE
                if not self.next_value():
                    return NO_VALUE
                has_vlan = True
                if (not parse_number(self.word.text, self.word.length, &number) or
                        not 1 <= number <= 4094):
                    return BAD_VLAN
                if self.names.bds[number] < 0:
                    return UNKNOWN_VLAN
                out.key.bd = self.names.bds[number]
            elif is_word(self.word.text, self.word.length, b"age", 3):
                if has_age:
                    return TWICE
                if not self.next_value():
                    return NO_VALUE
                has_age = True
                if not parse_number(self.word.text, self.word.length, &age):
                    return BAD_AGE
            else:
                if is_word(self.word.text, self.word.length, b"static", 6):
                    wrong = STATIC
                elif is_word(self.word.text, self.word.length, b"sticky", 6):
                    wrong = STICKY
                elif is_word(self.word.text, self.word.length, b"learned", 7):
                    wrong = LEARNED
                else:
                    return UNKNOWN_WORD
                if state >= 0:
                    return TWICE
                state = wrong
        if name == NULL:
            self.word = address
            return NO_PORT
        if state < 0:
            return NO_STATE
        if has_age and state != LEARNED:
            return AGE_OF_STATIC
        if host and name.host == 0:
            self.word = port
            return NO_HOST
        self.word = address
        out.entry.port = name.host if host else name.wire
        if state != LEARNED:
            out.entry.flags = VNETX_FDB_STATIC | (VNETX_FDB_STICKY if state == STICKY else 0)
        out.entry.seen_ns = self.now - age * 1000000000
        out.dead = state == LEARNED and <int64_t>(age * 1000000000) >= self.ageing
        return FINE

    cdef object complaint(self, int wrong):
        text = self.word.text[:self.word.length].decode("utf-8", "backslashreplace")
        return BadLine(self.line, _WRONG[wrong].format(text if len(text) <= 64 else text[:61] + "..."))

    cdef size_t line_of(self, uint64_t number, Record *record) noexcept nogil:
        """The first line with this address, 0 if none; leaves the reader there."""
        self.rewind()
        while self.next(record) > 0:
            if number_of(&record.key) == number:
                return self.line
        return 0


cdef class Records:
    """What is to be loaded, as batch calls take it; the room is fixed, and touched when used."""
    cdef vnetx_fdb_key *keys
    cdef vnetx_fdb_entry *entries
    cdef size_t count, room, left_out

    def __cinit__(self, size_t room):
        self.room = room
        self.keys = <vnetx_fdb_key *>zeroed(room * sizeof(vnetx_fdb_key))
        self.entries = <vnetx_fdb_entry *>zeroed(room * sizeof(vnetx_fdb_entry))
        if self.keys == NULL or self.entries == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.keys != NULL:
            munmap(self.keys, self.room * sizeof(vnetx_fdb_key))
        if self.entries != NULL:
            munmap(self.entries, self.room * sizeof(vnetx_fdb_entry))


# ---------------------------------------------------------------- the table

cdef tuple as_tuple(const vnetx_fdb_key *key, const vnetx_fdb_entry *entry, uint64_t now):
    cdef int64_t age = <int64_t>(now - entry.seen_ns)
    return ((<const char *>key.mac)[:6], key.bd, entry.port, STATES[state_of(entry.flags)],
            age / 1e9 if age > 0 else 0.0)


cdef size_t whole_pages(size_t size):
    cdef size_t page = sysconf(_SC_PAGESIZE)
    return (size + page - 1) // page * page


cdef void *mapped(int fd, size_t size, uint32_t *entries) except NULL:
    """The values of an array of the kernel's, of `size` bytes each, and how many there are."""
    cdef void *address
    if sys_map_entries(fd, entries) < 0:
        raise fail("opening the counters of the FDB")
    address = mmap(NULL, whole_pages(entries[0] * size), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
    if address == MAP_FAILED:
        raise fail("mapping the counters of the FDB")
    return address


cdef void unmap(void *address, size_t size):
    if address != NULL:
        munmap(address, whole_pages(size))


cdef class Table:
    """The maps ``fdb``, ``port_state`` and ``bd_state`` of one switch, by their descriptors (not
    closed here).

    An entry is the tuple (mac as bytes, bd, port index, state, age in seconds).
    """
    cdef int fd
    cdef readonly uint32_t max_entries
    cdef uint32_t ports, bds
    cdef vnetx_port_state *states
    cdef vnetx_bd_state *domains

    def __cinit__(self, int fd, int port_state_fd, int bd_state_fd):
        self.fd = fd
        if sys_map_entries(fd, &self.max_entries) < 0:
            raise fail("opening the FDB")
        self.states = <vnetx_port_state *>mapped(
            port_state_fd, sizeof(vnetx_port_state), &self.ports)
        self.domains = <vnetx_bd_state *>mapped(bd_state_fd, sizeof(vnetx_bd_state), &self.bds)

    def __dealloc__(self):
        unmap(self.states, self.ports * sizeof(vnetx_port_state))
        unmap(self.domains, self.bds * sizeof(vnetx_bd_state))

    cdef inline void account(self, const vnetx_fdb_key *key, const vnetx_fdb_entry *entry,
                             int64_t delta) noexcept nogil:
        """An entry came (1) or went (-1)."""
        if entry.flags & FIXED:
            return
        if entry.port < self.ports:
            add_to(&self.states[entry.port].learned, delta)
        if key.bd < self.bds:
            add_to(&self.domains[key.bd].learned, delta)

    # ------------------------------------------------------------ one entry

    cdef inline int put_new(self, const vnetx_fdb_key *key,
                            vnetx_fdb_entry *entry) noexcept nogil:
        cdef int result = sys_map_element(BPF_MAP_UPDATE_ELEM, self.fd, key, entry, BPF_NOEXIST)
        if result == 0:
            self.account(key, entry, 1)
        return result

    cdef inline void put_back(self, const vnetx_fdb_key *key,
                              vnetx_fdb_entry *entry) noexcept nogil:
        """An entry that was there before, whatever is there now."""
        if sys_map_element(BPF_MAP_UPDATE_ELEM, self.fd, key, entry, BPF_ANY) == 0:
            self.account(key, entry, 1)

    cdef inline int take(self, const vnetx_fdb_key *key, vnetx_fdb_entry *out) noexcept nogil:
        cdef int result = sys_map_element(BPF_MAP_LOOKUP_AND_DELETE_ELEM, self.fd, key, out, 0)
        if result == 0:
            self.account(key, out, -1)
        return result

    def get(self, bytes mac, int bd=0):
        """The entry of an address, aged or not, or None."""
        cdef vnetx_fdb_key key
        cdef vnetx_fdb_entry entry
        make_key(&key, mac, bd)
        if sys_map_element(BPF_MAP_LOOKUP_ELEM, self.fd, &key, &entry, 0) < 0:
            if errno == ENOENT:
                return None
            raise fail("reading the FDB")
        return as_tuple(&key, &entry, coarse_now())

    def insert(self, bytes mac, int bd, int port, str state, double age=0.0):
        """Make an entry; False if the address has one. OSError E2BIG: the FDB is full."""
        cdef vnetx_fdb_key key
        cdef vnetx_fdb_entry entry
        make_key(&key, mac, bd)
        memset(&entry, 0, sizeof(entry))
        entry.seen_ns = coarse_now() - <uint64_t>(age * 1e9)
        entry.port = port
        entry.flags = FLAGS[STATES.index(state)]
        if self.put_new(&key, &entry) < 0:
            if errno == EEXIST:
                return False
            raise fail("writing the FDB")
        return True

    def remove(self, bytes mac, int bd=0):
        """Delete the entry of an address and return it, or None."""
        cdef vnetx_fdb_key key
        cdef vnetx_fdb_entry entry
        make_key(&key, mac, bd)
        if self.take(&key, &entry) < 0:
            if errno == ENOENT:
                return None
            raise fail("writing the FDB")
        return as_tuple(&key, &entry, coarse_now())

    # ------------------------------------------------------------ many entries

    def count(self, Filter which):
        """How many entries match."""
        cdef Scan scan = Scan(self.fd)
        cdef size_t found = 0
        cdef uint32_t i
        which.now = coarse_now()
        with nogil:
            while scan.step():
                for i in range(scan.count):
                    found += which.matches(&scan.keys[i], &scan.entries[i])
        return found

    def entries(self, Filter which):
        """Yield the entries that match."""
        cdef Scan scan = Scan(self.fd)
        cdef uint32_t i
        cdef bint more
        which.now = coarse_now()
        while True:
            with nogil:
                more = scan.step()
            if not more:
                return
            for i in range(scan.count):
                if which.matches(&scan.keys[i], &scan.entries[i]):
                    yield as_tuple(&scan.keys[i], &scan.entries[i], which.now)

    def dump(self, int out_fd, Style style, Filter which, bint first=True):
        """Write the entries that match and return how many were written.

        A table that fits one batch comes sorted by address, a larger one as the kernel has it.

        Args:
            first: of JSON: nothing stands before this in the list.
        """
        cdef Scan scan = Scan(self.fd)
        cdef Writer out = Writer(out_fd)
        cdef Pair *pairs
        cdef size_t written = 0, n = 0
        cdef uint32_t i
        which.now = coarse_now()
        pairs = <Pair *>malloc(BATCH * sizeof(Pair))
        if pairs == NULL:
            raise MemoryError
        try:
            with nogil:
                while scan.step():
                    n = 0
                    for i in range(scan.count):
                        if which.matches(&scan.keys[i], &scan.entries[i]):
                            pairs[n].key = scan.keys[i]
                            pairs[n].entry = scan.entries[i]
                            n += 1
                    if scan.finished and not written:
                        qsort(pairs, n, sizeof(Pair), by_address)
                    for i in range(n):
                        written += style.write(out, &pairs[i].key, &pairs[i].entry, which.now,
                                               first and not written)
                out.flush()
        finally:
            free(pairs)
        return written

    def flush(self, Filter which):
        """Delete the entries that match, and return how many."""
        cdef Scan scan = Scan(self.fd)
        cdef size_t deleted = 0
        which.now = coarse_now()
        with nogil:
            while scan.step():
                deleted += self.take_step(which, scan)
        return deleted

    def taken(self, Filter which):
        """Delete the entries that match, and yield them, a list at a time."""
        cdef Scan scan = Scan(self.fd)
        cdef uint32_t i, n
        cdef bint more
        which.now = coarse_now()
        while True:
            with nogil:
                more = scan.step()
                n = self.take_step(which, scan) if more else 0
            if not more:
                return
            if n:
                yield [as_tuple(&scan.keys[i], &scan.entries[i], which.now) for i in range(n)]

    cdef uint32_t take_step(self, Filter which, Scan scan) noexcept nogil:
        """Deletes what matches of the entries at hand; those deleted come to the front."""
        cdef uint32_t i, n = 0
        for i in range(scan.count):
            if which.matches(&scan.keys[i], &scan.entries[i]) and \
                    self.take_matching(which, &scan.keys[i], &scan.entries[i]):
                scan.keys[n] = scan.keys[i]
                scan.entries[n] = scan.entries[i]
                n += 1
        return n

    cdef inline bint take_matching(self, Filter which, const vnetx_fdb_key *key,
                                   vnetx_fdb_entry *entry) noexcept nogil:
        """Deletes an entry, unless the data plane has changed it so that it does not match."""
        if self.take(key, entry) < 0:
            return False
        if which.matches(key, entry):
            return True
        self.put_new(key, entry)
        return False

    # ------------------------------------------------------------ loading

    def load(self, source, Names names, int64_t ageing_ns, Filter instead_of=None):
        """Load entries from a text; those of addresses that have one are replaced in place: no
        frame finds an address unknown that is known before and after.

        Args:
            source: bytes or a memory map.
            names: of ports and VLANs.
            ageing_ns: learned entries that are older are left out.
            instead_of: entries that match and are none of the text's are deleted afterwards.

        Returns:
            (entries loaded, entries left out, whether the data plane learned meanwhile).

        Raises:
            BadLine: nothing was loaded.
            TooMany: nothing was loaded.
            OSError: the kernel refused; what was loaded is taken back.
        """
        cdef Py_buffer view
        cdef Reader reader = Reader()
        cdef Records records
        cdef Addresses addresses
        cdef Loader loader
        cdef size_t bound
        PyObject_GetBuffer(source, &view, PyBUF_SIMPLE)
        try:
            reader.start = <const char *>view.buf
            reader.end = reader.start + view.len
            reader.names = names
            reader.now = coarse_now()
            reader.ageing = ageing_ns
            bound = view.len // 24 + 1    # no entry is written in less
            records = Records(min(bound, <size_t>self.max_entries))
            addresses = self.check(reader, records)
            loader = Loader(self, records, addresses)
            loader.run()
            if instead_of is not None:
                loader.delete_others(instead_of)
            return records.count, records.left_out, loader.disturbed()
        finally:
            PyBuffer_Release(&view)

    cdef Addresses check(self, Reader reader, Records records):
        """Reads everything; marks are on the addresses that have an entry already."""
        cdef Addresses addresses = Addresses(records.room)
        cdef uint64_t number, twice = 0
        cdef size_t over = 0, looked = 0
        cdef Record record
        cdef int result = 1
        with nogil:
            reader.rewind()
            while twice == 0 and result > 0:
                result = reader.next(&record)
                if result > 0 and record.dead:
                    records.left_out += 1
                elif result > 0 and records.count == records.room:
                    over += not addresses.slots[addresses.slot(number_of(&record.key))]
                elif result > 0:
                    number = number_of(&record.key)
                    prefetch(&addresses.slots[addresses.home(number)])
                    records.keys[records.count] = record.key
                    records.entries[records.count] = record.entry
                    records.count += 1
                # Each is looked up AHEAD lines later, when its slot is in the cache.
                while twice == 0 and looked < records.count and \
                        (result <= 0 or looked + AHEAD <= records.count):
                    number = number_of(&records.keys[looked])
                    looked += 1
                    if not addresses.add(number):
                        twice = number
        error = None
        if twice:
            error = self.given_before(reader, twice)
        elif result < 0:
            error = reader.complaint(-result)
        kept = self.mark_existing(reader, addresses, error)
        if error is not None:
            raise error
        if records.count + over + kept > self.max_entries:
            raise TooMany(records.count + over, kept, self.max_entries)
        return addresses

    cdef object given_before(self, Reader reader, uint64_t number):
        cdef Record record
        cdef size_t first = 0
        reader.rewind()
        while reader.next(&record) > 0:
            if number_of(&record.key) != number or record.dead:
                continue
            if first:
                text = reader.word.text[:reader.word.length].decode()
                return BadLine(reader.line, _WRONG[GIVEN_BEFORE].format(text, first))
            first = reader.line

    cdef size_t mark_existing(self, Reader reader, Addresses addresses, error) except? 0:
        """Marks the addresses that have an entry, and returns how many entries are not of them.

        An address that is the host's own is an error if it comes before `error`.
        """
        cdef Scan scan = Scan(self.fd)
        cdef size_t others = 0
        cdef uint64_t number
        cdef uint32_t i
        cdef Record record
        cdef bint more = True
        own = []
        while more:
            with nogil:
                more = scan.step()
            if not more:
                break
            for i in range(scan.count):
                number = number_of(&scan.keys[i])
                if not addresses.mark(number):
                    others += 1
                elif scan.entries[i].flags & VNETX_FDB_LOCAL:
                    own.append(number)
        if own:
            line = min(reader.line_of(number, &record) for number in own)
            if error is None or line < error.number:
                raise self.hosts_own(reader, own, line)
        return others

    cdef object hosts_own(self, Reader reader, list own, size_t line):
        cdef Record record
        for number in own:
            if reader.line_of(number, &record) == line:
                return reader.complaint(HOSTS_OWN)

    # ------------------------------------------------------------ counters

    def learned(self, int port):
        """The counter of learned entries of a port."""
        if not 0 <= port < <int>self.ports:
            raise IndexError(port)
        return self.states[port].learned

    def learned_in(self, int bd):
        """The counter of learned entries of a bridge domain."""
        if not 0 <= bd < <int>self.bds:
            raise IndexError(bd)
        return self.domains[bd].learned

    cdef int64_t counter(self, uint32_t which) noexcept nogil:
        """One of all counters: those of the ports, then those of the domains."""
        if which < self.ports:
            return self.states[which].learned
        return self.domains[which - self.ports].learned

    cdef dict drift(self):
        """By how much counters are wrong, by their number as :meth:`counter` has it.

        Those that moved during the count are left out.
        """
        cdef Scan scan = Scan(self.fd)
        cdef uint32_t i, counters = self.ports + self.bds
        cdef int64_t *before = <int64_t *>malloc(counters * sizeof(int64_t))
        cdef int64_t *found = <int64_t *>calloc(counters, sizeof(int64_t))
        wrong = {}
        try:
            if before == NULL or found == NULL:
                raise MemoryError
            with nogil:
                for i in range(counters):
                    before[i] = self.counter(i)
                while scan.step():
                    for i in range(scan.count):
                        if scan.entries[i].flags & FIXED:
                            continue
                        if scan.entries[i].port < self.ports:
                            found[scan.entries[i].port] += 1
                        if scan.keys[i].bd < self.bds:
                            found[self.ports + scan.keys[i].bd] += 1
            for i in range(counters):
                if before[i] == self.counter(i) and found[i] != before[i]:
                    wrong[i] = found[i] - before[i]
            return wrong
        finally:
            free(before)
            free(found)

    def drifts(self):
        """By how much the counters of learned entries are wrong, of ports and of bridge domains."""
        wrong = self.drift()
        return ({which: by for which, by in wrong.items() if which < self.ports},
                {which - self.ports: by for which, by in wrong.items() if which >= self.ports})

    def recount(self):
        """Put counters right that two counts in a row find wrong alike: a command that was
        killed between an entry and its counter leaves one so. Return how many."""
        cdef uint32_t which
        first = self.drift()
        second = self.drift() if first else {}
        confirmed = {which: by for which, by in first.items() if second.get(which) == by}
        for which, by in confirmed.items():
            if which < self.ports:
                add_to(&self.states[which].learned, by)
            else:
                add_to(&self.domains[which - self.ports].learned, by)
        return len(confirmed)


cdef class Loader:
    """Puts records that were checked into the table: all of them, or none."""
    cdef Table table
    cdef Records records
    cdef Addresses addresses
    cdef size_t loaded
    cdef Pair *replaced
    cdef size_t replaced_count, replaced_room
    cdef int64_t *expected

    def __cinit__(self, Table table, Records records, Addresses addresses):
        cdef uint32_t i
        self.table = table
        self.records = records
        self.addresses = addresses
        self.expected = <int64_t *>malloc(PORTS * sizeof(int64_t))
        if self.expected == NULL:
            raise MemoryError
        for i in range(table.ports):
            self.expected[i] = table.states[i].learned

    def __dealloc__(self):
        free(self.replaced)
        free(self.expected)

    cdef int run(self) except -1:
        cdef int stored = 0
        with nogil:
            while stored == 0 and self.loaded < self.records.count:
                stored = self.store()
        if stored < 0:
            error = fail("writing the FDB")
            self.undo()
            raise error
        return 0

    cdef int store(self) noexcept nogil:
        """Puts the next batch into the FDB; 0, or -1 with errno."""
        cdef vnetx_fdb_key *keys = self.records.keys + self.loaded
        cdef vnetx_fdb_entry *entries = self.records.entries + self.loaded
        cdef uint32_t i, count = <uint32_t>min(<size_t>BATCH, self.records.count - self.loaded)
        cdef int result
        if self.addresses.marked_count and self.note_replaced(keys, count) < 0:
            return -1
        result = sys_map_batch(BPF_MAP_UPDATE_BATCH, self.table.fd, NULL, NULL, keys, entries,
                               &count, 0)
        for i in range(count):
            self.table.account(&keys[i], &entries[i], 1)
            self.expect(&entries[i], 1)
        self.loaded += count
        return result

    cdef inline void expect(self, const vnetx_fdb_entry *entry, int64_t delta) noexcept nogil:
        if not entry.flags & FIXED:
            self.expected[entry.port] += delta

    cdef int note_replaced(self, const vnetx_fdb_key *keys, uint32_t count) noexcept nogil:
        """Notes what the batch replaces: a batch update tells nothing of the old values. What the
        data plane changes of it meanwhile makes counters wrong, which `disturbed` sees."""
        cdef uint32_t i
        cdef size_t room
        cdef Pair *pair
        cdef void *grown
        for i in range(count):
            if not self.addresses.marked(number_of(&keys[i])):
                continue
            if self.replaced_count == self.replaced_room:
                room = 2 * self.replaced_room + 1024
                grown = realloc(self.replaced, room * sizeof(Pair))
                if grown == NULL:
                    return -1
                self.replaced = <Pair *>grown
                self.replaced_room = room
            pair = &self.replaced[self.replaced_count]
            pair.key = keys[i]
            if sys_map_element(BPF_MAP_LOOKUP_ELEM, self.table.fd, &pair.key, &pair.entry, 0) == 0:
                self.table.account(&pair.key, &pair.entry, -1)
                self.expect(&pair.entry, -1)
                self.replaced_count += 1
            elif errno != ENOENT:
                return -1
        return 0

    cdef void undo(self) noexcept nogil:
        cdef vnetx_fdb_entry gone
        cdef size_t i
        for i in range(self.loaded):
            self.table.take(&self.records.keys[i], &gone)
        for i in range(self.replaced_count):
            self.table.put_back(&self.replaced[i].key, &self.replaced[i].entry)

    cdef int delete_others(self, Filter which) except -1:
        """Deletes entries that match and were not loaded."""
        cdef Scan scan = Scan(self.table.fd)
        cdef vnetx_fdb_entry entry
        cdef uint32_t i
        which.now = coarse_now()
        with nogil:
            while scan.step():
                for i in range(scan.count):
                    if not self.addresses.has(number_of(&scan.keys[i])) and \
                            which.matches(&scan.keys[i], &scan.entries[i]) and \
                            self.table.take_matching(which, &scan.keys[i], &entry):
                        self.expect(&entry, -1)
        return 0

    cdef bint disturbed(self) noexcept nogil:
        """Whether counters of learned entries moved by more than the load moved them."""
        cdef uint32_t i
        for i in range(self.table.ports):
            if self.table.states[i].learned != self.expected[i]:
                return True
        return False


# ---------------------------------------------------------------- events

cdef enum:
    RECORD_BUSY = 1 << 31
    RECORD_DISCARDED = 1 << 30
    RECORD_HEADER = 8


cdef class Ring:
    """The consumer's side of the ring buffer ``events``; there can be one at a time."""
    cdef int fd
    cdef size_t page, size
    cdef char *consumer      # position, in a page of its own
    cdef char *producer      # position in a page of its own, then the data, twice

    def __cinit__(self, int fd):
        cdef uint32_t size
        cdef void *address
        self.fd = fd
        self.page = sysconf(_SC_PAGESIZE)
        if sys_map_entries(fd, &size) < 0:
            raise fail("opening the events")
        self.size = size
        address = mmap(NULL, self.page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
        if address == MAP_FAILED:
            raise fail("mapping the events")
        self.consumer = <char *>address
        address = mmap(NULL, self.page + 2 * self.size, PROT_READ, MAP_SHARED, fd, self.page)
        if address == MAP_FAILED:
            raise fail("mapping the events")
        self.producer = <char *>address

    def __dealloc__(self):
        if self.consumer != NULL:
            munmap(self.consumer, self.page)
        if self.producer != NULL:
            munmap(self.producer, self.page + 2 * self.size)

    def fileno(self):
        """For poll(2): readable when events came after all earlier ones were read."""
        return self.fd

    def read(self, Py_ssize_t most=4096):
        """Take up to `most` events out: tuples (time_ns, mac as bytes, bd, kind, port, old
        port)."""
        cdef uint64_t position = acquire64(self.consumer)
        cdef const char *record
        cdef const vnetx_event *event
        cdef uint32_t header, length
        events = []
        while len(events) < most and position < acquire64(self.producer):
            record = self.producer + self.page + (position & (self.size - 1))
            header = acquire32(record)
            if header & RECORD_BUSY:
                break
            length = header & ~(RECORD_BUSY | RECORD_DISCARDED)
            if not header & RECORD_DISCARDED and length >= sizeof(vnetx_event):
                event = <const vnetx_event *>(record + RECORD_HEADER)
                events.append((event.time_ns, (<const char *>event.key.mac)[:6], event.key.bd,
                               event.kind, event.port, event.old_port))
            position += (length + RECORD_HEADER + 7) & ~<uint64_t>7
            release64(self.consumer, position)
        return events
