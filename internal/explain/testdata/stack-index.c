// SPDX-License-Identifier: Apache-2.0
// kind: stack-index
#include "refusals.h"

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	volatile __u8 table[16] = {};
	__u32 i = ctx->rx_queue_index;

	// change:
	return table[i] ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	volatile __u8 table[16] = {};
	__u32 i = ctx->rx_queue_index;

	if (i >= 16)
		return XDP_DROP;
	return table[i] ? XDP_PASS : XDP_DROP;
}

LICENSED;
