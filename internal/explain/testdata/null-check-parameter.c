// SPDX-License-Identifier: Apache-2.0
// kind: null-check
#include "refusals.h"

struct limits {
	__u32 low, high;
};

// A global function: verified by itself, for any pointer a caller might pass.
__noinline int wrong_width(struct limits *l)
{
	// change:
	return l->high - l->low;
}

__noinline int right_width(struct limits *l)
{
	if (!l)
		return 0;
	return l->high - l->low;
}

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	struct limits l = { ctx->rx_queue_index, 64 };

	return wrong_width(&l) > 32 ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	struct limits l = { ctx->rx_queue_index, 64 };

	return right_width(&l) > 32 ? XDP_PASS : XDP_DROP;
}

LICENSED;
