# cython: language_level=3, embedsignature=True
"""The loops of the performance harness, without the interpreter in them.

Sockets come connected and blocking, with a receive time-out (SO_RCVTIMEO) that
bounds every wait; times are CLOCK_MONOTONIC, in nanoseconds.  The GIL is
released as long as a loop runs.
"""
import os

from libc.errno cimport EAGAIN, ECONNREFUSED, EINTR, ENOBUFS, errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from abi cimport *
from sys_bpf cimport *

cdef extern from *:
    """
    #include <sched.h>
    #include <sys/mman.h>
    #include <sys/prctl.h>
    #include <sys/resource.h>
    #include <sys/socket.h>
    #include <time.h>

    static inline uint64_t clock_ns(void)
    {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec * 1000000000ULL + now.tv_nsec;
    }

    static inline uint64_t used_ns(void)
    {
        struct rusage usage;

        getrusage(RUSAGE_THREAD, &usage);
        return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000ULL +
               (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000ULL;
    }

    static inline void sleep_until(uint64_t when)
    {
        struct timespec at = { .tv_sec = when / 1000000000, .tv_nsec = when % 1000000000 };

        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
    }

    /* The slack of a thread's timers is 50 us by default. */
    static inline void fine_timers(void)
    {
        prctl(PR_SET_TIMERSLACK, 1UL, 0, 0, 0);
    }

    static inline unsigned highest_bit(uint64_t value)
    {
        return 63 - __builtin_clzll(value);
    }
    """
    uint64_t clock_ns() nogil
    uint64_t used_ns() nogil
    void sleep_until(uint64_t when) nogil
    void fine_timers() nogil
    unsigned highest_bit(uint64_t value) nogil
    int sched_yield() nogil
    void *mmap(void *address, size_t size, int protection, int flags, int fd, long at) nogil
    int munmap(void *address, size_t size) nogil
    void *MAP_FAILED
    int MAP_SHARED, PROT_READ, PROT_WRITE
    struct iovec:
        void *iov_base
        size_t iov_len
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
    struct mmsghdr:
        msghdr msg_hdr
    int sendmmsg(int fd, mmsghdr *messages, unsigned count, int flags) nogil
    Py_ssize_t send(int fd, const void *data, size_t size, int flags) nogil
    Py_ssize_t recv(int fd, void *data, size_t size, int flags) nogil
    int MSG_NOSIGNAL
    int RUSAGE_THREAD


cdef object fail(str what):
    return OSError(errno, f"{what}: {os.strerror(errno)}")


def now_ns():
    """CLOCK_MONOTONIC."""
    return clock_ns()


def cpu_ns():
    """CPU time of the calling thread, user and system."""
    return used_ns()


# ---------------------------------------------------------------- histogram

# A power of two is divided into 2^PRECISION cells: a cell's middle is off by 0.05 % at most.
DEF PRECISION = 10
DEF HIGHEST = 42
DEF CELLS = (HIGHEST - PRECISION + 1) << PRECISION


cdef unsigned cell_of(uint64_t value) noexcept nogil:
    cdef unsigned shift
    if value < (2 << PRECISION):
        return <unsigned>value
    if value >> HIGHEST:
        return CELLS - 1
    shift = highest_bit(value) - PRECISION
    return <unsigned>((<uint64_t>shift << PRECISION) + (value >> shift))


cdef double middle_of(unsigned cell) noexcept nogil:
    cdef unsigned shift
    if cell < (2 << PRECISION):
        return cell
    shift = (cell >> PRECISION) - 1
    return (<double>(cell - (shift << PRECISION)) + 0.5) * <double>(<uint64_t>1 << shift) - 0.5


