// SPDX-License-Identifier: Apache-2.0
// kind: dynptr-overwritten
#include "refusals.h"

MAP_RING(ring);

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	struct bpf_dynptr record;

	bpf_ringbuf_reserve_dynptr(&ring, 8, 0, &record);
	// change:
	*(volatile __u64 *)&record = ctx->rx_queue_index;
	bpf_ringbuf_submit_dynptr(&record, 0);
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	struct bpf_dynptr record;
	__u64 queue = ctx->rx_queue_index;

	bpf_ringbuf_reserve_dynptr(&ring, 8, 0, &record);
	bpf_dynptr_write(&record, 0, &queue, sizeof(queue), 0);
	bpf_ringbuf_submit_dynptr(&record, 0);
	return XDP_PASS;
}

LICENSED;
