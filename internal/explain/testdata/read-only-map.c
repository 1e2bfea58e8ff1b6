// SPDX-License-Identifier: Apache-2.0
// kind: read-only-map
#include "refusals.h"

const volatile __u64 limit = 100;

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	__u64 *writable = (__u64 *)&limit;

	asm volatile("" : "+r"(writable)); // or the compiler removes what C does not allow
	// change:
	*writable = ctx->rx_queue_index;
	return XDP_PASS;
}

volatile __u64 current = 100;

SEC("xdp")
int right(struct xdp_md *ctx)
{
	current = ctx->rx_queue_index;
	return XDP_PASS;
}

LICENSED;
