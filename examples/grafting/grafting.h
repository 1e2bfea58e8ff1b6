// SPDX-License-Identifier: Apache-2.0
//
// The maps of all three objects, found by their names (iproute2: tc/globals).
#include "skep_net.h"

enum { FIRST, SECOND, NOBODY, COUNTS };

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, __u32);
} jump SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, COUNTS);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, __u64);
} served_by SEC(".maps");

static __always_inline void served(__u32 who)
{
	__u64 *n = bpf_map_lookup_elem(&served_by, &who);

	if (n)
		__sync_fetch_and_add(n, 1);
}
