// SPDX-License-Identifier: Apache-2.0
// kind: unbounded-index
#include "refusals.h"

struct table {
	__u64 counter[32];
};
ARRAY(tables, struct table);

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 queue = ctx->rx_queue_index;
	struct table *t = bpf_map_lookup_elem(&tables, &key);

	if (!t)
		return XDP_PASS;
	// change:
	t->counter[queue]++;
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 queue = ctx->rx_queue_index;
	struct table *t = bpf_map_lookup_elem(&tables, &key);

	if (!t || queue >= 32)
		return XDP_PASS;
	t->counter[queue]++;
	return XDP_PASS;
}

LICENSED;
