// SPDX-License-Identifier: Apache-2.0
// kind: stack-bounds
#include "refusals.h"

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	char buf[16] = {};

	// change:
	bpf_xdp_load_bytes(ctx, 0, buf, 64);
	return buf[0] ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	char buf[16] = {};

	bpf_xdp_load_bytes(ctx, 0, buf, sizeof(buf));
	return buf[0] ? XDP_PASS : XDP_DROP;
}

LICENSED;
