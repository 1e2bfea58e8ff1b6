// SPDX-License-Identifier: Apache-2.0
// kind: map-value-bounds
#include "refusals.h"

struct buffer {
	char data[256];
};
ARRAY(buffers, struct buffer);

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct buffer *b = bpf_map_lookup_elem(&buffers, &key);

	if (!b)
		return XDP_PASS;
	// change:
	__u32 length = ctx->rx_queue_index & 0x1ff;
	bpf_xdp_load_bytes(ctx, 0, b->data, length + 1);
	return XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct buffer *b = bpf_map_lookup_elem(&buffers, &key);

	if (!b)
		return XDP_PASS;
	__u32 length = ctx->rx_queue_index & 0xff;
	bpf_xdp_load_bytes(ctx, 0, b->data, length + 1);
	return XDP_PASS;
}

LICENSED;
