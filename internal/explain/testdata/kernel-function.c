// SPDX-License-Identifier: Apache-2.0
// kind: kernel-function
#include "refusals.h"

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	struct bpf_dynptr packet;

	// change:
	return bpf_dynptr_from_skb((void *)ctx, 0, &packet) ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	struct bpf_dynptr packet;

	return bpf_dynptr_from_xdp(ctx, 0, &packet) ? XDP_DROP : XDP_PASS;
}

LICENSED;
