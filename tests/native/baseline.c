/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What plain C takes to fill a hash map (8-byte keys, 16-byte values,
 * preallocated) and to read it back by batch system calls: the yardstick of
 * the FDB's tables.  Prints the seconds of each, by the clock and of CPU time.
 *
 *	baseline ENTRIES [BATCH]
 */
#include <errno.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct value {
	uint64_t seen;
	uint64_t rest;
};

static int map_batch(int command, int fd, void *in, void *out, void *keys, void *values,
		     uint32_t *count)
{
	union bpf_attr attr;
	int result;

	memset(&attr, 0, sizeof(attr));
	attr.batch.in_batch = (uint64_t)(uintptr_t)in;
	attr.batch.out_batch = (uint64_t)(uintptr_t)out;
	attr.batch.keys = (uint64_t)(uintptr_t)keys;
	attr.batch.values = (uint64_t)(uintptr_t)values;
	attr.batch.count = *count;
	attr.batch.map_fd = fd;
	result = syscall(__NR_bpf, command, &attr, sizeof(attr));
	*count = attr.batch.count;
	return result;
}

static double seconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec + now.tv_nsec * 1e-9;
}

static int map_create(uint32_t entries)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_HASH;
	attr.key_size = sizeof(uint64_t);
	attr.value_size = sizeof(struct value);
	attr.max_entries = entries;
	return syscall(__NR_bpf, BPF_MAP_CREATE, &attr, sizeof(attr));
}

/* The keys of the benchmark's file: 02:00 and the number, its high byte first. */
static uint64_t key_of(uint32_t number)
{
	uint8_t mac[8] = { 2, 0, number >> 24, number >> 16, number >> 8, number };
	uint64_t key;

	memcpy(&key, mac, sizeof(key));
	return key;
}

static int fill(int fd, uint64_t *keys, struct value *values, uint32_t entries, uint32_t batch)
{
	uint32_t done, count;

	for (done = 0; done < entries; done += count) {
		count = entries - done < batch ? entries - done : batch;
		if (map_batch(BPF_MAP_UPDATE_BATCH, fd, NULL, NULL, keys + done, values + done,
			      &count))
			return -1;
	}
	return 0;
}

static uint32_t dump(int fd, uint64_t *keys, struct value *values, uint32_t batch)
{
	uint64_t token[2];
	uint32_t count, total = 0;
	void *in = NULL;
	int result;

	do {
		count = batch;
		result = map_batch(BPF_MAP_LOOKUP_BATCH, fd, in, token, keys, values, &count);
		if (result && errno != ENOENT)
			return 0;
		total += count;
		in = token;
	} while (!result);
	return total;
}

int main(int argc, char **argv)
{
	uint32_t entries = argc > 1 ? strtoul(argv[1], NULL, 0) : 1000000;
	uint32_t batch = argc > 2 ? strtoul(argv[2], NULL, 0) : 16384;
	uint64_t *keys = calloc(entries, sizeof(*keys));
	struct value *values = calloc(entries, sizeof(*values));
	int fd = map_create(entries);
	double wall[3], cpu[3];
	uint32_t i;

	if (fd < 0 || !keys || !values) {
		perror("baseline");
		return 1;
	}
	for (i = 0; i < entries; i++) {
		keys[i] = key_of(i);
		values[i].seen = i;
	}
	wall[0] = seconds(CLOCK_MONOTONIC);
	cpu[0] = seconds(CLOCK_PROCESS_CPUTIME_ID);
	if (fill(fd, keys, values, entries, batch)) {
		perror("fill");
		return 1;
	}
	wall[1] = seconds(CLOCK_MONOTONIC);
	cpu[1] = seconds(CLOCK_PROCESS_CPUTIME_ID);
	if (dump(fd, keys, values, batch) != entries) {
		perror("dump");
		return 1;
	}
	wall[2] = seconds(CLOCK_MONOTONIC);
	cpu[2] = seconds(CLOCK_PROCESS_CPUTIME_ID);
	printf("%.6f %.6f %.6f %.6f\n", wall[1] - wall[0], cpu[1] - cpu[0], wall[2] - wall[1],
	       cpu[2] - cpu[1]);
	return 0;
}
