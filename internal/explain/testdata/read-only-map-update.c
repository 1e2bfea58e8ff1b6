// SPDX-License-Identifier: Apache-2.0
// kind: read-only-map
#include "refusals.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, __u32);
	__type(value, __u64);
} settings SEC(".maps");

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 value = ctx->rx_queue_index;

	// change:
	bpf_map_update_elem(&settings, &key, &value, BPF_ANY);
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 *value = bpf_map_lookup_elem(&settings, &key);

	return value && *value ? XDP_PASS : XDP_DROP;
}

LICENSED;
