// SPDX-License-Identifier: Apache-2.0
// kind: negative-index
#include "refusals.h"

struct table {
	__u8 counter[32];
};
ARRAY(tables, struct table);
ARRAY(config, signed char);

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	__u32 key = 0;
	signed char *index = bpf_map_lookup_elem(&config, &key);
	struct table *t = bpf_map_lookup_elem(&tables, &key);

	if (!t || !index)
		return XDP_PASS;
	long i = *index;
	// change:
	if (i >= 32)
		return XDP_PASS;
	t->counter[i]++;
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	__u32 key = 0;
	signed char *index = bpf_map_lookup_elem(&config, &key);
	struct table *t = bpf_map_lookup_elem(&tables, &key);

	if (!t || !index)
		return XDP_PASS;
	long i = *index;
	if (i < 0 || i >= 32)
		return XDP_PASS;
	t->counter[i]++;
	return XDP_PASS;
}

LICENSED;
