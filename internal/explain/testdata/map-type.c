// SPDX-License-Identifier: Apache-2.0
// kind: map-type
#include "refusals.h"

HASH(ports, __u64);

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	// change:
	return bpf_redirect_map(&ports, ctx->rx_queue_index, 0);
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	__u32 key = ctx->rx_queue_index;

	return bpf_map_lookup_elem(&ports, &key) ? XDP_PASS : XDP_DROP;
}

LICENSED;
