// SPDX-License-Identifier: Apache-2.0
// kind: too-complex
#include "refusals.h"

struct table {
	__u64 counter[64];
};
ARRAY(tables, struct table);

static int turn(__u32 i, struct table **t)
{
	if (*t)
		(*t)->counter[i & 63]++;
	return 0;
}

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct table *t = bpf_map_lookup_elem(&tables, &key);

	if (!t)
		return XDP_PASS;
	// change:
	for (__u32 i = 0; i < 1000000; i++)
		t->counter[i & 63]++;
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct table *t = bpf_map_lookup_elem(&tables, &key);

	bpf_loop(1000000, turn, &t, 0);
	return XDP_PASS;
}

LICENSED;
