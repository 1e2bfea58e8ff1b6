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
	__u64 *at = bpf_map_lookup_elem(&config, &key);
	struct table *t = bpf_map_lookup_elem(&tables, &key);

	if (!t || !at)
		return XDP_PASS;
	__u64 wide = *at;
	__u32 narrow = wide;
	// change:
	if (narrow >= 64)
		return XDP_PASS;
	t->byte[wide & 0xffffffffff]++;
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 *at = bpf_map_lookup_elem(&config, &key);
	struct table *t = bpf_map_lookup_elem(&tables, &key);

	if (!t || !at)
		return XDP_PASS;
	__u64 wide = *at;
	if (wide >= 64)
		return XDP_PASS;
	t->byte[wide]++;
	return XDP_PASS;
}

LICENSED;
