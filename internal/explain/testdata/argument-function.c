// SPDX-License-Identifier: Apache-2.0
// kind: argument-type
#include "refusals.h"

__noinline int queue_of(struct xdp_md *ctx)
{
	return ctx->rx_queue_index;
}

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	struct xdp_md copy = {};

	// change:
	return queue_of(&copy) ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	return queue_of(ctx) ? XDP_PASS : XDP_DROP;
}

LICENSED;
