// SPDX-License-Identifier: Apache-2.0
//
// A firewall: drops what comes from a listed network or goes to the closed
// port, counts by rule, and remembers which flows it stopped.
#include "skep_net.h"

// Rules 0 to 2 are built in; the block lists' values name the others.
enum rule {
	RULE_PASS = 0,
	RULE_MALFORMED = 1,
	RULE_CLOSED_PORT = 2,
	RULES = 32,
};

struct counter {
	__u64 packets;
	__u64 bytes;
};

struct key4 {
	__u32 prefixlen; // bits
	__be32 addr;
};

struct key6 {
	__u32 prefixlen;
	struct in6_addr addr;
};

// IPv4 addresses are mapped into IPv6's.
struct flow {
	struct in6_addr saddr;
	struct in6_addr daddr;
	__u16 sport;
	__u16 dport;
	__u32 protocol;
};

struct stopped {
	__u32 rule;
	__u32 packets;
};

// Networks to block, and the rule to count it under.
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct key4);
	__type(value, __u32);
} block4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct key6);
	__type(value, __u32);
} block6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, RULES);
	__type(key, __u32);
	__type(value, struct counter);
} rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct flow);
	__type(value, struct stopped);
} stopped_flows SEC(".maps");

const volatile __u16 closed_port = 23; // telnet

// ports reads the ports of a TCP or UDP header at l4.
static __always_inline int ports(void *l4, void *data_end, struct flow *flow)
{
	struct udphdr *ports = l4; // TCP's ports lie in the same place

	if (flow->protocol != IPPROTO_TCP && flow->protocol != IPPROTO_UDP)
		return 0;
	if ((void *)(ports + 1) > data_end)
		return -1;
	flow->sport = bpf_ntohs(ports->source);
	flow->dport = bpf_ntohs(ports->dest);
	return 0;
}

// ipv4 fills flow and returns the rule of the source's network.
static __always_inline __u32 ipv4(void *l3, void *data_end, struct flow *flow)
{
	struct key4 key = {.prefixlen = 32};
	struct iphdr *ip = l3;
	__u32 *rule;

	if ((void *)(ip + 1) > data_end || ip->version != 4 || ip->ihl < 5)
		return RULE_MALFORMED;
	map4(&flow->saddr, ip->saddr);
	map4(&flow->daddr, ip->daddr);
	flow->protocol = ip->protocol;
	if (!(ip->frag_off & bpf_htons(IP_OFFSET)) && ports(l3 + ip->ihl * 4, data_end, flow))
		return RULE_MALFORMED;

	key.addr = ip->saddr;
	rule = bpf_map_lookup_elem(&block4, &key);
	return rule ? *rule : RULE_PASS;
}

static __always_inline __u32 ipv6(void *l3, void *data_end, struct flow *flow)
{
	struct key6 key = {.prefixlen = 128};
	struct ipv6hdr *ip = l3;
	__u32 *rule;

	if ((void *)(ip + 1) > data_end || ip->version != 6)
		return RULE_MALFORMED;
	flow->saddr = ip->saddr;
	flow->daddr = ip->daddr;
	flow->protocol = ip->nexthdr;
	if (ports(ip + 1, data_end, flow))
		return RULE_MALFORMED;

	key.addr = ip->saddr;
	rule = bpf_map_lookup_elem(&block6, &key);
	return rule ? *rule : RULE_PASS;
}

// judge returns the rule that decides about a packet.
static __always_inline __u32 judge(void *data, void *data_end, struct flow *flow)
{
	struct ethhdr *eth = data;
	__u32 rule = RULE_PASS;
	void *l3 = eth + 1;
	__be16 proto;

	if (l3 > data_end)
		return RULE_MALFORMED;
	proto = eth->h_proto;
	for (int i = 0; i < 2; i++) {
		struct vlan_hdr *tag = l3;

		if (proto != bpf_htons(ETH_P_8021Q) && proto != bpf_htons(ETH_P_8021AD))
			break;
		l3 = tag + 1;
		if (l3 > data_end)
			return RULE_MALFORMED;
		proto = tag->h_proto;
	}

	if (proto == bpf_htons(ETH_P_IP))
		rule = ipv4(l3, data_end, flow);
	else if (proto == bpf_htons(ETH_P_IPV6))
		rule = ipv6(l3, data_end, flow);
	if (rule == RULE_PASS && flow->dport && flow->dport == closed_port)
		rule = RULE_CLOSED_PORT;
	return rule;
}

// remember counts a stopped packet under its flow, and traces the flow's first.
static __always_inline void remember(struct flow *flow, __u32 rule)
{
	struct stopped first = {.rule = rule, .packets = 1};
	struct stopped *seen = bpf_map_lookup_elem(&stopped_flows, flow);

	if (seen) {
		__sync_fetch_and_add(&seen->packets, 1);
		return;
	}
	bpf_map_update_elem(&stopped_flows, flow, &first, BPF_NOEXIST);
	bpf_printk("rule %u stops protocol %u to port %u", rule, flow->protocol, flow->dport);
}

SEC("xdp")
int firewall(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct flow flow = {};
	struct counter *count;
	__u32 rule;

	rule = judge(data, data_end, &flow);
	count = bpf_map_lookup_elem(&rules, &rule);
	if (count) {
		count->packets++;
		count->bytes += data_end - data;
	}
	if (rule == RULE_PASS)
		return XDP_PASS;
	remember(&flow, rule);
	return XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
