// SPDX-License-Identifier: Apache-2.0
// kind: stale-packet-pointer
#include "refusals.h"

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;

	if ((void *)(eth + 1) > data_end)
		return XDP_DROP;
	// change:
	if (bpf_xdp_adjust_head(ctx, -8))
		return XDP_DROP;
	return eth->h_proto == bpf_htons(ETH_P_IP) ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	void *data_end;
	struct ethhdr *eth;

	if (bpf_xdp_adjust_head(ctx, -8))
		return XDP_DROP;
	data_end = (void *)(long)ctx->data_end;
	eth = (void *)(long)ctx->data;
	if ((void *)(eth + 1) > data_end)
		return XDP_DROP;
	return eth->h_proto == bpf_htons(ETH_P_IP) ? XDP_PASS : XDP_DROP;
}

LICENSED;
