// SPDX-License-Identifier: Apache-2.0
// kind: map-key-bounds
#include "refusals.h"

HASH(flows, __u64);

struct flow {
	__u32 source, dest;
};

static long wrong_each(void *map, struct flow *key, __u64 *value, void *ctx)
{
	// change:
	return key->dest == 0;
}

static long right_each(void *map, __u32 *key, __u64 *value, void *ctx)
{
	return *key == 0;
}

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	bpf_for_each_map_elem(&flows, wrong_each, NULL, 0);
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	bpf_for_each_map_elem(&flows, right_each, NULL, 0);
	return XDP_PASS;
}

LICENSED;
