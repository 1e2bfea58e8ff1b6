// SPDX-License-Identifier: Apache-2.0
//
// An IPv4 parser that believes nothing: every header is checked against the end
// of the packet before it is read, and every length against the one around it.
#include "skep_net.h"

// Why a packet is what it is; the key of reasons.
enum reason {
	PARSED = 0,
	NOT_IPV4,
	SHORT_ETHERNET,
	SHORT_IP,
	BAD_VERSION,
	BAD_HEADER_LENGTH,
	BAD_TOTAL_LENGTH,
	FRAGMENT,
	SHORT_TRANSPORT,
	BAD_TRANSPORT_LENGTH,
	REASONS,
};

struct conversation {
	__be32 saddr;
	__be32 daddr;
	__u16 sport;
	__u16 dport;
	__u8 protocol;
	__u8 pad[3];
};

struct traffic {
	__u64 packets;
	__u64 payload; // bytes behind the transport header
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, REASONS);
	__type(key, __u32);
	__type(value, __u64);
} reasons SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct conversation);
	__type(value, struct traffic);
} conversations SEC(".maps");

// transport reads ports at l4, where left bytes of the IP packet remain, and
// stores how many of them are payload.
static __noinline enum reason transport(void *l4, void *data_end, __u32 left, struct conversation *c, __u64 *payload)
{
	__u32 header;

	if (c->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = l4;

		if ((void *)(tcp + 1) > data_end)
			return SHORT_TRANSPORT;
		header = tcp->doff * 4;
		if (header < sizeof(*tcp) || header > left)
			return BAD_TRANSPORT_LENGTH;
		c->sport = bpf_ntohs(tcp->source);
		c->dport = bpf_ntohs(tcp->dest);
	} else if (c->protocol == IPPROTO_UDP) {
		struct udphdr *udp = l4;

		if ((void *)(udp + 1) > data_end)
			return SHORT_TRANSPORT;
		header = sizeof(*udp);
		if (bpf_ntohs(udp->len) < header || bpf_ntohs(udp->len) > left)
			return BAD_TRANSPORT_LENGTH;
		c->sport = bpf_ntohs(udp->source);
		c->dport = bpf_ntohs(udp->dest);
	} else {
		header = 0;
	}
	*payload = left - header;
	return PARSED;
}

static __noinline enum reason parse(void *data, void *data_end, struct conversation *c, __u64 *payload)
{
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	__u32 header, total;

	if ((void *)(eth + 1) > data_end)
		return SHORT_ETHERNET;
	if (eth->h_proto != bpf_htons(ETH_P_IP))
		return NOT_IPV4;
	if ((void *)(ip + 1) > data_end)
		return SHORT_IP;
	if (ip->version != 4)
		return BAD_VERSION;
	header = ip->ihl * 4;
	if (header < sizeof(*ip) || (void *)ip + header > data_end)
		return BAD_HEADER_LENGTH;
	total = bpf_ntohs(ip->tot_len);
	if (total < header || (void *)ip + total > data_end)
		return BAD_TOTAL_LENGTH;
	if (ip->frag_off & bpf_htons(IP_MF | IP_OFFSET))
		return FRAGMENT;

	c->saddr = ip->saddr;
	c->daddr = ip->daddr;
	c->protocol = ip->protocol;
	return transport((void *)ip + header, data_end, total - header, c, payload);
}

SEC("xdp")
int xdp_parse(struct xdp_md *ctx)
{
	struct conversation c = {};
	struct traffic *seen;
	__u64 payload = 0;
	__u64 *count;
	__u32 reason;

	reason = parse((void *)(long)ctx->data, (void *)(long)ctx->data_end, &c, &payload);
	count = bpf_map_lookup_elem(&reasons, &reason);
	if (count)
		__sync_fetch_and_add(count, 1);

	switch (reason) {
	case PARSED:
		break;
	case NOT_IPV4:
	case FRAGMENT:
		return XDP_PASS;
	default:
		return XDP_DROP;
	}

	seen = bpf_map_lookup_elem(&conversations, &c);
	if (!seen) {
		struct traffic none = {};

		bpf_map_update_elem(&conversations, &c, &none, BPF_NOEXIST);
		seen = bpf_map_lookup_elem(&conversations, &c);
		if (!seen)
			return XDP_ABORTED; // the table is full
	}
	__sync_fetch_and_add(&seen->packets, 1);
	__sync_fetch_and_add(&seen->payload, payload);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
