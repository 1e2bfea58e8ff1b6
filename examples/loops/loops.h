// SPDX-License-Identifier: Apache-2.0
//
// The task that every program of this folder does: add up the 32 little-endian
// half words of a packet's first 64 bytes and file the sum under the way it was done.
#ifndef LOOPS_H
#define LOOPS_H

#include "skep_bpf.h"

#define WORDS 32

// The ways; the key of sums.
enum way {
	UNROLLED = 0,
	PLAIN = 1,
	BPF_LOOP = 2,
	BPF_FOR = 3,
	WAYS,
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WAYS);
	__type(key, __u32);
	__type(value, __u64);
} sums SEC(".maps");

// file adds the sum of one packet to the total of the way it was computed.
static __always_inline int file(__u32 way, __u64 sum)
{
	__u64 *total = bpf_map_lookup_elem(&sums, &way);

	if (!total)
		return XDP_ABORTED;
	*total += sum;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#endif
