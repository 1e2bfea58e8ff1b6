// SPDX-License-Identifier: Apache-2.0
// kind: packet-bounds
#include "refusals.h"

SEC("xdp")
int wrong(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp;

	if ((void *)(ip + 1) > data_end)
		return XDP_DROP;
	udp = (void *)ip + ip->ihl * 4;
	// The check is of ip, not of udp.
	if ((void *)(ip + 2) > data_end)
		return XDP_DROP;
	// change:
	return udp->dest == bpf_htons(53) ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int right(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp;

	if ((void *)(ip + 1) > data_end)
		return XDP_DROP;
	udp = (void *)ip + ip->ihl * 4;
	if ((void *)(udp + 1) > data_end)
		return XDP_DROP;
	return udp->dest == bpf_htons(53) ? XDP_PASS : XDP_DROP;
}

LICENSED;