cdef class Histogram:
    """Counts of values up to 2^42 in cells of constant relative width (log-linear).

    Percentiles are within 0.05 %; minimum, maximum, sum and count are exact.
    """

    cdef uint64_t *cells
    cdef readonly uint64_t count, min, max
    cdef double sum

    def __cinit__(self):
        self.cells = <uint64_t *>calloc(CELLS, sizeof(uint64_t))
        if self.cells == NULL:
            raise MemoryError
        self.min = <uint64_t>-1

    def __dealloc__(self):
        free(self.cells)

    cdef void add(self, uint64_t value, uint64_t times) noexcept nogil:
        self.cells[cell_of(value)] += times
        self.count += times
        self.sum += <double>value * times
        if value < self.min:
            self.min = value
        if value > self.max:
            self.max = value

    def record(self, uint64_t value, uint64_t times=1):
        """Count a value."""
        self.add(value, times)

    def merge(self, Histogram other not None):
        """Add the counts of another histogram."""
        cdef unsigned i
        for i in range(CELLS):
            self.cells[i] += other.cells[i]
        self.count += other.count
        self.sum += other.sum
        self.min = min(self.min, other.min)
        self.max = max(self.max, other.max)

    @property
    def mean(self):
        return self.sum / self.count if self.count else 0.0

    def percentile(self, double percent):
        """The value that `percent` of the values do not exceed, 0.0 of an empty histogram."""
        cdef uint64_t below = 0, rank
        cdef unsigned i
        if not self.count:
            return 0.0
        rank = max(1, <uint64_t>(percent / 100 * self.count + 0.999999))
        for i in range(CELLS):
            below += self.cells[i]
            if below >= rank:
                return min(max(middle_of(i), <double>self.min), <double>self.max)
        return <double>self.max

    def items(self):
        """(middle of the cell, count) of the cells that have one, ascending."""
        return [(middle_of(i), self.cells[i]) for i in range(CELLS) if self.cells[i]]

    def __reduce__(self):
        cells = [(i, self.cells[i]) for i in range(CELLS) if self.cells[i]]
        return _revive, (cells, self.count, self.min, self.max, self.sum)


def _revive(cells, uint64_t count, uint64_t least, uint64_t most, double total):
    cdef Histogram histogram = Histogram()
    for index, number in cells:
        histogram.cells[<unsigned>index] = number
    histogram.count = count
    histogram.min = least
    histogram.max = most
    histogram.sum = total
    return histogram


# ---------------------------------------------------------------- request and response

cdef Py_ssize_t receive(int fd, char *data, size_t size, bint stream) noexcept nogil:
    """A whole message: `size` bytes of a stream, or one datagram.  0 at the end, -1 on error."""
    cdef size_t done = 0
    cdef Py_ssize_t got
    while True:
        got = recv(fd, data + done, size - done, 0)
        if got < 0 and errno == EINTR:
            continue
        if got <= 0:
            return got
        done += got
        if not stream or done == size:
            return done


def serve(int fd, size_t size, bint stream, uint64_t until_ns):
    """Send every message back until the end of the stream, an empty datagram, or `until_ns`.

    Return (messages, CPU time in ns).
    """
    cdef char *data = <char *>malloc(max(size, 1))
    cdef uint64_t messages = 0, cpu = used_ns()
    cdef Py_ssize_t got
    if data == NULL:
        raise MemoryError
    try:
        with nogil:
            while True:
                got = receive(fd, data, size, stream)
                if got < 0 and (errno == EAGAIN or errno == ECONNREFUSED):
                    if clock_ns() < until_ns:
                        continue
                    break
                if got <= 0 or send(fd, data, got, MSG_NOSIGNAL) < 0:
                    break
                messages += 1
        return messages, used_ns() - cpu
    finally:
        free(data)


