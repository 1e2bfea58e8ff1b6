// SPDX-License-Identifier: Apache-2.0
// kind: dynptr-uninitialised
#include "refusals.h"

MAP_RING(ring);

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	struct bpf_dynptr record;
	__u64 now = bpf_ktime_get_ns();

	bpf_ringbuf_reserve_dynptr(&ring, sizeof(now), 0, &record);
	bpf_ringbuf_submit_dynptr(&record, 0);
	// change:
	bpf_dynptr_write(&record, 0, &now, sizeof(now), 0);
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	struct bpf_dynptr record;
	__u64 now = bpf_ktime_get_ns();

	bpf_ringbuf_reserve_dynptr(&ring, sizeof(now), 0, &record);
	bpf_dynptr_write(&record, 0, &now, sizeof(now), 0);
	bpf_ringbuf_submit_dynptr(&record, 0);
	return XDP_PASS;
}

LICENSED;
