// SPDX-License-Identifier: Apache-2.0
// kind: dynptr-type
#include "refusals.h"

ARRAY(values, __u64);
MAP_RING(ring);

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	struct bpf_dynptr ptr;
	__u32 key = 0;
	__u64 *value = bpf_map_lookup_elem(&values, &key);

	if (!value)
		return XDP_PASS;
	bpf_dynptr_from_mem(value, sizeof(*value), 0, &ptr);
	// change:
	bpf_ringbuf_submit_dynptr(&ptr, 0);
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	struct bpf_dynptr ptr;

	bpf_ringbuf_reserve_dynptr(&ring, 8, 0, &ptr);
	bpf_ringbuf_submit_dynptr(&ptr, 0);
	return XDP_PASS;
}

LICENSED;
