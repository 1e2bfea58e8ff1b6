// SPDX-License-Identifier: Apache-2.0
//
// The balancer example, made repeatable: BPF_PROG_TEST_RUN hands a changed
// packet to the next run, so the outer header it added comes off again.
#include "../../examples/balancer/balancer.c"

SEC("xdp") int balancer_once(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	struct ethhdr link;

	if (data + sizeof(link) > data_end)
		return XDP_DROP;
	memcpy(&link, data, sizeof(link));
	if (balancer(ctx) != XDP_TX)
		return XDP_PASS;
	if (bpf_xdp_adjust_head(ctx, sizeof(struct iphdr)))
		return XDP_ABORTED;
	data = (void *)(long)ctx->data;
	data_end = (void *)(long)ctx->data_end;
	if (data + sizeof(link) > data_end)
		return XDP_ABORTED;
	memcpy(data, &link, sizeof(link));
	return XDP_TX;
}
