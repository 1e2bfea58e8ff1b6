// SPDX-License-Identifier: Apache-2.0
// kind: dynptr-uninitialised
#include "refusals.h"

ARRAY(values, __u64);

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	struct bpf_dynptr ptr;
	__u32 key = 0;
	__u64 first = 0, *value = bpf_map_lookup_elem(&values, &key);

	if (!value)
		return XDP_PASS;
	bpf_dynptr_from_mem(value, sizeof(*value), 0, &ptr);
	// change:
	*(volatile __u64 *)&ptr = 0;
	bpf_dynptr_read(&first, sizeof(first), &ptr, 0, 0);
	return first ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	struct bpf_dynptr ptr;
	__u32 key = 0;
	__u64 first = 0, *value = bpf_map_lookup_elem(&values, &key);

	if (!value)
		return XDP_PASS;
	bpf_dynptr_from_mem(value, sizeof(*value), 0, &ptr);
	bpf_dynptr_read(&first, sizeof(first), &ptr, 0, 0);
	return first ? XDP_PASS : XDP_DROP;
}

LICENSED;
