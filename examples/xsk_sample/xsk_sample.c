// SPDX-License-Identifier: Apache-2.0
//
// Samples packets: one in so many of a CPU goes to an AF_XDP socket, the rest up
// the network stack.
#include "skep_bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 64);
	__type(key, __u32); // queue
	__type(value, __u32);
} xsks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} seen SEC(".maps");

const volatile __u32 every = 2; // packets

SEC("xdp")
int xsk_sample(struct xdp_md *ctx)
{
	__u32 zero = 0;
	__u32 *packets = bpf_map_lookup_elem(&seen, &zero);

	if (!packets || (*packets)++ % every != 0)
		return XDP_PASS;
	return bpf_redirect_map(&xsks, ctx->rx_queue_index, XDP_PASS);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
