// SPDX-License-Identifier: Apache-2.0
// kind: null-check
#include "refusals.h"

struct table {
	__u64 word[8];
};
HASH(tables, struct table);

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	__u32 key = ctx->rx_queue_index;
	struct table *t = bpf_map_lookup_elem(&tables, &key);
	// change:
	__u64 *third = &t->word[2];

	asm volatile("" : "+r"(third)); // keeps the compiler from moving the address behind the check
	if (!t)
		return XDP_PASS;
	*third += 1;
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	__u32 key = ctx->rx_queue_index;
	struct table *t = bpf_map_lookup_elem(&tables, &key);
	__u64 *third;

	if (!t)
		return XDP_PASS;
	third = &t->word[2];
	*third += 1;
	return XDP_PASS;
}

LICENSED;
