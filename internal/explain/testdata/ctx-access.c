// SPDX-License-Identifier: Apache-2.0
// kind: ctx-access
#include "refusals.h"

SEC("xdp")
int wrong(void *ctx)
{
	struct __sk_buff *skb = ctx;

	// change:
	return skb->priority ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	return ctx->rx_queue_index ? XDP_PASS : XDP_DROP;
}

LICENSED;
