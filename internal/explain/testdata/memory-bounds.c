// SPDX-License-Identifier: Apache-2.0
// kind: memory-bounds
#include "refusals.h"

struct event {
	__u64 time;
	__u32 queue;
};
MAP_RING(ring);

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	// change:
	struct event *e = bpf_ringbuf_reserve(&ring, sizeof(e), 0);

	if (!e)
		return XDP_PASS;
	e->time = 0;
	e->queue = ctx->rx_queue_index;
	bpf_ringbuf_submit(e, 0);
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);

	if (!e)
		return XDP_PASS;
	e->time = 0;
	e->queue = ctx->rx_queue_index;
	bpf_ringbuf_submit(e, 0);
	return XDP_PASS;
}

LICENSED;
