// SPDX-License-Identifier: Apache-2.0
// kind: argument-type
#include "refusals.h"

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	char buf[4];
	struct xdp_md copy = {};

	// change:
	bpf_xdp_load_bytes(&copy, 0, buf, sizeof(buf));
	return buf[0] ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	char buf[4];

	if (bpf_xdp_load_bytes(ctx, 0, buf, sizeof(buf)))
		return XDP_DROP;
	return buf[0] ? XDP_PASS : XDP_DROP;
}

LICENSED;
