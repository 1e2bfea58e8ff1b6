// SPDX-License-Identifier: Apache-2.0
// kind: constant-argument
#include "refusals.h"

MAP_RING(ring);

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	// change:
	__u8 *record = bpf_ringbuf_reserve(&ring, 8 + (ctx->rx_queue_index & 7), 0);

	if (!record)
		return XDP_PASS;
	record[0] = 1;
	bpf_ringbuf_submit(record, 0);
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	__u8 *record = bpf_ringbuf_reserve(&ring, 16, 0);

	if (!record)
		return XDP_PASS;
	record[0] = 1;
	bpf_ringbuf_submit(record, 0);
	return XDP_PASS;
}

LICENSED;