def drive(int fd, size_t size, bint stream, uint64_t warm_ns, uint64_t run_ns, uint64_t least=100):
    """Send a message, wait for it to come back, and so on; closed loop, one in flight.

    Round trips that begin in the first `warm_ns` are not counted.  On a busy machine it goes on
    until there are `least` of them, up to ten times as long.  A datagram that is not
    back within the socket's time-out is lost; one that comes later is ignored.  Return a
    dict: histogram of round trips in ns, lost, elapsed_ns, cpu_ns (both without the warm-up).
    """
    cdef Histogram histogram = Histogram()
    cdef char *data = <char *>malloc(max(size, 1))
    cdef uint8_t number = 0
    cdef uint64_t begin = clock_ns(), start = 0, sent, back, cpu = 0, lost = 0
    cdef uint64_t warm_until = begin + warm_ns, until = warm_until + run_ns
    cdef Py_ssize_t got
    cdef bint failed = False, measuring = False
    if data == NULL:
        raise MemoryError
    memset(data, 0, max(size, 1))
    try:
        with nogil:
            back = begin
            while back < until or (histogram.count < least and back < until + 9 * run_ns):
                if not measuring and back >= warm_until:
                    measuring = True
                    start = back
                    cpu = used_ns()
                number += 1
                data[0] = <char>number
                sent = clock_ns()
                if send(fd, data, size, MSG_NOSIGNAL) != <Py_ssize_t>size:
                    failed = True
                    break
                while True:
                    got = receive(fd, data, size, stream)
                    if got <= 0 or stream or <uint8_t>data[0] == number:
                        break
                back = clock_ns()
                if got > 0:
                    if measuring:
                        histogram.add(back - sent, 1)
                elif got < 0 and errno == EAGAIN and not stream:
                    lost += 1
                else:
                    failed = True
                    break
        if failed:
            raise fail("request and response")
        return {"histogram": histogram, "lost": lost, "elapsed_ns": back - start,
                "cpu_ns": used_ns() - cpu}
    finally:
        free(data)


# ---------------------------------------------------------------- streams

def stream_send(int fd, size_t chunk, uint64_t until_ns):
    """Write `chunk` bytes at a time until `until_ns`.  Return (bytes, CPU time in ns)."""
    cdef char *data = <char *>calloc(1, chunk)
    cdef uint64_t total = 0, cpu = used_ns()
    cdef Py_ssize_t put = 0
    if data == NULL:
        raise MemoryError
    try:
        with nogil:
            while clock_ns() < until_ns:
                put = send(fd, data, chunk, MSG_NOSIGNAL)
                if put < 0 and errno != EINTR and errno != EAGAIN:
                    break
                if put > 0:
                    total += put
        if put < 0 and errno != EAGAIN:
            raise fail("stream")
        return total, used_ns() - cpu
    finally:
        free(data)


def stream_receive(int fd, size_t chunk, uint64_t from_ns, uint64_t until_ns):
    """Read to the end of the stream, and count what is read from `from_ns` to `until_ns`.

    The window is fixed beforehand: one that began and ended with what this process saw
    would measure how it was scheduled.  The socket needs a receive time-out.  Return
    (bytes in the window, CPU time in ns of all, bytes of all).
    """
    cdef char *data = <char *>malloc(chunk)
    cdef uint64_t now, counted = 0, total = 0, cpu = used_ns()
    cdef Py_ssize_t got
    if data == NULL:
        raise MemoryError
    try:
        with nogil:
            while True:
                got = recv(fd, data, chunk, 0)
                now = clock_ns()
                if got > 0:
                    total += got
                    if from_ns <= now < until_ns:
                        counted += got
                elif got == 0 or (errno == EAGAIN and now >= until_ns):
                    break
                elif errno != EINTR and errno != EAGAIN:
                    break
        return counted, used_ns() - cpu, total
    finally:
        free(data)


# ---------------------------------------------------------------- latency counted in the kernel

# Cells of the array that a program of vnetx_perf.programs.latency_sink counts in.
DEF FINE = 65536
DEF COARSE_SHIFT = 10
DEF LATENCY_CELLS_ = 131072

#: One cell a nanosecond, as many as these.
LATENCY_FINE = FINE
#: Each cell after those is 2^LATENCY_SHIFT nanoseconds wide.
LATENCY_SHIFT = COARSE_SHIFT
#: Cells in all.
LATENCY_CELLS = LATENCY_CELLS_


cdef volatile uint64_t *map_cells(int fd) except NULL:
    cdef void *cells = mmap(NULL, LATENCY_CELLS_ * sizeof(uint64_t), PROT_READ | PROT_WRITE,
                            MAP_SHARED, fd, 0)
    if cells == MAP_FAILED:
        raise fail("mapping the cells of latency")
    return <volatile uint64_t *>cells


cdef void unmap_cells(volatile uint64_t *cells) noexcept nogil:
    munmap(<void *>cells, LATENCY_CELLS_ * sizeof(uint64_t))


