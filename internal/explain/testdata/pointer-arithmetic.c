// SPDX-License-Identifier: Apache-2.0
// kind: pointer-arithmetic
#include "refusals.h"

struct table {
	__u64 word[8];
};
ARRAY(tables, struct table);

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct table *t = bpf_map_lookup_elem(&tables, &key);

	if (!t)
		return XDP_PASS;
	// change:
	t = (void *)((__u64)t & ~63ULL);
	t->word[0]++;
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct table *t = bpf_map_lookup_elem(&tables, &key);

	if (!t)
		return XDP_PASS;
	t->word[ctx->rx_queue_index & 7]++;
	return XDP_PASS;
}

LICENSED;
