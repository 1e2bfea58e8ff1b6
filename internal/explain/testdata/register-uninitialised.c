// SPDX-License-Identifier: Apache-2.0
// kind: register-uninitialised
#include "refusals.h"

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	int verdict;

	if (ctx->rx_queue_index)
		// change:
		asm volatile("exit"); // a path on which nothing was put into R0
	verdict = XDP_PASS;
	return verdict;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	int verdict = XDP_DROP;

	if (ctx->rx_queue_index == 0)
		verdict = XDP_PASS;
	return verdict;
}

LICENSED;
