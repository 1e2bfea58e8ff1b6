// SPDX-License-Identifier: Apache-2.0
// kind: argument-type
#include "refusals.h"

HASH(counters, __u64);

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	__u32 key = ctx->rx_queue_index;

	// change:
	__u64 *value = bpf_map_lookup_elem(&counters, (void *)(long)key);

	return value ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	__u32 key = ctx->rx_queue_index;
	__u64 *value = bpf_map_lookup_elem(&counters, &key);

	return value ? XDP_PASS : XDP_DROP;
}

LICENSED;
