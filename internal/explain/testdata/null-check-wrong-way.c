// SPDX-License-Identifier: Apache-2.0
// kind: null-check
#include "refusals.h"

HASH(counters, __u64);

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	__u32 key = ctx->rx_queue_index;
	__u64 *value = bpf_map_lookup_elem(&counters, &key);

	if (value)
		return XDP_PASS;
	asm volatile("" : "+r"(value)); // or the compiler, seeing that it is NULL, removes the rest
	// change:
	*value = 1;
	return XDP_DROP;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	__u32 key = ctx->rx_queue_index;
	__u64 *value = bpf_map_lookup_elem(&counters, &key);

	if (!value)
		return XDP_PASS;
	*value = 1;
	return XDP_DROP;
}

LICENSED;
