// SPDX-License-Identifier: Apache-2.0
// kind: helper-program-type
#include "refusals.h"

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	char first[4] = {};

	// change:
	bpf_skb_load_bytes(ctx, 0, first, sizeof(first));
	return first[0] ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	char first[4] = {};

	if (bpf_xdp_load_bytes(ctx, 0, first, sizeof(first)))
		return XDP_DROP;
	return first[0] ? XDP_PASS : XDP_DROP;
}

LICENSED;
