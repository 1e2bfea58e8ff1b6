// SPDX-License-Identifier: Apache-2.0
// kind: lost-range
#include "refusals.h"

struct table {
	__u8 byte[64];
};
ARRAY(tables, struct table);
ARRAY(config, __u64);

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	__u32 key = 0;
	volatile __u64 *at = bpf_map_lookup_elem(&config, &key);
	struct table *t = bpf_map_lookup_elem(&tables, &key);

	if (!t || !at)
		return XDP_PASS;
	// change:
	if (*at >= 64)
		return XDP_PASS;
	t->byte[*at & 0xfff]++; // read again: someone may have changed it
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	__u32 key = 0;
	volatile __u64 *at = bpf_map_lookup_elem(&config, &key);
	struct table *t = bpf_map_lookup_elem(&tables, &key);

	if (!t || !at)
		return XDP_PASS;
	__u64 once = *at;
	if (once >= 64)
		return XDP_PASS;
	t->byte[once]++;
	return XDP_PASS;
}

LICENSED;
