// SPDX-License-Identifier: Apache-2.0
// kind: double-release
#include "refusals.h"

MAP_RING(ring);

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	__u64 *record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);

	if (!record)
		return XDP_PASS;
	*record = 1;
	if (ctx->rx_queue_index == 0)
		bpf_ringbuf_discard(record, 0);
	// change:
	bpf_ringbuf_submit(record, 0);
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	__u64 *record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);

	if (!record)
		return XDP_PASS;
	*record = 1;
	if (ctx->rx_queue_index == 0)
		bpf_ringbuf_discard(record, 0);
	else
		bpf_ringbuf_submit(record, 0);
	return XDP_PASS;
}

LICENSED;
