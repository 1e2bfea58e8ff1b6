// SPDX-License-Identifier: Apache-2.0
// kind: zero-size
#include "refusals.h"

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	char buf[64] = {};
	__u64 n = ctx->rx_queue_index;

	if (n > 64)
		return XDP_PASS;
	// change:
	bpf_xdp_load_bytes(ctx, 0, buf, n);
	return buf[0] ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	char buf[64] = {};
	__u64 n = ctx->rx_queue_index;

	if (n == 0 || n > 64)
		return XDP_PASS;
	bpf_xdp_load_bytes(ctx, 0, buf, n);
	return buf[0] ? XDP_PASS : XDP_DROP;
}

LICENSED;
