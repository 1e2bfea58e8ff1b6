// SPDX-License-Identifier: Apache-2.0
//
// UDP for user space: UDP over IPv4 goes to the AF_XDP socket of the queue it came
// in on, past the network stack. What no socket is there for, and everything
// else, takes its usual way.
#include "skep_net.h"

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 64);
	__type(key, __u32); // queue
	__type(value, __u32);
} xsks SEC(".maps");

SEC("xdp")
int xsk_forward(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->protocol != IPPROTO_UDP)
		return XDP_PASS;
	return bpf_redirect_map(&xsks, ctx->rx_queue_index, XDP_PASS);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
