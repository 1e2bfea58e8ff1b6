// SPDX-License-Identifier: Apache-2.0
// kind: not-a-pointer
#include "refusals.h"

HASH(counters, __u64);

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	__u32 first = 1, second = 2;
	__u64 *volatile both[2] = { bpf_map_lookup_elem(&counters, &first), bpf_map_lookup_elem(&counters, &second) };
	// change:
	__u64 *value = both[ctx->rx_queue_index & 1];

	if (value)
		*value += 1;
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	__u32 first = 1, second = 2;
	__u64 *value;

	if (ctx->rx_queue_index & 1)
		value = bpf_map_lookup_elem(&counters, &second);
	else
		value = bpf_map_lookup_elem(&counters, &first);
	if (value)
		*value += 1;
	return XDP_PASS;
}

LICENSED;