cdef uint64_t latency_of(unsigned cell) noexcept nogil:
    """The middle of a cell; the lower end of the last one, which holds all above it too."""
    if cell < FINE:
        return cell
    if cell == LATENCY_CELLS_ - 1:
        return <uint64_t>(cell - FINE) << COARSE_SHIFT
    return (<uint64_t>(cell - FINE) << COARSE_SHIFT) + (1 << (COARSE_SHIFT - 1))


def read_latency(int fd):
    """The :class:`Histogram`, in ns, of a BPF_F_MMAPABLE array of LATENCY_CELLS u64.

    Cell n < LATENCY_FINE counts n ns; cell LATENCY_FINE + n counts what is n after a shift by
    LATENCY_SHIFT (1.024 µs), the last one also all that is longer (from 67.1 ms on).
    Minimum, maximum and sum are right to the cell.

    Raises:
        OSError: the descriptor is no such map's.
    """
    cdef Histogram histogram = Histogram()
    cdef volatile uint64_t *cells = map_cells(fd)
    cdef uint64_t times
    cdef unsigned cell
    with nogil:
        for cell in range(LATENCY_CELLS_):
            times = cells[cell]
            if times:
                histogram.add(latency_of(cell), times)
        unmap_cells(cells)
    return histogram


def reset_latency(int fd):
    """Set the cells of :func:`read_latency` to zero; what is counted meanwhile may be lost.

    Raises:
        OSError: the descriptor is no such map's.
    """
    cdef volatile uint64_t *cells = map_cells(fd)
    cdef unsigned cell
    with nogil:
        for cell in range(LATENCY_CELLS_):
            cells[cell] = 0
        unmap_cells(cells)


# ---------------------------------------------------------------- messages by the batch

#: Messages that one system call sends.
BATCH = 64
DEF BATCH_ = 64
# Closer than this to its time a message is waited for awake, so that the core does not halt.
DEF AWAKE = 100000
# clock_nanosleep() is to be back this much earlier.
DEF EARLY = 50000
# Until this much before it the core is given away again and again: a switch that is a process
# may need it for the message before.
DEF SPIN = 5000


cdef class Batch:
    """BATCH copies of one message, and what sendmmsg(2) wants around them."""

    cdef char *data
    cdef size_t size
    cdef mmsghdr headers[BATCH_]
    cdef iovec vectors[BATCH_]
    cdef readonly uint64_t sent, refused

    def __cinit__(self, bytes message not None):
        cdef unsigned i
        cdef const char *source = message
        self.size = len(message)
        self.data = <char *>malloc(max(BATCH_ * self.size, 1))
        if self.data == NULL:
            raise MemoryError
        memset(self.headers, 0, sizeof(self.headers))
        for i in range(BATCH_):
            memcpy(self.data + i * self.size, source, self.size)
            self.vectors[i].iov_base = self.data + i * self.size
            self.vectors[i].iov_len = self.size
            self.headers[i].msg_hdr.msg_iov = &self.vectors[i]
            self.headers[i].msg_hdr.msg_iovlen = 1

    def __dealloc__(self):
        free(self.data)

    cdef void stamp(self, unsigned index, size_t at, uint64_t value) noexcept nogil:
        memcpy(self.data + index * self.size + at, &value, sizeof(value))

    cdef bint send(self, int fd, unsigned count) noexcept nogil:
        """Send the first `count`; one that the device has no room for is refused, not tried again.

        False, with errno, where the socket fails.
        """
        cdef unsigned done = 0
        cdef int got
        while done < count:
            got = sendmmsg(fd, &self.headers[done], count - done, 0)
            if got > 0:
                done += got
                self.sent += got
            elif errno == ENOBUFS:
                done += 1
                self.refused += 1
            elif errno != EINTR:
                return False
        return True


def flood(int fd, bytes message, uint64_t count):
    """Send a message `count` times, as fast as can be, BATCH a system call.

    Return a dict: sent, refused (ENOBUFS: the device dropped it at once), elapsed_ns, cpu_ns.

    Raises:
        OSError: the socket fails otherwise.
    """
    cdef Batch batch = Batch(message)
    cdef uint64_t left = count, begin = clock_ns(), cpu = used_ns()
    cdef bint good = True
    with nogil:
        while left and good:
            good = batch.send(fd, <unsigned>min(left, BATCH_))
            left -= min(left, BATCH_)
    if not good:
        raise fail("sending frames")
    return {"sent": batch.sent, "refused": batch.refused, "elapsed_ns": clock_ns() - begin,
            "cpu_ns": used_ns() - cpu}


