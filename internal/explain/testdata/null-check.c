// SPDX-License-Identifier: Apache-2.0
// kind: null-check
#include "refusals.h"

struct counter {
	__u64 packets;
};
HASH(counters, struct counter);

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	__u32 key = ctx->rx_queue_index;
	struct counter *value = bpf_map_lookup_elem(&counters, &key);

	// change:
	value->packets++;
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	__u32 key = ctx->rx_queue_index;
	struct counter *value = bpf_map_lookup_elem(&counters, &key);

	if (!value)
		return XDP_PASS;
	value->packets++;
	return XDP_PASS;
}

LICENSED;
