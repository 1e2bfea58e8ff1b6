// SPDX-License-Identifier: Apache-2.0
// kind: stack-size
#include "refusals.h"

static __noinline int wrong_part(__u32 i)
{
	volatile char name[256] = {};

	name[i & 255] = 1;
	return name[2];
}

static __noinline int right_part(__u32 i)
{
	volatile char name[256] = {};

	name[i & 255] = 1;
	return name[2];
}

SEC("xdp")
// change:
int wrong(struct xdp_md *ctx)
{
	volatile char name[384] = {};

	name[ctx->rx_queue_index & 255] = 1;
	return name[1] + wrong_part(ctx->rx_queue_index) ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	volatile char name[128] = {};

	name[ctx->rx_queue_index & 127] = 1;
	return name[1] + right_part(ctx->rx_queue_index) ? XDP_PASS : XDP_DROP;
}

LICENSED;