cdef uint64_t wait_until(uint64_t due) noexcept nogil:
    """Wait for a time; return the time it is then."""
    cdef uint64_t now = clock_ns()
    while now < due:
        if due - now > AWAKE:
            sleep_until(due - EARLY)
        elif due - now > SPIN:
            sched_yield()
        now = clock_ns()
    return now


def pace(int fd, bytes message, double period_ns, uint64_t count, uint64_t limit_ns,
         size_t stamp_at, uint64_t group=1):
    """Send `count` messages by the clock: open loop, whatever becomes of those before.

    Number i is due `i // group * period_ns` after the start, is sent then or as soon as the
    sender gets there (all that are due at once, BATCH a system call), and carries the time
    at which it was *due* (CLOCK_MONOTONIC in ns, 8 bytes in the machine's byte order) at
    offset `stamp_at`.  Who measures from that time counts a sender's falling behind as
    latency; measured from the sending it would be left out (coordinated omission).
    `limit_ns` after the start it ends, whether all are sent or not.

    Return a dict: sent, refused (ENOBUFS: the device dropped it at once), late (sent when the
    next group was already due), elapsed_ns, cpu_ns.

    Raises:
        OSError: the socket fails otherwise.
        ValueError: the time does not fit into the message.
    """
    cdef Batch batch = Batch(message)
    cdef uint64_t number = 0, late = 0, due, now, begin, limit, cpu
    cdef unsigned ready
    cdef bint good = True
    if stamp_at + 8 > batch.size or group == 0:
        raise ValueError(f"no 8 bytes at {stamp_at} in a message of {batch.size}")
    fine_timers()
    cpu = used_ns()
    begin = clock_ns()
    limit = begin + limit_ns
    with nogil:
        while number < count and good:
            due = begin + <uint64_t>(number // group * period_ns)
            if due >= limit:
                wait_until(limit)
                break
            now = wait_until(due)
            if now >= limit:
                break
            ready = 0
            while ready < BATCH_ and number < count and due <= now:
                batch.stamp(ready, stamp_at, due)
                late += now - due >= period_ns
                ready += 1
                number += 1
                due = begin + <uint64_t>(number // group * period_ns)
            good = batch.send(fd, ready)
    if not good:
        raise fail("sending by the clock")
    return {"sent": batch.sent, "refused": batch.refused, "late": late,
            "elapsed_ns": clock_ns() - begin, "cpu_ns": used_ns() - cpu}


# ---------------------------------------------------------------- FDB

def fdb_fill(int fd, uint32_t first, uint32_t count, uint32_t ports, uint32_t first_port=1,
             int bd=0, uint32_t batch=4096):
    """Put `count` addresses into an FDB map, seen now, spread over `ports` ports.

    Address number n is 02:00 followed by n in the machine's byte order, so that a program
    can make one with a single store.
    """
    cdef vnetx_fdb_key *keys = <vnetx_fdb_key *>calloc(batch, sizeof(vnetx_fdb_key))
    cdef vnetx_fdb_entry *values = <vnetx_fdb_entry *>calloc(batch, sizeof(vnetx_fdb_entry))
    cdef uint32_t done = 0, i, number, part
    cdef uint64_t now = clock_ns()
    cdef int result = 0
    if keys == NULL or values == NULL:
        free(keys)
        free(values)
        raise MemoryError
    try:
        with nogil:
            while done < count and result == 0:
                part = min(batch, count - done)
                for i in range(part):
                    number = first + done + i
                    keys[i].mac[0] = 2
                    memcpy(&keys[i].mac[2], &number, 4)
                    keys[i].bd = bd
                    values[i].seen_ns = now
                    values[i].port = first_port + number % ports
                    values[i].generation = 1
                result = sys_map_batch(BPF_MAP_UPDATE_BATCH, fd, NULL, NULL, keys, values,
                                       &part, 0)
                done += part
        if result < 0:
            raise fail("filling the FDB")
    finally:
        free(keys)
        free(values)
