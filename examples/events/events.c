// SPDX-License-Identifier: Apache-2.0
//
// Tells user space about connections as they open and close, through a ring buffer.
#include "skep_net.h"

enum kind {
	OPENED = 1, // a SYN without ACK
	CLOSED = 2, // the first FIN from either side
	RESET = 3,
};

struct event {
	__u64 time; // ns since boot
	__be32 saddr;
	__be32 daddr;
	__u16 sport;
	__u16 dport;
	enum kind kind;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} events SEC(".maps");

__u64 lost; // events the ring had no room for

// kind_of classifies a segment, 0 for one that changes nothing.
static __always_inline int kind_of(struct tcphdr *tcp)
{
	if (tcp->rst)
		return RESET;
	if (tcp->fin)
		return CLOSED;
	if (tcp->syn && !tcp->ack)
		return OPENED;
	return 0;
}

// fill writes an event. As a function of its own it puts struct event into the
// object's types, by which skep run --decode shows it.
static __noinline void fill(struct event *event, struct iphdr *ip, struct tcphdr *tcp, int kind)
{
	event->time = bpf_ktime_get_ns();
	event->saddr = ip->saddr;
	event->daddr = ip->daddr;
	event->sport = bpf_ntohs(tcp->source);
	event->dport = bpf_ntohs(tcp->dest);
	event->kind = kind;
}

SEC("xdp")
int watch(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);
	struct tcphdr *tcp = (void *)(ip + 1);
	struct event *event;
	int kind;

	if ((void *)(tcp + 1) > data_end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	if (ip->ihl != 5 || ip->protocol != IPPROTO_TCP || ip->frag_off & bpf_htons(IP_OFFSET))
		return XDP_PASS;
	kind = kind_of(tcp);
	if (!kind)
		return XDP_PASS;

	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		__sync_fetch_and_add(&lost, 1);
		return XDP_PASS;
	}
	fill(event, ip, tcp, kind);
	bpf_ringbuf_submit(event, 0);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
