// SPDX-License-Identifier: Apache-2.0
// kind: pointer-offset
#include "refusals.h"

struct table {
	__u8 byte[64];
};
ARRAY(tables, struct table);
ARRAY(config, long);

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	__u32 key = 0;
	long *offset = bpf_map_lookup_elem(&config, &key);
	struct table *t = bpf_map_lookup_elem(&tables, &key);

	if (!t || !offset)
		return XDP_PASS;
	long at = *offset;
	// change:
	t->byte[at]++;
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	__u32 key = 0;
	long *offset = bpf_map_lookup_elem(&config, &key);
	struct table *t = bpf_map_lookup_elem(&tables, &key);

	if (!t || !offset)
		return XDP_PASS;
	__u64 at = *offset;
	if (at >= sizeof(t->byte))
		return XDP_PASS;
	t->byte[at]++;
	return XDP_PASS;
}

LICENSED;
