// SPDX-License-Identifier: Apache-2.0
//
// Programs that must not run. Each has one fault, of the kind that C lets pass
// and the verifier does not. README.md shows what it says to each.
#include "skep_net.h"

struct small {
	__u64 packets;
};

struct large {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct small);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

// Reads the Ethernet header of a packet that may be empty.
SEC("xdp")
int no_bounds_check(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;

	return eth->h_proto == bpf_htons(ETH_P_IP) ? XDP_PASS : XDP_DROP;
}

// Compares with the end of the packet, but leaves the last byte out.
SEC("xdp")
int off_by_one(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;

	if ((void *)eth + sizeof(*eth) - 1 > data_end)
		return XDP_PASS;
	return eth->h_proto == bpf_htons(ETH_P_IP) ? XDP_PASS : XDP_DROP;
}

// Takes a map's value for a bigger struct than it is.
SEC("xdp")
int wrong_cast(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct large *value = bpf_map_lookup_elem(&counters, &key);

	if (value)
		value->bytes += ctx->data_end - ctx->data;
	return XDP_PASS;
}

// Takes XDP's context for a socket buffer.
SEC("xdp")
int wrong_context(void *ctx)
{
	struct __sk_buff *skb = ctx;

	return skb->priority ? XDP_PASS : XDP_DROP;
}

// Uses a lookup's answer without asking whether there is one.
SEC("xdp")
int no_null_check(struct xdp_md *ctx)
{
	__u32 key = ctx->rx_queue_index;
	struct small *value = bpf_map_lookup_elem(&counters, &key);

	value->packets++;
	return XDP_PASS;
}

// Submits a ring buffer record twice.
SEC("xdp")
int released_twice(struct xdp_md *ctx)
{
	__u64 *record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);

	if (!record)
		return XDP_PASS;
	*record = 1;
	bpf_ringbuf_submit(record, 0);
	bpf_ringbuf_submit(record, 0);
	return XDP_PASS;
}

// Never submits it.
SEC("xdp")
int never_released(struct xdp_md *ctx)
{
	__u64 *record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);

	if (record)
		*record = 1;
	return XDP_PASS;
}

// Follows a pointer it keeps on the stack and never put there.
SEC("xdp")
int uninitialised_stack(struct xdp_md *ctx)
{
	struct small *volatile slots[2];

	slots[1] = NULL;
	return slots[0]->packets ? XDP_PASS : XDP_DROP;
}

// Never ends.
SEC("xdp")
int endless(struct xdp_md *ctx)
{
	for (;;)
		asm volatile("");
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
