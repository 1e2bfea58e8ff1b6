// SPDX-License-Identifier: Apache-2.0
// kind: null-check
#include "refusals.h"

HASH(counters, __u64);

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	__u32 first = 1, second = 2;
	__u64 *a = bpf_map_lookup_elem(&counters, &first);
	__u64 *b = bpf_map_lookup_elem(&counters, &second);

	if (!a)
		return XDP_PASS;
	// change:
	*b += 1;
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	__u32 first = 1, second = 2;
	__u64 *a = bpf_map_lookup_elem(&counters, &first);
	__u64 *b = bpf_map_lookup_elem(&counters, &second);

	if (!a || !b)
		return XDP_PASS;
	*b += 1;
	return XDP_PASS;
}

LICENSED;
