// SPDX-License-Identifier: Apache-2.0
// kind: ctx-access
#include "refusals.h"

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	// change:
	return *(volatile __u16 *)&ctx->data ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	return ctx->data_end - ctx->data > 64 ? XDP_PASS : XDP_DROP;
}

LICENSED;
